//! The two ways to be stopped from outside.

use super::{Exit, Failure};
use crate::batch::Stopped;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the signals set.
pub(super) struct Stop {
    /// Set by either.
    pub(super) any: Arc<AtomicBool>,
    terminated: Arc<AtomicBool>,
    /// Set by Slurm's warning before the limit of time; only in its tasks.
    pub(super) warned: Arc<AtomicBool>,
}

impl Stop {
    /// The first signal asks stages to stop; a second Ctrl-C ends the process at once.
    pub(super) fn install() -> Result<Self, Failure> {
        use signal_hook::consts::{SIGINT, SIGTERM};
        let stop = Self { any: Arc::default(), terminated: Arc::default(), warned: Arc::default() };
        signal_hook::flag::register_conditional_shutdown(SIGINT, Exit::CtrlC as i32, Arc::clone(&stop.any))?;
        signal_hook::flag::register(SIGINT, Arc::clone(&stop.any))?;
        signal_hook::flag::register(SIGTERM, Arc::clone(&stop.terminated))?;
        signal_hook::flag::register(SIGTERM, Arc::clone(&stop.any))?;
        Ok(stop)
    }

    /// The same, and Slurm's warning before the limit of time stops the run as SIGTERM does.
    pub(super) fn install_in_task() -> Result<Self, Failure> {
        use signal_hook::consts::SIGUSR1;
        let stop = Self::install()?;
        for flag in [&stop.warned, &stop.terminated, &stop.any] {
            signal_hook::flag::register(SIGUSR1, Arc::clone(flag))?;
        }
        Ok(stop)
    }

    /// Who stopped the run, if anybody did.
    pub(super) fn stopped(&self) -> Option<Stopped> {
        let by = if self.terminated.load(Ordering::Relaxed) { Stopped::Terminated } else { Stopped::CtrlC };
        self.any.load(Ordering::Relaxed).then_some(by)
    }
}
