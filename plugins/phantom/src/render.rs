//! From anatomy and lesions to voxels: one interpolation from the atlas, then lesions, coil bias, noise.
//!
//! A voxel's place goes through motion and the subject's shape into the atlas, where the sequence's signal is interpolated
//! linearly. Voxels wider than 1.3 mm are averaged over several points. Lesions are drawn over it by formula. The bias field
//! is `exp` of a few long waves; the noise of magnitude images is Rician.
//!
//! Every slice has its own random stream, so the result does not depend on threads.
//!
//! Source of the noise law: Gudbjartsson and Patz, Magn. Reson. Med. 34(6), 1995.

use crate::anatomy::{Anatomy, ORIGIN_MM, SHAPE};
use crate::lesions::{Lesion, Shares};
use crate::protocol::View;
use crate::random::{NormalTable, Stream};
use crate::subject::Subject;
use crate::vessels::Vessels;
use nalgebra::Vector3;
use sdk::{Affine, Context, Grid, Image, Labels, Mask, OperatorError};
use std::f64::consts::TAU;

/// Voxels between places that are mapped exactly along a row; those between are interpolated, to 0.03 mm.
const STRIDE: usize = 4;

/// Longest edge a voxel may have before it is averaged over several points, mm.
const EDGE_MM: f64 = 1.3;

/// White matter's stored intensity: least and most, drawn for each sequence.
const GAIN: [f64; 2] = [600.0, 1400.0];

/// All that is common to the images of one case.
#[derive(Debug)]
pub struct Scene {
    /// The head they come from.
    pub subject: Subject,
    /// Its vessels.
    pub vessels: Vessels,
    /// Its lesions; the label of one is its place here plus 1.
    pub lesions: Vec<Lesion>,
    /// What the case is made from.
    pub seed: u64,
    /// White matter's signal over the noise's standard deviation.
    pub snr: f64,
    /// Largest bias, as the logarithm of the factor.
    pub bias: f64,
}

/// How a grid's voxels lie in the BRAVO world and in the atlas.
struct Mapping<'a> {
    subject: &'a Subject,
    voxel_to_bravo: Affine,
}

impl Mapping<'_> {
    /// Fills `row` with atlas voxel coordinates of the voxels `[0.., j, k]`.
    fn atlas_row(&self, j: usize, k: usize, row: &mut [[f32; 3]]) {
        let knot = |i: usize| {
            let atlas = self.subject.to_atlas(self.voxel_to_bravo.point([i as f64, j as f64, k as f64]));
            std::array::from_fn(|axis| (atlas[axis] - ORIGIN_MM[axis]) as f32)
        };
        let mut ends: [[f32; 3]; 2] = [[0.0; 3], knot(0)];
        for (n, piece) in row.chunks_mut(STRIDE).enumerate() {
            ends = [ends[1], knot((n + 1) * STRIDE)];
            for (m, place) in piece.iter_mut().enumerate() {
                let share = m as f32 / STRIDE as f32;
                *place = std::array::from_fn(|axis| ends[0][axis] + share * (ends[1][axis] - ends[0][axis]));
            }
        }
    }

    /// Points within a voxel over which its signal is averaged, as atlas voxel offsets.
    fn samples(&self, spacing_mm: [f64; 3]) -> Vec<[f32; 3]> {
        let counts = spacing_mm.map(|edge| (edge / EDGE_MM).ceil().max(1.0) as usize);
        let grid = Grid::axis_aligned(counts, [1.0; 3]);
        let linear = self.subject.affine().after(&self.voxel_to_bravo);
        let sample = |offset: usize| {
            let index = grid.index(offset);
            let within = |axis: usize| (index[axis] as f64 + 0.5) / counts[axis] as f64 - 0.5;
            linear.vector([within(0), within(1), within(2)]).map(|v| v as f32)
        };
        (0..grid.len()).map(sample).collect()
    }
}

/// Voxels of the atlas from the lowest corner of a cell to its highest, both included.
const CELL: usize = SHAPE[0] * SHAPE[1] + SHAPE[0] + 2;

