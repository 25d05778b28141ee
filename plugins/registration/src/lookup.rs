//! What an image shows at places between its voxels: values, slopes, and how much each place counts.
//!
//! Places are looked up [`BLOCK`] at a time, one step after the other for all of them: the cells they lie in, the eight voxels
//! about each, what these blend to. So the processor fetches the voxels of many places at once instead of waiting for
//! those of one, and the blending runs several places wide.

use sdk::Image;

/// Places that are looked up at a time: their corners stay in the first-level cache (2 KiB).
pub const BLOCK: usize = 64;

/// One number for each place of a block.
pub type Lane = [f32; BLOCK];

/// What an image shows at a block of places.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Trilinear values.
    pub value: Lane,
    /// Change of the values, per voxel along each axis.
    pub slope: [Lane; 3],
    /// How much each place counts, 0..=1: less than 1 in the outer half voxel and at a mask's border, 0 beyond.
    pub weight: Lane,
    /// Change of the weights, per voxel along each axis.
    pub weight_slope: [Lane; 3],
    /// Whether any weight is not 1.
    pub is_edge: bool,
}

impl Default for Shown {
    fn default() -> Self {
        let zero = [0.0; BLOCK];
        Self { value: zero, slope: [zero; 3], weight: zero, weight_slope: [zero; 3], is_edge: false }
    }
}

impl Shown {
    /// Looks up a block of places (voxels along each axis) in an image of at least two voxels along each axis.
    ///
    /// A place more than half a voxel outside counts nothing. `mask`, on the same voxels, says how much each of them counts,
    /// 0..=1.
    pub fn look_up(&mut self, image: &Image, mask: Option<&Image>, places: &[Lane; 3]) {
        let shape = image.grid().shape;
        let cells = Cells::of(shape, places);
        cells.blend(image.voxels(), &mut self.value, &mut self.slope);
        self.weight.fill(1.0);
        self.is_edge = cells.is_edge || mask.is_some();
        if self.is_edge {
            self.fade(shape, places);
        }
        if let Some(mask) = mask {
            let mut inside = Self::default();
            cells.blend(mask.voxels(), &mut inside.value, &mut inside.slope);
            inside.hold(shape, places);
            self.count_within(&inside);
        }
    }
}

/// Where a block of places lies between the voxels.
struct Cells {
    /// Offset of each cell's first voxel.
    first: [usize; BLOCK],
    /// Voxels of a row, and of a slice.
    strides: [usize; 2],
    /// Place within the cell, 0..=1 along each axis.
    within: [Lane; 3],
    /// Whether any place lies beyond the outermost centres.
    is_edge: bool,
}

impl Cells {
    /// Places beyond the outermost centres are held at them.
    fn of(shape: [usize; 3], places: &[Lane; 3]) -> Self {
        let mut within = [[0.0; BLOCK]; 3];
        let mut index = [[0_u32; BLOCK]; 3];
        let mut moved = false;
        for axis in 0..3 {
            let last = (shape[axis] - 1) as f32;
            let top = shape[axis] as u32 - 2;
            for n in 0..BLOCK {
                let place = places[axis][n];
                let held = place.max(0.0).min(last);
                moved |= held != place;
                let cell = whole(held).min(top);
                index[axis][n] = cell;
                within[axis][n] = held - cell as i32 as f32;
            }
        }
        let strides = [shape[0], shape[0] * shape[1]];
        let first = std::array::from_fn(|n| {
            let [i, j, k] = index.each_ref().map(|along| along[n] as usize);
            i + strides[0] * j + strides[1] * k
        });
        Self { first, strides, within, is_edge: moved }
    }

    /// Trilinear values and their slopes per voxel.
    fn blend(&self, voxels: &[f32], value: &mut Lane, slope: &mut [Lane; 3]) {
        let mut corners = [[0.0; BLOCK]; 8];
        let [row, slice] = self.strides;
        for (n, &first) in self.first.iter().enumerate() {
            for (at, pair) in [0, row, slice, slice + row].into_iter().zip([0, 2, 4, 6]) {
                let voxels = &voxels[first + at..first + at + 2];
                (corners[pair][n], corners[pair + 1][n]) = (voxels[0], voxels[1]);
            }
        }
        for n in 0..BLOCK {
            let [x, y, z] = [self.within[0][n], self.within[1][n], self.within[2][n]];
            let rise = |pair: usize| corners[pair + 1][n] - corners[pair][n];
            let [d00, d10, d01, d11] = [rise(0), rise(2), rise(4), rise(6)];
            let [v00, v10] = [corners[0][n] + x * d00, corners[2][n] + x * d10];
            let [v01, v11] = [corners[4][n] + x * d01, corners[6][n] + x * d11];
            let (low, high) = (v00 + y * (v10 - v00), v01 + y * (v11 - v01));
            let (d_low, d_high) = (d00 + y * (d10 - d00), d01 + y * (d11 - d01));
            value[n] = low + z * (high - low);
            slope[0][n] = d_low + z * (d_high - d_low);
            slope[1][n] = (v10 - v00) + z * ((v11 - v01) - (v10 - v00));
            slope[2][n] = high - low;
        }
    }
}

/// The whole number below a number in 0..2^22.
fn whole(number: f32) -> u32 {
    // At 2^23 a float counts in ones, and its last bits are the number itself.
    const ONES: f32 = 8_388_608.0;
    let rounded = (number - 0.5).max(0.0) + ONES;
    rounded.to_bits() - ONES.to_bits()
}

