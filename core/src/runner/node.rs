//! A node at work: joins what arrives, and decides what becomes of each complete case.
//!
//! Nodes have no thread of their own. A message makes its node ready; a ready node is taken by one of the run's threads, which
//! empties the mailbox and leaves. `scheduled` makes sure that it is one thread at a time. Cases that became complete are then
//! run, by that thread and by others, each with an instance of the operator for itself.

use super::case::CaseState;
use super::event::{Event, Evidence, StageRecord, StageState};
use super::join::Joiner;
use super::net::Message;
use super::parcel::{Arrival, Parcel, port_name};
use super::survey::{Stored, look_up_late};
use super::watch::{self, Worker};
use super::{Shared, stage};
use crate::plan::{Node, NodePlan, Wire};
use crate::store::{Digest, KeyParts};
use crossbeam::channel::Receiver;
use sdk::abi::OperatorObject;
use sdk::port::Interface;
use sdk::{Cause, Inputs, OperatorError};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A node's mailbox, and what it keeps between messages.
pub(super) struct Desk {
    mailbox: Receiver<Message>,
    joiner: Mutex<Joiner<Arrival>>,
    idle: Mutex<Idle>,
}

/// What waits for the node's next case.
#[derive(Default)]
pub(super) struct Idle {
    /// Opened operators, by the device they were opened for.
    pub(super) operators: BTreeMap<String, Vec<OperatorObject>>,
    /// For a stage with a timeout: threads that can be given up.
    pub(super) workers: Vec<Worker>,
}

impl Desk {
    /// A node with so many incoming edges.
    pub(super) fn new(mailbox: Receiver<Message>, slots: usize) -> Self {
        Self { mailbox, joiner: Mutex::new(Joiner::new(slots)), idle: Mutex::default() }
    }

    /// Whether a message waits.
    pub(super) fn has_mail(&self) -> bool {
        !self.mailbox.is_empty()
    }

    /// What waits for the node's next case.
    pub(super) fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A case that has all it needs at a node.
pub(super) struct Ready {
    /// The node.
    pub(super) node: usize,
    /// The case.
    pub(super) case: Arc<CaseState>,
    /// What the operator reads.
    pub(super) inputs: Inputs,
    /// What was agreed for this pattern of presence.
    pub(super) interface: Interface,
    /// What its result rests on, in a run that keeps results.
    pub(super) parts: Option<KeyParts>,
    /// Set when it should stop.
    pub(super) cancel: Arc<AtomicBool>,
}

/// Empties a node's mailbox; gives back the cases that are to run.
pub(super) fn attend(shared: &Shared, index: usize) -> Vec<Ready> {
    let desk = &shared.desks[index];
    let mut joiner = desk.joiner.lock().unwrap_or_else(PoisonError::into_inner);
    let mut ready = Vec::new();
    while let Ok(Message { case, slot, arrival }) = desk.mailbox.try_recv() {
        if let Some(arrivals) = joiner.accept(case.index, slot, arrival) {
            ready.extend(Attendant { shared, index }.complete(case, &arrivals));
        }
    }
    ready
}

/// Runs a case at a node, and sends what it made.
pub(super) fn run(shared: &Arc<Shared>, ready: Ready) {
    let attendant = Attendant { shared, index: ready.node };
    let case = Arc::clone(&ready.case);
    let keeping = shared.options.keeping.as_ref();
    let late = keeping.zip(ready.parts.as_ref()).and_then(|(keeping, parts)| {
        let surveyed = case.survey().is_some_and(|survey| survey.stored(ready.node).is_some());
        if surveyed { None } else { look_up_late(keeping, attendant.spec(), parts) }
    });
    if let Some(stored) = late {
        attendant.pass(&case, &stored);
        return;
    }
    let done = match attendant.spec().means.timeout {
        None => stage::serve(shared, ready, &|_| attendant.tell_start(&case)),
        Some(timeout) => watch::run_watched(shared, ready, timeout, &|| attendant.tell_start(&case)),
    };
    attendant.finish(&case, done);
}

/// How a stage's run ended.
pub(super) struct Done {
    /// What it sends, by port and member.
    pub(super) result: Result<BTreeMap<(String, String), Parcel>, OperatorError>,
    /// What it cost and rests on.
    pub(super) evidence: Evidence,
}

impl Done {
    /// A run that made nothing.
    pub(super) fn failed(error: OperatorError) -> Self {
        Self { result: Err(error), evidence: Evidence::default() }
    }
}

/// What stands at each port, by digest; nothing for an absent one.
type Digests = BTreeMap<String, Option<Digest>>;

struct Attendant<'a> {
    shared: &'a Shared,
    index: usize,
}

