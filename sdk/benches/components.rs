//! Speed of connected components.

use neuroloom_sdk as sdk;

use divan::{Bencher, black_box};
use sdk::imaging::components::{Components, Connectivity};
use sdk::testing::context_with;
use sdk::{Grid, Mask};

fn main() {
    divan::main();
}

const SIDE: usize = 256;

/// A stream of numbers that is the same everywhere (splitmix64).
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (*state ^ *state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z >> 31
}

/// 500 balls of radius 2 to 8 voxels.
fn blobs() -> Mask {
    let mut state = 1;
    let mut voxels = vec![0u8; SIDE.pow(3)];
    for _ in 0..500 {
        let centre = [0; 3].map(|_: i64| (random(&mut state) % 236) as i64 + 10);
        let radius = (random(&mut state) % 7) as i64 + 2;
        for k in -radius..=radius {
            for j in -radius..=radius {
                for i in -radius..=radius {
                    if i * i + j * j + k * k <= radius * radius {
                        let at = (centre[2] + k) * 65_536 + (centre[1] + j) * 256 + centre[0] + i;
                        voxels[at as usize] = 1;
                    }
                }
            }
        }
    }
    Mask::new(Grid::axis_aligned([SIDE; 3], [1.0; 3]), voxels).expect("one number for each voxel")
}

/// 30 % of the voxels, at random: the worst case, one large component of millions of runs.
fn noise() -> Mask {
    let mut state = 2;
    let voxels: Vec<u8> = (0..SIDE.pow(3)).map(|_| u8::from(random(&mut state) % 10 < 3)).collect();
    Mask::new(Grid::axis_aligned([SIDE; 3], [1.0; 3]), voxels).expect("one number for each voxel")
}

/// Components and statistics of a score map's lesions: at most 12 ms.
#[divan::bench(args = [1, 2])]
fn blobs_with_statistics(bencher: Bencher<'_, '_>, threads: usize) {
    let (mask, ctx) = (blobs(), context_with(threads));
    bencher.bench(|| Components::of_mask(black_box(&mask), Connectivity::Corners26, &ctx));
}

/// The same with the label image.
#[divan::bench(args = [1, 2])]
fn blobs_with_labels(bencher: Bencher<'_, '_>, threads: usize) {
    let (mask, ctx) = (blobs(), context_with(threads));
    bencher.bench(|| labels(black_box(&mask), &ctx));
}

/// How bad it can get.
#[divan::bench(args = [1, 2])]
fn noise_with_labels(bencher: Bencher<'_, '_>, threads: usize) {
    let (mask, ctx) = (noise(), context_with(threads));
    bencher.bench(|| labels(black_box(&mask), &ctx));
}

fn labels(mask: &Mask, ctx: &sdk::Context) -> sdk::BufMut<u32> {
    let components = Components::of_mask(mask, Connectivity::Corners26, ctx);
    let numbers: Vec<u32> = (1..=components.len() as u32).collect();
    let mut out = ctx.alloc(mask.voxels().len()).expect("64 MiB can be had");
    components.paint(&mut out, &numbers, ctx);
    out
}
