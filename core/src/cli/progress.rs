//! What people see while a run goes on: bars on a terminal, plain lines elsewhere, JSON lines if asked.

use super::logging::TOLD;
use super::{LogFormat, say};
use crate::runner::{Event, StageRecord, StageState};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

/// Steps of a bar: stages tell a fraction.
const STEPS: u64 = 1000;
/// How often a bar that hears nothing turns its wheel.
const TICK: Duration = Duration::from_millis(120);

/// The bars of the process: whoever writes to stderr writes around them.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Standard error, for log lines: bars step aside while a line is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stderr;

impl std::io::Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        BARS.suspend(|| std::io::stderr().write_all(bytes)).map(|()| bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

/// Shows events.
pub(super) struct Reporter {
    format: LogFormat,
    /// Whether stderr is a terminal and the log is for people.
    bars: bool,
    running: Mutex<BTreeMap<(String, String), ProgressBar>>,
}

impl Reporter {
    /// Bars if stderr is a terminal and the log is for people.
    pub(super) fn new(format: LogFormat) -> Self {
        let terminal = std::io::stderr().is_terminal() && format == LogFormat::Text;
        Self { format, bars: terminal, running: Mutex::default() }
    }

    /// Shows one event.
    pub(super) fn show(&self, event: &Event) {
        log(event);
        if self.format == LogFormat::Json {
            return;
        }
        match event {
            Event::StageStarted { case, stage } => self.start(case, stage),
            Event::StageProgress { case, stage, fraction, message } => {
                if let Some(bar) = self.bars().get(&(case.clone(), stage.clone())) {
                    bar.set_position((fraction * STEPS as f64) as u64);
                    bar.set_message(message.clone());
                }
            }
            Event::StageEnded { case, record, seconds, cached } => self.end(case, record, *seconds, *cached),
            Event::CaseStarted { .. } | Event::CaseEnded { .. } => {}
        }
    }

    fn bars(&self) -> std::sync::MutexGuard<'_, BTreeMap<(String, String), ProgressBar>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, case: &str, stage: &str) {
        if !self.bars {
            return;
        }
        let style = ProgressStyle::with_template("  {spinner} {prefix:<32} {bar:24} {elapsed:>4} {msg}");
        let bar = BARS.add(ProgressBar::new(STEPS));
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(format!("{case} {stage}"));
        bar.enable_steady_tick(TICK);
        self.bars().insert((case.to_owned(), stage.to_owned()), bar);
    }

    fn end(&self, case: &str, record: &StageRecord, seconds: f64, cached: bool) {
        if let Some(bar) = self.bars().remove(&(case.to_owned(), record.place())) {
            bar.finish_and_clear();
        }
        let place = record.place();
        let line = match (record.state, &record.reason) {
            (StageState::Ran, _) if cached => format!("{case} {place:<28}  stored"),
            (StageState::Ran, _) => format!("{case} {place:<28} {seconds:>7.2} s"),
            (state, Some(reason)) => format!("{case} {place:<28} {}: {reason}", state.name()),
            (state, None) => format!("{case} {place:<28} {}", state.name()),
        };
        BARS.suspend(|| say(&line));
    }
}

/// For programs and for the run's log.
fn log(event: &Event) {
    match event {
        Event::CaseStarted { case, stages } => {
            tracing::info!(target: TOLD, event = "case_started", case, stages);
        }
        Event::StageStarted { case, stage } => {
            tracing::info!(target: TOLD, event = "stage_started", case, stage);
        }
        Event::StageProgress { case, stage, fraction, message } => {
            tracing::debug!(target: TOLD, event = "stage_progress", case, stage, fraction, doing = message);
        }
        Event::StageEnded { case, record, seconds, cached } => {
            let (stage, state) = (record.place(), record.state.name());
            let reason = record.reason.as_deref().unwrap_or_default();
            if record.state == StageState::Failed {
                tracing::error!(target: TOLD, event = "stage_ended", case, stage, state, seconds, reason);
            } else {
                tracing::info!(target: TOLD, event = "stage_ended", case, stage, state, seconds, cached, reason);
            }
        }
        Event::CaseEnded { case, ok, seconds } => {
            tracing::info!(target: TOLD, event = "case_ended", case, ok, seconds);
        }
    }
}
