//! The voxels that count: finite ones, inside the mask where there is one.

use sdk::{Grid, Image, Mask};

/// Why there is nothing to count.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegionError {
    /// Mask and image lie on different grids.
    #[error("a mask on {mask} for an image on {image}\nhint: `resample` the mask onto the image's grid")]
    OtherGrid {
        /// Grid of the mask.
        mask: Box<Grid>,
        /// Grid of the image.
        image: Box<Grid>,
    },
    /// The mask is empty, or the image holds no finite number.
    #[error(
        "no finite voxel to count among {of}, {inside} of them inside the mask\n\
         hint: has the brain been found, and does the image hold numbers?"
    )]
    Empty {
        /// Voxels of the grid.
        of: usize,
        /// Voxels inside the mask; all without one.
        inside: usize,
    },
}

/// An image and the voxels of it that count.
#[derive(Clone, Copy, Debug)]
pub struct Region<'a> {
    voxels: &'a [f32],
    mask: Option<&'a [u8]>,
}

impl<'a> Region<'a> {
    /// The finite voxels of an image, inside `mask` if there is one.
    ///
    /// # Errors
    /// [`RegionError`] if the grids differ or no voxel remains.
    pub fn new(image: &'a Image, mask: Option<&'a Mask>) -> Result<Self, RegionError> {
        if let Some(mask) = mask
            && !image.grid().matches(mask.grid())
        {
            return Err(RegionError::OtherGrid {
                mask: Box::new(*mask.grid()),
                image: Box::new(*image.grid()),
            });
        }
        let region = Self { voxels: image.voxels(), mask: mask.map(Mask::voxels) };
        if region.iter(0..image.grid().len()).any(|voxel| voxel.is_some()) {
            Ok(region)
        } else {
            let of = image.grid().len();
            Err(RegionError::Empty { of, inside: mask.map_or(of, Mask::count) })
        }
    }

    /// The voxels at these places in memory: their intensity where they count.
    pub fn iter(&self, places: std::ops::Range<usize>) -> impl Iterator<Item = Option<f32>> + Clone + 'a {
        let mask = self.mask.map_or(&[][..], |mask| &mask[places.clone()]);
        let masked = self.mask.is_some();
        self.voxels[places].iter().enumerate().map(move |(n, &voxel)| {
            let inside = !masked || mask[n] != 0;
            (inside && voxel.is_finite()).then_some(voxel)
        })
    }
}
