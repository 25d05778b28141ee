//! `neuroloom cancel`.

use super::{Exit, Failure, print, say};
use crate::batch::Status;
use crate::record::StateFolder;
use crate::slurm::{self, SlurmRun};
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct CancelArgs {
    /// The output folder of `batch`
    #[arg(value_name = "OUT")]
    out: PathBuf,
}

pub(super) fn cancel(args: &CancelArgs) -> Result<Exit, Failure> {
    let status = Status::of(&args.out)?;
    let here = status.runs.iter().filter(|run| run.alive && run.jobs.is_empty());
    for run in here {
        if let Some(submission) = &run.submission {
            let (host, pid) = (&submission.process.host, submission.process.pid);
            say(&format!(
                "note: run {} is process {pid} on {host}: press Ctrl-C there, or `kill {pid}`",
                run.run
            ));
        }
    }
    let runs = SlurmRun::open(&StateFolder::of(&args.out));
    if runs.is_empty() {
        say("nothing to cancel: no run is with Slurm");
    }
    for run in runs {
        let jobs = slurm::cancel(&run)?;
        print(&jobs.join("\n"));
        say(&format!("run {} cancelled; the same batch goes on from what is done", run.run));
    }
    Ok(Exit::Fine)
}
