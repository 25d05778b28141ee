//! Plugins that panic, lie, hang or are no plugins end in one clear line, and the other cases of the run finish.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use neuroloom_core::plan::Graph;
use neuroloom_core::registry::{PluginFolder, Registry};
use neuroloom_core::runner::{self, CaseInput, CaseJob, CaseResult, RunOptions, StageRecord, StageState};
use neuroloom_core::workflow::{self, Overrides};
use neuroloom_tests::hostile;
use sdk::{AnyVolume, Grid, Image};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn registry() -> Registry {
    let mut registry = Registry::default();
    registry.add(&hostile()).unwrap();
    registry
}

fn graph(registry: &Registry, toml: &str) -> Graph {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.toml");
    std::fs::write(&path, toml).unwrap();
    workflow::load(&path, &Overrides::default(), registry).unwrap_or_else(|faults| panic!("{faults}"))
}

/// A workflow whose stages follow one another: `(name, lines)`.
fn chain(stages: &[(&str, &str)]) -> String {
    let mut text = "name = \"chain\"\n[inputs]\nimage = { type = \"image\" }\n".to_owned();
    let mut before = "image".to_owned();
    for (name, lines) in stages {
        let _ = write!(text, "[stages.{name}]\ninputs.image = \"{before}\"\n{lines}\n");
        before = format!("{name}.image");
    }
    let _ = write!(text, "[outputs]\nresult = {{ from = \"{before}\", bids = \"desc-x_T1w\" }}\n");
    text
}

fn image(side: usize, value: f32) -> Image {
    Image::new(Grid::axis_aligned([side; 3], [1.0; 3]), vec![value; side.pow(3)]).unwrap()
}

fn jobs(graph: &Graph, registry: &Registry, images: &[Image]) -> Vec<CaseJob> {
    let present: BTreeSet<String> = BTreeSet::from(["image".to_owned()]);
    let plan = Arc::new(graph.plan(registry, &present).unwrap());
    let job = |(n, image): (usize, &Image)| CaseJob {
        label: format!("sub-{n}"),
        inputs: BTreeMap::from([("image".to_owned(), CaseInput::Value(image.clone().into()))]),
        plan: Arc::clone(&plan),
        memory_mib: 0,
    };
    images.iter().enumerate().map(job).collect()
}

fn run_all(toml: &str, images: &[Image], options: &RunOptions) -> Vec<CaseResult> {
    let registry = registry();
    let graph = graph(&registry, toml);
    let jobs = jobs(&graph, &registry, images);
    let (graph, registry) = (Arc::new(graph), Arc::new(registry));
    let results = Mutex::new(Vec::new());
    runner::run(&graph, &registry, options, &mut jobs.into_iter(), &|result| {
        results.lock().unwrap().push(result);
    });
    let mut results = results.into_inner().unwrap();
    results.sort_by(|a, b| a.label.cmp(&b.label));
    results
}

fn options() -> RunOptions {
    RunOptions { cores: 2, permits: 2, grace: Duration::from_millis(50), ..RunOptions::default() }
}

fn failure(result: &CaseResult) -> &StageRecord {
    result.records.iter().find(|record| record.state == StageState::Failed).expect("a stage failed")
}

/// The stage that fails, and what it says, for one operator on two cases.
fn story(operator: &str) -> String {
    let toml = chain(&[("good", "operator = \"pass\""), ("bad", &format!("operator = \"{operator}\""))]);
    let results = run_all(&toml, &[image(4, 1.0), image(4, 2.0)], &options());
    assert_eq!(results.len(), 2, "{operator}: both cases end");
    let record = failure(&results[0]);
    assert_eq!(record.stage, "bad");
    let location = record.location.as_ref().map(|at| format!(" @ {}", at.rsplit('/').next().unwrap()));
    let hint = record.hint.as_ref().map(|hint| format!(" | {hint}"));
    let text = record.reason.clone().unwrap();
    format!("{text}{}{}", location.unwrap_or_default(), hint.unwrap_or_default())
}

#[test]
fn every_misbehaviour_is_one_clear_line() {
    let operators = [
        "panic_run",
        "panic_part",
        "panic_open",
        "fails",
        "makes_nan",
        "wrong_grid",
        "wrong_kind",
        "wrong_port",
        "makes_nothing",
    ];
    let mut text = String::new();
    for operator in operators {
        let _ = writeln!(text, "{operator}: {}", story(operator));
    }
    insta::with_settings!({ filters => vec![(r"\.rs:\d+:\d+", ".rs:LINE")] }, {
        insta::assert_snapshot!(text);
    });
}

