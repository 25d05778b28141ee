//! What the engine finds again instead of computing it, and what it does not.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use neuroloom_core::registry::Registry;
use neuroloom_core::runner::{self, CaseInput, CaseJob, CaseResult, Keeping, RunOptions};
use neuroloom_core::store::{Memo, NodeKeys, Store};
use neuroloom_core::workflow::{self, Overrides};
use neuroloom_tests::{built, hostile};
use sdk::nifti::{self, WriteOptions};
use sdk::{AnyVolume, Grid, Image};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Two stages that take their time, so that their values are worth storing, and a quick one.
const WORKFLOW: &str = r#"
name = "stored"
[inputs]
image = { type = "image" }
[stages.first]
operator = "sleeper"
inputs.image = "image"
settings.seconds = 0.02
[stages.second]
operator = "sleeper"
inputs.image = "first.image"
settings.seconds = 0.02
[stages.bright]
operator = "threshold"
inputs.image = "second.image"
settings.above = 50.0
[outputs]
mask = { from = "bright.mask", bids = "desc-bright_mask" }
"#;

struct Bench {
    folder: tempfile::TempDir,
    text: String,
    options: RunOptions,
}

impl Bench {
    fn new() -> Self {
        let bench = Self {
            folder: tempfile::tempdir().unwrap(),
            text: WORKFLOW.to_owned(),
            options: RunOptions { cores: 2, ..RunOptions::default() },
        };
        write(&bench.image(), 100.0);
        bench
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("sub-01_T1w.nii")
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn run(&self) -> CaseResult {
        self.run_on(&self.image())
    }

    /// Runs the case as a new process would: nothing is kept but the store.
    fn run_on(&self, image: &Path) -> CaseResult {
        let mut registry = Registry::default();
        registry.add(&hostile()).unwrap();
        let name = format!("{}volume_math{}", lib_prefix(), std::env::consts::DLL_SUFFIX);
        registry.add(&built().join(name)).unwrap();
        let path = self.folder.path().join("stored.toml");
        std::fs::write(&path, &self.text).unwrap();
        let graph = workflow::load(&path, &Overrides::default(), &registry).unwrap_or_else(|f| panic!("{f}"));
        let memo = Arc::new(Memo::in_memory());
        let keys = Arc::new(NodeKeys::new(&graph, &registry, &memo, &BTreeMap::new()).unwrap());
        let store = Some(Arc::new(Store::open(&self.store(), u64::MAX).unwrap()));
        let options = RunOptions { keeping: Some(Keeping { keys, memo, store }), ..self.options.clone() };
        let plan = graph.plan(&registry, &BTreeSet::from(["image".to_owned()])).unwrap();
        let case = CaseJob {
            label: "sub-01".to_owned(),
            inputs: BTreeMap::from([("image".to_owned(), CaseInput::File(image.to_owned()))]),
            plan: Arc::new(plan),
            memory_mib: 0,
        };
        let result = Mutex::new(None);
        let (graph, registry) = (Arc::new(graph), Arc::new(registry));
        runner::run(&graph, &registry, &options, &mut std::iter::once(case), &|ended| {
            *result.lock().unwrap() = Some(ended);
        });
        result.into_inner().unwrap().unwrap()
    }
}

fn lib_prefix() -> String {
    format!("{}neuroloom_", std::env::consts::DLL_PREFIX)
}

fn write(path: &Path, value: f32) {
    let mut voxels = vec![0.0; 32 * 32 * 32];
    voxels[..500].fill(value);
    let image = Image::new(Grid::axis_aligned([32; 3], [1.0; 3]), voxels).unwrap();
    nifti::write(path, &AnyVolume::Image(image), &WriteOptions::default()).unwrap();
}

/// `first ran, second stored, …`
fn story(result: &CaseResult) -> String {
    let stages = result.records.iter().map(|record| {
        let what = if record.evidence.cached { "stored" } else { record.state.name() };
        format!("{} {what}", record.stage)
    });
    stages.collect::<Vec<_>>().join(", ")
}

fn bright_voxels(result: &CaseResult) -> usize {
    let value = &result.outputs[0][0].1;
    let Some(AnyVolume::Mask(mask)) = value.volume() else { panic!("{value:?}") };
    mask.count()
}

/// The stored files, those with values.
fn entries(store: &Path) -> Vec<PathBuf> {
    let mut open = vec![store.to_owned()];
    let mut files = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.path().is_dir() { open.push(entry.path()) } else { files.push(entry.path()) }
        }
    }
    files.retain(|path| std::fs::metadata(path).unwrap().len() > 100_000);
    files.sort();
    files
}

