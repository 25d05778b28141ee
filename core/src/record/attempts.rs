//! The attempts at a case, or at a group stage.

use super::files::{RecordError, StateFolder, write_new};
use super::process::Liveness;
use super::{Claim, End, Ending, Token};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What the records say about a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nobody tried.
    Never,
    /// Somebody is at it.
    Running,
    /// The last attempt delivered.
    Done,
    /// A stage failed in the last attempt.
    Failed,
    /// The last attempt was stopped from outside.
    Interrupted,
    /// The last attempt's process is gone without a word: killed, or the machine went down.
    Lost,
    /// An input changed under the last attempt.
    Changed,
}

impl State {
    /// As written in tables and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Lost => "lost",
            Self::Changed => "changed",
        }
    }
}

/// One attempt.
#[derive(Clone, Debug, Default)]
pub struct Attempt {
    /// Its number, from 1.
    pub number: u32,
    /// Who works on it; none if that file is missing or damaged.
    pub claim: Option<Claim>,
    /// How it ended, if it did and the file can be read.
    pub end: Option<End>,
}

/// What came of asking for the next number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// The attempt with that number is the caller's.
    Mine(u32),
    /// Another process was quicker: look again.
    Taken,
}

/// All attempts at a case, or at a group stage.
#[derive(Clone, Debug, Default)]
pub struct Attempts {
    folder: PathBuf,
    /// The highest number that any file carries, readable or not.
    last: u32,
    /// In the order of their numbers.
    pub list: Vec<Attempt>,
    /// Files that are no records or are damaged, and why.
    pub odd: Vec<(PathBuf, String)>,
}

impl Attempts {
    /// The attempts at a case.
    pub fn of_case(state: &StateFolder, label: &str) -> Self {
        Self::read(&state.case(label))
    }

    /// The attempts whose records lie in a folder; none if there is no such folder.
    pub fn read(folder: &Path) -> Self {
        let mut all = Self { folder: folder.to_owned(), ..Self::default() };
        let mut found: BTreeMap<u32, Attempt> = BTreeMap::new();
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => {
                if error.kind() != std::io::ErrorKind::NotFound {
                    all.odd.push((folder.to_owned(), error.to_string()));
                }
                return all;
            }
        };
        for entry in entries.filter_map(Result::ok) {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            let number = name.split_once('.').and_then(|(number, rest)| Some((number.parse().ok()?, rest)));
            let Some((number, kind)) = number else {
                all.odd.push((path, "no record has such a name".to_owned()));
                continue;
            };
            all.last = all.last.max(number);
            let attempt = found.entry(number).or_insert(Attempt { number, ..Attempt::default() });
            match kind {
                "claim.json" => attempt.claim = parse(&path, &mut all.odd),
                "end.json" => attempt.end = parse(&path, &mut all.odd),
                "values" => {}
                _ => all.odd.push((path, "no record has such a name".to_owned())),
            }
        }
        all.list = found.into_values().collect();
        all.odd.sort();
        all
    }

    /// The folder of the records.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The latest attempt.
    pub fn latest(&self) -> Option<&Attempt> {
        self.list.last()
    }

    /// The latest attempt that delivered: its result is the one in place.
    pub fn latest_ok(&self) -> Option<(u32, &End)> {
        self.ends().rfind(|(_, end)| end.ending == Ending::Ok)
    }

    /// All attempts that ended by themselves, in order.
    pub fn ends(&self) -> impl DoubleEndedIterator<Item = (u32, &End)> {
        self.list.iter().filter_map(|attempt| Some((attempt.number, attempt.end.as_ref()?)))
    }

    /// What the latest attempt says.
    pub fn state(&self, liveness: &Liveness) -> State {
        let Some(latest) = self.latest() else { return State::Never };
        match (&latest.end, &latest.claim) {
            (Some(end), _) => match end.ending {
                Ending::Ok => State::Done,
                Ending::Failed => State::Failed,
                Ending::Interrupted => State::Interrupted,
                Ending::Changed => State::Changed,
            },
            (None, Some(claim)) if liveness.is_alive(&claim.process, &claim.home) => State::Running,
            (None, _) => State::Lost,
        }
    }

    /// Takes the number after the highest one seen, if no other process has taken it since.
    ///
    /// # Errors
    /// [`RecordError`] if the claim cannot be written.
    pub fn claim_next(&self, state: &StateFolder, claim: &Claim) -> Result<Claimed, RecordError> {
        let number = self.last + 1;
        let text = serde_json::to_vec_pretty(claim).expect("a claim is plain data");
        let created = write_new(state, &Self::claim_path(&self.folder, number), &text)?;
        Ok(if created { Claimed::Mine(number) } else { Claimed::Taken })
    }

    /// Whether an attempt may not publish any more: another has taken its place, or somebody has written its end.
    ///
    /// The higher number has the right, but among tasks of one run that a scheduler started, the one it started last.
    pub fn is_overtaken(folder: &Path, number: u32) -> bool {
        let all = Self::read(folder);
        let own = all.list.iter().find(|attempt| attempt.number == number);
        let claim = own.and_then(|attempt| attempt.claim.as_ref());
        let token = |claim: &Claim| claim.token.as_deref().and_then(Token::parse);
        let newer = |other: &Attempt| match (claim, &other.claim) {
            (Some(own), Some(theirs)) if own.is_overruled(theirs.run, token(theirs)) => true,
            (Some(own), Some(theirs)) if theirs.is_overruled(own.run, token(own)) => false,
            _ => other.number > number,
        };
        own.is_some_and(|attempt| attempt.end.is_some()) || all.list.iter().any(newer)
    }

    /// Writes how an attempt ended, unless that is written already.
    ///
    /// # Errors
    /// [`RecordError`] if it cannot be written.
    pub fn write_end(
        state: &StateFolder,
        folder: &Path,
        number: u32,
        end: &End,
    ) -> Result<bool, RecordError> {
        let text = serde_json::to_vec_pretty(end).expect("an end is plain data");
        write_new(state, &Self::end_path(folder, number), &text)
    }

    /// `0001.claim.json`.
    pub fn claim_path(folder: &Path, number: u32) -> PathBuf {
        folder.join(format!("{number:04}.claim.json"))
    }

    /// `0001.end.json`.
    pub fn end_path(folder: &Path, number: u32) -> PathBuf {
        folder.join(format!("{number:04}.end.json"))
    }

    /// `0001.values`: an entry file with what group stages read.
    pub fn values_path(folder: &Path, number: u32) -> PathBuf {
        folder.join(format!("{number:04}.values"))
    }
}

