//! Speed of rigid registration.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use neuroloom_registration::align::{self, Masks, Options, Side};
use neuroloom_registration::metric::Metric;
use neuroloom_registration::pyramid::{Level, Samples, levels};
use sdk::testing::context_with;
use sdk::{Affine, Grid, Image};

fn main() {
    divan::main();
}

/// A smooth pattern in a ball, on slices of 3 mm.
fn head() -> Image {
    let grid = Grid::axis_aligned([240, 240, 50], [0.8, 0.8, 3.0]);
    let value = |n: usize| {
        let p = grid.world(grid.index(n));
        let r = (0..3).map(|a| (p[a] - [96.0, 96.0, 75.0][a]).powi(2)).sum::<f64>().sqrt();
        let pattern = (0.2 * p[0]).sin() + (0.15 * p[1]).cos() * (0.1 * p[2]).sin();
        ((70.0 - r).clamp(0.0, 1.0) * (100.0 + 40.0 * pattern)) as f32
    };
    Image::new(grid, (0..grid.len()).map(value).collect::<Vec<f32>>()).expect("one number for each voxel")
}

fn level() -> Level {
    let made = levels(&head(), None, &[1.0], Side::Fixed, &context_with(1)).expect("the head has a pattern");
    made.into_iter().next().expect("one width was asked for")
}

/// A registration asks for this about a hundred times: cost per point should stay flat as points grow.
#[divan::bench(args = [6_000, 30_000, 100_000, 250_000])]
fn nmi_and_slope(bencher: Bencher<'_, '_>, points: usize) {
    let level = level();
    let samples = Samples::draw(&level, None, [96.0, 96.0, 75.0], points, &context_with(1));
    let metric = Metric::new(&samples, &level, 64).expect("the affine can be inverted");
    let map = Affine::rigid([0.02, 0.01, 0.03], [1.0, 2.0, 0.5], [96.0, 96.0, 75.0]);
    bencher.counter(ItemsCount::new(points)).bench_local(|| metric.value_and_slope(black_box(&map), None));
}

/// The smoothing that comes first, on images at full size.
#[divan::bench]
fn pyramid(bencher: Bencher<'_, '_>) {
    let (head, ctx) = (head(), context_with(1));
    bencher.bench_local(|| levels(black_box(&head), None, &[1.0, 2.0, 4.0, 8.0], Side::Fixed, &ctx));
}

/// The whole: at most 1.5 s on one thread, 0.9 s on two.
#[divan::bench(args = [1, 2], sample_count = 3, sample_size = 1)]
fn register(bencher: Bencher<'_, '_>, threads: usize) {
    let (fixed, ctx) = (head(), context_with(threads));
    let there = Affine::rigid([0.1, 0.2, -0.2], [10.0, -8.0, 12.0], fixed.grid().centre_world());
    let grid = Grid::new(fixed.grid().shape, there.after(&fixed.grid().voxel_to_world));
    let moving = fixed.with_grid(grid).expect("as many voxels");
    bencher.bench_local(|| {
        align::align(black_box(&fixed), &moving, Masks::default(), &Options::default(), &ctx)
    });
}
