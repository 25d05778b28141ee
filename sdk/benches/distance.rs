//! Speed of the distance transform.

use neuroloom_sdk as sdk;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use sdk::Grid;
use sdk::imaging::distance;
use sdk::testing::{ball_mask, context_with};

fn main() {
    divan::main();
}

/// Distance to the brain's edge and between surfaces: cost per voxel should stay flat as the grid grows.
#[divan::bench(args = [(128, 1), (256, 1), (256, 2)], sample_count = 5)]
fn outside_mm(bencher: Bencher<'_, '_>, (side, threads): (usize, usize)) {
    let grid = Grid::axis_aligned([side; 3], [1.0; 3]);
    let middle = side as f64 / 2.0;
    let (mask, ctx) = (ball_mask(grid, [middle; 3], 0.45 * side as f64), context_with(threads));
    bencher
        .counter(ItemsCount::new(grid.len()))
        .bench(|| distance::outside_mm(black_box(&mask), &ctx).map(drop));
}
