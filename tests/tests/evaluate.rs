//! The shipped evaluation on a synthetic cohort of 51 test cases: one command makes the evaluation, the tables and the figures;
//! cases that are wrong in any way fail alone, and are named.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use neuroloom_tests::cohort::Random;
use neuroloom_tests::scene::scratch;
use neuroloom_tests::{Finished, finish, neuroloom};
use sdk::nifti::{self, WriteOptions};
use sdk::{AnyVolume, Grid, Image, Labels, Mask, Probability};
use serde_json::{Value as Json, json};
use std::path::{Path, PathBuf};

/// Development and test cases, as many as the paper has.
const DEV: usize = 5;
const TEST: usize = 51;
/// Voxels along an edge.
const EDGE: usize = 24;

fn write(path: &Path, volume: &AnyVolume) {
    nifti::write(path, volume, &WriteOptions::default()).unwrap();
}

fn grid(edge: usize) -> Grid {
    Grid::axis_aligned([edge; 3], [2.0; 3])
}

/// Writes truth, scores and mask of a synthetic case: balls, most of them found, and false positives.
fn make(folder: &Path, id: &str, lesions: usize) -> Json {
    let mut random = Random::new(id.bytes().fold(11, |sum, byte| 31 * sum + u64::from(byte)));
    let grid = grid(EDGE);
    let mut truth = vec![0u32; grid.len()];
    let mut scores: Vec<f32> = (0..grid.len()).map(|_| random.below(1000) as f32 / 10_000.0).collect();
    for ball in 0..lesions + 2 {
        let centre: [usize; 3] = std::array::from_fn(|_| 4 + random.below(EDGE as u64 - 8) as usize);
        let radius = 1 + random.below(3) as usize;
        let is_seen = ball >= lesions || random.below(5) > 0;
        for (n, score) in scores.iter_mut().enumerate() {
            let at = grid.index(n);
            if (0..3).map(|a| at[a].abs_diff(centre[a]).pow(2)).sum::<usize>() > radius * radius {
                continue;
            }
            truth[n] = if ball < lesions { ball as u32 + 1 } else { truth[n] };
            *score = if is_seen { 0.3 + random.below(700) as f32 / 1000.0 } else { *score };
        }
    }
    let inside = |n: usize| (0..3).all(|a| (2..EDGE - 2).contains(&grid.index(n)[a]));
    let mask: Vec<u8> = (0..grid.len()).map(|n| u8::from(inside(n))).collect();
    let file = |name: &str| format!("{id}_{name}.nii.gz");
    write(&folder.join(file("truth")), &AnyVolume::Labels(Labels::new(grid, truth).unwrap()));
    write(&folder.join(file("prob")), &AnyVolume::Probability(Probability::new(grid, scores).unwrap()));
    write(&folder.join(file("mask")), &AnyVolume::Mask(Mask::new(grid, mask).unwrap()));
    let field = if random.below(2) == 0 { "3T" } else { "1.5T" };
    json!({ "id": id, "truth": file("truth"), "prob": file("prob"), "mask": file("mask"), "field": field })
}

/// Number of lesions: as many cases of each of the paper's groups.
fn lesions(case: usize) -> usize {
    [2, 6, 13][case % 3]
}

