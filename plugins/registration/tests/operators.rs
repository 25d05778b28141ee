//! The faces of `resample` and `fit_matrix`: frames, kinds, facts, shared buffers.

#![expect(clippy::unwrap_used, reason = "helpers of tests outside `#[test]` functions")]

use neuroloom_registration::{FitMatrix, Resample};
use sdk::geometry::{Affine, Grid};
use sdk::testing::{ball, ball_mask, interface, run};
use sdk::{AnyVolume, Image, Inputs, Kind, Labels, Probability, Value};
use serde_json::json;

fn source() -> Image {
    ball(Grid::axis_aligned([20, 20, 10], [1.0, 1.0, 2.0]), [9.0, 9.0, 9.0], 6.0, 100.0)
}

/// A grid about the same ball with other voxels.
fn other_grid() -> Grid {
    Grid::new([12, 12, 12], Affine::scale_shift([1.5; 3], [1.0, 1.0, 1.0]))
}

fn like() -> Image {
    Image::new(other_grid(), vec![0.0; other_grid().len()]).unwrap()
}

#[test]
fn without_a_transform_both_must_lie_in_one_frame() {
    let inputs = Inputs::new().with("image", source()).with("like", like());
    let frames = interface::<Resample>(&json!({}), &inputs).unwrap().same_frame;
    assert_eq!(frames, [("m".to_owned(), "g".to_owned())]);
    let inputs = inputs.with("transform", Affine::IDENTITY);
    assert!(interface::<Resample>(&json!({}), &inputs).unwrap().same_frame.is_empty());
}

#[test]
fn the_kind_stays_and_so_do_the_facts() {
    let grid = *source().grid();
    let mask = ball_mask(grid, [9.0, 9.0, 9.0], 6.0);
    let labels: Vec<u32> = mask.voxels().iter().map(|v| u32::from(*v) * 70_000).collect();
    let scores: Vec<f32> = source().voxels().iter().map(|v| v / 100.0).collect();
    let volumes = [
        (AnyVolume::Image(source()), Kind::Image),
        (AnyVolume::Mask(mask), Kind::Mask),
        (AnyVolume::Labels(Labels::new(grid, labels).unwrap()), Kind::Labels),
        (AnyVolume::Probability(Probability::new(grid, scores).unwrap()), Kind::Probability),
    ];
    for (volume, kind) in volumes {
        let inputs =
            Inputs::new().with("image", Value::from(volume).fact("threshold", 0.5)).with("like", like());
        let outputs = run::<Resample>(json!({ "interpolation": "cubic" }), &inputs).unwrap();
        let value = outputs.value("image").unwrap();
        assert_eq!((value.kind(), value.facts.number("threshold")), (kind, Some(0.5)));
        assert_eq!(value.volume().unwrap().grid(), &other_grid());
        if let AnyVolume::Labels(v) = value.volume().unwrap() {
            assert!(v.voxels().contains(&70_000) && v.voxels().iter().all(|x| *x == 0 || *x == 70_000));
        }
    }
}

