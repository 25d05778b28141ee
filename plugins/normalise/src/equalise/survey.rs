//! What one pass over a set of intensities tells of it.

/// 1.5 * 2^23: added to a number smaller than [`EXACT`], it leaves the nearest integer in the lowest bits.
pub(super) const ROUND_SHORT: f32 = 12_582_912.0;

/// 2^22: smaller numbers become integers by [`ROUND_SHORT`].
pub(super) const EXACT: f32 = 4_194_304.0;

/// Numbers that are looked at side by side: two vector registers of the oldest machines.
const LANES: usize = 16;

/// Places of a set that are read in turn: memory answers several requests at once, and runs ahead of each. A slice that is in no
/// cache is read in 0.6 of the time that one place takes.
const STREAMS: usize = 4;

/// What one pass tells of a set.
pub(super) struct Survey {
    /// Smallest number; infinite for an empty set.
    pub(super) low: f32,
    /// Largest number; negative infinite for an empty set.
    pub(super) high: f32,
    /// Whether no number is NaN or infinite.
    pub(super) is_finite: bool,
    /// Whether all are whole, as far as those below [`EXACT`] are concerned; no for -0, which no table has.
    pub(super) is_whole: bool,
}

impl Survey {
    pub(super) fn of(set: &[f32]) -> Self {
        surveyed(set)
    }
}

/// A whole number smaller than [`EXACT`] as an integer; faster than a cast, which looks for NaN and limits.
pub(super) fn whole(number: f32) -> i32 {
    (number + ROUND_SHORT).to_bits().cast_signed() - ROUND_SHORT.to_bits().cast_signed()
}

/// What is known of the numbers so far, side by side, so that it becomes vector instructions.
struct Lanes {
    low: [f32; LANES],
    high: [f32; LANES],
    /// NaN once a number is not finite.
    zero: [f32; LANES],
    /// Bits by which numbers differ from whole ones.
    part: [u32; LANES],
}

impl Lanes {
    #[expect(clippy::inline_always, reason = "only as a part of its caller has it the wider vectors")]
    #[inline(always)]
    fn look(&mut self, numbers: &[f32; LANES]) {
        for ((low, high), &v) in self.low.iter_mut().zip(&mut self.high).zip(numbers) {
            *low = if v < *low { v } else { *low };
            *high = if v > *high { v } else { *high };
        }
        for (part, &v) in self.part.iter_mut().zip(numbers) {
            *part |= ((v + ROUND_SHORT) - ROUND_SHORT).to_bits() ^ v.to_bits();
        }
        // 0 times a finite number is 0, and NaN otherwise, which stays.
        for (zero, &v) in self.zero.iter_mut().zip(numbers) {
            *zero += 0.0 * v;
        }
    }
}

/// Wider vectors where the processor has them; the same result, since each number is looked at by itself.
#[multiversion::multiversion(targets("x86_64+avx2"))]
fn surveyed(set: &[f32]) -> Survey {
    let mut seen = Lanes {
        low: [f32::INFINITY; LANES],
        high: [f32::NEG_INFINITY; LANES],
        zero: [0.0; LANES],
        part: [0; LANES],
    };
    let (chunks, rest) = set.as_chunks::<LANES>();
    let share = chunks.len() / STREAMS;
    let (streams, more) = chunks.split_at(STREAMS * share);
    for n in 0..share {
        for stream in 0..STREAMS {
            seen.look(&streams[stream * share + n]);
        }
    }
    // Numbers that are there already change nothing.
    let last = rest.first().map(|first| {
        let mut last = [*first; LANES];
        last[..rest.len()].copy_from_slice(rest);
        last
    });
    for chunk in more.iter().chain(&last) {
        seen.look(chunk);
    }
    Survey {
        low: seen.low.into_iter().fold(f32::INFINITY, f32::min),
        high: seen.high.into_iter().fold(f32::NEG_INFINITY, f32::max),
        is_finite: !seen.zero.iter().any(|zero| zero.is_nan()),
        is_whole: seen.part.iter().all(|&bits| bits == 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sets of every length up to some turns, the number that matters at each place.
    #[test]
    fn no_number_is_passed_over() {
        for length in 1..3 * STREAMS * LANES + 2 {
            for place in 0..length {
                let with = |number: f32| {
                    let mut set: Vec<f32> = (0..length).map(|n| (n % 7) as f32).collect();
                    set[place] = number;
                    Survey::of(&set)
                };
                assert_eq!(with(-5.0).low, -5.0, "{place} of {length}");
                assert_eq!(with(9.0).high, 9.0, "{place} of {length}");
                assert!(with(9.0).is_whole && !with(0.5).is_whole, "{place} of {length}");
                assert!(with(0.5).is_finite && !with(f32::NAN).is_finite, "{place} of {length}");
                assert!(!with(f32::INFINITY).is_finite, "{place} of {length}");
            }
        }
    }

    #[test]
    fn an_empty_set_has_no_smallest_and_no_largest() {
        let Survey { low, high, is_finite, .. } = Survey::of(&[]);
        assert!(low == f32::INFINITY && high == f32::NEG_INFINITY && is_finite);
    }
}
