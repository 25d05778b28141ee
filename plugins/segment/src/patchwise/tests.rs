use super::*;
use crate::script::card::tests::CARD;
use sdk::testing::{ball, ball_mask, context, context_with};
use std::sync::Mutex;

fn grid() -> Grid {
    Grid::axis_aligned([20, 18, 11], [1.0; 3])
}

fn case() -> CaseImages {
    let image = ball(grid(), [9.0, 8.0, 5.0], 5.0, 2.0);
    CaseImages { channels: vec![Some(image), None], mask: Some(ball_mask(grid(), [9.0, 8.0, 5.0], 6.0)) }
}

fn card(changes: &str) -> ScriptCard {
    ScriptCard::parse(&format!("{changes}\n{CARD}")).unwrap()
}

fn plan(batch: usize) -> Plan {
    Plan { batch, views: 1, spread: false, networks: 1 }
}

/// A network of two classes: 0 for the background, the first channel for the lesion.
#[expect(clippy::unnecessary_wraps, reason = "a network may fail")]
fn seen(_: usize, input: &[f32], shape: &[usize], said: &mut [f32]) -> Result<(), BackendError> {
    let patch: usize = shape[2..].iter().product();
    for (input, said) in input.chunks_exact(shape[1] * patch).zip(said.chunks_exact_mut(2 * patch)) {
        said[..patch].fill(0.0);
        said[patch..].copy_from_slice(&input[..patch]);
    }
    Ok(())
}

fn logistic(v: f32) -> f32 {
    1.0 / (1.0 + (-v).exp())
}

#[test]
fn each_voxel_has_the_score_of_its_own_intensity_whatever_axes_crop_threads_and_batch() {
    let case = case();
    let expected = |at: usize| {
        let brain = case.mask.as_ref().unwrap().voxels()[at] != 0;
        if brain { logistic(case.channels[0].as_ref().unwrap().voxels()[at]) } else { 0.0 }
    };
    let first = scores(&case, &card(""), plan(1), &seen, &context()).unwrap().probability;
    for changes in
        ["", "axes = \"ijk\"", "crop = \"mask\"", "orientation = \"PSL\"", "mirror = [\"j\", \"k\"]"]
    {
        for (batch, threads) in [(1, 1), (3, 2)] {
            let plan = Plan { views: 4, ..plan(batch) };
            let found =
                scores(&case, &card(changes), plan, &seen, &context_with(threads)).unwrap().probability;
            for (at, score) in found.voxels().iter().enumerate() {
                assert!((score - expected(at)).abs() < 1e-5, "{changes}: voxel {at} is {score}");
            }
            assert!(!changes.is_empty() || found.voxels() == first.voxels(), "threads change bits");
        }
    }
}

#[test]
fn slices_and_stacks_reach_the_network_with_their_neighbours() {
    let slice = CARD.replace("\"3d\"", "\"2.5d\"\nslices = 3").replace("[16, 16, 8]", "[16, 16, 1]");
    let card = ScriptCard::parse(&slice).unwrap();
    let shapes = Mutex::new(std::collections::BTreeSet::new());
    // The middle slice of the first channel, minus the mean of its neighbours: 0 but for what the ball's curve brings.
    let second = |_: usize, input: &[f32], shape: &[usize], said: &mut [f32]| {
        shapes.lock().unwrap().insert(shape.to_vec());
        let patch = shape[2] * shape[3];
        said[..patch].fill(0.0);
        for v in 0..patch {
            said[patch + v] = input[patch + v] - f32::midpoint(input[v], input[2 * patch + v]);
        }
        Ok(())
    };
    let case = case();
    let found = scores(&case, &card, plan(1), &second, &context()).unwrap().probability;
    assert_eq!(shapes.into_inner().unwrap(), [vec![1, 6, 16, 16]].into());
    let image = case.channels[0].as_ref().unwrap();
    for index in [[9, 8, 5], [9, 8, 1], [12, 8, 7], [9, 8, 9]] {
        let [i, j, k] = index;
        let curve = image.at(index) - f32::midpoint(image.at([i, j, k - 1]), image.at([i, j, k + 1]));
        assert!((found.at(index) - logistic(curve)).abs() < 1e-5, "{index:?}");
    }
}

#[test]
fn another_spacing_and_orientation_lie_around_the_same_middle() {
    let own = Grid::axis_aligned([20, 18, 11], [1.0, 1.0, 3.0]);
    let target = target_grid(&own, &card("spacing_mm = [2.0, 1.5, 1.0]\norientation = \"SPR\""));
    assert_eq!((target.shape, target.orientation().as_str()), ([17, 12, 20], "SPR"));
    assert_eq!(target.spacing_mm().map(|mm| (mm * 1e6).round() / 1e6), [2.0, 1.5, 1.0]);
    for (a, b) in target.centre_world().iter().zip(own.centre_world()) {
        assert!((a - b).abs() < 1e-9);
    }
    assert_eq!(target_grid(&own, &card("")), own);
}

