//! Speed of filter and measurement on a full-size volume.

use divan::{Bencher, black_box};
use neuroloom_lesions::filter::features::Beside;
use neuroloom_lesions::{filter, measure};
use sdk::testing::context_with;
use sdk::{Grid, Image, Labels, Mask, Probability};

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

/// The whole filter: threshold, components, table, two label volumes.
#[divan::bench(args = [1, 2])]
fn filter_lesions(bencher: Bencher<'_, '_>, threads: usize) {
    let (scores, ctx) = (scores(), context_with(threads));
    let options = filter::Options::default();
    bencher.bench(|| filter::lesions(black_box(&scores), &Beside::default(), 0.5, &options, None, &ctx));
}

/// Lesions to measure.
const LESIONS: u32 = 500;

/// 500 balls of radius 2 to 8 voxels that do not touch, one in each of as many cells of 32^3 voxels.
fn lesions(grid: Grid) -> Labels {
    let mut state = 1u64;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % below) as usize
    };
    let mut voxels = vec![0; grid.len()];
    for id in 1..=LESIONS {
        let radius = random(7) + 2;
        let cell = id as usize - 1;
        let low = [cell % 8, cell / 8 % 8, cell / 64].map(|n| 32 * n + random(31 - 2 * radius as u64));
        for n in 0..(2 * radius + 1).pow(3) {
            let side = 2 * radius + 1;
            let at = [n % side, n / side % side, n / (side * side)];
            if at.iter().map(|&x| x.abs_diff(radius).pow(2)).sum::<usize>() <= radius * radius {
                voxels[grid.offset([0, 1, 2].map(|axis| low[axis] + at[axis]))] = id;
            }
        }
    }
    Labels::new(grid, voxels).expect("one number for each voxel")
}

/// Every measure of 500 lesions in 256^3: below 50 ms on one thread.
#[divan::bench(args = [1, 2])]
fn measure_500_lesions(bencher: Bencher<'_, '_>, threads: usize) {
    let ctx = context_with(threads);
    let labels = lesions(Grid::axis_aligned([SIDE; 3], [1.0; 3]));
    let scores: Vec<f32> = labels.voxels().iter().map(|&label| if label > 0 { 0.9 } else { 0.01 }).collect();
    let image = Image::new(*labels.grid(), scores.clone()).expect("the same number of voxels");
    let scores = Probability::new(*labels.grid(), scores).expect("the same number of voxels");
    let mask = Mask::new(*labels.grid(), vec![1; labels.voxels().len()]).expect("the same number of voxels");
    let beside = measure::Beside { image: Some(&image), probability: Some(&scores), mask: Some(&mask) };
    let options = measure::Options::default();
    bencher.bench(|| {
        let measured = measure::measure(black_box(&labels), beside, &options, &ctx).expect("one grid");
        assert_eq!(measured.burden.lesions, LESIONS as usize);
    });
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
