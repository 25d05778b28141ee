//! Reads a case's files and puts their values on the edges.

use super::event::{Event, StageRecord, StageState};
use super::net::{Arrival, CaseState};
use super::{Shared, outcome};
use crate::case::Slices;
use crate::plan::{InputSpec, OnError, Plan, Reserved, Source};
use sdk::nifti::{self, NiftiError};
use sdk::{Affine, Document, Grid, Image, Kind, OperatorError, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a case brings for an input.
#[derive(Clone, Debug)]
pub enum CaseInput {
    /// A file, read when the case is admitted.
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
    pub plan: Plan,
}

/// Reads a case's inputs and starts it.
pub(super) fn feed(shared: &Shared, case: &Arc<CaseState>) {
    let mut read = read_all(shared, case);
    let unreadable = drop_absent(shared, &mut read);
    if !unreadable.is_empty() {
        replan(shared, case, &unreadable, &mut read);
    }
    check_groups(shared, case, &mut read);
    let reserved = reserved(shared, case, &read);
    for input in &shared.graph.inputs {
        let arrival = match read.remove(&input.name) {
            None => Arrival::Absent,
            Some(Ok(value)) => Arrival::Value(value),
            Some(Err(error)) => {
                note(shared, case, &input.name, StageState::Failed, error);
                Arrival::Cancelled(format!("input `{}` could not be read", input.name).into())
            }
        };
        shared.net.emit(case, &Source::Input(input.name.clone()), &arrival);
    }
    shared.net.start(case, &reserved);
}

/// What the engine itself knows of the case, as far as anybody asks.
fn reserved(shared: &Shared, case: &CaseState, read: &Read) -> Vec<(Reserved, Value)> {
    let wanted = Reserved::ALL.into_iter().filter(|name| shared.net.wants(&Source::Reserved(*name)));
    let value = |name| match name {
        Reserved::Label => Some((name, Value::from(case.label.as_str()))),
        Reserved::Plan => Some((name, outcome::plan(&shared.graph, case.plan()))),
        Reserved::Provenance => Some((name, outcome::case_provenance(shared, case, read))),
        // Sent when the last stage before it has ended.
        Reserved::Outcome => None,
    };
    wanted.filter_map(value).collect()
}

pub(super) type Read = BTreeMap<String, Result<Value, OperatorError>>;

fn read_all(shared: &Shared, case: &CaseState) -> Read {
    let wanted = shared.graph.inputs.iter().filter_map(|spec| Some((spec, case.job.inputs.get(&spec.name)?)));
    std::thread::scope(|scope| {
        let readers: Vec<_> = wanted
            .map(|(spec, input)| {
                let read = move || match input {
                    CaseInput::Value(value) => Ok(value.clone()),
                    CaseInput::File(path) => read_file(spec.kind, path),
                    CaseInput::Slices(slices) => slices.read(spec.kind),
                };
                (spec, scope.spawn(read))
            })
            .collect();
        let join = |(spec, reader): (
            &InputSpec,
            std::thread::ScopedJoinHandle<'_, Result<Value, OperatorError>>,
        )| {
            let result = reader.join().unwrap_or_else(|_| Err(OperatorError::failed("the reader panicked")));
            (spec.name.clone(), result)
        };
        readers.into_iter().map(join).collect()
    })
}

/// Takes out the unreadable inputs that count as absent.
fn drop_absent(shared: &Shared, read: &mut Read) -> BTreeMap<String, OperatorError> {
    let lenient =
        |name: &String| shared.graph.input(name).is_some_and(|spec| spec.on_error == OnError::Absent);
    let names: Vec<String> =
        read.iter().filter(|(n, v)| v.is_err() && lenient(n)).map(|(n, _)| n.clone()).collect();
    names.into_iter().filter_map(|name| read.remove(&name)?.err().map(|error| (name, error))).collect()
}

/// Plans the case without the unreadable inputs; if it cannot run without them, they are failures after all.
fn replan(
    shared: &Shared,
    case: &Arc<CaseState>,
    unreadable: &BTreeMap<String, OperatorError>,
    read: &mut Read,
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
        Err(_) => read.extend(unreadable.iter().map(|(name, error)| (name.clone(), Err(error.clone())))),
    }
}

