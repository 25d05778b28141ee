//! `neuroloom model`: what a model file holds, by the operators that read such files. The engine itself knows no format.

use super::{Common, Exit, Failure, Format, open_site, print};
use crate::registry::Registry;
use crate::store::Digest;
use clap::{Args, Subcommand};
use sdk::{Inspection, OperatorError};
use serde_json::json;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Characters of one entry that people are shown: lists of digests run to thousands.
const SHOWN_CHARS: usize = 800;

#[derive(Debug, Args)]
pub(super) struct ModelArgs {
    #[command(subcommand)]
    command: ModelCommand,
}

#[derive(Debug, Subcommand)]
enum ModelCommand {
    /// Show a model's card, what it needs, and what must be said of it
    Inspect {
        /// The model file
        file: PathBuf,
        /// How the answer is written
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

/// What one operator says of a file.
struct Answer {
    operator: String,
    said: Result<Inspection, OperatorError>,
}

pub(super) fn model(common: &Common, args: &ModelArgs) -> Result<Exit, Failure> {
    let ModelCommand::Inspect { file, format } = &args.command;
    let (digest, bytes) = fingerprint(file)?;
    let (_, registry) = open_site(common)?;
    let answers = ask(&registry, file)?;
    if answers.is_empty() {
        return Err(Failure::new(
            "no operator here reads model files\nhint: `neuroloom plugins list` shows those that were found",
        ));
    }
    let readers: Vec<(&str, &Inspection)> = answers
        .iter()
        .filter_map(|answer| Some((answer.operator.as_str(), answer.said.as_ref().ok()?)))
        .collect();
    if readers.is_empty() {
        return Err(refusals(&answers));
    }
    for (operator, inspection) in readers {
        print(&match format {
            Format::Text => text(file, &digest, bytes, operator, inspection),
            Format::Json => format!("{:#}", as_json(file, &digest, bytes, operator, inspection)),
        });
    }
    Ok(Exit::Fine)
}

/// BLAKE3 and length of the file.
fn fingerprint(file: &Path) -> Result<(Digest, u64), Failure> {
    let unreadable = |error: std::io::Error| Failure::new(format!("{}: {error}", file.display()));
    let opened = std::fs::File::open(file).map_err(unreadable)?;
    let state = opened.metadata().map_err(unreadable)?;
    if !state.is_file() {
        return Err(Failure::new(format!("{}: no file\nhint: name the model file itself", file.display())));
    }
    Ok((Digest::of_reader(opened).map_err(unreadable)?, state.len()))
}

/// Asks every operator; those that read no model files say nothing.
fn ask(registry: &Registry, file: &Path) -> Result<Vec<Answer>, Failure> {
    let name = file.to_str();
    let name = name.ok_or_else(|| Failure::new(format!("{}: its name is not UTF-8", file.display())))?;
    let mut answers = Vec::new();
    for plugin in registry.plugins() {
        for operator in &plugin.description.operators {
            if let Some(said) = plugin.inspect(&operator.name, name).transpose() {
                answers.push(Answer { operator: operator.name.clone(), said });
            }
        }
    }
    Ok(answers)
}

/// Why nobody could use the file: the reason itself if there is one reader, else each reader's.
fn refusals(answers: &[Answer]) -> Failure {
    let reasons = answers.iter().filter_map(|answer| Some((&answer.operator, answer.said.as_ref().err()?)));
    let texts = reasons.map(|(operator, error)| {
        let hint = error.hint.as_ref().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
        let who = if answers.len() > 1 { format!("operator `{operator}`: ") } else { String::new() };
        format!("error: {who}{}{hint}", error.message)
    });
    Failure(texts.collect::<Vec<_>>().join("\n"))
}

fn text(file: &Path, digest: &Digest, bytes: u64, operator: &str, inspection: &Inspection) -> String {
    let mut lines = vec![
        ("file", format!("{} ({bytes} bytes)", file.display())),
        ("digest", format!("blake3:{digest}")),
        ("read by", format!("operator `{operator}`")),
    ];
    lines.extend(inspection.lines.iter().map(|(name, text)| (name.as_str(), text.clone())));
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for (name, text) in lines {
        let length = text.chars().count();
        let text = if length > SHOWN_CHARS {
            let start: String = text.chars().take(SHOWN_CHARS).collect();
            format!("{start}… ({length} characters; `--format json` has all)")
        } else {
            text
        };
        // Lines that follow the first stand below it.
        let text = text.replace('\n', &format!("\n{:width$}  ", ""));
        let _ = writeln!(out, "{name:<width$}  {text}");
    }
    for warning in &inspection.warnings {
        let _ = writeln!(out, "warning: {warning}");
    }
    out
}

fn as_json(
    file: &Path,
    digest: &Digest,
    bytes: u64,
    operator: &str,
    inspection: &Inspection,
) -> serde_json::Value {
    let card: serde_json::Map<_, _> =
        inspection.lines.iter().map(|(name, text)| (name.clone(), json!(text))).collect();
    json!({
        "file": file,
        "bytes": bytes,
        "digest": format!("blake3:{digest}"),
        "operator": operator,
        "holds": card,
        "warnings": inspection.warnings,
    })
}
