//! The operator from outside, on small grids.

use neuroloom_phantom::Phantom;
use neuroloom_phantom::anatomy::Anatomy;
use neuroloom_phantom::case::{self, Case, Options};
use neuroloom_phantom::protocol::Grids;
use sdk::testing::{self, run};
use sdk::{AnyVolume, Inputs, Outputs};
use serde_json::json;

fn bravo(outputs: &Outputs) -> Vec<f32> {
    match outputs.value("bravo").and_then(sdk::Value::volume) {
        Some(AnyVolume::Image(image)) => image.voxels().to_vec(),
        other => panic!("{other:?} instead of an image"),
    }
}

fn small(threads: usize) -> Case {
    let options = Options { grids: Grids::Small, ..Options::default() };
    case::make(&Anatomy::load(), &options, 9, &testing::context_with(threads)).expect("a small case is made")
}

#[test]
fn the_same_seed_gives_the_same_bytes_for_any_number_of_threads() {
    let (one, four) = (small(1), small(4));
    for (a, b) in one.images.iter().zip(&four.images) {
        assert!(a.voxels() == b.voxels() && a.grid() == b.grid());
    }
    assert!(one.lesions.voxels() == four.lesions.voxels());
    assert!(one.brain_mask.voxels() == four.brain_mask.voxels());
    assert_eq!(one.lesion_table, four.lesion_table);
}

#[test]
fn outputs_are_as_declared_and_say_that_they_are_synthetic() {
    let outputs = run::<Phantom>(json!({ "grids": "small" }), &Inputs::new()).unwrap();
    for port in ["bravo", "t1_pre", "t1_post", "flair", "lesions", "brain_mask", "lesion_table"] {
        assert_eq!(outputs.facts(port).warnings(), ["synthetic phantom, not a patient"], "{port}");
    }
    let voxels = bravo(&outputs);
    assert!(voxels.iter().all(|v| v.is_finite() && *v >= 0.0 && v.fract() == 0.0));
}

#[test]
fn the_input_seed_overrides_the_setting() {
    let settings = |seed: u64| json!({ "grids": "small", "lesions": 0, "seed": seed });
    let by_setting = run::<Phantom>(settings(7), &Inputs::new()).unwrap();
    let by_input = run::<Phantom>(settings(1), &Inputs::new().with("seed", 7.0)).unwrap();
    let other = run::<Phantom>(settings(1), &Inputs::new()).unwrap();
    assert!(bravo(&by_setting) == bravo(&by_input));
    assert!(bravo(&by_setting) != bravo(&other));
    assert_eq!(by_input.facts("bravo").get("sources"), Some(&json!(["phantom of seed 7"])));
}

#[test]
fn wrong_settings_and_seeds_are_clear_errors() {
    let refused =
        |settings, inputs: &Inputs| run::<Phantom>(settings, inputs).expect_err("refused").to_string();
    let none = Inputs::new();
    assert!(refused(json!({ "snr": 1 }), &none).contains("setting `snr` is 1 instead of 2 to 1000"));
    assert!(refused(json!({ "lesion": 3 }), &none).contains("unknown field `lesion`"));
    assert!(refused(json!({ "grids": "tiny" }), &none).contains("unknown variant `tiny`"));
    let text = refused(json!({ "grids": "small" }), &none.with("seed", 1.5));
    assert!(text.contains("seed 1.5 instead of a whole number"), "{text}");
    let crowded = json!({ "grids": "small", "lesions": 200, "diameter_mm": [40, 42] });
    assert!(refused(crowded, &Inputs::new()).contains("of 200 lesions found a place"));
}

/// Every setting is in the README's table with its default.
#[test]
fn the_readme_lists_every_setting_with_its_default() {
    let readme = include_str!("../README.md");
    let defaults = serde_json::to_value(Options::default()).unwrap();
    for (name, default) in defaults.as_object().unwrap() {
        let row = format!("| `{name}` | `{default}` |");
        assert!(readme.contains(&row), "no row `{row}`");
    }
}