#[test]
fn normalisation_follows_the_card_and_refuses_what_is_all_alike() {
    let mask = ball_mask(grid(), [9.0, 8.0, 5.0], 3.0);
    let voxels: Vec<f32> = (0..grid().len()).map(|v| (v % 101) as f32).collect();
    let z = |changes: &str, mask| normalised(&voxels, mask, &card_with("zscore", changes)).unwrap();
    let all = z("", None);
    let mean = all.iter().map(|v| f64::from(*v)).sum::<f64>() / all.len() as f64;
    let square = all.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / all.len() as f64;
    assert!(mean.abs() < 1e-6 && (square - 1.0).abs() < 1e-6);
    let inside = z("normalise_over = \"mask\"", Some(&mask));
    assert!(inside.iter().zip(mask.voxels()).all(|(v, brain)| *brain == 1 || *v == 0.0));
    let percentile =
        normalised(&voxels, None, &card_with("percentile", "percentiles = [10.0, 90.0]")).unwrap();
    assert!(percentile.contains(&0.0) && percentile.contains(&1.0));
    assert!((percentile[50] - 0.5).abs() < 0.01, "{}", percentile[50]);
    for name in ["zscore", "percentile"] {
        assert_eq!(normalised(&[3.0; 8], None, &card_with(name, "")), None);
    }
}

fn card_with(normalisation: &str, changes: &str) -> ScriptCard {
    let text =
        CARD.replace("normalisation = \"given\"", &format!("normalisation = \"{normalisation}\"\n{changes}"));
    ScriptCard::parse(&text).unwrap()
}

#[test]
fn an_ensemble_is_the_mean_of_what_its_networks_say_and_the_spread_how_far_they_differ() {
    let case = case();
    let constant = |network: usize, _: &[f32], shape: &[usize], said: &mut [f32]| {
        let patch: usize = shape[2..].iter().product();
        said[..patch].fill(0.0);
        said[patch..].fill([-1.0, 3.0][network]);
        Ok(())
    };
    let plan = Plan { networks: 2, spread: true, ..plan(1) };
    let found = scores(&case, &card(""), plan, &constant, &context()).unwrap();
    let middle = [9, 8, 5];
    assert!((found.probability.at(middle) - logistic(1.0)).abs() < 1e-6);
    let half = (logistic(3.0) - logistic(-1.0)) / 2.0;
    assert!((found.spread.unwrap().at(middle) - half).abs() < 1e-6);
}

#[test]
fn want_of_memory_halves_the_patches_at_once_to_the_same_scores() {
    let case = case();
    let short = |network: usize, input: &[f32], shape: &[usize], said: &mut [f32]| {
        if shape[0] > 1 {
            return Err(BackendError::Memory("CUDA out of memory".to_owned()));
        }
        seen(network, input, shape, said)
    };
    let found = scores(&case, &card(""), plan(4), &short, &context_with(1)).unwrap();
    let whole = scores(&case, &card(""), plan(4), &seen, &context_with(1)).unwrap();
    assert_eq!((found.halved, whole.halved), (Some(1), None));
    assert_eq!(found.probability.voxels(), whole.probability.voxels());
}

#[test]
fn a_card_that_wants_a_mask_and_numbers_that_are_no_scores_are_errors() {
    let without = CaseImages { mask: None, ..case() };
    let error = scores(&without, &card("crop = \"mask\""), plan(1), &seen, &context()).unwrap_err();
    assert_eq!(error.message, "model `a-unet` crops to the mask, and there is none");
    let raw = ScriptCard::parse(&CARD.replace("softmax", "none")).unwrap();
    let error = scores(&case(), &raw, plan(1), &seen, &context()).unwrap_err();
    assert!(error.message.contains("`a-unet` gives is ") && error.message.contains("where 0..=1"), "{error}");
    let nan = |_: usize, _: &[f32], _: &[usize], said: &mut [f32]| {
        said.fill(f32::NAN);
        Ok(())
    };
    let error = scores(&case(), &card(""), plan(1), &nan, &context()).unwrap_err();
    assert!(error.message.contains("gives is NaN"), "{error}");
}

#[test]
fn an_empty_mask_to_crop_to_gives_scores_of_zero_without_the_network() {
    let mask = Some(Mask::new(grid(), vec![0; grid().len()]).unwrap());
    let never = |_: usize, _: &[f32], _: &[usize], _: &mut [f32]| panic!("there is nothing to look at");
    let found = scores(&CaseImages { mask, ..case() }, &card("crop = \"mask\""), plan(1), &never, &context())
        .unwrap();
    assert!(found.probability.voxels().iter().all(|score| *score == 0.0));
}
