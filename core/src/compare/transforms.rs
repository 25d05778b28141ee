//! Two transforms: how far apart they send one point.

use super::Verdict;
use super::folder::OutputFile;
use super::measures::{Measures, Pair, TransformMeasures};
use crate::xfm;
use sdk::{Affine, Grid};
use std::path::{Path, PathBuf};

/// Below how many mm two transforms count as the same: far below what any resampling can show.
const TOLERANCE_MM: f64 = 1e-4;

/// Half the edge of the cube about the world's origin that stands for a head where a case has no volume, in mm.
const HEAD_HALF_MM: f64 = 100.0;

/// Why a transform cannot be compared.
#[derive(Debug, thiserror::Error)]
pub(super) enum TransformError {
    /// The file cannot be had.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is no matrix.
    #[error("{} holds no 4 x 4 matrix\nhint: four lines of four numbers, the last of them `0 0 0 1`", path.display())]
    NoMatrix {
        /// Which.
        path: PathBuf,
    },
}

/// Compares two transforms over the corners of `region`'s grid: affine maps differ most at a corner.
pub(super) fn compare(
    files: Pair<&Path>,
    region: Option<&OutputFile>,
) -> Result<(Verdict, Measures), TransformError> {
    let (a, b) = (read(files.a)?, read(files.b)?);
    let grid = region.and_then(|file| Some((file, sdk::nifti::read_grid(&file.path).ok()?.0)));
    let (corners, over) = match grid {
        Some((file, grid)) => (corners(&grid), format!("corners of the grid of {}", file.relative)),
        None => (cube(), format!("corners of a cube of {} mm about the origin", 2.0 * HEAD_HALF_MM)),
    };
    let apart = |point: &[f64; 3]| {
        let (p, q) = (a.point(*point), b.point(*point));
        p.iter().zip(q).map(|(p, q)| (p - q).powi(2)).sum::<f64>().sqrt()
    };
    let largest_displacement_mm = corners.iter().map(apart).fold(0.0, f64::max);
    let verdict = if a.rows() == b.rows() {
        Verdict::Identical
    } else if largest_displacement_mm < TOLERANCE_MM {
        Verdict::Close
    } else {
        Verdict::Differs
    };
    Ok((verdict, Measures::Transform(TransformMeasures { largest_displacement_mm, over })))
}

fn corners(grid: &Grid) -> [[f64; 3]; 8] {
    grid.corners().map(|corner| grid.voxel_to_world.point(corner))
}

fn cube() -> [[f64; 3]; 8] {
    let edge = 2.0 * HEAD_HALF_MM;
    corners(&Grid::new([2; 3], Affine::scale_shift([edge; 3], [-HEAD_HALF_MM; 3])))
}

fn read(path: &Path) -> Result<Affine, TransformError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| TransformError::Unreadable { path: path.to_owned(), source })?;
    xfm::read(&text)
        .ok()
        .and_then(|transform| transform.as_affine().copied())
        .ok_or_else(|| TransformError::NoMatrix { path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(a: &str, b: &str) -> Result<(Verdict, TransformMeasures), TransformError> {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a_xfm.txt", "b_xfm.txt"].map(|name| folder.path().join(name));
        std::fs::write(&paths[0], a).unwrap();
        std::fs::write(&paths[1], b).unwrap();
        compare(Pair { a: &paths[0], b: &paths[1] }, None).map(|(verdict, measures)| match measures {
            Measures::Transform(measures) => (verdict, measures),
            other => panic!("{other:?}"),
        })
    }

    const IDENTITY: &str = "1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n";

    #[test]
    fn the_largest_displacement_is_at_a_corner_of_the_head() {
        let shifted = compared(IDENTITY, "1 0 0 3\n0 1 0 4\n0 0 1 0\n0 0 0 1\n").unwrap();
        assert_eq!((shifted.0, shifted.1.largest_displacement_mm), (Verdict::Differs, 5.0));
        // Scaling by 1 % moves a corner of the cube by 1 mm along each axis.
        let scaled = compared(IDENTITY, "1.01 0 0 0\n0 1.01 0 0\n0 0 1.01 0\n0 0 0 1\n").unwrap();
        assert!((scaled.1.largest_displacement_mm - 3f64.sqrt()).abs() < 1e-9, "{scaled:?}");
        assert_eq!(scaled.1.over, "corners of a cube of 200 mm about the origin");
    }

    #[test]
    fn rounding_is_close() {
        let close = compared(IDENTITY, "1 0 0 0.00001\n0 1 0 0\n0 0 1 0\n0 0 0 1\n").unwrap();
        assert_eq!(close.0, Verdict::Close);
        assert_eq!(compared(IDENTITY, &IDENTITY.replace(' ', "  ")).unwrap().0, Verdict::Identical);
    }

    #[test]
    fn what_is_no_matrix_is_named() {
        for text in ["", "1 0 0 0\n0 1 0 0\n", "1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 2\n", "a b c d"] {
            let error = compared(IDENTITY, text).unwrap_err().to_string();
            assert!(error.contains("b_xfm.txt holds no 4 x 4 matrix"), "{error}");
        }
        let flat = "0 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n";
        assert!(compared(flat, IDENTITY).is_err(), "a map that flattens is no transform");
    }
}
