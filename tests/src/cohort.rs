//! A cohort of tiny cases, each a second of sleep and a page, and `batch` over it.

use crate::scene::{scratch, tree};
use crate::{Finished, finish, hostile, neuroloom};
use sdk::nifti::{self, WriteOptions};
use sdk::{AnyVolume, Grid, Image};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Two stages that take their time, so that their results are worth keeping; a mask, an image and a page.
const WORKFLOW: &str = r#"
name = "small"
[inputs]
image = { type = "image", bids = { suffix = "T1w" } }
[stages.first]
operator = "sleeper"
inputs.image = "image"
settings = { seconds = 0.1, heed = true }
[stages.bright]
operator = "threshold"
inputs.image = "first.image"
settings.above = 50.0
[stages.inside]
operator = "apply_mask"
inputs = { image = "first.image", mask = "bright.mask" }
[stages.last]
operator = "sleeper"
inputs.image = "inside.image"
settings = { seconds = 0.1, heed = true }
[stages.page]
operator = "case_report"
always = true
inputs = { reference = "last.image", outcome = "case.outcome", plan = "case.plan", provenance = "case.provenance" }
[outputs]
mask = { from = "bright.mask", bids = "desc-bright_mask" }
inside = { from = "last.image", bids = "desc-inside_T1w" }
report = { from = "page.html", bids = "report" }
"#;

/// A mask, a page, and a page of the cohort.
const VISITS: &str = r#"
name = "visits"
[inputs]
image = { type = "image", bids = { suffix = "T1w" } }
[stages.bright]
operator = "threshold"
inputs.image = "image"
settings.above = 50.0
[stages.page]
operator = "case_report"
always = true
inputs = { reference = "image", mask = "bright.mask", outcome = "case.outcome", plan = "case.plan", provenance = "case.provenance" }
[outputs]
mask = { from = "bright.mask", bids = "space-orig_desc-bright_mask", sidecar = { Type = "ROI" } }
report = { from = "page.html", bids = "report" }
[cohort.stages.summary]
operator = "cohort_report"
inputs.report = "page.json"
[cohort.outputs]
cohort_report = { from = "summary.html", root = true }
cohort_table = { from = "summary.table", bids = "desc-cases_cohort" }
"#;

/// Voxels along an edge of the images.
const EDGE: usize = 24;

/// A cohort in a folder of its own, with its workflow, its plugin and its cache.
#[derive(Debug)]
pub struct SmallCohort {
    folder: PathBuf,
}

impl SmallCohort {
    /// Makes `sub-01`, `sub-02` and so on.
    ///
    /// # Panics
    /// When they cannot be written.
    pub fn new(name: &str, cases: usize) -> Self {
        let cohort = Self { folder: scratch().join(name) };
        std::fs::create_dir_all(cohort.plugins()).expect("the folder is made");
        cohort.add_plugin(&hostile());
        cohort.set_workflow(WORKFLOW);
        for case in 1..=cases {
            cohort.write_image(&format!("sub-{case:02}"), 100.0);
        }
        cohort
    }

    /// A BIDS data set in which each of `sub-01`, `sub-02` and so on came twice, with a table of who took part and a workflow that ends in
    /// a page of the cohort.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn of_visits(name: &str, subjects: usize) -> Self {
        let cohort = Self::new(name, 0);
        cohort.set_workflow(VISITS);
        let mut table = "participant_id\tage\tsex\n".to_owned();
        for subject in 1..=subjects {
            for visit in 1..=2 {
                cohort.write_image(&format!("sub-{subject:02}_ses-{visit}"), 100.0);
            }
            let _ = writeln!(table, "sub-{subject:02}\t{}\t{}", 40 + subject, ["F", "M"][subject % 2]);
        }
        let write =
            |name: &str, text: &str| std::fs::write(cohort.data().join(name), text).expect("it is written");
        write("participants.tsv", &table);
        write(
            "participants.json",
            r#"{ "age": { "Description": "age at the first visit", "Units": "year" } }"#,
        );
        write("dataset_description.json", r#"{ "Name": "noise", "BIDSVersion": "1.10.0" }"#);
        cohort
    }

    /// A path in the cohort's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The data set.
    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// The folder of its plugin, which is looked through before the others.
    pub fn plugins(&self) -> PathBuf {
        self.path("plugins")
    }

    /// Puts a built plugin into that folder. It shares its place on disk with the original where it can: who changes it there writes
    /// a new file.
    ///
    /// # Panics
    /// When it is not there.
    pub fn add_plugin(&self, built: &Path) {
        let place = self.plugins().join(built.file_name().expect("a file"));
        let linked = std::fs::hard_link(built, &place);
        linked.or_else(|_| std::fs::copy(built, &place).map(drop)).expect("the plugin is there");
    }

    /// A case's only file.
    pub fn image(&self, label: &str) -> PathBuf {
        let folder = label.replace("_ses-", "/ses-");
        self.data().join(folder).join("anat").join(format!("{label}_T1w.nii"))
    }

