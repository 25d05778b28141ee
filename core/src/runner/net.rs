//! Mailboxes and edges, and what is known of a case in flight.

use super::event::{StageRecord, StageState};
use super::input::CaseJob;
use super::outcome;
use crate::plan::{Graph, Plan, Reserved, Source};
use crossbeam::channel::{Receiver, Sender, bounded};
use sdk::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

/// What an edge brings for a case.
#[expect(clippy::large_enum_variant, reason = "a value is what an edge brings, and the rule")]
#[derive(Clone)]
pub(super) enum Arrival {
    /// A value.
    Value(Value),
    /// Nothing, by plan.
    Absent,
    /// Nothing, because something failed: what, and why.
    Cancelled(Arc<str>),
}

/// What comes into a mailbox: something for a case, on one of the node's edges.
pub(super) struct Message {
    /// The case.
    pub(super) case: Arc<CaseState>,
    /// The edge, counted at the receiving node.
    pub(super) slot: usize,
    /// What it brings.
    pub(super) arrival: Arrival,
}

/// What the run's threads wait for.
pub(super) enum Work {
    /// A node has mail.
    Node(usize),
    /// No case will come any more.
    Stop,
}

/// Who reads what.
pub(super) struct Net {
    mailboxes: Vec<Sender<Message>>,
    /// For each node: whether it waits for a thread, or has one.
    scheduled: Vec<AtomicBool>,
    /// Nodes with mail; each is in it at most once.
    ready: Sender<Work>,
    /// For each source: the nodes that may read it, and on which slot.
    routes: BTreeMap<Source, Vec<(usize, usize)>>,
    /// For each node: the sources of its slots; empty for a node that reads nothing and waits for the start only.
    slots: Vec<Vec<Source>>,
    /// For each node: what it sends.
    sent_by: Vec<Vec<Source>>,
    /// What the outputs may need.
    published: BTreeSet<Source>,
    /// For each node: whether it waits for the case's outcome, directly or not.
    after_outcome: Vec<bool>,
    ended: Sender<Arc<CaseState>>,
}

impl Net {
    /// The channels of a graph for so many cases in flight; `ended` gets each case that is done.
    pub(super) fn new(
        graph: &Graph,
        permits: usize,
        ready: Sender<Work>,
        ended: Sender<Arc<CaseState>>,
    ) -> (Self, Vec<Receiver<Message>>) {
        let mut routes: BTreeMap<Source, Vec<(usize, usize)>> = BTreeMap::new();
        let mut slots = Vec::new();
        for (node, spec) in graph.nodes.iter().enumerate() {
            let sources: BTreeSet<&Source> = spec.wires.iter().flat_map(|wire| &wire.candidates).collect();
            for (slot, source) in sources.iter().enumerate() {
                routes.entry((*source).clone()).or_default().push((node, slot));
            }
            slots.push(sources.into_iter().cloned().collect::<Vec<_>>());
        }
        let published: BTreeSet<Source> =
            graph.outputs.iter().flat_map(|o| &o.wires).flat_map(|wire| wire.candidates.clone()).collect();
        let mut sent_by = vec![Vec::new(); graph.nodes.len()];
        for source in routes.keys().chain(&published).collect::<BTreeSet<_>>() {
            if let Source::Output { node, .. } = source {
                sent_by[*node].push(source.clone());
            }
        }
        let after_outcome = after_outcome(&slots);
        let scheduled = slots.iter().map(|_| AtomicBool::new(false)).collect();
        let mailbox = |slots: &Vec<Source>| bounded(permits * slots.len().max(1));
        let (mailboxes, receivers) = slots.iter().map(mailbox).unzip();
        (
            Self { mailboxes, scheduled, ready, routes, slots, sent_by, published, after_outcome, ended },
            receivers,
        )
    }

    /// Whether any node or output may read a source.
    pub(super) fn wants(&self, source: &Source) -> bool {
        self.routes.contains_key(source) || self.published.contains(source)
    }

    /// Edges into a node, at least one.
    pub(super) fn slot_count(&self, node: usize) -> usize {
        self.slots[node].len().max(1)
    }

    /// Where a source comes in at a node.
    pub(super) fn slot_of(&self, node: usize, source: &Source) -> Option<usize> {
        self.slots[node].binary_search(source).ok()
    }

    /// Sends on every edge of a source, once.
    pub(super) fn emit(&self, case: &Arc<CaseState>, source: &Source, arrival: &Arrival) {
        if let Arrival::Value(value) = arrival
            && self.published.contains(source)
        {
            lock(&case.results).insert(source.clone(), value.clone());
        }
        for (node, slot) in self.routes.get(source).into_iter().flatten() {
            self.deliver(*node, Message { case: Arc::clone(case), slot: *slot, arrival: arrival.clone() });
        }
    }

    fn deliver(&self, node: usize, message: Message) {
        self.mailboxes[node].send(message).expect("mailboxes live as long as the run");
        self.schedule(node);
    }

    /// Makes sure that some thread will look into a node's mailbox.
    pub(super) fn schedule(&self, node: usize) {
        if !self.scheduled[node].swap(true, Ordering::AcqRel) {
            self.ready.send(Work::Node(node)).expect("the queue lives as long as the run");
        }
    }

    /// A thread leaves a node; mail that comes from now on schedules it again. A swap, not a store: either the sender's swap comes
    /// later and sees that nobody is there, or it came earlier and what it sent is seen by whoever looks after this call.
    pub(super) fn leave(&self, node: usize) {
        self.scheduled[node].swap(false, Ordering::AcqRel);
    }

