//! `neuroloom graph`.

use super::{Common, Exit, Failure, WorkflowArgs, load, open_site, print};
use crate::render;
use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
pub(super) struct GraphArgs {
    #[command(flatten)]
    workflow: WorkflowArgs,
    /// The drawing's language
    #[arg(long, value_enum, default_value_t)]
    format: Drawing,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Drawing {
    /// For Markdown.
    #[default]
    Mermaid,
    /// For Graphviz.
    Dot,
    /// A picture.
    Svg,
}

pub(super) fn graph(common: &Common, args: &GraphArgs) -> Result<Exit, Failure> {
    let (_, registry) = open_site(common)?;
    let graph = load(&args.workflow, &registry)?;
    print(&match args.format {
        Drawing::Mermaid => render::mermaid(&graph),
        Drawing::Dot => render::dot(&graph),
        Drawing::Svg => render::svg(&graph),
    });
    Ok(Exit::Fine)
}
