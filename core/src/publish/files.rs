//! A case's files: volumes with sidecars, tables, documents, transforms.

use super::dataset::RAW_LINK;
use super::{Item, Publication, PublishError, SourceFile, io, write_synced};
use crate::case::dataset_of;
use crate::plan::{DatasetKind, OutputPlan, OutputSpec};
use crate::xfm;
use sdk::nifti::{self, WriteOptions};
use sdk::{AnyVolume, Content, Grid, Kind, Table, Value};
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// A file's name without the case's label and the extension.
pub(super) struct FileName {
    /// `space-orig_desc-lesions`, maybe empty.
    pub(super) entities: String,
    /// `dseg`.
    pub(super) suffix: String,
}

impl FileName {
    /// The name of an output: what the workflow says (with `{member}` filled in, or `desc-MEMBER` added), or the output's own.
    pub(super) fn of(spec: &OutputSpec, member: &str, kind: Kind) -> Self {
        let plain: String = member.chars().filter(char::is_ascii_alphanumeric).collect();
        let text = spec.bids.clone().unwrap_or_else(|| match kind {
            Kind::Transform => format!("desc-{}_xfm", spec.name.replace('_', "")),
            _ => spec.name.replace('_', ""),
        });
        let named = text.contains("{member}") || plain.is_empty();
        let text = text.replace("{member}", &plain);
        let (mut entities, suffix) = match text.rsplit_once('_') {
            Some((entities, suffix)) => (entities.to_owned(), suffix.to_owned()),
            None => (String::new(), text),
        };
        if !named {
            let gap = if entities.is_empty() { "" } else { "_" };
            let _ = write!(entities, "{gap}desc-{plain}");
        }
        Self { entities, suffix }
    }

    pub(super) fn stem(&self, label: &str) -> String {
        let entities = if self.entities.is_empty() { String::new() } else { format!("{}_", self.entities) };
        format!("{label}_{entities}{}", self.suffix)
    }
}

/// Whether BIDS has a name for such files.
pub(super) fn is_in_bids(kind: Kind, suffix: &str) -> bool {
    /// Suffixes of anatomical images and derivatives that a validator knows.
    const KNOWN: [&str; 9] = ["T1w", "T2w", "FLAIR", "PDw", "T2starw", "mask", "dseg", "probseg", "UNIT1"];
    kind.is_volume() && KNOWN.contains(&suffix)
}

/// Writes all values below `folder`; returns each output's name and its main file, relative to the folder.
pub(super) fn write_all(
    folder: &Path,
    case: &Publication<'_>,
    values: &[Item<'_>],
) -> Result<Vec<(String, PathBuf)>, PublishError> {
    let anatomy = folder.join("anat");
    let mut written = Vec::new();
    for item in values {
        let (spec, (member, value)) = item;
        let name = FileName::of(spec, member, value.kind()).stem(&case.label.to_string());
        let within = match &value.content {
            Content::Document(_) | Content::Text(_) | Content::Number(_) => PathBuf::new(),
            _ => PathBuf::from("anat"),
        };
        if !within.as_os_str().is_empty() {
            std::fs::create_dir_all(&anatomy).map_err(io(&anatomy))?;
        }
        let stem = folder.join(&within).join(&name);
        let extension = write_one(&stem, case, item)?;
        written.push((spec.name.clone(), within.join(format!("{name}{extension}"))));
    }
    Ok(written)
}

/// Writes one value and what belongs to it; returns the extension of its main file.
fn write_one(stem: &Path, case: &Publication<'_>, item: &Item<'_>) -> Result<&'static str, PublishError> {
    let (spec, (_, value)) = item;
    write_value(stem, &spec.name, value, &|grid| sidecar(case, item, grid))
}

/// Writes a value of the output `name` and what belongs to it; `sidecar` is that of a volume. Returns the extension of its
/// main file.
pub(super) fn write_value(
    stem: &Path,
    name: &str,
    value: &Value,
    sidecar: &dyn Fn(&Grid) -> Json,
) -> Result<&'static str, PublishError> {
    match &value.content {
        Content::Volume(volume) => {
            let options = WriteOptions { description: format!("neuroloom {name}") };
            nifti::write(with(stem, ".nii.gz"), volume, &options)?;
            if let AnyVolume::Labels(labels) = volume {
                write_synced(&with(stem, ".tsv"), label_names(labels.voxels(), name).as_bytes())?;
            }
            let sidecar = json_text(&sidecar(volume.grid()));
            write_synced(&with(stem, ".json"), sidecar.as_bytes())?;
            Ok(".nii.gz")
        }
        Content::Table(table) => {
            write_synced(&with(stem, ".tsv"), tsv(table).as_bytes())?;
            write_synced(&with(stem, ".json"), json_text(&columns(table)).as_bytes())?;
            Ok(".tsv")
        }
        Content::Transform(transform) => {
            write_synced(&with(stem, ".txt"), xfm::matrix_text(transform).as_bytes())?;
            write_synced(&with(stem, ".tfm"), xfm::itk_text(transform).as_bytes())?;
            let convention = "maps world points (RAS+ mm) of the first frame to the second; resampling pulls";
            let content = json!({ "Convention": convention, "Transform": transform });
            write_synced(&with(stem, ".json"), json_text(&content).as_bytes())?;
            Ok(".txt")
        }
        Content::Document(document) => {
            let extension = extension(&document.media_type);
            write_synced(&with(stem, extension), &document.bytes)?;
            Ok(extension)
        }
        Content::Text(text) => {
            write_synced(&with(stem, ".txt"), format!("{text}\n").as_bytes())?;
            Ok(".txt")
        }
        Content::Number(number) => {
            write_synced(&with(stem, ".txt"), format!("{number}\n").as_bytes())?;
            Ok(".txt")
        }
        Content::File(path) => {
            let bytes = std::fs::read(path).map_err(io(path))?;
            write_synced(&with(stem, ".dat"), &bytes)?;
            Ok(".dat")
        }
        _ => Ok(""),
    }
}

