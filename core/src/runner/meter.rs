//! How much memory stages take: the growth of the process's own memory while they run.
//!
//! Plugins allocate as they like, so the engine looks from outside: resident memory that belongs to no file, read at the start
//! and end of each stage and at intervals between. A figure is a stage's own only if it ran alone; others are upper bounds.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Between two looks. A peak that is shorter may be missed; a look costs some microseconds.
pub(super) const INTERVAL: Duration = Duration::from_millis(20);

/// Looks at the process, and remembers the highest for each stage that runs.
pub(super) struct Meter {
    /// `/proc/self/statm`, where there is one.
    source: Option<File>,
    page_bytes: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    running: BTreeMap<u64, Running>,
}

struct Running {
    start_bytes: u64,
    peak_bytes: u64,
    alone: bool,
}

/// What was seen of a stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Growth {
    /// In MiB, rounded up; none where the system does not tell.
    pub(super) peak_mib: Option<u64>,
    /// Whether no other stage ran meanwhile.
    pub(super) alone: bool,
}

/// A stage that is being watched.
pub(super) struct Watch {
    meter: Arc<Meter>,
    id: u64,
}

impl Meter {
    pub(super) fn new() -> Arc<Self> {
        let source = File::open("/proc/self/statm").ok();
        Arc::new(Self { source, page_bytes: page_bytes().unwrap_or_default(), state: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resident memory that belongs to no file, in bytes.
    #[cfg(unix)]
    fn own_bytes(&self) -> Option<u64> {
        use std::os::unix::fs::FileExt as _;
        /// Room for the seven numbers of the line.
        const LINE_BYTES: usize = 128;
        let mut line = [0; LINE_BYTES];
        let length = self.source.as_ref()?.read_at(&mut line, 0).ok()?;
        let text = std::str::from_utf8(&line[..length]).ok()?;
        let mut pages = text.split_whitespace().skip(1).map_while(|word| word.parse::<u64>().ok());
        let (resident, of_files) = (pages.next()?, pages.next()?);
        Some(resident.saturating_sub(of_files) * self.page_bytes)
    }

    #[cfg(not(unix))]
    fn own_bytes(&self) -> Option<u64> {
        None
    }

    /// Looks now.
    pub(super) fn look(&self) {
        let Some(bytes) = self.own_bytes() else { return };
        for running in self.lock().running.values_mut() {
            running.peak_bytes = running.peak_bytes.max(bytes);
        }
    }

    /// Begins to watch a stage.
    pub(super) fn begin(self: &Arc<Self>) -> Watch {
        let bytes = self.own_bytes().unwrap_or_default();
        let mut state = self.lock();
        let (id, alone) = (state.next, state.running.is_empty());
        state.next += 1;
        state.running.values_mut().for_each(|other| other.alone = false);
        state.running.insert(id, Running { start_bytes: bytes, peak_bytes: bytes, alone });
        Watch { meter: Arc::clone(self), id }
    }
}

/// Bytes of a page: resident memory as `/proc` tells it in kB, held against what it tells in pages.
fn page_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_whitespace().next()?;
    let resident: u64 = pages.split_whitespace().nth(1)?.parse().ok()?;
    // Both numbers move between the two looks; pages are powers of two.
    let about = (kib.parse::<u64>().ok()? * 1024).checked_div(resident)?;
    Some((about * 3 / 4).next_power_of_two())
}

impl Watch {
    /// What was seen until now.
    pub(super) fn end(self) -> Growth {
        /// Bytes of a MiB.
        const MIB: u64 = 1 << 20;
        let bytes = self.meter.own_bytes();
        let state = self.meter.lock();
        let Some(running) = state.running.get(&self.id) else { return Growth::default() };
        let growth = |now: u64| running.peak_bytes.max(now).saturating_sub(running.start_bytes);
        Growth { peak_mib: bytes.map(|now| growth(now).div_ceil(MIB)), alone: running.alone }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.meter.lock().running.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_stage_that_fills_64_mib_is_seen_and_two_at_once_are_not_alone() {
        let meter = Meter::new();
        let (first, second) = (meter.begin(), meter.begin());
        let block = vec![1u8; 64 << 20];
        meter.look();
        drop(std::hint::black_box(block));
        let (first, second) = (first.end(), second.end());
        assert!(first.peak_mib.is_some_and(|mib| mib >= 60), "{first:?}");
        assert!(!first.alone && !second.alone);
        assert!(meter.begin().end().alone);
    }
}
