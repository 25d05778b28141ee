//! Runs the cases of a cohort as arrays of Slurm, without a driver that has to stay.
//!
//! A submission is a run with an order: a **round** is a frozen list of cases, each with its place in an array and the classes of
//! memory and time that it asks for. One `sbatch` sends an array, one more a follow-up job that Slurm starts when the array has
//! ended, however it did. The follow-up reads the records; what is missing goes into the next round, in the next class if memory or
//! time did not suffice; once all is settled it runs the stages over the cohort. Nothing of this needs a process between the jobs.
//!
//! All state is small files in the run's folder, each written once: `round-01.jsonl`, `round-01.array-01.json`,
//! `round-01.follow.json`, and in the end `settled.json` or `cancelled.json`. What a case came to stands in its own records.

mod classes;
mod command;
mod judge;
mod look;
mod order;
mod queue;
mod script;
mod settle;
mod site;
mod submit;

pub use classes::{Class, Need};
pub use command::{SlurmError, cancel, max_array_size};
pub use judge::{Fate, Recorded, Verdict};
pub use look::{Hand, Hands, Held};
pub use order::{ArrayJob, Cancelled, OrderError, Place, Round, Settled, SlurmRun};
pub use queue::{JobState, Queue, WARNED};
pub use script::{Script, ScriptError};
pub use settle::{Next, settle};
pub use site::{GroupSite, SlurmSite};
pub use submit::{Submitter, first_round};