/// Reads one record; what cannot be read is named.
fn parse<T: DeserializeOwned>(path: &Path, odd: &mut Vec<(PathBuf, String)>) -> Option<T> {
    let read = std::fs::read(path).map_err(|error| error.to_string());
    let parsed = read.and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string()));
    parsed.map_err(|reason| odd.push((path.to_owned(), reason))).ok()
}

#[cfg(test)]
mod tests {
    use super::super::{Process, tests_support};
    use super::*;

    fn scene() -> (tempfile::TempDir, StateFolder) {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::of(folder.path());
        state.make().unwrap();
        (folder, state)
    }

    fn claim(process: &Process) -> Claim {
        tests_support::claim("sub-01", process)
    }

    fn end(ending: Ending) -> End {
        End { ending, ..tests_support::blank_end("sub-01") }
    }

    #[test]
    fn a_case_goes_from_never_over_running_to_its_end_and_a_dead_process_loses_it() {
        let (_folder, state) = scene();
        let read = || Attempts::of_case(&state, "sub-01");
        let now = || read().state(&Liveness::now(&state));
        assert_eq!(now(), State::Never);
        assert_eq!(read().claim_next(&state, &claim(Process::this())).unwrap(), Claimed::Mine(1));
        assert_eq!(now(), State::Running);
        let endings = [
            (Ending::Failed, State::Failed),
            (Ending::Interrupted, State::Interrupted),
            (Ending::Changed, State::Changed),
            (Ending::Ok, State::Done),
        ];
        for (number, (ending, expected)) in (1..).zip(endings) {
            assert!(Attempts::write_end(&state, &state.case("sub-01"), number, &end(ending)).unwrap());
            assert_eq!(now(), expected);
            assert_eq!(
                read().claim_next(&state, &claim(Process::this())).unwrap(),
                Claimed::Mine(number + 1)
            );
        }
        assert_eq!(read().latest_ok().map(|(number, _)| number), Some(4));
        let dead = Process { started: 1, ..Process::this().clone() };
        read().claim_next(&state, &claim(&dead)).unwrap();
        assert_eq!(now(), State::Lost);
    }

    #[test]
    fn who_looked_before_another_claimed_must_look_again() {
        let (_folder, state) = scene();
        let (one, two) = (Attempts::of_case(&state, "sub-01"), Attempts::of_case(&state, "sub-01"));
        assert_eq!(one.claim_next(&state, &claim(Process::this())).unwrap(), Claimed::Mine(1));
        assert_eq!(two.claim_next(&state, &claim(Process::this())).unwrap(), Claimed::Taken);
    }

    #[test]
    fn a_task_that_was_put_back_overrules_its_earlier_start_whatever_the_numbers_say() {
        let (_folder, state) = scene();
        let records = state.case("sub-01");
        let take = |token: &str| {
            let claim = Claim { token: Some(token.to_owned()), ..claim(Process::this()) };
            Attempts::of_case(&state, "sub-01").claim_next(&state, &claim).unwrap();
        };
        take("slurm:12_3.1");
        take("slurm:12_3.0");
        assert!(!Attempts::is_overtaken(&records, 1), "the later start");
        assert!(Attempts::is_overtaken(&records, 2), "the earlier start, which woke up late");
        take("slurm:13_0.0");
        assert!(Attempts::is_overtaken(&records, 1));
        assert!(!Attempts::is_overtaken(&records, 3));
        Attempts::write_end(&state, &records, 3, &end(Ending::Interrupted)).unwrap();
        assert!(Attempts::is_overtaken(&records, 3), "somebody gave it up");
    }

    #[test]
    fn torn_and_foreign_files_are_named_and_their_numbers_are_never_used_again() {
        let (_folder, state) = scene();
        let folder = state.case("sub-01");
        std::fs::create_dir_all(&folder).unwrap();
        Attempts::of_case(&state, "sub-01").claim_next(&state, &claim(Process::this())).unwrap();
        for (name, text) in
            [("0001.end.json", "{\"format\": 1, \"na"), ("notes.txt", "mine"), ("0007.claim.json", "")]
        {
            std::fs::write(folder.join(name), text).unwrap();
        }
        let attempts = Attempts::of_case(&state, "sub-01");
        assert_eq!(attempts.odd.len(), 3, "{:?}", attempts.odd);
        assert_eq!(attempts.state(&Liveness::now(&state)), State::Lost);
        assert_eq!(attempts.claim_next(&state, &claim(Process::this())).unwrap(), Claimed::Mine(8));
    }

    #[test]
    fn records_of_a_later_engine_are_read_as_far_as_they_are_known() {
        let mut text = serde_json::to_value(end(Ending::Ok)).unwrap();
        text["format"] = 2.into();
        text["weather"] = "fine".into();
        let read: End = serde_json::from_value(text).unwrap();
        assert_eq!((read.format, read.ending), (2, Ending::Ok));
    }
}
