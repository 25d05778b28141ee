//! A node at work: joins what arrives, hands complete cases to its worker, watches the clock.

use super::event::{Event, StageRecord, StageState};
use super::join::Joiner;
use super::net::{Arrival, CaseState, Message};
use super::worker::{Done, Job, Worker};
use super::{Shared, never, tokens};
use crate::plan::{Node, NodePlan, Wire};
use crossbeam::channel::Receiver;
use crossbeam::select;
use sdk::port::Interface;
use sdk::{Cause, Inputs, OperatorError, Value};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// A job that the worker has.
struct Running {
    case: Arc<CaseState>,
    cancel: Arc<AtomicBool>,
    /// Since when the operator works, and the number of its tokens.
    working: Option<(Instant, u64)>,
    /// When to act next: ask it to stop, or give it up.
    deadline: Instant,
    timed_out: bool,
}

struct Dispatcher<'a> {
    shared: &'a Arc<Shared>,
    index: usize,
    ready: VecDeque<Job>,
    running: Option<Running>,
    worker: Option<Worker>,
}

/// The life of a node's thread.
pub(super) fn dispatch(shared: &Arc<Shared>, index: usize, mailbox: &Receiver<Message>) {
    let mut joiner = Joiner::new(shared.net.slot_count(index));
    let mut node = Dispatcher { shared, index, ready: VecDeque::new(), running: None, worker: None };
    let mut open = true;
    while open || node.running.is_some() || !node.ready.is_empty() {
        node.feed_worker();
        let done = node.worker.as_ref().map_or_else(crossbeam::channel::never, |worker| worker.done.clone());
        let deadline = node.running.as_ref().map_or_else(never, |running| running.deadline);
        select! {
            recv(mailbox) -> message => match message {
                Ok(Message::Arrival { case, slot, arrival }) => {
                    if let Some(arrivals) = joiner.accept(case.index, slot, arrival) {
                        node.complete(&case, &arrivals);
                    }
                }
                Ok(stop) => open = !stop.is_stop(),
                Err(_) => open = false,
            },
            recv(done) -> done => match done {
                Ok(done) => node.hear(done),
                Err(_) => node.lose_worker("its worker thread died"),
            },
            default(deadline.saturating_duration_since(Instant::now())) => node.deadline_passed(),
        }
    }
}

impl Dispatcher<'_> {
    fn spec(&self) -> &Node {
        &self.shared.graph.nodes[self.index]
    }

    /// A case has all it needs here: run it, skip it, or pass a failure on.
    fn complete(&mut self, case: &Arc<CaseState>, arrivals: &[Arrival]) {
        match &case.plan().nodes[self.index] {
            NodePlan::Skip { reason } => self.end(case, StageState::Skipped, Some(reason.clone())),
            NodePlan::Run { wiring, interface } => match self.gather(wiring, interface, arrivals) {
                Ok(inputs) if self.shared.options.cancel.load(Ordering::Relaxed) && !self.spec().always => {
                    drop(inputs);
                    self.end(case, StageState::Cancelled, Some("the run was interrupted".to_owned()));
                }
                Ok(inputs) => {
                    let (case, interface) = (Arc::clone(case), interface.clone());
                    self.ready.push_back(Job { case, inputs, interface, cancel: Arc::default() });
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

    /// Hands the next case to the worker, if it is free.
    fn feed_worker(&mut self) {
        if self.running.is_some() {
            return;
        }
        let Some(job) = self.ready.pop_front() else { return };
        let worker = self.worker.get_or_insert_with(|| Worker::start(self.shared, self.index));
        let (case, cancel) = (Arc::clone(&job.case), Arc::clone(&job.cancel));
        self.running = Some(Running { case, cancel, working: None, deadline: never(), timed_out: false });
        if worker.jobs.send(job).is_err() {
            self.lose_worker("its worker thread died");
        }
    }

    fn hear(&mut self, done: Done) {
        let timeout = self.spec().means.timeout;
        let Some(running) = &mut self.running else { return };
        match done {
            Done::Started { tokens } => {
                let now = Instant::now();
                running.working = Some((now, tokens));
                running.deadline = timeout.map_or_else(never, |timeout| now + timeout);
                let (case, stage) = (running.case.label.clone(), self.place());
                (self.shared.options.events)(&Event::StageStarted { case, stage });
            }
            Done::Ended { result, seconds } => {
                let running = self.running.take().expect("looked at above");
                let result = if running.timed_out { Err(self.timeout_error(true)) } else { result };
                self.finish(&running, result, seconds);
            }
        }
    }

    fn timeout_error(&self, stopped: bool) -> OperatorError {
        let limit = self.spec().means.timeout.unwrap_or_default().as_secs_f64();
        let rest = if stopped { "" } else { " and ignores the request to stop" };
        let error = OperatorError::failed(format!("still running after its timeout of {limit} s{rest}"));
        error.hint("raise `timeout` of this stage, or look why it takes so long")
    }

    /// The time is up: ask the operator to stop, and give it up if it does not.
    fn deadline_passed(&mut self) {
        let grace = self.shared.options.grace;
        let Some(running) = &mut self.running else { return };
        if running.working.is_none() {
            running.deadline = never();
        } else if running.timed_out {
            self.lose_worker("");
        } else {
            running.timed_out = true;
            running.cancel.store(true, Ordering::Relaxed);
            running.deadline = Instant::now() + grace;
        }
    }

    /// Gives up a worker that does not answer; its thread, tokens and values are lost until it returns by itself.
    fn lose_worker(&mut self, reason: &str) {
        self.worker = None;
        let Some(running) = self.running.take() else { return };
        if let Some((_, id)) = running.working {
            tokens::abandon(&self.shared.tokens, id);
        }
        let error = if reason.is_empty() { self.timeout_error(false) } else { OperatorError::failed(reason) };
        let seconds = running.working.map_or(0.0, |(since, _)| since.elapsed().as_secs_f64());
        self.finish(&running, Err(error), seconds);
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

    fn finish(&self, running: &Running, result: Result<Inputs, OperatorError>, seconds: f64) {
        let (mut record, values) = match result {
            Ok(outputs) => {
                let values: BTreeMap<(String, String), Value> =
                    outputs.into_entries().map(|(port, member, value)| ((port, member), value)).collect();
                (self.record(StageState::Ran, None), values)
            }
            Err(error) => {
                if let Some(backtrace) = &error.backtrace {
                    tracing::debug!(stage = self.place(), case = running.case.label, "{backtrace}");
                }
                let interrupted = error.cause == Cause::Cancelled && !running.timed_out;
                let state = if interrupted { StageState::Cancelled } else { StageState::Failed };
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
        self.publish(&running.case, record, values);
    }

    fn publish(&self, case: &Arc<CaseState>, record: StageRecord, values: BTreeMap<(String, String), Value>) {
        let (label, seconds) = (case.label.clone(), record.seconds);
        (self.shared.options.events)(&Event::StageEnded { case: label, record: record.clone(), seconds });
        self.shared.net.end_node(&self.shared.graph, case, self.index, record, values);
    }
}
