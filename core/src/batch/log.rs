//! The log of the run that this process is: one JSON object a line, appended to `log.jsonl` in the run's folder.
//!
//! The subscriber of the program writes into [`RunLog`]; a run attaches its file. A line is written with one call, so a kill
//! tears at most the last one.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Name of the file in a run's folder.
pub const LOG_FILE: &str = "log.jsonl";

static FILE: Mutex<Option<File>> = Mutex::new(None);

/// Where the program's subscriber writes JSON lines; nowhere while no run is attached.
#[derive(Clone, Copy, Debug)]
pub struct RunLog;

impl RunLog {
    /// Writes to a run's log from now on.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn attach(home: &Path) -> io::Result<()> {
        let file = File::options().create(true).append(true).open(home.join(LOG_FILE))?;
        *FILE.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
        Ok(())
    }

    /// Whether a run is attached.
    pub fn is_attached() -> bool {
        FILE.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

impl Write for RunLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(file) = FILE.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            // A log that cannot be written stops nothing: a full disk is told of where results are written.
            let _ = file.write_all(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
