//! A head made of formulas, and what a scanner makes of it.

use sdk::geometry::{Affine, Grid};
use sdk::{Image, Outputs};

/// One contrast: intensities of background, scalp, skull, brain tissue, ventricles, and what the lobes' pattern adds.
pub(crate) struct Contrast([f64; 6]);

pub(crate) const T1: Contrast = Contrast([0.0, 220.0, 30.0, 120.0, 40.0, 30.0]);
pub(crate) const FLAIR: Contrast = Contrast([0.0, 150.0, 20.0, 100.0, 10.0, -25.0]);

/// How far inside an ellipsoid a place is: 1 well inside, 0 outside, smooth over about 2 mm.
fn inside(p: [f64; 3], centre: [f64; 3], radii: [f64; 3]) -> f64 {
    let r = (0..3).map(|a| ((p[a] - centre[a]) / radii[a]).powi(2)).sum::<f64>().sqrt();
    let smallest = radii.into_iter().fold(f64::INFINITY, f64::min);
    ((1.0 - r) * smallest / 2.0 + 0.5).clamp(0.0, 1.0)
}

/// A head about the world's origin.
fn head(p: [f64; 3], contrast: &Contrast) -> f64 {
    let [air, scalp, skull, tissue, ventricle, lobes] = contrast.0;
    let mix = |outside: f64, within: f64, share: f64| outside + share * (within - outside);
    let neck = inside(p, [0.0, -20.0, -95.0], [55.0, 60.0, 60.0]);
    let mut value = mix(air, scalp, neck.max(inside(p, [0.0; 3], [78.0, 98.0, 85.0])));
    value = mix(value, skull, inside(p, [0.0, 0.0, 2.0], [72.0, 92.0, 78.0]));
    let pattern = (0.13 * p[0] + 0.4).sin() * (0.11 * p[1]).cos() + (0.17 * p[2] + 0.05 * p[0]).sin();
    value = mix(value, tissue + lobes * pattern, inside(p, [0.0, 0.0, 3.0], [66.0, 84.0, 70.0]));
    value = mix(value, ventricle, inside(p, [-14.0, 2.0, 8.0], [8.0, 32.0, 12.0]));
    mix(value, ventricle, inside(p, [14.0, -3.0, 8.0], [9.0, 30.0, 14.0]))
}

/// The head as a scanner sees it when `fixed_to_moving` moved it.
pub(crate) fn scan(grid: Grid, contrast: &Contrast, fixed_to_moving: &Affine) -> Image {
    let back = fixed_to_moving.inverse().unwrap();
    let voxel = |n: usize| head(back.point(grid.world(grid.index(n))), contrast) as f32;
    Image::new(grid, (0..grid.len()).map(voxel).collect::<Vec<f32>>()).unwrap()
}

/// A grid whose middle is at `middle`, turned.
pub(crate) fn grid(shape: [usize; 3], spacing_mm: [f64; 3], middle: [f64; 3], angles_rad: [f64; 3]) -> Grid {
    let half = [0, 1, 2].map(|a| -0.5 * (shape[a] as f64 - 1.0) * spacing_mm[a]);
    let turn = Affine::rigid(angles_rad, middle, [0.0; 3]);
    Grid::new(shape, turn.after(&Affine::scale_shift(spacing_mm, half)))
}

pub(crate) fn fixed_grid() -> Grid {
    grid([120, 150, 60], [1.8, 1.6, 3.0], [0.0, -2.0, -5.0], [0.05, 0.0, 0.02])
}

/// Mean distance in mm of what was found from the truth, over the corners of a brain.
pub(crate) fn error_mm(outputs: &Outputs, truth: &Affine) -> f64 {
    let found = outputs.transform("fixed_to_moving").unwrap();
    let found = *found.as_affine().unwrap();
    let corners = (0..8).map(|n| {
        [65.0, 80.0, 65.0].map(f64::from).into_iter().enumerate().map(
            move |(a, r)| {
                if n >> a & 1 == 1 { r } else { -r }
            },
        )
    });
    let apart = corners.map(|corner| {
        let corner: Vec<f64> = corner.collect();
        let at = [corner[0], corner[1], corner[2]];
        let (p, q) = (found.point(at), truth.point(at));
        (0..3).map(|a| (p[a] - q[a]).powi(2)).sum::<f64>().sqrt()
    });
    apart.sum::<f64>() / 8.0
}
