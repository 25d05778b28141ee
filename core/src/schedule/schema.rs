//! The JSON schema (draft-07) of a schedule's file, for editors.

use serde_json::{Value as Json, json};

/// The schema of a schedule.
pub fn schema() -> Json {
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Neuroloom schedule",
        "type": "object",
        "additionalProperties": false,
        "required": ["jobs"],
        "properties": {
            "parallel": { "type": "integer", "minimum": 1, "default": 1, "description": "Batches at a time." },
            "jobs": { "type": "array", "minItems": 1, "items": job() }
        }
    })
}

fn job() -> Json {
    let texts = json!({ "type": "array", "items": { "type": "string" } });
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["name", "workflow", "input", "output"],
        "anyOf": [{ "required": ["cron"] }, { "required": ["watch"] }],
        "properties": {
            "name": { "type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$", "description": "Its name." },
            "workflow": { "type": "string", "description": "The workflow; relative to this file." },
            "input": { "type": "string", "description": "The cohort; relative to this file." },
            "output": { "type": "string", "description": "Where results go; relative to this file." },
            "cron": { "type": "string", "description": "When: minute, hour, day of month, month, day of week." },
            "time_zone": { "type": "string", "description": "Where that is the time, as in `Europe/Oslo`; by default the machine's." },
            "watch": watch(),
            "overlap": { "enum": ["skip", "queue"], "default": "skip", "description": "What is done with a due time while an earlier start is at work." },
            "missed": { "enum": ["once", "skip"], "default": "once", "description": "What is done with times at which no scheduler was there." },
            "executor": { "type": "string", "description": "Who runs the batch, as in `neuroloom batch --executor`." },
            "options": texts,
            "on_finish": on_finish()
        }
    })
}

fn watch() -> Json {
    json!({
        "type": "object",
        "additionalProperties": false,
        "description": "Only cases whose files have arrived whole; without `cron`: whenever there are such.",
        "properties": {
            "stable_s": { "type": "integer", "minimum": 1, "default": 120, "description": "Seconds for which a case's files must have stayed the same." },
            "every_s": { "type": "integer", "minimum": 1, "default": 60, "description": "Seconds between two looks." },
            "wait_for": { "type": "array", "items": { "type": "string" }, "description": "Inputs that a case is to be waited for." },
            "limit_h": { "type": "number", "minimum": 0, "default": 24, "description": "Hours after which a case runs without them." }
        }
    })
}

fn on_finish() -> Json {
    json!({
        "type": "object",
        "additionalProperties": false,
        "description": "What is told, in JSON, when a batch has ended.",
        "properties": {
            "command": { "type": "array", "items": { "type": "string" }, "description": "A program and its arguments; the digest comes on its standard input." },
            "webhook": { "type": "string", "pattern": "^https?://", "description": "An address that the digest is posted to." },
            "timeout_s": { "type": "integer", "minimum": 1, "maximum": 3600, "default": 30, "description": "Seconds that each may take." },
            "when": { "enum": ["always", "failure"], "default": "always", "description": "After every batch, or after one that did not end well." }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_documented_schema_is_this_one_and_takes_the_example() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        let text = std::fs::read_to_string(docs.join("schedule.schema.json")).unwrap();
        let documented: Json = serde_json::from_str(&text).unwrap();
        assert_eq!(documented, schema(), "run `neuroloom schema schedule > docs/schedule.schema.json`");
        let page = std::fs::read_to_string(docs.join("schedules.md")).unwrap();
        let example = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
        let example: Json = toml::from_str(example).unwrap();
        assert!(jsonschema::is_valid(&schema(), &example));
    }
}
