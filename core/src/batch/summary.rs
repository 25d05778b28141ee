//! What came of a run: counts, the last line, and the exit code. One place decides both.

use serde::{Deserialize, Serialize};

/// How a run as a whole ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All is well, or there was nothing to do.
    Fine,
    /// Some case failed, or could not be written.
    SomeFailed,
    /// No case can run.
    Nothing,
    /// Stopped by SIGTERM; the same command goes on.
    Terminated,
    /// Stopped by Ctrl-C; the same command goes on.
    CtrlC,
}

/// Who stopped a run from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// SIGTERM.
    Terminated,
    /// Ctrl-C.
    CtrlC,
}

/// Cases by what came of them. Each case counts once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// All cases of the cohort, as far as it was asked for.
    pub cases: usize,
    /// Delivered in this run.
    pub done: usize,
    /// Failed in this run.
    pub failed: usize,
    /// An input changed while they ran.
    pub changed: usize,
    /// Their results were there.
    pub up_to_date: usize,
    /// Cannot run by plan.
    pub cannot: usize,
    /// Another process works on them, or has finished them meanwhile.
    pub busy: usize,
    /// Not asked for.
    pub left_out: usize,
    /// Begun, and stopped from outside or for want of space.
    pub interrupted: usize,
    /// Not begun.
    pub not_begun: usize,
    /// Whether the run stopped because nothing can be written any more.
    pub full: bool,
    /// Group stages that failed.
    pub groups_failed: usize,
    /// Seconds from start to end.
    pub seconds: f64,
}

impl Summary {
    /// The exit of a run with these counts, and its last line. `strict`: a case that cannot run is a failure.
    pub fn conclude(&self, stopped: Option<Stopped>, strict: bool) -> (Outcome, String) {
        let outcome = self.outcome(stopped, strict);
        let open = self.interrupted + self.not_begun;
        let head = match outcome {
            Outcome::Terminated | Outcome::CtrlC if open > 0 => "interrupted",
            Outcome::Terminated | Outcome::CtrlC => "interrupted at the end",
            Outcome::SomeFailed if self.full => "stopped, as nothing can be written any more",
            Outcome::SomeFailed => "finished with failures",
            Outcome::Nothing => "no case can run",
            Outcome::Fine if self.done == 0 => "nothing to do",
            Outcome::Fine => "finished",
        };
        let mut line = format!("{head}: {}", self.counts());
        if open > 0 {
            line.push_str("; the same command goes on from here");
        }
        (outcome, line)
    }

    fn outcome(&self, stopped: Option<Stopped>, strict: bool) -> Outcome {
        match stopped {
            Some(Stopped::Terminated) => Outcome::Terminated,
            Some(Stopped::CtrlC) => Outcome::CtrlC,
            None if self.full || self.failed + self.changed + self.groups_failed > 0 => Outcome::SomeFailed,
            None if self.cannot > 0 && self.cannot == self.cases => Outcome::Nothing,
            None if strict && self.cannot > 0 => Outcome::SomeFailed,
            None => Outcome::Fine,
        }
    }

    /// `3 done, 1 failed, 56 up to date`.
    fn counts(&self) -> String {
        let words = [
            (self.done, "done"),
            (self.failed, "failed"),
            (self.changed, "changed while they ran"),
            (self.up_to_date, "up to date"),
            (self.cannot, "cannot run"),
            (self.busy, "with another run"),
            (self.left_out, "left out"),
            (self.interrupted, "interrupted"),
            (self.not_begun, "not begun"),
            (self.groups_failed, "group stages failed"),
        ];
        let words: Vec<String> = words
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        if words.is_empty() { "no cases".to_owned() } else { words.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conclude(summary: &Summary, stopped: Option<Stopped>, strict: bool) -> (Outcome, String) {
        summary.conclude(stopped, strict)
    }

    #[test]
    fn the_last_line_and_the_exit_agree() {
        let cases = 10;
        let fine = Summary { cases, done: 9, cannot: 1, ..Summary::default() };
        let (outcome, line) = conclude(&fine, None, false);
        assert_eq!((outcome, line.as_str()), (Outcome::Fine, "finished: 9 done, 1 cannot run"));
        assert_eq!(conclude(&fine, None, true).0, Outcome::SomeFailed);
        let failed = Summary { cases, done: 9, failed: 1, ..Summary::default() };
        let (outcome, line) = conclude(&failed, None, false);
        assert_eq!(
            (outcome, line.as_str()),
            (Outcome::SomeFailed, "finished with failures: 9 done, 1 failed")
        );
        let idle = Summary { cases, up_to_date: 10, ..Summary::default() };
        assert_eq!(conclude(&idle, None, true), (Outcome::Fine, "nothing to do: 10 up to date".to_owned()));
        let hopeless = Summary { cases, cannot: 10, ..Summary::default() };
        assert_eq!(conclude(&hopeless, None, false).0, Outcome::Nothing);
        let changed = Summary { cases, done: 9, changed: 1, ..Summary::default() };
        assert_eq!(conclude(&changed, None, false).0, Outcome::SomeFailed);
    }

    #[test]
    fn who_is_stopped_can_go_on() {
        let stopped = Summary { cases: 10, done: 4, interrupted: 2, not_begun: 4, ..Summary::default() };
        let (outcome, line) = conclude(&stopped, Some(Stopped::Terminated), false);
        assert_eq!(outcome, Outcome::Terminated);
        assert_eq!(
            line,
            "interrupted: 4 done, 2 interrupted, 4 not begun; the same command goes on from here"
        );
        assert_eq!(conclude(&stopped, Some(Stopped::CtrlC), false).0, Outcome::CtrlC);
        let full = Summary { full: true, ..stopped };
        let (outcome, line) = conclude(&full, None, false);
        assert_eq!(outcome, Outcome::SomeFailed);
        assert!(line.starts_with("stopped, as nothing can be written any more: 4 done"), "{line}");
        assert!(line.ends_with("the same command goes on from here"), "{line}");
    }
}
