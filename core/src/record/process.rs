//! Whether the process that wrote a record is still alive.

use super::files::{StateFolder, write_passing};
use super::{RecordError, clock};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

/// A process of another machine whose heartbeat is older than this is taken for dead.
pub const STALE: Duration = Duration::from_secs(300);

/// A process, so that no other one is ever taken for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks since the machine did; 0 where that cannot be told.
    pub started: u64,
    /// The machine's name.
    pub host: String,
    /// The machine's start, as the kernel names it; empty where that cannot be told.
    pub boot: String,
    /// The space in which its number counts: containers have their own.
    #[serde(default)]
    pub space: String,
}

impl Process {
    /// This process.
    pub fn this() -> &'static Self {
        static THIS: LazyLock<Process> = LazyLock::new(|| {
            let pid = std::process::id();
            let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
            let space = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
            Process {
                pid,
                started: running_since(pid).unwrap_or(0),
                host: host(),
                boot: read("/proc/sys/kernel/random/boot_id"),
                space: space.to_string_lossy().into_owned(),
            }
        });
        &THIS
    }

    /// A word of letters, digits and `-` for names of files, from which [`Self::is_own_tag_alive`] can tell its end.
    pub(crate) fn tag(&self) -> String {
        let short = |text: &str| blake3::hash(text.as_bytes()).to_hex()[..8].to_owned();
        let machine = short(&format!("{} {}", self.host, self.space));
        format!("{}-{}-{machine}-{}", self.pid, self.started, short(&self.boot))
    }

    /// Whether the process with that tag is alive; none if that cannot be told from here.
    pub(super) fn is_own_tag_alive(tag: &str) -> Option<bool> {
        let this = Self::this();
        let own = this.tag();
        let (mut parts, mut mine) = (tag.split('-'), own.split('-').skip(2));
        let (pid, started) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let (machine, boot) = (parts.next()?, parts.next()?);
        if this.boot.is_empty() || mine.next() != Some(machine) {
            return None;
        }
        Some(mine.next() == Some(boot) && running_since(pid) == Some(started))
    }
}

/// The machine's name.
fn host() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = kernel.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}

/// When a process of this machine started, in clock ticks since the machine did; none if there is none, or only its remains.
///
/// # Source
/// proc(5), `/proc/pid/stat`: the name in parentheses may hold anything, so fields are counted from its end.
fn running_since(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_whitespace().collect();
    // Field 3 is the state (Z, X: dead), field 22 the start.
    let dead = matches!(*fields.first()?, "Z" | "X" | "x");
    if dead { None } else { fields.get(19)?.parse().ok() }
}

/// A sign of life, rewritten every few seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Whose.
    pub process: Process,
    /// Counts up.
    pub beat: u64,
    /// Memory that the process holds, in MiB.
    #[serde(default)]
    pub resident_mib: Option<u64>,
    /// Memory that could still be had, in MiB.
    #[serde(default)]
    pub available_mib: Option<u64>,
    /// When, for people: RFC 3339, UTC.
    pub at: String,
}

impl Heartbeat {
    /// Name of the file in a run's folder.
    pub const FILE: &'static str = "heartbeat.json";

    /// A sign of life of this process, now.
    pub fn of_this_process(beat: u64, resident_mib: Option<u64>, available_mib: Option<u64>) -> Self {
        Self { process: Process::this().clone(), beat, resident_mib, available_mib, at: clock::now() }
    }

    /// Replaces the heartbeat in a run's folder.
    ///
    /// # Errors
    /// [`RecordError`] if it cannot be written.
    pub fn write(&self, state: &StateFolder, home: &Path) -> Result<(), RecordError> {
        let text = serde_json::to_vec(self).expect("a heartbeat is plain data");
        write_passing(state, &home.join(Self::FILE), &text)
    }

    /// The heartbeat in a run's folder, if there is one and it can be read.
    pub fn read(home: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(home.join(Self::FILE)).ok()?).ok()
    }
}

/// Tells the living from the dead, for one output folder.
#[derive(Clone, Debug)]
pub struct Liveness {
    state: StateFolder,
    /// Now, by the clock that stamps files there: a file server may have its own.
    now: SystemTime,
}

impl Liveness {
    /// As things are now.
    pub fn now(state: &StateFolder) -> Self {
        let stamped = tempfile::tempfile_in(state.path()).and_then(|file| file.metadata()?.modified());
        Self { state: state.clone(), now: stamped.unwrap_or_else(|_| SystemTime::now()) }
    }

    /// Whether a process still works. `home` is its run's folder, relative to the state folder.
    pub fn is_alive(&self, process: &Process, home: &str) -> bool {
        let this = Process::this();
        let here = process.host == this.host && !this.boot.is_empty();
        if here && process.boot != this.boot {
            return false;
        }
        if here && process.space == this.space {
            return running_since(process.pid) == Some(process.started);
        }
        let heartbeat = self.state.path().join(home).join(Heartbeat::FILE);
        Heartbeat::read(&self.state.path().join(home)).is_some_and(|beat| beat.process == *process)
            && self.is_fresh(&heartbeat)
    }

    /// Whether a file was written within [`STALE`] of now; a time that far ahead comes from a clock that was wrong.
    pub(super) fn is_fresh(&self, file: &Path) -> bool {
        let Ok(written) = file.metadata().and_then(|data| data.modified()) else { return false };
        let age = self.now.duration_since(written).unwrap_or_else(|ahead| ahead.duration());
        age < STALE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> (tempfile::TempDir, StateFolder) {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::of(folder.path());
        state.make().unwrap();
        (folder, state)
    }

    #[test]
    fn a_process_that_got_the_number_of_a_dead_one_is_not_taken_for_it() {
        let (_folder, state) = state();
        let liveness = Liveness::now(&state);
        let this = Process::this().clone();
        assert!(liveness.is_alive(&this, "runs/0001"));
        assert!(!liveness.is_alive(&Process { started: this.started + 1, ..this.clone() }, "runs/0001"));
        assert!(!liveness.is_alive(&Process { boot: "earlier".to_owned(), ..this.clone() }, "runs/0001"));
        assert_eq!(Process::is_own_tag_alive(&this.tag()), Some(true));
        let dead = Process { started: 1, ..this.clone() };
        assert_eq!(Process::is_own_tag_alive(&dead.tag()), Some(false));
        let elsewhere = Process { host: "elsewhere".to_owned(), ..this };
        assert_eq!(Process::is_own_tag_alive(&elsewhere.tag()), None);
    }

    #[test]
    fn a_process_of_another_machine_lives_as_long_as_its_heart_beats() {
        let (_folder, state) = state();
        let home = state.run(1);
        std::fs::create_dir_all(&home).unwrap();
        let there = Process { host: "elsewhere".to_owned(), ..Process::this().clone() };
        let mut beat = Heartbeat::of_this_process(1, None, None);
        let alive = || Liveness::now(&state).is_alive(&there, "runs/0001");
        assert!(!alive(), "there is no heartbeat");
        beat.write(&state, &home).unwrap();
        assert!(!alive(), "the heartbeat is another's");
        beat.process = there.clone();
        beat.write(&state, &home).unwrap();
        assert!(alive());
        for moved in [SystemTime::now() - 2 * STALE, SystemTime::now() + 2 * STALE] {
            let file = std::fs::File::options().write(true).open(home.join(Heartbeat::FILE)).unwrap();
            file.set_modified(moved).unwrap();
            assert!(!alive(), "written {moved:?}");
        }
    }
}
