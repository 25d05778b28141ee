//! A Workflow Run RO-Crate of an output folder, by the Provenance Run Crate profile 0.5.
//!
//! Nothing in it tells where anything lay or who ran it: files go by names relative to their data set, inputs that are not named as BIDS
//! names them by case and input, reasons lose their paths.

use super::entities::{Ids, frame, profiles, to, whole, workflow};
use super::{Account, CaseAccount, Made, items, word};
use crate::record::{Ending, InputEntry, OutputEntry, StageEntry};
use crate::runner::StageState;
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Name of the file that makes a folder a crate.
const FILE: &str = "ro-crate-metadata.json";
const COMPLETED: &str = "http://schema.org/CompletedActionStatus";
const FAILED: &str = "http://schema.org/FailedActionStatus";

/// Why a crate cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum CrateError {
    /// A file cannot be read or written.
    #[error("{}: {source}\nhint: is it there, is there space, and may you read and write it?", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The crate's folder holds something else.
    #[error("{} is not empty and no crate\nhint: name a new folder", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> CrateError + '_ {
    move |source| CrateError::Io { path: path.to_owned(), source }
}

/// Makes the folder `place` a crate of what was done: the metadata, the workflows, and the published files. Returns what is not as it was
/// recorded, one line each.
///
/// # Errors
/// [`CrateError`] if a file cannot be read or written.
pub fn write(account: &Account, place: &Path) -> Result<Vec<String>, CrateError> {
    let occupied = std::fs::read_dir(place).is_ok_and(|mut entries| entries.next().is_some());
    if occupied && !place.join(FILE).is_file() {
        return Err(CrateError::NotEmpty { path: place.to_owned() });
    }
    std::fs::create_dir_all(place).map_err(io(place))?;
    let mut writer = Writer {
        out: &account.out,
        place,
        graph: frame(),
        parts: Vec::new(),
        actions: Vec::new(),
        said: Vec::new(),
        known: BTreeSet::new(),
    };
    for (index, made) in account.made.iter().enumerate() {
        writer.made(made, &Ids(index))?;
    }
    writer.root(account);
    let text = format!("{:#}\n", whole(&writer.graph));
    let path = place.join(FILE);
    std::fs::write(&path, text).map_err(io(&path))?;
    Ok(writer.said)
}

struct Writer<'a> {
    out: &'a Path,
    place: &'a Path,
    graph: Vec<Json>,
    /// Identifiers of all files.
    parts: Vec<Json>,
    /// Identifiers of all runs of a case.
    actions: Vec<Json>,
    said: Vec<String>,
    /// Inputs and files of workflows that are told of already, by identifier.
    known: BTreeSet<String>,
}

