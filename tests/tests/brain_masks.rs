//! The shipped workflows that find a brain, on phantoms of the protocol's own grids, whose brain is known.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use neuroloom_tests::scene::scratch;
use neuroloom_tests::{finish, neuroloom};
use sdk::{Image, nifti};
use std::path::{Path, PathBuf};

/// What every phantom must reach at the default settings.
const LEAST_DICE: f64 = 0.97;

/// Runs a shipped workflow on one case and gives the file of an output.
fn made(workflow: &str, settings: &[&str], inputs: &[String], out: &Path, output: &str) -> PathBuf {
    let mut command = neuroloom();
    command.args(["run", workflow, "--case", "sub-demo", "--no-cache", "--out"]).arg(out);
    for setting in settings {
        command.args(["--set", setting]);
    }
    for input in inputs {
        command.args(["--input", input]);
    }
    let run = finish(&mut command);
    assert_eq!(run.code, Some(0), "{workflow}: {}", run.stderr);
    let mut lines = run.stdout.lines().filter_map(|line| line.split_once('\t'));
    lines.find(|(name, _)| *name == output).map(|(_, path)| path.into()).unwrap()
}

/// A phantom's folder, its BRAVO as an input and its brain.
fn phantom(seed: u32, settings: &[&str]) -> (PathBuf, String, Image) {
    let out = scratch().join(format!("phantom-{seed}-{}", settings.len()));
    let inputs = [format!("seed={seed}")];
    let bravo = made("workflows/phantom.toml", settings, &inputs, &out, "bravo");
    let truth = out.join("derivatives/truth/sub-demo/anat/sub-demo_space-orig_desc-brain_mask.nii.gz");
    (out, format!("head={}", bravo.display()), nifti::read_image(&truth).unwrap())
}

/// Dice of a published mask and the known brain on the same grid.
fn dice(mask: &Path, truth: &Image) -> f64 {
    let mask = nifti::read_image(mask).unwrap();
    assert_eq!(mask.grid().shape, truth.grid().shape);
    let count = |image: &Image| image.voxels().iter().filter(|v| **v > 0.0).count();
    let both = mask.voxels().iter().zip(truth.voxels()).filter(|(a, b)| **a > 0.0 && **b > 0.0).count();
    2.0 * both as f64 / (count(&mask) + count(truth)) as f64
}

/// Each phantom's brain is found from its BRAVO alone.
fn every_brain_is_found(seeds: impl Iterator<Item = u32>) {
    for seed in seeds {
        let (out, head, truth) = phantom(seed, &[]);
        let mask = made("workflows/brain-extraction.toml", &[], &[head], &out.join("found"), "mask");
        let dice = dice(&mask, &truth);
        assert!(dice >= LEAST_DICE, "Dice {dice:.4} on the phantom of seed {seed}");
        std::fs::remove_dir_all(out).unwrap();
    }
}

#[test]
fn the_brains_of_three_phantoms_are_found_to_0_97() {
    every_brain_is_found([3, 7, 11].into_iter());
}

#[test]
#[ignore = "soak: 20 phantoms on the protocol's grids take three CPU minutes"]
fn the_brains_of_20_phantoms_are_found_to_0_97() {
    every_brain_is_found(1..=20);
}

#[test]
fn a_brain_that_is_sought_from_the_templates_is_the_one_that_is_found_without() {
    let (out, head, truth) = phantom(5, &["phantom.settings.grids=\"small\""]);
    let inputs = [head];
    let found =
        |workflow: &str, name: &str| dice(&made(workflow, &[], &inputs, &out.join(name), "mask"), &truth);
    let seeded = found("workflows/brain-from-template.toml", "seeded");
    let free = found("workflows/brain-extraction.toml", "free");
    // Half a voxel of 2.5 x 2.5 x 3 mm all round is 5 % of the brain.
    assert!(
        seeded >= 0.95 && (seeded - free).abs() < 0.01,
        "Dice {seeded:.4} from the template, {free:.4} without"
    );
}
