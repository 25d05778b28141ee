//! What the engine tells about a case: its outcome, its plan, where it came from.
//!
//! A page must also appear when one of these is missing or was written by another version, so every key may be absent.

use sdk::serde::{Deserialize, Serialize};
use serde_json::Value;

/// How the case went.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(crate = "sdk::serde", default)]
pub struct Outcome {
    /// Label of the case.
    pub case: Option<String>,
    /// Whether all stages did what they should.
    pub ok: Option<bool>,
    /// Each stage, and each member of a mapped stage.
    pub stages: Vec<StageOutcome>,
}

/// How one stage, or one member of it, went.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(crate = "sdk::serde", default)]
pub struct StageOutcome {
    /// Its name in the workflow.
    pub stage: String,
    /// Which member, for a stage mapped over a set.
    pub member: Option<String>,
    /// What ran there.
    pub operator: Option<String>,
    /// `ran`, `skipped`, `failed`, or `cancelled`: something it needs failed, or the run was stopped.
    pub state: Option<String>,
    /// Why it did not run, or failed.
    pub reason: Option<String>,
    /// The way out.
    pub hint: Option<String>,
    /// Where a panic happened.
    pub location: Option<String>,
}

/// What was to be done with this case.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(crate = "sdk::serde", default)]
pub struct Plan {
    /// The workflow.
    pub workflow: Named,
    /// Which inputs the case has.
    pub inputs: Vec<PlannedInput>,
    /// The stages in order.
    pub stages: Vec<PlannedStage>,
    /// What is published.
    pub outputs: Vec<PlannedOutput>,
    /// What the user should know about the workflow.
    pub notes: Vec<String>,
}

/// A name with a version and a digest.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(crate = "sdk::serde", default)]
pub struct Named {
    /// Name.
    pub name: Option<String>,
    /// Version.
    pub version: Option<String>,
    /// Digest of the content.
    pub digest: Option<String>,
}

/// An input of the workflow in this case.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(crate = "sdk::serde", default)]
pub struct PlannedInput {
    /// Its name.
    pub name: String,
    /// Whether the case has it.
    pub present: Option<bool>,
    /// Its kind.
    pub kind: Option<String>,
}

/// A stage of the plan, or one member of a mapped stage.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(crate = "sdk::serde", default)]
pub struct PlannedStage {
    /// Its name.
    pub stage: String,
    /// Which member, for a stage mapped over a set.
    pub member: Option<String>,
    /// What runs there.
    pub operator: Option<String>,
    /// Which plugin provides it.
    pub plugin: Option<String>,
    /// `runs` or `skipped`.
    pub state: Option<String>,
    /// Why it is skipped.
    pub reason: Option<String>,
    /// What it reads: `stage.port` or an input of the workflow, alone or as `from` of an object that also names the port.
    pub inputs: Vec<Value>,
    /// Its settings.
    pub settings: Value,
}

/// An output of the plan.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(crate = "sdk::serde", default)]
pub struct PlannedOutput {
    /// Its name.
    pub name: String,
    /// Whether it can be made.
    pub available: Option<bool>,
    /// Why it cannot.
    pub reason: Option<String>,
}

/// Where the results come from.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(crate = "sdk::serde", default)]
pub struct Provenance {
    /// The engine.
    pub engine: Named,
    /// The workflow.
    pub workflow: Named,
    /// The plugins used.
    pub plugins: Vec<Named>,
    /// The files read.
    pub inputs: Vec<InputFile>,
    /// The operators used, and how.
    pub operators: Vec<UsedOperator>,
}

/// A file that was read.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(crate = "sdk::serde", default)]
pub struct InputFile {
    /// Name of the input.
    pub name: String,
    /// The file, without the folders of its host.
    pub file: Option<String>,
    /// Digest of its content.
    pub digest: Option<String>,
    /// Its grid, as text or as an object.
    pub grid: Value,
}

/// An operator that was used.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(crate = "sdk::serde", default)]
pub struct UsedOperator {
    /// The stage it runs in.
    pub stage: String,
    /// Its name.
    pub operator: String,
    /// The publication behind it.
    pub citation: Option<String>,
    /// Its settings.
    pub settings: Value,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_and_unknown_keys_and_nulls_are_read_over() {
        let outcome: Outcome = serde_json::from_str(
            r#"{"case": null, "later": 1, "stages": [{"stage": "segment", "member": null, "state": "failed"}]}"#,
        )
        .unwrap();
        assert_eq!(outcome.stages[0].state.as_deref(), Some("failed"));
        assert_eq!(outcome.case, None);
        let plan: Plan = serde_json::from_str("{}").unwrap();
        assert!(plan.stages.is_empty());
    }
}
