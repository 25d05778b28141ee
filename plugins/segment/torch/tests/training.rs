//! Training as plugin `segment` uses it: gradients against differences, Adam against its formula, and the same bits after a pause.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use neuroloom_segment::backend::{Backend, Gradient, Trainer};
use neuroloom_segment::file::{Entry, Stored, encode};
use neuroloom_segment::{initial, network};
use neuroloom_segment_abi::{MOMENTS, Recipe, STEPS};
use sdk::Place;
use std::collections::BTreeMap;

/// One sequence of one slice, a network of four channels nearly everywhere.
const WIDTH: f64 = 0.0625;
const CHANNELS: usize = 3;
/// Side of a slice, in voxels.
const SIDE: usize = 16;
const RECIPE: Recipe = Recipe {
    learning_rate: 1e-3,
    beta1: 0.9,
    beta2: 0.999,
    epsilon: 1e-8,
    l2: 0.0,
    positive_weight: 10.0,
    normalisation_decay: 0.9,
    half: 0,
};

fn place() -> Place {
    let plugin_dir = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    Place { device: "cpu".to_owned(), plugin_dir, ..Place::default() }
}

fn tensors() -> Vec<network::Tensor> {
    network::tensors(WIDTH, CHANNELS)
}

fn untaught() -> Vec<Entry> {
    let entry = |tensor: network::Tensor| Entry {
        numbers: initial::untaught(&tensor, 1, -1.0),
        name: tensor.name,
        shape: tensor.shape,
    };
    tensors().into_iter().map(entry).collect()
}

fn trainer(weights: &[Entry], recipe: &Recipe) -> Trainer {
    let state = encode(&BTreeMap::new(), weights, Stored::F32);
    Backend::open(&place()).unwrap().trainer(&state, recipe, &place()).unwrap()
}

/// Two slices of waves; what is bright in the middle channel is lesion.
fn lesson(shift: usize) -> (Vec<f32>, Vec<f32>) {
    let value = |at: usize| ((at * 7 + at / CHANNELS * 5 + shift * 31) % 23) as f32 / 22.0;
    let stack: Vec<f32> = (0..2 * SIDE * SIDE * CHANNELS).map(value).collect();
    let truth = stack.chunks(CHANNELS).map(|voxel| f32::from(u8::from(voxel[1] > 0.8))).collect();
    (stack, truth)
}

fn gradient(trainer: &Trainer, shift: usize) -> Gradient {
    let (stack, truth) = lesson(shift);
    trainer.gradient(&stack, [2, SIDE, SIDE, CHANNELS], &truth).unwrap()
}

/// All tensors as they are, with moments and steps if asked for.
fn state(trainer: &Trainer, with_moments: bool) -> Vec<Entry> {
    let mut entries = Vec::new();
    for tensor in tensors() {
        let prefixes = if with_moments && !tensor.name.contains("running") { &MOMENTS[..] } else { &[] };
        for prefix in [""].iter().chain(prefixes) {
            let name = format!("{prefix}{}", tensor.name);
            let numbers = trainer.read(&name, tensor.len()).unwrap();
            entries.push(Entry { name, shape: tensor.shape.clone(), numbers });
        }
    }
    if with_moments {
        let numbers = trainer.read(STEPS, 1).unwrap();
        entries.push(Entry { name: STEPS.to_owned(), shape: vec![1], numbers });
    }
    entries
}

fn bits(entries: &[Entry]) -> Vec<u32> {
    entries.iter().flat_map(|entry| &entry.numbers).map(|number| number.to_bits()).collect()
}

#[test]
fn adam_s_first_step_is_its_formula_and_follows_the_loss_s_own_slope() {
    let before = untaught();
    let mut first = trainer(&before, &RECIPE);
    let gradients = vec![gradient(&first, 0)];
    let loss = first.step(gradients, 1.0).unwrap();
    for entry in before.iter().filter(|entry| !entry.name.contains("running")) {
        let read =
            |prefix: &str| first.read(&format!("{prefix}{}", entry.name), entry.numbers.len()).unwrap();
        let (after, mean, square) = (read(""), read(MOMENTS[0]), read(MOMENTS[1]));
        for (place, start) in entry.numbers.iter().enumerate() {
            // After one step the moments are 0.1 g and 0.001 g^2, and the bias correction makes g and g^2 of them.
            let g = f64::from(mean[place]) / 0.1;
            assert!((f64::from(square[place]) - 0.001 * g * g).abs() <= 1e-6 * g * g + 1e-20);
            let expected = f64::from(*start) - 1e-3 * g / (g.abs() + 1e-8);
            assert!((f64::from(after[place]) - expected).abs() < 2e-6, "{} {place}", entry.name);
        }
    }
    // The slope by a difference of the loss, where it is steep enough to be seen in f32.
    for name in ["deconv.bias", "deconv.weight", "conv1.bn.bias", "inception4a.b2b.conv.weight"] {
        let entry = before.iter().position(|entry| entry.name == name).unwrap();
        let slopes = first.read(&format!("{}{name}", MOMENTS[0]), before[entry].numbers.len()).unwrap();
        let steepest =
            (0..slopes.len()).max_by(|a, b| slopes[*a].abs().total_cmp(&slopes[*b].abs())).unwrap();
        let at = |change: f32| {
            let mut weights = before.clone();
            weights[entry].numbers[steepest] += change;
            let mut trainer = trainer(&weights, &RECIPE);
            let gradients = vec![gradient(&trainer, 0)];
            trainer.step(gradients, 1.0).unwrap()
        };
        let difference = (at(3e-4) - at(-3e-4)) / 6e-4;
        let slope = f64::from(slopes[steepest]) / 0.1;
        assert!((difference - slope).abs() < 0.05 * slope.abs() + 1e-3, "{name}: {difference}, not {slope}");
    }
    assert!((at_start(&before) - loss).abs() < 1e-12, "a step's loss is that before it");
}

