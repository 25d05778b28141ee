//! What stages took, over all attempts in an output folder: seconds, and memory where it was measured.
//!
//! Only what a stage did itself counts, not what came from the cache and not what failed on the way.

use crate::record::{Attempts, StageEntry};
use crate::runner::StageState;
use serde::Serialize;
use std::collections::BTreeMap;

/// The share of runs that the upper figure covers.
const MOST: f64 = 0.95;

/// What a stage took, over cases and attempts.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StageTimes {
    /// `brain`, or `aligned (flair)` for a member of a mapped stage.
    pub stage: String,
    /// How often it ran to its end.
    pub runs: usize,
    /// How often its result came from the cache instead.
    pub cached: usize,
    /// Seconds of the middle run.
    pub median_seconds: f64,
    /// Seconds that 95 of 100 runs stayed within.
    pub p95_seconds: f64,
    /// Seconds of the longest.
    pub max_seconds: f64,
    /// Seconds of all together.
    pub total_seconds: f64,
    /// Median of the peaks of memory that were measured, in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub median_peak_mib: Option<u64>,
    /// The highest of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_peak_mib: Option<u64>,
    /// Whether that one was measured with nothing else running; if not, it is the most that the stage can have taken.
    pub alone: bool,
}

/// Collects the records of stages.
#[derive(Debug, Default)]
pub(super) struct Collected {
    /// In the order in which they were met: cases of one workflow tell their stages in the graph's.
    names: Vec<String>,
    stages: BTreeMap<String, Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    cached: usize,
    seconds: Vec<f64>,
    peaks: Vec<(u64, bool)>,
}

impl Collected {
    /// Adds what all attempts at a case, or at a stage over the cohort, tell.
    pub(super) fn add(&mut self, attempts: &Attempts) {
        for (_, end) in attempts.ends() {
            end.stages.iter().for_each(|stage| self.stage(stage));
        }
    }

    fn stage(&mut self, stage: &StageEntry) {
        if stage.state != StageState::Ran {
            return;
        }
        let name = stage.place();
        if !self.stages.contains_key(&name) {
            self.names.push(name.clone());
        }
        let seen = self.stages.entry(name).or_default();
        if stage.cached {
            seen.cached += 1;
        } else {
            seen.seconds.push(stage.seconds);
            seen.peaks.extend(stage.peak_mib.map(|mib| (mib, stage.alone)));
        }
    }

    /// The stages with their figures.
    pub(super) fn times(mut self) -> Vec<StageTimes> {
        let names = std::mem::take(&mut self.names);
        names.into_iter().filter_map(|name| Some(times(name.clone(), self.stages.remove(&name)?))).collect()
    }
}

fn times(stage: String, mut seen: Seen) -> StageTimes {
    seen.seconds.sort_unstable_by(f64::total_cmp);
    // Of equal peaks the one that is surely the stage's own.
    seen.peaks.sort_unstable();
    let at = |share: f64| rank(seen.seconds.len(), share).map_or(0.0, |n| seen.seconds[n]);
    let peak = |share: f64| rank(seen.peaks.len(), share).map(|n| seen.peaks[n].0);
    StageTimes {
        stage,
        runs: seen.seconds.len(),
        cached: seen.cached,
        median_seconds: at(0.5),
        p95_seconds: at(MOST),
        max_seconds: at(1.0),
        total_seconds: seen.seconds.iter().sum(),
        median_peak_mib: peak(0.5),
        max_peak_mib: peak(1.0),
        alone: seen.peaks.last().is_some_and(|(_, alone)| *alone),
    }
}

/// Place of the value, of so many in order, that this share does not exceed (nearest rank); none of none.
fn rank(count: usize, share: f64) -> Option<usize> {
    (count > 0).then(|| ((count as f64 * share).ceil() as usize).clamp(1, count) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ran(stage: &str, seconds: f64, peak_mib: u64, cached: bool) -> StageEntry {
        serde_json::from_value(json!({
            "stage": stage, "operator": "bet", "state": "ran", "seconds": seconds, "peak_mib": peak_mib,
            "alone": seconds > 2.0, "cached": cached,
        }))
        .unwrap()
    }

    #[test]
    fn figures_are_of_what_a_stage_did_itself_in_the_order_of_the_graph() {
        let mut collected = Collected::default();
        for stage in [ran("reference", 1.0, 10, false), ran("brain", 9.0, 70, true)] {
            collected.stage(&stage);
        }
        (1..=20).for_each(|n| collected.stage(&ran("brain", f64::from(n), n as u64, false)));
        let failed = StageEntry { state: StageState::Failed, ..ran("brain", 500.0, 999, false) };
        collected.stage(&failed);
        let times = collected.times();
        assert_eq!(
            times.iter().map(|times| times.stage.as_str()).collect::<Vec<_>>(),
            ["reference", "brain"]
        );
        let brain = &times[1];
        assert_eq!((brain.runs, brain.cached), (20, 1));
        let seconds = [brain.median_seconds, brain.p95_seconds, brain.max_seconds, brain.total_seconds];
        assert_eq!(seconds, [10.0, 19.0, 20.0, 210.0]);
        assert_eq!((brain.median_peak_mib, brain.max_peak_mib, brain.alone), (Some(10), Some(20), true));
    }
}
