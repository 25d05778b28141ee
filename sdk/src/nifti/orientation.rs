//! Affines from header fields, and the quaternion a header wants.
//!
//! Source: nifti1.h, "3D IMAGE (VOLUME) ORIENTATION AND LOCATION IN SPACE", methods 1 to 3.

use super::error::NiftiError;
use super::header::Fields;
use crate::geometry::{Affine, Grid};
use nalgebra::{Matrix3, Quaternion, Rotation3, UnitQuaternion, Vector3};
use std::path::Path;

/// Cosine between two axes from which a grid counts as sheared: a quarter of a millimetre over a head of 250 mm.
const SHEAR_COSINE: f64 = 1e-3;

/// Smallest share of a box's volume that its voxel may have: below, the axes lie in one plane to rounding.
const FLAT_SHARE: f64 = 1e-6;

/// How far the squared length of a quaternion's vector part may exceed 1: three roundings of f32, as in nibabel.
const QUATERNION_SLACK: f64 = 3.0 * f32::EPSILON as f64;

/// Voxels along an axis of a whole head, at which the error of a turn is judged.
const HEAD_VOXELS: usize = 256;

/// An affine in mm, and which fields it is from.
pub(super) struct Placed {
    pub(super) affine: Affine,
    pub(super) form: &'static str,
}

/// The grid's affine: sform, else qform, else spacing.
///
/// * `unit_mm`: the header's unit of length.
pub(super) fn place(
    fields: &Fields,
    shape: [usize; 3],
    unit_mm: f64,
    path: &Path,
    warnings: &mut Vec<String>,
) -> Result<Placed, NiftiError> {
    let fail = |form, problem| NiftiError::Affine { path: path.to_owned(), form, problem };
    let (form, affine) = if fields.sform_code > 0 {
        ("sform", Affine::from_rows(fields.srow))
    } else {
        let spacing = spacing(fields, warnings).map_err(|problem| fail("spacing", problem))?;
        if fields.qform_code > 0 {
            let q = Qform { vector: fields.quatern, offset: fields.qoffset, spacing, qfac: qfac(fields) };
            ("qform", q.affine().map_err(|problem| fail("qform", problem))?)
        } else {
            let [nx, ny, nz] = shape.map(|n| (n as f64 - 1.0) / 2.0);
            let [x, y, z] = spacing;
            warnings.push(
                "the header has no orientation (sform_code and qform_code are 0): left and right are a guess"
                    .to_owned(),
            );
            ("spacing", Affine::scale_shift([-x, y, z], [x * nx, -y * ny, -z * nz]))
        }
    };
    let affine = Affine::scale_shift([unit_mm; 3], [0.0; 3]).after(&affine);
    check(&affine).map_err(|problem| fail(form, problem))?;
    let cosine = shear_cosine(&affine);
    if cosine > SHEAR_COSINE {
        let degrees = 90.0 - cosine.min(1.0).acos().to_degrees();
        warnings
            .push(format!("the {form} is sheared: two axes are {degrees:.2} degrees off the right angle"));
    }
    if form == "sform" && fields.qform_code == fields.sform_code {
        compare_forms(fields, &Grid::new(shape, affine), unit_mm, warnings);
    }
    Ok(Placed { affine, form })
}

/// Warns if the qform puts the grid elsewhere although both forms claim the same space.
fn compare_forms(fields: &Fields, grid: &Grid, unit_mm: f64, warnings: &mut Vec<String>) {
    let spacing: [f64; 3] = std::array::from_fn(|axis| fields.pixdim[axis + 1].abs());
    let qform = Qform { vector: fields.quatern, offset: fields.qoffset, spacing, qfac: qfac(fields) };
    let scale = Affine::scale_shift([unit_mm; 3], [0.0; 3]);
    let Ok(other) = qform.affine().map(|affine| Grid::new(grid.shape, scale.after(&affine))) else {
        warnings.push("the qform is no rotation; the sform is used".to_owned());
        return;
    };
    if !grid.matches(&other) {
        let apart = grid.corner_distance_mm(&other);
        warnings.push(format!("sform and qform differ by {apart:.3} mm at a corner; the sform is used"));
    }
}

/// Spacing in the header's unit. As in nibabel a sign is dropped and 0 counts as 1, both with a warning.
fn spacing(fields: &Fields, warnings: &mut Vec<String>) -> Result<[f64; 3], String> {
    let mut spacing = [1.0; 3];
    for (axis, length) in spacing.iter_mut().enumerate() {
        let found = fields.pixdim[axis + 1];
        if !found.is_finite() {
            return Err(format!("is {found} along axis {axis}"));
        }
        if found > 0.0 {
            *length = found;
            continue;
        }
        *length = if found == 0.0 { 1.0 } else { -found };
        let dim = fields.dim[axis + 1];
        if found < 0.0 || (axis < fields.dim[0] as usize && dim > 1) {
            warnings.push(format!("`pixdim[{}]` is {found}; taken as {length}", axis + 1));
        }
    }
    Ok(spacing)
}

/// Handedness: -1 or 1; 0 counts as 1.
fn qfac(fields: &Fields) -> f64 {
    if fields.pixdim[0] < 0.0 { -1.0 } else { 1.0 }
}

fn check(affine: &Affine) -> Result<(), String> {
    if let Some(bad) = affine.rows().into_iter().flatten().find(|value| !value.is_finite()) {
        return Err(format!("holds {bad}"));
    }
    let linear = affine.linear();
    let product: f64 = (0..3).map(|axis| linear.column(axis).norm()).product();
    if product > 0.0 && linear.determinant().abs() >= FLAT_SHARE * product && affine.is_usable() {
        return Ok(());
    }
    Err("is flat: its three axes span no volume".to_owned())
}

