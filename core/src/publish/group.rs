//! What a group stage made: files below `group/`, with the record of the attempt.

use super::files::{FileName, extension, write_value};
use super::{Attempted, Old, PublishError, Published, Publisher, Transaction, entries, write_synced};
use crate::plan::{Graph, GroupOutput, OutputSpec};
use crate::record::{Attempts, End, OutputEntry};
use crate::store::Digest;
use sdk::Value;
use serde_json::Value as Json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The line of `.bidsignore` for what group stages made. With a slash at its end the validator complains of the folder itself.
const GROUP: &str = "/group";

/// A value of an output of the cohort.
pub type GroupValue<'a> = (&'a GroupOutput, String, Value);

/// What is published for a group stage.
pub struct GroupPublication<'a> {
    /// The workflow.
    pub graph: &'a Graph,
    /// The stage's name.
    pub stage: &'a str,
    /// The subject with `sub-`; none for the cohort.
    pub subject: Option<&'a str>,
    /// The attempt that made it.
    pub whose: Attempted,
    /// Outputs with the members' names, which are empty for single values.
    pub values: &'a [GroupValue<'a>],
}

impl GroupPublication<'_> {
    /// `group/STAGE`, or `group/STAGE/sub-01`: its folder in the output folder.
    pub fn folder(&self) -> PathBuf {
        Path::new("group").join(self.stage).join(self.subject.unwrap_or_default())
    }
}

/// A document that goes to the root of the output folder.
struct RootFile<'a> {
    output: &'a str,
    document: &'a sdk::Document,
    /// In the output folder.
    path: PathBuf,
}

impl<'a> RootFile<'a> {
    fn of((output, _, value): &'a GroupValue<'_>) -> Option<Self> {
        let sdk::Content::Document(document) = &value.content else { return None };
        let name = format!("{}{}", output.root_name(), extension(&document.media_type));
        output.root.then(|| Self { output: &output.name, document, path: name.into() })
    }

    /// Writes it to where it is staged.
    fn write(&self, staged: &Path) -> Result<OutputEntry, PublishError> {
        let bytes: &[u8] = &self.document.bytes;
        write_synced(staged, bytes)?;
        Ok(OutputEntry {
            output: self.output.to_owned(),
            path: self.path.clone(),
            bytes: bytes.len() as u64,
            blake3: Digest::of_bytes(bytes),
        })
    }
}

impl Publisher {
    /// Publishes what a group stage made and the record of its attempt. `end` says how it ended; what was published is added
    /// to it. The result before it is kept by the same policy as those of cases.
    ///
    /// # Errors
    /// [`PublishError`]; the data set is then as it was, or a later start completes it.
    pub fn publish_group(
        &self,
        group: &GroupPublication<'_>,
        mut end: End,
    ) -> Result<Vec<Published>, PublishError> {
        let place = self.place();
        let roots = group.values.iter().filter_map(RootFile::of);
        let ignored = roots.map(|file| file.path.display().to_string()).chain([GROUP.to_owned()]);
        self.describe(Path::new(""), group.graph, ignored.collect::<BTreeSet<_>>())?;
        let records = place.state.path().join(&group.whose.records);
        let before = Attempts::read(&records).latest_ok().map(|(number, end)| {
            (number, end.outputs.iter().map(|output| output.path.clone()).collect::<Vec<PathBuf>>())
        });
        let mut transaction = Transaction::begin(place, group.whose.clone())?;
        let target = group.folder();
        let old = before.as_ref().map_or(Old::Remove, |(number, _)| Old::Keep(*number));
        let folder = transaction.folder(&target, &old)?;
        let mut written = Vec::new();
        let at_root: Vec<RootFile<'_>> = group.values.iter().filter_map(RootFile::of).collect();
        for (output, member, value) in group.values.iter().filter(|value| RootFile::of(value).is_none()) {
            let spec = OutputSpec {
                name: output.name.clone(),
                wires: Vec::new(),
                bids: output.bids.clone(),
                dataset: None,
                sidecar: output.sidecar.clone(),
                span: output.span,
            };
            let name = FileName::of(&spec, member, value.kind()).stem(group.subject.unwrap_or("group"));
            let sidecar = |_: &sdk::Grid| Json::Object(output.sidecar.clone());
            let extension = write_value(&folder.join(&name), &output.name, value, &sidecar)?;
            written.push((output.name.clone(), PathBuf::from(format!("{name}{extension}"))));
        }
        end.outputs.extend(entries(&folder, &target, &written)?);
        for file in &at_root {
            let old = before.as_ref().map_or(Old::Remove, |(number, _)| Old::Keep(*number));
            end.outputs.push(file.write(&transaction.file(&file.path, &old))?);
        }
        for gone in before.iter().flat_map(|(_, outputs)| outputs) {
            let is_left = gone.components().count() == 1 && !at_root.iter().any(|file| file.path == *gone);
            if is_left {
                transaction.clear(gone.clone());
            }
        }
        transaction.commit(&end)?;
        let path = |file| place.out.join(&target).join(file);
        let below = written.into_iter().map(|(output, file)| Published { output, path: path(file) });
        let root = at_root
            .iter()
            .map(|file| Published { output: file.output.to_owned(), path: place.out.join(&file.path) });
        Ok(below.chain(root).collect())
    }
}
