//! Speed of filter and measurement on a full-size volume.

use divan::{Bencher, black_box};
use neuroloom_lesions::filter::features::Beside;
use neuroloom_lesions::{filter, measure};
use sdk::testing::context_with;
use sdk::{Grid, Image, Labels, Probability};

fn main() {
    divan::main();
}

const SIDE: usize = 256;

/// Scores with about 500 balls of radius 2 to 8 voxels.
fn scores() -> Probability {
    let mut state = 1u64;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % below) as i64
    };
    let mut voxels = vec![0.01f32; SIDE.pow(3)];
    for _ in 0..500 {
        let centre = [random(236) + 10, random(236) + 10, random(236) + 10];
        let radius = random(7) + 2;
        for k in -radius..=radius {
            for j in -radius..=radius {
                for i in -radius..=radius {
                    if i * i + j * j + k * k <= radius * radius {
                        let at = (centre[2] + k) * 65_536 + (centre[1] + j) * 256 + centre[0] + i;
                        voxels[at as usize] = 0.9;
                    }
                }
            }
        }
    }
    Probability::new(Grid::axis_aligned([SIDE; 3], [1.0; 3]), voxels).expect("one number for each voxel")
}

fn lesions(scores: &Probability) -> Labels {
    let found =
        filter::lesions(scores, &Beside::default(), 0.5, &filter::Options::default(), None, &context_with(2));
    found.expect("scores are in range").labels
}

/// The whole filter: threshold, components, table, two label volumes.
#[divan::bench(args = [1, 2])]
fn filter_lesions(bencher: Bencher<'_, '_>, threads: usize) {
    let (scores, ctx) = (scores(), context_with(threads));
    let options = filter::Options::default();
    bencher.bench(|| filter::lesions(black_box(&scores), &Beside::default(), 0.5, &options, None, &ctx));
}

/// Every measure of about 400 lesions: below 50 ms.
#[divan::bench(args = [1, 2])]
fn measure_lesions(bencher: Bencher<'_, '_>, threads: usize) {
    let (scores, ctx) = (scores(), context_with(threads));
    let labels = lesions(&scores);
    let image = Image::new(*scores.grid(), scores.buffer().clone()).expect("the same number of voxels");
    let beside = measure::Beside { image: Some(&image), probability: Some(&scores), mask: None };
    let options = measure::Options::default();
    bencher.bench(|| measure::measure(black_box(&labels), beside, &options, &ctx));
}

/// One lesion as large as they can get, 80 mm across.
#[divan::bench]
fn measure_one_large_lesion(bencher: Bencher<'_, '_>) {
    let grid = Grid::axis_aligned([100; 3], [1.0; 3]);
    let ball = sdk::testing::ball_mask(grid, [49.7; 3], 40.0);
    let labels: Vec<u32> = ball.voxels().iter().map(|&v| u32::from(v)).collect();
    let labels = Labels::new(grid, labels).expect("one number for each voxel");
    let (options, ctx) = (measure::Options::default(), context_with(1));
    bencher.bench(|| measure::measure(black_box(&labels), measure::Beside::default(), &options, &ctx));
}
