use super::*;
use crate::fault::Span;
use crate::plan::OutputPlan;
use crate::record::{Claimed, Process, is_disk_full, tests_support};
use sdk::Kind;

const POLICY: Policy = Policy { keep_replaced: 1, copy_participants: true };

/// A workflow with a note for each of two data sets.
fn graph() -> Graph {
    let output = |name: &str, dataset: Option<&str>| OutputSpec {
        name: name.to_owned(),
        wires: Vec::new(),
        bids: None,
        dataset: dataset.map(str::to_owned),
        sidecar: serde_json::Map::new(),
        span: Span::default(),
    };
    Graph {
        name: "notes".to_owned(),
        version: "1".to_owned(),
        dataset: DatasetKind::Raw,
        files: Vec::new(),
        digest: "0".repeat(64),
        inputs: Vec::new(),
        nodes: Vec::new(),
        outputs: vec![output("note", None), output("truth", Some("derivatives/truth"))],
        cohort: Vec::new(),
        cohort_outputs: Vec::new(),
        notes: Vec::new(),
    }
}

fn end(ending: Ending) -> End {
    End { ending, ..tests_support::blank_end("sub-01") }
}

/// Publishes a text as a case's only output of each data set; its files, relative to the output folder.
fn publish(publisher: &Publisher, label: &str, text: &str, ending: Ending) -> Vec<PathBuf> {
    let graph = graph();
    let source = crate::plan::Source::Reserved(crate::plan::Reserved::Label);
    let planned = || OutputPlan::Available(vec![(String::new(), source.clone(), Kind::Text)]);
    let plan = Plan {
        present: BTreeSet::new(),
        nodes: Vec::new(),
        outputs: vec![planned(), planned()],
        groups: Vec::new(),
        notes: Vec::new(),
    };
    let label = CaseLabel::parse(label).unwrap();
    let value = || vec![(String::new(), Value::from(text))];
    let outputs = [value(), value()];
    let state = &publisher.place().state;
    let claim = tests_support::claim(&label.to_string(), Process::this());
    let attempts = Attempts::of_case(state, &label.to_string());
    let Claimed::Mine(number) = attempts.claim_next(state, &claim).unwrap() else { panic!("alone") };
    let case = Publication {
        graph: &graph,
        plan: &plan,
        label: &label,
        outputs: &outputs,
        sources: &[],
        values: &[],
    };
    let (published, end) = publisher.publish(number, &case, end(ending)).unwrap();
    let mains: Vec<_> = end.outputs.iter().filter(|file| !file.output.is_empty()).collect();
    assert_eq!(mains.len(), published.len());
    for file in &end.outputs {
        let bytes = std::fs::read(publisher.place().out.join(&file.path)).unwrap();
        assert_eq!((file.bytes, file.blake3), (bytes.len() as u64, Digest::of_bytes(&bytes)));
    }
    published.into_iter().map(|p| p.path.strip_prefix(&publisher.place().out).unwrap().to_owned()).collect()
}

fn open(out: &Path) -> Publisher {
    Publisher::open(out, &mut std::iter::empty(), POLICY).unwrap().0
}

#[test]
fn a_failed_case_never_replaces_a_good_one_but_a_failed_one_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let publisher = open(folder.path());
    let read = |path: &str| std::fs::read_to_string(folder.path().join(path)).unwrap_or_default();
    let note = "sub-01/sub-01_note.txt";
    for text in ["first", "second"] {
        assert_eq!(publish(&publisher, "sub-01", text, Ending::Failed)[0], Path::new(note));
        assert_eq!(read(note), format!("{text}\n"));
    }
    assert!(!folder.path().join(".neuroloom/replaced").exists(), "no failed page is kept");
    publish(&publisher, "sub-01", "good", Ending::Ok);
    let aside = publish(&publisher, "sub-01", "bad", Ending::Failed);
    assert_eq!(aside[0], Path::new(".neuroloom/failed/sub-01/sub-01/sub-01_note.txt"));
    assert_eq!(read("derivatives/truth/sub-01/sub-01_truth.txt"), "good\n");
    assert_eq!(read(".neuroloom/failed/sub-01/sub-01/sub-01_note.txt"), "bad\n");
    publish(&publisher, "sub-01", "better", Ending::Ok);
    assert_eq!(read(note), "better\n");
    assert_eq!(read(".neuroloom/replaced/sub-01.0003/sub-01/sub-01_note.txt"), "good\n");
    assert!(!folder.path().join(".neuroloom/failed/sub-01").exists());
}

#[test]
fn cases_published_at_once_by_two_publishers_lose_no_line_and_give_one_tree() {
    let folder = tempfile::tempdir().unwrap();
    let publishers = [open(folder.path()), open(folder.path())];
    std::thread::scope(|scope| {
        for number in 10..26 {
            let publisher = &publishers[number % 2];
            scope.spawn(move || publish(publisher, &format!("sub-{number}"), "text", Ending::Ok));
        }
    });
    let participants = std::fs::read_to_string(folder.path().join("participants.tsv")).unwrap();
    assert_eq!(participants.lines().count(), 17, "{participants}");
    let ignored = std::fs::read_to_string(folder.path().join(".bidsignore")).unwrap();
    assert_eq!(ignored, "*_note.*\n.neuroloom/\n");
    let left = std::fs::read_dir(folder.path().join(".neuroloom/tmp")).unwrap().count();
    assert_eq!(left, 0);
}

#[test]
fn a_case_without_session_does_not_swallow_its_sessions() {
    let folder = tempfile::tempdir().unwrap();
    let publisher = open(folder.path());
    publish(&publisher, "sub-01_ses-02", "text", Ending::Ok);
    let label = CaseLabel::parse("sub-01").unwrap();
    let (graph, outputs) = (graph(), [vec![(String::new(), Value::from("x"))], Vec::new()]);
    let plan = Plan {
        present: BTreeSet::new(),
        nodes: Vec::new(),
        outputs: Vec::new(),
        groups: Vec::new(),
        notes: Vec::new(),
    };
    let case = Publication {
        graph: &graph,
        plan: &plan,
        label: &label,
        outputs: &outputs,
        sources: &[],
        values: &[],
    };
    let refused = publisher.publish(1, &case, end(Ending::Ok));
    assert!(matches!(refused, Err(PublishError::HasSessions { .. })));
}

#[test]
fn a_full_disk_is_told_from_other_faults() {
    let fault = |kind| io(Path::new("out"))(std::io::Error::from(kind));
    assert!(is_disk_full(&fault(std::io::ErrorKind::StorageFull)));
    assert!(!is_disk_full(&fault(std::io::ErrorKind::PermissionDenied)));
    let record = RecordError::Io { path: "x".into(), source: std::io::ErrorKind::QuotaExceeded.into() };
    assert!(is_disk_full(&PublishError::from(record)));
    assert!(publish_to_a_file().to_string().contains("is a file where a folder is expected"));
}

fn publish_to_a_file() -> PublishError {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    Publisher::open(&file, &mut std::iter::empty(), POLICY).map(drop).unwrap_err()
}
