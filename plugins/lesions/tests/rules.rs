//! The rules of `filter_lesions` on phantoms in which a ball is a lesion and a tube is a vessel.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use neuroloom_lesions::FilterLesions;
use neuroloom_lesions::filter::{self, features::Beside};
use sdk::testing::{ball_mask, context_with, run};
use sdk::{Affine, Cell, Grid, Image, Inputs, Outputs, Probability, Table};
use serde_json::json;

const BALL: [f64; 3] = [24.0, 24.0, 15.0];

fn grid() -> Grid {
    Grid::axis_aligned([48, 48, 48], [1.0; 3])
}

/// The same everywhere, from -1 to 1.
fn noise(n: usize) -> f64 {
    ((n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64 / f64::from(1 << 23) - 1.0
}

fn in_ball(at: [f64; 3]) -> bool {
    (0..3).map(|a| (at[a] - BALL[a]).powi(2)).sum::<f64>() <= 16.0
}

/// Along x, 3 mm wide.
fn in_tube(at: [f64; 3]) -> bool {
    (12.0..36.0).contains(&at[0]) && (at[1] - 24.0).powi(2) + (at[2] - 32.0).powi(2) <= 2.5
}

/// An image with these intensities in the ball, in the tube and elsewhere, and some noise.
fn image(grid: Grid, ball: f64, tube: f64) -> Image {
    let voxel = |n: usize| {
        let at = grid.world(grid.index(n));
        let signal = if in_ball(at) {
            ball
        } else if in_tube(at) {
            tube
        } else {
            100.0
        };
        (signal + 5.0 * noise(n)) as f32
    };
    Image::new(grid, (0..grid.len()).map(voxel).collect::<Vec<_>>()).unwrap()
}

fn scores(grid: Grid) -> Probability {
    let score = |n: usize| {
        let at = grid.world(grid.index(n));
        if in_ball(at) || in_tube(at) { 0.9 } else { 0.1 }
    };
    Probability::new(grid, (0..grid.len()).map(score).collect::<Vec<f32>>()).unwrap()
}

/// Ball and tube bright after contrast, the tube dark where blood is.
fn all_inputs() -> Inputs {
    Inputs::new()
        .with("probability", scores(grid()))
        .with("mask", ball_mask(grid(), [23.5; 3], 23.0))
        .with("image", image(grid(), 175.0, 175.0))
        .with("pre_contrast", image(grid(), 100.0, 100.0))
        .with("black_blood", image(grid(), 160.0, 40.0))
}

fn filter(settings: serde_json::Value, inputs: &Inputs) -> Outputs {
    run::<FilterLesions>(settings, inputs).unwrap()
}

fn table(outputs: &Outputs) -> Table {
    outputs.table("candidates").unwrap()
}

fn text(table: &Table, row: usize, name: &str) -> String {
    table.cell(row, name).unwrap().to_string()
}

fn number(table: &Table, row: usize, name: &str) -> f64 {
    table.cell(row, name).unwrap().number().unwrap()
}

/// `class rule` of each candidate, in the order of ids.
fn verdicts(outputs: &Outputs) -> Vec<String> {
    let table = table(outputs);
    (0..table.rows.len())
        .map(|row| format!("{} {}", text(&table, row, "class"), text(&table, row, "rule")))
        .collect()
}

#[test]
fn what_is_bright_and_has_black_blood_is_a_vessel_and_keeps_its_number() {
    let outputs = filter(json!({}), &all_inputs());
    assert_eq!(verdicts(&outputs), ["accepted min_volume_mm3", "rejected min_black_blood"]);
    let table = table(&outputs);
    assert!(number(&table, 1, "value") < -5.0 && number(&table, 1, "limit") == 0.0, "{:?}", table.rows[1]);
    assert!(number(&table, 0, "black_blood") > 5.0, "{:?}", table.rows[0]);
    assert_eq!(outputs.labels("rejected").unwrap().at([20, 24, 32]), 2);
    assert_eq!(outputs.labels("labels").unwrap().at([24, 24, 15]), 1);
    assert_eq!(outputs.labels("labels").unwrap().at([20, 24, 32]), 0);
}

#[test]
fn a_rule_without_its_image_is_off_and_says_so() {
    let inputs = Inputs::new().with("probability", scores(grid())).with("image", image(grid(), 175.0, 175.0));
    let outputs = filter(json!({ "rules": ["min_black_blood", "min_edge_mm"] }), &inputs);
    assert_eq!(verdicts(&outputs), ["accepted min_volume_mm3", "accepted min_volume_mm3"]);
    assert_eq!(text(&table(&outputs), 0, "rules_off"), "min_black_blood min_edge_mm");
    let facts = outputs.facts("candidates");
    let rules = facts.get("rules").unwrap();
    assert_eq!(rules["min_black_blood"], json!({ "limit": 0.0, "on": false, "why": "no `black_blood`" }));
    assert_eq!(rules["max_elongation"]["why"], json!("not in `rules`"));
}

#[test]
fn shape_alone_tells_a_tube_from_a_ball() {
    let inputs = Inputs::new().with("probability", scores(grid())).with("image", image(grid(), 175.0, 175.0));
    for rule in ["max_vesselness", "max_elongation"] {
        let outputs = filter(json!({ "rules": [rule] }), &inputs);
        assert_eq!(verdicts(&outputs)[1], format!("rejected {rule}"), "{:?}", table(&outputs).rows);
    }
    let found = table(&filter(json!({ "rules": [] }), &inputs));
    // A ball is as long as wide but for its voxels, and fills the ball around it but for its corners.
    assert!((number(&found, 0, "elongation") - 1.0).abs() < 0.05);
    assert!(number(&found, 0, "compactness") > 0.6);
    // A cylinder 24 long and 3.2 wide.
    assert!((number(&found, 1, "elongation") - 24.0 / 12f64.sqrt() / 0.8).abs() < 1.5);
    assert!(number(&found, 1, "compactness") < 0.05);
}

#[test]
fn what_was_bright_before_contrast_does_not_enhance() {
    let inputs = all_inputs();
    let bled: Inputs =
        inputs.iter().filter(|(port, ..)| *port != "pre_contrast").fold(
            Inputs::new().with("pre_contrast", image(grid(), 180.0, 100.0)),
            |inputs, (port, _, value)| inputs.with(port, value.clone()),
        );
    assert_eq!(verdicts(&filter(json!({}), &bled)), ["rejected min_enhancement", "rejected min_black_blood"]);
}

#[test]
fn a_candidate_along_the_edge_and_one_in_the_prior_are_rejected() {
    let mask = ball_mask(grid(), [23.5; 3], 23.0);
    let depth = |at: [f64; 3]| 23.0 - (0..3).map(|a| (at[a] - 23.5).powi(2)).sum::<f64>().sqrt();
    let cap = |n: usize| {
        let at = grid().world(grid().index(n));
        if (0.0..1.0).contains(&depth(at)) && at[2] > 35.0 { 0.9 } else { 0.0 }
    };
    let cap = Probability::new(grid(), (0..grid().len()).map(cap).collect::<Vec<f32>>()).unwrap();
    let inputs = Inputs::new().with("probability", cap).with("mask", mask);
    let outputs = filter(json!({ "rules": ["min_edge_mm"] }), &inputs);
    assert_eq!(verdicts(&outputs), ["rejected min_edge_mm"]);
    let inputs =
        Inputs::new().with("probability", scores(grid())).with("prior", ball_mask(grid(), BALL, 5.0));
    let outputs = filter(json!({ "rules": ["max_prior"] }), &inputs);
    assert_eq!(verdicts(&outputs), ["accepted min_volume_mm3", "rejected max_prior"]);
    assert_eq!(number(&table(&outputs), 1, "value"), 1.0);
}

#[test]
fn hysteresis_rejects_what_no_seed_reaches() {
    let grid = Grid::axis_aligned([30, 1, 1], [1.0; 3]);
    let along: Vec<f32> = (0..30)
        .map(|i| {
            if i == 5 {
                0.95
            } else if i % 15 < 12 {
                0.5
            } else {
                0.0
            }
        })
        .collect();
    let inputs = Inputs::new().with("probability", Probability::new(grid, along).unwrap());
    let outputs = filter(json!({ "seed_threshold": 0.9, "rules": [] }), &inputs);
    assert_eq!(verdicts(&outputs), ["accepted min_volume_mm3", "rejected seed_threshold"]);
    let low = run::<FilterLesions>(json!({ "seed_threshold": 0.4 }), &inputs).unwrap_err();
    assert!(low.message.starts_with("`seed_threshold` is 0.4, where 0.5"), "{low}");
}

#[test]
fn a_learned_rule_stands_in_and_says_what_spoke_against_a_candidate() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rule.json");
    let rule = |cut: f64| {
        json!({ "format": "neuroloom-lesion-rule-1", "intercept": 0.0, "cut": cut, "features": [
            { "name": "black_blood", "mean": 0.0, "scale": 2.0, "weight": 1.0 },
            { "name": "prior", "mean": 0.5, "scale": 1.0, "weight": -1.0 },
        ] })
    };
    std::fs::write(&path, rule(0.5).to_string()).unwrap();
    let outputs = filter(json!({ "rule_file": path }), &all_inputs());
    assert_eq!(verdicts(&outputs), ["accepted rule_file", "rejected rule_file"]);
    let table = table(&outputs);
    assert!(number(&table, 1, "value") < 0.1 && number(&table, 0, "value") > 0.9, "{:?}", table.rows);
    assert!(text(&table, 1, "explanation").starts_with("black_blood -"), "{:?}", table.rows[1]);
    assert_eq!(outputs.facts("labels").get("rules").unwrap()["rule_file"]["lacking"], json!(["prior"]));
    std::fs::write(&path, rule(1.5).to_string()).unwrap();
    let error = run::<FilterLesions>(json!({ "rule_file": path }), &all_inputs()).unwrap_err();
    assert!(error.message.contains("says `cut = 1.5` where"), "{error}");
}

#[test]
fn any_grid_and_any_voxel_give_a_result() {
    let shapes = [[32, 32, 1], [1, 32, 32], [32, 1, 1], [1, 1, 1], [9, 7, 5]];
    let sheared = Affine::from_rows([
        [-0.9, 0.01, 0.0, 12.0], //
        [0.0, 1.1, 0.02, -4.0],
        [0.0, 0.0, 4.0, 3.0],
    ]);
    for grid in shapes.map(|shape| Grid::new(shape, sheared)) {
        let fills: [fn(usize) -> f32; 5] = [
            |_| 0.0,
            |_| 7.0,
            |_| f32::NAN,
            |n| if n % 3 == 0 { f32::INFINITY } else { 1e38 },
            |n| (n % 17) as f32,
        ];
        for fill in fills {
            let image = Image::new(grid, (0..grid.len()).map(fill).collect::<Vec<_>>()).unwrap();
            let scores: Vec<f32> = (0..grid.len()).map(|n| if n % 5 < 3 { 0.9 } else { 0.0 }).collect();
            let full = sdk::Mask::new(grid, vec![1; grid.len()]).unwrap();
            let inputs = Inputs::new()
                .with("probability", Probability::new(grid, scores).unwrap())
                .with("mask", full)
                .with("image", image.clone())
                .with("pre_contrast", image.clone())
                .with("black_blood", image.clone())
                .with("prior", image);
            let found = table(&filter(json!({}), &inputs));
            let finite = |cell: &Cell| cell.number().is_none_or(f64::is_finite);
            assert!(!found.rows.is_empty() && found.rows.iter().flatten().all(finite), "{grid}");
        }
    }
}

#[test]
fn a_volume_of_another_grid_is_named() {
    let small = Image::new(Grid::axis_aligned([2; 3], [1.0; 3]), vec![0.0; 8]).unwrap();
    let probability = scores(grid());
    let beside = Beside { black_blood: Some(&small), ..Beside::default() };
    let options = filter::Options::default();
    let error = filter::lesions(&probability, &beside, 0.5, &options, None, &context_with(1)).unwrap_err();
    assert!(error.message.starts_with("`black_blood` on 2x2x2 voxels"), "{error}");
}

#[test]
fn nothing_depends_on_the_number_of_threads() {
    let inputs = all_inputs();
    let [image, before, blood] = ["image", "pre_contrast", "black_blood"].map(|p| inputs.image(p).unwrap());
    let (probability, mask) = (inputs.probability("probability").unwrap(), inputs.mask("mask").unwrap());
    let beside = Beside {
        mask: Some(&mask),
        image: Some(&image),
        pre_contrast: Some(&before),
        black_blood: Some(&blood),
        prior: None,
    };
    let options = filter::Options::default();
    let found = |threads| {
        filter::lesions(&probability, &beside, 0.5, &options, None, &context_with(threads)).unwrap().table
    };
    assert_eq!(found(1), found(3));
}

/// The limit of 0.7 lies between.
#[test]
fn a_tube_of_any_width_of_a_vessel_is_one_and_a_ball_of_any_size_is_none() {
    let vesselness = |inside: &dyn Fn([f64; 3]) -> bool| {
        let grid = grid();
        let at = |n: usize| grid.world(grid.index(n));
        let voxel = |n: usize| ((if inside(at(n)) { 175.0 } else { 100.0 }) + 2.0 * noise(n)) as f32;
        let image = Image::new(grid, (0..grid.len()).map(voxel).collect::<Vec<_>>()).unwrap();
        let score = |n: usize| if inside(at(n)) { 0.9f32 } else { 0.0 };
        let scores = Probability::new(grid, (0..grid.len()).map(score).collect::<Vec<_>>()).unwrap();
        let inputs = Inputs::new().with("probability", scores).with("image", image);
        number(&table(&filter(json!({ "rules": [], "min_volume_mm3": 0.0 }), &inputs)), 0, "vesselness")
    };
    for radius in [1.5, 2.0, 3.0, 4.0, 6.0, 9.0] {
        let ball = |at: [f64; 3]| (0..3).map(|a| (at[a] - 24.3).powi(2)).sum::<f64>() <= radius * radius;
        let found = vesselness(&ball);
        assert!(found < 0.6, "a ball of radius {radius} mm: {found}");
    }
    for radius in [1.0f64, 1.5, 2.5] {
        let oblique = |at: [f64; 3]| {
            let across = [at[1] - 24.3 - 0.3 * (at[0] - 24.0), at[2] - 24.6];
            (8.0..40.0).contains(&at[0]) && across[0].powi(2) + across[1].powi(2) <= radius * radius
        };
        let found = vesselness(&oblique);
        assert!(found > 0.75, "a tube of radius {radius} mm: {found}");
    }
}