#[test]
fn a_panic_while_an_operator_is_dropped_harms_nobody() {
    let toml = chain(&[("bad", "operator = \"panic_drop\""), ("good", "operator = \"pass\"")]);
    let results = run_all(&toml, &[image(4, 1.0), image(4, 2.0)], &options());
    assert!(results.iter().all(|result| result.ok));
}

#[test]
fn a_panic_in_interface_is_a_fault_of_the_workflow() {
    let registry = registry();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.toml");
    std::fs::write(&path, chain(&[("bad", "operator = \"panic_interface\"")])).unwrap();
    let faults = workflow::load(&path, &Overrides::default(), &registry).unwrap_err().to_string();
    assert!(faults.contains("its code panicked: which interface?"), "{faults}");
    assert!(faults.contains("test.toml:4"), "{faults}");
}

#[test]
fn one_case_fails_and_the_others_finish() {
    let toml = chain(&[("work", "operator = \"panic_run\""), ("after", "operator = \"pass\"")]);
    let results = run_all(&toml, &[image(4, 1.0), image(5, 2.0), image(6, 3.0)], &options());
    assert_eq!(results.len(), 3);
    for result in &results {
        let after = result.records.iter().find(|record| record.stage == "after").unwrap();
        assert_eq!(after.state, StageState::Cancelled);
        assert_eq!(after.reason.as_deref(), Some("stage `work` failed"));
    }
}

#[test]
fn a_stage_that_heeds_its_timeout_stops_and_one_that_does_not_is_given_up() {
    for (heed, words) in [(true, "still running after its timeout"), (false, "ignores the request to stop")] {
        let lines = format!(
            "operator = \"sleeper\"\nsettings = {{ seconds = 3.0, heed = {heed} }}\ntimeout = \"100 ms\""
        );
        let toml = chain(&[("slow", &lines), ("after", "operator = \"pass\"")]);
        let start = std::time::Instant::now();
        let results = run_all(&toml, &[image(4, 1.0), image(4, 2.0)], &options());
        assert_eq!(results.len(), 2, "the second case got a new worker");
        let record = failure(&results[1]);
        assert!(record.reason.as_ref().unwrap().contains(words), "{record:?}");
        assert!(start.elapsed() < Duration::from_secs(3), "nobody waits for a stage that was given up");
    }
}

/// Three libraries, each loaded from a file of its own under a name of its own.
#[test]
fn a_volume_passes_three_plugins_at_the_same_address() {
    let folder = tempfile::tempdir().unwrap();
    let mut registry = Registry::default();
    for name in ["testa", "testb", "testc"] {
        let package = format!("neuroloom-{name}");
        registry.add(&forged(folder.path(), name, b"neuroloom-tests", package.as_bytes())).unwrap();
    }
    let stages = ["testa:pass", "testb:pass", "testc:pass"].map(|name| format!("operator = \"{name}\""));
    let graph = graph(&registry, &chain(&[("a", &stages[0]), ("b", &stages[1]), ("c", &stages[2])]));
    let image = image(256, 0.5);
    let address = image.voxels().as_ptr();
    let jobs = jobs(&graph, &registry, &[image]);
    let (graph, registry) = (Arc::new(graph), Arc::new(registry));
    let results = Mutex::new(Vec::new());
    runner::run(&graph, &registry, &options(), &mut jobs.into_iter(), &|result| {
        results.lock().unwrap().push(result);
    });
    let results = results.into_inner().unwrap();
    let value = &results[0].outputs[0][0].1;
    let Some(AnyVolume::Image(result)) = value.volume() else { panic!("{value:?}") };
    assert_eq!(result.voxels().as_ptr(), address);
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let run = |cores| {
        let options = RunOptions { cores, ..options() };
        let results = run_all(&chain(&[("twice", "operator = \"talker\"")]), &[image(20, 1.25)], &options);
        assert!(results[0].ok, "{:?}", results[0].records);
        let value = results[0].outputs[0][0].1.clone();
        let Some(AnyVolume::Image(image)) = value.volume() else { panic!("{value:?}") };
        image.voxels().to_vec()
    };
    assert_eq!(run(1), vec![2.5; 8000]);
    assert_eq!(run(1), run(3));
}