impl Attendant<'_> {
    fn spec(&self) -> &Node {
        &self.shared.graph.nodes[self.index]
    }

    /// A case has all it needs here: skip it, pass on what is stored or a failure, or have it run.
    fn complete(&self, case: Arc<CaseState>, arrivals: &[Arrival]) -> Option<Ready> {
        let plan = Arc::clone(case.plan());
        let (wiring, interface) = match &plan.nodes[self.index] {
            NodePlan::Skip { reason } => {
                self.end(&case, StageState::Skipped, Some(reason.clone()));
                return None;
            }
            NodePlan::Run { wiring, interface } => (wiring, interface),
        };
        if let Some(stored) = case.survey().and_then(|survey| survey.stored(self.index)) {
            self.pass(&case, stored);
            return None;
        }
        match self.gather(wiring, interface, arrivals) {
            Ok(_) if self.shared.options.cancel.load(Ordering::Relaxed) && !self.spec().always => {
                self.end(&case, StageState::Cancelled, Some("the run was interrupted".to_owned()));
            }
            Ok((inputs, digests)) => {
                let keeping = self.shared.options.keeping.as_ref();
                let parts =
                    keeping.zip(digests).map(|(k, digests)| k.keys.parts(self.index, case.label(), digests));
                let (node, interface, cancel) = (self.index, interface.clone(), Arc::default());
                return Some(Ready { node, case, inputs, interface, parts, cancel });
            }
            Err((state, reason)) => self.end(&case, state, Some(reason)),
        }
        None
    }

    /// The operator's inputs, and their digests if all are known.
    fn gather(
        &self,
        wiring: &[Wire],
        interface: &Interface,
        arrivals: &[Arrival],
    ) -> Result<(Inputs, Option<Digests>), (StageState, String)> {
        let mut inputs = Inputs::new();
        let mut digests = Some(BTreeMap::new());
        for wire in wiring {
            let slot = self.shared.net.slot_of(self.index, &wire.source);
            let arrival = slot.map_or(&Arrival::Absent, |slot| &arrivals[slot]);
            let digest = match arrival {
                Arrival::Value(parcel) => {
                    let Some(value) = &parcel.value else {
                        let name = port_name(&wire.port, &wire.member);
                        return Err((StageState::Failed, format!("its input `{name}` was not loaded")));
                    };
                    inputs.insert(&wire.port, &wire.member, value.clone());
                    parcel.digest.map(Some)
                }
                Arrival::Cancelled(reason) if !self.spec().always => {
                    return Err((StageState::Cancelled, reason.to_string()));
                }
                Arrival::Cancelled(_) | Arrival::Absent => Some(None),
            };
            let name = port_name(&wire.port, &wire.member);
            digests = digests.zip(digest).map(|(mut all, one)| {
                all.insert(name, one);
                all
            });
        }
        let lacks = |port: &&sdk::port::PortSpec| !port.optional && inputs.value(&port.name).is_none();
        match interface.inputs.iter().find(lacks) {
            None => Ok((inputs, digests)),
            Some(port) => Err((StageState::Skipped, format!("nothing came for its input `{}`", port.name))),
        }
    }

    fn tell_start(&self, case: &CaseState) {
        let (case, stage) = (case.label().to_owned(), self.place());
        (self.shared.options.events)(&Event::StageStarted { case, stage });
    }

    fn place(&self) -> String {
        super::place(&self.spec().stage, &self.spec().member)
    }

    fn record(&self, state: StageState, reason: Option<String>) -> StageRecord {
        StageRecord::new(self.spec(), state, reason)
    }

    fn end(&self, case: &Arc<CaseState>, state: StageState, reason: Option<String>) {
        self.publish(case, self.record(state, reason), BTreeMap::new());
    }

    /// Sends what an earlier run has made.
    fn pass(&self, case: &Arc<CaseState>, stored: &Stored) {
        let (parcels, evidence) = stored.take();
        let mut record = self.record(StageState::Ran, None);
        record.evidence = evidence;
        self.publish(case, record, parcels);
    }

    fn finish(&self, case: &Arc<CaseState>, done: Done) {
        let (mut record, parcels) = match done.result {
            Ok(parcels) => (self.record(StageState::Ran, None), parcels),
            Err(error) => {
                if let Some(backtrace) = &error.backtrace {
                    tracing::debug!(stage = self.place(), case = case.label(), "{backtrace}");
                }
                let stopped = error.cause == Cause::Cancelled;
                let state = if stopped { StageState::Cancelled } else { StageState::Failed };
                let message = match error.cause {
                    Cause::Panicked => format!("its code panicked: {}", error.message),
                    _ => error.message,
                };
                let mut record = self.record(state, Some(message));
                (record.hint, record.location) = (error.hint, error.location);
                (record, BTreeMap::new())
            }
        };
        record.evidence = done.evidence;
        self.publish(case, record, parcels);
    }

    fn publish(
        &self,
        case: &Arc<CaseState>,
        record: StageRecord,
        parcels: BTreeMap<(String, String), Parcel>,
    ) {
        let (seconds, cached) = (record.evidence.seconds, record.evidence.cached);
        let (label, told) = (case.label().to_owned(), Box::new(record.clone()));
        let event = Event::StageEnded { case: label, record: told, seconds, cached };
        (self.shared.options.events)(&event);
        self.shared.net.end_node(case, self.index, record, parcels);
    }
}
