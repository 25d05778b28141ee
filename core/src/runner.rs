//! Runs a plan for each case: stages joined by bounded channels.
//!
//! Each node of the graph has one mailbox; nodes with mail are taken by the run's threads. Every edge sends exactly once per case: a value, absent, or cancelled. A mailbox
//! holds `permits x incoming edges` messages and at most `permits` cases are in flight, so no send can ever block; a permit
//! returns when every node has ended for its case, and then no message of the case is left. `ARCHITECTURE.md` has the proof.
//!
//! One case's failure never stops another. A value is dropped when its last reader has it.

pub(crate) mod checks;
mod event;
mod input;
mod join;
mod net;
mod node;
mod outcome;
mod pools;
mod tokens;
mod worker;

pub use event::{Event, EventSink, StageRecord, StageState, place};
pub use input::{CaseInput, CaseJob};
pub use outcome::provenance;

use crate::plan::{Graph, OutputPlan, Plan};
use crate::registry::Registry;
use crossbeam::channel::{Receiver, bounded};
use net::{CaseState, Net, Work};
use node::NodeState;
use sdk::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokens::{Capacity, Tokens};

/// What a run is given.
#[derive(Clone)]
pub struct RunOptions {
    /// Threads that may work at a time, and each stage's threads unless it says otherwise.
    pub cores: usize,
    /// Memory for stages that declare their peak, in MiB.
    pub memory_mib: u64,
    /// Cases in flight.
    pub permits: usize,
    /// The device of stages that name none: `auto`, `cpu`, `cuda:0` …
    pub device: String,
    /// Where scratch folders are made.
    pub scratch_root: PathBuf,
    /// Set it to stop the run.
    pub cancel: Arc<AtomicBool>,
    /// How long a stage may ignore that it should stop before it is given up.
    pub grace: Duration,
    /// What the site's configuration says for each plugin, by the plugin's name.
    pub site: BTreeMap<String, serde_json::Value>,
    /// Where events go.
    pub events: EventSink,
}

/// How long a stage may ignore that it should stop: operators look about once a second.
pub const GRACE: Duration = Duration::from_secs(10);

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
            memory_mib: u64::MAX,
            permits: 1,
            device: "auto".to_owned(),
            scratch_root: std::env::temp_dir(),
            cancel: Arc::default(),
            grace: GRACE,
            site: BTreeMap::new(),
            events: Arc::new(|_| {}),
        }
    }
}

/// What became of a case.
pub struct CaseResult {
    /// Its label.
    pub label: String,
    /// What it was to do.
    pub plan: Plan,
    /// What each node did, in the graph's order; unreadable inputs first.
    pub records: Vec<StageRecord>,
    /// For each of the graph's outputs: its members and their values.
    pub outputs: Vec<Vec<(String, Value)>>,
    /// Whether every stage delivered or was left out by plan.
    pub ok: bool,
    /// Whether the run was stopped from outside while the case was in flight.
    pub interrupted: bool,
    /// Seconds from admission to its end.
    pub seconds: f64,
}

/// All that the threads of a run share.
struct Shared {
    graph: Arc<Graph>,
    registry: Arc<Registry>,
    options: RunOptions,
    tokens: Arc<Tokens>,
    pools: pools::Pools,
    nodes: Vec<Mutex<NodeState>>,
    net: Net,
}

/// Threads beside one for each core: stages that wait for tokens hold a thread, and others shall go on meanwhile.
const SPARE_THREADS: usize = 2;

