//! Runs a plan for each case: stages joined by bounded channels.
//!
//! Each node of the graph has one mailbox; nodes with mail are taken by the run's threads. Every edge sends exactly once per
//! case: a value, absent, or cancelled. A mailbox holds `permits x incoming edges` messages and at most `permits` cases are in
//! flight, so no send can ever block; a permit returns when every node has ended for its case, and then no message of the case
//! is left. `ARCHITECTURE.md` has the proof.
//!
//! One case's failure never stops another. A value is dropped when its last reader has it. With [`Keeping`], what earlier runs
//! made is looked up for the whole case before any of it runs, and only what is needed is read.

mod case;
pub(crate) mod checks;
mod event;
mod files;
mod gpus;
mod input;
mod join;
mod meter;
mod net;
mod node;
mod outcome;
mod parcel;
mod pools;
mod stage;
mod survey;
mod tokens;
mod watch;

pub use event::{Event, EventSink, Evidence, StageRecord, StageState, place};
pub use gpus::visible as visible_gpus;
pub use input::{CaseInput, CaseJob, InputRecord};
pub use outcome::{provenance, provenance_with_cohort};

use crate::plan::{Graph, OutputPlan, Plan, Source};
use crate::registry::Registry;
use crate::store::{Memo, NodeKeys, Store};
use case::CaseState;
use crossbeam::channel::{Receiver, Sender, bounded};
use net::{Bounds, Ends, Message, Net, Work};
use node::Desk;
use sdk::Value;
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokens::{Capacity, Demand, Tokens};

/// What a run keeps and finds of earlier ones.
#[derive(Clone)]
pub struct Keeping {
    /// What identifies each node's results.
    pub keys: Arc<NodeKeys>,
    /// What is known of the content of files.
    pub memo: Arc<Memo>,
    /// Where results are stored; none: results are identified for the records, but not stored.
    pub store: Option<Arc<Store>>,
}

/// What a run is given.
#[derive(Clone)]
pub struct RunOptions {
    /// Threads that may work at a time. They are shared among the cases in flight, unless a stage says otherwise.
    pub cores: usize,
    /// Memory for the declared or learned peaks of stages, and for the expected peaks of cases, in MiB.
    pub memory_mib: u64,
    /// Cases in flight.
    pub permits: usize,
    /// The device of stages that name none: `auto`, `cpu`, `cuda:0` …
    pub device: String,
    /// The GPUs that stages with the device `auto` may take, one each at a time.
    pub gpus: Vec<String>,
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
    /// What is kept from run to run; none: every stage of every case runs, and nothing is digested.
    pub keeping: Option<Keeping>,
    /// Learned peaks of stages that declare none: MiB by [`crate::plan::Node::name`].
    pub estimates: BTreeMap<String, u64>,
    /// Values that the caller wants at the end of a case beside the outputs.
    pub kept: BTreeSet<Source>,
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
            gpus: gpus::visible(),
            scratch_root: std::env::temp_dir(),
            cancel: Arc::default(),
            grace: GRACE,
            site: BTreeMap::new(),
            events: Arc::new(|_| {}),
            keeping: None,
            estimates: BTreeMap::new(),
            kept: BTreeSet::new(),
        }
    }
}

/// What became of a case.
pub struct CaseResult {
    /// Its label.
    pub label: String,
    /// What it was to do.
    pub plan: Arc<Plan>,
    /// What each node did, in the graph's order; unreadable inputs first.
    pub records: Vec<StageRecord>,
    /// Its files, as they were when they were looked at.
    pub inputs: Vec<InputRecord>,
    /// For each of the graph's outputs: its members and their values.
    pub outputs: Vec<Vec<(String, Value)>>,
    /// The values of [`RunOptions::kept`] that the case has.
    pub kept: Vec<(Source, Value)>,
    /// Whether every stage delivered or was left out by plan.
    pub ok: bool,
    /// An input file that is not any more what it was when the case began, in words. The result then belongs to no content that
    /// can be named, and should not be published.
    pub changed: Option<String>,
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
    meter: Arc<meter::Meter>,
    pools: pools::Pools,
    desks: Vec<Desk>,
    net: Net,
    /// Cases admitted and not yet finished.
    in_flight: AtomicUsize,
}

