//! What Slurm says of jobs, from the text of `squeue`, of `sacct` where there is one, and of the tasks' logs.

use std::collections::BTreeMap;
use std::path::Path;

/// What each line of ours begins with: greetings of a site's commands do not.
const MARK: &str = "neuroloom|";

/// `-o` of `squeue`.
pub(super) const FORMAT: &str = "neuroloom|%i|%T|%r";

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum JobState {
    /// In the queue, for the first time or again.
    Pending,
    /// On a node, or leaving it.
    Running,
    /// Ended with 0.
    Completed,
    /// Ended with another code.
    Failed,
    /// The kernel ended it for memory.
    OutOfMemory,
    /// It reached its limit of time.
    Timeout,
    /// Somebody ended it.
    Cancelled,
    /// It gave way to another job, and does not come back by itself.
    Preempted,
    /// Its node went down.
    NodeFail,
}

impl JobState {
    /// From Slurm's word; a word of a later Slurm counts as running: it is no end that we know.
    pub fn parse(word: &str) -> Self {
        let word = word.split_whitespace().next().unwrap_or_default().trim_end_matches('+');
        match word {
            "PENDING" | "REQUEUED" | "REQUEUE_HOLD" | "REQUEUE_FED" | "SPECIAL_EXIT" | "RESV_DEL_HOLD" => {
                Self::Pending
            }
            "COMPLETED" => Self::Completed,
            "FAILED" | "BOOT_FAIL" => Self::Failed,
            "OUT_OF_MEMORY" => Self::OutOfMemory,
            "TIMEOUT" | "DEADLINE" => Self::Timeout,
            "CANCELLED" | "REVOKED" => Self::Cancelled,
            "PREEMPTED" => Self::Preempted,
            "NODE_FAIL" => Self::NodeFail,
            _ => Self::Running,
        }
    }

    /// Whether it may still do something.
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Pending | Self::Running)
    }

    /// As people read it.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Pending => "waits in the queue",
            Self::Running => "runs",
            Self::Completed => "ended",
            Self::Failed => "ended with an error",
            Self::OutOfMemory => "ran out of memory",
            Self::Timeout => "reached its limit of time",
            Self::Cancelled => "was cancelled",
            Self::Preempted => "gave way to another job",
            Self::NodeFail => "lost its node",
        }
    }
}

/// What is known of jobs, by `1234` or `1234_7`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    jobs: BTreeMap<String, (JobState, String)>,
}

impl Queue {
    /// Reads what `squeue -r -h -t all` prints in our format. Lines that are not ours are left out.
    pub fn read_squeue(&mut self, text: &str) {
        for line in text.lines().filter_map(|line| line.trim().strip_prefix(MARK)) {
            let mut fields = line.split('|');
            let (Some(job), Some(state)) = (fields.next(), fields.next()) else { continue };
            let reason = fields.next().unwrap_or_default().trim();
            let reason = if reason == "None" { "" } else { reason };
            self.jobs.insert(job.trim().to_owned(), (JobState::parse(state), reason.to_owned()));
        }
    }

    /// Reads what `sacct -n -P -X -o JobID,State` prints, for jobs that `squeue` no longer knows.
    pub fn read_sacct(&mut self, text: &str) {
        for line in text.lines() {
            let Some((job, state)) = line.trim().split_once('|') else { continue };
            if job.starts_with(|c: char| c.is_ascii_digit()) {
                self.jobs.entry(job.to_owned()).or_insert_with(|| (JobState::parse(state), String::new()));
            }
        }
    }

    /// Where a job stands; none if it is not known.
    pub fn state(&self, job: &str) -> Option<JobState> {
        self.jobs.get(job).map(|(state, _)| *state)
    }

    /// Why a job waits, in Slurm's word.
    pub fn reason(&self, job: &str) -> Option<&str> {
        self.jobs.get(job).map(|(_, reason)| reason.as_str()).filter(|reason| !reason.is_empty())
    }

