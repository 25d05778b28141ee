//! What each case brings to a group stage, read on demand.

use super::GroupCase;
use crate::catalogue::Catalogue;
use crate::plan::{Graph, Plan};
use crate::runner::checks;
use crate::store::Digest;
use crate::store::entry::{self, EntryFile};
use sdk::abi::abi_stable::std_types::{RResult, RStr, RString, RVec};
use sdk::abi::{self, PortValue};
use sdk::{CaseEntry, Inputs, Interface, OperatorError, border};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A case as one group stage sees it.
#[derive(Clone, Debug)]
pub(super) struct Brings {
    /// Who it is; why it brings nothing, if it does not.
    pub(super) entry: CaseEntry,
    file: PathBuf,
    values: Vec<Wired>,
}

/// A value that a case brings.
#[derive(Clone, Debug)]
struct Wired {
    port: String,
    member: String,
    /// Its name in the file.
    name: String,
    digest: Digest,
}

/// A plan, or why there is none.
type Planned = Result<Plan, String>;

/// What cases do, by the inputs that are present.
pub(super) struct Plans<'a> {
    graph: &'a Graph,
    catalogue: &'a dyn Catalogue,
    known: RefCell<BTreeMap<BTreeSet<String>, Arc<Planned>>>,
}

impl<'a> Plans<'a> {
    pub(super) const fn new(graph: &'a Graph, catalogue: &'a dyn Catalogue) -> Self {
        Self { graph, catalogue, known: RefCell::new(BTreeMap::new()) }
    }

    fn plan(&self, present: &BTreeSet<String>) -> Arc<Planned> {
        let make =
            || {
                let plan = self.graph.plan(self.catalogue, present);
                Arc::new(plan.map_err(|reasons| {
                    reasons.first().map(|reason| reason.reason.clone()).unwrap_or_default()
                }))
            };
        Arc::clone(self.known.borrow_mut().entry(present.clone()).or_insert_with(make))
    }

    /// What a case brings to the group stage of that number.
    pub(super) fn brings(&self, group: usize, case: &GroupCase) -> Brings {
        let mut brings = Brings { entry: case.entry.clone(), file: PathBuf::new(), values: Vec::new() };
        if brings.entry.failure.is_some() {
            return brings;
        }
        match self.wired(group, case) {
            Ok((file, values)) => (brings.file, brings.values) = (file, values),
            Err(reason) => brings.entry.failure = Some(reason),
        }
        brings
    }

    fn wired(&self, group: usize, case: &GroupCase) -> Result<(PathBuf, Vec<Wired>), String> {
        let plan = self.plan(&case.present);
        let plan = plan.as_ref().as_ref().map_err(Clone::clone)?;
        let planned = &plan.groups[group];
        if let Some(reason) = &planned.lacks {
            return Err(reason.clone());
        }
        if planned.wiring.is_empty() {
            return Ok((PathBuf::new(), Vec::new()));
        }
        let file = case.values.clone().ok_or("nothing was kept of it: run it again")?;
        let listed = entry::open(&file).map_err(|error| error.to_string())?.list();
        let mut values = Vec::new();
        for wire in &planned.wiring {
            let name = self.graph.name_of(&wire.source);
            let found = listed.iter().find(|listed| listed.port == name);
            let digest = found.ok_or_else(|| format!("`{name}` was not kept of it: run it again"))?.digest;
            values.push(Wired { port: wire.port.clone(), member: wire.member.clone(), name, digest });
        }
        Ok((file, values))
    }
}

impl Brings {
    /// What of the case decides the stage's result.
    pub(super) fn add_to_key(&self, inputs: &mut BTreeMap<String, Option<Digest>>) {
        let label = &self.entry.label;
        if let Some(reason) = &self.entry.failure {
            let told = serde_json::json!([reason, self.entry.hint, self.entry.left]);
            inputs.insert(format!("{label}: failure"), Some(Digest::of_json(&told)));
        }
        if !self.entry.columns.is_empty() {
            let columns = Digest::of_json(&serde_json::json!(self.entry.columns));
            inputs.insert(format!("{label}: columns"), Some(columns));
        }
        for value in &self.values {
            let port = [value.port.as_str(), &value.member].join(".");
            inputs.insert(format!("{label}: {}", port.trim_end_matches('.')), Some(value.digest));
        }
        // A case without values counts all the same.
        inputs.entry(label.clone()).or_insert(None);
    }

    fn load(&self, port: &str) -> Result<Inputs, OperatorError> {
        let mut inputs = Inputs::new();
        let wanted = self.values.iter().filter(|value| port.is_empty() || value.port == port);
        let mut file: Option<EntryFile> = None;
        for value in wanted {
            let open = match &file {
                Some(open) => open,
                None => file.insert(entry::open(&self.file)?),
            };
            let gone =
                || OperatorError::failed(format!("`{}` is not in {}", value.name, self.file.display()));
            inputs.insert(&value.port, &value.member, open.load(&value.name, "")?.ok_or_else(gone)?);
        }
        Ok(inputs)
    }
}

/// The cases of a group, for its operator.
pub(super) struct Served {
    pub(super) cases: Vec<Brings>,
    pub(super) interface: Interface,
    /// Set when the stage should stop: then no more values are read.
    pub(super) cancel: Arc<AtomicBool>,
}

impl Served {
    fn read(&self, index: usize, port: &str) -> Result<RVec<PortValue>, OperatorError> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(OperatorError::cancelled());
        }
        let outside =
            || OperatorError::failed(format!("case {index} was asked for, of {}", self.cases.len()));
        let case = self.cases.get(index).ok_or_else(outside)?;
        let of_case = |error: OperatorError| OperatorError {
            message: format!("case {}: {}", case.entry.label, error.message),
            ..error
        };
        let inputs = case.load(port).map_err(of_case)?;
        checks::entry(&self.interface, &inputs).map_err(of_case)?;
        border::inputs_to_abi(&inputs)
    }
}

impl abi::Cases for Served {
    fn count(&self) -> usize {
        self.cases.len()
    }

    fn describe(&self, index: usize) -> RString {
        let entry = self.cases.get(index).map(|case| &case.entry);
        serde_json::to_string(&entry).unwrap_or_default().into()
    }

    fn values(&self, index: usize, port: RStr<'_>) -> RResult<RVec<PortValue>, RString> {
        match self.read(index, port.as_str()) {
            Ok(values) => RResult::ROk(values),
            Err(error) => RResult::RErr(border::error_to_json(&error).into()),
        }
    }
}
