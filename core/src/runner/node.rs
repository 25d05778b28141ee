//! A node at work: joins what arrives, runs complete cases, watches the clock.
//!
//! Nodes have no thread of their own. A message makes its node ready; a ready node is taken by one of the run's threads, which
//! empties the mailbox, runs the cases that became complete, and leaves. `scheduled` makes sure that it is one thread at a time.

use super::event::{Event, StageRecord, StageState};
use super::join::Joiner;
use super::net::{Arrival, CaseState, Message};
use super::worker::{Done, Job, Worker, serve};
use super::{Shared, tokens};
use crate::plan::{Node, NodePlan, Wire};
use crossbeam::channel::{Receiver, RecvTimeoutError};
use sdk::abi::OperatorObject;
use sdk::port::Interface;
use sdk::{Cause, Inputs, OperatorError, Outputs, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// What a node keeps between messages.
pub(super) struct NodeState {
    mailbox: Receiver<Message>,
    joiner: Joiner<Arrival>,
    /// For a stage with a timeout: the thread it runs on, so that it can be given up.
    worker: Option<Worker>,
    /// For a stage without: its operator, which runs on the thread that took the node.
    operator: Option<OperatorObject>,
}

impl NodeState {
    /// A node with so many incoming edges.
    pub(super) fn new(mailbox: Receiver<Message>, slots: usize) -> Self {
        Self { mailbox, joiner: Joiner::new(slots), worker: None, operator: None }
    }

    /// Whether a message waits.
    pub(super) fn has_mail(&self) -> bool {
        !self.mailbox.is_empty()
    }
}

/// Empties a node's mailbox and runs the cases that became complete.
pub(super) fn attend(shared: &Arc<Shared>, index: usize, state: &mut NodeState) {
    let mut node = Attendant { shared, index, state };
    while let Ok(Message { case, slot, arrival }) = node.state.mailbox.try_recv() {
        if let Some(arrivals) = node.state.joiner.accept(case.index, slot, arrival) {
            node.complete(&case, &arrivals);
        }
    }
}

struct Attendant<'a> {
    shared: &'a Arc<Shared>,
    index: usize,
    state: &'a mut NodeState,
}

