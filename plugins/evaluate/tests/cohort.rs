//! Random cohorts of small cases, adversarial ones among them: held against a second implementation, and against themselves.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use neuroloom_evaluate::{Score, Summarise};
use sdk::nifti::{self, WriteOptions};
use sdk::testing::TestGroup;
use sdk::{Affine, AnyVolume, CaseEntry, Document, Grid, Inputs, Kind, Labels, Mask, Probability};
use serde_json::{Value as Json, json};
use std::path::Path;
use std::process::Command;

/// Numbers that look random and are the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// What is odd about a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Oddity {
    Nothing,
    NoTruth,
    NoPrediction,
    BothEmpty,
    AllMask,
    NotFinite,
    TruthOutsideMask,
}

const ODDITIES: [Oddity; 7] = [
    Oddity::Nothing,
    Oddity::NoTruth,
    Oddity::NoPrediction,
    Oddity::BothEmpty,
    Oddity::AllMask,
    Oddity::NotFinite,
    Oddity::TruthOutsideMask,
];

/// An anisotropic grid, rotated, with axes to the left and to the back, as DICOM has them.
fn grid(random: &mut Random) -> Grid {
    let shape = [16, 14, 12];
    if random.below(3) == 0 {
        return Grid::axis_aligned(shape, [1.0, 1.0, 1.0]);
    }
    let scaled = Affine::scale_shift([-0.9375, -0.9375, 1.5], [60.0, 70.0, -30.0]);
    Grid::new(shape, Affine::rigid([0.1, -0.2, 0.3], [1.0, 2.0, 3.0], [0.0; 3]).after(&scaled))
}

/// Truth, scores and mask of a case: small boxes of lesion, scores that resemble them and often tie.
fn volumes(seed: u64, lesions: u64, oddity: Oddity) -> (Labels, Probability, Mask) {
    let mut random = Random(seed);
    let grid = grid(&mut random);
    let mut truth = vec![0u32; grid.len()];
    let mut scores: Vec<f32> = (0..grid.len()).map(|_| random.below(20) as f32 / 200.0).collect();
    for lesion in 0..lesions {
        let size = [1 + random.below(3), 1 + random.below(3), 1 + random.below(3)].map(|n| n as usize);
        let low: [usize; 3] =
            std::array::from_fn(|a| random.below((grid.shape[a] - size[a]) as u64) as usize);
        let (found, shift) = (random.below(4) > 0, random.below(2) as usize);
        for k in low[2]..low[2] + size[2] {
            for j in low[1]..low[1] + size[1] {
                for i in low[0]..low[0] + size[0] {
                    truth[grid.offset([i, j, k])] = 10 + lesion as u32;
                    if found {
                        let at = grid.offset([(i + shift).min(grid.shape[0] - 1), j, k]);
                        scores[at] = (40 + random.below(61)) as f32 / 100.0;
                    }
                }
            }
        }
    }
    for _ in 0..random.below(4) {
        let at = random.below(grid.len() as u64) as usize;
        scores[at..(at + 12).min(grid.len())].fill(0.75);
    }
    let margin = usize::from(oddity != Oddity::AllMask) * 2;
    let mut mask: Vec<u8> = (0..grid.len())
        .map(|n| u8::from((0..3).all(|a| (margin..grid.shape[a] - margin).contains(&grid.index(n)[a]))))
        .collect();
    match oddity {
        Oddity::NoTruth => truth.fill(0),
        Oddity::NoPrediction => scores.fill(0.0),
        Oddity::BothEmpty => {
            truth.fill(0);
            scores.fill(0.0);
        }
        Oddity::NotFinite => {
            scores[grid.offset([8, 7, 6])] = f32::NAN;
            scores[grid.offset([9, 7, 6])] = f32::INFINITY;
            scores[0] = f32::NAN;
        }
        Oddity::TruthOutsideMask => {
            mask.iter_mut().zip(&truth).filter(|(_, t)| **t % 2 == 1).for_each(|(m, _)| *m = 0);
        }
        Oddity::Nothing | Oddity::AllMask => {}
    }
    (
        Labels::new(grid, truth).unwrap(),
        Probability::new(grid, scores).unwrap(),
        Mask::new(grid, mask).unwrap(),
    )
}

/// A case of a cohort on disk.
struct Written {
    id: String,
    split: &'static str,
    inputs: Inputs,
}

