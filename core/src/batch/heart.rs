//! A run's sign of life.

use super::machine::{available_mib, resident_mib};
use crate::publish::PublishError;
use crate::record::{Heartbeat, StateFolder};
use crossbeam::channel::{Sender, bounded};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

/// Time between two beats: an operator's memory is seen growing, and a file server is not troubled.
const INTERVAL: Duration = Duration::from_secs(5);

/// Beats until it is dropped.
#[derive(Debug)]
pub(super) struct Heart {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Heart {
    /// Starts to beat into a run's folder; the first beat is written before this returns.
    pub(super) fn start(state: &StateFolder, home: &Path) -> Result<Self, PublishError> {
        Heartbeat::of_this_process(1, resident_mib(), available_mib()).write(state, home)?;
        let (stop, stopped) = bounded::<()>(0);
        let (state, home, home_folder) = (state.clone(), home.to_owned(), home.to_owned());
        let beat = move || {
            let mut count = 1;
            while stopped.recv_timeout(INTERVAL).is_err_and(|error| error.is_timeout()) {
                count += 1;
                let beat = Heartbeat::of_this_process(count, resident_mib(), available_mib());
                // A beat that cannot be written is missed; the next may succeed.
                let _ = beat.write(&state, &home);
            }
        };
        let thread = std::thread::Builder::new().name("heartbeat".to_owned()).spawn(beat);
        let thread = thread.map_err(|source| PublishError::Io { path: home_folder, source })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
