//! Speed of the exact ROC curve and of scoring a whole case.

use divan::{Bencher, black_box};
use neuroloom_evaluate::case::{self, Volumes};
use neuroloom_evaluate::curve;
use neuroloom_evaluate::options::Options;
use sdk::testing::context_with;
use sdk::{Grid, Labels, Mask, Probability};

fn main() {
    divan::main();
}

/// Numbers that look random and are the same each time.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// Scores of a brain's voxels, one in ten thousand steps of f32, so that many tie; one in 500 voxels is lesion.
fn keys(voxels: usize) -> Vec<u32> {
    let mut state = 1;
    (0..voxels)
        .map(|n| {
            let lesion = n % 500 == 0;
            let score = (random(&mut state) % 10_000) as f32 / 10_000.0;
            curve::key(if lesion { score.sqrt() } else { score * score }, lesion)
        })
        .collect()
}

/// Goal: 60 ms on one core for a brain.
#[divan::bench(args = [1_500_000])]
fn exact_auc_with_ties(bencher: Bencher<'_, '_>, voxels: usize) {
    let keys = keys(voxels);
    bencher.with_inputs(|| keys.clone()).bench_values(|mut keys| {
        curve::sort(&mut keys);
        black_box(curve::roc(&keys))
    });
}

/// A case of 256 x 256 x 160: a brain of 1.5 million voxels, 40 lesions, scores that resemble them, and false positives.
fn volumes() -> (Labels, Probability, Mask) {
    let shape = [256, 256, 160];
    let grid = Grid::axis_aligned(shape, [0.9375, 0.9375, 1.0]);
    let mut state = 7;
    let mask: Vec<u8> = (0..grid.len())
        .map(|n| {
            let [i, j, k] = grid.index(n);
            let part = |x: usize, middle: f64, radius: f64| ((x as f64 - middle) / radius).powi(2);
            u8::from(part(i, 128.0, 74.0) + part(j, 128.0, 90.0) + part(k, 80.0, 54.0) <= 1.0)
        })
        .collect();
    let mut truth = vec![0u32; grid.len()];
    let mut scores: Vec<f32> =
        mask.iter().map(|&m| f32::from(m) * (random(&mut state) % 1000) as f32 / 10_000.0).collect();
    for blob in 0..60 {
        let centre = [90, 80, 50].map(|low| low + (random(&mut state) % 60) as i64);
        let radius = 2 + (random(&mut state) % 6) as i64;
        for (dk, dj, di) in (-radius..=radius)
            .flat_map(|k| (-radius..=radius).flat_map(move |j| (-radius..=radius).map(move |i| (k, j, i))))
        {
            if di * di + dj * dj + dk * dk > radius * radius {
                continue;
            }
            let at = grid.offset([centre[0] + di, centre[1] + dj, centre[2] + dk].map(|n| n as usize));
            truth[at] = if blob < 40 { 1 } else { truth[at] };
            scores[at] =
                if blob % 8 == 0 { scores[at] } else { 0.3 + (random(&mut state) % 600) as f32 / 1000.0 };
        }
    }
    let made = "one number for each voxel";
    (
        Labels::new(grid, truth).expect(made),
        Probability::new(grid, scores).expect(made),
        Mask::new(grid, mask).expect(made),
    )
}

/// Goal: 1.5 s.
#[divan::bench(args = [1, 2], sample_count = 5)]
fn score_256x256x160(bencher: Bencher<'_, '_>, threads: usize) {
    let (truth, probability, mask) = volumes();
    let volumes =
        Volumes { truth: &truth, probability: &probability, mask: &mask, other: None, other_truth: None };
    let ctx = context_with(threads);
    bencher.bench_local(|| case::score("sub-01", &volumes, &Options::default(), &ctx));
}