impl Shown {
    /// Takes weight from places beyond the outermost centres.
    fn fade(&mut self, shape: [usize; 3], places: &[Lane; 3]) {
        let last = shape.map(|voxels| (voxels - 1) as f32);
        for n in 0..BLOCK {
            let (weight, weight_slope) = rim(places.each_ref().map(|along| along[n]), last);
            self.weight[n] = weight;
            self.weight_slope.iter_mut().zip(weight_slope).for_each(|(along, slope)| along[n] = slope);
        }
        self.hold(shape, places);
    }

    /// Beyond the outermost centres the value stays as it is there.
    fn hold(&mut self, shape: [usize; 3], places: &[Lane; 3]) {
        for ((slope, place), voxels) in self.slope.iter_mut().zip(places).zip(shape) {
            let last = (voxels - 1) as f32;
            for (slope, place) in slope.iter_mut().zip(place) {
                *slope = if (0.0..=last).contains(place) { *slope } else { 0.0 };
            }
        }
    }

    /// Counts each place only as far as a mask's value there says.
    fn count_within(&mut self, inside: &Self) {
        for n in 0..BLOCK {
            for (along, by_mask) in self.weight_slope.iter_mut().zip(&inside.slope) {
                let slope = along[n] * inside.value[n] + self.weight[n] * by_mask[n];
                along[n] = if inside.value[n] > 0.0 { slope } else { 0.0 };
            }
            self.weight[n] *= inside.value[n];
        }
    }
}

/// Weight in the outer half voxel, from 1 at the outermost centres to 0 half a voxel further, and its slope per voxel.
fn rim(place: [f32; 3], last: [f32; 3]) -> (f32, [f32; 3]) {
    let sides: [(f32, f32); 3] = std::array::from_fn(|a| {
        let (below, above) = (-place[a], place[a] - last[a]);
        match (below > 0.0, above > 0.0) {
            (true, _) => (1.0 - 2.0 * below, 2.0),
            (_, true) => (1.0 - 2.0 * above, -2.0),
            _ => (1.0, 0.0),
        }
    });
    let [x, y, z] = sides.map(|side| side.0);
    if x <= 0.0 || y <= 0.0 || z <= 0.0 {
        return (0.0, [0.0; 3]);
    }
    (x * y * z, [sides[0].1 * y * z, x * sides[1].1 * z, x * y * sides[2].1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sdk::Grid;

    /// A trilinear pattern, which blending gives back exactly but for rounding.
    fn image() -> Image {
        let grid = Grid::axis_aligned([7, 5, 4], [1.0; 3]);
        let voxels = (0..grid.len()).map(|n| pattern(grid.index(n).map(|i| i as f32)).0).collect::<Vec<_>>();
        Image::new(grid, voxels).unwrap()
    }

    fn show(mask: Option<&Image>, places: &[Lane; 3]) -> Shown {
        let mut shown = Shown::default();
        shown.look_up(&image(), mask, places);
        shown
    }

    fn pattern([x, y, z]: [f32; 3]) -> (f32, [f32; 3]) {
        (1.0 + x - 2.0 * y * z + 0.5 * x * y, [1.0 + 0.5 * y, -2.0 * z + 0.5 * x, -2.0 * y])
    }

    proptest! {
        /// 1e-4: f32 of numbers to 40.
        #[test]
        fn a_trilinear_pattern_is_shown_as_it_is(
            places in proptest::collection::vec((0.0f32..6.0, 0.0f32..4.0, 0.0f32..3.0), BLOCK)
        ) {
            let along = |axis: usize| std::array::from_fn(|n| [places[n].0, places[n].1, places[n].2][axis]);
            let shown = show(None, &[along(0), along(1), along(2)]);
            for (n, &(x, y, z)) in places.iter().enumerate() {
                let (value, slope) = pattern([x, y, z]);
                prop_assert!((shown.value[n] - value).abs() < 1e-4, "{} is not {value}", shown.value[n]);
                for (found, slope) in shown.slope.iter().zip(slope) {
                    prop_assert!((found[n] - slope).abs() < 1e-4);
                }
            }
            prop_assert!(!shown.is_edge && shown.weight == [1.0; BLOCK]);
        }

        #[test]
        fn the_whole_part_is_at_most_one_too_small_and_only_at_whole_numbers(number in 0.0f32..4000.0) {
            let found = whole(number);
            prop_assert!(found as f32 <= number && number - found as f32 <= 1.0, "{number}: {found}");
        }
    }

    #[test]
    fn a_place_fades_over_the_outer_half_voxel() {
        let mut places = [[1.0; BLOCK]; 3];
        places[0][..6].copy_from_slice(&[-0.6, -0.25, 0.0, 6.0, 6.25, 1e9]);
        let shown = show(None, &places);
        assert_eq!(shown.weight[..7], [0.0, 0.5, 1.0, 1.0, 0.5, 0.0, 1.0]);
        assert_eq!(shown.weight_slope[0][..6], [0.0, 2.0, 0.0, 0.0, -2.0, 0.0]);
        assert_eq!((shown.slope[0][1], shown.slope[0][4]), (0.0, 0.0));
        assert!(shown.is_edge);
    }

    #[test]
    fn a_mask_takes_weight_and_says_how_fast() {
        let grid = *image().grid();
        let mask = (0..grid.len()).map(|n| if grid.index(n)[0] > 2 { 1.0 } else { 0.0 }).collect::<Vec<_>>();
        let mask = Image::new(grid, mask).unwrap();
        let mut places = [[1.0; BLOCK]; 3];
        places[0][..3].copy_from_slice(&[1.5, 2.25, 4.0]);
        let shown = show(Some(&mask), &places);
        assert_eq!(shown.weight[..3], [0.0, 0.25, 1.0]);
        assert_eq!(shown.weight_slope[0][..3], [0.0, 1.0, 0.0]);
    }
}
