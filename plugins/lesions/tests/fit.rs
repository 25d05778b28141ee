//! `fit_filter` on a handful of cases in which balls are lesions and tubes are vessels.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use neuroloom_lesions::{FilterLesions, FitFilter};
use sdk::testing::{TestGroup, run};
use sdk::{CaseEntry, Cell, Grid, Image, Inputs, Labels, Outputs, Probability, Table, Value};
use serde_json::{Value as Json, json};

const SHAPE: [usize; 3] = [40, 40, 32];
/// Balls and tubes of a case.
const EACH: usize = 3;
const CASES: usize = 6;

/// The same everywhere, 0 to 1.
fn unit(n: usize) -> f64 {
    ((n as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64 / f64::from(1 << 24)
}

/// What lies at a place of a case: 0 nothing, 1 to 3 a lesion, 4 to 6 a vessel. Each has a cell of the grid for itself.
fn object(case: usize, at: [usize; 3]) -> usize {
    for n in 0..2 * EACH {
        let wide = |k: usize| unit(97 * case + 13 * n + k);
        let centre =
            [if n < EACH { 10.0 } else { 28.0 }, 8.0 + 12.0 * (n % EACH) as f64, 14.0 + 4.0 * wide(1)];
        let off: [f64; 3] = std::array::from_fn(|a| at[a] as f64 - centre[a]);
        // Lesions are ovoids, vessels tubes along z, of which the shortest are no longer than the longest lesions.
        let inside = if n < EACH {
            (off[0].powi(2) + off[1].powi(2)) / (2.5 + wide(2)).powi(2)
                + (off[2] / (2.5 + 5.0 * wide(3))).powi(2)
                <= 1.0
        } else {
            off[0].hypot(off[1]) <= 1.5 + wide(2) && off[2].abs() <= 4.0 + 8.0 * wide(3)
        };
        if inside {
            return n + 1;
        }
    }
    0
}

/// The case's scores, and images in which lesions enhance a bit more than vessels.
fn volumes(case: usize) -> Inputs {
    let grid = Grid::axis_aligned(SHAPE, [1.0; 3]);
    let objects: Vec<usize> = (0..grid.len()).map(|n| object(case, grid.index(n))).collect();
    let voxels = |of: &dyn Fn(usize, usize) -> f64| -> Vec<f32> {
        objects.iter().enumerate().map(|(n, &object)| of(n, object) as f32).collect()
    };
    let noise = |n: usize| 12.0 * (unit(n + 7919 * case) - 0.5);
    let scores = voxels(&|_, object| if object > 0 { 0.9 } else { 0.0 });
    let image = voxels(&|n, object| noise(n) + if object > 0 { 160.0 } else { 100.0 });
    let black = voxels(&|n, object| {
        // Each object has a contrast of its own; those of lesions and vessels overlap.
        let own = 14.0 * unit(31 * case + object);
        noise(n)
            + if object == 0 {
                100.0
            } else if object <= EACH {
                102.0 + own
            } else {
                94.0 + own
            }
    });
    let truth: Vec<u32> =
        objects.iter().map(|&object| if object <= EACH { object as u32 } else { 0 }).collect();
    Inputs::new()
        .with("probability", Probability::new(grid, scores).unwrap())
        .with("image", Image::new(grid, image).unwrap())
        .with("black_blood", Image::new(grid, black).unwrap())
        .with("truth", Labels::new(grid, truth).unwrap())
}

/// `filter_lesions` on a case.
fn filtered(volumes: &Inputs, settings: Json) -> Outputs {
    let ports = ["probability", "image", "black_blood"];
    let inputs = ports
        .into_iter()
        .fold(Inputs::new(), |all, port| all.with(port, volumes.value(port).unwrap().clone()));
    run::<FilterLesions>(settings, &inputs).unwrap()
}

/// What `fit_filter` reads of a case, with another truth.
fn case_with(number: usize, truth: impl Into<Value>) -> Inputs {
    let found = filtered(&volumes(number), json!({ "rules": [] }));
    let ports = ["candidates", "labels", "rejected"];
    let inputs =
        ports.into_iter().fold(Inputs::new(), |all, port| all.with(port, found.value(port).unwrap().clone()));
    inputs.with("truth", truth)
}

fn case(number: usize) -> Inputs {
    case_with(number, volumes(number).value("truth").unwrap().clone())
}

fn group(cases: impl IntoIterator<Item = usize>) -> TestGroup {
    cases.into_iter().fold(TestGroup::new(), |group, n| group.case(&format!("sub-{n:02}"), case(n)))
}

fn rule(outputs: &Outputs) -> Json {
    serde_json::from_slice(&outputs.document("rule").unwrap().bytes).unwrap()
}

fn number(table: &Table, row: usize, name: &str) -> Option<f64> {
    table.cell(row, name).and_then(Cell::number)
}

/// A candidate's score by a rule's JSON alone, as its README says it.
fn score(rule: &Json, candidates: &Table, row: usize) -> f64 {
    let terms = rule["features"].as_array().unwrap().iter().map(|term| {
        let part = |key: &str| term[key].as_f64().unwrap();
        number(candidates, row, term["name"].as_str().unwrap())
            .map_or(0.0, |value| part("weight") * (value - part("mean")) / part("scale"))
    });
    1.0 / (1.0 + (-(rule["intercept"].as_f64().unwrap() + terms.sum::<f64>())).exp())
}

/// Whether each candidate of a case is a lesion: by its place, for objects have cells of their own.
fn is_lesion(candidates: &Table, row: usize) -> bool {
    number(candidates, row, "centroid_x").unwrap() < 20.0
}

#[test]
fn a_rule_is_readable_and_tells_lesions_from_vessels() {
    let made = group(0..CASES).run::<FitFilter>(&json!({})).unwrap();
    let rule = rule(&made);
    assert_eq!(rule["format"], json!("neuroloom-lesion-rule-1"));
    let names: Vec<&str> =
        rule["features"].as_array().unwrap().iter().map(|f| f["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["elongation", "compactness", "vesselness", "contrast", "black_blood"]);
    assert_eq!(rule["training"]["features_left_out"], json!(["edge_mm", "enhancement", "prior"]));
    let training = |key: &str| rule["training"][key].as_u64().unwrap() as usize;
    assert_eq!(
        ["cases", "subjects", "lesions", "false_positives"].map(training),
        [CASES, CASES, CASES * EACH, CASES * EACH]
    );
    assert!(rule["training"]["left_out_subjects"]["auc"].as_f64().unwrap() > 0.8, "{rule}");
    let table = made.table("table").unwrap();
    let learned = (0..table.rows.len())
        .find(|&row| table.cell(row, "rule").unwrap().text() == Some("rule_file"))
        .unwrap();
    assert!(number(&table, learned, "removed_percent").unwrap() > 0.0, "{:?}", table.rows);
}

#[test]
fn the_filter_scores_candidates_as_the_rule_s_json_says() {
    let rule = rule(&group(0..CASES).run::<FitFilter>(&json!({})).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rule.json");
    std::fs::write(&path, rule.to_string()).unwrap();
    let found = filtered(&volumes(CASES), json!({ "rule_file": path }));
    let table = found.table("candidates").unwrap();
    assert_eq!(table.rows.len(), 2 * EACH);
    for row in 0..table.rows.len() {
        let (told, expected) = (number(&table, row, "value").unwrap(), score(&rule, &table, row));
        assert!((told - expected).abs() < 1e-12, "{told} {expected}");
        let accepted = table.cell(row, "class").unwrap().text() == Some("accepted");
        assert_eq!(accepted, expected >= rule["cut"].as_f64().unwrap());
    }
}

/// With six subjects each is left out once: what the rule says of them is found again by six rules that never saw theirs.
#[test]
fn figures_of_subjects_left_out_are_those_of_rules_that_did_not_see_them() {
    let settings = json!({ "keep": 0.9 });
    let whole = rule(&group(0..CASES).run::<FitFilter>(&settings).unwrap());
    let (mut lesions, mut vessels) = (Vec::new(), Vec::new());
    for left_out in 0..CASES {
        let others = rule(&group((0..CASES).filter(|&n| n != left_out)).run::<FitFilter>(&settings).unwrap());
        let candidates = filtered(&volumes(left_out), json!({ "rules": [] })).table("candidates").unwrap();
        for row in 0..candidates.rows.len() {
            let side = if is_lesion(&candidates, row) { &mut lesions } else { &mut vessels };
            side.push(score(&others, &candidates, row));
        }
    }
    lesions.sort_by(f64::total_cmp);
    // A tenth of 18 may be lost: one.
    let cut = lesions[1];
    let told = &whole["training"]["left_out_subjects"];
    assert!((whole["cut"].as_f64().unwrap() - cut).abs() < 1e-9, "{cut} {whole}");
    assert_eq!(told["lesions_lost"], json!(1));
    assert_eq!(told["false_positives_removed"], json!(vessels.iter().filter(|&&s| s < cut).count()));
    let pairs = lesions.iter().flat_map(|l| vessels.iter().map(move |v| if l > v { 1.0 } else { 0.0 }));
    let auc = pairs.sum::<f64>() / (lesions.len() * vessels.len()) as f64;
    assert!((told["auc"].as_f64().unwrap() - auc).abs() < 1e-12, "{auc} {told}");
}

#[test]
fn unseen_cases_change_no_weight_and_have_rows_of_their_own() {
    let with_split = |cases: usize| {
        (0..cases).fold(TestGroup::new(), |group, n| {
            let mut entry = CaseEntry::of(&format!("sub-{n:02}"));
            entry.columns.insert("split".to_owned(), if n < 4 { "dev" } else { "test" }.to_owned());
            group.entry(entry, case(n))
        })
    };
    let made = with_split(CASES).failed("sub-99", "no brain found").run::<FitFilter>(&json!({})).unwrap();
    assert_eq!(
        rule(&made)["features"],
        rule(&with_split(4).run::<FitFilter>(&json!({})).unwrap())["features"]
    );
    let table = made.table("table").unwrap();
    let cases = |set: &str| {
        let row =
            (0..table.rows.len()).find(|&row| table.cell(row, "set").unwrap().text() == Some(set)).unwrap();
        number(&table, row, "cases").unwrap()
    };
    assert_eq!((cases("training"), cases("unseen")), (4.0, 2.0));
    assert_eq!(made.facts("rule").warnings(), ["1 cases failed and take no part"]);
}

#[test]
fn what_nothing_can_be_learned_from_is_named() {
    let error = |group: TestGroup, settings: Json| group.run::<FitFilter>(&settings).unwrap_err();
    let none = error(TestGroup::new(), json!({}));
    assert!(none.message.starts_with("0 lesions and 0 false positives among the candidates"), "{none}");
    let empty = |spacing_mm: f64| {
        let grid = Grid::axis_aligned(SHAPE, [spacing_mm; 3]);
        Labels::new(grid, vec![0; grid.len()]).unwrap()
    };
    let few = error(TestGroup::new().case("sub-01", case_with(0, empty(1.0))), json!({}));
    assert_eq!(
        few.message,
        "0 lesions and 6 false positives among the candidates to learn from, where at least 3 of each are expected"
    );
    assert!(few.hint.unwrap().contains("learn from more cases"));
    let alone = error(group([0]), json!({}));
    assert_eq!(alone.message, "one subject to learn from, where at least 2 are expected");
    let featureless = error(group(0..2), json!({ "features": ["prior"] }));
    assert_eq!(featureless.message, "no candidate has any of the features");
    let unknown = error(group(0..2), json!({ "features": ["colour"] }));
    assert_eq!(
        unknown.message,
        "`features` is colour, where a column of the table of candidates is expected"
    );
    let moved =
        error(TestGroup::new().case("sub-00", case(0)).case("sub-01", case_with(1, empty(2.0))), json!({}));
    assert!(moved.message.starts_with("`truth` is on 40x40x32 voxels of 2.000x2.000x2.000 mm"), "{moved}");
}
