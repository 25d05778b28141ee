//! What the records of two runs tell about a case: names of outputs, why there are no results, what the results hang on.

use super::folder::{CaseState, GROUP};
use super::measures::Pair;
use crate::record::{Attempts, End, Ending, Liveness, StageEntry, State, StateFolder};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The records of a case in one folder.
#[derive(Default)]
pub(super) struct Recorded {
    /// Of the attempt whose results are published.
    end: Option<End>,
    /// Why the latest attempt has none.
    pub(super) reason: Option<String>,
    /// Whether attempts ended and none delivered: what lies in the case's place is what a failed one could still make.
    failed: bool,
}

impl Recorded {
    /// Reads them; a folder of an older engine has none.
    pub(super) fn of(root: &Path, label: &str) -> Self {
        if label == GROUP {
            return Self::default();
        }
        let state = StateFolder::of(root);
        let attempts = Attempts::of_case(&state, label);
        let latest = attempts.latest().and_then(|attempt| attempt.end.as_ref());
        let reason = match attempts.state(&Liveness::now(&state)) {
            State::Never | State::Done => None,
            State::Running => Some("it is still running".to_owned()),
            State::Lost => Some("its process was killed".to_owned()),
            other => Some(
                latest
                    .filter(|end| end.ending != Ending::Ok)
                    .and_then(|end| Some(end.reason.as_ref()?.lines().next()?.to_owned()))
                    .unwrap_or_else(|| other.name().to_owned()),
            ),
        };
        let end = attempts.latest_ok().map(|(_, end)| end.clone());
        let failed = end.is_none() && attempts.ends().next().is_some();
        Self { end, reason, failed }
    }

    /// What became of a case, whose files alone say so much.
    pub(super) const fn state(&self, by_files: CaseState) -> CaseState {
        if self.failed { CaseState::Failed } else { by_files }
    }

    /// The workflow's name of an output, by its file; none where it is unknown or several files share it.
    pub(super) fn output_name(&self, relative: &str) -> Option<&str> {
        let outputs = &self.end.as_ref()?.outputs;
        let entry = outputs.iter().find(|entry| entry.path == Path::new(relative))?;
        let alike = outputs.iter().filter(|other| other.output == entry.output).count();
        (!entry.output.is_empty() && alike == 1).then_some(&entry.output)
    }
}

/// What decides the results of `b` otherwise than those of `a`: inputs, settings, plugins, models; in sentences.
pub(super) fn causes(recorded: Pair<&Recorded>) -> Option<Vec<String>> {
    let (a, b) = (recorded.a.end.as_ref()?, recorded.b.end.as_ref()?);
    let mut said = inputs(a, b);
    let by_name = |end: &'_ End| -> BTreeMap<String, StageEntry> {
        end.stages.iter().filter(|stage| stage.parts.is_some()).map(|s| (s.place(), s.clone())).collect()
    };
    let (in_a, in_b) = (by_name(a), by_name(b));
    said.extend(
        in_a.keys().filter(|name| !in_b.contains_key(*name)).map(|n| format!("stage `{n}` only in A")),
    );
    said.extend(
        in_b.keys().filter(|name| !in_a.contains_key(*name)).map(|n| format!("stage `{n}` only in B")),
    );
    for (name, stage) in &in_b {
        let before = in_a.get(name).and_then(|stage| stage.parts.as_ref());
        let (Some(now), Some(before)) = (&stage.parts, before) else { continue };
        // What reaches a stage from others follows from their own differences.
        let own = now.diff(before).into_iter().filter(|sentence| !sentence.starts_with("input `"));
        said.extend(own.map(|sentence| {
            if sentence.starts_with("plugin `") { sentence } else { format!("stage `{name}`: {sentence}") }
        }));
    }
    let mut seen = BTreeSet::new();
    said.retain(|sentence| seen.insert(sentence.clone()));
    Some(said)
}

fn inputs(a: &End, b: &End) -> Vec<String> {
    let digest = |end: &End, name: &str| {
        end.inputs.iter().find(|input| input.name == name).and_then(|input| input.digest)
    };
    let names: BTreeSet<&String> = a.present.union(&b.present).collect();
    let sentence = |name: &String| match (a.present.contains(name), b.present.contains(name)) {
        (true, false) => Some(format!("input `{name}` only in A")),
        (false, true) => Some(format!("input `{name}` only in B")),
        _ => match (digest(a, name), digest(b, name)) {
            (Some(a), Some(b)) if a != b => Some(format!("input `{name}` has other content")),
            _ => None,
        },
    };
    names.into_iter().filter_map(sentence).collect()
}