/// Runs the cases, at most `permits` at a time; `finish` sees each as it ends, on the calling thread.
///
/// # Panics
/// When a thread cannot be started.
pub fn run(
    graph: &Arc<Graph>,
    registry: &Arc<Registry>,
    options: &RunOptions,
    cases: Vec<CaseJob>,
    finish: &mut dyn FnMut(CaseResult),
) {
    let permits = options.permits.max(1).min(cases.len().max(1));
    let (ended_sender, ended) = bounded(permits);
    let count = SPARE_THREADS + options.cores.max(1);
    // Each node is in the queue at most once, and each thread is told to stop once.
    let (ready, work) = bounded(graph.nodes.len() + count);
    let (net, mailboxes) = Net::new(graph, permits, ready, ended_sender);
    let slots = |(node, mailbox)| Mutex::new(NodeState::new(mailbox, net.slot_count(node)));
    let nodes = mailboxes.into_iter().enumerate().map(slots).collect();
    let capacity = Capacity { cores: options.cores.max(1), memory_mib: options.memory_mib };
    let shared = Arc::new(Shared {
        graph: Arc::clone(graph),
        registry: Arc::clone(registry),
        options: options.clone(),
        tokens: Tokens::new(capacity),
        pools: pools::Pools::default(),
        nodes,
        net,
    });
    let mut threads = Vec::new();
    for number in 0..count {
        let (shared, work) = (Arc::clone(&shared), work.clone());
        threads.push(spawn(&format!("stages {number}"), move || attend_nodes(&shared, &work)));
    }
    let (to_reader, from_driver) = bounded::<Arc<CaseState>>(permits);
    let for_reader = Arc::clone(&shared);
    threads
        .push(spawn("reader", move || from_driver.iter().for_each(|case| input::feed(&for_reader, &case))));

    let mut waiting = cases.into_iter().enumerate();
    let mut in_flight = 0;
    loop {
        while in_flight < permits && !options.cancel.load(Ordering::Relaxed) {
            let Some((index, job)) = waiting.next() else { break };
            let case = Arc::new(CaseState::new(index, job, &shared.net));
            let stages = case.plan().nodes.iter().filter(|node| node.runs()).count();
            (options.events)(&Event::CaseStarted { case: case.label.clone(), stages });
            to_reader.send(case).expect("the reader lives until its channel closes");
            in_flight += 1;
        }
        if in_flight == 0 {
            break;
        }
        let case = ended.recv().expect("every admitted case ends");
        in_flight -= 1;
        finish(result(&shared, &case));
    }
    drop(to_reader);
    shared.net.stop(count);
    for thread in threads {
        // Operators run under a guard; a panic here would be the engine's own, and its message has been printed.
        let _ = thread.join();
    }
}

/// The life of one of the run's threads: takes nodes that have mail, one after the other.
fn attend_nodes(shared: &Arc<Shared>, work: &Receiver<Work>) {
    while let Ok(Work::Node(index)) = work.recv() {
        let mut state = shared.nodes[index].lock().unwrap_or_else(PoisonError::into_inner);
        node::attend(shared, index, &mut state);
        shared.net.leave(index);
        if state.has_mail() {
            shared.net.schedule(index);
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::thread::JoinHandle<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).expect("the system can start a thread")
}

fn result(shared: &Shared, case: &CaseState) -> CaseResult {
    let plan = case.plan().clone();
    let values = case.take_results();
    let collect = |output: &OutputPlan| match output {
        OutputPlan::Missing(_) => Vec::new(),
        OutputPlan::Available(list) => {
            let value =
                |(member, source, _): &(String, _, _)| Some((member.clone(), values.get(source)?.clone()));
            list.iter().filter_map(value).collect()
        }
    };
    let outputs = plan.outputs.iter().map(collect).collect();
    let records = case.take_records(&shared.graph);
    let ok = records.iter().all(|record| matches!(record.state, StageState::Ran | StageState::Skipped));
    let seconds = case.started.elapsed().as_secs_f64();
    (shared.options.events)(&Event::CaseEnded { case: case.label.clone(), ok, seconds });
    let interrupted = shared.options.cancel.load(Ordering::Relaxed) && !ok;
    CaseResult { label: case.label.clone(), plan, records, outputs, ok, interrupted, seconds }
}
