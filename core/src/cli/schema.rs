//! `neuroloom schema`.

use super::{Common, Exit, Failure, open_site, print};
use crate::catalogue::{Catalogue as _, Lookup};
use crate::schema::workflow;
use clap::Args;

#[derive(Debug, Args)]
pub(super) struct SchemaArgs {
    /// `workflow`, `schedule`, or the name of an operator whose settings are meant
    #[arg(default_value = "workflow")]
    what: String,
}

pub(super) fn schema(common: &Common, args: &SchemaArgs) -> Result<Exit, Failure> {
    let (_, registry) = open_site(common)?;
    let schema = if args.what == "workflow" {
        workflow(Some(&registry))
    } else if args.what == "schedule" {
        crate::schedule::schema()
    } else {
        match registry.find(&args.what) {
            Ok(found) => found.description.settings.clone(),
            Err(Lookup::Ambiguous(list)) => {
                return Err(Failure::new(format!(
                    "more than one operator `{}`: {}",
                    args.what,
                    list.join(", ")
                )));
            }
            Err(Lookup::Unknown) => {
                let names: Vec<String> =
                    registry.operators().into_iter().map(|operator| operator.name).collect();
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let hint = crate::fault::suggest(&args.what, "there are", &names).unwrap_or_default();
                return Err(Failure::new(format!("no operator `{}`\nhint: {hint}", args.what)));
            }
        }
    };
    print(&format!("{schema:#}"));
    Ok(Exit::Fine)
}
