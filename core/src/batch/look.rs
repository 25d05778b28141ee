//! What a run's log and records say about a case, for `status` and `why`.

use crate::record::State;
use serde_json::Value as Json;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

/// As much of the end of a log as is read: hundreds of stages.
const TAIL_BYTES: u64 = 1 << 20;

/// The last lines of a run's log, oldest first. A torn line is left out.
pub(super) fn tail(home: &Path) -> Vec<Json> {
    let read = || {
        let mut file = std::fs::File::open(home.join(super::LOG_FILE))?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// A text of a log line, of its own or of the stage that it was written in.
fn field<'a>(line: &'a Json, key: &str) -> Option<&'a str> {
    line.get(key).or_else(|| line.get("span")?.get(key))?.as_str()
}

/// Whether a log line is about a case.
pub(super) fn is_about(line: &Json, case: &str) -> bool {
    field(line, "case") == Some(case)
}

/// The stages of a case that have begun and not ended.
pub(super) fn running_stages(log: &[Json], case: &str) -> Vec<String> {
    let mut running: Vec<String> = Vec::new();
    for line in log.iter().filter(|line| is_about(line, case)) {
        let (event, stage) = (field(line, "event"), field(line, "stage").unwrap_or_default().to_owned());
        match event {
            Some("stage_started") => running.push(stage),
            Some("stage_ended") => running.retain(|name| *name != stage),
            Some("case_started" | "case_ended") => running.clear(),
            _ => {}
        }
    }
    running
}

/// A log line as people read it.
pub(super) fn line_text(line: &Json) -> String {
    let text = |key| field(line, key).unwrap_or_default();
    let mut words = vec![text("timestamp").to_owned(), text("level").to_owned()];
    let said = match text("event") {
        "" => text("message").to_owned(),
        event => {
            let mut said = vec![event.replace('_', " ")];
            said.extend(["state", "reason"].iter().map(|key| text(key).to_owned()).filter(|t| !t.is_empty()));
            said.join(", ")
        }
    };
    words.extend([text("stage").to_owned(), said].into_iter().filter(|word| !word.is_empty()));
    words.join("  ")
}

/// Where in a list a state comes: what needs somebody first.
pub(super) const fn urgency(state: State) -> u8 {
    match state {
        State::Running => 0,
        State::Failed => 1,
        State::Lost => 2,
        State::Changed => 3,
        State::Interrupted => 4,
        State::Never => 5,
        State::Done => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_last_line_is_left_out_and_running_stages_are_those_that_did_not_end() {
        let folder = tempfile::tempdir().unwrap();
        let log = concat!(
            "{\"event\":\"stage_started\",\"case\":\"sub-01\",\"stage\":\"brain\"}\n",
            "{\"event\":\"stage_started\",\"case\":\"sub-02\",\"stage\":\"brain\"}\n",
            "{\"event\":\"stage_started\",\"case\":\"sub-01\",\"stage\":\"aligned (flair)\"}\n",
            "{\"event\":\"stage_ended\",\"case\":\"sub-01\",\"stage\":\"brain\"}\n",
            "{\"message\":\"looking\",\"level\":\"INFO\",\"span\":{\"case\":\"sub-01\",\"stage\":\"brain\"}}\n",
            "{\"event\":\"stage_en",
        );
        std::fs::write(folder.path().join(crate::batch::LOG_FILE), log).unwrap();
        let lines = tail(folder.path());
        assert_eq!(lines.len(), 5);
        assert_eq!(running_stages(&lines, "sub-01"), ["aligned (flair)"]);
        assert_eq!(running_stages(&lines, "sub-02"), ["brain"]);
        assert!(is_about(&lines[4], "sub-01"));
        assert_eq!(line_text(&lines[4]), "  INFO  brain  looking");
        assert!(tail(Path::new("nowhere")).is_empty());
    }
}
