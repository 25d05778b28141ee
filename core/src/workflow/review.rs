//! `[review]`: what is done with a reader's answer. It changes the workflow around it as a file that extends it would, but for
//! the outputs, which it names anew: what the workflow publishes stays as it is.

use super::merge;
use super::tree::Table;
use crate::catalogue::Catalogue;
use crate::fault::{Fault, list};
use crate::plan::Graph;
use sdk::Kind;

/// Keys of `[review]`.
pub(crate) const REVIEW_KEYS: [&str; 6] = ["form", "truth", "inputs", "values", "stages", "outputs"];

/// What `[review]` says beside the stages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReviewPart {
    /// The output of the workflow that lists what can be decided on; its digest names what was reviewed.
    pub form: String,
    /// The output of the review that a training table names as truth.
    pub truth: Option<String>,
    /// The input that holds what readers decided.
    pub input: String,
}

/// The workflow with `[review]` laid over it; `part` takes the rest of the section.
pub(super) fn laid_over(
    mut table: Table,
    part: &mut ReviewPart,
    catalogue: &dyn Catalogue,
) -> Result<Table, Fault> {
    let Some(entry) = table.get("review").cloned() else {
        let fault = Fault::whole("the workflow has no `[review]`, so it cannot use what a reader decided");
        return Err(fault.hint("`workflows/brain-metastases.toml` shows one, at its end"));
    };
    let Some(mut over) = entry.value.as_table().cloned() else {
        return Err(Fault::at(entry.value.span, format!("`review` is {}, not a table", entry.value.kind())));
    };
    if let Some(unknown) = over.entries.iter().find(|entry| !REVIEW_KEYS.contains(&entry.key.as_str())) {
        let fault = Fault::at(unknown.key_span, format!("`[review]` has no key `{}`", unknown.key));
        return Err(fault.hint(format!("its keys: {}", list(&REVIEW_KEYS))));
    }
    let text = |key: &str| match over.get(key).map(|entry| (entry, entry.value.as_text())) {
        None => Ok(None),
        Some((_, Some(text))) => Ok(Some(text.to_owned())),
        Some((entry, None)) => {
            let found = entry.value.kind();
            Err(Fault::at(entry.value.span, format!("`{key}` is {found}, not the name of an output")))
        }
    };
    let form = text("form")?.ok_or_else(|| {
        let fault = Fault::at(entry.key_span, "`[review]` does not name its `form`");
        fault.hint("`form` is the output that lists the candidates, as in `form = \"review_form\"`")
    })?;
    let outputs = table.get("outputs").and_then(|entry| entry.value.as_table());
    if outputs.is_none_or(|outputs| outputs.get(&form).is_none()) {
        let fault =
            Fault::at(entry.key_span, format!("`form` of `[review]` is `{form}`, which is no output"));
        return Err(fault.hint("publish the form of the report: `review_form = { from = \"page.form\", … }`"));
    }
    let inputs = over.get("inputs").and_then(|entry| entry.value.as_table());
    let names: Vec<String> =
        inputs.into_iter().flat_map(|table| &table.entries).map(|entry| entry.key.clone()).collect();
    let [input] = names.as_slice() else {
        let fault = Fault::at(entry.key_span, format!("`[review]` has {} inputs, not one", names.len()));
        return Err(fault
            .hint("`[review.inputs]` declares where the reviews come in: `reviews = { type = \"text\" }`"));
    };
    *part = ReviewPart { form, truth: text("truth")?, input: input.clone() };
    for key in ["form", "truth"] {
        over.remove(key);
    }
    for key in ["review", "outputs", "cohort"] {
        table.remove(key);
    }
    Ok(merge::workflows(table, over, catalogue))
}

/// Whether the input is text and the truth is published.
pub(super) fn check(graph: &Graph, part: &ReviewPart) -> Result<(), Fault> {
    let kind = graph.input(&part.input).map(|input| input.kind);
    if kind != Some(Kind::Text) {
        let message = format!("input `{}` of `[review]` is not of type `text`", part.input);
        return Err(Fault::whole(message).hint("the engine hands the reviews over as text"));
    }
    match &part.truth {
        Some(truth) if !graph.outputs.iter().any(|output| output.name == *truth) => {
            let message =
                format!("`truth` of `[review]` is `{truth}`, which is no output of `[review.outputs]`");
            Err(Fault::whole(message).hint("name the labels that a reader's answer makes"))
        }
        _ => Ok(()),
    }
}
