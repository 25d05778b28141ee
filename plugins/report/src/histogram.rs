//! Histograms of the sequences within the brain, before and after normalisation.

use crate::case::Case;
use crate::sample::Sampler;
use crate::scene::Scene;
use crate::tables::number;
use sdk::Image;
use sdk::serde::Serialize;

/// The histograms of one sequence.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct Histograms {
    /// Its name.
    pub name: String,
    /// As registered.
    pub before: Option<Histogram>,
    /// As the network sees it.
    pub after: Option<Histogram>,
}

/// A histogram as an area of [`WIDTH`] x [`HEIGHT`] units.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct Histogram {
    /// Outline of the area, as the path of an SVG.
    pub path: String,
    /// Least intensity.
    pub low: String,
    /// Largest intensity.
    pub high: String,
}

/// Width of the area; one unit a bin.
pub const WIDTH: usize = 64;
/// Height of the fullest bin.
pub const HEIGHT: f64 = 30.0;

/// The share of voxels left out at each end, so that one bright vessel does not press all others together.
const TAIL: f64 = 0.001;

impl Histogram {
    /// Of finite values, which are reordered; `None` without any, or if all are the same.
    pub fn of(values: &mut Vec<f32>) -> Option<Self> {
        values.retain(|value| value.is_finite());
        values.sort_unstable_by(f32::total_cmp);
        let last = values.len().checked_sub(1)?;
        let at = |share: f64| values[(last as f64 * share).round() as usize];
        let (low, high) = (at(TAIL), at(1.0 - TAIL));
        if high <= low {
            return None;
        }
        let mut counts = [0u32; WIDTH];
        for &value in values.iter().filter(|value| (low..=high).contains(*value)) {
            let bin = ((value - low) / (high - low) * WIDTH as f32) as usize;
            counts[bin.min(WIDTH - 1)] += 1;
        }
        let fullest = f64::from(counts.iter().copied().max().unwrap_or(1).max(1));
        let step = |(bin, &count): (usize, &u32)| {
            let y = HEIGHT * (1.0 - f64::from(count) / fullest);
            format!("L{bin} {y:.1}H{}", bin + 1)
        };
        let steps: String = counts.iter().enumerate().map(step).collect();
        let path = format!("M0 {HEIGHT}{steps}V{HEIGHT}Z");
        let text = |value: f32| number(f64::from((value * 100.0).round() / 100.0), "", "");
        Some(Self { path, low: text(low), high: text(high) })
    }
}

/// The histograms of all sequences; those without any are left out.
pub fn histograms(case: &Case, scene: &Scene<'_>) -> Vec<Histograms> {
    let of = |image: &Image| {
        let sampler = Sampler::new(image, scene.grid())?;
        Histogram::of(&mut scene.values(&sampler))
    };
    let mut all: Vec<Histograms> = Vec::new();
    let reference =
        case.backdrop().filter(|image| !case.images.iter().any(|(_, i)| i.voxels() == image.voxels()));
    let before = reference.map(|image| (case.backdrop_name(), image)).into_iter();
    let before = before.chain(case.images.iter().map(|(name, image)| (name.as_str(), image)));
    for (name, image) in before {
        let after = case.normalised.iter().find(|(known, _)| known == name).and_then(|(_, image)| of(image));
        all.push(Histograms { name: name.to_owned(), before: of(image), after });
    }
    all.retain(|histograms| histograms.before.is_some() || histograms.after.is_some());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_bin_is_as_high_as_the_area_and_outliers_do_not_count() {
        let mut values: Vec<f32> = (0..10_000).map(|n| (n % 100) as f32).collect();
        values.extend((0..5000).map(|_| 50.5));
        values.push(1e9);
        values.push(f32::NAN);
        let histogram = Histogram::of(&mut values).unwrap();
        assert_eq!((histogram.low.as_str(), histogram.high.as_str()), ("0", "99"));
        assert!(histogram.path.contains("L32 0.0H33"), "{}", histogram.path);
        assert_eq!(Histogram::of(&mut vec![3.0; 9]), None, "a constant image has no histogram");
        assert_eq!(Histogram::of(&mut Vec::new()), None);
    }
}
