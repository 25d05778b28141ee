//! Which model made the score, and how far it can be trusted.

use crate::case::Case;
use sdk::serde::Serialize;
use serde_json::Value;

/// How loud a banner is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(crate = "sdk::serde", rename_all = "snake_case")]
pub enum Level {
    /// The results mean nothing, or are not there.
    Danger,
    /// The results must be read with care.
    Warning,
}

/// A line that nobody may overlook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct Banner {
    /// How loud.
    pub level: Level,
    /// The message, in capitals where it must be seen.
    pub title: String,
    /// More, and the way out.
    pub text: String,
}

/// The model behind the score.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct Model {
    /// Its name.
    pub name: String,
    /// Digest of its file.
    pub digest: String,
    /// Its card, entry by entry.
    pub card: Vec<(String, String)>,
}

/// JSON as a person writes it: text without quotes, lists with commas, an object of a `name` by that name.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(object) => match object.get("name").and_then(Value::as_str) {
            Some(name) if object.get("optional") == Some(&Value::Bool(true)) => format!("{name} (optional)"),
            Some(name) => name.to_owned(),
            None => value.to_string(),
        },
        other => other.to_string(),
    }
}

/// The entries of a JSON object as text; nothing for other values.
pub fn entries(value: &Value) -> Vec<(String, String)> {
    let object = value.as_object();
    object.map(|o| o.iter().map(|(key, v)| (key.clone(), plain(v))).collect()).unwrap_or_default()
}

impl Model {
    /// The model that the facts of the results name.
    pub fn of(case: &Case) -> Option<Self> {
        let fact = case.result_fact("model")?;
        let text = |key: &str| fact.get(key).map(plain).unwrap_or_default();
        Some(Self {
            name: fact.as_str().map_or_else(|| text("name"), str::to_owned),
            digest: text("digest"),
            card: fact.get("card").map(entries).unwrap_or_default(),
        })
    }

    fn entry(&self, key: &str) -> Option<&str> {
        self.card.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The warning this model needs, if any.
    pub fn banner(&self) -> Option<Banner> {
        let banner = |level, title: &str, text: String| Some(Banner { level, title: title.to_owned(), text });
        if self.entry("trained").is_some_and(|trained| trained.eq_ignore_ascii_case("false")) {
            let text = "The network's weights were never fitted to data. What follows shows that the workflow \
                        runs, and nothing about the patient.";
            return banner(Level::Danger, "UNTRAINED MODEL: these results mean nothing", text.to_owned());
        }
        if self.card.is_empty() {
            return Some(unknown());
        }
        let source = self.entry("trained_on").unwrap_or_default();
        if source.to_lowercase().contains("phantom") {
            let text = format!(
                "The network was trained on synthetic images only ({source}). It has never seen a patient."
            );
            return banner(Level::Danger, "MODEL TRAINED ON PHANTOMS", text);
        }
        None
    }
}

/// The warning for results whose model has no card.
pub fn unknown() -> Banner {
    Banner {
        level: Level::Danger,
        title: "UNKNOWN MODEL".to_owned(),
        text:
            "Nothing is recorded about the model that made these results: neither what it was trained on nor \
               how well it works."
                .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sdk::Facts;
    use serde_json::json;

    fn banner_for(model: Value) -> Option<String> {
        let mut facts = Facts::new();
        facts.set("model", model);
        let case = Case { facts: vec![("lesions".to_owned(), facts)], ..Case::default() };
        Model::of(&case).unwrap().banner().map(|banner| banner.title)
    }

    #[test]
    fn a_model_says_what_it_was_trained_on() {
        let untrained = "UNTRAINED MODEL: these results mean nothing";
        for trained in [json!("false"), json!(false)] {
            assert_eq!(banner_for(json!({"card": {"trained": trained}})).unwrap(), untrained);
        }
        let phantom = json!({"card": {"trained": "true", "trained_on": "100 Phantom cases"}});
        assert_eq!(banner_for(phantom).unwrap(), "MODEL TRAINED ON PHANTOMS");
        assert_eq!(banner_for(json!({"name": "x", "digest": "y"})).unwrap(), "UNKNOWN MODEL");
        assert_eq!(banner_for(json!({"card": {"trained": "true", "trained_on": "156 patients"}})), None);
    }
}
