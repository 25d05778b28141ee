//! A panic in a plugin becomes an error with message and place, and never crosses the library border.
//!
//! The standard library is linked into every plugin, so hook and thread-locals exist once per plugin.

#![expect(unsafe_code, reason = "a closure travels to the engine's threads as a plain pointer")]

use crate::error::OperatorError;
use neuroloom_abi::{HostObject, Parts};
use std::any::Any;
use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, Once};

thread_local! {
    /// Whether this thread runs plugin code under [`guard`].
    static GUARDED: Cell<bool> = const { Cell::new(false) };
    /// Place and backtrace of the last panic under a guard on this thread.
    static LAST: RefCell<Option<(String, String)>> = const { RefCell::new(None) };
}

/// Keeps place and backtrace of guarded panics; others are reported as before.
pub(crate) fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if GUARDED.get() {
                let place = info.location().map_or_else(String::new, ToString::to_string);
                LAST.set(Some((place, Backtrace::force_capture().to_string())));
            } else {
                before(info);
            }
        }));
    });
}

fn text_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}

/// Runs plugin code; a panic becomes an [`OperatorError`].
pub(crate) fn guard<R>(code: impl FnOnce() -> Result<R, OperatorError>) -> Result<R, OperatorError> {
    let outer = GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(code));
    GUARDED.set(outer);
    result.unwrap_or_else(|payload| {
        let (place, backtrace) = LAST.take().unzip();
        let error = OperatorError::panicked(text_of(&*payload), place, backtrace);
        // A payload whose own drop panics would cross the border: leak it.
        std::mem::forget(payload);
        Err(error)
    })
}

struct Work<'a> {
    part: &'a (dyn Fn(usize) + Sync),
    panic: Mutex<Option<Caught>>,
}

struct Caught {
    payload: Box<dyn Any + Send>,
    last: Option<(String, String)>,
}

/// Runs `part(i)` for all `i < count` on the engine's threads; raises the first panic again on this one.
pub(crate) fn run_parts(host: &HostObject, count: usize, part: &(dyn Fn(usize) + Sync)) {
    let work = Work { part, panic: Mutex::new(None) };
    host.parallel(count, Parts { call: run_part, data: std::ptr::from_ref(&work).cast() });
    if let Some(caught) = work.panic.into_inner().expect("the lock is held for a moment only") {
        LAST.set(caught.last);
        resume_unwind(caught.payload);
    }
}

extern "C" fn run_part(data: *const (), index: usize) {
    // SAFETY: `run_parts` keeps `Work` on its stack until the engine's `parallel` has returned, after the last call.
    let work = unsafe { &*data.cast::<Work<'_>>() };
    let outer = GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(|| (work.part)(index)));
    GUARDED.set(outer);
    if let Err(payload) = result {
        let caught = Caught { payload, last: LAST.take() };
        if let Ok(mut slot) = work.panic.lock() {
            slot.get_or_insert(caught);
        }
    }
}
