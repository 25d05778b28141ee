//! Runs the cases of a cohort into one output folder, and leaves a state that the next start can go on from.
//!
//! A [`Session`] is one run's hold on an output folder: it claims cases, publishes what they made with the record of how, and
//! beats while it lives. `neuroloom run` is a session of one case.

mod heart;
mod log;
pub mod machine;
mod session;

pub use log::{LOG_FILE, RunLog};
pub use session::{Finished, Session, Start, Submission, Task};
