//! The backend as plugin `segment` uses it: its library opened from a file, its network held against that of `make_golden.py`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use neuroloom_segment::backend::{Backend, Precision, Session};
use neuroloom_segment::card::Channel;
use neuroloom_segment::{Options, Segment, model};
use sdk::testing::{ball, ball_mask, context, context_to_cancel, context_with};
use sdk::{Cause, Context, FileSetting, Grid, Image, Inputs, Operator, OperatorError, Place, Value};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Where cargo puts the backend's library for tests: beside the test itself.
fn place(device: &str) -> Place {
    let plugin_dir = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    Place { device: device.to_owned(), plugin_dir, ..Place::default() }
}

/// A model file with initial weights in a folder of its own, and its bytes.
fn initial_model(width: f64) -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    model::write_initial(&path, &model::untrained(width, 1), 1).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    (folder, path, bytes)
}

fn session(weights: &[u8]) -> Session {
    let place = place("cpu");
    Backend::open(&place).unwrap().session(weights, &place).unwrap()
}

/// Side of the golden slice.
const SIDE: usize = 64;

/// The stack of `make_golden.py`, channels fastest: (17 (c + 3 b) + 5 i^2 + 3 i j + 11 j) mod 97 / 96 for slice b.
fn stack_of(side: usize, batch: usize) -> Vec<f32> {
    let voxel = |at: usize| {
        let (c, i, j, b) = (at % 28, at / 28 % side, at / 28 / side % side, at / 28 / side / side);
        (((17 * (c + 3 * b) + 5 * i * i + 3 * i * j + 11 * j) % 97) as f64 / 96.0) as f32
    };
    (0..28 * side * side * batch).map(voxel).collect()
}

fn golden_stack() -> Vec<f32> {
    stack_of(SIDE, 1)
}

fn golden_logits(name: &str) -> Vec<f32> {
    golden_file("logits.safetensors", name)
}

fn golden_file(file: &str, name: &str) -> Vec<f32> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(file);
    let bytes = std::fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let (numbers, _) = file.tensor(name).unwrap().data().as_chunks::<4>();
    numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// Largest excess of `found` over the tolerance 1e-3 + 1e-4 |reference|: sums in f32 in another order differ by about 2e-5.
fn excess(found: &[f32], reference: &[f32]) -> f32 {
    assert_eq!(found.len(), reference.len());
    let over = |(a, b): (&f32, &f32)| (a - b).abs() - (1e-3 + 1e-4 * b.abs());
    found.iter().zip(reference).map(over).fold(f32::NEG_INFINITY, f32::max)
}

#[test]
fn logits_agree_with_pytorch_at_both_widths() {
    for (width, name) in [(0.25, "width_0.25"), (1.0, "width_1.0")] {
        let (_folder, _, weights) = initial_model(width);
        let mut logits = vec![0.0; SIDE * SIDE];
        session(&weights).logits(&golden_stack(), [1, SIDE, SIDE, 28], &mut logits).unwrap();
        let reference = golden_logits(name);
        let largest = logits.iter().zip(&reference).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("{name}: largest difference {largest:e}");
        let excess = excess(&logits, &reference);
        assert!(excess <= 0.0, "{name}: {excess} beyond the tolerance");
    }
}

/// The paper's network at the paper's size, two slices at once; of the logits every 8th row and column is kept.
#[test]
fn the_full_network_on_two_slices_of_256_agrees_with_pytorch() {
    const FULL: usize = 256;
    const KEPT: usize = 8;
    let (_folder, _, weights) = initial_model(1.0);
    let mut logits = vec![0.0; 2 * FULL * FULL];
    session(&weights).logits(&stack_of(FULL, 2), [2, FULL, FULL, 28], &mut logits).unwrap();
    let rows = logits.chunks(FULL).step_by(KEPT);
    let kept: Vec<f32> = rows.flat_map(|row| row.iter().step_by(KEPT).copied()).collect();
    let reference = golden_file("logits_256.safetensors", "width_1.0");
    let largest = kept.iter().zip(&reference).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!("largest difference {largest:e}");
    assert!(excess(&kept, &reference) <= 0.0, "{largest}");
}