impl Shared {
    fn new(
        graph: &Arc<Graph>,
        registry: &Arc<Registry>,
        options: &RunOptions,
        net: Net,
        mailboxes: Vec<Receiver<Message>>,
    ) -> Self {
        let desk = |(node, mailbox)| Desk::new(mailbox, net.slot_count(node));
        let desks = mailboxes.into_iter().enumerate().map(desk).collect();
        Self {
            graph: Arc::clone(graph),
            registry: Arc::clone(registry),
            options: options.clone(),
            tokens: Tokens::new(Capacity { cores: options.cores.max(1), memory_mib: options.memory_mib }),
            meter: meter::Meter::new(),
            pools: pools::Pools::default(),
            desks,
            net,
            in_flight: AtomicUsize::new(0),
        }
    }
}

/// Threads beside one for each core: stages that wait for tokens hold a thread, and others shall go on meanwhile.
const SPARE_THREADS: usize = 2;

/// Runs the cases, at most `permits` at a time and taken one by one; `finish` sees each as it ends, on one of several threads.
/// A case gives its permit back when `finish` has returned.
///
/// # Panics
/// When a thread cannot be started; and when `finish` has panicked, after all other cases have ended.
pub fn run(
    graph: &Arc<Graph>,
    registry: &Arc<Registry>,
    options: &RunOptions,
    cases: &mut dyn Iterator<Item = CaseJob>,
    finish: &(dyn Fn(CaseResult) + Sync),
) {
    let (cores, permits) = (options.cores.max(1), options.permits.max(1));
    let bounds = Bounds { permits, threads: cores + SPARE_THREADS, finishers: permits.min(cores) };
    let (net, ends) = Net::new(graph, &options.kept, options.keeping.is_some(), bounds);
    let Ends { mailboxes, work, ended } = ends;
    let shared = Arc::new(Shared::new(graph, registry, options, net, mailboxes));
    let mut threads = Vec::new();
    for number in 0..bounds.threads {
        let (shared, work) = (Arc::clone(&shared), work.clone());
        threads.push(spawn(&format!("stages {number}"), move || attend_nodes(&shared, &work)));
    }
    let (to_reader, from_driver) = bounded::<Arc<CaseState>>(permits);
    let for_reader = Arc::clone(&shared);
    threads
        .push(spawn("reader", move || from_driver.iter().for_each(|case| input::feed(&for_reader, &case))));
    let mut panicked = None;
    std::thread::scope(|scope| {
        let (stop_meter, meter_stops) = bounded::<()>(0);
        if options.keeping.is_some() {
            let meter = &shared.meter;
            scope.spawn(move || {
                while meter_stops.recv_timeout(meter::INTERVAL).is_err_and(|e| e.is_timeout()) {
                    meter.look();
                }
            });
        }
        let (tell, finished) = bounded::<u64>(permits);
        let finisher = |_| {
            let (shared, ended, tell) = (&shared, ended.clone(), tell.clone());
            scope.spawn(move || finish_cases(shared, &ended, finish, &tell))
        };
        let finishers: Vec<_> = (0..bounds.finishers).map(finisher).collect();
        admit(&shared, cases, &to_reader, &finished);
        shared.net.stop(bounds.threads, bounds.finishers);
        panicked = finishers.into_iter().find_map(|finisher| finisher.join().ok().flatten());
        drop(stop_meter);
    });
    drop(to_reader);
    for thread in threads {
        // Operators run under a guard; a panic here would be the engine's own, and its message has been printed.
        let _ = thread.join();
    }
    if let Some(panic) = panicked {
        resume_unwind(panic);
    }
}

