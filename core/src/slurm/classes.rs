//! What a case asks for, in the classes of the site.

use super::site::SlurmSite;
use serde::{Deserialize, Serialize};

/// Share of a task's memory that the run in it plans with; the rest is the engine's and the libraries'.
const USABLE: f64 = 0.85;
/// The engine, its plugins and what a file that is read takes beside the stages, in MiB.
const ENGINE_MIB: u64 = 200;
/// Time is asked for this much longer than it took before: nodes differ, and file servers are busy.
const TIME_MARGIN: f64 = 2.0;

/// Places in the site's lists of memory and of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Class {
    /// Index into `memory_gib`.
    pub memory: usize,
    /// Index into `minutes`.
    pub time: usize,
}

/// What a case is expected to need, as learned from earlier runs or guessed from its files.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Need {
    /// Peak of memory in MiB.
    pub memory_mib: u64,
    /// Seconds of work, if anything is known.
    pub seconds: Option<f64>,
}

impl Class {
    /// The smallest class that a case fits into, `cases` of its kind in a row; the largest if none does.
    pub fn of(need: Need, cases: usize, site: &SlurmSite) -> Self {
        let fits_memory = |gib: &f64| gib * 1024.0 * USABLE >= (need.memory_mib + ENGINE_MIB) as f64;
        let seconds = need.seconds.unwrap_or(0.0) * TIME_MARGIN * cases.max(1) as f64;
        let warned = f64::from(site.warn_seconds);
        let fits_time = |minutes: &f64| minutes * 60.0 - warned >= seconds;
        let first = |list: &[f64], fits: &dyn Fn(&f64) -> bool| {
            list.iter().position(fits).unwrap_or(list.len().saturating_sub(1))
        };
        Self { memory: first(&site.memory_gib, &fits_memory), time: first(&site.minutes, &fits_time) }
    }

    /// With the next class of memory, if there is one.
    pub fn more_memory(self, site: &SlurmSite) -> Option<Self> {
        (self.memory + 1 < site.memory_gib.len()).then_some(Self { memory: self.memory + 1, ..self })
    }

    /// With the next class of time, if there is one.
    pub fn more_time(self, site: &SlurmSite) -> Option<Self> {
        (self.time + 1 < site.minutes.len()).then_some(Self { time: self.time + 1, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_asks_for_the_smallest_class_that_it_fits_into() {
        let site = SlurmSite::default();
        let class = |memory_mib, seconds, cases| Class::of(Need { memory_mib, seconds }, cases, &site);
        assert_eq!(class(100, None, 1), Class { memory: 0, time: 0 });
        assert_eq!(class(5000, Some(600.0), 1), Class { memory: 1, time: 0 });
        assert_eq!(class(5000, Some(600.0), 6), Class { memory: 1, time: 1 }, "six in a row");
        assert_eq!(class(1 << 20, Some(1e7), 1), Class { memory: 3, time: 2 }, "the largest");
        assert_eq!(Class { memory: 3, time: 0 }.more_memory(&site), None);
        assert_eq!(Class { memory: 3, time: 0 }.more_time(&site), Some(Class { memory: 3, time: 1 }));
    }
}
