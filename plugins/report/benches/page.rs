//! Speed of the page.
#![expect(clippy::unwrap_used, reason = "a bench may panic as a test may")]

use divan::{Bencher, black_box};
use neuroloom_report::CaseReport;
use neuroloom_report::options::Options;
use sdk::testing::{ball, ball_mask, context_with};
use sdk::{Grid, Inputs, Labels, Operator, Place};

fn main() {
    divan::main();
}

/// A page comes at the end of every case of a cohort. On one core a full case of four sequences should take less than 2 s.
#[divan::bench(sample_count = 3)]
fn four_sequences_on_one_core(bencher: Bencher<'_, '_>) {
    let grid = Grid::axis_aligned([256, 256, 160], [0.9, 0.9, 1.0]);
    let centre = grid.centre_world();
    let lesion = ball_mask(grid, centre, 8.0);
    let labels: Vec<u32> = lesion.voxels().iter().map(|&v| u32::from(v)).collect();
    let mut inputs = Inputs::new()
        .with("reference", ball(grid, centre, 75.0, 100.0))
        .with("mask", ball_mask(grid, centre, 75.0))
        .with("lesions", Labels::new(grid, labels).unwrap());
    for (name, value) in [("t1_pre", 80.0), ("t1_post", 90.0), ("flair", 70.0)] {
        inputs = inputs.with_member("images", name, ball(grid, centre, 75.0, value));
    }
    let mut operator = CaseReport::open(Options::default(), &Place::default()).unwrap();
    let ctx = context_with(1);
    bencher.bench_local(|| operator.run(black_box(&inputs), &ctx).unwrap());
}
