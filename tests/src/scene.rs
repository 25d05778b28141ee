//! A synthetic patient on small grids, and the main workflow on it, cheap enough to be run again and again.

use crate::{built, finish, neuroloom, root};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The main workflow.
pub const MAIN: &str = "workflows/brain-metastases.toml";

/// The four sequences: input of the main workflow, and the file's name.
pub const SEQUENCES: [(&str, &str); 4] = [
    ("bravo", "sub-demo_acq-BRAVO_ce-gad_T1w.nii.gz"),
    ("t1_pre", "sub-demo_acq-CUBE_T1w.nii.gz"),
    ("t1_post", "sub-demo_acq-CUBE_ce-gad_T1w.nii.gz"),
    ("flair", "sub-demo_FLAIR.nii.gz"),
];

/// A folder of this test binary alone, empty when the binary starts.
pub fn scratch() -> &'static Path {
    static SCRATCH: OnceLock<PathBuf> = OnceLock::new();
    SCRATCH.get_or_init(|| {
        let test = std::env::current_exe().expect("a test has a file");
        let name = test.file_stem().expect("a file has a name").to_string_lossy();
        // Without the hash that cargo adds: what an earlier build left is found, and goes.
        let name = name.rsplit_once('-').map_or(&*name, |(name, _)| name);
        let folder = built().parent().expect("below target").join("tmp").join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("the target folder is writable");
        folder
    })
}

/// The weights that the shipped workflow names.
pub fn model() -> PathBuf {
    root().join("workflows/models/phantom-demo.safetensors")
}

/// A raw BIDS data set with the case `sub-demo`.
///
/// # Panics
/// When the phantom cannot be made.
pub fn patient() -> &'static Path {
    static PATIENT: OnceLock<PathBuf> = OnceLock::new();
    PATIENT.get_or_init(|| {
        let raw = scratch().join("patient");
        let made = finish(phantom(&raw).args(["--case", "sub-demo"]));
        assert_eq!(made.code, Some(0), "{made:?}");
        raw
    })
}

/// The command that makes a small phantom.
pub fn phantom(out: &Path) -> Command {
    let mut command = neuroloom();
    command.args(["run", "workflows/phantom.toml", "--set", "phantom.settings.grids=\"small\""]);
    command.args(["--input", "seed=1", "--no-cache", "--out"]).arg(out);
    command
}

/// The file of one of the patient's sequences.
///
/// # Panics
/// When the main workflow has no such input.
pub fn sequence(input: &str) -> PathBuf {
    let found = SEQUENCES.iter().find(|(name, _)| *name == input);
    patient().join("sub-demo/anat").join(found.expect("one of four").1)
}

/// The main workflow on the patient, with these of its sequences, on a coarse matrix; every stage runs.
pub fn main_workflow(inputs: &[&str], out: &Path) -> Command {
    let mut command = neuroloom();
    command.args(["run", MAIN, "--set", "reference.settings.matrix=32", "--no-cache", "--out"]).arg(out);
    for input in inputs {
        command.arg("--input").arg(format!("{input}={}", sequence(input).display()));
    }
    command
}

/// Lets a run of the main workflow use an untrained network: it marks most of the brain, so there are candidates of every class.
///
/// # Panics
/// When its weights cannot be made.
pub fn with_candidates(command: &mut Command) -> &mut Command {
    static MODEL: OnceLock<PathBuf> = OnceLock::new();
    let model = MODEL.get_or_init(|| {
        let path = scratch().join("untrained.safetensors");
        let mut make = Command::new(built().join("make_model"));
        let made = finish(make.arg(&path).args(["--width", "0.25", "--seed", "1"]));
        assert_eq!(made.code, Some(0), "{made:?}");
        path
    });
    command.arg("--set").arg(format!("segment.settings.models=[{:?}]", model.display().to_string()))
}

/// All four inputs of the main workflow.
pub const ALL: [&str; 4] = ["bravo", "t1_pre", "t1_post", "flair"];

/// All files below a folder with their bytes, by their path within it; what the engine knows about them is left out.
///
/// # Panics
/// When one cannot be read.
pub fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in std::fs::read_dir(&next).into_iter().flatten() {
            let path = entry.expect("a folder can be listed").path();
            if path.is_dir() {
                waiting.extend((!path.ends_with(".neuroloom")).then_some(path));
            } else {
                let name = path.strip_prefix(folder).expect("it lies below").to_string_lossy().into_owned();
                files.insert(name, std::fs::read(&path).expect("a file can be read"));
            }
        }
    }
    files
}

/// The names of all files below a folder, but for the engine's.
pub fn names(folder: &Path) -> Vec<String> {
    tree(folder).into_keys().collect()
}
