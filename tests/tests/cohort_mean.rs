//! A mean over 60 cases, three of which fail, from a plugin that is built outside the workspace; killed half way it resumes.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use neuroloom_core::record::Attempts;
use neuroloom_tests::{Finished, example_plugin_dir, finish, neuroloom};
use sdk::{AnyVolume, Grid, Image, Mask};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Cases of the cohort.
const CASES: usize = 60;
/// Numbers of the cases that fail: a constant image, a file cut off, no NIfTI at all.
const DAMAGED: [usize; 3] = [7, 23, 41];
/// Cases that the stage has read when it is killed.
const BEFORE_THE_KILL: usize = 20;
/// How long a cohort of this size may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

const WORKFLOW: &str = r#"
name = "volumes"
[inputs]
head = { type = "image" }
[stages.brain]
operator = "otsu_brain"
settings = { opening_mm = 0.0, closing_mm = 0.0 }
[stages.brain.inputs]
head = "head"
[outputs]
mask = { from = "brain.mask", bids = "desc-brain_mask" }
[cohort.stages.volumes]
operator = "mean_table"
inputs.table = "brain.quality"
settings.pause_ms = 50
[cohort.outputs]
volumes = { from = "volumes.table", bids = "desc-volumes_table" }
failed = { from = "volumes.left_out" }
"#;

fn label(number: usize) -> String {
    format!("sub-{number:02}")
}

/// Sixty balls of different size, and the table that lists them.
fn cohort(folder: &Path) {
    let grid = Grid::axis_aligned([20; 3], [8.0; 3]);
    let mut table = "participant_id\thead\n".to_owned();
    for number in 1..=CASES {
        let name = format!("{}.nii", label(number));
        let path = folder.join(&name);
        let centre_mm = [76.0; 3];
        let radius_mm = 40.0 + number as f64 / 2.0;
        let inside = |offset: usize| {
            let p = grid.world(grid.index(offset));
            let squared: f64 = p.iter().zip(centre_mm).map(|(p, c)| (p - c).powi(2)).sum();
            if squared <= radius_mm * radius_mm && number != DAMAGED[0] { 100.0 } else { 0.0 }
        };
        let image = Image::new(grid, (0..grid.len()).map(inside).collect::<Vec<f32>>()).unwrap();
        let options = sdk::nifti::WriteOptions { description: String::new() };
        sdk::nifti::write(&path, &AnyVolume::Image(image), &options).unwrap();
        if number == DAMAGED[1] {
            std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(5000).unwrap();
        } else if number == DAMAGED[2] {
            std::fs::write(&path, "no image").unwrap();
        }
        let _ = writeln!(table, "{}\t{name}", label(number));
    }
    std::fs::write(folder.join("cases.tsv"), table).unwrap();
    std::fs::write(folder.join("volumes.toml"), WORKFLOW).unwrap();
}

fn batch(folder: &Path) -> Command {
    let mut command = neuroloom();
    command.arg("--plugin-dir").arg(example_plugin_dir()).arg("batch").arg(folder.join("volumes.toml"));
    command.arg(folder.join("cases.tsv")).arg(folder.join("out")).args(["--no-cache", "--jobs", "2"]);
    command
}

/// Lines that the stage has written to go on from.
fn remembered(out: &Path) -> usize {
    let folder = out.join(".neuroloom/resume/volumes");
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let files = entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("cases.jsonl")).ok());
    files.map(|text| text.lines().count()).sum()
}

/// Runs the batch and ends it with SIGKILL when the stage is half way.
fn killed_half_way(folder: &Path) {
    let mut child = batch(folder).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while remembered(&folder.join("out")) < BEFORE_THE_KILL {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be killed");
        assert!(begun.elapsed() < PATIENCE, "the stage does not begin");
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().code(), None);
}

fn again(folder: &Path) -> Finished {
    let finished = finish(&mut batch(folder));
    assert_eq!(finished.code, Some(1), "three cases fail: {}", finished.stderr);
    finished
}

fn rows(path: &Path) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().skip(1).map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

/// The mean volume of the published masks, in ml.
fn mean_volume_ml(out: &Path) -> f64 {
    let cases: Vec<usize> = (1..=CASES).filter(|number| !DAMAGED.contains(number)).collect();
    let volume = |number: &usize| {
        let path =
            out.join(label(*number)).join("anat").join(format!("{}_desc-brain_mask.nii.gz", label(*number)));
        let mask: Mask = sdk::nifti::read_mask(path).unwrap();
        mask.count() as f64 * mask.grid().voxel_volume_mm3() / 1000.0
    };
    cases.iter().map(volume).sum::<f64>() / cases.len() as f64
}

#[test]
fn a_mean_over_sixty_cases_names_the_three_that_failed_and_resumes_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    cohort(folder.path());
    let out: PathBuf = folder.path().join("out");
    killed_half_way(folder.path());
    assert!(!out.join("group").exists(), "nothing half made is published");
    let finished = again(folder.path());
    let records = out.join(".neuroloom").join(neuroloom_core::group::records("volumes", None));
    let attempts = Attempts::read(&records);
    assert_eq!(attempts.list.len(), 2);
    let why = &attempts.list[1].claim.as_ref().unwrap().why;
    assert_eq!(why, "attempt 1 was killed; goes on where it was", "{}", finished.stderr);
    let log = std::fs::read_to_string(out.join(".neuroloom/runs/0002/log.jsonl")).unwrap();
    let gone_on = log.lines().find(|line| line.contains("goes on after")).expect("the operator says so");
    let count = gone_on.split("goes on after ").nth(1).unwrap().split(' ').next().unwrap();
    assert!((BEFORE_THE_KILL..CASES - DAMAGED.len()).contains(&count.parse().unwrap()), "{gone_on}");
    let volumes = rows(&out.join("group/volumes/group_desc-volumes_table.tsv"));
    let row = volumes.iter().find(|row| row[0] == "brain_volume_ml").unwrap();
    assert_eq!((row[1].as_str(), row[2].as_str()), ("ml", "57"));
    assert!((row[3].parse::<f64>().unwrap() - mean_volume_ml(&out)).abs() < 1e-9, "{row:?}");
    let failed = rows(&out.join("group/volumes/group_failed.tsv"));
    let named: Vec<String> = failed.iter().map(|row| row[0].clone()).collect();
    assert_eq!(named, DAMAGED.map(label));
    assert!(failed.iter().all(|row| row[1].len() > 10), "each with its reason: {failed:?}");
    assert!(!out.join(".neuroloom/resume").exists());
    assert!(again(folder.path()).stderr.contains("cohort stage `volumes` is up to date"));
    assert_eq!(Attempts::read(&records).list.len(), 2);
    let status = finish(neuroloom().args(["status", "--all"]).arg(&out));
    assert!(
        status.stdout.lines().any(|line| line.contains("volumes") && line.contains("done")),
        "{status:?}"
    );
    assert_eq!(finish(neuroloom().arg("why").arg(&out).arg("volumes")).code, Some(0));
}