/// Two hundred cases race through two stages that split and join; a message that is lost would leave the run waiting.
#[test]
fn every_case_of_many_ends() {
    let mut toml =
        chain(&[("a", "operator = \"pass\""), ("b", "operator = \"talker\""), ("c", "operator = \"pass\"")]);
    toml += "[stages.d]\noperator = \"pass\"\ninputs.image = \"a.image\"\n[outputs.also]\nfrom = \"d.image\"\nbids = \"desc-d_T1w\"\n";
    let images: Vec<Image> = (0..200u8).map(|n| image(3, f32::from(n))).collect();
    let results = run_all(&toml, &images, &RunOptions { permits: 7, ..options() });
    assert_eq!(results.len(), images.len());
    for result in results {
        let number: f32 = result.label.trim_start_matches("sub-").parse().unwrap();
        let first = |output: usize| match result.outputs[output][0].1.volume() {
            Some(AnyVolume::Image(image)) => image.voxels()[0],
            other => panic!("{other:?}"),
        };
        assert_eq!((first(0), first(1)), (2.0 * number, number), "{}", result.label);
    }
}

#[test]
fn a_panic_of_the_program_over_one_case_comes_after_the_others_have_ended() {
    let registry = registry();
    let graph = graph(&registry, &chain(&[("a", "operator = \"pass\"")]));
    let jobs = jobs(&graph, &registry, &[image(4, 1.0), image(4, 2.0), image(4, 3.0)]);
    let (graph, registry) = (Arc::new(graph), Arc::new(registry));
    let ended = Mutex::new(0);
    let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        runner::run(&graph, &registry, &options(), &mut jobs.into_iter(), &|result| {
            *ended.lock().unwrap() += 1;
            assert_ne!(result.label, "sub-0", "as planned");
        });
    }));
    assert!(run.is_err());
    assert_eq!(ended.into_inner().unwrap(), 3);
}

#[test]
fn an_interrupted_run_starts_no_new_case() {
    let options = options();
    options.cancel.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(run_all(&chain(&[("a", "operator = \"pass\"")]), &[image(4, 1.0)], &options).is_empty());
}

/// The plugin with some of its bytes replaced by others of the same length.
fn forged(folder: &Path, name: &str, old: &[u8], new: &[u8]) -> std::path::PathBuf {
    assert_eq!(old.len(), new.len());
    let mut bytes = std::fs::read(hostile()).unwrap();
    let places: Vec<usize> =
        bytes.windows(old.len()).enumerate().filter(|(_, window)| *window == old).map(|(at, _)| at).collect();
    assert!(!places.is_empty(), "{name}: nothing to forge");
    for at in places {
        bytes[at..at + new.len()].copy_from_slice(new);
    }
    let path = folder.join(format!("lib{name}.so"));
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn files_that_are_no_usable_plugin_are_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    forged(at, "newer_abi", b"NEUROLOOM-PLUGINabi=1.2", b"NEUROLOOM-PLUGINabi=1.7");
    forged(at, "other_abi", b"NEUROLOOM-PLUGINabi=1.2", b"NEUROLOOM-PLUGINabi=2.0");
    forged(at, "odd_tag", b"NEUROLOOM-PLUGINabi=1.2", b"NEUROLOOM-PLUGINabi=one");
    forged(at, "wrong_tag", b"NEUROLOOM-PLUGINabi=1.2", b"SOMETHING-ELSE..abi=1.1");
    forged(
        at,
        "no_symbol",
        b"_1as_0lib_1header_0root_bmodule_bloader",
        b"_1as_0lib_1header_0root_bm0dule_bl0ader",
    );
    std::fs::write(at.join("libtext.so"), "this is no library, only text with its name").unwrap();
    std::fs::write(at.join("libempty.so"), "").unwrap();
    let whole = std::fs::read(hostile()).unwrap();
    std::fs::write(at.join("libcut.so"), &whole[..whole.len() / 3]).unwrap();
    let registry = Registry::discover(&[PluginFolder { path: at.to_owned(), named: true }]);
    assert!(registry.plugins().is_empty());
    let line = |rejected: &neuroloom_core::registry::Rejected| {
        let name = rejected.path.file_name().unwrap().to_string_lossy().into_owned();
        format!("{name}: {}\n", rejected.error)
    };
    let text: String = registry.rejected().iter().map(line).collect();
    let place = at.display().to_string();
    insta::with_settings!({ filters => vec![(place.as_str(), "FOLDER"), (r"\(rustc.*\)", "")] }, {
        insta::assert_snapshot!(text);
    });
}

#[test]
#[cfg(unix)]
fn a_plugin_that_anyone_may_change_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("libopen.so");
    std::fs::copy(hostile(), &path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
    let error = Registry::default().add(&path).unwrap_err().to_string();
    assert!(error.contains("anyone may write to"), "{error}");
}
