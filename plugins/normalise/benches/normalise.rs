//! Speed of the normalisers.

use divan::{Bencher, black_box};
use neuroloom_normalise::{bias, equalise, matching, standardise};
use sdk::testing::context_with;
use sdk::{Grid, Image, Mask};

fn main() {
    divan::main();
}

const SIDE: usize = 256;

/// Intensities with structure and noise, and a ball of brain that fills 40 % of the volume.
fn head() -> (Image, Mask) {
    let grid = Grid::axis_aligned([SIDE; 3], [1.0; 3]);
    let mut state = 1u32;
    let mut voxels = Vec::with_capacity(grid.len());
    for offset in 0..grid.len() {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        voxels.push((offset % SIDE) as f32 * 4.0 + (state >> 24) as f32);
    }
    let image = Image::new(grid, voxels).expect("one number for each voxel");
    (image, sdk::testing::ball_mask(grid, [127.5; 3], 117.0))
}

/// Every channel of every case goes through this: at most 40 ms on two threads.
#[divan::bench(args = [1, 2], sample_count = 20)]
fn equalise_brain(bencher: Bencher<'_, '_>, threads: usize) {
    let ((image, mask), ctx) = (head(), context_with(threads));
    let options = equalise::Options::default();
    bencher.bench(|| equalise::equalise(black_box(&image), Some(&mask), &options, &ctx));
}

/// Nothing can be left out, and the output's memory is there: what is held against scikit-image.
#[divan::bench(args = [1, 2], sample_count = 20)]
fn equalise_all_voxels(bencher: Bencher<'_, '_>, threads: usize) {
    let ((image, _), ctx) = (head(), context_with(threads));
    let (options, mut out) = (equalise::Options::default(), vec![1f32; SIDE.pow(3)]);
    bencher.bench_local(|| equalise::equalise_into(black_box(&image), None, &options, &mut out, &ctx));
}

/// The whole of N4, field at full resolution: at most a second.
#[divan::bench(args = [1, 2], sample_count = 5)]
fn bias_correct(bencher: Bencher<'_, '_>, threads: usize) {
    let ((image, mask), ctx) = (head(), context_with(threads));
    let options = bias::Options::default();
    bencher.bench(|| bias::correct(black_box(&image), Some(&mask), &options, &ctx).map(drop));
}

/// Eleven percentiles of two images, by selection.
#[divan::bench(sample_count = 10)]
fn match_histogram(bencher: Bencher<'_, '_>) {
    let ((image, mask), ctx) = (head(), context_with(2));
    let options = matching::Options::default();
    let reference = (&image, Some(&mask));
    bencher.bench(|| matching::match_to(black_box(&image), Some(&mask), reference, &options, &ctx));
}

/// Sums, or two medians by selection.
#[divan::bench(args = [false, true], sample_count = 10)]
fn z_score(bencher: Bencher<'_, '_>, robust: bool) {
    let ((image, mask), ctx) = (head(), context_with(2));
    let options = standardise::Options { robust };
    bencher.bench(|| standardise::z_score(black_box(&image), Some(&mask), &options, &ctx));
}
