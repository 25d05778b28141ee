//! The thread that runs a node's operator, one case after the other.

use super::net::CaseState;
use super::tokens::Demand;
use super::{Event, Shared, checks, spawn};
use crate::host::{Cancel, StageHost};
use crate::plan::Node;
use crossbeam::channel::{Receiver, Sender, bounded};
use sdk::abi::OperatorObject;
use sdk::abi::abi_stable::std_types::ROption;
use sdk::port::Interface;
use sdk::{Cause, Inputs, OperatorError, Outputs, Place, border};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// A case for the operator.
pub(super) struct Job {
    /// Whose.
    pub(super) case: Arc<CaseState>,
    /// What it reads.
    pub(super) inputs: Inputs,
    /// What was agreed for this pattern of presence.
    pub(super) interface: Interface,
    /// Set when it should stop.
    pub(super) cancel: Arc<AtomicBool>,
}

/// What a worker tells.
pub(super) enum Done {
    /// It has its tokens and begins.
    Started {
        /// Number of the tokens.
        tokens: u64,
    },
    /// It is done.
    Ended {
        /// What it made.
        result: Result<Outputs, OperatorError>,
        /// Seconds the operator worked.
        seconds: f64,
    },
}

/// A worker's two channels. Its thread ends when they are dropped; if it hangs, it is left behind.
pub(super) struct Worker {
    /// Takes one job at a time.
    pub(super) jobs: Sender<Job>,
    /// Tells how it goes.
    pub(super) done: Receiver<Done>,
}

/// Messages a worker can leave for one job: that it started, and that it ended.
const MESSAGES_PER_JOB: usize = 2;

impl Worker {
    /// Starts a worker for a node.
    pub(super) fn start(shared: &Arc<Shared>, node: usize) -> Self {
        let (jobs, todo) = bounded(1);
        let (tell, done) = bounded(MESSAGES_PER_JOB);
        let shared = Arc::clone(shared);
        let name = format!("worker {}", shared.graph.nodes[node].label());
        spawn(&name, move || work(&shared, node, &todo, &tell));
        Self { jobs, done }
    }
}

fn work(shared: &Shared, node: usize, todo: &Receiver<Job>, tell: &Sender<Done>) {
    let mut operator = None;
    for job in todo {
        // Nobody listens any more once the worker was given up: what it still does is lost, and it ends after this job.
        let started = |tokens| drop(tell.send(Done::Started { tokens }));
        let (result, seconds) = serve(shared, node, &mut operator, job, &started);
        if tell.send(Done::Ended { result, seconds }).is_err() {
            return;
        }
    }
}

/// Runs one case: waits for tokens, tells that it started, opens the operator if need be, runs it, checks what it made.
pub(super) fn serve(
    shared: &Shared,
    node: usize,
    operator: &mut Option<OperatorObject>,
    job: Job,
    started: &dyn Fn(u64),
) -> (Result<Outputs, OperatorError>, f64) {
    let spec = &shared.graph.nodes[node];
    let cancel = Cancel { stage: Arc::clone(&job.cancel), run: stop_flag(shared, spec) };
    let Some(grant) = shared.tokens.acquire(&demand(shared, spec), || cancel.is_set()) else {
        return (Err(OperatorError::cancelled()), 0.0);
    };
    started(grant.id());
    let start = Instant::now();
    let span = tracing::info_span!("stage", case = job.case.label, stage = spec.label());
    let result = span.in_scope(|| attempts(shared, spec, operator, &job, &cancel, grant.cores()));
    drop(job);
    (result, start.elapsed().as_secs_f64())
}

/// A stage that always runs also runs after Ctrl-C: its page says what was done until then.
fn stop_flag(shared: &Shared, spec: &Node) -> Arc<AtomicBool> {
    if spec.always { Arc::default() } else { Arc::clone(&shared.options.cancel) }
}

fn demand(shared: &Shared, spec: &Node) -> Demand {
    /// Bytes in a MiB.
    const MIB: u64 = 1 << 20;
    let device = device(shared, spec);
    Demand {
        cores: spec.means.threads.unwrap_or(shared.options.cores),
        memory_mib: spec.means.memory.map_or(0, |bytes| bytes.div_ceil(MIB)),
        device: device.starts_with("cuda").then_some(device),
    }
}

fn device(shared: &Shared, spec: &Node) -> String {
    spec.means.device.clone().unwrap_or_else(|| shared.options.device.clone())
}

fn attempts(
    shared: &Shared,
    spec: &Node,
    operator: &mut Option<OperatorObject>,
    job: &Job,
    cancel: &Cancel,
    cores: usize,
) -> Result<Outputs, OperatorError> {
    let mut left = spec.means.retries;
    loop {
        let result = attempt(shared, spec, operator, job, cancel, cores);
        match result {
            Err(error) if left > 0 && error.cause != Cause::Cancelled && !cancel.is_set() => {
                tracing::warn!("failed, tried again ({left} tries left): {error}");
                left -= 1;
            }
            result => return result,
        }
    }
}

fn attempt(
    shared: &Shared,
    spec: &Node,
    slot: &mut Option<OperatorObject>,
    job: &Job,
    cancel: &Cancel,
    cores: usize,
) -> Result<Outputs, OperatorError> {
    let bindings = checks::entry(&job.interface, &job.inputs)?;
    let operator = match slot {
        Some(operator) => operator,
        None => slot.insert(open(shared, spec, cores)?),
    };
    let host = host(shared, spec, job, cancel, cores)?;
    let answer =
        operator.run(border::inputs_to_abi(&job.inputs)?, ROption::RNone, host.object()).into_result();
    let values = answer.map_err(|error| border::error_from_json(error.as_str())).inspect_err(|error| {
        if error.cause == Cause::Panicked {
            // Who knows what state it left behind.
            slot.take();
        }
    })?;
    let outputs = border::inputs_from_abi(&values)?;
    checks::exit(&job.interface, bindings, &job.inputs, &outputs)?;
    Ok(outputs)
}

fn open(shared: &Shared, spec: &Node, cores: usize) -> Result<OperatorObject, OperatorError> {
    let name = &spec.operator.plugin;
    let lost = || OperatorError::failed(format!("plugin `{name}` is not loaded"));
    let plugin = shared.registry.plugin(name).ok_or_else(lost)?;
    let place = Place {
        device: device(shared, spec),
        threads: cores,
        plugin_dir: plugin.path.parent().map(Into::into).unwrap_or_default(),
        site: shared.options.site.get(name).cloned().unwrap_or_default(),
    };
    plugin.open(&spec.operator.name, &spec.settings, &place)
}

fn host(
    shared: &Shared,
    spec: &Node,
    job: &Job,
    cancel: &Cancel,
    cores: usize,
) -> Result<StageHost, OperatorError> {
    let (events, case) = (Arc::clone(&shared.options.events), job.case.label.clone());
    let stage = super::place(&spec.stage, &spec.member);
    let progress = move |fraction: f64, message: &str| {
        let (case, stage, message) = (case.clone(), stage.clone(), message.to_owned());
        events(&Event::StageProgress { case, stage, fraction, message });
    };
    Ok(StageHost {
        pool: shared.pools.take(cores)?,
        cancel: cancel.clone(),
        progress: Arc::new(progress),
        scratch_root: shared.options.scratch_root.clone(),
        case: job.case.label.clone(),
    })
}
