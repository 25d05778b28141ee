//! The files at the root of a data set: `dataset_description.json`, `.bidsignore`; `participants.tsv` is in a module of its own.
//!
//! Several processes may publish into one data set. So what a file must hold is kept elsewhere, in names that none takes from
//! another: the subjects' folders themselves, and one small file for each set of lines. Whoever writes then looks again until
//! the file has it all.

use super::files::{FileName, is_in_bids};
use super::{Item, Place, PublishError, io};
use crate::plan::{DatasetKind, Graph};
use crate::record::{StateFolder, write_new, write_whole};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

/// Version of BIDS that the outputs follow.
const BIDS_VERSION: &str = "1.10.0";

/// Name of the link to the data set that cases are read from.
pub(super) const RAW_LINK: &str = "raw";

/// How often a file is written anew because others wrote it meanwhile. It settles at once unless many write at a time.
const TRIES: usize = 1000;

/// Writes what describes a data set, which lies at `within` in the output folder; what other runs wrote there stays valid.
pub(super) fn describe(
    place: &Place,
    within: &Path,
    raw: Option<&Path>,
    graph: &Graph,
    ignored: BTreeSet<String>,
) -> Result<(), PublishError> {
    let root = place.out.join(within);
    std::fs::create_dir_all(&root).map_err(io(&root))?;
    let kind = kind_of(graph, within);
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
    let above = (graph.dataset == DatasetKind::Raw).then(|| way_up(within)).flatten();
    if let Some(link) = raw.and_then(|raw| way_to(&root, raw)).or(above) {
        description["DatasetLinks"] = json!({ RAW_LINK: link });
        description["SourceDatasets"] = json!([{ "URL": link }]);
    }
    let (path, text) = (root.join("dataset_description.json"), format!("{description:#}\n"));
    if std::fs::read(&path).map_or(true, |before| before != text.as_bytes()) {
        write_whole(&place.state, &path, text.as_bytes())?;
    }
    ignore(place, within, ignored)
}

/// What the data set at `within` is.
pub(super) fn kind_of(graph: &Graph, within: &Path) -> DatasetKind {
    if within.as_os_str().is_empty() { graph.dataset } else { DatasetKind::Derivative }
}

/// The folder of a data set as seen from another.
fn way_to(from: &Path, raw: &Path) -> Option<String> {
    Some(relative(&from.canonicalize().ok()?, raw).to_string_lossy().into_owned())
}

/// The way up from an inner data set to the one around it.
fn way_up(within: &Path) -> Option<String> {
    let up: PathBuf = within.components().map(|_| Component::ParentDir).collect();
    (!up.as_os_str().is_empty()).then(|| up.to_string_lossy().into_owned())
}

/// The way from one folder to another, both absolute.
fn relative(from: &Path, to: &Path) -> PathBuf {
    let shared = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(shared).map(|_| Component::ParentDir);
    up.chain(to.components().skip(shared)).collect()
}

/// The lines of `.bidsignore` for what BIDS has no name for.
pub(super) fn ignored(values: &[Item<'_>]) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for (spec, (member, value)) in values {
        let name = FileName::of(spec, member, value.kind());
        if !is_in_bids(value.kind(), &name.suffix) {
            lines.insert(format!("*_{}.*", name.suffix));
        }
    }
    lines
}

/// Keeps `.bidsignore` listing the engine's own folder and these lines.
fn ignore(place: &Place, within: &Path, mut lines: BTreeSet<String>) -> Result<(), PublishError> {
    lines.insert(format!("{}/", StateFolder::NAME));
    let text = text_of(&lines);
    let folder = place.state.path().join("ignored").join(slug(within));
    let own = folder.join(&blake3::hash(text.as_bytes()).to_hex()[..16]);
    if !own.exists() {
        write_new(&place.state, &own, text.as_bytes())?;
    }
    let all = || {
        let entries = std::fs::read_dir(&folder).into_iter().flatten().filter_map(Result::ok);
        let texts = entries.filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
        texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    settle(place, &place.out.join(within).join(".bidsignore"), |before| {
        let lines: BTreeSet<String> = before.lines().map(str::to_owned).chain(all()).collect();
        Ok(text_of(&lines))
    })
}

fn text_of(lines: &BTreeSet<String>) -> String {
    lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}

/// A data set's place as one word.
fn slug(within: &Path) -> String {
    let parts: Vec<_> = within.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    if parts.is_empty() { "root".to_owned() } else { parts.join("+") }
}

/// Brings a file to what it should be, and looks again: another process may have written at the same time. What is no text is
/// nobody's that writes here, and stays as it is.
pub(super) fn settle(
    place: &Place,
    path: &Path,
    wanted: impl Fn(&str) -> Result<String, PublishError>,
) -> Result<(), PublishError> {
    for _ in 0..TRIES {
        let before = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                tracing::warn!("{} is no text in UTF-8, and was left as it is", path.display());
                return Ok(());
            }
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(path)(error)),
            text => text.unwrap_or_default(),
        };
        let text = wanted(&before)?;
        if text == before {
            return Ok(());
        }
        write_whole(&place.state, path, text.as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_between_two_folders_is_found() {
        assert_eq!(relative(Path::new("/a/b/out"), Path::new("/a/raw")), Path::new("../../raw"));
        assert_eq!(relative(Path::new("/a"), Path::new("/a/raw")), Path::new("raw"));
        assert_eq!(way_up(Path::new("derivatives/truth")).as_deref(), Some("../.."));
        assert_eq!(way_up(Path::new("")), None);
    }
}
