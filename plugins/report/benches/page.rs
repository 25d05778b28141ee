//! Speed of the page.
#![expect(clippy::unwrap_used, reason = "a bench may panic as a test may")]

use divan::{Bencher, black_box};
use neuroloom_report::CaseReport;
use neuroloom_report::options::Options;
use sdk::testing::{ball, ball_mask, context_with};
use sdk::{Grid, Image, Inputs, Labels, Operator, Place};

fn main() {
    divan::main();
}

/// A ball of uneven texture, which compresses no better than a brain.
fn brain(grid: Grid, value: f32) -> Image {
    let grain = |n: usize| ((n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as f32 / 255.0;
    let smooth = ball(grid, grid.centre_world(), 75.0, value);
    let voxels: Vec<f32> =
        smooth.voxels().iter().enumerate().map(|(n, v)| v * (0.9 + 0.2 * grain(n))).collect();
    Image::new(grid, voxels).unwrap()
}

/// A page comes at the end of every case of a cohort. On one core a full case of four sequences should take less than 2 s.
#[divan::bench(sample_count = 3)]
fn four_sequences_on_one_core(bencher: Bencher<'_, '_>) {
    let grid = Grid::axis_aligned([256, 256, 160], [0.9, 0.9, 1.0]);
    let centre = grid.centre_world();
    let lesion = ball_mask(grid, centre, 8.0);
    let labels: Vec<u32> = lesion.voxels().iter().map(|&v| u32::from(v)).collect();
    let mut inputs = Inputs::new()
        .with("reference", brain(grid, 100.0))
        .with("mask", ball_mask(grid, centre, 75.0))
        .with("lesions", Labels::new(grid, labels).unwrap());
    for (name, value) in [("t1_pre", 80.0), ("t1_post", 90.0), ("flair", 70.0)] {
        inputs = inputs.with_member("images", name, brain(grid, value));
    }
    let mut operator = CaseReport::open(Options::default(), &Place::default()).unwrap();
    let ctx = context_with(1);
    bencher.bench_local(|| operator.run(black_box(&inputs), &ctx).unwrap());
}
