//! `neuroloom replay` on a small case.

use neuroloom_tests::scene::{scratch, sequence, tree};
use neuroloom_tests::{Finished, finish, neuroloom, root};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A run of its own for each test: workflow and input are copies that a test may spoil.
struct Scene {
    folder: PathBuf,
}

impl Scene {
    fn new(name: &str) -> Self {
        let folder = scratch().join(name);
        std::fs::create_dir_all(folder.join("scratch")).expect("the target folder is writable");
        let copy = |from: &Path, to: &str| std::fs::copy(from, folder.join(to)).expect("a file is copied");
        copy(&root().join("workflows/brain-extraction.toml"), "workflow.toml");
        copy(&sequence("t1_pre"), "sub-demo_T1w.nii.gz");
        let scene = Self { folder };
        let mut command = neuroloom();
        command.arg("run").arg(scene.workflow()).arg("--out").arg(scene.out());
        command.arg("--input").arg(format!("head={}", scene.input().display()));
        let run = finish(command.args(["--set", "brain.settings.fractional_threshold=0.45"]));
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        scene
    }

    fn out(&self) -> PathBuf {
        self.folder.join("out")
    }

    fn workflow(&self) -> PathBuf {
        self.folder.join("workflow.toml")
    }

    fn input(&self) -> PathBuf {
        self.folder.join("sub-demo_T1w.nii.gz")
    }

    fn mask(&self) -> PathBuf {
        self.out().join("sub-demo/anat/sub-demo_space-orig_desc-brain_mask.nii.gz")
    }

    fn replay(&self, more: &[&str]) -> Finished {
        let mut command = neuroloom();
        command.arg("replay").arg(self.out()).arg("sub-demo");
        finish(command.arg("--scratch").arg(self.folder.join("scratch")).args(more))
    }

    fn is_tidy(&self) -> bool {
        tree(&self.folder.join("scratch")).is_empty()
    }
}

fn refused(run: &Finished, words: &str) {
    assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{}", run.stderr);
    assert!(run.stderr.contains(words), "`{words}` in {}", run.stderr);
}

#[test]
fn a_result_is_made_again_bit_for_bit_and_nothing_else_is_touched() {
    let scene = Scene::new("same");
    let before = tree(&scene.out());
    for threads in ["1", "2"] {
        let run = scene.replay(&["--threads", threads]);
        assert_eq!(run.code, Some(0), "{}\n{}", run.stdout, run.stderr);
        assert_eq!(run.stdout, "identical: 3 of 3 outputs, bit for bit\n");
    }
    let json: Value = serde_json::from_str(&scene.replay(&["--format", "json"]).stdout).unwrap();
    assert_eq!((&json["verdict"], &json["identical"]), (&"identical".into(), &3.into()));
    assert_eq!(tree(&scene.out()), before);
    assert!(scene.is_tidy(), "nothing stays in the scratch folder");
}

#[test]
fn what_is_not_as_recorded_is_named_and_may_be_replayed_all_the_same() {
    let scene = Scene::new("changed");
    let workflow = std::fs::read_to_string(scene.workflow()).unwrap();
    std::fs::write(scene.workflow(), format!("{workflow}\n# a remark\n")).unwrap();
    assert_eq!(scene.replay(&[]).code, Some(0), "a remark is no change");
    std::fs::write(scene.workflow(), workflow.replace("1.0.0", "1.0.1")).unwrap();
    refused(&scene.replay(&[]), "workflow.toml was edited");
    let anyway = scene.replay(&["--anyway"]);
    assert_eq!(anyway.code, Some(0), "a version changes no result: {}\n{}", anyway.stdout, anyway.stderr);
    assert!(anyway.stderr.contains("not as recorded"), "{}", anyway.stderr);
    std::fs::write(scene.workflow(), workflow).unwrap();

    std::fs::remove_file(scene.input()).unwrap();
    refused(&scene.replay(&[]), "sub-demo_T1w.nii.gz: No such file");
    std::fs::copy(sequence("flair"), scene.input()).unwrap();
    refused(&scene.replay(&[]), "sub-demo_T1w.nii.gz, has other content");
    std::fs::remove_file(scene.workflow()).unwrap();
    refused(&scene.replay(&[]), "no such workflow file");
    assert!(scene.is_tidy());
}

#[test]
fn a_result_that_was_touched_differs_and_is_named() {
    let scene = Scene::new("touched");
    let sdk::AnyVolume::Mask(mask) = sdk::nifti::read(scene.mask(), sdk::Kind::Mask).unwrap().volume else {
        panic!("a mask was written");
    };
    let mut voxels = mask.voxels().to_vec();
    voxels[0] = 1 - voxels[0];
    let other = sdk::AnyVolume::Mask(sdk::Mask::new(*mask.grid(), voxels).unwrap());
    sdk::nifti::write(scene.mask(), &other, &sdk::nifti::WriteOptions { description: String::new() })
        .unwrap();
    let run = scene.replay(&[]);
    assert_eq!(run.code, Some(1), "{}\n{}", run.stdout, run.stderr);
    assert!(run.stdout.starts_with("differs: 1 of 3 outputs\n"), "{}", run.stdout);
    for words in ["_mask.nii.gz was changed after it was published", "1 voxel"] {
        assert!(run.stdout.contains(words), "`{words}` in {}", run.stdout);
    }
}

#[test]
fn what_was_never_made_cannot_be_made_again() {
    let scene = Scene::new("never");
    let replay = |out: &Path, case: &str| finish(neuroloom().arg("replay").arg(out).arg(case));
    refused(&replay(&scene.out(), "sub-dem0"), "did you mean `sub-demo`?");
    refused(&replay(&scene.folder, "sub-demo"), "holds no records of runs");
    refused(&replay(&scene.out(), "../x"), "not of the form");
}
