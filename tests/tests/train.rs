//! A network trained on phantoms by the shipped workflow, held against intensity thresholds on phantoms that it never saw; a
//! training that was killed and goes on.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use neuroloom_tests::scene::scratch;
use neuroloom_tests::{Finished, finish, neuroloom};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What each phantom is for: seven to learn from, one to choose the epoch, two unseen.
const SPLITS: [&str; 10] =
    ["train", "train", "train", "train", "train", "train", "train", "dev", "test", "test"];
/// How long a small training may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(600);

/// The main workflow, which also publishes what the network reads.
const WITH_CHANNELS: &str = r#"
[outputs]
channels = { from = "equalised.image", bids = "desc-{member}equalised_T1w" }
"#;

fn label(case: usize) -> String {
    format!("sub-{:02}", case + 1)
}

/// Small phantoms on their native grids, moved against each other, and the table that lists them.
fn phantoms(folder: &Path, splits: &[&str]) {
    std::fs::create_dir_all(folder).unwrap();
    let (mut seeds, mut table) = ("case\tseed\n".to_owned(), String::new());
    table.push_str("participant_id\tsplit\tbravo\tt1_pre\tt1_post\tflair\ttruth\n");
    for (case, split) in splits.iter().enumerate() {
        let name = label(case);
        let raw = format!("phantoms/{name}/anat/{name}_");
        let truth = format!("phantoms/derivatives/truth/{name}/anat/{name}_space-orig_desc-lesions_dseg");
        let _ = writeln!(seeds, "{name}\t{}", 500 + case);
        let files = ["acq-BRAVO_ce-gad_T1w", "acq-CUBE_T1w", "acq-CUBE_ce-gad_T1w", "FLAIR"]
            .map(|suffix| format!("{raw}{suffix}.nii.gz"));
        let _ = writeln!(table, "{name}\t{split}\t{}\t{truth}.nii.gz", files.join("\t"));
    }
    std::fs::write(folder.join("seeds.tsv"), seeds).unwrap();
    std::fs::write(folder.join("cases.tsv"), table).unwrap();
    let mut command = neuroloom();
    command.args(["batch", "workflows/phantom.toml"]);
    command.arg(folder.join("seeds.tsv")).arg(folder.join("phantoms")).arg("--no-cache");
    for setting in ["grids=\"small\"", "lesions=4", "diameter_mm=[14.0,42.0]"] {
        command.args(["--set", &format!("phantom.settings.{setting}")]);
    }
    fine(&finish(&mut command));
}

fn fine(finished: &Finished) {
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
}

/// The shipped training at the phantoms' matrix, on the CPU.
fn training(folder: &Path, out: &str, settings: &[&str]) -> Command {
    let mut command = neuroloom();
    command.args(["batch", "workflows/train.toml"]).arg(folder.join("cases.tsv")).arg(folder.join(out));
    command.arg("--cache").arg(folder.join("cache")).args(["--device", "cpu"]);
    command.args(["--set", "reference.settings.matrix=96"]);
    for setting in settings {
        command.args(["--set", &format!("train.settings.{setting}")]);
    }
    command
}

fn model(folder: &Path, out: &str) -> PathBuf {
    folder.join(out).join("group/train/group_model.safetensors")
}

/// Area under the ROC curve by ranks, ties counting half.
fn auc(values: &[f32], truth: &[bool]) -> f64 {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let (mut below, mut pairs, mut lesions) = (0.0, 0.0, 0.0);
    for tied in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let hits = tied.iter().filter(|voxel| truth[**voxel]).count() as f64;
        let others = tied.len() as f64 - hits;
        pairs += hits * (below + others / 2.0);
        below += others;
        lesions += hits;
    }
    pairs / (lesions * below)
}

