//! What is known of the two runs, and what differs between them.

use super::folder::OutputFolder;
use super::measures::Pair;
use super::{CaseComparison, CaseState, FileComparison, records};
use serde::Serialize;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What an output folder tells of its run.
#[derive(Clone, Debug, Serialize)]
pub struct RunFacts {
    /// The folder, as it was named.
    pub folder: PathBuf,
    /// Workflow, version and digest, as in `dataset_description.json`.
    pub workflow: Option<String>,
    /// Version of the engine.
    pub engine: Option<String>,
    /// Cases that have results, of those that were compared.
    pub published: usize,
    /// Cases that failed and have none, of those that were looked at.
    pub failed: usize,
}

/// A key of two JSON sidecars with other values; `null` where a sidecar lacks it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SidecarChange {
    /// The key.
    pub key: String,
    /// Its values.
    #[serde(flatten)]
    pub value: Pair<Json>,
}

/// What a JSON file holds; null if it cannot be read.
pub(super) fn json(path: &Path) -> Json {
    let bytes = std::fs::read(path).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// What a folder's description tells; what it lacks stays unknown.
pub(super) fn facts(root: &Path, states: impl Iterator<Item = CaseState>) -> RunFacts {
    let description = json(&root.join("dataset_description.json"));
    let by = &description["GeneratedBy"][0];
    let text = |value: &Json| value.as_str().map(str::to_owned);
    let workflow =
        by["Description"].as_str().map(|text| text.strip_prefix("workflow ").unwrap_or(text).to_owned());
    let (mut published, mut failed) = (0, 0);
    for state in states {
        published += usize::from(state == CaseState::Published);
        failed += usize::from(state == CaseState::Failed);
    }
    RunFacts { folder: root.to_owned(), workflow, engine: text(&by["Version"]), published, failed }
}

/// The keys of two sidecars that differ.
pub(super) fn sidecar_changes(paths: &Pair<PathBuf>) -> Vec<SidecarChange> {
    let (a, b) = (json(&paths.a), json(&paths.b));
    let keys: BTreeSet<&String> =
        [&a, &b].into_iter().filter_map(Json::as_object).flat_map(|entries| entries.keys()).collect();
    let value = |from: &Json, key: &str| from.get(key).cloned().unwrap_or_default();
    keys.into_iter()
        .map(|key| SidecarChange { key: key.clone(), value: Pair { a: value(&a, key), b: value(&b, key) } })
        .filter(|change| change.value.a != change.value.b)
        .collect()
}

/// What differs between the runs, in sentences.
pub(super) fn differences(folders: &Pair<OutputFolder>, cases: &[CaseComparison]) -> Vec<String> {
    let facts = Pair {
        a: facts(folders.a.root(), std::iter::empty()),
        b: facts(folders.b.root(), std::iter::empty()),
    };
    let mut sentences = Vec::new();
    let mut tell = |what: &str, a: &Option<String>, b: &Option<String>| {
        if a != b {
            let name = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".to_owned());
            sentences.push(format!("{what}: {} in A, {} in B", name(a), name(b)));
        }
    };
    tell("workflow", &facts.a.workflow, &facts.b.workflow);
    tell("engine", &facts.a.engine, &facts.b.engine);
    if cases.iter().any(|case| case.causes.is_some()) {
        sentences.extend(records::gather(cases.iter().filter_map(|case| case.causes.as_ref())));
    } else {
        sentences.extend(in_sidecars(cases.iter().flat_map(|case| &case.files)));
    }
    sentences
}

/// The same change of an output's sidecar in many cases is told once.
fn in_sidecars<'a>(files: impl Iterator<Item = &'a FileComparison>) -> Vec<String> {
    let mut changes: BTreeMap<(&str, &str, String), usize> = BTreeMap::new();
    for file in files {
        for change in &file.sidecar {
            let values = format!("{} in A, {} in B", brief(&change.value.a), brief(&change.value.b));
            *changes.entry((&file.output, &change.key, values)).or_default() += 1;
        }
    }
    // Values of one case alone, as the names of source files, say nothing of the run.
    let mut kinds: BTreeMap<(&str, &str), Vec<(String, usize)>> = BTreeMap::new();
    for ((output, key, values), count) in changes {
        kinds.entry((output, key)).or_default().push((values, count));
    }
    let sentence = |((output, key), values): ((&str, &str), Vec<(String, usize)>)| {
        let count: usize = values.iter().map(|(_, count)| count).sum();
        let plural = if count == 1 { "" } else { "s" };
        match values.as_slice() {
            [(value, _)] => format!("`{key}` of {output}: {value} ({count} case{plural})"),
            _ => format!("`{key}` of {output}: other values ({count} case{plural})"),
        }
    };
    kinds.into_iter().map(sentence).collect()
}

/// A JSON value in few words: a model by name and digest.
fn brief(value: &Json) -> String {
    /// Letters of a value that are shown, and of a digest.
    const SHOWN: [usize; 2] = [60, 12];
    let cut = |text: &str, letters: usize| -> String {
        let short: String = text.chars().take(letters).collect();
        if short.len() < text.len() && letters > SHOWN[1] { format!("{short}…") } else { short }
    };
    match (value, value["name"].as_str()) {
        (Json::Null, _) => "none".to_owned(),
        (Json::String(text), _) => cut(text, SHOWN[0]),
        (Json::Object(_), Some(name)) => match value["digest"].as_str() {
            Some(digest) => format!("{name} ({})", cut(digest, SHOWN[1])),
            None => name.to_owned(),
        },
        _ => cut(&value.to_string(), SHOWN[0]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{FileKind, Verdict};
    use serde_json::json;

    #[test]
    fn a_change_of_many_sidecars_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, content: Json| {
            let path = folder.path().join(name);
            std::fs::write(&path, content.to_string()).unwrap();
            path
        };
        let model =
            |digest: &str| json!({ "name": "net", "digest": digest.repeat(8), "card": { "width": 1 } });
        let paths = Pair {
            a: write("a.json", json!({ "Threshold": 0.5, "Model": model("abcd"), "Type": "ROI" })),
            b: write("b.json", json!({ "Threshold": 0.4, "Model": model("ef01"), "Type": "ROI" })),
        };
        let sidecar = sidecar_changes(&paths);
        assert_eq!(
            sidecar.iter().map(|change| change.key.as_str()).collect::<Vec<_>>(),
            ["Model", "Threshold"]
        );
        let file = FileComparison {
            output: "desc-lesions_dseg".to_owned(),
            name: String::new(),
            file: String::new(),
            kind: FileKind::Labels,
            verdict: Verdict::Differs,
            measures: None,
            sidecar,
            problem: None,
        };
        let told = in_sidecars([&file, &file].into_iter());
        assert_eq!(
            told,
            [
                "`Model` of desc-lesions_dseg: net (abcdabcdabcd) in A, net (ef01ef01ef01) in B (2 cases)",
                "`Threshold` of desc-lesions_dseg: 0.5 in A, 0.4 in B (2 cases)",
            ]
        );
    }

    #[test]
    fn a_folder_without_description_is_of_an_unknown_run() {
        let folder = tempfile::tempdir().unwrap();
        let states = [CaseState::Failed, CaseState::Published, CaseState::Failed, CaseState::Missing];
        let facts = facts(folder.path(), states.into_iter());
        assert_eq!((facts.workflow, facts.engine, facts.published, facts.failed), (None, None, 1, 2));
    }
}