    /// Starts the nodes that read nothing, and sends what the engine itself knows.
    pub(super) fn start(&self, case: &Arc<CaseState>, reserved: &[(Reserved, Value)]) {
        for (node, slots) in self.slots.iter().enumerate() {
            if slots.is_empty() {
                self.deliver(node, Message { case: Arc::clone(case), slot: 0, arrival: Arrival::Absent });
            }
        }
        for (name, value) in reserved {
            self.emit(case, &Source::Reserved(*name), &Arrival::Value(value.clone()));
        }
        self.count_down_to_outcome(case, 0);
        if self.slots.is_empty() {
            self.ended.send(Arc::clone(case)).expect("the driver waits for every case");
        }
    }

    /// Sends all that a node sends, notes how it ended, and ends the case after its last node.
    pub(super) fn end_node(
        &self,
        case: &Arc<CaseState>,
        node: usize,
        record: StageRecord,
        mut values: BTreeMap<(String, String), Value>,
    ) {
        let lost: Option<Arc<str>> = match record.state {
            StageState::Failed => Some(format!("stage `{}` failed", record.place()).into()),
            StageState::Cancelled => record.reason.as_deref().map(Into::into),
            StageState::Ran | StageState::Skipped => None,
        };
        lock(&case.records).insert(node, record);
        for source in &self.sent_by[node] {
            let Source::Output { port, member, .. } = source else { continue };
            let value = values.remove(&(port.clone(), member.clone()));
            let arrival = match (value, &lost) {
                (Some(value), _) => Arrival::Value(value),
                (None, Some(reason)) => Arrival::Cancelled(Arc::clone(reason)),
                (None, None) => Arrival::Absent,
            };
            self.emit(case, source, &arrival);
        }
        drop(values);
        if !self.after_outcome[node] && self.count_down_to_outcome(case, 1) {
            let source = Source::Reserved(Reserved::Outcome);
            if self.wants(&source) {
                self.emit(case, &source, &Arrival::Value(outcome::outcome(case)));
            }
        }
        if case.remaining.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.ended.send(Arc::clone(case)).expect("the driver waits for every case");
        }
    }

    /// Whether the last node before the outcome has just ended.
    fn count_down_to_outcome(&self, case: &Arc<CaseState>, ended: usize) -> bool {
        let before = || self.after_outcome.iter().filter(|after| !**after).count();
        let left = case.before_outcome.get_or_init(|| AtomicUsize::new(before()));
        left.fetch_sub(ended, Ordering::AcqRel) == ended && ended > 0
    }

    /// Ends so many of the run's threads.
    pub(super) fn stop(&self, threads: usize) {
        for _ in 0..threads {
            self.ready.send(Work::Stop).expect("the queue lives as long as the run");
        }
    }

    /// Nodes of the graph.
    pub(super) fn node_count(&self) -> usize {
        self.slots.len()
    }
}

/// For each node: whether it reads the outcome, or anything from a node that does. Nodes come after what they read.
fn after_outcome(slots: &[Vec<Source>]) -> Vec<bool> {
    let mut after = vec![false; slots.len()];
    for (node, sources) in slots.iter().enumerate() {
        after[node] = sources.iter().any(|source| match source {
            Source::Reserved(reserved) => *reserved == Reserved::Outcome,
            Source::Output { node, .. } => after[*node],
            Source::Input(_) => false,
        });
    }
    after
}

/// A case in flight.
pub(super) struct CaseState {
    /// Its number in the run.
    pub(super) index: usize,
    /// Its label.
    pub(super) label: String,
    /// What it brings; the plan may change while it is read (an unreadable file that counts as absent).
    pub(super) job: CaseJob,
    /// When it was admitted.
    pub(super) started: Instant,
    plan: OnceLock<Plan>,
    results: Mutex<BTreeMap<Source, Value>>,
    records: Mutex<BTreeMap<usize, StageRecord>>,
    input_records: Mutex<Vec<StageRecord>>,
    remaining: AtomicUsize,
    before_outcome: OnceLock<AtomicUsize>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CaseState {
    pub(super) fn new(index: usize, job: CaseJob, net: &Net) -> Self {
        Self {
            index,
            label: job.label.clone(),
            job,
            started: Instant::now(),
            plan: OnceLock::new(),
            results: Mutex::default(),
            records: Mutex::default(),
            input_records: Mutex::default(),
            remaining: AtomicUsize::new(net.node_count()),
            before_outcome: OnceLock::new(),
        }
    }

    /// The plan in force.
    pub(super) fn plan(&self) -> &Plan {
        self.plan.get().unwrap_or(&self.job.plan)
    }

    /// Puts another plan in force, before anything was sent.
    pub(super) fn replan(&self, plan: Plan) {
        self.plan.set(plan).expect("a case is planned again at most once");
    }

    /// Notes an input that could not be read.
    pub(super) fn note_input(&self, record: StageRecord) {
        lock(&self.input_records).push(record);
    }

    /// All records so far: inputs, then nodes in order.
    pub(super) fn records(&self) -> Vec<StageRecord> {
        let nodes = lock(&self.records);
        lock(&self.input_records).iter().chain(nodes.values()).cloned().collect()
    }

    /// All records, of a case that has ended.
    pub(super) fn take_records(&self, graph: &Graph) -> Vec<StageRecord> {
        let records = self.records();
        debug_assert!(records.len() >= graph.nodes.len(), "every node leaves a record");
        records
    }

    /// What the outputs need.
    pub(super) fn take_results(&self) -> BTreeMap<Source, Value> {
        std::mem::take(&mut *lock(&self.results))
    }
}
