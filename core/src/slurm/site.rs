//! `[slurm]` of the site file.

use super::classes::Class;
use serde::{Deserialize, Deserializer, Serialize};
use std::path::PathBuf;

/// MiB of a GiB.
const MIB_OF_GIB: f64 = 1024.0;

/// `[slurm]`: what a site asks of Slurm, and how often.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SlurmSite {
    /// Partition; the cluster's own choice unless set.
    pub partition: Option<String>,
    /// Account.
    pub account: Option<String>,
    /// More options of `sbatch`, one each: `--qos=long`.
    pub extra: Vec<String>,
    /// Lines of the script before the program: `module load …`.
    pub header: Vec<String>,
    /// Processors of a task.
    pub cpus: u32,
    /// Memory classes of a task in GiB, smallest first: a task that runs out of memory goes to the next.
    #[serde(deserialize_with = "rising")]
    pub memory_gib: Vec<f64>,
    /// Time classes of a task in minutes, shortest first: a task that runs out of time goes to the next.
    #[serde(deserialize_with = "rising")]
    pub minutes: Vec<f64>,
    /// Cases that a task runs, one after the other: more for short cases.
    pub cases_per_task: usize,
    /// Tasks that run at a time; as many as there is room for unless set.
    pub throttle: Option<usize>,
    /// Seconds before the limit of time at which Slurm warns a task, which then ends by itself.
    pub warn_seconds: u32,
    /// Node-local scratch that a task needs to begin, in GiB.
    pub scratch_gib: f64,
    /// What is asked for when a stage can use a GPU, `gpu:1`; unless set, only for stages whose device is `cuda`.
    pub gres: Option<String>,
    /// How often a case is submitted again in the same class, when its task was cancelled or lost its node.
    pub retries: u32,
    /// The program on the nodes; the one that submits unless set.
    pub program: Option<PathBuf>,
    /// What the job over the cohort asks for.
    pub group: GroupSite,
}

/// `[slurm.group]`: the job that follows an array, which submits what is missing and runs the stages over the cohort.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GroupSite {
    /// Its processors.
    pub cpus: u32,
    /// Its memory in GiB.
    pub memory_gib: f64,
    /// Its time in minutes.
    pub minutes: f64,
}

impl Default for GroupSite {
    fn default() -> Self {
        Self { cpus: 1, memory_gib: 2.0, minutes: 60.0 }
    }
}

impl Default for SlurmSite {
    fn default() -> Self {
        Self {
            partition: None,
            account: None,
            extra: Vec::new(),
            header: Vec::new(),
            cpus: 2,
            memory_gib: vec![4.0, 8.0, 16.0, 32.0],
            minutes: vec![60.0, 240.0, 1440.0],
            cases_per_task: 1,
            throttle: None,
            warn_seconds: 120,
            scratch_gib: 1.0,
            gres: None,
            retries: 3,
            program: None,
            group: GroupSite::default(),
        }
    }
}

impl SlurmSite {
    /// What a task of a class asks for: memory in MiB, time in minutes. A class beyond the last is the last.
    pub fn request(&self, class: Class) -> (u64, u64) {
        let of = |list: &[f64], index: usize| list.get(index).or(list.last()).copied().unwrap_or(1.0);
        (mib(of(&self.memory_gib, class.memory)), whole_minutes(of(&self.minutes, class.time)))
    }

    /// What the follow-up job asks for: processors, memory in MiB, time in minutes.
    pub fn group_request(&self) -> (u32, u64, u64) {
        (self.group.cpus.max(1), mib(self.group.memory_gib), whole_minutes(self.group.minutes))
    }
}

fn mib(gib: f64) -> u64 {
    (gib * MIB_OF_GIB).ceil().max(1.0) as u64
}

fn whole_minutes(minutes: f64) -> u64 {
    minutes.ceil().max(1.0) as u64
}

fn rising<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
    let classes = Vec::<f64>::deserialize(deserializer)?;
    let sound = classes.first().is_some_and(|first| first.is_finite() && *first > 0.0)
        && classes.windows(2).all(|pair| pair[0] < pair[1] && pair[1].is_finite());
    if sound {
        return Ok(classes);
    }
    let found = format!("{classes:?} where numbers above 0 are expected, each larger than the one before");
    Err(serde::de::Error::custom(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_rise_and_a_class_beyond_the_last_is_the_last() {
        let site: SlurmSite = toml::from_str("memory_gib = [2, 4.5]\nminutes = [10]").unwrap();
        assert_eq!(site.request(Class { memory: 1, time: 0 }), (4608, 10));
        assert_eq!(site.request(Class { memory: 7, time: 7 }), (4608, 10));
        assert_eq!(site.group_request(), (1, 2048, 60));
        for wrong in ["memory_gib = []", "minutes = [60, 60]", "memory_gib = [-1]", "minuts = [1]"] {
            assert!(toml::from_str::<SlurmSite>(wrong).is_err(), "{wrong}");
        }
    }
}
