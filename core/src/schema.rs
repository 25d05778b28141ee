//! JSON schemas (draft-07) of workflows and of operators' settings, for editors.

use crate::catalogue::{Catalogue, OperatorRef};
use crate::plan::Reserved;
use sdk::{Kind, Scope};
use serde_json::{Map, Value as Json, json};

/// The schema of a workflow. With a catalogue it knows the operators and their settings; without, it fits any plugins.
pub fn workflow(catalogue: Option<&dyn Catalogue>) -> Json {
    let reserved: Vec<_> = Reserved::ALL.iter().map(|name| format!("case.{}", name.name())).collect();
    let name = "^[A-Za-z_][A-Za-z0-9_-]*$";
    let source = format!(
        "An input, a value, `stage.output`, `stage.output.member`, or one of {}.",
        reserved.join(", ")
    );
    let mut definitions = Map::new();
    definitions.insert("source".to_owned(), json!({ "type": "string", "description": source }));
    definitions.insert("feed".to_owned(), feed());
    definitions.insert(
        "texts".to_owned(),
        json!({
            "oneOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" }, "minItems": 1 }]
        }),
    );
    definitions.insert("input".to_owned(), input());
    definitions.insert("stage".to_owned(), stage());
    definitions.insert("output".to_owned(), output());
    definitions.insert("cohort_stage".to_owned(), cohort_stage());
    definitions.insert("cohort_output".to_owned(), cohort_output());
    if let Some(catalogue) = catalogue {
        operators(catalogue, &mut definitions);
    }
    let named = |of: &str| {
        json!({
            "type": "object",
            "propertyNames": { "pattern": name },
            "additionalProperties": { "$ref": format!("#/definitions/{of}") }
        })
    };
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Neuroloom workflow",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "name": { "type": "string", "description": "Its name." },
            "version": { "type": "string", "description": "Its version." },
            "dataset": { "enum": ["derivative", "raw"], "default": "derivative", "description": "What the outputs are, as a BIDS data set." },
            "extends": { "type": "string", "description": "A workflow that this one changes; relative to this file." },
            "inputs": named("input"),
            "values": {
                "type": "object",
                "propertyNames": { "pattern": name },
                "additionalProperties": {
                    "type": "object",
                    "additionalProperties": false,
                    "properties": {
                        "first_of": { "$ref": "#/definitions/texts", "description": "The first that is present." },
                        "remove": removal("value")
                    }
                }
            },
            "stages": named("stage"),
            "outputs": named("output"),
            "cohort": {
                "type": "object",
                "description": "What is done after all cases, over all of them.",
                "additionalProperties": false,
                "properties": { "stages": named("cohort_stage"), "outputs": named("cohort_output") }
            },
            "review": review(&named)
        },
        "definitions": definitions
    })
}

/// The schema of an operator's settings, as its plugin gives it.
pub fn operator(catalogue: &dyn Catalogue, operator: &OperatorRef) -> Option<Json> {
    catalogue.find(&operator.to_string()).ok().map(|found| found.description.settings.clone())
}

fn review(named: &dyn Fn(&str) -> Json) -> Json {
    let stages = json!({ "type": "object", "description": "New stages, and changes to stages of the workflow: a wire, a setting." });
    json!({
        "type": "object",
        "description": "What `neuroloom review` does with a reader's answer: changes to this workflow, and outputs of their own.",
        "additionalProperties": false,
        "required": ["form", "inputs", "outputs"],
        "properties": {
            "form": { "type": "string", "description": "The output that lists what can be decided on; its digest names what was reviewed." },
            "truth": { "type": "string", "description": "The output of the review that a training table names as truth." },
            "inputs": named("input"),
            "values": { "type": "object" },
            "stages": stages,
            "outputs": named("output")
        }
    })
}

fn removal(what: &str) -> Json {
    json!({ "type": "boolean", "description": format!("Drops the {what} of the workflow that this one extends.") })
}

fn feed() -> Json {
    json!({
        "description": "What is read: one name, a list of names, or names by member. `\"*\"` takes all members of a set, `false` drops one.",
        "oneOf": [
            { "$ref": "#/definitions/source" },
            { "const": false },
            { "type": "array", "items": { "$ref": "#/definitions/source" } },
            {
                "type": "object",
                "properties": { "remove": { "const": true, "description": "Drops the wire." } },
                "additionalProperties": { "oneOf": [{ "$ref": "#/definitions/source" }, { "const": false }] }
            }
        ]
    })
}

