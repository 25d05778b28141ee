//! Batches that run by themselves: when the clock says so, or when new cases have arrived whole.
//!
//! A [`File`] names jobs; a [`Scheduler`] starts each when it is due, as the same `neuroloom batch` that a person would give. What
//! decides is in small records below the job's output folder ([`Book`]): a due time has one record, created exclusively, so it fires
//! once, whatever the clocks do and however often the scheduler is killed. Which cases of a batch run is left to the batch.
//!
//! Nothing here reads the clock or starts a process by itself: both come through [`Clock`] and [`Batches`], so that tests let weeks
//! pass in milliseconds.

mod book;
mod file;
mod folders;
mod process;
mod scheduler;
mod schema;
mod timetable;
mod units;
mod watch;

pub use book::{Book, BookError, Ended, Fire, FireEnd, Outcome, Why};
pub use file::{File, Hook, Job, Missed, Overlap, Watch, When};
pub use folders::{Folder, Folders};
pub use process::Processes;
pub use scheduler::{Batches, Clock, Order, Running, Scheduler, Tell};
pub use schema::schema;
pub use timetable::{Due, Timetable, TimetableError};
pub use units::{Form, Program, Unit, UnitError, units};
pub use watch::{Arrived, Look, Stamp, Watcher};

#[cfg(test)]
mod tests;