/// bf16 keeps three significant digits: the README promises logits within 1 % of their standard deviation on average.
#[test]
fn logits_in_bf16_stay_near_those_in_f32() {
    let (_folder, _, weights) = initial_model(0.25);
    let place = place("cpu");
    let backend = Backend::open(&place).unwrap();
    let format = neuroloom_segment_abi::FORMAT_SLICES;
    let session = backend.open_session(&weights, format, Precision::Bf16, &place).unwrap();
    let mut logits = vec![0.0; SIDE * SIDE];
    session.logits(&golden_stack(), [1, SIDE, SIDE, 28], &mut logits).unwrap();
    let reference = golden_logits("width_0.25");
    let mean = |values: &[f32]| values.iter().sum::<f32>() / values.len() as f32;
    let centre = mean(&reference);
    let squares: Vec<f32> = reference.iter().map(|v| (v - centre).powi(2)).collect();
    let apart: Vec<f32> = logits.iter().zip(&reference).map(|(a, b)| (a - b).abs()).collect();
    let share = mean(&apart) / mean(&squares).sqrt();
    println!("mean difference {share:e} of the standard deviation");
    assert!(share > 0.0 && share < 0.01, "{share}");
}

#[test]
fn a_session_of_one_format_refuses_the_other_s_input() {
    let (_folder, _, weights) = initial_model(0.25);
    let mut said = vec![0.0; 64];
    let error = session(&weights).forward(&[0.0; 64], &[1, 1, 8, 8], &mut said).unwrap_err();
    assert!(error.to_string().contains("reads stacks of slices, and it was given patches"), "{error}");
}

#[test]
fn the_batch_changes_logits_by_rounding_only() {
    let (_folder, _, weights) = initial_model(0.25);
    let one = golden_stack();
    let two: Vec<f32> = one.iter().chain(&one).copied().collect();
    let (mut alone, mut together) = (vec![0.0; SIDE * SIDE], vec![0.0; 2 * SIDE * SIDE]);
    let session = session(&weights);
    session.logits(&one, [1, SIDE, SIDE, 28], &mut alone).unwrap();
    session.logits(&two, [2, SIDE, SIDE, 28], &mut together).unwrap();
    for half in together.chunks(SIDE * SIDE) {
        assert!(excess(half, &alone) <= 0.0);
    }
}

#[test]
fn the_number_of_threads_changes_no_bit_of_the_scores() {
    let (_folder, path, _) = initial_model(0.25);
    let inputs = case(&["t1_pre", "bravo"]);
    let voxels = |threads| match run(settings(&path), &inputs, &context_with(threads)).unwrap().volume() {
        Some(sdk::AnyVolume::Probability(scores)) => scores.voxels().to_vec(),
        _ => panic!("no scores"),
    };
    assert_eq!(voxels(1), voxels(3));
}

#[test]
fn a_stack_with_other_channels_is_an_error_and_the_session_lives_on() {
    let (_folder, _, weights) = initial_model(0.25);
    let session = session(&weights);
    let mut logits = vec![0.0; SIDE * SIDE];
    let error = session.logits(&vec![0.0; 27 * SIDE * SIDE], [1, SIDE, SIDE, 27], &mut logits).unwrap_err();
    assert!(error.to_string().starts_with("libtorch: "), "{error}");
    session.logits(&golden_stack(), [1, SIDE, SIDE, 28], &mut logits).unwrap();
}

#[test]
fn weights_cut_short_are_an_error() {
    let (_folder, _, weights) = initial_model(0.25);
    let place = place("cpu");
    let backend = Backend::open(&place).unwrap();
    let error = backend.session(&weights[..weights.len() / 2], &place).unwrap_err();
    assert!(error.to_string().starts_with("the weights are no safetensors file"), "{error}");
}

#[test]
fn an_unknown_device_is_an_error_that_lists_the_known_ones() {
    let (_folder, path, _) = initial_model(0.25);
    let error = Segment::open(settings(&path), &place("tpu")).unwrap_err();
    assert_eq!(error.message, "device `tpu` is unknown");
    assert!(error.hint.unwrap().contains("`auto`, `cpu`, `cuda`"));
}

/// 32 x 24 x 9 voxels: wider than high, so that swapped axes show.
fn grid() -> Grid {
    Grid::axis_aligned([32, 24, 9], [1.0; 3])
}

fn case(names: &[&str]) -> Inputs {
    let mut inputs = Inputs::new().with("mask", ball_mask(grid(), [16.0, 12.0, 4.0], 3.2));
    for (n, name) in names.iter().enumerate() {
        let image = ball(grid(), [14.0 + n as f64, 12.0, 4.0], 5.0, 0.9);
        inputs.insert("channels", name, Value::from(image));
    }
    inputs
}