#[test]
fn a_quarter_of_the_step_size_moves_a_quarter_as_far() {
    let after = |share: f64| {
        let mut trainer = trainer(&untaught(), &RECIPE);
        let gradients = vec![gradient(&trainer, 0)];
        trainer.step(gradients, share).unwrap();
        f64::from(trainer.read("deconv.bias", 1).unwrap()[0])
    };
    let (start, quarter, whole) = (after(0.0), after(0.25), after(1.0));
    assert!((whole - start).abs() > 5e-4, "Adam's first step is the step size");
    assert!(((quarter - start) - 0.25 * (whole - start)).abs() < 1e-6, "{start} {quarter} {whole}");
}

/// bf16 keeps three significant digits of features. Gradients of the first layers of an untaught network differ wholly by that, since
/// normalisation of few voxels multiplies small differences layer by layer; those of the last layer, and what is learned, do not.
#[test]
fn bf16_learns_as_f32_does_and_its_coarseness_does_not_stay_in_the_weights() {
    let run = |half: u32| {
        let mut trainer = trainer(&untaught(), &Recipe { half, ..RECIPE });
        let gradients = vec![gradient(&trainer, 0)];
        // A step of a hundredth of what bf16 tells apart beside -1.
        let first = trainer.step(gradients, 0.05).unwrap();
        let len = tensors().iter().find(|tensor| tensor.name == "deconv.weight").unwrap().len();
        let slopes = trainer.read(&format!("{}deconv.weight", MOMENTS[0]), len).unwrap();
        let bias = trainer.read("deconv.bias", 1).unwrap()[0];
        let mut last = first;
        for _ in 0..40 {
            let gradients = vec![gradient(&trainer, 0)];
            last = trainer.step(gradients, 1.0).unwrap();
        }
        (slopes, bias, first, last)
    };
    let ((slopes, bias, first, last), (half_slopes, half_bias, half_first, half_last)) = (run(0), run(1));
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
    let along = dot(&slopes, &half_slopes) / (dot(&slopes, &slopes) * dot(&half_slopes, &half_slopes)).sqrt();
    println!("cosine {along}, bias {bias} {half_bias}, loss {first} {half_first} to {last} {half_last}");
    assert!(along > 0.98 && slopes != half_slopes, "cosine {along}");
    assert!((bias - half_bias).abs() < 1e-6 && bias != -1.0, "{half_bias}, in f32 {bias}");
    assert!((half_first - first).abs() < 0.02 * first, "{half_first}, in f32 {first}");
    assert!(last < 0.7 * first && half_last < 1.1 * last, "{half_last}, in f32 {last} from {first}");
}

fn at_start(weights: &[Entry]) -> f64 {
    let mut trainer = trainer(weights, &RECIPE);
    let gradients = vec![gradient(&trainer, 0)];
    trainer.step(gradients, 1.0).unwrap()
}

#[test]
fn a_step_along_two_lessons_is_the_step_along_their_mean_and_l2_holds_kernels_alone() {
    let read = |recipe: &Recipe, shifts: &[usize], name: &str| {
        let mut trainer = trainer(&untaught(), recipe);
        let gradients = shifts.iter().map(|shift| gradient(&trainer, *shift)).collect();
        trainer.step(gradients, 1.0).unwrap();
        trainer.read(&format!("{}{name}", MOMENTS[0]), 1).unwrap()[0]
    };
    let bias = |shifts: &[usize]| read(&RECIPE, shifts, "deconv.bias");
    assert!((bias(&[0, 1]) - f32::midpoint(bias(&[0]), bias(&[1]))).abs() < 1e-7);
    assert!((bias(&[0]) - bias(&[1])).abs() > 1e-6, "the lessons differ");
    let held = Recipe { l2: 100.0, ..RECIPE };
    assert_eq!(read(&held, &[0], "deconv.bias"), bias(&[0]), "no bias is held");
    let moved = |recipe: &Recipe| {
        let mut trainer = trainer(&untaught(), recipe);
        let gradients = vec![gradient(&trainer, 0)];
        trainer.step(gradients, 1.0).unwrap();
        let tensor = tensors().into_iter().find(|tensor| tensor.name == "conv2.conv.weight").unwrap();
        trainer.read(&format!("{}conv2.conv.weight", MOMENTS[0]), tensor.len()).unwrap()
    };
    let kernel = untaught().into_iter().find(|entry| entry.name == "conv2.conv.weight").unwrap().numbers;
    for ((free, held), weight) in moved(&RECIPE).iter().zip(moved(&held)).zip(kernel) {
        // The mean holds a tenth of the gradient.
        assert!((held - free - 0.1 * 100.0 * weight).abs() < 1e-4 * weight.abs() + 1e-5);
    }
}

