//! How good a registration is, in words and numbers.

use crate::align::Registration;
use crate::start::REACH_DEG;
use sdk::geometry::Grid;
use sdk::{Cell, Column, Table};

/// Less shared information than this, in `NMI - 1`, is hardly more than chance: unlike heads still share their outline.
const LEAST_INFORMATION: f64 = 0.02;

/// Less shared volume than this, as a share of the smaller image, is unusual: an axial and a sagittal box of one head share 0.7.
const USUAL_OVERLAP: f64 = 0.5;

/// A runner-up this near to the winner's information makes the result a guess.
const CLOSE_RUNNER_UP: f64 = 0.97;

/// Shifts beyond this, mm, are more than a table move between sequences.
const USUAL_SHIFT_MM: f64 = 80.0;

/// A registration's figures.
#[derive(Clone, Debug)]
pub struct Quality {
    /// Metric with the headers as they are; `None` without overlap.
    pub metric_before: Option<f64>,
    /// Metric in the end, 1..=2.
    pub metric_after: f64,
    /// Angles about x, y and z, degrees.
    pub angles_deg: [f64; 3],
    /// Shift of the fixed grid's middle, mm.
    pub shift_mm: [f64; 3],
    /// Factors along the fixed world's x, y and z; 1 of a rigid registration.
    pub scale: [f64; 3],
    /// Shears of x by y, of x by z, and of y by z; 0 of a rigid registration.
    pub shear: [f64; 3],
    /// Shared volume as a share of the smaller image, 0..=1.
    pub overlap: f64,
    /// Steps of all climbs that led to the result.
    pub iterations: usize,
    /// What a reader of the result should know.
    pub warnings: Vec<String>,
}

impl Quality {
    /// The figures of a registration whose fixed image lies on `fixed`.
    pub fn of(registration: &Registration, fixed: &Grid) -> Self {
        let (angles_rad, shift_mm) = registration.angles_and_shift(fixed.centre_world());
        Self {
            metric_before: registration.before.map(|measure| measure.nmi),
            metric_after: registration.after.nmi,
            angles_deg: angles_rad.map(f64::to_degrees),
            shift_mm,
            scale: registration.fixed_to_moving.scale.into(),
            shear: registration.fixed_to_moving.shear.into(),
            overlap: registration.after.overlap,
            iterations: registration.steps,
            warnings: warnings(registration, fixed),
        }
    }

    /// As a table of one row.
    pub fn table(&self) -> Table {
        let about = "of the rotation about the middle of the fixed grid; x, then y, then z";
        let shift = "of the middle of the fixed grid";
        let scale = "factor along this axis of the fixed world, before the rotation";
        let shear =
            "mm along the first axis of the fixed world for each mm along the second, before the factors";
        let mut table = Table::new(vec![
            Column::new(
                "metric_before",
                "",
                "normalised mutual information with the headers as they are, 1 to 2",
            ),
            Column::new("metric_after", "", "normalised mutual information in the end, 1 to 2"),
            Column::new("rotation_x_deg", "deg", about),
            Column::new("rotation_y_deg", "deg", about),
            Column::new("rotation_z_deg", "deg", about),
            Column::new("shift_x_mm", "mm", shift),
            Column::new("shift_y_mm", "mm", shift),
            Column::new("shift_z_mm", "mm", shift),
            Column::new("scale_x", "", scale),
            Column::new("scale_y", "", scale),
            Column::new("scale_z", "", scale),
            Column::new("shear_xy", "", shear),
            Column::new("shear_xz", "", shear),
            Column::new("shear_yz", "", shear),
            Column::new("overlap", "", "shared volume as a share of the smaller image, 0 to 1"),
            Column::new("iterations", "", "steps of the climbs that led to the result"),
            Column::new("warnings", "", "what a reader should know"),
        ]);
        let [ax, ay, az] = self.angles_deg;
        let [x, y, z] = self.shift_mm;
        let warnings = (!self.warnings.is_empty()).then(|| self.warnings.join("; "));
        let mut row: Vec<Cell> = vec![self.metric_before.into()];
        row.extend([self.metric_after, ax, ay, az, x, y, z].map(Cell::from));
        row.extend(self.scale.into_iter().chain(self.shear).map(Cell::from));
        row.extend([self.overlap.into(), self.iterations.into(), warnings.into()]);
        table.rows.push(row);
        table
    }
}

fn warnings(registration: &Registration, fixed: &Grid) -> Vec<String> {
    let mut warnings = Vec::new();
    let after = registration.after;
    if after.nmi - 1.0 < LEAST_INFORMATION {
        let nmi = after.nmi;
        warnings.push(format!(
            "registration: the images share hardly any information (metric {nmi:.3} of 1 to 2)"
        ));
    }
    if after.overlap < USUAL_OVERLAP {
        let percent = 100.0 * after.overlap;
        warnings
            .push(format!("registration: only {percent:.0} % of the smaller image lies within the other"));
    }
    let angle_deg = registration.angle_rad().to_degrees();
    if angle_deg > REACH_DEG {
        warnings
            .push(format!("registration: a rotation of {angle_deg:.0} degrees is at the edge of the search"));
    }
    let shift_mm = registration.shift_mm(fixed);
    if shift_mm > USUAL_SHIFT_MM {
        warnings.push(format!(
            "registration: a shift of {shift_mm:.0} mm is unusual; do both show the same head?"
        ));
    }
    if registration.fixed_to_moving.is_at_limit() {
        let [x, y, z] = <[f64; 3]>::from(registration.fixed_to_moving.scale);
        warnings.push(format!(
            "registration: size or shear is at its limit (factors {x:.2}, {y:.2}, {z:.2}); do both show a whole head?"
        ));
    }
    if let Some(other) = registration.runner_up.filter(|other| other.share > CLOSE_RUNNER_UP) {
        let mm = other.distance_mm;
        warnings
            .push(format!("registration: a place {mm:.0} mm away fits nearly as well; look at the result"));
    }
    if !registration.converged {
        warnings.push("registration: it was still improving when it reached its last step".to_owned());
    }
    warnings
}