/// A stem may hold dots: the extension is added, never replaced.
fn with(stem: &Path, extension: &str) -> PathBuf {
    let mut path = stem.as_os_str().to_owned();
    path.push(extension);
    path.into()
}

fn json_text(content: &Json) -> String {
    format!("{content:#}\n")
}

pub(super) fn extension(media_type: &str) -> &'static str {
    match media_type {
        "text/html" => ".html",
        "application/json" => ".json",
        "image/png" => ".png",
        "image/svg+xml" => ".svg",
        "application/pdf" => ".pdf",
        "application/vnd.safetensors" => ".safetensors",
        "text/tab-separated-values" => ".tsv",
        media_type if media_type.starts_with("text/") => ".txt",
        _ => ".dat",
    }
}

/// The volume's JSON sidecar: where it comes from and whose grid it lies on.
fn sidecar(case: &Publication<'_>, item: &Item<'_>, grid: &Grid) -> Json {
    let (spec, (member, value)) = item;
    let mut content = Map::new();
    let raw = case.graph.dataset == DatasetKind::Raw && spec.dataset.is_none();
    if !raw {
        let behind = inputs_behind(case, spec, member);
        let sources: Vec<String> =
            case.sources.iter().filter(|s| behind.contains(&s.input)).map(uri).collect();
        if !sources.is_empty() {
            content.insert("Sources".to_owned(), json!(sources));
        }
        let reference =
            case.sources.iter().find(|source| source.grid.is_some_and(|of_input| of_input.matches(grid)));
        if let Some(reference) = reference.map(uri).or_else(|| raw_sibling(case, grid)) {
            content.insert("SpatialReference".to_owned(), json!(reference));
        }
        match value.kind() {
            Kind::Mask => content.insert("Type".to_owned(), json!("ROI")),
            _ => None,
        };
        if let Some(threshold) = value.facts.number("threshold") {
            content.insert("Threshold".to_owned(), json!(threshold));
        }
        if let Some(model) = value.facts.get("model") {
            content.insert("Model".to_owned(), model.clone());
        }
        if let Some(reviews) = value.facts.get("reviews") {
            content.insert("Reviews".to_owned(), reviews.clone());
        }
        let warnings = value.facts.warnings();
        if !warnings.is_empty() {
            content.insert("Warnings".to_owned(), json!(warnings));
        }
    }
    content.extend(spec.sidecar.clone());
    Json::Object(content)
}

/// The inputs that an output's member was made from.
fn inputs_behind(case: &Publication<'_>, spec: &OutputSpec, member: &str) -> BTreeSet<String> {
    let planned =
        case.graph.outputs.iter().zip(&case.plan.outputs).find(|(output, _)| output.name == spec.name);
    let Some((_, OutputPlan::Available(members))) = planned else { return BTreeSet::new() };
    let source = members.iter().find(|(name, ..)| name == member).map(|(_, source, _)| source);
    source.map(|source| case.plan.inputs_behind(source)).unwrap_or_default()
}

/// A source file as a BIDS URI; a file that lies in no data set by its name.
fn uri(source: &SourceFile) -> String {
    match dataset_of(&source.path) {
        Some((_, within)) => format!("bids:{RAW_LINK}:{}", within.display()),
        None => source.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
    }
}

/// For derivatives of raw data that the same run makes: the BIDS URI of a raw image on the same grid.
fn raw_sibling(case: &Publication<'_>, grid: &Grid) -> Option<String> {
    if case.graph.dataset != DatasetKind::Raw {
        return None;
    }
    let raw = case.graph.outputs.iter().zip(case.outputs).filter(|(spec, _)| spec.dataset.is_none());
    let mut images = raw.flat_map(|(spec, values)| values.iter().map(move |value| (spec, value)));
    let (spec, (member, value)) =
        images.find(|(_, (_, value))| value.volume().is_some_and(|volume| volume.grid().matches(grid)))?;
    let name = FileName::of(spec, member, value.kind()).stem(&case.label.to_string());
    Some(format!("bids:{RAW_LINK}:{}/anat/{name}.nii.gz", case.label.folder().display()))
}

/// The names of labels, as BIDS wants them beside a segmentation.
fn label_names(voxels: &[u32], output: &str) -> String {
    let labels: BTreeSet<u32> = voxels.iter().copied().filter(|label| *label != 0).collect();
    let noun = output.strip_suffix('s').unwrap_or(output);
    let mut text = "index\tname\n0\tbackground\n".to_owned();
    for label in labels {
        let _ = writeln!(text, "{label}\t{noun} {label}");
    }
    text
}

fn tsv(table: &Table) -> String {
    let clean = |cell: String| cell.replace(['\t', '\n', '\r'], " ");
    let mut text =
        table.columns.iter().map(|column| clean(column.name.clone())).collect::<Vec<_>>().join("\t");
    text.push('\n');
    for row in &table.rows {
        text.push_str(&row.iter().map(|cell| clean(cell.to_string())).collect::<Vec<_>>().join("\t"));
        text.push('\n');
    }
    text
}

fn columns(table: &Table) -> Json {
    let describe = |column: &sdk::Column| {
        let mut entry = json!({ "Description": column.description });
        if !column.unit.is_empty() {
            entry["Units"] = json!(column.unit);
        }
        (column.name.clone(), entry)
    };
    Json::Object(table.columns.iter().map(describe).collect())
}
