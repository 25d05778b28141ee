//! Looks at a case's files, looks up what is stored, and puts values on the edges.

use super::case::CaseState;
use super::event::{Event, Evidence, StageRecord, StageState};
use super::files::{self, Seen};
use super::parcel::{Arrival, Parcel};
use super::{Shared, outcome, survey};
use crate::case::Slices;
use crate::plan::{InputSpec, OnError, Plan, Reserved, Source};
use crate::store::{Digest, FileState};
use sdk::{Grid, OperatorError, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

/// What a case brings for an input.
#[derive(Clone, Debug)]
pub enum CaseInput {
    /// A file, read when a stage needs it.
    File(PathBuf),
    /// A value that is there already: a number, a text, a volume of a program that embeds the engine.
    Value(Value),
    /// A folder of PNG slices, read when the case is admitted.
    Slices(Slices),
}

/// A case to run.
#[derive(Clone, Debug)]
pub struct CaseJob {
    /// Its label, `sub-01_ses-02`.
    pub label: String,
    /// What it brings, by input name.
    pub inputs: BTreeMap<String, CaseInput>,
    /// What it is to do.
    pub plan: Arc<Plan>,
    /// Memory it is expected to take at its peak, in MiB; 0 if nobody knows. Cases are admitted as long as the sum stays
    /// within the run's memory, and one always is.
    pub memory_mib: u64,
}

/// A file of a case, as it was when it was looked at.
#[derive(Clone, Debug)]
pub struct InputRecord {
    /// The input's name.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// Its content; none if the run keeps nothing or the file could not be read.
    pub state: Option<FileState>,
    /// Its grid, if it is a volume that could be read.
    pub grid: Option<Grid>,
}

type Looks = BTreeMap<String, Result<Seen, OperatorError>>;

/// Looks at a case's inputs and starts it.
pub(super) fn feed(shared: &Shared, case: &Arc<CaseState>) {
    let mut looks = look_at_all(shared, case);
    let unreadable = drop_absent(shared, &mut looks);
    if !unreadable.is_empty() {
        replan(shared, case, &unreadable, &mut looks);
    }
    check_groups(shared, case, &mut looks);
    case.note_inputs(records(case, &looks));
    for (name, error) in looks.iter().filter_map(|(name, look)| Some((name, look.as_ref().err()?))) {
        note(shared, case, name, StageState::Failed, error.clone());
    }
    let digests = looks
        .iter()
        .filter_map(|(name, look)| Some((name.clone(), digest(shared, case, name, look.as_ref().ok()?)?)));
    let digests: BTreeMap<String, Digest> = digests.collect();
    let reserved = reserved(shared, case, &looks);
    if let Some(keeping) = &shared.options.keeping {
        let own =
            reserved.iter().filter_map(|(name, parcel)| Some((Source::Reserved(*name), parcel.digest?)));
        let inputs = digests.iter().map(|(name, digest)| (Source::Input(name.clone()), *digest));
        let known = inputs.chain(own).collect();
        case.note_survey(survey::survey(shared, keeping, case, &known));
        read_needed(shared, case, &mut looks);
    }
    for input in &shared.graph.inputs {
        let arrival = match looks.remove(&input.name) {
            None => Arrival::Absent,
            Some(Ok(seen)) => {
                let digest = digests.get(&input.name).copied();
                Arrival::Value(Box::new(Parcel { digest, value: seen.value }))
            }
            Some(Err(_)) => Arrival::Cancelled(format!("input `{}` could not be read", input.name).into()),
        };
        shared.net.emit(case, &Source::Input(input.name.clone()), &arrival);
    }
    shared.net.start(case, reserved);
}

/// What the engine itself knows of the case, as far as anybody asks.
fn reserved(shared: &Shared, case: &CaseState, looks: &Looks) -> Vec<(Reserved, Parcel)> {
    let wanted = Reserved::ALL.into_iter().filter(|name| shared.net.wants(&Source::Reserved(*name)));
    let value = |name| match name {
        Reserved::Label => Some((name, Value::from(case.label()))),
        Reserved::Plan => Some((name, outcome::plan(&shared.graph, case.plan()))),
        Reserved::Provenance => Some((name, provenance(shared, case, looks))),
        // Sent when the last stage before it has ended.
        Reserved::Outcome => None,
    };
    wanted.filter_map(value).map(|(name, value)| (name, shared.net.own(value))).collect()
}

fn provenance(shared: &Shared, case: &CaseState, looks: &Looks) -> Value {
    let entry = |(name, input): (&String, &CaseInput)| {
        let Some(Ok(seen)) = looks.get(name) else { return None };
        Some(match input {
            CaseInput::Value(_) => outcome::input_entry(name, None, seen.grid),
            CaseInput::Slices(slices) => {
                let folder = slices.folder.file_name().unwrap_or_default().to_string_lossy();
                let mut entry = outcome::input_entry(name, Some((&folder, None)), seen.grid);
                entry["assumed"] = slices.assumed();
                entry
            }
            CaseInput::File(path) => {
                let file = path.file_name().unwrap_or_default().to_string_lossy();
                let hash = || std::fs::read(path).ok().map(|bytes| Digest::of_bytes(&bytes));
                let digest = seen.state.map(|state| state.digest).or_else(hash);
                outcome::input_entry(name, Some((&file, digest)), seen.grid)
            }
        })
    };
    let inputs: Vec<_> = case.job.inputs.iter().filter_map(entry).collect();
    outcome::case_provenance(shared, case.label(), &inputs)
}

fn look_at_all(shared: &Shared, case: &CaseState) -> Looks {
    let memo = shared.options.keeping.as_ref().map(|keeping| &*keeping.memo);
    let wanted = shared.graph.inputs.iter().filter_map(|spec| Some((spec, case.job.inputs.get(&spec.name)?)));
    let look = |spec: &InputSpec, input: &CaseInput| match input {
        CaseInput::Value(value) => Ok(Seen::of(value.clone(), None)),
        CaseInput::File(path) => files::look(memo, spec, path),
        CaseInput::Slices(slices) => slices.read(spec.kind).map(|value| Seen::of(value, None)),
    };
    std::thread::scope(|scope| {
        let lookers: Vec<_> =
            wanted.map(|(spec, input)| (spec, scope.spawn(move || look(spec, input)))).collect();
        let join = |(spec, looker): (&InputSpec, std::thread::ScopedJoinHandle<'_, _>)| {
            let result = looker.join().unwrap_or_else(|_| Err(OperatorError::failed("the reader panicked")));
            (spec.name.clone(), result)
        };
        lookers.into_iter().map(join).collect()
    })
}

/// The digest of an input's value, in a run that keeps results.
fn digest(shared: &Shared, case: &CaseState, name: &str, seen: &Seen) -> Option<Digest> {
    shared.options.keeping.as_ref()?;
    match case.job.inputs.get(name)? {
        CaseInput::Value(value) => Some(Digest::of_value(value)),
        CaseInput::Slices(_) => seen.value.as_ref().map(Digest::of_value),
        CaseInput::File(path) => {
            Some(Digest::of_input(shared.graph.input(name)?.kind, path, seen.state?.digest))
        }
    }
}

/// Reads the files that a stage needs and that nobody has read yet.
fn read_needed(shared: &Shared, case: &CaseState, looks: &mut Looks) {
    for (name, look) in looks {
        let needed = case.survey().is_some_and(|survey| survey.needs(&Source::Input(name.clone())));
        let (Ok(seen), Some(CaseInput::File(path)), Some(spec)) =
            (&mut *look, case.job.inputs.get(name), shared.graph.input(name))
        else {
            continue;
        };
        let Some(state) = seen.state.filter(|_| needed && seen.value.is_none()) else { continue };
        match files::read_unchanged(spec.kind, path, state) {
            Ok(value) => seen.value = Some(value),
            Err(error) => {
                note(shared, case, name, StageState::Failed, error.clone());
                *look = Err(error);
            }
        }
    }
}

fn records(case: &CaseState, looks: &Looks) -> Vec<InputRecord> {
    let record = |(name, input): (&String, &CaseInput)| {
        let CaseInput::File(path) = input else { return None };
        let seen = looks.get(name).and_then(|look| look.as_ref().ok());
        let (state, grid) = (seen.and_then(|seen| seen.state), seen.and_then(|seen| seen.grid));
        Some(InputRecord { name: name.clone(), path: path.clone(), state, grid })
    };
    case.job.inputs.iter().filter_map(record).collect()
}

/// Takes out the unreadable inputs that count as absent.
fn drop_absent(shared: &Shared, looks: &mut Looks) -> BTreeMap<String, OperatorError> {
    let lenient =
        |name: &String| shared.graph.input(name).is_some_and(|spec| spec.on_error == OnError::Absent);
    let names: Vec<String> =
        looks.iter().filter(|(n, v)| v.is_err() && lenient(n)).map(|(n, _)| n.clone()).collect();
    names.into_iter().filter_map(|name| looks.remove(&name)?.err().map(|error| (name, error))).collect()
}

/// Plans the case without the unreadable inputs; if it cannot run without them, they are failures after all.
fn replan(
    shared: &Shared,
    case: &CaseState,
    unreadable: &BTreeMap<String, OperatorError>,
    looks: &mut Looks,
) {
    let present: BTreeSet<String> =
        case.plan().present.iter().filter(|name| !unreadable.contains_key(*name)).cloned().collect();
    match shared.graph.plan(&*shared.registry, &present) {
        Ok(plan) => {
            for (name, error) in unreadable {
                note(shared, case, name, StageState::Skipped, error.clone());
            }
            case.replan(plan);
        }
        Err(_) => looks.extend(unreadable.iter().map(|(name, error)| (name.clone(), Err(error.clone())))),
    }
}

/// Inputs that are declared to lie on one grid do.
fn check_groups(shared: &Shared, case: &CaseState, looks: &mut Looks) {
    let file = |name: &str| match case.job.inputs.get(name) {
        Some(CaseInput::File(path)) => format!("`{}`", path.display()),
        _ => format!("`{name}`"),
    };
    let mut groups: BTreeMap<&str, (Grid, &str)> = BTreeMap::new();
    for spec in &shared.graph.inputs {
        let (Some(group), Some(Ok(seen))) = (&spec.grid, looks.get(&spec.name)) else { continue };
        let Some(grid) = seen.grid else { continue };
        let (first_grid, first) = groups.entry(group).or_insert((grid, &spec.name));
        if !first_grid.matches(&grid) {
            let (own, other) = (file(&spec.name), file(first));
            let text = format!(
                "{own} lies on {grid}, but {other} on {first_grid}, and both claim the grid `{group}`"
            );
            let error = OperatorError::failed(text).hint("are these the registered files of one case?");
            tracing::debug!(case = case.label(), "grids differ");
            looks.insert(spec.name.clone(), Err(error));
        }
    }
}

fn note(shared: &Shared, case: &CaseState, name: &str, state: StageState, error: OperatorError) {
    let record = StageRecord {
        stage: format!("input {name}"),
        member: String::new(),
        operator: String::new(),
        state,
        reason: Some(error.message),
        hint: error.hint,
        location: None,
        evidence: Evidence::default(),
    };
    let (label, told) = (case.label().to_owned(), Box::new(record.clone()));
    let event = Event::StageEnded { case: label, record: told, seconds: 0.0, cached: false };
    (shared.options.events)(&event);
    case.note_unreadable(record);
}
