//! What the engine offers a running operator.

use crate::buffer::{BufMut, Element};
use crate::error::OperatorError;
use crate::panics;
use neuroloom_abi::HostObject;
use std::path::PathBuf;
use std::sync::Mutex;

/// The engine, as a running operator sees it: memory, threads, progress, cancellation, scratch space.
pub struct Context {
    host: HostObject,
}

impl Context {
    /// Wraps the engine's side.
    pub fn new(host: HostObject) -> Self {
        Self { host }
    }

    /// A zeroed block for `len` numbers, made where the engine wants it to live.
    ///
    /// # Errors
    /// When the memory cannot be had.
    pub fn alloc<T: Element>(&self, len: usize) -> Result<BufMut<T>, OperatorError> {
        let answer = self.host.alloc(T::CODE, len).into_result();
        let raw = answer.map_err(|reason| OperatorError::failed(reason.into_string()))?;
        Ok(BufMut::from_fresh(raw)?)
    }

    /// Threads this stage may use. Results must not depend on it.
    pub fn threads(&self) -> usize {
        self.host.threads()
    }

    /// Runs `part(i)` for all `i < count` on the stage's threads and waits for them.
    ///
    /// A panic in a part is raised again here once all parts are done.
    pub fn parallel(&self, count: usize, part: impl Fn(usize) + Sync) {
        panics::run_parts(&self.host, count, &part);
    }

    /// Runs `part(i)` for all `i < count` and returns what they made, in order: reduce it in that order and the result
    /// does not depend on the number of threads.
    pub fn map<R: Send>(&self, count: usize, part: impl Fn(usize) -> R + Sync) -> Vec<R> {
        let results: Vec<Mutex<Option<R>>> = (0..count).map(|_| Mutex::new(None)).collect();
        self.parallel(count, |i| *results[i].lock().expect("each part has its own lock") = Some(part(i)));
        let result =
            |slot: Mutex<Option<R>>| slot.into_inner().expect("no part panicked").expect("every part ran");
        results.into_iter().map(result).collect()
    }

    /// Cuts `out` into pieces of `piece_len` numbers and runs `fill(piece, numbers)` on each (the last may be shorter).
    pub fn fill<T: Send>(&self, out: &mut [T], piece_len: usize, fill: impl Fn(usize, &mut [T]) + Sync) {
        let pieces: Vec<Mutex<&mut [T]>> = out.chunks_mut(piece_len.max(1)).map(Mutex::new).collect();
        self.parallel(pieces.len(), |i| fill(i, &mut pieces[i].lock().expect("each piece has its own lock")));
    }

    /// Tells how far the stage is: `fraction` in 0..=1, and what it does.
    pub fn progress(&self, fraction: f64, message: &str) {
        self.host.progress(fraction, message.into());
    }

    /// Whether the stage should stop: on a timeout or Ctrl-C. Look at least once a second.
    pub fn cancelled(&self) -> bool {
        self.host.cancelled()
    }

    /// Stops with `?` when the stage should stop.
    ///
    /// # Errors
    /// [`OperatorError::cancelled`].
    pub fn check_cancelled(&self) -> Result<(), OperatorError> {
        if self.cancelled() { Err(OperatorError::cancelled()) } else { Ok(()) }
    }

    /// An empty folder for temporary files, removed after the run.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn scratch(&self) -> Result<PathBuf, OperatorError> {
        self.folder("scratch")
    }

    /// For group operators: a folder that survives `kill -9`, to go on from.
    ///
    /// # Errors
    /// When it cannot be made, or the operator runs on single cases.
    pub fn resume_dir(&self) -> Result<PathBuf, OperatorError> {
        self.folder("resume")
    }

    fn folder(&self, name: &str) -> Result<PathBuf, OperatorError> {
        let answer = self.host.folder(name.into()).into_result();
        answer
            .map(|path| PathBuf::from(path.into_string()))
            .map_err(|reason| OperatorError::failed(reason.into_string()))
    }

    /// The case's label, `sub-01_ses-02`; empty for a cohort.
    pub fn case_label(&self) -> String {
        self.host.case_label().into_string()
    }
}
