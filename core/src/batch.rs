//! Runs the cases of a cohort into one output folder, and leaves a state that the next start can go on from.
//!
//! A [`Session`] is one run's hold on an output folder: it claims cases, publishes what they made with the record of how, and
//! beats while it lives. `neuroloom run` is a session of one case.

mod decide;
mod drive;
mod groups;
mod heart;
mod log;
mod look;
pub mod machine;
pub mod manifest;
mod session;
mod stages;
mod status;
mod summary;
mod why;

pub use decide::{Decided, Decider, Decision, place_of};
pub use drive::{Listener, longest_first, run_cases};
pub use groups::Gathered;
pub use log::{LOG_FILE, RunLog};
pub use session::{Finished, Part, Session, Start, Submission, Task};
pub use stages::StageTimes;
pub use status::{CANNOT, CaseStatus, NoState, Odd, PENDING, RunStatus, Status};
pub use summary::{Outcome, Stopped, Summary};
pub use why::{AttemptLine, Why, WhyError};
