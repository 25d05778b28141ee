//! The image that pictures are drawn over, and which part of it may be shown.
//!
//! A whole head can be recognised from its face, so only voxels within the brain mask, widened by a small margin, are ever
//! drawn; without a mask nothing is, unless the workflow says otherwise.

use crate::options::Options;
use crate::picture::{Base, Contrast};
use crate::plane::{Plane, View, Window};
use crate::sample::Sampler;
use sdk::{Grid, Image, Mask};

/// Why no pictures are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SceneError {
    /// There is neither a reference nor another image.
    #[error("no pictures: there is no image to draw them on")]
    NoImage,
    /// The reference has no voxel, or an affine that cannot be inverted.
    #[error("no pictures: the grid of the reference image cannot be drawn")]
    BadGrid,
    /// There is no mask, and heads must not be shown.
    #[error("no pictures: without a brain mask they could show the face; `embed_heads = true` allows it")]
    NoMask,
    /// The mask is empty, or lies outside the reference image.
    #[error("no pictures: the brain mask holds no voxel of the reference image")]
    EmptyMask,
}

/// Voxels that the contrast is computed from: enough for a percentile to be steady to 0.1 %.
const CONTRAST_VOXELS: usize = 200_000;

/// A reference image and what may be shown of it.
#[derive(Debug)]
pub struct Scene<'a> {
    grid: Grid,
    image: Sampler<'a, f32>,
    contrast: Contrast,
    /// 1 where the image may be shown; all of it if absent.
    shown: Option<Vec<u8>>,
    /// First and last voxel index worth showing along each axis.
    bounds: [[usize; 2]; 3],
    /// Voxels that contrasts are computed from.
    probes: Vec<[f64; 3]>,
}

impl<'a> Scene<'a> {
    /// Prepares the reference image.
    ///
    /// * `mask`: on any grid in the reference's frame.
    ///
    /// # Errors
    /// [`SceneError`] when nothing can or may be drawn.
    pub fn new(
        reference: Option<&'a Image>,
        mask: Option<&Mask>,
        options: &Options,
    ) -> Result<Self, SceneError> {
        let image = reference.ok_or(SceneError::NoImage)?;
        let grid = *image.grid();
        if grid.is_empty() || !grid.voxel_to_world.is_usable() {
            return Err(SceneError::BadGrid);
        }
        let inside = mask.map(|mask| mask_on(mask, &grid).ok_or(SceneError::EmptyMask)).transpose()?;
        if inside.is_none() && !options.embed_heads {
            return Err(SceneError::NoMask);
        }
        let widened = inside.as_ref().map(|inside| widen(inside, &grid, options.margin_mm));
        let everything = grid.shape.map(|n| [0, n - 1]);
        let bounds = widened.as_ref().map_or(everything, |w| bounds_of(w, &grid));
        let probes = probes(&grid, inside.as_deref());
        let sampler = Sampler::new(image, &grid).ok_or(SceneError::BadGrid)?;
        let contrast = contrast_at(&sampler, &probes);
        let shown = if options.embed_heads { None } else { widened };
        Ok(Self { grid, image: sampler, contrast, shown, bounds, probes })
    }

    /// The grid that pictures are drawn on.
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// First and last voxel index worth showing along an axis.
    pub fn bounds(&self, axis: usize) -> [usize; 2] {
        self.bounds[axis]
    }

    /// Middle of what is worth showing.
    pub fn middle(&self) -> [usize; 3] {
        self.bounds.map(|[first, last]| first.midpoint(last))
    }

    /// The part of a slice that is worth showing, with room for letters; its longer side has `longest` dots.
    pub fn window(&self, plane: &Plane, slice: usize, longest: usize) -> Window {
        let corner = |end: usize| [0, 1, 2].map(|axis| self.bounds[axis][end] as f64);
        let (a, b) = (plane.place_mm(corner(0)), plane.place_mm(corner(1)));
        let low = [0, 1].map(|e| a[e].min(b[e]) - BORDER_MM);
        let high = [0, 1].map(|e| a[e].max(b[e]) + BORDER_MM);
        let longest_mm = (high[0] - low[0]).max(high[1] - low[1]);
        plane.window(slice, low, high, longest_mm / longest as f64)
    }

    /// The whole slices of a view.
    pub fn plane(&self, view: View) -> Plane {
        Plane::of(&self.grid, view)
    }

    /// Whether the place may be shown.
    pub fn shows(&self, index: [f64; 3]) -> bool {
        let Some(shown) = &self.shown else { return true };
        let mut nearest = [0; 3];
        for axis in 0..3 {
            let rounded = index[axis].round();
            if !(0.0..self.grid.shape[axis] as f64).contains(&rounded) {
                return false;
            }
            nearest[axis] = rounded as usize;
        }
        shown[self.grid.offset(nearest)] != 0
    }

    /// Whether the voxel at this place of the reference's memory may be shown.
    pub fn shows_offset(&self, offset: usize) -> bool {
        self.shown.as_ref().is_none_or(|shown| shown[offset] != 0)
    }

    /// Intensities of an image of the frame at places spread over the brain.
    pub fn values(&self, image: &Sampler<'_, f32>) -> Vec<f32> {
        self.probes.iter().map(|&index| image.linear(index)).collect()
    }

    /// The contrast of an image of the frame within the brain, and its least and largest intensity there.
    pub fn intensities(&self, image: &Sampler<'_, f32>) -> (Contrast, [f32; 2]) {
        let mut values = self.values(image);
        let contrast = Contrast::of(&mut values);
        let range = values.iter().fold([contrast.black, contrast.white], |[a, b], &v| [a.min(v), b.max(v)]);
        (contrast, range)
    }