/// The area of the network's score on an unseen phantom, and the best of a threshold on one equalised sequence.
fn areas(folder: &Path, case: usize) -> (f64, f64) {
    let name = label(case);
    let made =
        |rest: &str| folder.join("found").join(&name).join("anat").join(format!("{name}_{rest}.nii.gz"));
    let truth = format!("phantoms/derivatives/truth/{name}/anat/{name}_space-orig_desc-lesions_dseg.nii.gz");
    let truth = sdk::nifti::read_labels(folder.join(truth)).unwrap();
    let brain = sdk::nifti::read_mask(made("space-orig_desc-brain_mask")).unwrap();
    let inside = |voxels: &[f32]| -> Vec<f32> {
        voxels.iter().zip(brain.voxels()).filter(|(_, brain)| **brain != 0).map(|(voxel, _)| *voxel).collect()
    };
    let lesion: Vec<f32> = truth.voxels().iter().map(|label| f32::from(u8::from(*label != 0))).collect();
    let lesion: Vec<bool> = inside(&lesion).iter().map(|lesion| *lesion > 0.0).collect();
    let of = |path: PathBuf| auc(&inside(sdk::nifti::read_image(path).unwrap().voxels()), &lesion);
    let channels = ["bravo", "t1pre", "t1post", "flair"];
    let single = channels.map(|channel| of(made(&format!("desc-{channel}equalised_T1w"))));
    (of(made("space-orig_label-lesion_probseg")), single.into_iter().fold(0.0, f64::max))
}

#[test]
fn a_network_trained_by_the_shipped_workflow_beats_every_threshold_on_unseen_phantoms() {
    let folder = scratch().join("train");
    phantoms(&folder, &SPLITS);
    let warning = "warning=\"PHANTOM-TRAINED MODEL: demonstration only\"";
    let settings = [
        "width=0.125",
        "batch=8",
        "steps_per_epoch=40",
        "epochs=3",
        "learning_rate=0.003",
        "dropout=0.3",
        "judge_every=8",
        "calibrate=true",
        warning,
    ];
    fine(&finish(&mut training(&folder, "trained", &settings)));

    let curve =
        std::fs::read_to_string(folder.join("trained/group/train/group_desc-training_curve.tsv")).unwrap();
    let losses: Vec<f64> =
        curve.lines().skip(1).map(|line| line.split('\t').nth(2).unwrap().parse().unwrap()).collect();
    assert_eq!(losses.len(), 3, "{curve}");
    // Near its floor the mean over 320 slices goes up and down by a tenth with what was drawn.
    assert!(losses[1..].iter().all(|loss| *loss < 0.75 * losses[0]), "the loss falls: {curve}");
    let card = std::fs::read_to_string(folder.join("trained/group/train/group_card.json")).unwrap();
    let card: serde_json::Value = serde_json::from_str(&card).unwrap();
    assert!(card["warning"].as_str().unwrap().starts_with("PHANTOM-TRAINED MODEL"), "{card}");
    assert!(card["trained_on"].as_str().unwrap().starts_with("synthetic phantoms: 7 cases"), "{card}");
    let digests: Vec<String> = serde_json::from_str(card["training_digests"].as_str().unwrap()).unwrap();
    assert_eq!(digests.len(), 8 * 5, "five files of each case that was learned from or chose the epoch");

    is_calibrated(&card, &curve);

    let workflow = folder.join("with-channels.toml");
    let main = neuroloom_tests::root().join("workflows/brain-metastases.toml");
    std::fs::write(&workflow, format!("extends = {:?}\n{WITH_CHANNELS}", main.display().to_string()))
        .unwrap();
    let table = std::fs::read_to_string(folder.join("cases.tsv")).unwrap();
    let unseen: Vec<&str> =
        table.lines().filter(|line| !line.contains("\ttrain\t") && !line.contains("\tdev\t")).collect();
    let columns = |line: &&str| line.split('\t').take(6).collect::<Vec<_>>().join("\t");
    let unseen: Vec<String> = unseen.iter().map(columns).collect();
    std::fs::write(folder.join("unseen.tsv"), unseen.join("\n")).unwrap();
    let mut command = neuroloom();
    command.arg("batch").arg(&workflow).arg(folder.join("unseen.tsv")).arg(folder.join("found"));
    command.arg("--cache").arg(folder.join("cache")).args(["--device", "cpu"]);
    let models = format!("segment.settings.models=[{:?}]", model(&folder, "trained").display().to_string());
    fine(&finish(command.args(["--set", "reference.settings.matrix=96", "--set", &models])));
    let report = folder.join("found/sub-09/sub-09_report.html");
    assert!(std::fs::read_to_string(report).unwrap().contains("PHANTOM-TRAINED MODEL: demonstration only"));
    // Large lesions, many of them rings: a dark core is what a threshold cannot find.
    let (mut network, mut threshold) = (0.0, 0.0);
    for case in 8..SPLITS.len() {
        let (of_network, of_threshold) = areas(&folder, case);
        network += of_network / 2.0;
        threshold += of_threshold / 2.0;
    }
    assert!(network >= threshold + 0.03, "mean AUC {network} against {threshold}");
}