/// Trilinear value at an atlas voxel place; 0 outside.
#[inline]
fn sample(signal: &[f32], [x, y, z]: [f32; 3]) -> f32 {
    let [nx, ny, nz] = SHAPE;
    let inside = |v: f32, n: usize| v >= 0.0 && v < (n - 1) as f32;
    if !(inside(x, nx) && inside(y, ny) && inside(z, nz)) {
        return 0.0;
    }
    let (i, j, k) = (x as usize, y as usize, z as usize);
    let (fx, fy, fz) = (x - i as f32, y - j as f32, z - k as f32);
    // One look at the bounds for all eight corners.
    let Some(cell) = signal[i + nx * (j + ny * k)..].first_chunk::<CELL>() else { return 0.0 };
    let line = |at: usize| cell[at] + fx * (cell[at + 1] - cell[at]);
    let plane = |at: usize| {
        let (near, far) = (line(at), line(at + nx));
        near + fy * (far - near)
    };
    let (low, high) = (plane(0), plane(nx * ny));
    low + fz * (high - low)
}

/// A smooth factor over the world: `exp` of four long waves.
struct Bias {
    amplitude: f64,
    /// Direction and frequency (radians per mm) and phase of each wave.
    waves: [([f64; 3], f64); 4],
}

impl Bias {
    fn draw(stream: &mut Stream, largest: f64) -> Self {
        /// Shortest and longest wave, mm: longer than a head.
        const WAVES_MM: [f64; 2] = [300.0, 700.0];
        let wave = |stream: &mut Stream| {
            let frequency = TAU / stream.within(WAVES_MM[0], WAVES_MM[1]);
            (stream.direction().map(|v| v * frequency), stream.within(0.0, TAU))
        };
        Self { amplitude: largest * stream.within(0.5, 1.0), waves: std::array::from_fn(|_| wave(stream)) }
    }

    /// The factor at a place of the world and then, without end, `step` further each time, both mm.
    fn along(&self, start: [f64; 3], step: [f64; 3]) -> impl Iterator<Item = f32> {
        let dot = |k: &[f64; 3], p: [f64; 3]| k[0] * p[0] + k[1] * p[1] + k[2] * p[2];
        let mut waves = self.waves.each_ref().map(|(k, phase)| (dot(k, start) + phase).sin_cos());
        let turns = self.waves.each_ref().map(|(k, _)| dot(k, step).sin_cos());
        let scale = self.amplitude / self.waves.len() as f64;
        std::iter::repeat_with(move || {
            let factor = (scale * waves.iter().map(|(sine, _)| sine).sum::<f64>()).exp() as f32;
            // A turn of the wave's angle, by the sine and cosine of a sum: many times as fast as a sine.
            for ((sine, cosine), (turn_sine, turn_cosine)) in waves.iter_mut().zip(&turns) {
                let turned = *sine * turn_cosine + *cosine * turn_sine;
                *cosine = *cosine * turn_cosine - *sine * turn_sine;
                *sine = turned;
            }
            factor
        })
    }
}

/// A lesion and the box of voxels it can be seen in.
struct Placed<'a> {
    lesion: &'a Lesion,
    low: [usize; 3],
    /// One past the last voxel.
    high: [usize; 3],
}

impl<'a> Placed<'a> {
    fn on(lesion: &'a Lesion, grid: &Grid, voxel_to_bravo: &Affine, reach_mm: f64) -> Self {
        let back = voxel_to_bravo.inverse().expect("grids and motions are invertible");
        let centre = back.point(lesion.centre);
        let spacing = grid.spacing_mm();
        let bound = |axis: usize, side: f64| {
            let place = centre[axis] + side * (reach_mm / spacing[axis] + 1.0);
            place.round().clamp(0.0, grid.shape[axis] as f64) as usize
        };
        let low = std::array::from_fn(|axis| bound(axis, -1.0));
        let high = std::array::from_fn(|axis| (bound(axis, 1.0) + 1).min(grid.shape[axis]));
        Self { lesion, low, high }
    }

    fn meets_row(&self, j: usize, k: usize) -> bool {
        (self.low[1]..self.high[1]).contains(&j) && (self.low[2]..self.high[2]).contains(&k)
    }
}