#[test]
fn the_same_case_again_reads_no_voxel_it_does_not_publish() {
    let bench = Bench::new();
    let first = bench.run();
    assert_eq!(story(&first), "first ran, second ran, bright ran");
    let again = bench.run();
    // The mask was made faster than it could be read, so it is made again, from what `second` has stored.
    let told = story(&again);
    assert!(told.starts_with("first stored, second stored, bright "), "{told}");
    assert_eq!(bright_voxels(&again), bright_voxels(&first));
    assert_eq!(bright_voxels(&again), 500);
}

#[test]
fn threads_and_another_folder_change_nothing() {
    let mut bench = Bench::new();
    bench.run();
    bench.options.cores = 1;
    bench.text = bench.text.replace("[stages.second]", "[stages.second]\nthreads = 1");
    let moved = bench.folder.path().join("elsewhere");
    std::fs::create_dir(&moved).unwrap();
    let moved = moved.join("sub-01_T1w.nii");
    std::fs::rename(bench.image(), &moved).unwrap();
    let told = story(&bench.run_on(&moved));
    assert!(told.starts_with("first stored, second stored"), "{told}");
}

#[test]
fn a_setting_runs_its_stage_again_and_all_that_reads_another_result() {
    let mut bench = Bench::new();
    bench.run();
    bench.text = bench.text.replace("above = 50.0", "above = 150.0");
    let changed = bench.run();
    assert_eq!(story(&changed), "first stored, second stored, bright ran");
    assert_eq!(bright_voxels(&changed), 0);
    // `first` runs again, but makes what it made before: nothing after it needs to.
    bench.text = bench.text.replacen("seconds = 0.02", "seconds = 0.021", 1);
    let told = story(&bench.run());
    assert!(told.starts_with("first ran, second stored"), "{told}");
}

#[test]
fn an_input_of_other_content_runs_everything_again_and_one_of_the_same_nothing() {
    let bench = Bench::new();
    bench.run();
    write(&bench.image(), 100.0);
    let told = story(&bench.run());
    assert!(told.starts_with("first stored, second stored"), "{told}");
    write(&bench.image(), 60.0);
    assert_eq!(story(&bench.run()), "first ran, second ran, bright ran");
}

#[test]
fn a_flipped_bit_in_a_stored_result_is_found_and_its_stage_runs_again() {
    let mut bench = Bench::new();
    let before = bright_voxels(&bench.run());
    for path in entries(&bench.store()) {
        let mut bytes = std::fs::read(&path).unwrap();
        let last = bytes.len() - 100;
        bytes[last] ^= 1;
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
    }
    // `bright` needs the voxels of `second`, which needs those of `first`: both are found damaged.
    bench.text = bench.text.replace("above = 50.0", "above = 49.0");
    let again = bench.run();
    assert_eq!(story(&again), "first ran, second ran, bright ran");
    assert_eq!(bright_voxels(&again), before);
    let told = story(&bench.run());
    assert!(told.starts_with("first stored, second stored"), "{told}");
}

#[test]
fn a_file_that_changes_while_its_case_runs_is_told() {
    let mut bench = Bench::new();
    let image = bench.image();
    bench.options.events = Arc::new(move |event| {
        if matches!(event, runner::Event::StageEnded { record, .. } if record.stage == "first") {
            write(&image, 7.0);
        }
    });
    let result = bench.run();
    assert!(!result.ok);
    let told = result.changed.unwrap();
    assert!(told.contains("input `image` was changed while the case ran"), "{told}");
}