/// Largest cosine between two of the grid's axes.
fn shear_cosine(affine: &Affine) -> f64 {
    let linear = affine.linear();
    let axis = |n: usize| linear.column(n).normalize();
    [(0, 1), (0, 2), (1, 2)].into_iter().map(|(a, b)| axis(a).dot(&axis(b)).abs()).fold(0.0, f64::max)
}

/// The fields of a qform.
#[derive(Clone, Copy, Debug)]
pub(super) struct Qform {
    /// `quatern_b`, `quatern_c`, `quatern_d`.
    pub(super) vector: [f64; 3],
    /// `qoffset_x`, `qoffset_y`, `qoffset_z`.
    pub(super) offset: [f64; 3],
    /// `pixdim[1..=3]`.
    pub(super) spacing: [f64; 3],
    /// `pixdim[0]`: -1 or 1.
    pub(super) qfac: f64,
}

impl Qform {
    /// The affine: rotation times spacing, the third axis mirrored if `qfac` is -1.
    fn affine(&self) -> Result<Affine, String> {
        let [b, c, d] = self.vector;
        let rest = 1.0 - (b * b + c * c + d * d);
        if rest.is_nan() || rest < -QUATERNION_SLACK {
            return Err(format!("has the quaternion ({b}, {c}, {d}), longer than 1"));
        }
        let rotation = UnitQuaternion::from_quaternion(Quaternion::new(rest.max(0.0).sqrt(), b, c, d));
        let [x, y, z] = self.spacing;
        let scale = Matrix3::from_diagonal(&Vector3::new(x, y, z * self.qfac));
        Ok(Affine::from_parts(&(rotation.to_rotation_matrix().matrix() * scale), self.offset))
    }

    /// The qform of a grid, all fields rounded to f32; `None` if it has none within a hundredth of a voxel, being sheared.
    pub(super) fn of(grid: &Grid) -> Option<Self> {
        let spacing = grid.spacing_mm();
        let qfac = if grid.voxel_to_world.determinant() < 0.0 { -1.0 } else { 1.0 };
        let mut axes = grid.voxel_to_world.linear();
        let [x, y, z] = spacing;
        for (axis, length) in [x, y, z * qfac].into_iter().enumerate() {
            axes.column_mut(axis).unscale_mut(length);
        }
        let turn = UnitQuaternion::from_rotation_matrix(&Rotation3::from_matrix_unchecked(axes));
        let sign = if turn.w < 0.0 { -1.0 } else { 1.0 };
        let rounded = |value: f64| f64::from(value as f32);
        let offset = grid.voxel_to_world.offset().map(rounded);
        // Measured over a whole head, so that a crop of a volume gets the same turn.
        let large = Grid::new(grid.shape.map(|n| n.max(HEAD_VOXELS)), grid.voxel_to_world);
        let mut best: Option<(f64, Affine, Self)> = None;
        for vector in candidates(turn.w.abs(), [turn.i * sign, turn.j * sign, turn.k * sign]) {
            let qform = Self { vector, offset, spacing: spacing.map(rounded), qfac };
            let Ok(affine) = qform.affine() else { continue };
            let apart = large.corner_distance_mm(&Grid::new(large.shape, affine));
            if best.as_ref().is_none_or(|(smallest, ..)| apart < *smallest) {
                best = Some((apart, affine, qform));
            }
        }
        best.filter(|(_, affine, _)| grid.matches(&Grid::new(grid.shape, *affine))).map(|(_, _, qform)| qform)
    }
}

/// Vector parts in f32 that a reader may turn back into the unit quaternion `(w, exact)`, the plain rounding first.
///
/// The header drops `w`, which a reader gets back as `sqrt(1 - b^2 - c^2 - d^2)`: close to half a turn the rounding of the
/// three moves a corner by tenths of a millimetre. So the largest of them is rounded up and down as well, and the other two
/// are stretched so that the length is right again.
fn candidates(w: f64, exact: [f64; 3]) -> Vec<[f64; 3]> {
    const STEPS: [i32; 5] = [0, -1, 1, -2, 2];
    let largest = (0..3).max_by(|&a, &b| exact[a].abs().total_cmp(&exact[b].abs())).expect("three numbers");
    let [first, second] = [(largest + 1) % 3, (largest + 2) % 3];
    let others = exact[first].powi(2) + exact[second].powi(2);
    let mut vectors = Vec::new();
    for step in STEPS {
        let top = neighbour(exact[largest] as f32, step);
        let stretch = ((1.0 - w * w - top * top) / others).sqrt();
        for stretch in [1.0, stretch].into_iter().filter(|stretch| stretch.is_finite()) {
            for (a, b) in STEPS.into_iter().flat_map(|a| STEPS.map(|b| (a, b))) {
                let mut vector = [top; 3];
                vector[first] = neighbour((exact[first] * stretch) as f32, a);
                vector[second] = neighbour((exact[second] * stretch) as f32, b);
                vectors.push(vector);
            }
        }
    }
    vectors
}

/// The number `steps` roundings away from `value`; 0 has no neighbours, so that a plain header stays plain.
fn neighbour(value: f32, steps: i32) -> f64 {
    let mut value = value;
    for _ in 0..steps.abs() {
        if value != 0.0 {
            value = if steps > 0 { value.next_up() } else { value.next_down() };
        }
    }
    value.into()
}
