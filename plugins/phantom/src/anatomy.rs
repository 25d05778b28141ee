//! The head all phantoms come from: Colin27 and its brain mask, embedded in the library.
//!
//! World is MNI millimetres, RAS+, here called *atlas*; one voxel is 1 mm. Where the files come from and their licence:
//! `data/PROVENANCE.md`.

use libdeflater::Decompressor;

/// Voxels along x, y, z.
pub const SHAPE: [usize; 3] = [181, 217, 181];

/// Number of voxels.
pub const LEN: usize = SHAPE[0] * SHAPE[1] * SHAPE[2];

/// Atlas place of the first voxel's centre, mm.
pub const ORIGIN_MM: [f64; 3] = [-90.0, -125.0, -71.0];

/// Middle of the head, about which subjects turn and grow: atlas mm.
pub const CENTRE_MM: [f64; 3] = [0.0, -18.0, 10.0];

/// Intensities of the tissues in the T1 image (0 to 254): modes of its histogram within the brain.
pub mod intensity {
    /// Cerebrospinal fluid.
    pub const FLUID: u8 = 32;
    /// Grey matter.
    pub const GREY: u8 = 86;
    /// White matter.
    pub const WHITE: u8 = 112;
}

/// Bytes before the voxels in a single-file NIfTI-1.
const HEADER_BYTES: usize = 352;

/// The head, on 1-mm voxels, `i` (x) fastest.
#[derive(Debug)]
pub struct Anatomy {
    /// T1 intensity, 0 to 254.
    pub t1: Vec<u8>,
    /// 1 in the brain.
    pub brain: Vec<u8>,
}

impl Anatomy {
    /// Unpacks the embedded files.
    ///
    /// # Panics
    /// If they are damaged, which would be a fault of the build.
    pub fn load() -> Self {
        Self {
            t1: unpack(include_bytes!("../data/ch2.nii.gz")),
            brain: unpack(include_bytes!("../data/ch2_brain.nii.gz")),
        }
    }

    /// Place in memory of the voxel nearest to an atlas point; `None` outside.
    pub fn offset(atlas_mm: [f64; 3]) -> Option<usize> {
        let mut index = [0usize; 3];
        for axis in 0..3 {
            let place = (atlas_mm[axis] - ORIGIN_MM[axis]).round();
            if !(place >= 0.0 && place < SHAPE[axis] as f64) {
                return None;
            }
            index[axis] = place as usize;
        }
        Some(index[0] + SHAPE[0] * (index[1] + SHAPE[1] * index[2]))
    }

    /// Atlas place of a voxel's centre.
    pub fn place(offset: usize) -> [f64; 3] {
        let [nx, ny, _] = SHAPE;
        let index = [offset % nx, offset / nx % ny, offset / (nx * ny)];
        std::array::from_fn(|axis| index[axis] as f64 + ORIGIN_MM[axis])
    }

    /// Whether an atlas point lies in the brain.
    pub fn in_brain(&self, atlas_mm: [f64; 3]) -> bool {
        Self::offset(atlas_mm).is_some_and(|offset| self.brain[offset] != 0)
    }

    /// T1 intensity at the voxel nearest to an atlas point; 0 outside.
    pub fn t1_at(&self, atlas_mm: [f64; 3]) -> u8 {
        Self::offset(atlas_mm).map_or(0, |offset| self.t1[offset])
    }
}

/// The voxels of a gzipped NIfTI-1 file of the atlas's shape, uint8.
fn unpack(file: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES + LEN];
    let read = Decompressor::new().gzip_decompress(file, &mut bytes).expect("the embedded file is whole");
    assert_eq!(read, bytes.len(), "the embedded file has the atlas's shape");
    let field = |at: usize| i16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let shape = [field(42), field(44), field(46)].map(|n| usize::try_from(n).unwrap_or(0));
    assert_eq!((shape, field(70)), (SHAPE, 2), "the embedded file holds uint8 voxels of the atlas's shape");
    bytes.split_off(HEADER_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_brain_has_an_adult_volume() {
        let anatomy = Anatomy::load();
        let millilitres = anatomy.brain.iter().map(|&v| f64::from(v)).sum::<f64>() / 1000.0;
        assert!((1000.0..1900.0).contains(&millilitres), "{millilitres} ml");
        assert!(anatomy.brain.iter().all(|&v| v <= 1));
        assert_eq!(anatomy.t1.iter().max(), Some(&254));
    }

    #[test]
    fn place_and_offset_undo_each_other() {
        for offset in [0, 180, 181, 181 * 217, LEN - 1] {
            assert_eq!(Anatomy::offset(Anatomy::place(offset)), Some(offset));
        }
        assert_eq!(Anatomy::offset([91.0, 0.0, 0.0]), None);
        assert_eq!(Anatomy::offset([f64::NAN; 3]), None);
    }
}
