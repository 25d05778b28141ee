//! Calls of Slurm's commands.

use super::order::{Cancelled, OrderError, SlurmRun};
use super::queue::{FORMAT, Queue};
use super::script::ScriptError;
use crate::record::now;
use std::path::Path;
use std::process::{Command, Output};

/// Tasks of an array where Slurm does not say how many it allows: its default.
const DEFAULT_MAX_ARRAY: usize = 1001;

/// Why Slurm could not be asked, or refused.
#[derive(Debug, thiserror::Error)]
pub enum SlurmError {
    /// A command of Slurm's cannot be run.
    #[error(
        "cannot run `{command}`: {source}\nhint: is this a machine of the cluster that jobs are submitted from?"
    )]
    Missing {
        /// The command.
        command: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A command of Slurm's ended with an error.
    #[error("`{command}` ended with {code}:\n{said}\nhint: {}", hint(command))]
    Refused {
        /// The command.
        command: &'static str,
        /// Its exit code.
        code: i32,
        /// What it said, as it is.
        said: String,
    },
    /// `sbatch` told no number.
    #[error("`sbatch` told no number of a job, but:\n{said}\nhint: `squeue` shows whether it was submitted")]
    NoNumber {
        /// What it printed.
        said: String,
    },
    /// No script could be written.
    #[error(transparent)]
    Script(#[from] ScriptError),
    /// A file of the run could not be written.
    #[error(transparent)]
    Order(#[from] OrderError),
}

/// What may help where a command of Slurm's has refused.
fn hint(command: &str) -> &'static str {
    if command == "sbatch" {
        "what is asked for stands in `[slurm]` of neuroloom.toml; `--dry-run` shows it"
    } else {
        "does Slurm answer? `scontrol ping` tells"
    }
}

/// A command of Slurm's that is not told of the job that this process may be in: what it submits stands for itself.
fn slurm(program: &'static str) -> Command {
    let mut command = Command::new(program);
    let own = |name: &str| name.starts_with("SLURM") && name != "SLURM_CONF" && name != "SLURM_CLUSTERS";
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(own) {
            command.env_remove(name);
        }
    }
    command
}

fn ask(command: &mut Command, name: &'static str) -> Result<Output, SlurmError> {
    command.output().map_err(|source| SlurmError::Missing { command: name, source })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn refused(command: &'static str, output: &Output) -> SlurmError {
    let said = text(&output.stderr).trim_end().to_owned();
    SlurmError::Refused { command, code: output.status.code().unwrap_or(-1), said }
}

/// Submits a script; the job's number, and what `sbatch` said beside it. `after` are jobs that must have ended, however they did.
pub(super) fn sbatch(script: &Path, after: &[String]) -> Result<(String, String), SlurmError> {
    let mut command = slurm("sbatch");
    command.arg("--parsable");
    if !after.is_empty() {
        command.arg(format!("--dependency=afterany:{}", after.join(":")));
    }
    let output = ask(command.arg(script), "sbatch")?;
    if !output.status.success() {
        return Err(refused("sbatch", &output));
    }
    let printed = text(&output.stdout);
    match job_number(&printed) {
        Some(job) => Ok((job, text(&output.stderr))),
        None => Err(SlurmError::NoNumber { said: printed }),
    }
}

/// The number in what `sbatch --parsable` prints, `1234` or `1234;cluster`; a site's greeting may stand before it.
fn job_number(printed: &str) -> Option<String> {
    let number = |line: &str| {
        let first = line.trim().split(';').next()?.to_owned();
        (!first.is_empty() && first.chars().all(|c| c.is_ascii_digit())).then_some(first)
    };
    printed.lines().rev().find_map(number)
}

/// Looks up jobs: in the queue, and where the cluster keeps accounts, there.
///
/// # Errors
/// [`SlurmError`] if Slurm cannot be asked. That it does not know a job any more is an answer.
pub(super) fn look_up(jobs: &[String]) -> Result<Queue, SlurmError> {
    let mut queue = Queue::default();
    if jobs.is_empty() {
        return Ok(queue);
    }
    let list = jobs.join(",");
    let mut squeue = slurm("squeue");
    squeue.args(["-r", "-h", "-t", "all", "-o", FORMAT, "-j", &list]);
    let output = ask(&mut squeue, "squeue")?;
    if !output.status.success() && !text(&output.stderr).contains("Invalid job id") {
        return Err(refused("squeue", &output));
    }
    queue.read_squeue(&text(&output.stdout));
    if jobs.iter().any(|job| !queue.knows(job)) {
        let mut sacct = slurm("sacct");
        sacct.args(["-n", "-P", "-X", "-o", "JobID,State", "-j", &list]);
        // A cluster without accounts is as good: then records and logs say what there is to say.
        if let Ok(output) = sacct.output()
            && output.status.success()
        {
            queue.read_sacct(&text(&output.stdout));
        }
    }
    Ok(queue)
}

/// How many tasks an array may have.
pub fn max_array_size() -> usize {
    let output = slurm("scontrol").args(["show", "config"]).output();
    let printed = output.map(|output| text(&output.stdout)).unwrap_or_default();
    array_limit(&printed).unwrap_or(DEFAULT_MAX_ARRAY)
}

fn array_limit(config: &str) -> Option<usize> {
    let line = config.lines().find_map(|line| line.trim().strip_prefix("MaxArraySize"))?;
    line.trim_start().strip_prefix('=')?.trim().parse().ok().filter(|size| *size > 0)
}

/// Ends a run's jobs, and notes it so that nothing submits its cases again. Returns the jobs.
///
/// # Errors
/// [`SlurmError`] if it cannot be noted, or Slurm cannot be told.
pub fn cancel(run: &SlurmRun) -> Result<Vec<String>, SlurmError> {
    // First the note: a follow-up that starts in between reads it.
    run.cancel(&Cancelled { jobs: run.jobs(), at: now() })?;
    let jobs = run.jobs();
    end(&jobs)?;
    Ok(jobs)
}

/// Ends jobs.
pub(super) fn end(jobs: &[String]) -> Result<(), SlurmError> {
    if jobs.is_empty() {
        return Ok(());
    }
    let output = ask(slurm("scancel").arg("--quiet").args(jobs), "scancel")?;
    let said = text(&output.stderr);
    // Jobs that have ended are what was wanted.
    let gone = said.lines().all(|line| line.contains("Invalid job id") || line.contains("already completed"));
    if output.status.success() || gone { Ok(()) } else { Err(refused("scancel", &output)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_job_stands_in_the_last_line_that_is_one() {
        assert_eq!(job_number("1234\n").as_deref(), Some("1234"));
        assert_eq!(job_number("Welcome to 2026\n1234;cluster\n\n").as_deref(), Some("1234"));
        assert_eq!(job_number("Submitted batch job 1234"), None);
        assert_eq!(array_limit("Max = 1\nMaxArraySize            = 10001\n"), Some(10001));
        assert_eq!(array_limit(""), None);
    }
}
