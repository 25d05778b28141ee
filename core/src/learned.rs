//! What earlier runs into an output folder took: seconds and memory of each stage, scaled by the size of a case's files.
//!
//! Only what stages did themselves counts, not what came from the cache. From a case without files (a phantom's seed) and to
//! one, nothing is scaled.

use crate::plan::{Graph, Plan};
use crate::record::{End, StageEntry};
use crate::runner::StageState;
use std::collections::BTreeMap;

/// Bytes of a MiB.
const MIB: f64 = (1 << 20) as f64;
/// Memory of a case per byte of its files before anything is known: images come compressed to about half of 16 bits a voxel,
/// are held as 32 bits, and a stage holds a few of them.
pub const MEMORY_PER_BYTE: f64 = 16.0;
/// Memory of a case beside its images, in MiB, before anything is known.
pub const MEMORY_BASE_MIB: u64 = 64;
/// Peaks are taken this much larger than they were seen: the next case may differ a little.
const MARGIN: f64 = 1.2;
/// Seconds of a stage of which nothing is known: only the order of cases depends on it.
const UNKNOWN_SECONDS: f64 = 1.0;

/// What a stage took.
#[derive(Clone, Debug, Default, PartialEq)]
struct StageCost {
    runs: u32,
    seconds: f64,
    bytes: f64,
    /// Highest peak seen, as MiB and as MiB per byte.
    peak: Option<(f64, f64)>,
}

/// What is known of a workflow's stages, by [`crate::plan::Node::name`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Learned {
    stages: BTreeMap<String, StageCost>,
}

impl Learned {
    /// Learns from a record.
    pub fn add(&mut self, end: &End) {
        let bytes = end.inputs.iter().filter_map(|input| input.bytes).sum::<u64>() as f64;
        let ran = |stage: &&StageEntry| stage.state == StageState::Ran && !stage.cached;
        for stage in end.stages.iter().filter(ran) {
            self.stages.entry(name(stage)).or_default().add(stage, bytes);
        }
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.stages.is_empty()
    }

    /// Seconds that a case will work, all stages in a row; none if nothing is known.
    pub fn seconds(&self, graph: &Graph, plan: &Plan, bytes: u64) -> Option<f64> {
        if self.is_empty() {
            return None;
        }
        let running = graph.nodes.iter().zip(&plan.nodes).filter(|(_, planned)| planned.runs());
        let cost = |name: &str| self.stages.get(name).map_or(UNKNOWN_SECONDS, |cost| cost.seconds_at(bytes));
        Some(running.map(|(node, _)| cost(&node.name())).sum())
    }

    /// Peak of each stage that was measured, in MiB, for the largest case.
    pub fn peaks_mib(&self, largest_bytes: u64) -> BTreeMap<String, u64> {
        let peak = |(name, cost): (&String, &StageCost)| Some((name.clone(), cost.peak_at(largest_bytes)?));
        self.stages.iter().filter_map(peak).collect()
    }

    /// Peak of a case, in MiB: its largest stage and the images that it holds meanwhile; without any measured stage,
    /// [`MEMORY_PER_BYTE`] times its files and [`MEMORY_BASE_MIB`].
    pub fn case_mib(&self, graph: &Graph, plan: &Plan, bytes: u64) -> u64 {
        let running = graph.nodes.iter().zip(&plan.nodes).filter(|(_, planned)| planned.runs());
        let peak = |name: String| self.stages.get(&name)?.peak_at(bytes);
        let largest = running.filter_map(|(node, _)| peak(node.name())).max();
        let files = bytes as f64 / MIB;
        match largest {
            // What was read and is still needed stays in memory beside the stage: half of what is assumed without knowledge.
            Some(mib) => mib + (files * MEMORY_PER_BYTE / 2.0).ceil() as u64,
            None => MEMORY_BASE_MIB + (files * MEMORY_PER_BYTE).ceil() as u64,
        }
    }
}

impl StageCost {
    fn add(&mut self, stage: &StageEntry, bytes: f64) {
        self.runs += 1;
        self.seconds += stage.seconds;
        self.bytes += bytes;
        if let Some(mib) = stage.peak_mib {
            let mib = mib as f64;
            let rate = if bytes > 0.0 { mib / bytes } else { 0.0 };
            let (most, steepest) = self.peak.unwrap_or((0.0, 0.0));
            self.peak = Some((most.max(mib), steepest.max(rate)));
        }
    }

    fn seconds_at(&self, bytes: u64) -> f64 {
        let mean = self.seconds / f64::from(self.runs.max(1));
        if self.bytes > 0.0 && bytes > 0 { self.seconds / self.bytes * bytes as f64 } else { mean }
    }

    fn peak_at(&self, bytes: u64) -> Option<u64> {
        let (most, steepest) = self.peak?;
        let scaled = if steepest > 0.0 && bytes > 0 { steepest * bytes as f64 } else { most };
        Some((scaled * MARGIN).ceil() as u64)
    }
}

/// As [`crate::plan::Node::name`].
fn name(stage: &StageEntry) -> String {
    if stage.member.is_empty() { stage.stage.clone() } else { format!("{}.{}", stage.stage, stage.member) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A record with a stage `brain` that took so long on a file of that size.
    fn end(bytes: u64, seconds: f64, peak_mib: u64, cached: bool) -> End {
        let stage = json!({
            "stage": "brain", "operator": "bet", "state": "ran",
            "seconds": seconds, "peak_mib": peak_mib, "cached": cached,
        });
        serde_json::from_value(json!({
            "format": 1, "name": "sub-01", "run": 1, "ending": "ok", "seconds": seconds, "since": "", "until": "",
            "stages": [stage], "inputs": [{ "name": "head", "bytes": bytes }],
        }))
        .unwrap()
    }

    fn learned(ends: &[End]) -> Learned {
        let mut learned = Learned::default();
        for end in ends {
            learned.add(end);
        }
        learned
    }

    fn brain(ends: &[End]) -> StageCost {
        learned(ends).stages.remove("brain").unwrap_or_default()
    }

    #[test]
    fn time_and_memory_grow_with_the_files() {
        let cost = brain(&[end(1000, 2.0, 100, false), end(3000, 6.0, 300, false)]);
        assert!((cost.seconds_at(2000) - 4.0).abs() < 1e-9);
        assert_eq!(cost.peak_at(2000), Some(240), "200 MiB and the margin");
        assert!((cost.seconds_at(0) - 4.0).abs() < 1e-9, "the mean where there is no file");
        let known = learned(&[end(1000, 2.0, 100, false)]);
        assert_eq!(known.peaks_mib(1000), BTreeMap::from([("brain".to_owned(), 120)]));
    }

    #[test]
    fn what_came_from_the_cache_teaches_nothing() {
        assert!(learned(&[end(1000, 0.0, 1, true)]).is_empty());
        assert_eq!(brain(&[end(1000, 2.0, 100, false), end(1000, 0.0, 1, true)]).runs, 1);
    }
}