fn input() -> Json {
    let kinds: Vec<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "type": { "enum": kinds, "description": "What it holds." },
            "bids": {
                "type": "object",
                "description": "BIDS entities and suffix of its file.",
                "additionalProperties": {
                    "oneOf": [
                        { "type": ["string", "integer", "boolean"] },
                        { "type": "array", "items": { "type": "string" } }
                    ]
                }
            },
            "required": { "type": "boolean", "default": true, "description": "Whether a case without it cannot run." },
            "pick": { "enum": ["only", "first", "last"], "default": "only", "description": "Which of several runs." },
            "on_error": { "enum": ["fail", "absent"], "default": "fail", "description": "What an unreadable file means." },
            "grid": { "type": "string", "description": "Inputs of one name here lie on one grid." },
            "frame": { "type": "string", "description": "Inputs of one name here lie in one frame." },
            "remove": removal("input")
        }
    })
}

fn stage() -> Json {
    let ports = json!({ "type": "object", "additionalProperties": { "$ref": "#/definitions/feed" } });
    let wires = json!({ "$ref": "#/definitions/texts" });
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "operator": { "type": "string", "description": "`operator`, or `plugin:operator` if two plugins offer it." },
            "inputs": ports,
            "each": ports,
            "settings": { "type": "object", "description": "Settings of the operator; `neuroloom plugins inspect` lists them." },
            "insert_after": {
                "description": "Puts the stage on wires: who read them reads this stage.",
                "oneOf": [wires, {
                    "type": "object",
                    "additionalProperties": false,
                    "required": ["wires"],
                    "properties": { "wires": wires, "input": { "type": "string" }, "output": { "type": "string" } }
                }]
            },
            "always": { "type": "boolean", "default": false, "description": "Runs also when what it reads has failed." },
            "only_with": { "$ref": "#/definitions/texts", "description": "Runs only if these inputs are present." },
            "only_without": { "$ref": "#/definitions/texts", "description": "Runs only if these inputs are absent." },
            "device": { "type": "string", "description": "`cpu`, `cuda:0` … or `auto`." },
            "threads": { "type": "integer", "minimum": 1, "maximum": 4096, "description": "Threads it may use." },
            "memory": { "type": ["string", "number"], "description": "Declared peak, as in `4 GiB`; a number is bytes." },
            "timeout": { "type": ["string", "number"], "description": "Limit of one run, as in `10 min`; a number is seconds." },
            "retries": { "type": "integer", "minimum": 0, "maximum": 100, "default": 0, "description": "How often a failed run is tried again." },
            "isolation": { "enum": ["thread"], "default": "thread", "description": "Where it runs." },
            "cache": { "type": "boolean", "default": true, "description": "Whether results may be kept." },
            "remove": removal("stage")
        }
    })
}

fn output() -> Json {
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "from": { "$ref": "#/definitions/feed" },
            "bids": { "type": "string", "description": "Entities and suffix, as in `desc-lesions_dseg`." },
            "dataset": { "type": "string", "description": "A data set of its own inside the output folder." },
            "sidecar": { "type": "object", "description": "Keys to add to the JSON sidecar." },
            "remove": removal("output")
        }
    })
}

fn cohort_stage() -> Json {
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "operator": { "type": "string", "description": "An operator on subjects or cohorts." },
            "inputs": { "type": "object", "additionalProperties": { "$ref": "#/definitions/feed" } },
            "settings": { "type": "object", "description": "Settings of the operator; `neuroloom plugins inspect` lists them." },
            "always": { "type": "boolean", "default": false, "description": "Runs also when no case has values for it." },
            "device": { "type": "string", "description": "`cpu`, `cuda:0` … or `auto`." },
            "threads": { "type": "integer", "minimum": 1, "maximum": 4096, "description": "Threads it may use." },
            "memory": { "type": ["string", "number"], "description": "Declared peak, as in `4 GiB`; a number is bytes." },
            "timeout": { "type": ["string", "number"], "description": "Limit of one run, as in `10 min`; a number is seconds." },
            "remove": removal("stage")
        }
    })
}

fn cohort_output() -> Json {
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "from": { "$ref": "#/definitions/feed" },
            "bids": { "type": "string", "description": "Entities and suffix, as in `desc-lesions_table`." },
            "root": { "type": "boolean", "default": false, "description": "Whether the document goes to the root of the output folder, under this name alone." },
            "sidecar": { "type": "object", "description": "Keys to add to the JSON sidecar." },
            "remove": removal("output")
        }
    })
}

