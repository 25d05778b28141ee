//! The files at the root of a data set: `dataset_description.json`, `.bidsignore`, `participants.tsv`.

use super::files::{FileName, is_in_bids};
use super::{Item, Publication, PublishError, STATE_FOLDER, io, write_whole};
use crate::case::dataset_of;
use crate::plan::DatasetKind;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

/// Version of BIDS that the outputs follow.
const BIDS_VERSION: &str = "1.10.0";

/// Name of the link to the data set that cases are read from.
pub(super) const RAW_LINK: &str = "raw";

/// Writes what describes the data set; what other runs wrote there stays valid.
pub(super) fn describe(
    root: &Path,
    kind: DatasetKind,
    case: &Publication<'_>,
    values: &[Item<'_>],
) -> Result<(), PublishError> {
    let graph = case.graph;
    let mut description = json!({
        "Name": format!("Outputs of the workflow {}", graph.name),
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": match kind { DatasetKind::Raw => "raw", DatasetKind::Derivative => "derivative" },
        "GeneratedBy": [{
            "Name": "neuroloom",
            "Version": env!("CARGO_PKG_VERSION"),
            "Description": format!("workflow {} {} ({})", graph.name, graph.version, &graph.digest[..16.min(graph.digest.len())]),
        }],
    });
    if let Some(link) = raw_link(root, case).or_else(|| raw_above(case, values)) {
        description["DatasetLinks"] = json!({ RAW_LINK: link });
        description["SourceDatasets"] = json!([{ "URL": link }]);
    }
    let text = format!("{description:#}\n");
    write_whole(&root.join("dataset_description.json"), text.as_bytes())?;
    ignore(root, values)?;
    if kind == DatasetKind::Raw { list_participant(root, &case.label.subject) } else { Ok(()) }
}

/// The folder of the first input that lies in a data set, as seen from `root`.
fn raw_link(root: &Path, case: &Publication<'_>) -> Option<String> {
    let raw = case.sources.iter().find_map(|source| dataset_of(&source.path)).map(|(raw, _)| raw)?;
    let here = root.canonicalize().ok()?;
    Some(relative(&here, &raw).to_string_lossy().into_owned())
}

/// The way up from derivatives to the raw data set that the same run makes.
fn raw_above(case: &Publication<'_>, values: &[Item<'_>]) -> Option<String> {
    let within = values.first()?.0.dataset.as_ref().filter(|_| case.graph.dataset == DatasetKind::Raw)?;
    let up: PathBuf = Path::new(within).components().map(|_| Component::ParentDir).collect();
    Some(up.to_string_lossy().into_owned())
}

/// The way from one folder to another, both absolute.
fn relative(from: &Path, to: &Path) -> PathBuf {
    let shared = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(shared).map(|_| Component::ParentDir);
    up.chain(to.components().skip(shared)).collect()
}

/// Keeps `.bidsignore` listing what BIDS has no name for.
fn ignore(root: &Path, values: &[Item<'_>]) -> Result<(), PublishError> {
    let path = root.join(".bidsignore");
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    let mut lines: BTreeSet<String> = before.lines().map(str::to_owned).collect();
    lines.insert(format!("{STATE_FOLDER}/"));
    for (spec, (member, value)) in values {
        let name = FileName::of(spec, member, value.kind());
        if !is_in_bids(value.kind(), &name.suffix) {
            lines.insert(format!("*_{}.*", name.suffix));
        }
    }
    let text: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
    if text == before { Ok(()) } else { write_whole(&path, text.as_bytes()) }
}

fn list_participant(root: &Path, subject: &str) -> Result<(), PublishError> {
    let path = root.join("participants.tsv");
    let before = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(&path)(error)),
        text => text.unwrap_or_else(|_| "participant_id\n".to_owned()),
    };
    let row = format!("sub-{subject}");
    if before.lines().any(|line| line.split('\t').next() == Some(&row)) {
        return Ok(());
    }
    let columns = before.lines().next().map_or(1, |head| head.split('\t').count());
    let unknown = "\tn/a".repeat(columns - 1);
    write_whole(&path, format!("{before}{row}{unknown}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_between_two_folders_is_found() {
        assert_eq!(relative(Path::new("/a/b/out"), Path::new("/a/raw")), Path::new("../../raw"));
        assert_eq!(relative(Path::new("/a"), Path::new("/a/raw")), Path::new("raw"));
    }
}
