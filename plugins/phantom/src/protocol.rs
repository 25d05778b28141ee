//! On which grids the four sequences are scanned, and how the head moves between them.
//!
//! Native grids as in the paper's protocol: axial BRAVO stored LPS, sagittal CUBE stored PIL, sagittal FLAIR stored ASR, so
//! that nobody gets far without reading the affine.
//!
//! Source: Grøvik et al., JMRI 2020;51:175, Table 2.

use crate::anatomy::CENTRE_MM;
use crate::contrast::Sequence;
use crate::random::Stream;
use crate::subject::Subject;
use sdk::{Affine, Grid, JsonSchema};
use serde::{Deserialize, Serialize};

/// Size of the grids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[schemars(crate = "sdk::schemars")]
#[serde(rename_all = "snake_case")]
pub enum Grids {
    /// As in the paper: BRAVO 256 x 256 x 156 to 172 of 0.9375 x 0.9375 x 1 mm; the others 256 x 256 x 270 to 320 of
    /// 0.9375 or 0.977 mm in plane and 0.6 mm thick.
    #[default]
    Paper,
    /// As `paper`, with BRAVO 512 x 512 of 0.46875 mm.
    #[serde(rename = "paper_512")]
    Paper512,
    /// 96 x 96 voxels of 2.5 mm, 3 mm thick in BRAVO: for tests of workflows.
    Small,
}

/// Field of view in plane, mm.
const VIEW_MM: f64 = 240.0;

/// Highest and lowest point of the brain, its left- and rightmost scalp: atlas mm.
const TOP_MM: [f64; 3] = [0.0, -25.0, 83.0];
const BOTTOM_MM: [f64; 3] = [0.0, -38.0, -66.0];
const SIDES_MM: [[f64; 3]; 2] = [[-80.0, -18.0, 10.0], [80.0, -18.0, 10.0]];

/// How a sequence is scanned: on which grid, and where the head lies during it.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// Which sequence.
    pub sequence: Sequence,
    /// Its grid, in its own world.
    pub grid: Grid,
    /// From the BRAVO world to this sequence's world: the head's rigid motion.
    pub bravo_to_view: Affine,
}

/// Draws grids and motions for the four sequences.
///
/// * `motion_deg`, `motion_mm`: largest turn about and shift along each axis.
pub fn draw_views(subject: &Subject, seed: u64, grids: Grids, motion_deg: f64, motion_mm: f64) -> [View; 4] {
    Sequence::ALL.map(|sequence| {
        let stream = &mut Stream::new(seed, "view", sequence as u64);
        let centre = subject.from_atlas(CENTRE_MM);
        let angles = stream.triple(motion_deg.to_radians());
        let shift = stream.triple(motion_mm);
        let bravo_to_view = match sequence {
            Sequence::Bravo => Affine::IDENTITY,
            _ => Affine::rigid(angles, shift, centre),
        };
        let grid = match sequence {
            Sequence::Bravo => axial(subject, grids),
            _ => sagittal(subject, sequence, grids, stream, bravo_to_view.point(centre)),
        };
        View { sequence, grid, bravo_to_view }
    })
}

/// Axial grid, stored LPS, that holds the brain from top to bottom.
fn axial(subject: &Subject, grids: Grids) -> Grid {
    let (top, bottom) = (subject.from_atlas(TOP_MM), subject.from_atlas(BOTTOM_MM));
    let height = top[2] - bottom[2];
    let (matrix, slices, thickness) = match grids {
        Grids::Paper => (256, (height.ceil() as usize + 8).clamp(156, 172), 1.0),
        Grids::Paper512 => (512, (height.ceil() as usize + 8).clamp(156, 172), 1.0),
        Grids::Small => (96, 58, 3.0),
    };
    let middle = subject.from_atlas(CENTRE_MM);
    let centre = [middle[0], middle[1], f64::midpoint(top[2], bottom[2])];
    let spacing = VIEW_MM / matrix as f64;
    let axes = [[-spacing, 0.0, 0.0], [0.0, -spacing, 0.0], [0.0, 0.0, thickness]];
    centred([matrix, matrix, slices], axes, centre)
}

