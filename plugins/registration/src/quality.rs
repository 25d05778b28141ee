//! How good a registration is, in words and numbers.

use crate::rigid::Registration;
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
            overlap: registration.after.overlap,
            iterations: registration.steps,
            warnings: warnings(registration, fixed),
        }
    }

    /// As a table of one row.
    pub fn table(&self) -> Table {
        let about = "of the rotation about the middle of the fixed grid; x, then y, then z";
        let shift = "of the middle of the fixed grid";
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
            Column::new("overlap", "", "shared volume as a share of the smaller image, 0 to 1"),
            Column::new("iterations", "", "steps of the climbs that led to the result"),
            Column::new("warnings", "", "what a reader should know"),
        ]);
        let [ax, ay, az] = self.angles_deg;
        let [x, y, z] = self.shift_mm;
        let warnings = (!self.warnings.is_empty()).then(|| self.warnings.join("; "));
        let mut row: Vec<Cell> = vec![self.metric_before.into()];
        row.extend([self.metric_after, ax, ay, az, x, y, z, self.overlap].map(Cell::from));
        row.extend([self.iterations.into(), warnings.into()]);
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
    let shift_mm = registration.shift_mm(fixed.centre_world());
    if shift_mm > USUAL_SHIFT_MM {
        warnings.push(format!(
            "registration: a shift of {shift_mm:.0} mm is unusual; do both show the same head?"
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