/// Shifting the volume's world and pulling it back by the transform gives what no shift gives (1e-3 of 100: rounding).
#[test]
fn a_transform_pulls() {
    let plain =
        run::<Resample>(json!({}), &Inputs::new().with("image", source()).with("like", like())).unwrap();
    let shift = Affine::rigid([0.1, 0.2, 0.3], [30.0, -20.0, 10.0], [0.0; 3]);
    let grid = Grid::new(source().grid().shape, shift.after(&source().grid().voxel_to_world));
    let inputs = Inputs::new().with("image", source().with_grid(grid).unwrap()).with("like", like());
    let moved = run::<Resample>(json!({}), &inputs.with("transform", shift)).unwrap();
    let (plain, moved) = (plain.image("image").unwrap(), moved.image("image").unwrap());
    let apart = plain.voxels().iter().zip(moved.voxels()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(apart < 1e-3, "{apart}");
}

#[test]
fn a_matching_grid_hands_the_buffer_on() {
    let image = source();
    for inputs in [
        Inputs::new().with("image", image.clone()).with("like", image.clone()),
        Inputs::new()
            .with("image", image.clone())
            .with("like", image.clone())
            .with("transform", Affine::IDENTITY),
    ] {
        let outputs = run::<Resample>(json!({}), &inputs).unwrap();
        assert_eq!(outputs.image("image").unwrap().voxels().as_ptr(), image.voxels().as_ptr());
    }
    let inputs = Inputs::new().with("image", image.clone());
    let outputs = run::<FitMatrix>(json!({ "matrix": 20 }), &inputs).unwrap();
    assert_eq!(outputs.image("image").unwrap().voxels().as_ptr(), image.voxels().as_ptr());
}

#[test]
fn a_volume_that_misses_the_grid_is_warned_of() {
    let far = Grid::new([4; 3], Affine::translation([500.0, 0.0, 0.0]));
    let like = Image::new(far, vec![0.0; 64]).unwrap();
    let outputs =
        run::<Resample>(json!({}), &Inputs::new().with("image", source()).with("like", like)).unwrap();
    assert_eq!(
        outputs.facts("image").warnings(),
        ["resample: nothing of the volume lies within the new grid"]
    );
}

#[test]
fn slices_are_fitted_and_the_facts_stay() {
    let inputs = Inputs::new().with("image", Value::from(source()).fact("sources", json!(["a.nii"])));
    let outputs = run::<FitMatrix>(json!({ "matrix": 40 }), &inputs).unwrap();
    let fitted = outputs.image("image").unwrap();
    assert_eq!((fitted.grid().shape, fitted.grid().spacing_mm()), ([40, 40, 10], [0.5, 0.5, 2.0]));
    assert_eq!(outputs.facts("image").get("sources"), Some(&json!(["a.nii"])));
    assert!(outputs.facts("image").warnings().is_empty());
}

#[test]
fn settings_out_of_range_or_unknown_are_refused() {
    let inputs = Inputs::new().with("image", source());
    let refusal = |settings| run::<FitMatrix>(settings, &inputs).unwrap_err();
    assert!(refusal(json!({ "matrix": 2000 })).message.contains("setting `matrix` is 2000"));
    assert!(refusal(json!({ "matix": 256 })).message.contains("unknown field `matix`"));
}

/// A vote smooths the staircase that the nearest voxel leaves, and makes no label.
#[test]
fn labels_are_voted_on_demand_and_stay_integers() {
    let mask = ball_mask(*source().grid(), [9.0, 9.0, 9.0], 6.0);
    let voxels: Vec<u32> = mask.voxels().iter().map(|v| u32::from(*v) * 70_000 + 3).collect();
    let inputs =
        Inputs::new().with("image", Labels::new(*source().grid(), voxels).unwrap()).with("like", like());
    let voted = |settings| {
        let outputs = run::<Resample>(settings, &inputs).unwrap();
        match outputs.value("image").unwrap().volume().unwrap() {
            AnyVolume::Labels(labels) => labels.voxels().to_vec(),
            other => panic!("labels became {other:?}"),
        }
    };
    let (nearest, vote) = (voted(json!({})), voted(json!({ "labels": "vote", "vote_sigma_mm": [2, 2, 2] })));
    assert_ne!(nearest, vote);
    assert!(vote.iter().all(|label| [0, 3, 70_003].contains(label)));
}

#[test]
fn a_vote_without_width_and_a_width_without_vote_are_refused() {
    let inputs = Inputs::new().with("image", source()).with("like", like());
    let refusal = |settings| run::<Resample>(settings, &inputs).unwrap_err().message;
    let zero = json!({ "labels": "vote", "vote_sigma_mm": [1, 0, 1] });
    assert!(refusal(zero).contains("`vote_sigma_mm` is [1.0, 0.0, 1.0]"));
    assert!(refusal(json!({ "vote_sigma_mm": [1, 1, 1] })).contains("without `labels = \"vote\"`"));
    assert!(refusal(json!({ "interpolation": "spline" })).contains("unknown variant `spline`"));
}