impl Writer<'_> {
    fn root(&mut self, account: &Account) {
        let latest = &account.made[0].submission.provenance["workflow"];
        let cases: usize = account.made.iter().map(|made| made.cases.len()).sum();
        let until =
            account.made.iter().flat_map(|made| &made.cases).map(|case| case.end.until.as_str()).max();
        self.graph.push(json!({
            "@id": "./", "@type": "Dataset", "name": format!("Outputs of the workflow {}", word(latest, "name")),
            "description": format!("What Neuroloom made of {cases} cases, and how."),
            "datePublished": until, "license": to("#licence"), "conformsTo": profiles(),
            "mainEntity": to(workflow_file(&account.made[0], 0)), "hasPart": self.parts, "mentions": self.actions,
        }));
    }

    fn made(&mut self, made: &Made, ids: &Ids) -> Result<(), CrateError> {
        let file = workflow_file(made, ids.0);
        let sha256 = self.texts(made, &file)?;
        self.parts.push(to(&file));
        self.graph.extend(workflow(made, ids, &file, &sha256));
        for case in &made.cases {
            self.case(made, case, ids, &file)?;
        }
        Ok(())
    }

    /// Brings the files of a workflow into the crate: its own as `file`, those it extends beside it. Returns the SHA-256 of its own.
    fn texts(&mut self, made: &Made, file: &str) -> Result<String, CrateError> {
        let code = self.place.join("code");
        std::fs::create_dir_all(&code).map_err(io(&code))?;
        let as_recorded = |path: &Path, digest: crate::store::Digest| {
            std::fs::read(path).ok().filter(|text| crate::store::Digest::of_bytes(text) == digest)
        };
        let mut files = made.submission.files.iter();
        let own = files.next().and_then(|(path, digest)| as_recorded(path, *digest)).unwrap_or_else(|| {
            let workflow = &made.submission.provenance["workflow"];
            self.said.push(format!(
                "the workflow {} is not as it was: the crate holds what is on record of it",
                word(workflow, "name")
            ));
            let of = |key: &str| format!("# {:#}\n", made.submission.provenance[key]).replace('\n', "\n# ");
            format!("# As recorded.\n{}\n{}\n", of("workflow"), of("operators")).into_bytes()
        });
        for (path, digest) in files {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let id = format!("code/{}-{name}", &digest.to_string()[..8]);
            let Some(text) = as_recorded(path, *digest) else {
                self.said
                    .push(format!("{name}, which the workflow extends, is not as it was: it is left out"));
                continue;
            };
            if self.known.insert(id.clone()) {
                let target = self.place.join(&id);
                std::fs::write(&target, &text).map_err(io(&target))?;
                self.graph.push(json!({
                    "@id": id, "@type": ["File", "SoftwareSourceCode"], "name": name, "encodingFormat": "application/toml",
                    "sha256": hexadecimal(&Sha256::digest(&text)),
                }));
                self.parts.push(to(id));
            }
        }
        let target = self.place.join(file);
        std::fs::write(&target, &own).map_err(io(&target))?;
        Ok(hexadecimal(&Sha256::digest(&own)))
    }

    /// A case: the run of the workflow, the engine's part in it, and each stage.
    fn case(&mut self, made: &Made, case: &CaseAccount, ids: &Ids, file: &str) -> Result<(), CrateError> {
        let (label, end) = (&case.label, &case.end);
        let mut objects = Vec::new();
        for input in end.inputs.iter().filter(|input| end.present.contains(&input.name)) {
            objects.push(self.input(made, label, input, ids));
        }
        let mut results = Vec::new();
        for output in end.outputs.iter().filter(|output| !output.path.starts_with(".neuroloom")) {
            results.extend(self.output(output, ids)?);
        }
        let status = if end.ending == Ending::Ok { COMPLETED } else { FAILED };
        let (run, organised) = (format!("#{label}"), format!("#{label}/engine"));
        let mut action = json!({
            "@id": run, "@type": "CreateAction", "name": format!("{} of {label}", made.submission.name),
            "instrument": to(file), "object": objects, "result": results,
            "startTime": end.since, "endTime": end.until, "actionStatus": to(status),
        });
        if let Some(reason) = &end.reason {
            action["error"] = json!(without_paths(reason));
        }
        let stages: Vec<&StageEntry> = end
            .stages
            .iter()
            .filter(|stage| {
                matches!(stage.state, StageState::Ran | StageState::Failed)
                    && !stage.stage.starts_with("input ")
            })
            .collect();
        let controls: Vec<Json> =
            stages.iter().map(|stage| to(format!("#{label}/control/{}", name(stage)))).collect();
        self.graph.push(action);
        self.graph.push(json!({
            "@id": organised, "@type": "OrganizeAction", "name": format!("Neuroloom on {label}"), "instrument": to(ids.engine()),
            "object": controls, "result": to(&run), "startTime": end.since, "endTime": end.until, "actionStatus": to(status),
        }));
        self.actions.extend([to(run), to(organised)]);
        let known = items(&made.submission.provenance, "operators");
        for stage in stages {
            if known.iter().any(|known| word(known, "stage") == stage.stage) {
                self.stage(label, stage, ids);
            }
        }
        Ok(())
    }

    fn stage(&mut self, label: &str, stage: &StageEntry, ids: &Ids) {
        let id = format!("#{label}/stage/{}", name(stage));
        let status = to(if stage.state == StageState::Ran { COMPLETED } else { FAILED });
        let settings = stage.parts.as_ref().map(|parts| parts.settings.to_string()).unwrap_or_default();
        let value = |of: &str, value: String| json!({ "@id": format!("{id}/{of}"), "@type": "PropertyValue", "name": of, "value": value });
        let results: Vec<Json> =
            stage.outputs.iter().map(|(port, digest)| value(port, format!("blake3:{digest}"))).collect();
        let mut action = json!({
            "@id": id, "@type": "CreateAction", "name": format!("{} of {label}", stage.place()),
            "instrument": to(ids.operator(&stage.operator)), "object": [to(format!("{id}/settings"))],
            "result": results.iter().map(|result| to(word(result, "@id"))).collect::<Vec<_>>(), "actionStatus": status,
        });
        if let Some(reason) = &stage.reason {
            action["error"] = json!(without_paths(reason));
        }
        self.graph.extend([action, value("settings", settings)]);
        self.graph.extend(results);
        self.graph.push(json!({
            "@id": format!("#{label}/control/{}", name(stage)), "@type": "ControlAction", "name": format!("starts {} of {label}", stage.place()),
            "instrument": to(ids.step(&stage.stage)), "object": [to(&id)], "actionStatus": status,
        }));
    }

    /// What a case brought: a file by its name in its data set, or a value.
    fn input(&mut self, made: &Made, label: &str, input: &InputEntry, ids: &Ids) -> Json {
        let example = to(ids.input(&input.name));
        let Some(path) = &input.path else {
            let id = format!("#{label}/input/{}", input.name);
            self.graph.push(json!({
                "@id": id, "@type": "PropertyValue", "name": input.name, "value": input.value, "exampleOfWork": example,
            }));
            return to(id);
        };
        let id = input_id(made, label, input, path);
        if !self.known.insert(id.clone()) {
            return to(id);
        }
        let mut entity = json!({
            "@id": id, "@type": "File", "name": format!("{} of {label}", input.name), "exampleOfWork": example,
            "description": "Not part of this crate: it is known by its digests.",
        });
        if let Some(digest) = input.digest {
            entity["identifier"] = json!(format!("blake3:{digest}"));
        }
        if let Some(bytes) = input.bytes {
            entity["contentSize"] = json!(bytes.to_string());
        }
        let same = path.is_file()
            && input.digest.is_none_or(|digest| {
                std::fs::File::open(path)
                    .and_then(crate::store::Digest::of_reader)
                    .is_ok_and(|now| now == digest)
            });
        match sha256(path).ok().filter(|_| same) {
            Some(sha256) => entity["sha256"] = json!(sha256),
            None => self.said.push(format!(
                "input `{}` of {label} is not what it was: its SHA-256 is left out",
                input.name
            )),
        }
        self.parts.push(to(&id));
        self.graph.push(entity);
        to(id)
    }

    /// A published file, brought into the crate.
    fn output(&mut self, output: &OutputEntry, ids: &Ids) -> Result<Option<Json>, CrateError> {
        let (from, into) = (self.out.join(&output.path), self.place.join(&output.path));
        let id = output.path.to_string_lossy().into_owned();
        let digest = std::fs::File::open(&from).and_then(crate::store::Digest::of_reader).ok();
        if digest != Some(output.blake3) {
            self.said.push(format!("{id} is not as it was published: it is left out"));
            return Ok(None);
        }
        let folder = into.parent().unwrap_or(self.place);
        std::fs::create_dir_all(folder).map_err(io(folder))?;
        // What is published never changes in place, so a second name will do; another file system needs a copy.
        if !into.exists() && std::fs::hard_link(&from, &into).is_err() {
            std::fs::copy(&from, &into).map_err(io(&into))?;
        }
        let mut entity = json!({
            "@id": id, "@type": "File", "name": output.path.file_name().unwrap_or_default().to_string_lossy(),
            "contentSize": output.bytes.to_string(), "sha256": sha256(&from).map_err(io(&from))?,
            "identifier": format!("blake3:{}", output.blake3),
        });
        if !output.output.is_empty() {
            entity["exampleOfWork"] = to(ids.output(&output.output));
        }
        self.graph.push(entity);
        self.parts.push(to(&id));
        Ok(Some(to(id)))
    }
}

