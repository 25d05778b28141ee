//! Reads a file as a value.

use crate::plan::InputSpec;
use crate::store::{FileState, Memo};
use crate::xfm;
use sdk::nifti::{self, NiftiError};
use sdk::{Document, Grid, Image, Kind, OperatorError, Value};
use std::path::Path;

/// A file as it was found.
pub(super) struct Seen {
    /// What was found of its content, in a run that keeps results.
    pub(super) state: Option<FileState>,
    /// The grid, if it is a volume.
    pub(super) grid: Option<Grid>,
    /// The value, unless the file is known to be readable and nobody has asked for more yet.
    pub(super) value: Option<Value>,
}

impl Seen {
    /// A value that is there.
    pub(super) fn of(value: Value, state: Option<FileState>) -> Self {
        Self { state, grid: value.volume().map(|volume| *volume.grid()), value: Some(value) }
    }
}

/// Looks at an input's file. Where its content was read before, as the memo knows, it is not read again yet.
pub(super) fn look(memo: Option<&Memo>, spec: &InputSpec, path: &Path) -> Result<Seen, OperatorError> {
    let Some((memo, Ok(state))) = memo.map(|memo| (memo, memo.digest_of(path))) else {
        // The reader finds the better words for a file that is not there.
        return Ok(Seen::of(read_file(spec.kind, path)?, None));
    };
    if let Some(grid) = memo.readable(state.digest, spec.kind) {
        return Ok(Seen { state: Some(state), grid, value: None });
    }
    let value = read_unchanged(spec.kind, path, state)?;
    let seen = Seen::of(value, Some(state));
    if let Some(state) = &seen.state {
        memo.note_readable(state.digest, spec.kind, seen.grid);
    }
    Ok(seen)
}

/// Reads a file and makes sure that it is still what it was when it was hashed.
pub(super) fn read_unchanged(kind: Kind, path: &Path, state: FileState) -> Result<Value, OperatorError> {
    let value = read_file(kind, path)?;
    match Memo::stamp(path) {
        Ok(stamp) if stamp == state.stamp => Ok(value),
        _ => {
            let error = OperatorError::failed(format!("{}: it changed while it was read", path.display()));
            Err(error.hint("run the case again when nobody writes the file any more"))
        }
    }
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

/// A transform in any of the forms that [`xfm`] knows.
fn transform(path: &Path) -> Result<Value, OperatorError> {
    let text = String::from_utf8(read_bytes(path)?)?;
    xfm::read(&text).map(Value::from).map_err(|error| {
        let error = OperatorError::from(error);
        OperatorError { message: format!("{}: {}", path.display(), error.message), ..error }
    })
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