fn folder(name: &str) -> PathBuf {
    let folder = scratch().join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn batch(manifest: &Path, out: &Path) -> Finished {
    finish(neuroloom().args(["batch", "workflows/evaluate.toml"]).arg(manifest).arg(out).arg("--no-cache"))
}

fn evaluation(out: &Path) -> Json {
    let text = std::fs::read_to_string(out.join("evaluation.json")).unwrap();
    assert!(!text.contains("NaN"));
    serde_json::from_str(&text).unwrap()
}

#[test]
fn one_command_makes_the_evaluation_the_tables_and_the_figures_of_51_cases() {
    let data = folder("whole");
    let dev: Vec<Json> = (0..DEV).map(|n| make(&data, &format!("dev_{n}"), lesions(n))).collect();
    let test: Vec<Json> = (0..TEST).map(|n| make(&data, &format!("p{n:02}"), lesions(n))).collect();
    let manifest = data.join("manifest.json");
    // Balls may touch: each is a lesion of its own.
    let options = json!({ "criterion": "youden", "size_max_mm": 20, "truth_mode": "instances" });
    let text = json!({ "dev": dev, "test": test, "options": options });
    std::fs::write(&manifest, text.to_string()).unwrap();
    let out = data.join("out");
    let run = batch(&manifest, &out);
    assert_eq!(run.code, Some(0), "{}", run.stderr);

    let found = evaluation(&out);
    assert_eq!(
        (found["dev"].as_array().unwrap().len(), found["test"].as_array().unwrap().len()),
        (DEV, TEST)
    );
    assert_eq!((&found["dev"][0]["id"], &found["test"][0]["id"]), (&json!("dev_0"), &json!("p00")));
    assert_eq!(found["options"]["criterion"], json!("youden"));
    assert_eq!(found["threshold"], found["thresholds"]["youden"]);
    assert_eq!(found["size"]["curve"].as_array().unwrap().len(), 20);
    for group in ["1-3", "4-10", ">10"] {
        assert!(
            found["table3"]["3A"][group]["auc"]["n"].as_u64().unwrap() >= 12,
            "{}",
            found["table3"]["3A"]
        );
        assert_eq!(found["roc_mean"][group]["tpr"].as_array().unwrap().len(), 101);
    }
    assert_eq!(found["table4"]["4A"]["1-3 vs 4-10"]["auc"]["method"], json!("approximate"));
    let group = out.join("group/summary");
    for name in ["table1", "table3a", "table3b", "table3c", "table4a", "table4b", "table4c", "froc", "strata"]
    {
        assert!(group.join(format!("group_desc-{name}_table.tsv")).is_file(), "{name}");
    }
    for name in ["fig3histogram", "fig3curves", "fig5roc", "fig6groups", "froc", "reliability"] {
        let svg = std::fs::read_to_string(group.join(format!("group_desc-{name}_figure.svg"))).unwrap();
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{name}");
    }
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("51 of 51 test cases"), "{page}");
    let ignored = std::fs::read_to_string(out.join(".bidsignore")).unwrap();
    assert!(ignored.contains("evaluation.json\n") && ignored.contains("report.html\n"), "{ignored}");

    let again = batch(&manifest, &out);
    assert!(again.stderr.contains("cohort stage `summary` is up to date"), "{}", again.stderr);
    std::fs::remove_file(out.join("evaluation.json")).unwrap();
    let again = batch(&manifest, &out);
    assert!(again.stderr.contains("evaluation.json of attempt 1 is not there any more"), "{}", again.stderr);
    assert_eq!(evaluation(&out), found);
}

#[test]
fn each_wrong_case_is_named_with_its_file_or_row_and_the_others_finish() {
    let data = folder("wrong");
    let case = |id: &str| make(&data, id, 3);
    let mut test: Vec<Json> =
        ["ok1", "ok2", "other", "half", "above", "gone", "twice", "empty", "odd"].map(case).to_vec();
    test.push(case("twice"));
    let voxels = |value: f32| {
        let mut voxels = vec![0.0f32; EDGE.pow(3)];
        voxels[7] = value;
        AnyVolume::Image(Image::new(grid(EDGE), voxels).unwrap())
    };
    let small = Labels::new(grid(EDGE - 1), vec![0; (EDGE - 1).pow(3)]).unwrap();
    write(&data.join("other_truth.nii.gz"), &AnyVolume::Labels(small));
    write(&data.join("half_truth.nii.gz"), &voxels(0.5));
    write(&data.join("above_prob.nii.gz"), &voxels(1.5));
    write(
        &data.join("empty_mask.nii.gz"),
        &AnyVolume::Mask(Mask::new(grid(EDGE), vec![0; EDGE.pow(3)]).unwrap()),
    );
    let mut odd = vec![0.25f32; EDGE.pow(3)];
    odd[grid(EDGE).offset([12; 3])] = f32::NAN;
    odd[grid(EDGE).offset([13; 3])] = f32::INFINITY;
    write(&data.join("odd_prob.nii.gz"), &AnyVolume::Image(Image::new(grid(EDGE), odd).unwrap()));
    std::fs::remove_file(data.join("gone_mask.nii.gz")).unwrap();
    let manifest = data.join("manifest.json");
    std::fs::write(&manifest, json!({ "test": test }).to_string()).unwrap();
    let out = data.join("out");
    let run = batch(&manifest, &out);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    let told = |parts: &[&str]| {
        for part in parts {
            assert!(run.stderr.contains(part), "no `{part}` in\n{}", run.stderr);
        }
    };
    told(&["half_truth.nii.gz", "holds 0.5 (first at voxel [7, 0, 0])"]);
    told(&["above_prob.nii.gz", "holds 1.5 (first at voxel [7, 0, 0])"]);
    told(&["other_truth.nii.gz", "case `sub-other` failed"]);
    told(&["case 6 of `test`", "gone_mask.nii.gz", "there is no such file"]);
    told(&["manifest.json: case 7 of `test` and case 10 of `test` are of this one case"]);
    told(&["`mask` has no voxel inside"]);

    let found = evaluation(&out);
    let ids: Vec<&str> =
        found["test"].as_array().unwrap().iter().map(|case| case["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["odd", "ok1", "ok2"]);
    assert_eq!(found["test"][0]["nonfinite_in_mask"], json!(2));
    let cases = &found["cases"]["test"];
    assert_eq!(
        (&cases["scored"], &cases["of"], cases["failed"].as_array().unwrap().len()),
        (&json!(3), &json!(9), 6)
    );
}
