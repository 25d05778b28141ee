//! Volumes: a grid and a number at each of its voxels.

use crate::buffer::{Buf, Element};
use crate::geometry::Grid;
use crate::value::Kind;
use std::marker::PhantomData;

/// One of the four kinds of volume.
pub trait VolumeKind: Send + Sync + 'static {
    /// The number at a voxel.
    type Voxel: Element;
    /// The kind as ports name it.
    const KIND: Kind;
}

/// Marks an [`Image`].
pub enum ImageKind {}
/// Marks a [`Mask`].
pub enum MaskKind {}
/// Marks [`Labels`].
pub enum LabelsKind {}
/// Marks a [`Probability`].
pub enum ProbabilityKind {}

impl VolumeKind for ImageKind {
    type Voxel = f32;
    const KIND: Kind = Kind::Image;
}
impl VolumeKind for MaskKind {
    type Voxel = u8;
    const KIND: Kind = Kind::Mask;
}
impl VolumeKind for LabelsKind {
    type Voxel = u32;
    const KIND: Kind = Kind::Labels;
}
impl VolumeKind for ProbabilityKind {
    type Voxel = f32;
    const KIND: Kind = Kind::Probability;
}

/// Intensities: any finite number.
pub type Image = Volume<ImageKind>;
/// 0 outside, 1 inside.
pub type Mask = Volume<MaskKind>;
/// Integer components or classes; 0 is background.
pub type Labels = Volume<LabelsKind>;
/// Scores in 0..=1.
pub type Probability = Volume<ProbabilityKind>;

/// A number at each voxel of a grid, `i` fastest. Cheap to clone: the voxels are shared.
pub struct Volume<K: VolumeKind> {
    grid: Grid,
    voxels: Buf<K::Voxel>,
    kind: PhantomData<K>,
}

/// A volume with another number of voxels than its grid.
#[derive(Debug, thiserror::Error)]
#[error("{found} voxels for a grid of {expected} ({grid})")]
pub struct WrongLength {
    /// Voxels given.
    pub found: usize,
    /// Voxels of the grid.
    pub expected: usize,
    /// The grid.
    pub grid: Box<Grid>,
}

impl<K: VolumeKind> Volume<K> {
    /// Puts voxels on a grid.
    ///
    /// # Errors
    /// [`WrongLength`] unless there is one number for each voxel.
    pub fn new(grid: Grid, voxels: impl Into<Buf<K::Voxel>>) -> Result<Self, WrongLength> {
        let voxels = voxels.into();
        if voxels.len() == grid.len() {
            Ok(Self { grid, voxels, kind: PhantomData })
        } else {
            Err(WrongLength { found: voxels.len(), expected: grid.len(), grid: Box::new(grid) })
        }
    }

    /// Where the voxels lie.
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// The numbers, `i` fastest.
    pub fn voxels(&self) -> &[K::Voxel] {
        &self.voxels
    }

    /// The block behind the numbers, to share it.
    pub fn buffer(&self) -> &Buf<K::Voxel> {
        &self.voxels
    }

    /// The number at voxel `[i, j, k]`.
    pub fn at(&self, index: [usize; 3]) -> K::Voxel {
        self.voxels[self.grid.offset(index)]
    }

    /// The same numbers on another grid of the same shape: how a header is corrected.
    ///
    /// # Errors
    /// [`WrongLength`] if the grid has another number of voxels.
    pub fn with_grid(&self, grid: Grid) -> Result<Self, WrongLength> {
        Self::new(grid, self.voxels.clone())
    }
}

impl Probability {
    /// The same numbers as an image; nothing is copied.
    pub fn to_image(&self) -> Image {
        Volume { grid: self.grid, voxels: self.voxels.clone(), kind: PhantomData }
    }
}

impl Mask {
    /// The mask as an image of 0 and 1: a change of number type, so a copy.
    pub fn to_image(&self) -> Image {
        let voxels: Vec<f32> = self.voxels.iter().map(|&v| f32::from(v)).collect();
        Volume { grid: self.grid, voxels: voxels.into(), kind: PhantomData }
    }

    /// Number of voxels inside.
    pub fn count(&self) -> usize {
        self.voxels.iter().filter(|&&v| v != 0).count()
    }
}

impl<K: VolumeKind> Clone for Volume<K> {
    fn clone(&self) -> Self {
        Self { grid: self.grid, voxels: self.voxels.clone(), kind: PhantomData }
    }
}

impl<K: VolumeKind> std::fmt::Debug for Volume<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} of {}", K::KIND, self.grid)
    }
}

/// A volume of any of the four kinds, for ports whose kind is a variable.
#[derive(Clone, Debug)]
pub enum AnyVolume {
    /// Intensities.
    Image(Image),
    /// 0/1.
    Mask(Mask),
    /// Integers.
    Labels(Labels),
    /// 0..=1.
    Probability(Probability),
}

impl AnyVolume {
    /// Where the voxels lie.
    pub fn grid(&self) -> &Grid {
        match self {
            Self::Image(v) => v.grid(),
            Self::Mask(v) => v.grid(),
            Self::Labels(v) => v.grid(),
            Self::Probability(v) => v.grid(),
        }
    }

    /// Which of the four.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Image(_) => Kind::Image,
            Self::Mask(_) => Kind::Mask,
            Self::Labels(_) => Kind::Labels,
            Self::Probability(_) => Kind::Probability,
        }
    }
}
