//! Mailboxes and edges.

use super::case::CaseState;
use super::event::{StageRecord, StageState};
use super::node::Ready;
use super::outcome;
use super::parcel::{Arrival, Parcel};
use crate::plan::{Graph, Reserved, Source};
use crate::store::Digest;
use crossbeam::channel::{Receiver, Sender, bounded};
use sdk::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
    /// A case has all it needs at a node.
    Case(Box<Ready>),
    /// No case will come any more.
    Stop,
}

/// The ends of channels that the run's threads and its driver hold.
pub(super) struct Ends {
    /// For each node: its mailbox.
    pub(super) mailboxes: Vec<Receiver<Message>>,
    /// Nodes with mail, and cases that are ready to run.
    pub(super) work: Receiver<Work>,
    /// Cases whose last node has ended; nothing when no more will come.
    pub(super) ended: Receiver<Option<Arc<CaseState>>>,
}

/// How much is under way at most.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    /// Cases in flight.
    pub(super) permits: usize,
    /// The run's threads.
    pub(super) threads: usize,
    /// Threads that finish cases.
    pub(super) finishers: usize,
}

/// Who reads what.
pub(super) struct Net {
    mailboxes: Vec<Sender<Message>>,
    /// For each node: whether it waits for a thread, or has one.
    scheduled: Vec<AtomicBool>,
    /// Nodes with mail, each in it at most once; and cases ready to run.
    ready: Sender<Work>,
    /// For each source: the nodes that may read it, and on which slot.
    routes: BTreeMap<Source, Vec<(usize, usize)>>,
    /// For each node: the sources of its slots; empty for a node that reads nothing and waits for the start only.
    slots: Vec<Vec<Source>>,
    /// For each node: what it sends.
    sent_by: Vec<Vec<Source>>,
    /// What is needed at the end of a case.
    kept: BTreeSet<Source>,
    /// For each node: whether it waits for the case's outcome, directly or not.
    after_outcome: Vec<bool>,
    /// Whether what the engine itself knows gets a digest.
    digests: bool,
    ended: Sender<Option<Arc<CaseState>>>,
}

impl Net {
    /// The channels of a graph. `kept`: what the caller wants at the end of a case beside the outputs.
    pub(super) fn new(graph: &Graph, kept: &BTreeSet<Source>, digests: bool, bounds: Bounds) -> (Self, Ends) {
        let Bounds { permits, threads, finishers } = bounds;
        let mut routes: BTreeMap<Source, Vec<(usize, usize)>> = BTreeMap::new();
        let mut slots = Vec::new();
        for (node, spec) in graph.nodes.iter().enumerate() {
            let sources: BTreeSet<&Source> = spec.wires.iter().flat_map(|wire| &wire.candidates).collect();
            for (slot, source) in sources.iter().enumerate() {
                routes.entry((*source).clone()).or_default().push((node, slot));
            }
            slots.push(sources.into_iter().cloned().collect::<Vec<_>>());
        }
        let published = graph.outputs.iter().flat_map(|output| &output.wires);
        let published = published.flat_map(|wire| wire.candidates.clone());
        let kept: BTreeSet<Source> = published.chain(kept.iter().cloned()).collect();
        let mut sent_by = vec![Vec::new(); graph.nodes.len()];
        for source in routes.keys().chain(&kept).collect::<BTreeSet<_>>() {
            if let Source::Output { node, .. } = source {
                sent_by[*node].push(source.clone());
            }
        }
        let after_outcome = after_outcome(&slots);
        let scheduled = slots.iter().map(|_| AtomicBool::new(false)).collect();
        let mailbox = |slots: &Vec<Source>| bounded(permits * slots.len().max(1));
        let (senders, mailboxes) = slots.iter().map(mailbox).unzip();
        // Each node is in the queue at most once, each case at most once per node, and each thread is told to stop once.
        let (ready, work) = bounded((permits + 1) * graph.nodes.len() + threads);
        let (ended_sender, ended) = bounded(permits + finishers);
        let net = Self {
            mailboxes: senders,
            scheduled,
            ready,
            routes,
            slots,
            sent_by,
            kept,
            after_outcome,
            digests,
            ended: ended_sender,
        };
        (net, Ends { mailboxes, work, ended })
    }

    /// Whether any node or output may read a source.
    pub(super) fn wants(&self, source: &Source) -> bool {
        self.routes.contains_key(source) || self.kept.contains(source)
    }

    /// Edges into a node, at least one.
    pub(super) fn slot_count(&self, node: usize) -> usize {
        self.slots[node].len().max(1)
    }