/// Admits cases as long as there are permits and memory, until all have been finished.
fn admit(
    shared: &Shared,
    cases: &mut dyn Iterator<Item = CaseJob>,
    to_reader: &Sender<Arc<CaseState>>,
    finished: &Receiver<u64>,
) {
    let options = &shared.options;
    let (mut index, mut in_flight, mut reserved_mib) = (0, 0, 0_u64);
    let mut next = None;
    loop {
        while in_flight < options.permits.max(1) && !options.cancel.load(Ordering::Relaxed) {
            let Some(job) = next.take().or_else(|| cases.next()) else { break };
            if in_flight > 0 && reserved_mib.saturating_add(job.memory_mib) > options.memory_mib {
                next = Some(job);
                break;
            }
            reserved_mib = reserved_mib.saturating_add(job.memory_mib);
            in_flight += 1;
            shared.in_flight.store(in_flight, Ordering::Relaxed);
            let stages = job.plan.nodes.iter().filter(|node| node.runs()).count();
            (options.events)(&Event::CaseStarted { case: job.label.clone(), stages });
            let case = CaseState::new(index, job, shared.net.node_count(), shared.net.count_before_outcome());
            index += 1;
            to_reader.send(Arc::new(case)).expect("the reader lives until its channel closes");
        }
        if in_flight == 0 {
            return;
        }
        let memory_mib = finished.recv().expect("every admitted case is finished");
        reserved_mib = reserved_mib.saturating_sub(memory_mib);
        in_flight -= 1;
        shared.in_flight.store(in_flight, Ordering::Relaxed);
    }
}

/// Tells `finish` of cases that have ended; it works with a core of its own. Gives back its first panic.
fn finish_cases(
    shared: &Shared,
    ended: &Receiver<Option<Arc<CaseState>>>,
    finish: &(dyn Fn(CaseResult) + Sync),
    tell: &Sender<u64>,
) -> Option<Box<dyn Any + Send>> {
    let mut panicked = None;
    while let Ok(Some(case)) = ended.recv() {
        let memory_mib = case.job.memory_mib;
        let core = shared.tokens.acquire(&Demand { cores: 1, ..Demand::default() }, || false);
        let finished = catch_unwind(AssertUnwindSafe(|| finish(result(shared, &case))));
        panicked = panicked.or(finished.err());
        drop(core);
        drop(case);
        tell.send(memory_mib).expect("the driver waits for every case");
    }
    panicked
}

/// The life of one of the run's threads: takes nodes that have mail and cases that are ready, one after the other.
fn attend_nodes(shared: &Arc<Shared>, work: &Receiver<Work>) {
    while let Ok(work) = work.recv() {
        match work {
            Work::Stop => return,
            Work::Case(ready) => node::run(shared, *ready),
            Work::Node(index) => {
                let mut ready = node::attend(shared, index).into_iter();
                shared.net.leave(index);
                if shared.desks[index].has_mail() {
                    shared.net.schedule(index);
                }
                let first = ready.next();
                for other in ready {
                    shared.net.push(Work::Case(Box::new(other)));
                }
                if let Some(first) = first {
                    node::run(shared, first);
                }
            }
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::thread::JoinHandle<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).expect("the system can start a thread")
}

fn result(shared: &Shared, case: &CaseState) -> CaseResult {
    let plan = Arc::clone(case.plan());
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
    let wanted = shared.options.kept.iter();
    let kept = wanted.filter_map(|source| Some((source.clone(), values.get(source)?.clone()))).collect();
    let records = case.records();
    let inputs = case.inputs().to_vec();
    let changed = changed(&inputs);
    let delivered =
        records.iter().all(|record| matches!(record.state, StageState::Ran | StageState::Skipped));
    let ok = delivered && changed.is_none();
    let (label, seconds) = (case.label().to_owned(), case.started.elapsed().as_secs_f64());
    (shared.options.events)(&Event::CaseEnded { case: label.clone(), ok, seconds });
    let interrupted = shared.options.cancel.load(Ordering::Relaxed) && !ok;
    CaseResult { label, plan, records, inputs, outputs, kept, ok, changed, interrupted, seconds }
}

/// The first input file that is not any more what it was when the case began.
fn changed(inputs: &[InputRecord]) -> Option<String> {
    let differs = |input: &&InputRecord| {
        let Some(state) = &input.state else { return false };
        !Memo::stamp(&input.path).is_ok_and(|stamp| stamp == state.stamp)
    };
    let input = inputs.iter().find(differs)?;
    let what = if input.path.exists() { "was changed" } else { "vanished" };
    Some(format!("input `{}` {what} while the case ran: {}", input.name, input.path.display()))
}
