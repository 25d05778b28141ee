//! The histogram of an image whose blur by the bias field is undone, and what each intensity then is expected to be.
//!
//! The log intensities' histogram is taken as the true one convolved with the Gaussian distribution of the log field. A
//! Wiener filter takes the Gaussian out (`U`), and the mean true intensity `u` at each intensity `v` that was measured is
//! `E(u|v) = ((u U) * G)(v) / (U * G)(v)`.
//!
//! Source: J. Sled, A. Zijdenbos, A. Evans, IEEE Trans. Med. Imaging 17(1), 1998, equations 9 to 12.

use super::fourier::{Complex, Fourier};
use std::f64::consts::{LN_2, PI};

/// What the sharpening needs to know beside the histogram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sharpening {
    /// Full width at half maximum of the log field's distribution.
    pub(super) fwhm: f64,
    /// Noise term of the Wiener filter.
    pub(super) noise: f64,
}

/// Equally spaced bin centres from the lowest to the highest log intensity.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bins {
    pub(super) low: f64,
    /// Distance of the centres; above 0.
    pub(super) width: f64,
    pub(super) count: usize,
}

impl Bins {
    /// `None` if all intensities are equal.
    pub(super) fn over([low, high]: [f64; 2], count: usize) -> Option<Self> {
        let width = (high - low) / (count - 1) as f64;
        // Below this the place of a bin is lost in the rounding of the f32 intensities.
        (width > f64::from(f32::EPSILON) * high.abs().max(low.abs()).max(1.0)).then_some(Self {
            low,
            width,
            count,
        })
    }

    /// Lower centre of the pair around an intensity, and the share of the upper one.
    fn place(&self, value: f32) -> (usize, f64) {
        let place = ((f64::from(value) - self.low) / self.width).clamp(0.0, (self.count - 1) as f64);
        let lower = (place as usize).min(self.count - 2);
        (lower, place - lower as f64)
    }

    /// Adds each intensity to the two bins around it, by nearness.
    pub(super) fn add(&self, values: &[f32], counts: &mut [f64]) {
        for &value in values {
            let (lower, share) = self.place(value);
            counts[lower] += 1.0 - share;
            counts[lower + 1] += share;
        }
    }
}

/// The expected true log intensity for every one that was measured.
#[derive(Debug)]
pub(super) struct Expected {
    bins: Bins,
    at_centres: Vec<f64>,
}

impl Expected {
    /// Linear between the bins' centres.
    pub(super) fn at(&self, value: f32) -> f64 {
        let (lower, share) = self.bins.place(value);
        let [a, b] = [self.at_centres[lower], self.at_centres[lower + 1]];
        a + (b - a) * share
    }
}

impl Sharpening {
    /// * `counts`: `[bins.count]`.
    pub(super) fn expected(&self, bins: Bins, counts: &[f64]) -> Expected {
        // Twice the next power of two: what is spread beyond the ends must not come in again on the other side.
        let size = 2 * bins.count.next_power_of_two();
        let start = (size - bins.count) / 2;
        let fourier = Fourier::of_size(size);
        let blur = self.blur(bins.width, &fourier);
        let mut spectrum = vec![Complex::default(); size];
        for (at, &count) in spectrum[start..].iter_mut().zip(counts) {
            at.re = count;
        }
        fourier.forward(&mut spectrum);
        for (at, blur) in spectrum.iter_mut().zip(&blur) {
            *at = at.scaled(blur / (blur * blur + self.noise));
        }
        fourier.backward(&mut spectrum);
        let mut below = vec![Complex::default(); size];
        let mut above = below.clone();
        for (n, at) in spectrum.iter().enumerate() {
            let density = at.re.max(0.0);
            let intensity = bins.low + (n as f64 - start as f64) * bins.width;
            (below[n].re, above[n].re) = (density, density * intensity);
        }
        for spread in [&mut below, &mut above] {
            fourier.forward(spread);
            for (at, blur) in spread.iter_mut().zip(&blur) {
                *at = at.scaled(*blur);
            }
            fourier.backward(spread);
        }
        let ratio = |n: usize| if below[n].re == 0.0 { 0.0 } else { above[n].re / below[n].re };
        Expected { bins, at_centres: (start..start + bins.count).map(ratio).collect() }
    }

    /// Spectrum of the Gaussian; real, as it is even.
    fn blur(&self, bin_width: f64, fourier: &Fourier) -> Vec<f64> {
        let fwhm_bins = self.fwhm / bin_width;
        let peak = 2.0 * (LN_2 / PI).sqrt() / fwhm_bins;
        let size = fourier.size();
        let mut gaussian: Vec<Complex> = (0..size)
            .map(|n| {
                let distance = n.min(size - n) as f64 / fwhm_bins;
                Complex { re: peak * (-4.0 * LN_2 * distance * distance).exp(), im: 0.0 }
            })
            .collect();
        fourier.forward(&mut gaussian);
        gaussian.into_iter().map(|at| at.re).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two sharp peaks, blurred by the very Gaussian that is taken out: what lies around a peak is expected at the peak.
    #[test]
    fn intensities_around_a_peak_are_expected_on_it() {
        let bins = Bins { low: 0.0, width: 0.01, count: 200 };
        let bell = |n: usize, at: f64| (-4.0 * LN_2 * ((n as f64 - at) / 15.0).powi(2)).exp();
        let counts: Vec<f64> = (0..200).map(|n| bell(n, 60.0) + 2.0 * bell(n, 140.0)).collect();
        let expected = Sharpening { fwhm: 0.15, noise: 0.01 }.expected(bins, &counts);
        for (value, peak) in [(0.55, 0.6), (0.6, 0.6), (0.65, 0.6), (1.35, 1.4), (1.4, 1.4), (1.45, 1.4)] {
            let found = expected.at(value);
            // A third of the distance from the peak remains: the filter's noise term keeps the estimate blurred.
            assert!((found - peak).abs() < 0.02, "{value} is expected at {found}");
        }
    }

    #[test]
    fn every_intensity_adds_1_to_the_histogram() {
        let bins = Bins::over([1.0, 5.0], 9).unwrap();
        let mut counts = vec![0.0; 9];
        bins.add(&[1.0, 5.0, 2.25, 3.0], &mut counts);
        assert_eq!(counts, [1.0, 0.0, 0.5, 0.5, 1.0, 0.0, 0.0, 0.0, 1.0]);
        assert!(Bins::over([3.0, 3.0], 9).is_none());
    }
}