/// Writes a cohort below `folder` and reads it back, as the engine would; the manifest lies beside it.
fn cohort(folder: &Path, seed: u64, dev: usize, test: usize, options: &Json) -> Vec<Written> {
    let mut random = Random(seed);
    let mut cases = Vec::new();
    let mut manifest = json!({ "dev": [], "test": [], "options": options });
    for n in 0..dev + test {
        let (id, split) = (format!("p{n:02}"), if n < dev { "dev" } else { "test" });
        let lesions = [random.below(4), 4 + random.below(5), 12 + random.below(8)][n % 3];
        let oddity = if n % 4 == 3 { ODDITIES[n / 4 % ODDITIES.len()] } else { Oddity::Nothing };
        let (truth, scores, mask) = volumes(seed * 1000 + n as u64, lesions, oddity);
        let volumes: [(&str, &str, Kind, AnyVolume); 3] = [
            ("truth", "truth", Kind::Labels, AnyVolume::Labels(truth)),
            ("prob", "probability", Kind::Probability, AnyVolume::Probability(scores)),
            ("mask", "mask", Kind::Mask, AnyVolume::Mask(mask)),
        ];
        let (mut entry, mut inputs) = (json!({ "id": id }), Inputs::new());
        for (name, port, kind, volume) in volumes {
            let file = format!("{id}_{name}.nii");
            nifti::write(folder.join(&file), &volume, &WriteOptions::default()).unwrap();
            inputs.insert(port, "", nifti::read(folder.join(&file), kind).unwrap().volume.into());
            entry[name] = json!(file);
        }
        inputs.insert("options", "", options.to_string().into());
        manifest[split].as_array_mut().unwrap().push(entry);
        cases.push(Written { id, split, inputs });
    }
    std::fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
    cases
}

/// The evaluation of a cohort by the two operators.
fn evaluate(cases: &[Written], options: &Json) -> Json {
    let mut group = TestGroup::new();
    for case in cases {
        let scored = sdk::testing::run::<Score>(json!({}), &case.inputs).unwrap();
        let mut entry = CaseEntry::of(&format!("sub-{}", case.id));
        entry.columns.insert("id".to_owned(), case.id.clone());
        entry.columns.insert("split".to_owned(), case.split.to_owned());
        let inputs = Inputs::new()
            .with("scores", scored.document("scores").unwrap())
            .with("evidence", scored.document("evidence").unwrap())
            .with("options", options.to_string());
        group = group.entry(entry, inputs);
    }
    let made = group.run::<Summarise>(&json!({ "bootstrap": 50 })).unwrap();
    serde_json::from_slice(&made.document("evaluation").unwrap().bytes).unwrap()
}

/// Where two evaluations differ by more than 1e-6 of one or of the number; keys beyond those expected are let pass.
fn differences(place: &str, found: &Json, expected: &Json, all: &mut Vec<String>) {
    match (found, expected) {
        (Json::Object(found), Json::Object(expected)) => {
            for (key, value) in expected {
                let place = format!("{place}.{key}");
                match found.get(key) {
                    Some(own) => differences(&place, own, value, all),
                    None => all.push(format!("{place} is missing")),
                }
            }
        }
        (Json::Array(found), Json::Array(expected)) if found.len() == expected.len() => {
            for (n, (own, value)) in found.iter().zip(expected).enumerate() {
                differences(&format!("{place}[{n}]"), own, value, all);
            }
        }
        (Json::Number(one), Json::Number(two)) => {
            let (one, two) = (one.as_f64().unwrap(), two.as_f64().unwrap());
            if (one - two).abs() > 1e-6 * two.abs().max(1.0) {
                all.push(format!("{place}: {one} instead of {two}"));
            }
        }
        _ if found == expected => {}
        _ => all.push(format!("{place}: {found} instead of {expected}")),
    }
}

/// A Python with numpy and scipy, if there is one.
fn python() -> Option<String> {
    let named = std::env::var("NEUROLOOM_PYTHON").ok();
    let has = |python: &String| {
        let run = Command::new(python).args(["-c", "import numpy, scipy"]).output();
        run.is_ok_and(|run| run.status.success())
    };
    named.into_iter().chain(["python3".to_owned()]).find(has)
}