fn run(settings: Options, inputs: &Inputs, ctx: &Context) -> Result<Value, OperatorError> {
    let mut segment = Segment::open(settings, &place("auto"))?;
    Ok(segment.run(inputs, ctx)?.value("probability").unwrap().clone())
}

fn settings(path: &std::path::Path) -> Options {
    Options { models: vec![FileSetting(path.to_owned())], ..Options::default() }
}

#[test]
fn the_operator_scores_brain_slices_and_leaves_the_rest_at_zero() {
    let (_folder, path, _) = initial_model(0.25);
    let value = run(settings(&path), &case(&["flair", "bravo", "t1_pre"]), &context()).unwrap();
    let Some(sdk::AnyVolume::Probability(scores)) = value.volume() else { panic!("{:?}", value.kind()) };
    let mask = ball_mask(grid(), [16.0, 12.0, 4.0], 3.2);
    for (score, brain) in scores.voxels().iter().zip(mask.voxels()) {
        assert!((0.0..=1.0).contains(score) && (*brain == 1 || *score == 0.0));
    }
    assert!(scores.voxels().iter().any(|score| *score > 0.0));
    assert_eq!(value.facts.get("calibrated"), Some(&false.into()));
    assert!(value.facts.warnings()[0].starts_with("UNTRAINED MODEL"), "{:?}", value.facts);
    let model = value.facts.get("model").unwrap();
    assert_eq!((&model["name"], &model["zeroed_channels"]), (&"untrained-w025".into(), &["t1_post"].into()));
}

/// The operator's way (stack, batch, place in the volume) against one slice scored by hand.
#[test]
fn a_slice_of_the_volume_has_the_score_of_its_own_stack() {
    let (_folder, path, weights) = initial_model(0.25);
    let names = ["t1_pre", "t1_post", "bravo", "flair"];
    let inputs = case(&names);
    let options = Options { batch: 3, ..settings(&path) };
    let value = run(options, &inputs, &context()).unwrap();
    let images: Vec<Image> = inputs.images("channels").unwrap().into_iter().map(|(_, image)| image).collect();
    let [width, height, _] = grid().shape;
    let mut stack = vec![0.0; width * height * 28];
    for (at, number) in stack.iter_mut().enumerate() {
        let (c, i, j) = (at % 28, at / 28 % width, at / 28 / width);
        // Slice 5: offsets 2..=8, all within the volume.
        *number = images[c / 7].at([i, j, 2 + c % 7]);
    }
    let mut logits = vec![0.0; width * height];
    session(&weights).logits(&stack, [1, height, width, 28], &mut logits).unwrap();
    let volume = value.volume().unwrap();
    let sdk::AnyVolume::Probability(scores) = volume else { panic!("{:?}", value.kind()) };
    let mask = inputs.optional_mask("mask").unwrap().unwrap();
    for j in 0..height {
        for i in (0..width).filter(|&i| mask.at([i, j, 5]) == 1) {
            let expected = 1.0 / (1.0 + (-logits[i + width * j]).exp());
            // The logistic function's slope is at most 1/4: a quarter of the logits' tolerance.
            assert!((scores.at([i, j, 5]) - expected).abs() < 2.5e-4, "voxel {i} {j}");
        }
    }
}

#[test]
fn a_cancelled_stage_stops() {
    let (_folder, path, _) = initial_model(0.25);
    let ctx = context_to_cancel(Arc::new(AtomicBool::new(true)));
    let error = run(settings(&path), &case(&["t1_pre", "bravo"]), &ctx).unwrap_err();
    assert_eq!(error.cause, Cause::Cancelled);
}

#[test]
fn a_later_model_stands_in_where_the_first_does_not_fit() {
    let (folder, path, _) = initial_model(0.25);
    let mut card = model::untrained(0.125, 1);
    card.name = "without-t1-pre".to_owned();
    card.channels = vec![Channel { name: "bravo".to_owned(), optional: false }];
    let second = folder.path().join("second.safetensors");
    model::write_initial(&second, &card, 1).unwrap();
    let options = Options { models: vec![FileSetting(path), FileSetting(second)], ..Options::default() };
    let value = run(options, &case(&["bravo"]), &context()).unwrap();
    assert_eq!(value.facts.get("model").unwrap()["name"], "without-t1-pre");
}
