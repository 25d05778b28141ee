//! Discrete Fourier transform of a power of two of complex numbers.
//!
//! Source: J. Cooley, J. Tukey, Math. Comput. 19, 1965 (radix 2, decimation in time).

use std::f64::consts::TAU;

/// A complex number.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Complex {
    pub(super) re: f64,
    pub(super) im: f64,
}

impl Complex {
    pub(super) fn scaled(self, by: f64) -> Self {
        Self { re: self.re * by, im: self.im * by }
    }

    fn times(self, other: Self) -> Self {
        Self { re: self.re * other.re - self.im * other.im, im: self.re * other.im + self.im * other.re }
    }
}

/// Transforms of one size.
#[derive(Debug)]
pub(super) struct Fourier {
    /// `exp(-2 pi i n / size)` for `n` below half the size.
    turns: Vec<Complex>,
}

impl Fourier {
    /// * `size`: a power of two, at least 2.
    pub(super) fn of_size(size: usize) -> Self {
        let turn = |n: usize| {
            let (sin, cos) = (-TAU * n as f64 / size as f64).sin_cos();
            Complex { re: cos, im: sin }
        };
        Self { turns: (0..size / 2).map(turn).collect() }
    }

    pub(super) fn size(&self) -> usize {
        2 * self.turns.len()
    }

    /// `sum over m of numbers[m] exp(-2 pi i m n / size)` in the place of `numbers[n]`.
    pub(super) fn forward(&self, numbers: &mut [Complex]) {
        let size = self.size();
        let bits = size.trailing_zeros();
        for n in 0..size {
            let mirrored = n.reverse_bits() >> (usize::BITS - bits);
            if n < mirrored {
                numbers.swap(n, mirrored);
            }
        }
        let mut half = 1;
        while half < size {
            let stride = size / (2 * half);
            for block in numbers.chunks_exact_mut(2 * half) {
                let (low, high) = block.split_at_mut(half);
                for ((a, b), &turn) in low.iter_mut().zip(high).zip(self.turns.iter().step_by(stride)) {
                    let turned = b.times(turn);
                    *b = Complex { re: a.re - turned.re, im: a.im - turned.im };
                    *a = Complex { re: a.re + turned.re, im: a.im + turned.im };
                }
            }
            half *= 2;
        }
    }

    /// Undoes [`Fourier::forward`].
    pub(super) fn backward(&self, numbers: &mut [Complex]) {
        self.forward(numbers);
        let size = self.size();
        numbers[1..].reverse();
        for number in numbers {
            *number = number.scaled(1.0 / size as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transform_is_the_sum_that_defines_it_and_is_undone() {
        let size = 16;
        let fourier = Fourier::of_size(size);
        let numbers: Vec<Complex> =
            (0..size).map(|n| Complex { re: (n * n % 7) as f64, im: (n % 3) as f64 - 1.0 }).collect();
        let mut found = numbers.clone();
        fourier.forward(&mut found);
        for (n, found) in found.iter().enumerate() {
            let mut sum = Complex::default();
            for (m, number) in numbers.iter().enumerate() {
                let (sin, cos) = (-TAU * (m * n) as f64 / size as f64).sin_cos();
                let term = number.times(Complex { re: cos, im: sin });
                sum = Complex { re: sum.re + term.re, im: sum.im + term.im };
            }
            // Sums of 16 numbers of size 5, in f64.
            assert!((sum.re - found.re).abs() < 1e-12 && (sum.im - found.im).abs() < 1e-12, "{n}");
        }
        fourier.backward(&mut found);
        assert!(found.iter().zip(&numbers).all(|(a, b)| (a.re - b.re).abs() + (a.im - b.im).abs() < 1e-13));
    }
}