/// Where a workflow lies in the crate.
fn workflow_file(made: &Made, index: usize) -> String {
    let name: String = made
        .submission
        .name
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() || "-_".contains(letter) { letter } else { '-' })
        .collect();
    if index == 0 { format!("code/{name}.toml") } else { format!("code/{name}-{index}.toml") }
}

/// `aligned` or `aligned.flair`.
fn name(stage: &StageEntry) -> String {
    if stage.member.is_empty() { stage.stage.clone() } else { format!("{}.{}", stage.stage, stage.member) }
}

/// `bids:raw:sub-01/anat/sub-01_T1w.nii.gz` for a file that BIDS names; for any other, whose name may tell more than it should,
/// `bids:raw:sub-01/bravo`.
fn input_id(made: &Made, label: &str, input: &InputEntry, path: &Path) -> String {
    let subject = label.split("_ses-").next().unwrap_or_default();
    let parts: Vec<String> =
        path.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    let from = parts.iter().rposition(|part| part == subject);
    let is_bids = parts.last().is_some_and(|file| file.starts_with(&format!("{subject}_")));
    match from.filter(|_| is_bids && made.submission.provenance.is_object()) {
        Some(from) => format!("bids:raw:{}", parts[from..].join("/")),
        None => format!("bids:raw:{label}/{}", input.name),
    }
}

/// A reason without what looks like a path.
fn without_paths(reason: &str) -> String {
    let word = |word: &str| {
        if word.contains('/') || word.contains('\\') { "…".to_owned() } else { word.to_owned() }
    };
    reason.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

fn sha256(path: &Path) -> std::io::Result<String> {
    let mut hasher = Sha256::new();
    std::io::copy(&mut std::fs::File::open(path)?, &mut hasher)?;
    Ok(hexadecimal(&hasher.finalize()))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|half| char::from_digit(u32::from(half), 16).unwrap_or('0'))
        .collect()
}
