//! Random numbers that do not depend on the order in which they are asked for.
//!
//! Each use has its own stream, named by seed, purpose and index (a slice, a lesion), so that neither threads nor a new
//! use elsewhere changes what another draws.
//!
//! Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014 (`SplitMix64`).

use std::f64::consts::TAU;

/// The golden ratio's odd 64-bit fraction.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// FNV-1a's offset basis and prime, 64 bit.
const FNV: (u64, u64) = (0xCBF2_9CE4_8422_2325, 0x0000_0100_0000_01B3);

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// One sequence of random numbers.
#[derive(Clone, Debug)]
pub struct Stream {
    state: u64,
}

impl Stream {
    /// The stream of this seed, purpose and index.
    pub fn new(seed: u64, purpose: &str, index: u64) -> Self {
        let name = purpose.bytes().fold(FNV.0, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(FNV.1));
        let state = mix(mix(seed.wrapping_mul(GOLDEN) ^ name).wrapping_add(index.wrapping_mul(GOLDEN)));
        Self { state }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        mix(self.state)
    }

    /// Even in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Even in `[low, high)`.
    pub fn within(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Three numbers, each even in `[-limit, limit)`.
    pub fn triple(&mut self, limit: f64) -> [f64; 3] {
        std::array::from_fn(|_| self.within(-limit, limit))
    }

    /// Normal with mean 0 and standard deviation 1.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (TAU * self.unit()).cos()
    }

    /// A point on the unit sphere.
    pub fn direction(&mut self) -> [f64; 3] {
        let z = self.within(-1.0, 1.0);
        let angle = self.within(0.0, TAU);
        let ring = (1.0 - z * z).sqrt();
        [ring * angle.cos(), ring * angle.sin(), z]
    }
}

/// Evenly spread quantiles of the normal distribution: one look-up makes one number for an image's noise.
///
/// 4096 of them reach to 3.7 standard deviations; the steps between are far below the noise itself.
#[derive(Debug)]
pub struct NormalTable(Box<[f32; NormalTable::ENTRIES]>);

impl NormalTable {
    /// Bits that choose an entry.
    const BITS: u32 = 12;
    /// How many there are: known when compiled, so that a look-up needs no look at the bounds.
    const ENTRIES: usize = 1 << Self::BITS;

    /// Integrates the normal density and notes where it passes the quantiles; scaled to a standard deviation of 1.
    pub fn new() -> Self {
        const STEP: f64 = 1e-4;
        let count = Self::ENTRIES;
        let mut table = Vec::with_capacity(count);
        let (mut x, mut below) = (-6.0f64, 0.0f64);
        while table.len() < count {
            x += STEP;
            below += (-0.5 * x * x).exp() / TAU.sqrt() * STEP;
            while table.len() < count && below >= (table.len() as f64 + 0.5) / count as f64 {
                table.push(x);
            }
        }
        let scale = (table.iter().map(|x| x * x).sum::<f64>() / count as f64).sqrt();
        Self(Box::new(std::array::from_fn(|n| (table[n] / scale) as f32)))
    }

    /// Two independent normal numbers from 64 random bits.
    pub fn pair(&self, bits: u64) -> (f32, f32) {
        let entry = |shift: u32| self.0[(bits >> shift) as usize & (Self::ENTRIES - 1)];
        (entry(52), entry(40))
    }
}

impl Default for NormalTable {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_other_purposes_and_indices_differ() {
        let first = |seed, purpose, index| Stream::new(seed, purpose, index).bits();
        let all = [first(1, "a", 0), first(1, "b", 0), first(1, "a", 1), first(2, "a", 0)];
        assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), 4, "{all:?}");
        assert_eq!(first(1, "a", 0), all[0]);
    }

    /// Mean 0 and standard deviation 1 within five standard errors of 100 000 draws (0.016 and 0.011).
    #[test]
    fn both_normal_sources_have_mean_0_and_deviation_1() {
        let table = NormalTable::new();
        let mut stream = Stream::new(7, "test", 0);
        let from_table: Vec<f64> = (0..100_000).map(|_| f64::from(table.pair(stream.bits()).0)).collect();
        let direct: Vec<f64> = (0..100_000).map(|_| stream.normal()).collect();
        for draws in [from_table, direct] {
            let n = draws.len() as f64;
            let mean = draws.iter().sum::<f64>() / n;
            let deviation = (draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt();
            assert!(mean.abs() < 0.016, "mean {mean}");
            assert!((deviation - 1.0).abs() < 0.011, "deviation {deviation}");
        }
    }
}
