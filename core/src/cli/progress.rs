//! What people see while a run goes on: bars on a terminal, plain lines elsewhere, JSON lines if asked.

use super::logging::TOLD;
use super::{LogFormat, say};
use crate::runner::{Event, StageRecord, StageState};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

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

/// How fast the cases of a run go.
#[derive(Debug)]
pub(super) struct Pace {
    began: Instant,
    /// Cases that run.
    cases: usize,
    ended: usize,
    failed: usize,
    /// Seconds of work that all of them take in a row, as learned from earlier runs.
    learned_seconds: Option<f64>,
    /// Cases at a time.
    jobs: usize,
}

impl Pace {
    pub(super) fn new(cases: usize, learned_seconds: Option<f64>, jobs: usize) -> Self {
        Self { began: Instant::now(), cases, ended: 0, failed: 0, learned_seconds, jobs: jobs.max(1) }
    }

    /// Seconds that are left: as the cases so far went, before the first has ended as learned.
    fn seconds_left(&self, passed: f64) -> Option<f64> {
        let left = self.cases.saturating_sub(self.ended) as f64;
        if self.ended > 0 {
            return Some(passed / self.ended as f64 * left);
        }
        self.learned_seconds.map(|seconds| (seconds / self.jobs as f64 - passed).max(0.0))
    }

    /// `12 of 60 cases, 1 failed, 31.5 a minute, 1 min 30 s left`.
    fn text(&self, passed: f64) -> String {
        let mut text = format!("{} of {} cases", self.ended, self.cases);
        if self.failed > 0 {
            let _ = write!(text, ", {} failed", self.failed);
        }
        if self.ended > 0 && passed > 0.0 {
            let _ = write!(text, ", {:.1} a minute", self.ended as f64 / passed * 60.0);
        }
        if let Some(left) = self.seconds_left(passed) {
            let _ = write!(text, ", {} left", duration(left));
        }
        text
    }
}

/// `45 s`, `3 min`, `2 h 5 min`.
pub(super) fn duration(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    match seconds {
        _ if seconds < 90.0 => format!("{seconds:.0} s"),
        _ if minutes < 60 => format!("{minutes} min"),
        _ => format!("{} h {} min", minutes / 60, minutes % 60),
    }
}

/// Shows events.
pub(super) struct Reporter {
    format: LogFormat,
    /// Whether stderr is a terminal and the log is for people.
    bars: bool,
    running: Mutex<BTreeMap<(String, String), ProgressBar>>,
    /// For a cohort: a bar for its cases; stages are then not told of in lines.
    cohort: Option<(ProgressBar, Mutex<Pace>)>,
}

impl Reporter {
    /// Bars if stderr is a terminal and the log is for people; a line a stage.
    pub(super) fn new(format: LogFormat) -> Self {
        let terminal = std::io::stderr().is_terminal() && format == LogFormat::Text;
        Self { format, bars: terminal, running: Mutex::default(), cohort: None }
    }

    /// As [`Self::new`], with a line a case.
    pub(super) fn of_cohort(format: LogFormat, pace: Pace) -> Self {
        let mut reporter = Self::new(format);
        let bar = if reporter.bars {
            let style = ProgressStyle::with_template("  {spinner} {bar:30} {msg}");
            let bar = BARS.add(ProgressBar::new(pace.cases as u64));
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_message(pace.text(0.0));
            bar.enable_steady_tick(TICK);
            bar
        } else {
            ProgressBar::hidden()
        };
        reporter.cohort = Some((bar, Mutex::new(pace)));
        reporter
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

    /// Tells of a case of the cohort that has ended, in `line`.
    pub(super) fn case_ended(&self, ok: bool, line: &str) {
        let Some((bar, pace)) = &self.cohort else { return };
        let (ended, cases, text) = {
            let mut pace = pace.lock().unwrap_or_else(PoisonError::into_inner);
            pace.ended += 1;
            pace.failed += usize::from(!ok);
            (pace.ended, pace.cases, pace.text(pace.began.elapsed().as_secs_f64()))
        };
        bar.set_position(ended as u64);
        bar.set_message(text);
        self.above(&match line.split_once(": ") {
            Some((head, _)) if head == "error" || head == "note" => line.to_owned(),
            _ => format!("[{ended}/{cases}] {line}"),
        });
    }

    /// Says something above the bars.
    #[expect(clippy::unused_self, reason = "the bars of a reporter are the process's")]
    pub(super) fn above(&self, line: &str) {
        BARS.suspend(|| say(line));
    }

    /// Takes the cohort's bar away.
    pub(super) fn close(&self) {
        if let Some((bar, _)) = &self.cohort {
            bar.finish_and_clear();
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
        if self.cohort.is_some() {
            return;
        }
        let place = record.place();
        let line = match (record.state, &record.reason) {
            (StageState::Ran, _) if cached => format!("{case} {place:<28}  cached"),
            (StageState::Ran, _) => format!("{case} {place:<28} {seconds:>7.2} s"),
            (state, Some(reason)) => format!("{case} {place:<28} {}: {reason}", state.name()),
            (state, None) => format!("{case} {place:<28} {}", state.name()),
        };
        self.above(&line);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_learned_first_and_measured_then() {
        let mut pace = Pace::new(10, Some(200.0), 2);
        assert_eq!(pace.text(0.0), "0 of 10 cases, 2 min left");
        (pace.ended, pace.failed) = (5, 1);
        assert_eq!(pace.text(60.0), "5 of 10 cases, 1 failed, 5.0 a minute, 60 s left");
        assert_eq!(Pace::new(3, None, 1).text(0.0), "0 of 3 cases");
        assert_eq!(duration(7500.0), "2 h 5 min");
    }
}
