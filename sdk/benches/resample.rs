//! What it costs to bring a volume onto another grid, to smooth it, and to find its slopes and curves.

use neuroloom_sdk as sdk;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use sdk::imaging::resample::{self, Interpolation, LabelInterpolation};
use sdk::imaging::{gradient, hessian, smooth};
use sdk::testing::context_with;
use sdk::{Affine, Grid, Image, Labels, Mask};

fn main() {
    divan::main();
}

/// Voxels along each axis: a whole head at 1 mm.
const SIDE: usize = 256;

fn grid() -> Grid {
    Grid::axis_aligned([SIDE; 3], [1.0; 3])
}

fn head() -> Image {
    let voxels: Vec<f32> = (0..grid().len()).map(|n| (n * 7919 % 1009) as f32).collect();
    Image::new(grid(), voxels).expect("one number for each voxel")
}

/// A turn about all three axes: no row of the target is a row of the source.
fn turn() -> Affine {
    Affine::rigid([0.2, -0.15, 0.3], [0.0; 3], grid().centre_world())
}

/// The last step of every registration, and the only one at full size.
#[divan::bench(
    args = [Interpolation::Nearest, Interpolation::Linear, Interpolation::Cubic, Interpolation::Sinc],
    sample_count = 5,
    sample_size = 1
)]
fn images(bencher: Bencher<'_, '_>, interpolation: Interpolation) {
    let (head, turn, ctx) = (head(), turn(), context_with(1));
    bencher
        .counter(ItemsCount::new(grid().len()))
        .bench_local(|| resample::image(black_box(&head), &grid(), Some(&turn), interpolation, &ctx));
}

/// Two threads should take half the time.
#[divan::bench(args = [Interpolation::Linear, Interpolation::Cubic], sample_count = 5, sample_size = 1)]
fn images_on_two_threads(bencher: Bencher<'_, '_>, interpolation: Interpolation) {
    let (head, turn, ctx) = (head(), turn(), context_with(2));
    bencher
        .counter(ItemsCount::new(grid().len()))
        .bench_local(|| resample::image(black_box(&head), &grid(), Some(&turn), interpolation, &ctx));
}

/// Blocks of 16 voxels: where all voters agree nothing is counted, so the cost lies at the borders.
#[divan::bench(sample_count = 3, sample_size = 1)]
fn labels_by_vote(bencher: Bencher<'_, '_>) {
    let label = |n: usize| grid().index(n).iter().fold(0, |sum, i| 3 * sum + (i / 16) as u32 % 3);
    let labels = Labels::new(grid(), (0..grid().len()).map(label).collect::<Vec<_>>());
    let (labels, turn, ctx) = (labels.expect("one number for each voxel"), turn(), context_with(1));
    let vote = LabelInterpolation::Vote(None);
    bencher
        .counter(ItemsCount::new(grid().len()))
        .bench_local(|| resample::labels(black_box(&labels), &grid(), Some(&turn), vote, &ctx));
}

/// Cost grows with the width: each pass sums over four sigmas to each side.
#[divan::bench(args = [1.0, 4.0], sample_count = 5, sample_size = 1)]
fn gaussian(bencher: Bencher<'_, '_>, sigma_mm: f64) {
    let (head, ctx) = (head(), context_with(1));
    bencher
        .counter(ItemsCount::new(grid().len()))
        .bench_local(|| smooth::gaussian(black_box(&head), [sigma_mm; 3], &ctx));
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn slope(bencher: Bencher<'_, '_>) {
    let (head, ctx) = (head(), context_with(1));
    bencher
        .counter(ItemsCount::new(grid().len()))
        .bench_local(|| gradient::magnitude(black_box(&head), &ctx));
}

/// One voxel in a hundred, as the neighbourhoods of candidates are.
#[divan::bench(sample_count = 3, sample_size = 1)]
fn curvature(bencher: Bencher<'_, '_>) {
    let (head, ctx) = (head(), context_with(1));
    let voxels: Vec<u8> = (0..grid().len()).map(|n| u8::from(n % 100 == 0)).collect();
    let mask = Mask::new(grid(), voxels).expect("one number for each voxel");
    bencher.bench_local(|| hessian::eigenvalues(black_box(&head), &mask, 1.0, &ctx));
}
