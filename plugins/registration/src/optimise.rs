//! Climbs to the nearest maximum of a smooth function of twelve numbers, of which some may be held.
//!
//! BFGS with a backtracking line search.
//!
//! Source: J. Nocedal and S. Wright, "Numerical Optimization", 2nd edition, 2006, chapters 3 and 6.

use crate::pose::Step;
use nalgebra::SMatrix;

/// The inverse of how a function bends, negative: unit of its arguments squared per unit of its value.
pub type Curvature = SMatrix<f64, 12, 12>;

/// A step must gain at least this share of what the slope promises (Armijo).
const ENOUGH_GAIN: f64 = 1e-4;

/// A step whose gradient falls by less than this, as a share of the two lengths, says nothing about the curvature.
const LEAST_CURVATURE: f64 = 1e-12;

/// A line search gives up after so many halvings.
const MOST_HALVINGS: usize = 12;

/// How a climb goes and when it ends. Lengths are in the unit of the function's arguments.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Length of the first step.
    pub first_step: f64,
    /// No step is longer.
    pub longest_step: f64,
    /// A step this short ends the climb.
    pub shortest_step: f64,
    /// So many steps end the climb.
    pub most_steps: usize,
}

/// Where a climb ended.
#[derive(Clone, Copy, Debug)]
pub struct Climb {
    /// The place.
    pub at: Step,
    /// The function there.
    pub value: f64,
    /// Steps taken.
    pub steps: usize,
    /// Whether it ended because nothing more was to be gained.
    pub converged: bool,
    /// How the function bends there, as far as the climb has seen.
    pub curvature: Option<Curvature>,
}

/// Climbs `function`, which returns value and gradient, from zero.
///
/// `curvature` is what a climb of much the same function saw, if there was one. A value of minus infinity marks places not to go
/// to; zero must not be one.
pub fn climb(
    pace: &Pace,
    curvature: Option<&Curvature>,
    mut function: impl FnMut(&Step) -> (f64, Step),
) -> Climb {
    let mut at = Step::zeros();
    let (mut value, mut gradient) = function(&at);
    let mut curvature = curvature.copied();
    // Length of a step along the slope, where nothing is known of the curvature.
    let mut reach = pace.first_step;
    let ended = |at, value, steps, converged, curvature| Climb { at, value, steps, converged, curvature };
    for steps in 0..pace.most_steps {
        let mut step = direction(curvature.as_ref(), &gradient, reach, pace);
        let promised = gradient.dot(&step);
        let is_short = steps > 0 && curvature.is_some() && step.norm() < pace.shortest_step;
        if is_short || promised.is_nan() || promised <= 0.0 {
            return ended(at, value, steps, true, curvature);
        }
        let first = step.norm();
        let mut share = 1.0;
        let mut found = None;
        for _ in 0..MOST_HALVINGS {
            let (next, slope) = function(&(at + step));
            if next >= value + ENOUGH_GAIN * share * promised {
                found = Some((next, slope));
                break;
            }
            step *= 0.5;
            share *= 0.5;
            if step.norm() < pace.shortest_step {
                break;
            }
        }
        let Some((next, slope)) = found else {
            // The curvature may mislead: try once more along the slope itself before calling it the top.
            if curvature.take().is_some() {
                reach = first;
                continue;
            }
            return ended(at, value, steps, true, curvature);
        };
        curvature = updated(curvature.as_ref(), &step, &(gradient - slope));
        (at, value, gradient) = (at + step, next, slope);
        if step.norm() < pace.shortest_step {
            return ended(at, value, steps + 1, true, curvature);
        }
    }
    ended(at, value, pace.most_steps, false, curvature)
}

fn direction(curvature: Option<&Curvature>, gradient: &Step, reach: f64, pace: &Pace) -> Step {
    let along_slope = || gradient * (reach / gradient.norm());
    let step = curvature.map_or_else(along_slope, |h| h * gradient);
    // Rounding can spoil the curvature: never go downhill.
    let step = if step.dot(gradient) > 0.0 { step } else { along_slope() };
    let length = step.norm();
    if length > pace.longest_step { step * (pace.longest_step / length) } else { step }
}

