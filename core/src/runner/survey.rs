//! What earlier runs make needless: looked up for a whole case before any of it runs.
//!
//! Keys go down the graph: a node whose inputs are known by their digests has a key, and a stored result tells the digests of
//! its outputs, so chains are followed without reading a voxel. Needs go up: a value is wanted if a node that runs reads it, or
//! if it is published. A stored result is mapped and verified only then; if it is damaged or holds digests only, its node runs.

use super::case::CaseState;
use super::event::{Evidence, StageRecord, StageState};
use super::outcome;
use super::parcel::{Parcel, port_name};
use super::{Keeping, Shared};
use crate::plan::{Node, NodePlan, OutputPlan, Plan, Reserved, Source, Wire};
use crate::store::{Digest, Hit, KeyParts};
use std::collections::{BTreeMap, BTreeSet};

/// What happens to each node, and which values are needed.
pub(super) struct Survey {
    stored: Vec<Option<Stored>>,
    needed: BTreeSet<Source>,
}

/// A stored result that stands for a run.
#[derive(Clone)]
pub(super) struct Stored {
    /// What it rests on.
    parts: KeyParts,
    hit: Hit,
    /// What it sends: with values if they are needed.
    parcels: BTreeMap<(String, String), Parcel>,
}

impl Stored {
    /// What the node sends, and what its record says.
    pub(super) fn take(&self) -> (BTreeMap<(String, String), Parcel>, Evidence) {
        let outputs = self.hit.outputs.iter();
        let outputs = outputs.map(|(port, member, digest)| (port_name(port, member), *digest)).collect();
        let (key, parts) = (Some(self.parts.key()), Some(Box::new(self.parts.clone())));
        (self.parcels.clone(), Evidence { cached: true, key, parts, outputs, ..Evidence::default() })
    }

    fn digest(&self, port: &str, member: &str) -> Option<Digest> {
        let same = |(p, m, _): &&(String, String, Digest)| p == port && m == member;
        self.hit.outputs.iter().find(same).map(|(.., digest)| *digest)
    }
}

impl Survey {
    /// The stored result that stands for a node's run, if there is one.
    pub(super) fn stored(&self, node: usize) -> Option<&Stored> {
        self.stored.get(node)?.as_ref()
    }

    /// Whether a source's value is needed, and not its digest alone.
    pub(super) fn needs(&self, source: &Source) -> bool {
        self.needed.contains(source)
    }
}

/// Looks a case up. `known`: the digests of its inputs, and of what the engine itself tells it.
pub(super) fn survey(
    shared: &Shared,
    keeping: &Keeping,
    case: &CaseState,
    known: &BTreeMap<Source, Digest>,
) -> Survey {
    let mut stored = look_up_all(shared, keeping, case, known);
    let needed = load_needed(shared, case.plan(), &mut stored);
    Survey { stored, needed }
}

/// Follows keys down the graph.
fn look_up_all(
    shared: &Shared,
    keeping: &Keeping,
    case: &CaseState,
    known: &BTreeMap<Source, Digest>,
) -> Vec<Option<Stored>> {
    let plan = case.plan();
    let mut stored: Vec<Option<Stored>> = Vec::with_capacity(plan.nodes.len());
    let mut known = known.clone();
    for (index, planned) in plan.nodes.iter().enumerate() {
        let NodePlan::Run { wiring, .. } = planned else {
            stored.push(None);
            continue;
        };
        let outcome = Source::Reserved(Reserved::Outcome);
        if !known.contains_key(&outcome) && wiring.iter().any(|wire| wire.source == outcome) {
            known.extend(expected_outcome(shared, case, &stored).map(|digest| (outcome, digest)));
        }
        let digests = wiring.iter().map(|wire| {
            let digest = match &wire.source {
                Source::Output { node, port, member } => stored[*node].as_ref()?.digest(port, member),
                source => Some(*known.get(source)?),
            };
            Some((port_name(&wire.port, &wire.member), digest))
        });
        let found = digests.collect::<Option<BTreeMap<_, _>>>().and_then(|inputs| {
            let parts = keeping.keys.parts(index, case.label(), inputs);
            look_up(keeping, &shared.graph.nodes[index], parts)
        });
        stored.push(found);
    }
    stored
}

/// The stored result of a key, its values not yet mapped.
fn look_up(keeping: &Keeping, node: &Node, parts: KeyParts) -> Option<Stored> {
    let store = keeping.store.as_ref().filter(|_| node.means.cache)?;
    let hit = store.look_up(&parts.key())?;
    let parcel = |(port, member, digest): &(String, String, Digest)| {
        ((port.clone(), member.clone()), Parcel { digest: Some(*digest), value: None })
    };
    let parcels = hit.outputs.iter().map(parcel).collect();
    Some(Stored { parts, hit, parcels })
}

/// A stored result with its values, for a node whose key became known only now.
pub(super) fn look_up_late(keeping: &Keeping, node: &Node, parts: &KeyParts) -> Option<Stored> {
    let mut stored = look_up(keeping, node, parts.clone())?;
    map(&mut stored).then_some(stored)
}

/// Maps and verifies a stored result's values; whether there are any.
fn map(stored: &mut Stored) -> bool {
    if !stored.hit.has_values {
        return false;
    }
    match stored.hit.load() {
        Ok(outputs) => {
            for (port, member, value) in outputs.into_entries() {
                stored.parcels.entry((port, member)).or_default().value = Some(value);
            }
            true
        }
        Err(error) => {
            tracing::warn!("a stored result cannot be used, so its stage runs again: {error}");
            false
        }
    }
}

/// Follows needs up the graph, and maps the stored results that are needed. A needed one that cannot be mapped is taken out:
/// its node runs.
fn load_needed(shared: &Shared, plan: &Plan, stored: &mut [Option<Stored>]) -> BTreeSet<Source> {
    let published = plan.outputs.iter().flat_map(|output| match output {
        OutputPlan::Available(members) => members.as_slice(),
        OutputPlan::Missing(_) => &[],
    });
    let mut needed: BTreeSet<Source> = published.map(|(_, source, _)| source.clone()).collect();
    needed.extend(shared.options.kept.iter().cloned());
    for (index, planned) in plan.nodes.iter().enumerate().rev() {
        let NodePlan::Run { wiring, .. } = planned else { continue };
        let wanted =
            needed.iter().any(|source| matches!(source, Source::Output { node, .. } if *node == index));
        if wanted && stored[index].as_mut().is_some_and(|stored| !map(stored)) {
            stored[index] = None;
        }
        if stored[index].is_none() {
            needed.extend(wiring.iter().map(|wire: &Wire| wire.source.clone()));
        }
    }
    needed
}

/// The digest of the outcome that the case will have if all that comes before it is stored.
fn expected_outcome(shared: &Shared, case: &CaseState, stored: &[Option<Stored>]) -> Option<Digest> {
    let plan = case.plan();
    let mut records = case.records();
    for (index, node) in shared.graph.nodes.iter().enumerate() {
        if shared.net.is_after_outcome(index) {
            continue;
        }
        let (state, reason) = match &plan.nodes[index] {
            NodePlan::Skip { reason } => (StageState::Skipped, Some(reason.clone())),
            NodePlan::Run { .. } => {
                stored.get(index)?.as_ref()?;
                (StageState::Ran, None)
            }
        };
        records.push(StageRecord::new(node, state, reason));
    }
    Some(Digest::of_value(&outcome::outcome(case.label(), &records)))
}
