//! `neuroloom provenance` and `neuroloom methods`.

use super::{Exit, Failure, print, say};
use crate::provenance::{Account, Form, methods as paragraph, write_crate};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct ProvenanceArgs {
    /// The output folder of `batch` or `run`
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// The crate's folder, made if need be: metadata, workflows and published files
    #[arg(long = "crate", value_name = "FOLDER")]
    place: PathBuf,
}

pub(super) fn provenance(args: &ProvenanceArgs) -> Result<Exit, Failure> {
    let account = Account::of(&args.out)?;
    for said in write_crate(&account, &args.place)? {
        say(&format!("warning: {said}"));
    }
    print(&args.place.join("ro-crate-metadata.json").display().to_string());
    Ok(Exit::Fine)
}

#[derive(Debug, Args)]
pub(super) struct MethodsArgs {
    /// The output folder of `batch` or `run`
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// How it is written
    #[arg(long, value_enum, default_value_t)]
    format: MethodsForm,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum MethodsForm {
    /// Plain text with numbered references.
    #[default]
    Text,
    /// Markdown with numbered references.
    Markdown,
    /// The references alone.
    Bibtex,
    /// Text, references, and every number under a stable key.
    Json,
}

pub(super) fn methods(args: &MethodsArgs) -> Result<Exit, Failure> {
    let account = Account::of(&args.out)?;
    let form = if args.format == MethodsForm::Markdown { Form::Markdown } else { Form::Text };
    let text = paragraph(&account, form);
    match args.format {
        MethodsForm::Text | MethodsForm::Markdown => print(&text.whole()),
        MethodsForm::Bibtex => print(&text.bibtex()),
        MethodsForm::Json => print(&format!(
            "{:#}",
            json!({ "paragraph": text.paragraph, "references": text.references, "numbers": text.numbers })
        )),
    }
    Ok(Exit::Fine)
}