/// Whether the card's line says less than the scores did, since these come from a loss in which lesion voxels weigh ten times as
/// much, and whether the threshold moved along.
fn is_calibrated(card: &serde_json::Value, curve: &str) {
    let line: BTreeMap<String, f64> = serde_json::from_str(card["calibration"].as_str().unwrap()).unwrap();
    let best = curve.lines().rfind(|row| row.ends_with("true")).unwrap();
    let before: f64 = best.split('\t').nth(5).unwrap().parse().unwrap();
    let logit = line["slope"] * (before / (1.0 - before)).ln() + line["offset"];
    let threshold: f64 = card["threshold"].as_str().unwrap().parse().unwrap();
    assert!((threshold - 1.0 / (1.0 + (-logit).exp())).abs() < 1e-9, "{threshold} from {before} by {line:?}");
    assert!(threshold < before && line["slope"] > 0.0, "{threshold} from {before} by {line:?}");
}

/// Settings of a training that is over in seconds; it notes every step, learns from parts of slices, and bears missing sequences.
const SHORT: [&str; 11] = [
    "width=0.0625",
    "batch=4",
    "micro_batch=2",
    "crop=32",
    "steps_per_epoch=12",
    "epochs=2",
    "checkpoint_seconds=0.0",
    "stored=\"f16\"",
    "decay=\"cosine\"",
    "dropout=0.5",
    "judge_every=8",
];

#[test]
fn a_training_that_was_killed_goes_on_to_the_same_model_to_the_byte() {
    let folder = scratch().join("train-killed");
    phantoms(&folder, &["train", "train", "dev"]);
    fine(&finish(training(&folder, "whole", &SHORT).args(["--threads", "2"])));

    let mut child = training(&folder, "killed", &SHORT)
        .args(["--threads", "1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while noted(&folder.join("killed")) < 5 {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be killed");
        assert!(begun.elapsed() < PATIENCE, "the training does not begin");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!model(&folder, "killed").exists(), "nothing half made is published");
    fine(&finish(training(&folder, "killed", &SHORT).args(["--threads", "1"])));
    let log = std::fs::read_to_string(folder.join("killed/.neuroloom/runs/0002/log.jsonl")).unwrap();
    assert!(log.contains("goes on after "), "the second start begins where the first was");
    let bytes = |out: &str| std::fs::read(model(&folder, out)).unwrap();
    assert!(bytes("killed") == bytes("whole"), "the models differ");

    let (whole, tensors) = parted(&bytes("whole"));
    let all = [
        "bravo",
        "bravo,flair",
        "flair",
        "t1_post",
        "t1_post,flair",
        "t1_pre",
        "t1_pre,bravo",
        "t1_pre,flair",
        "t1_pre,t1_post",
    ];
    let patterns = |card: &serde_json::Value| {
        let thresholds: BTreeMap<String, f64> =
            serde_json::from_str(card["thresholds"].as_str().unwrap()).unwrap();
        assert!(thresholds.values().all(|score| (0.0..=1.0).contains(score)), "{thresholds:?}");
        thresholds.into_keys().collect::<Vec<_>>()
    };
    assert_eq!(patterns(&whole), all, "each one and two that may lack, but never both after contrast");

    // The same weights, with thresholds of one pattern less from a case that lacks a sequence.
    let table = std::fs::read_to_string(folder.join("cases.tsv")).unwrap();
    std::fs::write(folder.join("cases.tsv"), without_flair_of_the_last(&table)).unwrap();
    let start = format!("start={:?}", model(&folder, "whole").display().to_string());
    let settings = ["version=\"2\"", "width=0.0625", "epochs=0", "judge_every=8", "stored=\"f16\"", &start];
    fine(&finish(&mut training(&folder, "judged", &settings)));
    let (judged, same) = parted(&bytes("judged"));
    assert!(same == tensors, "the weights stay");
    assert_eq!(patterns(&judged), ["bravo,flair", "flair", "t1_post,flair", "t1_pre,flair"]);
    assert_eq!((&whole["version"], &judged["version"]), (&"1".into(), &"2".into()));
    assert_eq!((&judged["trained_on"], &judged["recipe"]), (&whole["trained_on"], &whole["recipe"]));
    assert!(judged["thresholds_by"].as_str().unwrap().contains("\"cases\":1"), "{judged}");
}

