//! What a group stage made: files below `group/`, with the record of the attempt.

use super::files::{FileName, write_value};
use super::{Attempted, Old, PublishError, Published, Publisher, Transaction, entries};
use crate::plan::{Graph, GroupOutput, OutputSpec};
use crate::record::{Attempts, End};
use sdk::Value;
use serde_json::Value as Json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

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
        self.describe(Path::new(""), group.graph, BTreeSet::from(["group/".to_owned()]))?;
        let records = place.state.path().join(&group.whose.records);
        let before = Attempts::read(&records).latest_ok().map(|(number, _)| number);
        let mut transaction = Transaction::begin(place, group.whose.clone())?;
        let target = group.folder();
        let folder = transaction.folder(&target, &before.map_or(Old::Remove, Old::Keep))?;
        let mut written = Vec::new();
        for (output, member, value) in group.values {
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
        transaction.commit(&end)?;
        let path = |file| place.out.join(&target).join(file);
        Ok(written.into_iter().map(|(output, file)| Published { output, path: path(file) }).collect())
    }
}
