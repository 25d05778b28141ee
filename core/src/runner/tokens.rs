//! What stages share: cores, memory, GPUs. A stage takes all it needs at once, first come first served.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a stage needs while it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Demand {
    /// Threads.
    pub cores: usize,
    /// Declared peak in MiB; 0 if not declared.
    pub memory_mib: u64,
    /// Any one of these devices, such as `cuda:0`, for itself alone; none if empty.
    pub devices: Vec<String>,
}

/// What the machine has.
#[derive(Clone, Debug)]
pub(super) struct Capacity {
    /// Threads that may run at a time.
    pub cores: usize,
    /// Memory for declared peaks, in MiB.
    pub memory_mib: u64,
}

#[derive(Default)]
struct State {
    queue: VecDeque<u64>,
    held: BTreeMap<u64, Held>,
    next: u64,
}

struct Held {
    cores: usize,
    memory_mib: u64,
    device: Option<String>,
    abandoned: bool,
}

/// The shared store.
pub(super) struct Tokens {
    capacity: Capacity,
    state: Mutex<State>,
    changed: Condvar,
}

/// What a stage holds; given back when dropped.
pub(super) struct Grant {
    tokens: Arc<Tokens>,
    id: u64,
}

/// How often a waiting stage looks whether it was cancelled.
const CANCEL_POLL: Duration = Duration::from_millis(50);