/// A model file's card, and the bytes of its tensors.
fn parted(file: &[u8]) -> (serde_json::Value, Vec<u8>) {
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&file[8..8 + length]).unwrap();
    (header["__metadata__"].clone(), file[8 + length..].to_vec())
}

/// The table whose last case has no FLAIR, the sixth column.
fn without_flair_of_the_last(table: &str) -> String {
    let (head, last) = table.trim_end().rsplit_once('\n').unwrap();
    let mut cells: Vec<&str> = last.split('\t').collect();
    cells[5] = "n/a";
    format!("{head}\n{}\n", cells.join("\t"))
}

/// Steps that a training has noted to go on from.
fn noted(out: &Path) -> usize {
    let entries = std::fs::read_dir(out.join(".neuroloom/resume/train")).into_iter().flatten();
    let files = entries.filter_map(|entry| std::fs::read(entry.ok()?.path().join("state.safetensors")).ok());
    let steps = |bytes: Vec<u8>| {
        let header = String::from_utf8_lossy(&bytes[..bytes.len().min(4000)]).into_owned();
        let rest = header.split(r#"\"steps\":"#).nth(1)?;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    files.filter_map(steps).max().unwrap_or(0)
}

#[test]
fn cohorts_that_cannot_be_learned_from_are_told_why() {
    let folder = scratch().join("train-refused");
    phantoms(&folder, &["train", "learn"]);
    let refused = finish(&mut training(&folder, "refused", &SHORT));
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    let text = "case sub-02 has `learn` in the column `split` where `train`, `dev` or `test` is expected";
    assert!(refused.stderr.contains(text), "{}", refused.stderr);
    let table = std::fs::read_to_string(folder.join("cases.tsv")).unwrap();
    std::fs::write(folder.join("cases.tsv"), table.replace("learn", "train")).unwrap();
    let refused = finish(&mut training(&folder, "uncalibrated", &["calibrate=true"]));
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    let text = "none of the 0 development cases has a lesion, so scores cannot be calibrated";
    assert!(refused.stderr.contains(text), "{}", refused.stderr);
    let refused = finish(training(&folder, "refused", &SHORT).args(["--set", "equalised.settings.bins=2"]));
    assert_eq!(
        refused.code,
        Some(0),
        "without a development case it trains, and says so: {}",
        refused.stderr
    );
    let wrong = finish(&mut training(&folder, "wrong", &["micro_batch=5"]));
    assert_eq!(wrong.code, Some(2), "{}", wrong.stderr);
    assert!(
        wrong.stderr.contains("`micro_batch` is 5, where a divisor of `batch` is expected"),
        "{}",
        wrong.stderr
    );
}
