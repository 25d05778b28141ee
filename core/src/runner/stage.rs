//! Runs one case at one stage: waits for tokens, opens the operator if need be, runs it, checks and keeps what it made.

use super::node::{Done, Ready};
use super::parcel::{Parcel, port_name};
use super::tokens::{Demand, Grant};
use super::{Event, Keeping, Shared, checks};
use crate::host::{Cancel, StageHost};
use crate::plan::Node;
use crate::store::{Digest, KeyParts};
use sdk::abi::OperatorObject;
use sdk::abi::abi_stable::std_types::ROption;
use sdk::{Cause, OperatorError, Outputs, Place, border};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Runs one case; `started` is told the number of its tokens once it has them.
pub(super) fn serve(shared: &Shared, ready: Ready, started: &dyn Fn(u64)) -> Done {
    let spec = &shared.graph.nodes[ready.node];
    let cancel = Cancel { stage: Arc::clone(&ready.cancel), run: stop_flag(shared, spec) };
    let Some(grant) = shared.tokens.acquire(&demand(shared, spec), || cancel.is_set()) else {
        return Done::failed(OperatorError::cancelled());
    };
    started(grant.id());
    let (start, watch) = (Instant::now(), shared.meter.begin());
    let span = tracing::info_span!("stage", case = ready.case.label(), stage = spec.label());
    let result = span.in_scope(|| attempts(shared, &ready, &cancel, &grant));
    let seconds = start.elapsed().as_secs_f64();
    let growth = watch.end();
    let Ready { inputs, parts, .. } = ready;
    drop(inputs);
    let (result, outputs) = match (result, &shared.options.keeping) {
        (Ok(outputs), Some(keeping)) => {
            let (parcels, digests) = span.in_scope(|| keep(keeping, spec, parts.as_ref(), outputs, seconds));
            (Ok(parcels), digests)
        }
        (Ok(outputs), None) => (Ok(loose(outputs)), BTreeMap::new()),
        (Err(error), _) => (Err(error), BTreeMap::new()),
    };
    let mut done = Done { result, evidence: super::Evidence::default() };
    let evidence = &mut done.evidence;
    (evidence.seconds, evidence.peak_mib, evidence.alone) = (seconds, growth.peak_mib, growth.alone);
    evidence.key = parts.as_ref().map(KeyParts::key);
    evidence.parts = parts.map(Box::new);
    evidence.outputs = outputs;
    done
}

/// Outputs of a run that keeps nothing.
fn loose(outputs: Outputs) -> BTreeMap<(String, String), Parcel> {
    let parcel = |(port, member, value)| ((port, member), Parcel { digest: None, value: Some(value) });
    outputs.into_entries().map(parcel).collect()
}

type Kept = (BTreeMap<(String, String), Parcel>, BTreeMap<String, Digest>);

/// Digests what a stage made, and stores it if that is wanted. A stored volume's heap gives way to the mapped file, so that
/// late readers hold no memory.
fn keep(keeping: &Keeping, spec: &Node, parts: Option<&KeyParts>, outputs: Outputs, seconds: f64) -> Kept {
    let store = keeping.store.as_ref().filter(|_| spec.means.cache);
    let stored = store.zip(parts).and_then(|(store, parts)| {
        // The store has warned of a write that failed; the values are here all the same.
        store.put(&parts.key(), &outputs, seconds).ok()
    });
    let mut mapped = BTreeMap::new();
    let mut known = BTreeMap::new();
    if let Some(hit) = stored {
        if hit.has_values
            && let Ok(values) = hit.load()
        {
            mapped.extend(values.into_entries().map(|(port, member, value)| ((port, member), value)));
        }
        known.extend(hit.outputs.into_iter().map(|(port, member, digest)| ((port, member), digest)));
    }
    let (mut parcels, mut digests) = (BTreeMap::new(), BTreeMap::new());
    for (port, member, value) in outputs.into_entries() {
        let name = port_name(&port, &member);
        let place = (port, member);
        let digest = known.get(&place).copied().unwrap_or_else(|| Digest::of_value(&value));
        let value = mapped.remove(&place).unwrap_or(value);
        digests.insert(name, digest);
        parcels.insert(place, Parcel { digest: Some(digest), value: Some(value) });
    }
    (parcels, digests)
}

