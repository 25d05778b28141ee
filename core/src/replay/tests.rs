use super::*;
use crate::record::{FORMAT, InputEntry, OutputEntry, Process};
use serde_json::json;

/// An output folder with one recorded case.
fn recorded(out: &Path) -> Recorded {
    let state = StateFolder::of(out);
    state.make().unwrap();
    std::fs::create_dir_all(out.join("sub-01")).unwrap();
    std::fs::write(out.join("sub-01/sub-01_report.html"), "page").unwrap();
    let end: End = serde_json::from_value(json!({
        "format": FORMAT, "name": "sub-01", "run": 3, "ending": "ok", "seconds": 1.0, "since": "", "until": "",
        "outputs": [OutputEntry {
            output: "report".to_owned(),
            path: "sub-01/sub-01_report.html".into(),
            bytes: 4,
            blake3: Digest::of_bytes(b"page"),
        }],
    }))
    .unwrap();
    Attempts::write_end(&state, &state.case("sub-01"), 2, &end).unwrap();
    let submission = Submission {
        format: FORMAT,
        command: "run".to_owned(),
        workflow: "w.toml".into(),
        name: "w".to_owned(),
        digest: String::new(),
        files: Vec::new(),
        operators: Vec::new(),
        settings: Vec::new(),
        cohort: None,
        device: None,
        arguments: Vec::new(),
        folder: PathBuf::new(),
        provenance: json!({}),
        process: Process::this().clone(),
        since: String::new(),
    };
    let home = state.run(3);
    std::fs::create_dir_all(&home).unwrap();
    std::fs::write(home.join(Submission::FILE), serde_json::to_vec(&submission).unwrap()).unwrap();
    find(out, "01").unwrap()
}

#[test]
fn the_latest_result_is_found_with_the_record_of_its_run() {
    let folder = tempfile::tempdir().unwrap();
    let recorded = recorded(folder.path());
    assert_eq!((recorded.label.to_string().as_str(), recorded.attempt, recorded.end.run), ("sub-01", 2, 3));
    assert_eq!(recorded.submission.name, "w");
}

#[test]
fn a_case_without_a_result_says_why() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(find(folder.path(), "sub-01"), Err(ReplayError::NoRecords { .. })));
    let recorded = recorded(folder.path());
    let said = |label: &str| {
        let error = find(folder.path(), label).unwrap_err().to_string();
        error.replace(&*folder.path().to_string_lossy(), "OUT")
    };
    insta::assert_snapshot!(said("sub-02"), @r"
    case `sub-02` has no result in OUT: it was never run
    hint: did you mean `sub-01`?
    ");
    let state = StateFolder::of(folder.path());
    let failed =
        End { ending: Ending::Failed, reason: Some("stage `brain`: no brain".to_owned()), ..recorded.end };
    Attempts::write_end(&state, &state.case("sub-07"), 1, &failed).unwrap();
    insta::assert_snapshot!(said("sub-07"), @"case `sub-07` has no result in OUT: failed: stage `brain`: no brain");
    std::fs::remove_file(state.run(3).join(Submission::FILE)).unwrap();
    assert!(said("sub-01").starts_with("OUT/.neuroloom/runs/0003/submission.json cannot be read"));
}

#[test]
fn a_published_file_that_was_touched_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let recorded = recorded(folder.path());
    assert!(altered(&recorded).is_empty());
    let page = folder.path().join("sub-01/sub-01_report.html");
    std::fs::write(&page, "edit").unwrap();
    assert_eq!(altered(&recorded), ["sub-01/sub-01_report.html was changed after it was published"]);
    std::fs::remove_file(&page).unwrap();
    assert!(altered(&recorded)[0].starts_with("sub-01/sub-01_report.html: "));
}

#[test]
fn inputs_are_held_against_their_digests() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("head.nii.gz");
    std::fs::write(&path, "voxels").unwrap();
    let mut recorded = recorded(folder.path());
    let entry = |name: &str, path: Option<&Path>, value: Option<&str>, digest: Option<Digest>| InputEntry {
        name: name.to_owned(),
        path: path.map(Path::to_owned),
        value: value.map(str::to_owned),
        digest,
        bytes: Some(6),
    };
    let graph = graph(&[("head", Kind::Image), ("seed", Kind::Number)]);
    let mut look = |entries: Vec<InputEntry>| {
        recorded.end.present = entries.iter().map(|entry| entry.name.clone()).collect();
        recorded.end.inputs = entries;
        let mut changed = Vec::new();
        let inputs = inputs(&recorded, &graph, &Memo::in_memory(), &mut changed);
        let said: Vec<String> =
            changed.iter().map(|said| said.replace(&*path.to_string_lossy(), "HEAD")).collect();
        (inputs.len(), said.join("; "))
    };
    let digest = |text: &str| Some(Digest::of_bytes(text.as_bytes()));
    let seed = || entry("seed", None, Some("7"), None);
    assert_eq!(look(vec![entry("head", Some(&path), None, digest("voxels")), seed()]), (2, String::new()));
    assert_eq!(look(vec![entry("head", Some(&path), None, None)]), (1, String::new()));
    assert_eq!(
        look(vec![entry("head", Some(&path), None, digest("others"))]),
        (1, "input `head`, HEAD, has other content".to_owned())
    );
    let gone = look(vec![entry("head", Some(&folder.path().join("gone")), None, None)]);
    assert!(gone.0 == 0 && gone.1.contains("gone: No such file"), "{gone:?}");
    assert_eq!(look(vec![entry("t2", None, None, None)]).1, "the workflow has no input `t2` any more");
    assert_eq!(
        look(vec![entry("seed", None, Some("x"), None)]).1,
        "the record of input `seed` holds no number"
    );
}

/// A workflow with these inputs and nothing else.
fn graph(inputs: &[(&str, Kind)]) -> Graph {
    use crate::plan::{DatasetKind, InputSpec, OnError, Pick};
    let input = |(name, kind): &(&str, Kind)| InputSpec {
        name: (*name).to_owned(),
        kind: *kind,
        bids: BTreeMap::new(),
        required: true,
        pick: Pick::default(),
        on_error: OnError::default(),
        grid: None,
        frame: None,
        span: crate::fault::Span::default(),
    };
    Graph {
        name: "w".to_owned(),
        version: String::new(),
        dataset: DatasetKind::default(),
        files: Vec::new(),
        digest: String::new(),
        inputs: inputs.iter().map(input).collect(),
        nodes: Vec::new(),
        outputs: Vec::new(),
        cohort: Vec::new(),
        cohort_outputs: Vec::new(),
        notes: Vec::new(),
    }
}
