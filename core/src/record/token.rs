//! How a scheduler calls an attempt, and which of two attempts it started last.

use std::fmt;

/// A task of a Slurm array: which array, which of its tasks, and how often it was put back into the queue before.
///
/// `SLURM_JOB_ID` is not in it: the last task of an array has the array's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    /// `SLURM_ARRAY_JOB_ID`: later submissions have higher ones.
    pub job: u64,
    /// `SLURM_ARRAY_TASK_ID`.
    pub task: u64,
    /// `SLURM_RESTART_COUNT`; 0 at the first start.
    pub restart: u64,
}

/// What a token begins with.
const PREFIX: &str = "slurm:";

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}_{}.{}", self.job, self.task, self.restart)
    }
}

impl Token {
    /// From the text of a claim, `slurm:1234_7.0`; none for another scheduler's.
    pub fn parse(text: &str) -> Option<Self> {
        let (job, rest) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let (task, restart) = rest.split_once('.')?;
        Some(Self { job: job.parse().ok()?, task: task.parse().ok()?, restart: restart.parse().ok()? })
    }

    /// That of the task which this process is, by the variables that Slurm sets; none outside an array.
    pub fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let number = |name: &str| variable(name)?.trim().parse().ok();
        Some(Self {
            job: number("SLURM_ARRAY_JOB_ID")?,
            task: number("SLURM_ARRAY_TASK_ID")?,
            restart: number("SLURM_RESTART_COUNT").unwrap_or(0),
        })
    }

    /// Whether the scheduler started this attempt because the other is over: the same task put back into the queue, or a later
    /// submission. Only for attempts of one run: a run submits a case again when Slurm has ended its task.
    pub const fn overrules(&self, other: &Self) -> bool {
        self.job > other.job
            || (self.job == other.job && self.task == other.task && self.restart > other.restart)
    }

    /// `1234_7`, as Slurm's commands call the task.
    pub fn task_name(&self) -> String {
        format!("{}_{}", self.job, self.task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_and_later_starts_overrule_earlier_ones() {
        let token = |job, task, restart| Token { job, task, restart };
        assert_eq!(Token::parse(&token(12, 3, 1).to_string()), Some(token(12, 3, 1)));
        for text in ["12_3.1", "slurm:12", "slurm:12_3", "slurm:a_3.1", "pbs:12_3.1"] {
            assert_eq!(Token::parse(text), None, "{text}");
        }
        assert!(token(12, 3, 1).overrules(&token(12, 3, 0)));
        assert!(token(13, 0, 0).overrules(&token(12, 3, 5)));
        assert!(!token(12, 4, 1).overrules(&token(12, 3, 0)), "another task");
        assert!(!token(12, 3, 0).overrules(&token(12, 3, 0)), "itself");
        let set = |name: &str| match name {
            "SLURM_ARRAY_JOB_ID" => Some("12".to_owned()),
            "SLURM_ARRAY_TASK_ID" => Some("3".to_owned()),
            _ => None,
        };
        assert_eq!(Token::of_environment(set), Some(token(12, 3, 0)), "no restart is set at the first start");
        assert_eq!(Token::of_environment(|_| None), None);
    }
}
