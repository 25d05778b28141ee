//! Components against a flood fill, and laws they keep.

use super::*;
use crate::geometry::Grid;
use crate::testing::{context, context_with};
use proptest::prelude::*;

const ALL: [(Connectivity, usize); 3] =
    [(Connectivity::Faces6, 1), (Connectivity::Edges18, 2), (Connectivity::Corners26, 3)];

fn mask(shape: [usize; 3], voxels: Vec<u8>) -> Mask {
    Mask::new(Grid::axis_aligned(shape, [1.0; 3]), voxels).unwrap()
}

fn painted(mask: &Mask, components: &Components, threads: usize) -> Vec<u32> {
    let numbers: Vec<u32> = (1..=components.len() as u32).collect();
    let mut out = vec![0; mask.voxels().len()];
    components.paint(&mut out, &numbers, &context_with(threads));
    out
}

/// The slow, obvious way: from each unlabelled voxel in memory order, all that can be reached by steps that change at most
/// `most` indices.
fn flood(mask: &Mask, most: usize) -> Vec<u32> {
    let grid = mask.grid();
    let mut labels = vec![0; grid.len()];
    let mut last = 0;
    for start in 0..grid.len() {
        if mask.voxels()[start] == 0 || labels[start] != 0 {
            continue;
        }
        last += 1;
        labels[start] = last;
        let mut open = vec![start];
        while let Some(offset) = open.pop() {
            let here = grid.index(offset);
            for step in 0..27 {
                let step = [step % 3, step / 3 % 3, step / 9];
                let next: [usize; 3] = std::array::from_fn(|a| (here[a] + step[a]).wrapping_sub(1));
                let changed = step.iter().filter(|&&s| s != 1).count();
                if changed <= most && (0..3).all(|a| next[a] < grid.shape[a]) {
                    let next = grid.offset(next);
                    if mask.voxels()[next] != 0 && labels[next] == 0 {
                        labels[next] = last;
                        open.push(next);
                    }
                }
            }
        }
    }
    labels
}

fn shapes() -> impl Strategy<Value = [usize; 3]> {
    // 1-voxel axes, rows longer than a word, more planes than a slab.
    prop_oneof![Just([1, 1, 1]), Just([70, 3, 2]), Just([5, 4, 19]), Just([130, 1, 9]), Just([1, 6, 17])]
}

fn masks() -> impl Strategy<Value = Mask> {
    (shapes(), 1u32..100).prop_flat_map(|(shape, percent)| {
        let voxels = proptest::collection::vec(0u32..100, shape.iter().product::<usize>());
        voxels.prop_map(move |v| mask(shape, v.into_iter().map(|x| u8::from(x < percent)).collect()))
    })
}

proptest! {
    #[test]
    fn components_equal_a_flood_fill_for_all_connectivities(mask in masks()) {
        for (connectivity, most) in ALL {
            let components = Components::of_mask(&mask, connectivity, &context());
            prop_assert_eq!(painted(&mask, &components, 2), flood(&mask, most), "{:?}", connectivity);
        }
    }

    #[test]
    fn statistics_equal_those_of_the_painted_labels(mask in masks()) {
        let components = Components::of_mask(&mask, Connectivity::Edges18, &context());
        let labels = painted(&mask, &components, 1);
        for (n, found) in components.statistics().iter().enumerate() {
            let at: Vec<usize> = (0..labels.len()).filter(|&o| labels[o] as usize == n + 1).collect();
            let index: Vec<[usize; 3]> = at.iter().map(|&o| mask.grid().index(o)).collect();
            let along = |a: usize| index.iter().map(move |index| index[a]);
            let expected = Statistics {
                voxels: at.len(),
                first: at[0],
                lowest: [0, 1, 2].map(|a| along(a).min().unwrap()),
                highest: [0, 1, 2].map(|a| along(a).max().unwrap()),
                index_sum: [0, 1, 2].map(|a| along(a).sum::<usize>() as u64),
            };
            prop_assert_eq!(*found, expected);
        }
        prop_assert!(labels.iter().all(|&label| label as usize <= components.len()));
    }

    /// Order of the voxels in memory names components, it does not make them.
    #[test]
    fn the_number_of_components_survives_flipping_an_axis(mask in masks(), axis in 0usize..3) {
        let grid = *mask.grid();
        let flipped = (0..grid.len()).map(|offset| {
            let mut index = grid.index(offset);
            index[axis] = grid.shape[axis] - 1 - index[axis];
            mask.at(index)
        });
        let flipped = Mask::new(grid, flipped.collect::<Vec<_>>()).unwrap();
        for (connectivity, _) in ALL {
            let count = |mask: &Mask| Components::of_mask(mask, connectivity, &context()).len();
            prop_assert_eq!(count(&mask), count(&flipped));
        }
    }
}

#[test]
fn nothing_depends_on_the_number_of_threads() {
    // A coarse hash: about half of 100 x 40 x 30 voxels, many components and long chains across slabs.
    let voxels = (0..100 * 40 * 30u32).map(|n| u8::from(n.wrapping_mul(0x9E37_79B9) >> 28 < 5)).collect();
    let mask = mask([100, 40, 30], voxels);
    let one = Components::of_mask(&mask, Connectivity::Faces6, &context_with(1));
    let three = Components::of_mask(&mask, Connectivity::Faces6, &context_with(3));
    assert!(one.len() > 100, "{} components test little", one.len());
    assert_eq!(one.statistics(), three.statistics());
    assert_eq!(painted(&mask, &one, 1), painted(&mask, &three, 3));
    assert!(one.runs().eq(three.runs()));
}

#[test]
fn an_empty_grid_and_an_empty_mask_have_no_components() {
    for shape in [[0, 3, 3], [3, 0, 3], [3, 3, 0], [4, 4, 4]] {
        let empty = mask(shape, vec![0; shape.iter().product()]);
        let components = Components::of_mask(&empty, Connectivity::Corners26, &context());
        assert!(components.is_empty() && components.runs().next().is_none(), "{shape:?}");
    }
}

#[test]
fn connectivity_is_named_by_its_number_of_neighbours() {
    assert_eq!(Connectivity::of(18).unwrap(), Connectivity::Edges18);
    assert_eq!(
        Connectivity::of(8).unwrap_err().to_string(),
        "connectivity 8 where 6, 18 or 26 is expected\nhint: 26 is the default in 3-D"
    );
}