/// Sagittal grid about `centre`: PIL for the T1 sequences, ASR for FLAIR.
fn sagittal(
    subject: &Subject,
    sequence: Sequence,
    grids: Grids,
    stream: &mut Stream,
    centre: [f64; 3],
) -> Grid {
    /// Beyond the scalp on both sides together, for motion.
    const MARGIN_MM: f64 = 14.0;
    let [left, right] = SIDES_MM.map(|side| subject.from_atlas(side)[0]);
    let wide_pixel = stream.unit() < 0.5;
    let (matrix, spacing, thickness) = match grids {
        Grids::Paper | Grids::Paper512 => (256, if wide_pixel { 0.977 } else { 0.9375 }, 0.6),
        Grids::Small => (96, 2.5, 2.5),
    };
    let slices = ((right - left + MARGIN_MM) / thickness).ceil() as usize;
    let slices = match grids {
        Grids::Paper | Grids::Paper512 => slices.clamp(270, 320),
        Grids::Small => slices,
    };
    let axes = if sequence == Sequence::Flair {
        [[0.0, spacing, 0.0], [0.0, 0.0, spacing], [thickness, 0.0, 0.0]]
    } else {
        [[0.0, -spacing, 0.0], [0.0, 0.0, -spacing], [-thickness, 0.0, 0.0]]
    };
    centred([matrix, matrix, slices], axes, centre)
}

/// A grid whose voxel steps are `axes` (mm), with its middle at `centre`.
fn centred(shape: [usize; 3], axes: [[f64; 3]; 3], centre: [f64; 3]) -> Grid {
    let row = |world: usize| {
        let half: f64 = (0..3).map(|axis| axes[axis][world] * (shape[axis] as f64 - 1.0) / 2.0).sum();
        [axes[0][world], axes[1][world], axes[2][world], centre[world] - half]
    };
    Grid::new(shape, Affine::from_rows([row(0), row(1), row(2)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paper_grids_are_those_of_the_protocol() {
        for seed in 0..20 {
            let subject = Subject::draw(seed);
            let [bravo, pre, post, flair] = draw_views(&subject, seed, Grids::Paper, 4.0, 5.0);
            assert_eq!(bravo.grid.orientation(), "LPS");
            assert_eq!(bravo.grid.shape[..2], [256, 256]);
            assert!((156..=172).contains(&bravo.grid.shape[2]), "{}", bravo.grid);
            let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
            let [x, y, z] = bravo.grid.spacing_mm();
            assert!(near(x, 0.9375) && near(y, 0.9375) && near(z, 1.0));
            for (view, orientation) in [(pre, "PIL"), (post, "PIL"), (flair, "ASR")] {
                assert_eq!(view.grid.orientation(), orientation);
                assert_eq!(view.grid.shape[..2], [256, 256]);
                assert!((270..=320).contains(&view.grid.shape[2]), "{}", view.grid);
                let [x, _, z] = view.grid.spacing_mm();
                assert!((near(x, 0.977) || near(x, 0.9375)) && near(z, 0.6), "{}", view.grid);
            }
        }
    }

    #[test]
    fn motions_are_rigid_and_within_their_limits() {
        let subject = Subject::draw(3);
        let centre = subject.from_atlas(CENTRE_MM);
        for seed in 0..20 {
            let views = draw_views(&subject, seed, Grids::Small, 4.0, 5.0);
            assert_eq!(views[0].bravo_to_view, Affine::IDENTITY);
            for view in &views[1..] {
                let linear = view.bravo_to_view.linear();
                assert!((linear.transpose() * linear - nalgebra::Matrix3::identity()).norm() < 1e-12);
                let moved = view.bravo_to_view.point(centre);
                assert!((0..3).all(|axis| (moved[axis] - centre[axis]).abs() <= 5.0 + 1e-9), "{moved:?}");
            }
        }
        let still = draw_views(&subject, 1, Grids::Small, 0.0, 0.0);
        assert_eq!(still[3].bravo_to_view, Affine::IDENTITY);
    }
}
