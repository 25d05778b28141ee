//! Connected components against recorded results of `scipy.ndimage.label` (`golden/make_components.py`).

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use neuroloom_sdk as sdk;

use sdk::imaging::components::{Components, Connectivity};
use sdk::testing::context;
use sdk::{Grid, Mask};
use std::collections::BTreeMap;

#[derive(serde::Deserialize)]
struct Recorded {
    shape: [usize; 3],
    share: f64,
    seed: u64,
    inside: usize,
    found: BTreeMap<u32, Found>,
}

#[derive(Debug, PartialEq, serde::Deserialize)]
struct Found {
    count: usize,
    largest: Vec<usize>,
}

/// The same noise as the script makes.
fn noise(recorded: &Recorded) -> Mask {
    let limit = (recorded.share * 65_536.0) as u64;
    let inside = |n: usize| {
        let z = recorded.seed.wrapping_add(0x9E37_79B9_7F4A_7C15u64.wrapping_mul(n as u64 + 1));
        let z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        u8::from((z ^ z >> 31) >> 48 < limit)
    };
    let grid = Grid::axis_aligned(recorded.shape, [1.0; 3]);
    Mask::new(grid, (0..grid.len()).map(inside).collect::<Vec<_>>()).unwrap()
}

#[test]
fn components_agree_with_scipy_in_number_and_size() {
    let all: Vec<Recorded> = serde_json::from_str(include_str!("golden/components.json")).unwrap();
    for recorded in all {
        let mask = noise(&recorded);
        assert_eq!(mask.count(), recorded.inside, "the noise differs from the recorded one");
        for (connectivity, expected) in &recorded.found {
            let components = Components::of_mask(&mask, Connectivity::of(*connectivity).unwrap(), &context());
            let mut sizes: Vec<usize> = components.statistics().iter().map(|s| s.voxels).collect();
            sizes.sort_unstable_by(|a, b| b.cmp(a));
            sizes.truncate(5);
            let found = Found { count: components.len(), largest: sizes };
            assert_eq!(found, *expected, "{:?}, connectivity {connectivity}", recorded.shape);
        }
    }
}