impl Attendant<'_> {
    fn spec(&self) -> &Node {
        &self.shared.graph.nodes[self.index]
    }

    /// A case has all it needs here: run it, skip it, or pass a failure on.
    fn complete(&mut self, case: &Arc<CaseState>, arrivals: &[Arrival]) {
        match &case.plan().nodes[self.index] {
            NodePlan::Skip { reason } => self.end(case, StageState::Skipped, Some(reason.clone())),
            NodePlan::Run { wiring, interface } => match self.gather(wiring, interface, arrivals) {
                Ok(_) if self.shared.options.cancel.load(Ordering::Relaxed) && !self.spec().always => {
                    self.end(case, StageState::Cancelled, Some("the run was interrupted".to_owned()));
                }
                Ok(inputs) => {
                    let (case, interface) = (Arc::clone(case), interface.clone());
                    self.run(Job { case, inputs, interface, cancel: Arc::default() });
                }
                Err((state, reason)) => self.end(case, state, Some(reason)),
            },
        }
    }

    fn gather(
        &self,
        wiring: &[Wire],
        interface: &Interface,
        arrivals: &[Arrival],
    ) -> Result<Inputs, (StageState, String)> {
        let mut inputs = Inputs::new();
        for wire in wiring {
            let slot = self.shared.net.slot_of(self.index, &wire.source);
            let arrival = slot.map_or(&Arrival::Absent, |slot| &arrivals[slot]);
            match arrival {
                Arrival::Value(value) => inputs.insert(&wire.port, &wire.member, value.clone()),
                Arrival::Cancelled(reason) if !self.spec().always => {
                    return Err((StageState::Cancelled, reason.to_string()));
                }
                Arrival::Cancelled(_) | Arrival::Absent => {}
            }
        }
        let lacks = |port: &&sdk::port::PortSpec| !port.optional && inputs.value(&port.name).is_none();
        match interface.inputs.iter().find(lacks) {
            None => Ok(inputs),
            Some(port) => Err((StageState::Skipped, format!("nothing came for its input `{}`", port.name))),
        }
    }

    fn run(&mut self, job: Job) {
        let case = Arc::clone(&job.case);
        let (result, seconds) = match self.spec().means.timeout {
            None => {
                let mut operator = self.state.operator.take();
                let done = serve(self.shared, self.index, &mut operator, job, &|_| self.tell_start(&case));
                self.state.operator = operator;
                done
            }
            Some(timeout) => self.run_watched(job, timeout),
        };
        self.finish(&case, result, seconds);
    }

    fn tell_start(&self, case: &CaseState) {
        (self.shared.options.events)(&Event::StageStarted { case: case.label.clone(), stage: self.place() });
    }

    /// Runs a case on the node's worker and watches the clock: at the timeout the operator is asked to stop, and after the
    /// grace it is given up. Its thread, tokens and values are then lost until it returns by itself.
    fn run_watched(&mut self, job: Job, timeout: Duration) -> (Result<Outputs, OperatorError>, f64) {
        let (case, cancel) = (Arc::clone(&job.case), Arc::clone(&job.cancel));
        let worker = self.state.worker.take().unwrap_or_else(|| Worker::start(self.shared, self.index));
        let dead = || (Err(OperatorError::failed("its worker thread died")), 0.0);
        if worker.jobs.send(job).is_err() {
            return dead();
        }
        let (since, grant) = match worker.done.recv() {
            Ok(Done::Started { tokens }) => (Instant::now(), tokens),
            Ok(Done::Ended { result, seconds }) => {
                self.state.worker = Some(worker);
                return (result, seconds);
            }
            Err(_) => return dead(),
        };
        self.tell_start(&case);
        let limits = [(timeout, &cancel), (self.shared.options.grace, &cancel)];
        for (asked, (limit, cancel)) in limits.into_iter().enumerate() {
            match worker.done.recv_timeout(limit) {
                Ok(Done::Ended { result, seconds }) => {
                    self.state.worker = Some(worker);
                    return (if asked == 0 { result } else { Err(self.timeout_error(true)) }, seconds);
                }
                Ok(Done::Started { .. }) | Err(RecvTimeoutError::Timeout) => {
                    cancel.store(true, Ordering::Relaxed);
                }
                Err(RecvTimeoutError::Disconnected) => return dead(),
            }
        }
        tokens::abandon(&self.shared.tokens, grant);
        (Err(self.timeout_error(false)), since.elapsed().as_secs_f64())
    }

    fn timeout_error(&self, stopped: bool) -> OperatorError {
        let limit = self.spec().means.timeout.unwrap_or_default().as_secs_f64();
        let rest = if stopped { "" } else { " and ignores the request to stop" };
        let error = OperatorError::failed(format!("still running after its timeout of {limit} s{rest}"));
        error.hint("raise `timeout` of this stage, or look why it takes so long")
    }

    fn place(&self) -> String {
        super::place(&self.spec().stage, &self.spec().member)
    }

    fn record(&self, state: StageState, reason: Option<String>) -> StageRecord {
        let spec = self.spec();
        StageRecord {
            stage: spec.stage.clone(),
            member: spec.member.clone(),
            operator: spec.operator.name.clone(),
            state,
            reason,
            hint: None,
            location: None,
            seconds: 0.0,
        }
    }

    fn end(&self, case: &Arc<CaseState>, state: StageState, reason: Option<String>) {
        self.publish(case, self.record(state, reason), BTreeMap::new());
    }

    fn finish(&self, case: &Arc<CaseState>, result: Result<Outputs, OperatorError>, seconds: f64) {
        let (mut record, values) = match result {
            Ok(outputs) => {
                let values: BTreeMap<(String, String), Value> =
                    outputs.into_entries().map(|(port, member, value)| ((port, member), value)).collect();
                (self.record(StageState::Ran, None), values)
            }
            Err(error) => {
                if let Some(backtrace) = &error.backtrace {
                    tracing::debug!(stage = self.place(), case = case.label, "{backtrace}");
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
        record.seconds = seconds;
        self.publish(case, record, values);
    }

    fn publish(&self, case: &Arc<CaseState>, record: StageRecord, values: BTreeMap<(String, String), Value>) {
        let (label, seconds) = (case.label.clone(), record.seconds);
        (self.shared.options.events)(&Event::StageEnded { case: label, record: record.clone(), seconds });
        self.shared.net.end_node(case, self.index, record, values);
    }
}