    /// Writes a case's file: noise that depends on the label, and a corner of a given brightness.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write_image(&self, label: &str, brightness: f32) {
        let path = self.image(label);
        std::fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("the folder is made");
        let mut random = Random::new(label.bytes().fold(7, |sum, byte| 31 * sum + u64::from(byte)));
        let mut voxels: Vec<f32> = (0..EDGE.pow(3)).map(|_| random.below(90_000) as f32 / 1000.0).collect();
        voxels[..EDGE * EDGE].fill(brightness);
        let image =
            Image::new(Grid::axis_aligned([EDGE; 3], [1.0; 3]), voxels).expect("a number for each voxel");
        nifti::write(&path, &AnyVolume::Image(image), &WriteOptions::default()).expect("the file is written");
    }

    /// The workflow's text.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn workflow(&self) -> String {
        std::fs::read_to_string(self.path("small.toml")).expect("the workflow is there")
    }

    /// Writes the workflow.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn set_workflow(&self, text: &str) {
        std::fs::write(self.path("small.toml"), text).expect("the workflow is written");
    }

    /// `batch` over all cases, two at a time, with the cohort's cache.
    pub fn batch(&self, out: &Path) -> Command {
        self.batch_with(out, "cache")
    }

    /// `bids-app` with its workflow, and scratch and cache in the folder `work`.
    pub fn bids_app(&self, out: &Path, level: &str) -> Command {
        let mut command = neuroloom();
        command.arg("bids-app").arg(self.data()).arg(out).arg(level);
        command.arg("--workflow").arg(self.path("small.toml")).arg("--work-dir").arg(self.path("work"));
        command
    }

    /// The same with another cache.
    pub fn batch_with(&self, out: &Path, cache: &str) -> Command {
        let mut command = neuroloom();
        command.arg("batch").arg(self.path("small.toml")).arg(self.data()).arg(out);
        command.arg("--plugin-dir").arg(self.plugins()).arg("--cache").arg(self.path(cache));
        command.args(["--jobs", "2", "--threads", "2"]);
        command
    }

    /// The files of a run that nobody disturbs and that finds nothing in a cache, and the seconds it takes.
    ///
    /// # Panics
    /// When it does not end well.
    pub fn undisturbed(&self) -> (BTreeMap<String, Vec<u8>>, f64) {
        let out = self.path("undisturbed");
        let began = std::time::Instant::now();
        let run = finish(&mut self.batch_with(&out, "undisturbed-cache"));
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        (tree(&out), began.elapsed().as_secs_f64())
    }
}

impl Drop for SmallCohort {
    /// What a test that passed leaves behind is of no use to anybody.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// The end records of a case, in their order.
///
/// # Panics
/// When one is no JSON.
pub fn ends(out: &Path, label: &str) -> Vec<Json> {
    let folder = out.join(".neuroloom/cases").join(label);
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let records: BTreeSet<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().ends_with(".end.json"))
        .collect();
    records.iter().map(|path| read_json(path)).collect()
}

fn read_json(path: &Path) -> Json {
    let text = std::fs::read_to_string(path).expect("a record can be read");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The labels of all cases with records.
pub fn labels(out: &Path) -> Vec<String> {
    let entries =
        std::fs::read_dir(out.join(".neuroloom/cases")).into_iter().flatten().filter_map(Result::ok);
    let labels: BTreeSet<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    labels.into_iter().collect()
}

/// The claims of a case, by the number of the attempt as it is written in the files' names.
///
/// # Panics
/// When one is no JSON.
pub fn claims(out: &Path, label: &str) -> BTreeMap<String, Json> {
    let folder = out.join(".neuroloom/cases").join(label);
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let claim = |entry: std::fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        Some((name.strip_suffix(".claim.json")?.to_owned(), read_json(&entry.path())))
    };
    entries.filter_map(claim).collect()
}

/// The cases that have delivered.
pub fn delivered_cases(out: &Path) -> BTreeSet<String> {
    let is_ok = |label: &String| ends(out, label).iter().any(|end| end["ending"] == "ok");
    labels(out).into_iter().filter(is_ok).collect()
}

/// How many cases have delivered.
pub fn delivered(out: &Path) -> usize {
    delivered_cases(out).len()
}

/// Names of what lies in one of the state's folders.
pub fn state_names(out: &Path, folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(out.join(".neuroloom").join(folder)).into_iter().flatten();
    entries.filter_map(Result::ok).map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Asserts that a run ended so, and that it complained exactly once if it did not end well.
///
/// # Panics
/// When it is not so.
pub fn assert_ended(run: &Finished, code: i32, errors: usize) {
    assert_eq!(run.code, Some(code), "{}", run.stderr);
    assert_eq!(run.stderr.matches("error: ").count(), errors, "{}", run.stderr);
    assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
}

/// Asserts that two folders hold the same files, byte for byte.
///
/// # Panics
/// When they do not.
pub fn assert_same_tree(found: &BTreeMap<String, Vec<u8>>, expected: &BTreeMap<String, Vec<u8>>) {
    let names = |tree: &BTreeMap<String, Vec<u8>>| tree.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(expected));
    for (name, bytes) in expected {
        assert!(found[name] == *bytes, "{name} has other content");
    }
}

/// Numbers that look random and are the same each time (splitmix64, Steele et al. 2014).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Starts from a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below a limit.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}
