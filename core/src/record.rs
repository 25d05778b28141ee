//! What is known about each attempt at a case: small JSON files that are written once.
//!
//! A case's folder holds `0001.claim.json` (who works on it), `0001.end.json` (how it ended) and maybe `0001.values`. The next
//! number is the highest one there plus one, taken by creating its claim exclusively: of two processes one gets it. No clock,
//! no lock and no database decides anything; times are there for people. A claim without an end whose process is gone is an
//! attempt that was lost, and any process may make the next.
//!
//! Whatever lies in the folder, reading goes on: a torn or foreign file is named in [`Attempts::odd`].

mod attempts;
mod clock;
mod files;
mod process;
mod token;

pub use attempts::{Attempt, Attempts, Claimed, State};
pub use clock::{now, timestamp};
pub use files::{RecordError, StateFolder, is_disk_full, write_new, write_whole};
pub use process::{Heartbeat, Liveness, Process, STALE};
pub use token::Token;

pub(crate) use files::{Owned, sync_folder};

use crate::runner::StageState;
use crate::store::{Digest, KeyParts};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Version of the records' form. A reader takes what it knows and leaves the rest.
pub const FORMAT: u32 = 1;

/// Who works on a case, or a group stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// [`FORMAT`] of the writer.
    pub format: u32,
    /// The case's label, or the group stage's name.
    pub name: String,
    /// Number of the run that it is part of.
    pub run: u32,
    /// The process that works.
    pub process: Process,
    /// Folder with the process's `heartbeat.json` and `log.jsonl`, relative to the state folder: `runs/0007`.
    pub home: String,
    /// How a scheduler calls this attempt, if one started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Why it runs: "missing", "input `flair` has other content".
    pub why: String,
    /// What it is to be made from, as far as that was known before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Digest>,
    /// When it began, for people: RFC 3339, UTC.
    pub since: String,
}

impl Claim {
    /// Whether a scheduler's task of this run, with that token, takes the place of this claim: Slurm has ended what made it.
    pub fn is_overruled(&self, run: u32, token: Option<Token>) -> bool {
        let own = self.token.as_deref().and_then(Token::parse);
        self.run == run && token.zip(own).is_some_and(|(other, own)| other.overrules(&own))
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Every stage delivered or was left out by plan; the result is in its place.
    Ok,
    /// Some stage failed.
    Failed,
    /// It was stopped from outside.
    Interrupted,
    /// An input changed while it was read: nothing was published.
    Changed,
}

/// The record of an attempt that ended by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// [`FORMAT`] of the writer.
    pub format: u32,
    /// The case's label, or the group stage's name.
    pub name: String,
    /// Number of the run that it was part of.
    pub run: u32,
    /// How it ended.
    pub ending: Ending,
    /// Why, unless it is ok.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The way out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What it was made from: equal fingerprints, equal results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Digest>,
    /// The inputs that were present.
    #[serde(default)]
    pub present: BTreeSet<String>,
    /// The stages and unreadable inputs, in the graph's order.
    #[serde(default)]
    pub stages: Vec<StageEntry>,
    /// What it was read from.
    #[serde(default)]
    pub inputs: Vec<InputEntry>,
    /// What was published.
    #[serde(default)]
    pub outputs: Vec<OutputEntry>,
    /// Whether `NNNN.values` holds what group stages read.
    #[serde(default)]
    pub values: bool,
    /// Seconds from admission to the end.
    pub seconds: f64,
    /// When it began, for people: RFC 3339, UTC.
    pub since: String,
    /// When it ended, for people: RFC 3339, UTC.
    pub until: String,
}

/// What a stage did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageEntry {
    /// The stage's name; `input NAME` for a file that could not be read.
    pub stage: String,
    /// The member of a mapped stage.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub member: String,
    /// The operator it ran.
    pub operator: String,
    /// How it ended.
    pub state: StageState,
    /// Why, unless it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The way out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Where in the plugin's source, after a panic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Seconds the operator worked.
    pub seconds: f64,
    /// Its peak of memory in MiB, if it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_mib: Option<u64>,
    /// Whether the peak was measured with nothing else running.
    #[serde(default)]
    pub alone: bool,
    /// Whether its outputs came from the cache.
    #[serde(default)]
    pub cached: bool,
    /// The key of its result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Digest>,
    /// What that key is made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<KeyParts>,
    /// Content of what it delivered, by `port` or `port.member`.
    #[serde(default)]
    pub outputs: BTreeMap<String, Digest>,
}

impl StageEntry {
    /// `aligned` or `aligned (flair)`.
    pub fn place(&self) -> String {
        crate::runner::place(&self.stage, &self.member)
    }
}

/// A file that an attempt was read from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputEntry {
    /// The input's name.
    pub name: String,
    /// Where it lay, absolute; none for a number or text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// The number or text, as given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Its content, if it was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Its size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// A published file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputEntry {
    /// The output's name; empty for a file that belongs to another, a sidecar.
    pub output: String,
    /// Relative to the output folder.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// BLAKE3 of its content.
    pub blake3: Digest,
}

#[cfg(test)]
pub(crate) mod tests_support {
    use super::{BTreeSet, Claim, End, Ending, FORMAT, Process, StateFolder, now};

    /// Run 1 takes a case.
    pub(crate) fn claim(name: &str, process: &Process) -> Claim {
        Claim {
            format: FORMAT,
            name: name.to_owned(),
            run: 1,
            process: process.clone(),
            home: StateFolder::home(1),
            token: None,
            why: "missing".to_owned(),
            fingerprint: None,
            since: now(),
        }
    }

    /// A case ended well, and nothing else is known.
    pub(crate) fn blank_end(name: &str) -> End {
        End {
            format: FORMAT,
            name: name.to_owned(),
            run: 1,
            ending: Ending::Ok,
            reason: None,
            hint: None,
            fingerprint: None,
            present: BTreeSet::new(),
            stages: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            values: false,
            seconds: 1.0,
            since: now(),
            until: now(),
        }
    }
}