/// The image of one sequence on its native grid: whole numbers, white matter near its drawn gain.
///
/// * `signal`: the sequence's signal on the atlas, white matter = 1.
///
/// # Errors
/// No memory; the stage was asked to stop.
pub fn image(
    scene: &Scene,
    view: &View,
    anatomy: &Anatomy,
    signal: &[f32],
    ctx: &Context,
) -> Result<Image, OperatorError> {
    let grid = view.grid;
    let [nx, ny, _] = grid.shape;
    let brush = Brush::new(scene, view, anatomy, signal);
    let normals = NormalTable::new();
    let mut out = ctx.alloc::<f32>(grid.len())?;
    ctx.fill(&mut out, nx * ny, |k, slice| {
        if ctx.cancelled() {
            return;
        }
        let mut noise = Stream::new(scene.seed, view.sequence.name(), 1 + k as u64);
        let mut places = vec![[0f32; 3]; nx];
        for (j, row) in slice.chunks_mut(nx).enumerate() {
            brush.tissue(j, k, &mut places, row);
            brush.lesions(j, k, &places, row);
            brush.scan(j, k, row, &normals, &mut noise);
        }
    });
    ctx.check_cancelled()?;
    Ok(Image::new(grid, out.freeze())?)
}

/// What paints the rows of one image.
struct Brush<'a> {
    scene: &'a Scene,
    view: &'a View,
    anatomy: &'a Anatomy,
    signal: &'a [f32],
    mapping: Mapping<'a>,
    samples: Vec<[f32; 3]>,
    placed: Vec<Placed<'a>>,
    extents: [Vector3<f64>; 3],
    bias: Bias,
    gain: f32,
}

impl<'a> Brush<'a> {
    fn new(scene: &'a Scene, view: &'a View, anatomy: &'a Anatomy, signal: &'a [f32]) -> Self {
        let view_to_bravo = view.bravo_to_view.inverse().expect("a rigid motion is invertible");
        let voxel_to_bravo = view_to_bravo.after(&view.grid.voxel_to_world);
        let mapping = Mapping { subject: &scene.subject, voxel_to_bravo };
        let edge = |axis: usize| {
            let mut step = [0.0; 3];
            step[axis] = 1.0;
            Vector3::from(voxel_to_bravo.vector(step))
        };
        let place = |lesion: &'a Lesion| Placed::on(lesion, &view.grid, &voxel_to_bravo, lesion.reach_mm());
        let mut stream = Stream::new(scene.seed, view.sequence.name(), 0);
        Self {
            samples: mapping.samples(view.grid.spacing_mm()),
            placed: scene.lesions.iter().map(place).collect(),
            extents: [edge(0), edge(1), edge(2)],
            bias: Bias::draw(&mut stream, scene.bias),
            gain: stream.within(GAIN[0], GAIN[1]) as f32,
            scene,
            view,
            anatomy,
            signal,
            mapping,
        }
    }

    /// The head's signal along a row, white matter = 1; notes the voxels' atlas places.
    fn tissue(&self, j: usize, k: usize, places: &mut [[f32; 3]], row: &mut [f32]) {
        self.mapping.atlas_row(j, k, places);
        let share = 1.0 / self.samples.len() as f32;
        for (place, value) in places.iter().zip(row) {
            let at = |offset: &[f32; 3]| {
                sample(self.signal, [place[0] + offset[0], place[1] + offset[1], place[2] + offset[2]])
            };
            *value = share * self.samples.iter().map(at).sum::<f32>();
        }
    }

    /// Lesions and their oedema over the row.
    fn lesions(&self, j: usize, k: usize, places: &[[f32; 3]], row: &mut [f32]) {
        let number = self.view.sequence as usize;
        for placed in self.placed.iter().filter(|placed| placed.meets_row(j, k)) {
            let lesion = placed.lesion;
            for i in placed.low[0]..placed.high[0] {
                let p = self.mapping.voxel_to_bravo.point([i as f64, j as f64, k as f64]);
                let Shares { lesion: whole, core, oedema } = lesion.shares(p, &self.extents);
                if whole <= 0.0 && oedema <= 0.0 {
                    continue;
                }
                let oedema = oedema as f32 * self.whiteness(places[i]);
                let below = row[i] + oedema * (self.view.sequence.contrast().oedema - row[i]);
                let inside =
                    lesion.enhancing[number] + core as f32 * (lesion.core[number] - lesion.enhancing[number]);
                row[i] = below + whole as f32 * (inside - below);
            }
        }
    }

