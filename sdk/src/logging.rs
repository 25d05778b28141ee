//! `tracing` inside a plugin: events travel to the engine's subscriber with level, place, spans and fields.
//!
//! Each plugin has its own copy of `tracing`'s global dispatcher, so this one is set when the engine attaches itself.

use neuroloom_abi::LoggerObject;
use std::cell::RefCell;
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Sends this library's events to the engine from now on.
pub(crate) fn install(logger: LoggerObject) {
    let forward =
        Forward { logger, names: Mutex::new(std::collections::BTreeMap::new()), next: AtomicU64::new(1) };
    // Fails only where a dispatcher exists already: in a test that links the plugin, where events need no way out.
    let _ = tracing::subscriber::set_global_default(forward);
}

thread_local! {
    /// The spans this thread is in, outermost first.
    static STACK: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

struct Forward {
    logger: LoggerObject,
    names: Mutex<std::collections::BTreeMap<u64, String>>,
    next: AtomicU64,
}

impl Forward {
    fn spans(&self) -> String {
        let names = self.names.lock().expect("no code panics under this lock");
        STACK.with_borrow(|stack| {
            let list: Vec<&str> = stack.iter().filter_map(|id| names.get(id).map(String::as_str)).collect();
            list.join(":")
        })
    }
}

const fn number_of(level: Level) -> u8 {
    match level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let gap = if self.0.is_empty() { "" } else { " " };
        let _ = match field.name() {
            "message" => write!(self.0, "{gap}{value:?}"),
            name => write!(self.0, "{gap}{name}={value:?}"),
        };
    }
}

impl Subscriber for Forward {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        number_of(*metadata.level()) <= self.logger.max_level()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match self.logger.max_level() {
            0 => LevelFilter::OFF,
            1 => LevelFilter::ERROR,
            2 => LevelFilter::WARN,
            3 => LevelFilter::INFO,
            4 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        })
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Line(String::new());
        span.record(&mut fields);
        let name = span.metadata().name();
        let text = if fields.0.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", fields.0) };
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.names.lock().expect("no code panics under this lock").insert(id, text);
        Id::from_u64(id)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        let (level, target) = (number_of(*event.metadata().level()), event.metadata().target());
        self.logger.log(level, target.into(), self.spans().as_str().into(), line.0.as_str().into());
    }

    fn enter(&self, span: &Id) {
        STACK.with_borrow_mut(|stack| stack.push(span.into_u64()));
    }

    fn exit(&self, span: &Id) {
        STACK.with_borrow_mut(|stack| {
            if let Some(at) = stack.iter().rposition(|id| *id == span.into_u64()) {
                stack.remove(at);
            }
        });
    }

    fn try_close(&self, span: Id) -> bool {
        self.names.lock().expect("no code panics under this lock").remove(&span.into_u64());
        true
    }
}