impl Tokens {
    /// A store that holds the whole machine.
    pub(super) fn new(capacity: Capacity) -> Arc<Self> {
        Arc::new(Self { capacity, state: Mutex::default(), changed: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until all of `demand` is free and everyone who asked before has theirs; `None` if cancelled meanwhile.
    ///
    /// A demand above the machine is cut down to it, so that it waits for the whole machine and not for ever.
    pub(super) fn acquire(self: &Arc<Self>, demand: &Demand, cancelled: impl Fn() -> bool) -> Option<Grant> {
        let mut state = self.lock();
        let id = state.next;
        state.next += 1;
        state.queue.push_back(id);
        loop {
            if cancelled() {
                state.queue.retain(|waiting| *waiting != id);
                self.changed.notify_all();
                return None;
            }
            if state.queue.front() == Some(&id)
                && let Some(held) = self.fits(&state, demand)
            {
                state.queue.pop_front();
                state.held.insert(id, held);
                self.changed.notify_all();
                return Some(Grant { tokens: Arc::clone(self), id });
            }
            let waited = self.changed.wait_timeout(state, CANCEL_POLL);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What a demand gets now, cut to what is left of the machine; none if that is not free.
    fn fits(&self, state: &State, demand: &Demand) -> Option<Held> {
        let (mut lost, mut busy, mut memory) = (0, 0, 0);
        for held in state.held.values() {
            *(if held.abandoned { &mut lost } else { &mut busy }) += held.cores;
            memory += held.memory_mib;
        }
        let taken = |device: &&String| state.held.values().any(|held| held.device.as_ref() == Some(device));
        let device = demand.devices.iter().find(|device| !taken(device)).cloned();
        if device.is_none() && !demand.devices.is_empty() {
            return None;
        }
        // One core always remains, or a stage that ignores its timeout would stop the whole run.
        let cores = self.capacity.cores.saturating_sub(lost).max(1);
        let wanted = demand.cores.clamp(1, cores);
        let memory_mib = demand.memory_mib.min(self.capacity.memory_mib);
        let free = busy + wanted <= cores && memory + memory_mib <= self.capacity.memory_mib;
        free.then_some(Held { cores: wanted, memory_mib, device, abandoned: false })
    }
}

impl Grant {
    /// Threads granted.
    pub(super) fn cores(&self) -> usize {
        self.tokens.lock().held.get(&self.id).map_or(1, |held| held.cores)
    }

    /// The device granted, if one was asked for.
    pub(super) fn device(&self) -> Option<String> {
        self.tokens.lock().held.get(&self.id).and_then(|held| held.device.clone())
    }

    /// Number to [`abandon`] it by.
    pub(super) const fn id(&self) -> u64 {
        self.id
    }
}

/// Counts a grant as lost: its holder ignores cancellation. If it ever returns, its tokens return, too.
pub(super) fn abandon(tokens: &Tokens, id: u64) {
    if let Some(held) = tokens.lock().held.get_mut(&id) {
        held.abandoned = true;
    }
    tokens.changed.notify_all();
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.tokens.lock().held.remove(&self.id);
        self.tokens.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn cores(cores: usize) -> Demand {
        Demand { cores, ..Demand::default() }
    }

    fn machine(cores: usize) -> Arc<Tokens> {
        Tokens::new(Capacity { cores, memory_mib: 1000 })
    }

    #[test]
    fn no_more_cores_run_than_there_are() {
        let tokens = machine(3);
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for n in 0..12 {
                let (tokens, running, most) = (Arc::clone(&tokens), &running, &most);
                scope.spawn(move || {
                    let grant = tokens.acquire(&cores(n % 3 + 1), || false).unwrap();
                    let now = running.fetch_add(grant.cores(), Ordering::SeqCst) + grant.cores();
                    most.fetch_max(now, Ordering::SeqCst);
                    std::thread::yield_now();
                    running.fetch_sub(grant.cores(), Ordering::SeqCst);
                });
            }
        });
        assert!(most.load(Ordering::SeqCst) <= 3, "{most:?} cores at once");
    }

    #[test]
    fn a_demand_above_the_machine_gets_the_whole_machine() {
        assert_eq!(machine(2).acquire(&cores(64), || false).unwrap().cores(), 2);
    }

    #[test]
    fn an_abandoned_grant_leaves_one_core_and_returns_with_its_holder() {
        let tokens = machine(2);
        let stuck = tokens.acquire(&cores(2), || false).unwrap();
        abandon(&tokens, stuck.id());
        assert_eq!(tokens.acquire(&cores(2), || false).unwrap().cores(), 1);
        drop(stuck);
        assert_eq!(tokens.acquire(&cores(2), || false).unwrap().cores(), 2);
    }

    #[test]
    fn who_is_cancelled_while_waiting_leaves_the_queue() {
        let tokens = machine(1);
        let first = tokens.acquire(&cores(1), || false).unwrap();
        assert!(tokens.acquire(&cores(1), || true).is_none());
        drop(first);
        assert!(tokens.acquire(&cores(1), || false).is_some());
    }

    #[test]
    fn one_device_serves_one_stage_at_a_time() {
        let tokens = machine(4);
        let gpu = Demand { cores: 1, devices: vec!["cuda:0".to_owned()], memory_mib: 0 };
        let first = tokens.acquire(&gpu, || false).unwrap();
        assert!(tokens.fits(&tokens.lock(), &gpu).is_none());
        drop(first);
        assert!(tokens.fits(&tokens.lock(), &gpu).is_some());
    }

    #[test]
    fn two_gpus_serve_two_stages_and_a_third_waits() {
        let tokens = machine(4);
        let any = Demand { cores: 1, devices: vec!["cuda:0".to_owned(), "cuda:1".to_owned()], memory_mib: 0 };
        let grants = [0, 1].map(|_| tokens.acquire(&any, || false).unwrap());
        assert_eq!(grants.each_ref().map(|grant| grant.device().unwrap()), ["cuda:0", "cuda:1"]);
        assert!(tokens.fits(&tokens.lock(), &any).is_none());
    }

    #[test]
    fn declared_memory_never_exceeds_the_budget() {
        let tokens = machine(4);
        let half = Demand { cores: 1, memory_mib: 600, devices: Vec::new() };
        let first = tokens.acquire(&half, || false).unwrap();
        assert!(tokens.fits(&tokens.lock(), &half).is_none());
        drop(first);
        assert!(tokens.fits(&tokens.lock(), &half).is_some());
    }
}
