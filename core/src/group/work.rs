//! Runs a group operator on a thread of its own, so that it can be given up.

use super::GroupRun;
use super::brings::{Brings, Served};
use crate::host::{Cancel, StageHost};
use crate::plan::{GroupNode, Node};
use crate::registry::Registry;
use crate::runner::{Event, RunOptions, checks};
use crossbeam::channel::{Receiver, RecvTimeoutError, bounded};
use sdk::abi::abi_stable::sabi_trait::TD_Opaque;
use sdk::abi::abi_stable::std_types::{RArc, ROption, RVec};
use sdk::abi::{self, CasesObject, HostObject};
use sdk::{Inputs, OperatorError, Outputs, Place, border};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often it is looked whether the run was stopped.
const LOOK: Duration = Duration::from_millis(50);

type Answer = Result<Outputs, OperatorError>;

/// Runs the stage and checks what it made.
///
/// # Errors
/// What the operator says; that it took too long; that it broke its promises.
pub(super) fn run(
    run: &GroupRun<'_>,
    group: &GroupNode,
    subject: Option<&str>,
    cases: &[Brings],
    resume: PathBuf,
) -> Answer {
    let node = &group.node;
    let cancel = Cancel { stage: Arc::default(), run: Arc::clone(&run.options.cancel) };
    let threads = node.means.threads.unwrap_or(run.options.cores).max(1);
    let pool =
        (threads > 1).then(|| rayon::ThreadPoolBuilder::new().num_threads(threads).build()).transpose()?;
    let label = subject.unwrap_or_default().to_owned();
    let (events, stage, case) = (Arc::clone(&run.options.events), node.stage.clone(), shown(node, subject));
    let progress = move |fraction: f64, message: &str| {
        let (case, stage, message) = (case.clone(), stage.clone(), message.to_owned());
        events(&Event::StageProgress { case, stage, fraction, message });
    };
    let host = StageHost {
        pool: pool.map(Arc::new),
        cancel: cancel.clone(),
        progress: Arc::new(progress),
        scratch_root: run.options.scratch_root.clone(),
        case: label,
    };
    let served = Served {
        cases: cases.to_vec(),
        interface: group.interface.clone(),
        cancel: Arc::clone(&cancel.stage),
    };
    let (node, registry) = (node.clone(), Arc::clone(run.registry));
    let place = place(&node, &registry, run.options, threads);
    let span = tracing::info_span!("stage", case = shown(&node, subject), stage = node.stage);
    let (tell, told) = bounded::<Answer>(1);
    let work = move || {
        let answer = span.in_scope(|| {
            let cases = abi::Cases_TO::from_ptr(RArc::new(served), TD_Opaque);
            operate(&node, &registry, &place, cases, host.object_to_resume(resume))
        });
        // Nobody listens any more if it was given up.
        let _ = tell.send(answer);
    };
    std::thread::Builder::new().name(format!("group {}", group.node.stage)).spawn(work)?;
    let made = wait(&told, group.node.means.timeout, run.options.grace, &cancel)?;
    checks::exit(&group.interface, checks::Bindings::default(), &Inputs::new(), &made)?;
    Ok(made)
}

/// Whom events and log lines name, as `status` and `why` do: `STAGE`, or `STAGE/sub-01`.
fn shown(node: &Node, subject: Option<&str>) -> String {
    [Some(node.stage.as_str()), subject].into_iter().flatten().collect::<Vec<_>>().join("/")
}

fn place(node: &Node, registry: &Registry, options: &RunOptions, threads: usize) -> Place {
    let plugin = registry.plugin(&node.operator.plugin);
    Place {
        device: node.means.device.clone().unwrap_or_else(|| options.device.clone()),
        threads,
        plugin_dir: plugin.and_then(|plugin| plugin.path.parent()).map(Into::into).unwrap_or_default(),
        site: options.site.get(&node.operator.plugin).cloned().unwrap_or_default(),
    }
}

fn operate(node: &Node, registry: &Registry, place: &Place, cases: CasesObject, host: HostObject) -> Answer {
    let name = &node.operator.plugin;
    let lost = || OperatorError::failed(format!("plugin `{name}` is not loaded"));
    let plugin = registry.plugin(name).ok_or_else(lost)?;
    let mut operator = plugin.open(&node.operator.name, &node.settings, place)?;
    let answer = operator.run(RVec::new(), ROption::RSome(cases), host).into_result();
    border::inputs_from_abi(&answer.map_err(|error| border::error_from_json(error.as_str()))?)
}

/// Waits for the operator; asks it to stop at its timeout or when the run is stopped, and gives it up after the grace.
pub(super) fn wait(
    told: &Receiver<Answer>,
    timeout: Option<Duration>,
    grace: Duration,
    cancel: &Cancel,
) -> Answer {
    let start = Instant::now();
    let mut asked: Option<Instant> = None;
    loop {
        match told.recv_timeout(LOOK) {
            Ok(answer) => {
                let late = cancel.stage.load(Ordering::Relaxed);
                return if late { Err(too_late(timeout, true)) } else { answer };
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(OperatorError::failed("its thread ended without an answer"));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        if timeout.is_some_and(|limit| start.elapsed() >= limit) {
            set(&cancel.stage);
        }
        if cancel.is_set() && asked.get_or_insert_with(Instant::now).elapsed() >= grace {
            let stopped = cancel.run.load(Ordering::Relaxed);
            return Err(if stopped { OperatorError::cancelled() } else { too_late(timeout, false) });
        }
    }
}

fn set(flag: &AtomicBool) {
    flag.store(true, Ordering::Relaxed);
}

fn too_late(timeout: Option<Duration>, stopped: bool) -> OperatorError {
    let limit = timeout.unwrap_or_default().as_secs_f64();
    let given_up = if stopped { "" } else { ", did not stop when asked to, and was given up" };
    OperatorError::failed(format!("it took longer than its limit of {limit} s{given_up}"))
        .hint("raise `timeout`; the stage goes on where it was")
}