    /// 1 in white matter, 0 in grey matter, fluid and outside the brain: where oedema spreads.
    fn whiteness(&self, place: [f32; 3]) -> f32 {
        /// T1 intensities between which grey becomes white.
        const FROM_TO: [f32; 2] = [92.0, 104.0];
        let atlas = std::array::from_fn(|axis| f64::from(place[axis]) + ORIGIN_MM[axis]);
        if !self.anatomy.in_brain(atlas) {
            return 0.0;
        }
        let t1 = f32::from(self.anatomy.t1_at(atlas));
        ((t1 - FROM_TO[0]) / (FROM_TO[1] - FROM_TO[0])).clamp(0.0, 1.0)
    }

    /// Bias, gain and noise; rounded as a scanner stores it.
    fn scan(&self, j: usize, k: usize, row: &mut [f32], normals: &NormalTable, noise: &mut Stream) {
        let grid = &self.view.grid;
        let mut knots =
            self.bias.along(grid.world([0, j, k]), grid.voxel_to_world.vector([STRIDE as f64, 0.0, 0.0]));
        let mut knot = || knots.next().expect("a wave has no end");
        let deviation = self.gain / self.scene.snr as f32;
        let mut ends = [0.0, knot()];
        for piece in row.chunks_mut(STRIDE) {
            ends = [ends[1], knot()];
            for (m, value) in piece.iter_mut().enumerate() {
                let factor = ends[0] + m as f32 / STRIDE as f32 * (ends[1] - ends[0]);
                let (real, imaginary) = normals.pair(noise.bits());
                let real = self.gain * factor * *value + deviation * real;
                let imaginary = deviation * imaginary;
                *value = rounded((real * real + imaginary * imaginary).sqrt());
            }
        }
    }
}

/// The nearest whole number, halves upwards, of a number in 0..2^31; faster than a call of the library's.
fn rounded(x: f32) -> f32 {
    let whole = x as i32 as f32;
    whole + f32::from(u8::from(x - whole >= 0.5))
}

/// The brain on a grid of the BRAVO world: voxels at least half in it.
///
/// # Errors
/// No memory.
pub fn brain_mask(
    scene: &Scene,
    grid: Grid,
    anatomy: &Anatomy,
    ctx: &Context,
) -> Result<Mask, OperatorError> {
    let brain: Vec<f32> = anatomy.brain.iter().map(|&v| f32::from(v)).collect();
    let mapping = Mapping { subject: &scene.subject, voxel_to_bravo: grid.voxel_to_world };
    let [nx, ny, _] = grid.shape;
    let mut out = ctx.alloc::<u8>(grid.len())?;
    ctx.fill(&mut out, nx * ny, |k, slice| {
        let mut places = vec![[0f32; 3]; nx];
        for (j, row) in slice.chunks_mut(nx).enumerate() {
            mapping.atlas_row(j, k, &mut places);
            for (place, value) in places.iter().zip(row) {
                *value = u8::from(sample(&brain, *place) >= 0.5);
            }
        }
    });
    Ok(Mask::new(grid, out.freeze())?)
}

/// The lesions on a grid of the BRAVO world, 1 for the first: voxels whose centre lies inside, and always the one at the
/// centroid, so that none is lost between voxels.
///
/// # Errors
/// No memory.
pub fn lesion_labels(scene: &Scene, grid: Grid, ctx: &Context) -> Result<Labels, OperatorError> {
    let mut out = ctx.alloc::<u32>(grid.len())?;
    let world_to_voxel = grid.world_to_voxel().expect("the grid is not flat");
    for (lesion, label) in scene.lesions.iter().zip(1..) {
        let placed = Placed::on(lesion, &grid, &grid.voxel_to_world, lesion.radius_mm);
        for k in placed.low[2]..placed.high[2] {
            for j in placed.low[1]..placed.high[1] {
                for i in placed.low[0]..placed.high[0] {
                    if lesion.contains(grid.world([i, j, k])) {
                        out[grid.offset([i, j, k])] = label;
                    }
                }
            }
        }
        let middle = world_to_voxel.point(lesion.centroid());
        let nearest = |axis: usize| middle[axis].round().clamp(0.0, grid.shape[axis] as f64 - 1.0) as usize;
        out[grid.offset([nearest(0), nearest(1), nearest(2)])] = label;
    }
    Ok(Labels::new(grid, out.freeze())?)
}