    /// Where a source comes in at a node.
    pub(super) fn slot_of(&self, node: usize, source: &Source) -> Option<usize> {
        self.slots[node].binary_search(source).ok()
    }

    /// Whether a node waits for the case's outcome, directly or not.
    pub(super) fn is_after_outcome(&self, node: usize) -> bool {
        self.after_outcome[node]
    }

    /// Nodes of the graph.
    pub(super) fn node_count(&self) -> usize {
        self.slots.len()
    }

    /// Nodes that end before a case's outcome is known.
    pub(super) fn count_before_outcome(&self) -> usize {
        self.after_outcome.iter().filter(|after| !**after).count()
    }

    /// A value of the engine's own making.
    pub(super) fn own(&self, value: Value) -> Parcel {
        Parcel { digest: self.digests.then(|| Digest::of_value(&value)), value: Some(value) }
    }

    /// Sends on every edge of a source, once.
    pub(super) fn emit(&self, case: &Arc<CaseState>, source: &Source, arrival: &Arrival) {
        if let Arrival::Value(parcel) = arrival
            && let Some(value) = &parcel.value
            && self.kept.contains(source)
        {
            case.keep(source, value.clone());
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
            self.push(Work::Node(node));
        }
    }

    /// Puts work into the queue.
    pub(super) fn push(&self, work: Work) {
        self.ready.send(work).expect("the queue lives as long as the run");
    }

    /// A thread leaves a node; mail that comes from now on schedules it again. A swap, not a store: either the sender's swap comes
    /// later and sees that nobody is there, or it came earlier and what it sent is seen by whoever looks after this call.
    pub(super) fn leave(&self, node: usize) {
        self.scheduled[node].swap(false, Ordering::AcqRel);
    }

    /// Starts the nodes that read nothing, and sends what the engine itself knows.
    pub(super) fn start(&self, case: &Arc<CaseState>, reserved: Vec<(Reserved, Parcel)>) {
        for (node, slots) in self.slots.iter().enumerate() {
            if slots.is_empty() {
                self.deliver(node, Message { case: Arc::clone(case), slot: 0, arrival: Arrival::Absent });
            }
        }
        for (name, parcel) in reserved {
            self.emit(case, &Source::Reserved(name), &Arrival::Value(Box::new(parcel)));
        }
        if self.count_before_outcome() == 0 {
            self.emit_outcome(case);
        }
        if self.slots.is_empty() {
            self.end(case);
        }
    }

    /// Sends all that a node sends, notes how it ended, and ends the case after its last node.
    pub(super) fn end_node(
        &self,
        case: &Arc<CaseState>,
        node: usize,
        record: StageRecord,
        mut parcels: BTreeMap<(String, String), Parcel>,
    ) {
        let lost: Option<Arc<str>> = match record.state {
            StageState::Failed => Some(format!("stage `{}` failed", record.place()).into()),
            StageState::Cancelled => record.reason.as_deref().map(Into::into),
            StageState::Ran | StageState::Skipped => None,
        };
        case.note_node(node, record);
        for source in &self.sent_by[node] {
            let Source::Output { port, member, .. } = source else { continue };
            let parcel = parcels.remove(&(port.clone(), member.clone()));
            let arrival = match (parcel, &lost) {
                (Some(parcel), _) => Arrival::Value(Box::new(parcel)),
                (None, Some(reason)) => Arrival::Cancelled(Arc::clone(reason)),
                (None, None) => Arrival::Absent,
            };
            self.emit(case, source, &arrival);
        }
        drop(parcels);
        if !self.after_outcome[node] && case.count_before_outcome() {
            self.emit_outcome(case);
        }
        if case.count_node() {
            self.end(case);
        }
    }

    fn emit_outcome(&self, case: &Arc<CaseState>) {
        let source = Source::Reserved(Reserved::Outcome);
        if self.wants(&source) {
            let outcome = self.own(outcome::outcome(case.label(), &case.records()));
            self.emit(case, &source, &Arrival::Value(Box::new(outcome)));
        }
    }

    fn end(&self, case: &Arc<CaseState>) {
        self.ended.send(Some(Arc::clone(case))).expect("somebody finishes every case");
    }

    /// Ends so many of the run's threads, and so many of those that finish cases.
    pub(super) fn stop(&self, threads: usize, finishers: usize) {
        for _ in 0..threads {
            self.push(Work::Stop);
        }
        for _ in 0..finishers {
            self.ended.send(None).expect("nobody has left yet");
        }
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
