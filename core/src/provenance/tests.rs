//! What is told is what the records say.

use super::*;
use crate::record::tests_support::blank_end;
use crate::record::{FORMAT, Process, StageEntry};
use crate::runner::StageState;
use serde_json::json;
use std::collections::BTreeMap;

fn stage(name: &str, state: StageState) -> StageEntry {
    StageEntry {
        stage: name.to_owned(),
        member: String::new(),
        operator: "bet".to_owned(),
        state,
        reason: None,
        hint: None,
        location: None,
        seconds: 1.0,
        peak_mib: None,
        alone: false,
        cached: false,
        key: None,
        parts: None,
        outputs: BTreeMap::new(),
    }
}

fn case(label: &str, present: &[&str], ending: Ending, stages: &[(&str, StageState)]) -> CaseAccount {
    let end = End {
        ending,
        reason: (ending == Ending::Failed)
            .then(|| "stage `brain`: cannot read /somewhere/jane/brain.nii".to_owned()),
        present: present.iter().map(ToString::to_string).collect(),
        stages: stages.iter().map(|(name, state)| stage(name, *state)).collect(),
        ..blank_end(label)
    };
    CaseAccount { label: label.to_owned(), end }
}

fn account() -> Account {
    use StageState::{Failed, Ran, Skipped};
    let both = [("brain", Ran), ("flat", Ran)];
    let cases = vec![
        case("sub-01_ses-1", &["t1", "flair"], Ending::Ok, &both),
        case("sub-01_ses-2", &["t1", "flair"], Ending::Ok, &both),
        case("sub-02", &["t1"], Ending::Ok, &[("brain", Ran), ("flat", Skipped)]),
        case("sub-03", &["t1"], Ending::Failed, &[("brain", Failed), ("flat", Skipped)]),
    ];
    let operator = |stage: &str, citation: &str, settings| json!({ "stage": stage, "operator": "bet", "citation": citation, "settings": settings });
    let submission = Submission {
        format: FORMAT,
        command: "batch".to_owned(),
        workflow: "/nowhere/w.toml".into(),
        name: "w".to_owned(),
        digest: "0".repeat(64),
        files: Vec::new(),
        operators: Vec::new(),
        settings: Vec::new(),
        cohort: None,
        device: None,
        arguments: vec!["/somewhere/jane/secret".to_owned()],
        folder: "/somewhere/jane".into(),
        provenance: json!({
            "engine": { "name": "neuroloom", "version": "0.1.0" },
            "workflow": { "name": "w", "version": "2.0", "digest": "0123456789abcdef0123" },
            "plugins": [{ "name": "skull_strip", "version": "0.3.0", "digest": "ff" }],
            "operators": [operator("brain", "Smith 2002", json!({ "fractional_threshold": 0.4 })), operator("flat", "Smith 2002", json!({}))],
        }),
        process: Process::this().clone(),
        since: "2026-11-23T00:00:00Z".to_owned(),
    };
    let made = vec![Made { submission, run: 3, cases }];
    Account { out: "/nowhere".into(), made, cannot: vec!["sub-04".to_owned()] }
}

#[test]
fn the_paragraph_counts_what_the_records_say() {
    let text = methods(&account(), Form::Text);
    assert_eq!(
        text.paragraph,
        "Images were processed with Neuroloom 0.1.0 [1], workflow w version 2.0 (digest 0123456789abcdef), and its plugins skull_strip \
         0.3.0. Of 4 cases of 3 subjects, 3 were processed to the end and 1 failed (sub-03). 1 further case could not be processed for \
         want of a required input. 2 cases were without flair. The stages were brain (operator bet, fractional_threshold 0.4, in 3 of 4 \
         cases) [2] and flat (operator bet, in 2 of 4 cases) [2]."
    );
    assert_eq!(text.references.len(), 2);
    assert!(text.bibtex().contains("@misc{neuroloom2,\n  note = {Smith 2002}\n}"));
    assert!(methods(&account(), Form::Markdown).paragraph.contains("were without `flair`"));
}

#[test]
fn a_crate_tells_no_path() {
    let folder = tempfile::tempdir().unwrap();
    write_crate(&account(), folder.path()).unwrap();
    let text = std::fs::read_to_string(folder.path().join("ro-crate-metadata.json")).unwrap();
    for told in ["jane", "nowhere", "/somewhere", &Process::this().host] {
        assert!(!text.contains(told), "{told}");
    }
    assert!(text.contains("cannot read …") && text.contains("FailedActionStatus"), "{text}");
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("notes.txt"), "mine").unwrap();
    assert!(
        write_crate(&account(), other.path()).unwrap_err().to_string().contains("is not empty and no crate")
    );
}
