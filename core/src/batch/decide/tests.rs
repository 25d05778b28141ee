use super::*;
use crate::batch::session::tests_support::blank_graph;
use crate::plan::{InputSpec, OnError, Pick};
use crate::record::tests_support::{self, blank_end};
use crate::record::{Claimed, Ending, InputEntry, OutputEntry, Process};
use crate::registry::Registry;
use sdk::Kind;

/// An output folder, a workflow with one input and no stages, and a case of it.
struct Scene {
    folder: tempfile::TempDir,
    graph: Graph,
    keys: NodeKeys,
    memo: Memo,
    state: StateFolder,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut graph = blank_graph();
        graph.inputs.push(InputSpec {
            name: "head".to_owned(),
            kind: Kind::Image,
            bids: BTreeMap::new(),
            required: true,
            pick: Pick::Only,
            on_error: OnError::Fail,
            grid: None,
            frame: None,
            span: crate::fault::Span::default(),
        });
        let memo = Memo::in_memory();
        let keys = NodeKeys::new(&graph, &Registry::discover(&[]), &memo, &BTreeMap::new()).unwrap();
        let state = StateFolder::of(folder.path());
        state.make().unwrap();
        let scene = Self { folder, graph, keys, memo, state };
        scene.write_input("voxels");
        scene
    }

    fn input(&self) -> PathBuf {
        self.folder.path().join("head.nii")
    }

    fn write_input(&self, text: &str) {
        std::fs::write(self.input(), text).unwrap();
    }

    fn plan() -> Plan {
        Plan {
            present: ["head".to_owned()].into(),
            nodes: Vec::new(),
            outputs: Vec::new(),
            groups: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn decided(&self, retry_only: bool) -> Decided {
        let decider = Decider {
            graph: &self.graph,
            keys: &self.keys,
            memo: &self.memo,
            state: &self.state,
            out: self.folder.path(),
            liveness: Liveness::now(&self.state),
            retry_only,
            cancel: &AtomicBool::new(false),
            held: &BTreeMap::new(),
            task: None,
        };
        let mut case = Decided {
            label: CaseLabel::parse("sub-01").unwrap(),
            inputs: BTreeMap::from([("head".to_owned(), CaseInput::File(self.input()))]),
            plan: None,
            bytes: 0,
            decision: Decision::UpToDate,
            fingerprint: None,
            digests: BTreeMap::new(),
            seen: 0,
        };
        decider.look(&mut case, &Self::plan());
        case
    }

    fn why(&self) -> String {
        self.decided(false).decision.why().to_owned()
    }

    fn claim(&self, process: &Process) -> u32 {
        let claim = Claim { run: 3, home: StateFolder::home(3), ..tests_support::claim("sub-01", process) };
        match Attempts::of_case(&self.state, "sub-01").claim_next(&self.state, &claim).unwrap() {
            Claimed::Mine(number) => number,
            Claimed::Taken => panic!("nobody else is here"),
        }
    }

    /// An attempt that ended so, made from the input as it is.
    fn attempt(&self, ending: Ending, reason: &str) {
        let number = self.claim(Process::this());
        std::fs::write(self.folder.path().join("result"), "12345").unwrap();
        let digest = self.memo.digest_of(&self.input()).unwrap().digest;
        let inputs = BTreeMap::from([("head".to_owned(), CaseInput::File(self.input()))]);
        let digests = BTreeMap::from([("head".to_owned(), digest)]);
        let end = End {
            ending,
            reason: (!reason.is_empty()).then(|| reason.to_owned()),
            fingerprint: Some(fingerprint(&self.graph, &self.keys, &Self::plan(), &inputs, &digests)),
            present: ["head".to_owned()].into(),
            inputs: vec![InputEntry {
                name: "head".to_owned(),
                path: Some(self.input()),
                value: None,
                digest: Some(digest),
                bytes: Some(6),
            }],
            outputs: vec![OutputEntry {
                output: "result".to_owned(),
                path: "result".into(),
                bytes: 5,
                blake3: Digest::of_bytes(b"12345"),
            }],
            ..blank_end("sub-01")
        };
        Attempts::write_end(&self.state, &self.state.case("sub-01"), number, &end).unwrap();
    }
}

#[test]
fn a_case_without_a_result_runs_and_says_what_became_of_the_last_attempt() {
    let scene = Scene::new();
    assert_eq!(scene.why(), "missing");
    scene.attempt(Ending::Failed, "stage `brain`: no brain found\nhint: none");
    assert_eq!(scene.why(), "failed before: stage `brain`: no brain found");
    scene.attempt(Ending::Interrupted, "the run was stopped from outside");
    assert_eq!(scene.why(), "was interrupted");
    scene.attempt(Ending::Changed, "input `head` is another file now");
    assert_eq!(scene.why(), "changed while it ran: input `head` is another file now");
    scene.claim(&Process { started: 1, ..Process::this().clone() });
    assert_eq!(scene.why(), "its process was killed");
}

#[test]
fn a_result_is_up_to_date_until_what_it_was_made_from_or_its_files_change() {
    let scene = Scene::new();
    scene.attempt(Ending::Ok, "");
    assert_eq!(scene.decided(false).decision, Decision::UpToDate);
    scene.attempt(Ending::Failed, "with other settings");
    assert_eq!(scene.decided(false).decision, Decision::UpToDate, "the good result is still in place");
    scene.write_input("other voxels");
    assert_eq!(scene.why(), "input `head` has other content");
    scene.write_input("voxels");
    assert_eq!(scene.decided(false).decision, Decision::UpToDate);
    std::fs::write(scene.folder.path().join("result"), "12").unwrap();
    assert_eq!(scene.why(), "its files are gone or were changed: result");
    std::fs::remove_file(scene.input()).unwrap();
    assert_eq!(scene.why(), "an input cannot be read");
}

#[test]
fn another_process_that_works_on_it_is_respected_and_named() {
    let scene = Scene::new();
    scene.claim(Process::this());
    let case = scene.decided(false);
    assert_eq!((case.decision.name(), case.seen), ("busy", 1));
    assert!(case.decision.why().starts_with("run 3, process "), "{}", case.decision.why());
}

#[test]
fn retry_takes_only_cases_that_were_tried() {
    let scene = Scene::new();
    assert_eq!(scene.decided(true).decision.name(), "left_out");
    scene.attempt(Ending::Failed, "no brain found");
    assert_eq!(scene.decided(true).decision.name(), "run");
}