#[test]
fn a_run_that_was_written_and_read_again_goes_on_to_the_same_bits_on_any_thread() {
    let steps = |trainer: &mut Trainer, steps: std::ops::Range<usize>, threads: bool| {
        for step in steps {
            let gradients = if threads {
                let shared = &*trainer;
                std::thread::scope(|scope| {
                    let other = scope.spawn(move || gradient(shared, step + 1));
                    let own = gradient(shared, step);
                    vec![own, other.join().unwrap()]
                })
            } else {
                vec![gradient(trainer, step), gradient(trainer, step + 1)]
            };
            trainer.step(gradients, 1.0).unwrap();
        }
    };
    let mut whole = trainer(&untaught(), &RECIPE);
    steps(&mut whole, 0..4, false);
    let mut first = trainer(&untaught(), &RECIPE);
    steps(&mut first, 0..2, true);
    let mut second = trainer(&state(&first, true), &RECIPE);
    drop(first);
    steps(&mut second, 2..4, true);
    assert_eq!(bits(&state(&second, true)), bits(&state(&whole, true)));
    assert_eq!(whole.read(STEPS, 1).unwrap(), [4.0]);
}

#[test]
fn what_was_learned_scores_as_it_did_while_learning() {
    let mut trainer = trainer(&untaught(), &Recipe { normalisation_decay: 0.5, ..RECIPE });
    let mut losses = Vec::new();
    for _ in 0..60 {
        let gradients = vec![gradient(&trainer, 0)];
        losses.push(trainer.step(gradients, 1.0).unwrap());
    }
    assert!(losses[59] < 0.5 * losses[0], "{} to {}", losses[0], losses[59]);
    // The running statistics are those of the one lesson now, so that the folded network makes nearly its logits.
    let file = encode(&BTreeMap::new(), &state(&trainer, false), Stored::F32);
    let session = Backend::open(&place()).unwrap().session(&file, &place()).unwrap();
    let (stack, truth) = lesson(0);
    let mut logits = vec![0.0; truth.len()];
    session.logits(&stack, [2, SIDE, SIDE, CHANNELS], &mut logits).unwrap();
    let loss = |(logit, truth): (&f32, &f32)| {
        let (logit, truth) = (f64::from(*logit), f64::from(*truth));
        10.0 * truth * (-logit).exp().ln_1p() + (1.0 - truth) * logit.exp().ln_1p()
    };
    let found = logits.iter().zip(&truth).map(loss).sum::<f64>() / truth.len() as f64;
    assert!((found - losses[59]).abs() < 0.3 * losses[59] + 0.02, "{found}, not {}", losses[59]);
}

#[test]
fn lessons_that_do_not_fit_and_losses_that_are_none_are_errors() {
    let mut trainer = trainer(&untaught(), &RECIPE);
    let (stack, truth) = lesson(0);
    let error = trainer.gradient(&stack, [2, SIDE, SIDE, CHANNELS + 1], &truth).unwrap_err().to_string();
    assert!(error.contains("do not make a lesson"), "{error}");
    let wide = vec![0.0; 2 * SIDE * SIDE * 5];
    assert!(trainer.gradient(&wide, [2, SIDE, SIDE, 5], &truth).is_err(), "the weights read 3 channels");
    let error = trainer.step(Vec::new(), 1.0).unwrap_err().to_string();
    assert!(error.contains("without a gradient"), "{error}");
    let nan = vec![f32::NAN; stack.len()];
    let gradients = vec![trainer.gradient(&nan, [2, SIDE, SIDE, CHANNELS], &truth).unwrap()];
    let error = trainer.step(gradients, 1.0).unwrap_err().to_string();
    assert!(error.contains("the loss is NaN\nhint: lower `learning_rate`"), "{error}");
    let unknown = trainer.read("conv9", 1).unwrap_err().to_string();
    assert!(unknown.contains("no tensor `conv9`"), "{unknown}");
    assert!(
        trainer.read("deconv.bias", 2).unwrap_err().to_string().contains("1 numbers does not fit into 2")
    );
}