/// Adds the operators' settings, and ties each to the stages that run it.
fn operators(catalogue: &dyn Catalogue, definitions: &mut Map<String, Json>) {
    let (mut of_cases, mut of_groups) = (Vec::new(), Vec::new());
    for operator in catalogue.operators() {
        let Ok(found) = catalogue.find(&operator.to_string()) else { continue };
        let key = operator.to_string();
        let mut settings = found.description.settings.clone();
        move_references(&mut settings, &key);
        if let Some(object) = settings.as_object_mut() {
            object.remove("$schema");
        }
        let mut names = vec![key.clone()];
        if catalogue.find(&operator.name).is_ok() {
            names.push(operator.name.clone());
        }
        let case = found.description.scope == Scope::Case;
        let rules = if case { &mut of_cases } else { &mut of_groups };
        rules.push(json!({
            "if": { "properties": { "operator": { "enum": names } }, "required": ["operator"] },
            "then": { "properties": { "settings": { "$ref": format!("#/definitions/{key}") } } }
        }));
        definitions.insert(key, settings);
    }
    for (stage, rules) in [("stage", of_cases), ("cohort_stage", of_groups)] {
        // An empty list is no valid schema.
        if let Some(Json::Object(stage)) = definitions.get_mut(stage).filter(|_| !rules.is_empty()) {
            stage.insert("allOf".to_owned(), Json::Array(rules));
        }
    }
}

/// References inside an operator's schema, after it has moved to `#/definitions/KEY`.
fn move_references(schema: &mut Json, key: &str) {
    match schema {
        Json::Object(object) => {
            if let Some(Json::String(target)) = object.get_mut("$ref")
                && let Some(rest) = target.strip_prefix("#/")
            {
                *target = format!("#/definitions/{key}/{rest}");
            }
            object.values_mut().for_each(|value| move_references(value, key));
        }
        Json::Array(items) => items.iter_mut().for_each(|item| move_references(item, key)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::fake::Fake;
    use crate::workflow::{
        COHORT_KEYS, COHORT_OUTPUT_KEYS, COHORT_STAGE_KEYS, INPUT_KEYS, REVIEW_KEYS, SECTIONS, STAGE_KEYS,
        tree,
    };

    fn paper() -> Json {
        let text = include_str!("../tests/data/brain-metastases.toml");
        let table = tree::parse(text, 0).unwrap();
        tree::Tree { value: tree::Branch::Table(table), span: crate::fault::Span::default() }.to_json()
    }

    fn keys(schema: &Json, pointer: &str) -> Vec<String> {
        let mut keys: Vec<_> =
            schema.pointer(pointer).unwrap().as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    }

    fn sorted(keys: &[&str]) -> Vec<String> {
        let mut keys: Vec<_> = keys.iter().map(|key| (*key).to_owned()).collect();
        keys.sort();
        keys
    }

    /// An editor must not know other keys than the checker.
    #[test]
    fn the_schema_has_the_keys_that_the_checker_knows() {
        let schema = workflow(None);
        assert_eq!(keys(&schema, "/properties"), sorted(&SECTIONS));
        assert_eq!(keys(&schema, "/definitions/stage/properties"), sorted(&STAGE_KEYS));
        assert_eq!(keys(&schema, "/definitions/input/properties"), sorted(&INPUT_KEYS));
        assert_eq!(keys(&schema, "/properties/cohort/properties"), sorted(&COHORT_KEYS));
        assert_eq!(keys(&schema, "/properties/review/properties"), sorted(&REVIEW_KEYS));
        assert_eq!(keys(&schema, "/definitions/cohort_stage/properties"), sorted(&COHORT_STAGE_KEYS));
        assert_eq!(keys(&schema, "/definitions/cohort_output/properties"), sorted(&COHORT_OUTPUT_KEYS));
    }

    #[test]
    fn the_schema_in_the_documentation_is_this_one() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        let text = std::fs::read_to_string(folder.join("workflow.schema.json")).unwrap();
        let documented: Json = serde_json::from_str(&text).unwrap();
        assert_eq!(documented, workflow(None), "run `neuroloom schema > docs/workflow.schema.json`");
    }

    #[test]
    fn the_paper_s_workflow_is_valid_by_the_schema() {
        for schema in [workflow(None), workflow(Some(&Fake::new()))] {
            assert!(jsonschema::draft7::meta::is_valid(&schema));
            let validator = jsonschema::validator_for(&schema).unwrap();
            let errors: Vec<_> = validator.iter_errors(&paper()).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{errors:?}");
        }
    }

    #[test]
    fn with_operators_the_schema_refuses_a_setting_that_is_wrong() {
        let validator = jsonschema::validator_for(&workflow(Some(&Fake::new()))).unwrap();
        let mut workflow = paper();
        workflow["stages"]["aligned"]["settings"] = json!({ "degrees": "rigid", "bins": 64 });
        assert!(validator.is_valid(&workflow));
        workflow["stages"]["aligned"]["settings"] = json!({ "degrees": "bent" });
        assert!(!validator.is_valid(&workflow));
    }
}