#[test]
fn the_evaluation_is_that_of_a_second_implementation() {
    let Some(python) = python() else {
        eprintln!("SKIPPED: no Python with numpy and scipy is here");
        return;
    };
    let options = [
        json!({}),
        json!({ "criterion": "youden", "truth_mode": "instances", "overlap_of": "iou", "connectivity": 6 }),
        json!({ "criterion": "corner", "overlap_of": "pred", "overlap_min": 0.5, "found_threshold": 0.6, "connectivity": 18,
                "size_limit_mm3": 4, "size_max_mm": 6 }),
        json!({ "threshold": 0.75, "truth_mode": "instances" }),
    ];
    for (seed, options) in options.iter().enumerate() {
        let folder = tempfile(seed);
        let cases = cohort(&folder, seed as u64 + 1, 5, 28, options);
        let ours = evaluate(&cases, options);
        let reference = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/reference.py");
        let run = Command::new(&python).arg(reference).arg(folder.join("manifest.json")).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        let theirs: Json = serde_json::from_slice(&run.stdout).unwrap();
        let mut all = Vec::new();
        differences("", &ours, &theirs, &mut all);
        assert!(
            all.is_empty(),
            "{options}: {} differences:\n{}",
            all.len(),
            all[..all.len().min(20)].join("\n")
        );
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

/// A folder of this process alone.
fn tempfile(number: usize) -> std::path::PathBuf {
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("evaluate-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn inputs(seed: u64, lesions: u64, oddity: Oddity) -> Inputs {
    let (truth, scores, mask) = volumes(seed, lesions, oddity);
    Inputs::new().with("truth", truth).with("probability", scores).with("mask", mask)
}

fn scored(inputs: &Inputs) -> Json {
    let made = sdk::testing::run::<Score>(json!({}), inputs).unwrap();
    serde_json::from_slice(&made.document("scores").unwrap().bytes).unwrap()
}

fn error(inputs: &Inputs) -> String {
    sdk::testing::run::<Score>(json!({}), inputs).unwrap_err().message
}

#[test]
fn an_empty_mask_a_wrong_pairing_and_odd_scores_are_clear_errors() {
    let (truth, scores, mask) = volumes(1, 3, Oddity::Nothing);
    let grid = *truth.grid();
    let with = |truth: &Labels, scores: &Probability, mask: &Mask| {
        Inputs::new()
            .with("truth", truth.clone())
            .with("probability", scores.clone())
            .with("mask", mask.clone())
    };
    let empty = Mask::new(grid, vec![0; grid.len()]).unwrap();
    assert_eq!(error(&with(&truth, &scores, &empty)), "`mask` has no voxel inside, so nothing can be scored");
    let moved = Grid::new(grid.shape, Affine::translation([0.0, 0.002, 0.0]).after(&grid.voxel_to_world));
    let moved = mask.with_grid(moved).unwrap();
    let message = error(&with(&truth, &scores, &moved));
    assert!(message.starts_with("`mask` lies on 16x14x12 voxels"), "{message}");
    let mut voxels = scores.voxels().to_vec();
    voxels[5] = 1.25;
    let logits = Probability::new(grid, voxels).unwrap();
    assert_eq!(
        error(&with(&truth, &logits, &mask)),
        "`probability` is 1.25 at voxel [5, 0, 0], expected 0 to 1"
    );
    let odd = with(&truth, &scores, &mask).with("options", "{\"overlap\": 1}");
    assert_eq!(error(&odd), "option `overlap` is not known");
}

#[test]
fn odd_cases_have_the_figures_that_their_definitions_say() {
    let none = scored(&inputs(2, 5, Oddity::BothEmpty));
    assert_eq!(none["figures"]["roc"]["auc"], Json::Null);
    assert_eq!((&none["figures"]["group"], &none["figures"]["n_lesions"]), (&Json::Null, &json!(0)));
    assert_eq!(none["lesion_at_found_threshold"]["lesion_sensitivity"], Json::Null);
    let unseen = scored(&inputs(3, 5, Oddity::NoPrediction));
    assert_eq!(unseen["figures"]["roc"]["auc"], json!(0.5));
    assert_eq!(unseen["figures"]["roc"]["youden_threshold"], Json::Null);
    assert_eq!(unseen["lesion_at_found_threshold"]["lesion_sensitivity"], json!(0.0));
    let odd = scored(&inputs(4, 5, Oddity::NotFinite));
    assert!(odd["figures"]["nonfinite_in_mask"].as_u64().unwrap() >= 1, "{}", odd["figures"]);
    assert!(odd["warnings"][0].as_str().unwrap().contains("are not finite and count as 0"));
    let outside = scored(&inputs(5, 9, Oddity::TruthOutsideMask));
    assert!(outside["figures"]["truth_voxels_outside_mask"].as_u64().unwrap() > 0);
    let lines = |seed| {
        let grid = Grid::axis_aligned([7, 1, 1], [1.0, 1.0, 5.0]);
        let mut random = Random(seed);
        let truth: Vec<u32> = (0..7).map(|n| n % 2).collect();
        let scores: Vec<f32> = (0..7).map(|_| random.below(2) as f32).collect();
        Inputs::new()
            .with("truth", Labels::new(grid, truth).unwrap())
            .with("probability", Probability::new(grid, scores).unwrap())
            .with("mask", Mask::new(grid, vec![1; 7]).unwrap())
    };
    assert_eq!(scored(&lines(1))["figures"]["n_lesions"], json!(3));
}

#[test]
fn the_number_of_threads_changes_nothing() {
    use neuroloom_evaluate::case::{Volumes, score};
    let (truth, probability, mask) = volumes(6, 15, Oddity::NotFinite);
    let volumes =
        Volumes { truth: &truth, probability: &probability, mask: &mask, other: None, other_truth: None };
    let with = |threads| {
        score(
            "p",
            &volumes,
            &neuroloom_evaluate::options::Options::default(),
            &sdk::testing::context_with(threads),
        )
        .unwrap()
    };
    let (one, three) = (with(1), with(3));
    assert_eq!(one.0, three.0);
    assert_eq!(one.1, three.1);
}

/// A cohort of test cases, one of development, and one that failed, with a second model and a second reader.
fn group() -> TestGroup {
    let mut group = TestGroup::new();
    for n in 0..8u64 {
        let (truth, scores, mask) = volumes(20 + n, [2, 6, 13][n as usize % 3], Oddity::Nothing);
        let worse: Vec<f32> = scores.voxels().iter().map(|score| score * 0.5 + 0.1).collect();
        let worse = Probability::new(*truth.grid(), worse).unwrap();
        let case = Inputs::new().with("truth", truth.clone()).with("probability", scores).with("mask", mask);
        let case = case.with("other", worse).with("other_truth", truth);
        let made = sdk::testing::run::<Score>(json!({}), &case).unwrap();
        let mut entry = CaseEntry::of(&format!("sub-{n}"));
        entry.columns.insert("split".to_owned(), if n == 0 { "dev" } else { "test" }.to_owned());
        entry.columns.insert("field".to_owned(), if n % 2 == 0 { "3T" } else { "1.5T" }.to_owned());
        let kept = ["scores", "evidence"].map(|port| (port, made.document(port).unwrap()));
        group = group
            .entry(entry, kept.into_iter().fold(Inputs::new(), |all, (port, value)| all.with(port, value)));
    }
    group.failed("sub-9", "no brain found")
}

fn json_of(document: &Document) -> Json {
    serde_json::from_slice(&document.bytes).unwrap()
}

#[test]
fn a_cohort_tells_of_failed_cases_strata_a_second_model_and_a_second_reader() {
    let made = group().run::<Summarise>(&json!({})).unwrap();
    let evaluation = json_of(&made.document("evaluation").unwrap());
    let cases = &evaluation["cases"]["test"];
    assert_eq!((&cases["scored"], &cases["of"]), (&json!(7), &json!(8)));
    assert_eq!(cases["failed"][0]["reason"], json!("no brain found"));
    let (usual, worst) = (&evaluation["table3"]["3B"]["all"]["dice"], &evaluation["worst_case"]["dice"]);
    let mean = |spread: &Json| spread["mean"].as_f64().unwrap();
    assert!((mean(worst) - mean(usual) * 7.0 / 8.0).abs() < 1e-12, "{usual} {worst}");
    let strata: Vec<&str> =
        evaluation["strata"].as_array().unwrap().iter().filter_map(|s| s["value"].as_str()).collect();
    assert_eq!(strata, ["1.5T", "3T", "n/a"]);
    let auc = &evaluation["other_model"]["paired"]["auc"];
    // The second model's scores are the first's, halved and raised: the order of voxels stays.
    assert_eq!((&auc["difference"], &auc["p"]), (&json!(0.0), &json!(1.0)));
    assert_eq!(evaluation["readers"]["lesion_f1"], json!(1.0));
    assert_eq!(evaluation["readers"]["dice"]["mean"], json!(1.0));
    let again = group().run::<Summarise>(&json!({})).unwrap();
    assert_eq!(json_of(&again.document("evaluation").unwrap()), evaluation);
    let page = made.document("report").unwrap();
    let page = std::str::from_utf8(&page.bytes).unwrap();
    assert!(page.contains("0.79 + recall 0.53") && page.contains("sub-9 failed: no brain found"));
    assert_eq!(made.tables("tables").unwrap().len(), 13);
    assert_eq!(made.documents("figures").unwrap().len(), 6);
}

/// The cohort of [`group`] with more development cases: their thresholds differ, and so do the figures of the tests.
#[test]
fn intervals_of_test_figures_hold_the_uncertainty_of_the_threshold() {
    let of = |settings: &Json| {
        let mut group = TestGroup::new();
        for n in 0..12u64 {
            let (truth, scores, mask) = volumes(50 + n, 6, Oddity::Nothing);
            // Development cases whose scores are lower by a factor have lower optima.
            let factor = if n < 4 { 0.4 + 0.2 * n as f32 } else { 0.5 };
            let scores = scores.voxels().iter().map(|score| score * factor).collect::<Vec<_>>();
            let scores = Probability::new(*truth.grid(), scores).unwrap();
            let case = Inputs::new().with("truth", truth).with("probability", scores).with("mask", mask);
            let made = sdk::testing::run::<Score>(json!({}), &case).unwrap();
            let mut entry = CaseEntry::of(&format!("sub-{n:02}"));
            entry.columns.insert("split".to_owned(), if n < 4 { "dev" } else { "test" }.to_owned());
            let kept = ["scores", "evidence"].map(|port| (port, made.document(port).unwrap()));
            group = group.entry(
                entry,
                kept.into_iter().fold(Inputs::new(), |all, (port, value)| all.with(port, value)),
            );
        }
        json_of(&group.run::<Summarise>(settings).unwrap().document("evaluation").unwrap())
    };
    let width = |interval: &Json| interval[1].as_f64().unwrap() - interval[0].as_f64().unwrap();
    let chosen = of(&json!({}));
    assert!(width(&chosen["threshold_ci"]) > 0.0);
    for (part, metric) in [("3B", "dice"), ("3B", "recall"), ("3C", "lesion_sensitivity"), ("3C", "fp")] {
        let figure = &chosen["table3"][part]["all"][metric];
        assert!(figure["ci_with_threshold"][0].as_f64() <= figure["mean"].as_f64(), "{metric}: {figure}");
        assert!(figure["mean"].as_f64() <= figure["ci_with_threshold"][1].as_f64(), "{metric}: {figure}");
    }
    let recall = &chosen["table3"]["3B"]["all"]["recall"];
    assert!(width(&recall["ci_with_threshold"]) > width(&recall["ci"]), "{recall}");
    // The curve has thresholds of its own, and a fixed one is certain.
    assert!(chosen["table3"]["3A"]["all"]["auc"].get("ci_with_threshold").is_none());
    let fixed = of(&json!({ "threshold": 0.5 }));
    assert!(fixed["table3"]["3B"]["all"]["recall"].get("ci_with_threshold").is_none());
    assert_eq!(fixed["threshold_ci"], Json::Null);
}

#[test]
fn a_subject_on_both_sides_stops_the_summary_and_is_named() {
    let made = sdk::testing::run::<Score>(json!({}), &inputs(1, 3, Oddity::Nothing)).unwrap();
    let mut group = TestGroup::new();
    for (visit, split) in [("1", "dev"), ("2", "test")] {
        let mut entry = CaseEntry::of(&format!("sub-07_ses-{visit}"));
        entry.columns.insert("split".to_owned(), split.to_owned());
        let kept = Inputs::new()
            .with("scores", made.document("scores").unwrap())
            .with("evidence", made.document("evidence").unwrap());
        group = group.entry(entry, kept);
    }
    let error = group.run::<Summarise>(&json!({})).unwrap_err();
    assert_eq!(error.message, "subjects stand in development and in test: `sub-07`");
    let none = TestGroup::new().failed("sub-01", "gone").run::<Summarise>(&json!({})).unwrap_err();
    assert_eq!(none.message, "no test case has scores");
}