/// Causes over all cases, each once, with the number of cases.
pub(super) fn gather<'a>(causes: impl Iterator<Item = &'a Vec<String>>) -> Vec<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for sentence in causes.flatten() {
        *counts.entry(sentence).or_default() += 1;
    }
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    counts.into_iter().map(|(text, count)| format!("{text} ({count} case{})", plural(count))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Digest, KeyParts};
    use serde_json::json;

    fn recorded(threshold: f64, build: &str, flair: Option<&str>) -> Recorded {
        let digest = |text: &str| Digest::of_bytes(text.as_bytes());
        let parts = |operator: &str, settings, from: &str| KeyParts {
            operator: operator.to_owned(),
            build: digest(build),
            identity: String::new(),
            case: "sub-01".to_owned(),
            settings,
            files: BTreeMap::new(),
            order: BTreeMap::new(),
            inputs: BTreeMap::from([("image".to_owned(), Some(digest(from)))]),
        };
        let stage = |name: &str, parts: KeyParts| json!({ "stage": name, "operator": "x", "state": "ran", "seconds": 1.0, "parts": parts });
        let inputs = flair.map(|flair| json!({ "name": "flair", "digest": digest(flair) }));
        let end = json!({
            "format": 1, "name": "sub-01", "run": 1, "ending": "ok", "seconds": 1.0, "since": "", "until": "",
            "present": flair.map(|_| "flair").into_iter().collect::<Vec<_>>(),
            "inputs": inputs.into_iter().collect::<Vec<_>>(),
            "stages": [
                stage("filter", parts("lesions:filter", json!({ "threshold": threshold }), "raw")),
                stage("measure", parts("lesions:measure", json!({}), &threshold.to_string())),
            ],
            "outputs": [
                { "output": "lesions", "path": "sub-01/anat/sub-01_dseg.nii.gz", "bytes": 1, "blake3": digest("1") },
                { "output": "", "path": "sub-01/anat/sub-01_dseg.json", "bytes": 1, "blake3": digest("1") },
                { "output": "transforms", "path": "sub-01/anat/sub-01_to-a_xfm.txt", "bytes": 1, "blake3": digest("1") },
                { "output": "transforms", "path": "sub-01/anat/sub-01_to-b_xfm.txt", "bytes": 1, "blake3": digest("1") },
            ],
        });
        Recorded { end: Some(serde_json::from_value(end).unwrap()), reason: None, failed: false }
    }

    fn told(a: &Recorded, b: &Recorded) -> Vec<String> {
        causes(Pair { a, b }).unwrap()
    }

    #[test]
    fn the_roots_of_a_difference_are_told_and_not_what_follows_from_them() {
        let before = recorded(0.4, "one", Some("flair"));
        assert_eq!(told(&before, &before), [""; 0]);
        assert_eq!(
            told(&before, &recorded(0.5, "one", Some("flair"))),
            ["stage `filter`: setting `threshold`: 0.5, was 0.4"]
        );
        assert_eq!(told(&before, &recorded(0.4, "two", Some("flair"))), ["plugin `lesions` was rebuilt"]);
        assert_eq!(told(&before, &recorded(0.4, "one", Some("new"))), ["input `flair` has other content"]);
        assert_eq!(told(&before, &recorded(0.4, "one", None)), ["input `flair` only in A"]);
        assert!(causes(Pair { a: &before, b: &Recorded::default() }).is_none());
    }

    #[test]
    fn the_same_cause_in_many_cases_is_told_once() {
        let causes = [vec!["x".to_owned()], vec!["x".to_owned(), "y".to_owned()]];
        assert_eq!(gather(causes.iter()), ["x (2 cases)", "y (1 case)"]);
    }

    #[test]
    fn an_output_has_the_name_of_the_workflow_where_that_is_one_file() {
        let recorded = recorded(0.4, "one", None);
        assert_eq!(recorded.output_name("sub-01/anat/sub-01_dseg.nii.gz"), Some("lesions"));
        assert_eq!(recorded.output_name("sub-01/anat/sub-01_to-a_xfm.txt"), None);
        assert_eq!(recorded.output_name("sub-01/anat/sub-01_dseg.json"), None);
    }
}