/// Inputs that are declared to lie on one grid do.
fn check_groups(shared: &Shared, case: &CaseState, read: &mut Read) {
    let mut groups: BTreeMap<&str, (Grid, &str)> = BTreeMap::new();
    for spec in &shared.graph.inputs {
        let (Some(group), Some(Ok(value))) = (&spec.grid, read.get(&spec.name)) else { continue };
        let Some(grid) = value.volume().map(|volume| *volume.grid()) else { continue };
        let (first_grid, first) = groups.entry(group).or_insert((grid, &spec.name));
        if !first_grid.matches(&grid) {
            let text =
                format!("lies on {grid}, but `{first}` on {first_grid}, and both claim the grid `{group}`");
            let error = OperatorError::failed(text).hint("are these the registered files of one case?");
            tracing::debug!(case = case.label, "grids differ");
            read.insert(spec.name.clone(), Err(error));
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
        seconds: 0.0,
    };
    let event = Event::StageEnded { case: case.label.clone(), record: record.clone(), seconds: 0.0 };
    (shared.options.events)(&event);
    case.note_input(record);
}

/// Reads one file as a value of that kind.
fn read_file(kind: Kind, path: &Path) -> Result<Value, OperatorError> {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let value = match kind {
        Kind::Image => read_image(path)?,
        Kind::Mask | Kind::Labels | Kind::Probability => volume(path, kind)?,
        Kind::Transform => transform(path)?,
        Kind::File => Value::from(path.to_owned()),
        Kind::Document => Value::from(Document::new(media_type(&name), read_bytes(path)?)),
        Kind::Text => Value::from(String::from_utf8(read_bytes(path)?)?.trim_end().to_owned()),
        Kind::Number => Value::from(String::from_utf8(read_bytes(path)?)?.trim().parse::<f64>()?),
        _ => {
            return Err(OperatorError::failed(format!(
                "{name}: inputs of kind `{kind}` cannot be read from a file"
            )));
        }
    };
    Ok(value.fact("sources", serde_json::json!([name])))
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, OperatorError> {
    std::fs::read(path).map_err(|error| OperatorError::failed(format!("{}: {error}", path.display())))
}

fn volume(path: &Path, kind: Kind) -> Result<Value, NiftiError> {
    let read = nifti::read(path, kind)?;
    let mut value = Value::from(read.volume);
    for warning in &read.header.warnings {
        value.facts.warn(warning.as_str());
    }
    Ok(value)
}

/// An image; voxels that are no finite number become 0, with a warning that reaches the report.
fn read_image(path: &Path) -> Result<Value, OperatorError> {
    let mut value = volume(path, Kind::Image)?;
    let Some(sdk::AnyVolume::Image(image)) = value.volume() else { return Ok(value) };
    let bad = image.voxels().iter().filter(|voxel| !voxel.is_finite()).count();
    if bad == 0 {
        return Ok(value);
    }
    if bad == image.voxels().len() {
        return Err(OperatorError::failed(format!(
            "{}: none of its {bad} voxels is a finite number",
            path.display()
        )));
    }
    let voxels: Vec<f32> = image.voxels().iter().map(|v| if v.is_finite() { *v } else { 0.0 }).collect();
    let clean = Image::new(*image.grid(), voxels)?;
    value = Value::from(clean).facts(&value.facts);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    value.facts.warn(format!("{name}: {bad} voxels are no finite number and were read as 0"));
    Ok(value)
}

/// A 4 x 4 matrix as plain text (RAS+ mm), or our JSON form of it.
fn transform(path: &Path) -> Result<Value, OperatorError> {
    let text = String::from_utf8(read_bytes(path)?)?;
    if let Ok(transform) = serde_json::from_str::<sdk::Transform>(&text) {
        return Ok(transform.into());
    }
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let wrong = || {
        let error = OperatorError::failed(format!(
            "{}: {} numbers instead of a 4x4 matrix",
            path.display(),
            numbers.len()
        ));
        error.hint("four rows of four numbers, the last `0 0 0 1`, from world to world in RAS+ mm")
    };
    let rows: [f64; 16] = numbers.clone().try_into().map_err(|_| wrong())?;
    if rows[12..] != [0.0, 0.0, 0.0, 1.0] {
        return Err(wrong());
    }
    let affine = Affine::from_rows(std::array::from_fn(|r| std::array::from_fn(|c| rows[4 * r + c])));
    if affine.is_usable() { Ok(affine.into()) } else { Err(wrong()) }
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("json") => "application/json",
        Some("html") => "text/html",
        Some("png") => "image/png",
        Some("txt") => "text/plain",
        _ => "application/octet-stream",
    }
}