/// The BFGS update for a step and the fall of the gradient along it; the old matrix where the function bends the wrong way.
fn updated(old: Option<&Curvature>, step: &Step, fall: &Step) -> Option<Curvature> {
    let curvature = step.dot(fall);
    if curvature <= LEAST_CURVATURE * step.norm() * fall.norm() {
        return old.copied();
    }
    let old = old.copied().unwrap_or_else(|| Curvature::identity() * (curvature / fall.norm_squared()));
    let rho = 1.0 / curvature;
    let left = Curvature::identity() - rho * step * fall.transpose();
    Some(left * old * left.transpose() + rho * step * step.transpose())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { first_step: 0.5, longest_step: 2.0, shortest_step: 1e-6, most_steps: 100 };

    /// 1e-5 is ten times the step that ends the climb.
    #[test]
    fn a_stretched_hill_is_climbed_to_its_top() {
        let top = Step::from([1.0, -2.0, 0.5, 3.0, 0.0, -1.0, 0.3, 1.0, -0.7, 0.0, 2.0, 0.1]);
        let steep = Step::from([1.0, 10.0, 0.1, 2.0, 5.0, 0.5, 1.0, 3.0, 0.2, 1.0, 0.7, 8.0]);
        let end = climb(&PACE, None, |at| {
            let off = at - top;
            (-off.component_mul(&off).dot(&steep), -2.0 * off.component_mul(&steep))
        });
        assert!(end.converged && (end.at - top).norm() < 1e-5, "{end:?}");
    }

    /// From the curvature that the first climb left, the same hill takes less than half of its steps.
    #[test]
    fn a_hill_whose_curvature_is_known_is_climbed_at_once() {
        let hill = |top: Step| {
            move |at: &Step| {
                let steep = Step::from_fn(|n, _| 1.0 + n as f64);
                let off = at - top;
                (-off.component_mul(&off).dot(&steep), -2.0 * off.component_mul(&steep))
            }
        };
        let first = climb(&PACE, None, hill(Step::repeat(0.4)));
        let second = climb(&PACE, first.curvature.as_ref(), hill(Step::repeat(-0.3)));
        assert!(second.converged && (second.at - Step::repeat(-0.3)).norm() < 1e-5, "{second:?}");
        assert!(2 * second.steps < first.steps, "{} after {}", second.steps, first.steps);
    }

    #[test]
    fn numbers_without_a_slope_stay_where_they_are() {
        let end = climb(&PACE, None, |at| {
            let mut slope = Step::zeros();
            (slope[0], slope[2]) = (2.0 * (3.0 - at[0]), 4.0 * (1.0 - at[2]));
            (-(3.0 - at[0]).powi(2) - 2.0 * (1.0 - at[2]).powi(2), slope)
        });
        let held = end.at.iter().enumerate().filter(|(n, _)| ![0, 2].contains(n)).all(|(_, x)| *x == 0.0);
        assert!(held && (end.at[0] - 3.0).abs() < 1e-5 && (end.at[2] - 1.0).abs() < 1e-5, "{end:?}");
    }

    #[test]
    fn a_place_of_minus_infinity_is_never_taken() {
        let end = climb(&PACE, None, |at| {
            let value = if at[0] > 1.0 { f64::NEG_INFINITY } else { at[0] };
            let mut slope = Step::zeros();
            slope[0] = 1.0;
            (value, slope)
        });
        assert!(end.at[0] <= 1.0 && end.at[0] > 0.99, "{end:?}");
    }

    #[test]
    fn a_plain_ends_at_once() {
        let end = climb(&PACE, None, |_| (1.0, Step::zeros()));
        assert!(end.converged && end.steps == 0 && end.at == Step::zeros(), "{end:?}");
    }
}
