//! The engine's side of a running stage: memory, threads, progress, cancellation, scratch space, log lines.

use sdk::abi::abi_stable::sabi_trait::TD_Opaque;
use sdk::abi::abi_stable::std_types::{RArc, RResult, RStr, RString};
use sdk::abi::{self, HostObject, LoggerObject, Parts};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Tells how far a stage is: fraction in 0..=1, and what it does.
pub(crate) type ProgressSink = Arc<dyn Fn(f64, &str) + Send + Sync>;

/// What a stage gets from the engine in one run.
pub(crate) struct StageHost {
    /// The stage's own threads; none if it has one only.
    pub pool: Option<Arc<rayon::ThreadPool>>,
    /// Set when the stage (or the whole run) should stop.
    pub cancel: Cancel,
    /// Where progress goes.
    pub progress: ProgressSink,
    /// Where scratch folders are made.
    pub scratch_root: PathBuf,
    /// The case's label.
    pub case: String,
}

/// Two reasons to stop: this stage's, and the whole run's.
#[derive(Clone, Default)]
pub(crate) struct Cancel {
    /// Set on a timeout.
    pub stage: Arc<AtomicBool>,
    /// Set on Ctrl-C.
    pub run: Arc<AtomicBool>,
}

impl Cancel {
    /// Whether either is set.
    pub(crate) fn is_set(&self) -> bool {
        self.stage.load(Ordering::Relaxed) || self.run.load(Ordering::Relaxed)
    }
}

struct Running {
    stage: StageHost,
    span: tracing::Span,
    scratch: Mutex<Option<tempfile::TempDir>>,
    /// Survives a kill; for stages over groups alone.
    resume: Option<PathBuf>,
}

impl StageHost {
    /// To hand to an operator; the scratch folder goes with the last copy.
    pub(crate) fn object(self) -> HostObject {
        self.with(None)
    }

    /// To hand to an operator on groups, with the folder it can go on from.
    pub(crate) fn object_to_resume(self, folder: PathBuf) -> HostObject {
        self.with(Some(folder))
    }

    fn with(self, resume: Option<PathBuf>) -> HostObject {
        let span = tracing::Span::current();
        let running = Running { stage: self, span, scratch: Mutex::new(None), resume };
        abi::Host_TO::from_ptr(RArc::new(running), TD_Opaque)
    }
}

/// Bytes of an element, by its number at the border (u8, i16, u16, i32, u32, f16, f32, f64).
const ELEMENT_BYTES: [usize; 8] = [1, 2, 2, 4, 4, 2, 4, 8];

impl abi::Host for Running {
    fn alloc(&self, dtype: u8, len: usize) -> RResult<abi::Buf, RString> {
        let bytes = ELEMENT_BYTES.get(usize::from(dtype)).and_then(|size| len.checked_mul(*size));
        let block = bytes.and_then(|bytes| sdk::buffer::heap(dtype, bytes));
        let refusal = || RResult::RErr(format!("no memory for {len} elements of type {dtype}").into());
        block.map_or_else(refusal, RResult::ROk)
    }

    fn parallel(&self, count: usize, parts: Parts) {
        use rayon::prelude::*;
        let part = |i| self.span.in_scope(|| parts.run(i));
        if let Some(pool) = self.stage.pool.as_ref().filter(|_| count > 1) {
            pool.install(|| (0..count).into_par_iter().with_max_len(1).for_each(part));
        } else {
            (0..count).for_each(part);
        }
    }

    fn threads(&self) -> usize {
        self.stage.pool.as_ref().map_or(1, |pool| pool.current_num_threads())
    }

    fn progress(&self, fraction: f64, message: RStr<'_>) {
        (self.stage.progress)(fraction.clamp(0.0, 1.0), message.as_str());
    }

    fn cancelled(&self) -> bool {
        self.stage.cancel.is_set()
    }

    fn folder(&self, name: RStr<'_>) -> RResult<RString, RString> {
        if let (Some(folder), "resume") = (&self.resume, name.as_str()) {
            return RResult::ROk(folder.display().to_string().into());
        }
        if name.as_str() != "scratch" {
            return RResult::RErr(format!("no folder `{name}` for such a stage").into());
        }
        let mut scratch = self.scratch.lock().expect("no code panics under this lock");
        if scratch.is_none() {
            match tempfile::Builder::new().prefix("neuroloom-").tempdir_in(&self.stage.scratch_root) {
                Ok(folder) => *scratch = Some(folder),
                Err(error) => return RResult::RErr(format!("no scratch folder: {error}").into()),
            }
        }
        let folder = scratch.as_ref().expect("made above");
        RResult::ROk(folder.path().display().to_string().into())
    }

    fn case_label(&self) -> RString {
        self.stage.case.as_str().into()
    }
}

/// Takes the log lines of plugins into the engine's subscriber, under the target `plugin`.
pub(crate) struct EngineLogger;

impl EngineLogger {
    /// To hand to a plugin.
    pub(crate) fn object() -> LoggerObject {
        abi::Logger_TO::from_ptr(RArc::new(Self), TD_Opaque)
    }
}

impl abi::Logger for EngineLogger {
    fn max_level(&self) -> u8 {
        use tracing::level_filters::LevelFilter;
        match LevelFilter::current() {
            LevelFilter::OFF => 0,
            LevelFilter::ERROR => 1,
            LevelFilter::WARN => 2,
            LevelFilter::INFO => 3,
            LevelFilter::DEBUG => 4,
            LevelFilter::TRACE => 5,
        }
    }

    fn log(&self, level: u8, target: RStr<'_>, spans: RStr<'_>, message: RStr<'_>) {
        let (from, message) = (target.as_str(), message.as_str());
        let gap = if spans.is_empty() { "" } else { ": " };
        let text = format_args!("{spans}{gap}{message}");
        match level {
            1 => tracing::error!(target: "plugin", from, "{text}"),
            2 => tracing::warn!(target: "plugin", from, "{text}"),
            3 => tracing::info!(target: "plugin", from, "{text}"),
            4 => tracing::debug!(target: "plugin", from, "{text}"),
            _ => tracing::trace!(target: "plugin", from, "{text}"),
        }
    }
}