/// A stage that always runs also runs after Ctrl-C: its page says what was done until then.
fn stop_flag(shared: &Shared, spec: &Node) -> Arc<AtomicBool> {
    if spec.always { Arc::default() } else { Arc::clone(&shared.options.cancel) }
}

fn demand(shared: &Shared, spec: &Node) -> Demand {
    /// Bytes in a MiB.
    const MIB: u64 = 1 << 20;
    let declared = spec.means.memory.map(|bytes| bytes.div_ceil(MIB));
    let learned = || shared.options.estimates.get(&spec.name()).copied();
    // The cores are shared among the cases in flight; the last ones have them all.
    let share = shared.options.cores / shared.in_flight.load(Ordering::Relaxed).max(1);
    Demand {
        cores: spec.means.threads.unwrap_or(share.max(1)),
        memory_mib: declared.or_else(learned).unwrap_or_default(),
        devices: devices(shared, spec),
    }
}

fn asked_device<'a>(shared: &'a Shared, spec: &'a Node) -> &'a str {
    spec.means.device.as_deref().unwrap_or(&shared.options.device)
}

/// The GPUs of which a stage takes one: the one it names, or any visible one if its operator can use one.
fn devices(shared: &Shared, spec: &Node) -> Vec<String> {
    match asked_device(shared, spec) {
        "auto" | "cuda" if uses_gpu(shared, spec) => shared.options.gpus.clone(),
        named if named.starts_with("cuda:") => vec![named.to_owned()],
        _ => Vec::new(),
    }
}

fn uses_gpu(shared: &Shared, spec: &Node) -> bool {
    let plugin = shared.registry.plugin(&spec.operator.plugin);
    let mut operators = plugin.into_iter().flat_map(|plugin| &plugin.description.operators);
    operators.any(|operator| operator.name == spec.operator.name && operator.gpu)
}

fn attempts(
    shared: &Shared,
    ready: &Ready,
    cancel: &Cancel,
    grant: &Grant,
) -> Result<Outputs, OperatorError> {
    let spec = &shared.graph.nodes[ready.node];
    let device = grant.device().unwrap_or_else(|| asked_device(shared, spec).to_owned());
    let mut left = spec.means.retries;
    loop {
        match attempt(shared, ready, cancel, grant.cores(), &device) {
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
    ready: &Ready,
    cancel: &Cancel,
    cores: usize,
    device: &str,
) -> Result<Outputs, OperatorError> {
    let spec = &shared.graph.nodes[ready.node];
    let bindings = checks::entry(&ready.interface, &ready.inputs)?;
    let desk = &shared.desks[ready.node];
    let idle = desk.idle().operators.get_mut(device).and_then(Vec::pop);
    let mut operator = match idle {
        Some(operator) => operator,
        None => open(shared, spec, cores, device)?,
    };
    let host = host(shared, spec, ready, cancel, cores)?;
    let answer =
        operator.run(border::inputs_to_abi(&ready.inputs)?, ROption::RNone, host.object()).into_result();
    let answer = answer.map_err(|error| border::error_from_json(error.as_str()));
    // After a panic who knows what state it left behind.
    if !matches!(&answer, Err(error) if error.cause == Cause::Panicked) {
        desk.idle().operators.entry(device.to_owned()).or_default().push(operator);
    }
    let outputs = border::inputs_from_abi(&answer?)?;
    checks::exit(&ready.interface, bindings, &ready.inputs, &outputs)?;
    Ok(outputs)
}

fn open(shared: &Shared, spec: &Node, cores: usize, device: &str) -> Result<OperatorObject, OperatorError> {
    let name = &spec.operator.plugin;
    let lost = || OperatorError::failed(format!("plugin `{name}` is not loaded"));
    let plugin = shared.registry.plugin(name).ok_or_else(lost)?;
    let place = Place {
        device: device.to_owned(),
        threads: cores,
        plugin_dir: plugin.path.parent().map(Into::into).unwrap_or_default(),
        site: shared.options.site.get(name).cloned().unwrap_or_default(),
    };
    plugin.open(&spec.operator.name, &spec.settings, &place)
}

fn host(
    shared: &Shared,
    spec: &Node,
    ready: &Ready,
    cancel: &Cancel,
    cores: usize,
) -> Result<StageHost, OperatorError> {
    let (events, case) = (Arc::clone(&shared.options.events), ready.case.label().to_owned());
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
        case: ready.case.label().to_owned(),
    })
}