    /// Whether anything is known of a job, or of a task of it.
    pub fn knows(&self, job: &str) -> bool {
        self.jobs.keys().any(|name| name.split('_').next() == Some(job))
    }

    /// Whether a task of an array, or a part of the array that holds it, is known to be under way.
    pub fn is_any_active(&self, job: &str) -> bool {
        let of_job = |name: &str| name.split('_').next() == Some(job);
        self.jobs.iter().any(|(name, (state, _))| of_job(name) && state.is_active())
    }
}

/// How a task ended, by the last word about it in its log; none if there is none.
///
/// Slurm writes these lines itself; the one about the warning is ours.
pub(super) fn state_of_log(path: &Path) -> Option<JobState> {
    /// A line's words, and what they mean.
    const SIGNS: [(&str, JobState); 7] = [
        ("oom-kill event", JobState::OutOfMemory),
        ("oom_kill event", JobState::OutOfMemory),
        ("DUE TO TIME LIMIT", JobState::Timeout),
        (WARNED, JobState::Timeout),
        ("DUE TO PREEMPTION", JobState::Preempted),
        ("DUE TO NODE FAILURE", JobState::NodeFail),
        ("CANCELLED AT", JobState::Cancelled),
    ];
    let text = String::from_utf8_lossy(&std::fs::read(path).ok()?).into_owned();
    text.lines()
        .rev()
        .find_map(|line| SIGNS.iter().find(|(sign, _)| line.contains(sign)).map(|(_, state)| *state))
}

/// What a task says when Slurm warns it of its limit of time.
pub const WARNED: &str = "the limit of time is near";

#[cfg(test)]
mod tests {
    use super::*;
    use JobState::{Cancelled, OutOfMemory, Pending, Preempted, Running};

    #[test]
    fn greetings_are_no_jobs_and_waiting_is_no_failure() {
        let mut queue = Queue::default();
        queue.read_squeue(
            "Welcome | to the cluster\nneuroloom|12_0|RUNNING|None\nneuroloom|12_1|PENDING|JobArrayTaskLimit\n\
             neuroloom|12_2|REQUEUED|None\n neuroloom|12_3|PREEMPTED|None\nneuroloom|12_4|COMPLETING|None\n\
             neuroloom|12_5|CANCELLED by 1000|None\nneuroloom|13|PENDING|Dependency\nneuroloom|broken\n",
        );
        queue.read_sacct("12_0|FAILED\n12_6|OUT_OF_MEMORY\n12_7|CANCELLED by 0\nWelcome|all\n");
        let states: Vec<_> = (0..9).map(|task| queue.state(&format!("12_{task}"))).collect();
        let expected = [Running, Pending, Pending, Preempted, Running, Cancelled, OutOfMemory, Cancelled];
        assert_eq!(states[..8], expected.map(Some), "squeue counts before sacct");
        assert_eq!(states[8], None);
        assert_eq!(queue.reason("12_1"), Some("JobArrayTaskLimit"));
        assert_eq!(queue.reason("12_0"), None);
        assert!(queue.is_any_active("12") && queue.is_any_active("13") && !queue.is_any_active("1"));
    }

    #[test]
    fn the_last_word_of_a_log_counts() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("12_0.log");
        let state = |text: &str| {
            std::fs::write(&log, text).unwrap();
            state_of_log(&log)
        };
        assert_eq!(state("case done\n"), None);
        let preempted =
            "slurmstepd: error: *** JOB 12 ON n1 CANCELLED AT 2026-01-01T00:00:00 DUE TO PREEMPTION ***\n";
        assert_eq!(state(preempted), Some(JobState::Preempted));
        let oom = "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=12.batch\n";
        assert_eq!(state(&format!("{preempted}{oom}")), Some(JobState::OutOfMemory));
        let time =
            "slurmstepd: error: *** JOB 12 ON n1 CANCELLED AT 2026-01-01T00:00:00 DUE TO TIME LIMIT ***\n";
        assert_eq!(state(&format!("{oom}{time}")), Some(JobState::Timeout));
        assert_eq!(state_of_log(Path::new("nowhere")), None);
    }
}