    /// The reference in a window.
    pub fn base(&self, window: &Window) -> Base {
        Base { dots: window.dots, greys: self.greys(window, &self.image, self.contrast) }
    }

    /// Another image of the frame in a window, with a contrast of its own.
    pub fn greys_of(&self, window: &Window, image: &Sampler<'_, f32>) -> Vec<u8> {
        self.greys(window, image, contrast_at(image, &self.probes))
    }

    fn greys(&self, window: &Window, image: &Sampler<'_, f32>, contrast: Contrast) -> Vec<u8> {
        let dot = |n| {
            let index = window.index(n);
            if self.shows(index) { contrast.grey(image.linear(index)) } else { 0 }
        };
        (0..window.len()).map(dot).collect()
    }
}

/// Room around the brain in mm.
const BORDER_MM: f64 = 5.0;

/// The mask at the voxels of a grid; `None` if none is inside.
fn mask_on(mask: &Mask, grid: &Grid) -> Option<Vec<u8>> {
    if mask.grid().matches(grid) {
        return mask.voxels().contains(&1).then(|| mask.voxels().to_vec());
    }
    let sampler = Sampler::new(mask, grid)?;
    let inside = |n| sampler.nearest(grid.index(n).map(|i| i as f64)).map_or(0, |v| u8::from(v != 0));
    let inside: Vec<u8> = (0..grid.len()).map(inside).collect();
    inside.contains(&1).then_some(inside)
}

/// Widens a mask by a box: along each axis by as many whole voxels as fit into the margin.
fn widen(mask: &[u8], grid: &Grid, margin_mm: f64) -> Vec<u8> {
    let mut wide = mask.to_vec();
    for axis in 0..3 {
        let reach = ((margin_mm / grid.spacing_mm()[axis]).floor() as usize).min(grid.shape[axis]);
        if reach == 0 {
            continue;
        }
        let stride: usize = grid.shape[..axis].iter().product();
        let length = grid.shape[axis];
        let before = wide.clone();
        for offset in (0..wide.len()).filter(|&n| before[n] != 0) {
            let along = offset / stride % length;
            let first = offset - along.min(reach) * stride;
            for step in 0..=(along.min(reach) + reach.min(length - 1 - along)) {
                wide[first + step * stride] = 1;
            }
        }
    }
    wide
}

fn bounds_of(mask: &[u8], grid: &Grid) -> [[usize; 2]; 3] {
    let mut bounds = [[usize::MAX, 0]; 3];
    for offset in (0..mask.len()).filter(|&n| mask[n] != 0) {
        for (bound, i) in bounds.iter_mut().zip(grid.index(offset)) {
            *bound = [bound[0].min(i), bound[1].max(i)];
        }
    }
    bounds
}

fn probes(grid: &Grid, inside: Option<&[u8]>) -> Vec<[f64; 3]> {
    let all: Vec<usize> = (0..grid.len()).filter(|&n| inside.is_none_or(|mask| mask[n] != 0)).collect();
    let stride = all.len().div_ceil(CONTRAST_VOXELS).max(1);
    all.into_iter().step_by(stride).map(|n| grid.index(n).map(|i| i as f64)).collect()
}

fn contrast_at(image: &Sampler<'_, f32>, probes: &[[f64; 3]]) -> Contrast {
    Contrast::of(&mut probes.iter().map(|&index| image.linear(index)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sdk::testing::{ball, ball_mask};

    fn head() -> (Image, Mask) {
        let grid = Grid::axis_aligned([40, 40, 40], [1.0; 3]);
        (ball(grid, [20.0; 3], 18.0, 100.0), ball_mask(grid, [20.0; 3], 10.0))
    }

    #[test]
    fn nothing_beyond_mask_and_margin_is_drawn() {
        let (image, mask) = head();
        let options = Options { margin_mm: 2.0, ..Options::default() };
        let scene = Scene::new(Some(&image), Some(&mask), &options).unwrap();
        let plane = scene.plane(View::Axial);
        let window = plane.window(20, [0.0; 2], plane.size_mm(), 1.0);
        let base = scene.base(&window);
        for (n, &grey) in base.greys.iter().enumerate() {
            let index = window.index(n);
            let off = [0, 1].map(|axis| (index[axis] - 20.0).abs());
            // The box of 2 mm reaches at most 10 + 2 mm along an axis.
            assert!(grey == 0 || off.iter().all(|d| *d <= 12.0), "{index:?} is shown");
        }
        assert!(base.greys.iter().any(|&grey| grey > 0), "the brain is shown");
    }

    #[test]
    fn without_a_mask_a_head_is_shown_only_when_allowed() {
        let (image, _) = head();
        let refused = Scene::new(Some(&image), None, &Options::default()).unwrap_err();
        assert_eq!(refused, SceneError::NoMask);
        assert!(Scene::new(Some(&image), None, &Options { embed_heads: true, ..Options::default() }).is_ok());
        let empty = ball_mask(*image.grid(), [500.0; 3], 3.0);
        let refused = Scene::new(Some(&image), Some(&empty), &Options::default()).unwrap_err();
        assert_eq!(refused, SceneError::EmptyMask);
    }

    #[test]
    fn a_mask_is_widened_by_whole_voxels_and_stays_within_the_grid() {
        let grid = Grid::axis_aligned([7, 3, 3], [1.0, 1.0, 5.0]);
        let mut mask = vec![0; grid.len()];
        mask[grid.offset([1, 1, 1])] = 1;
        let wide = widen(&mask, &grid, 2.5);
        assert_eq!(
            wide.iter().map(|&v| usize::from(v)).sum::<usize>(),
            4 * 3,
            "4 along i, 3 along j, 1 along k"
        );
        assert_eq!(bounds_of(&wide, &grid), [[0, 3], [0, 2], [1, 1]]);
    }
}
