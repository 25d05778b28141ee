//! What decides a stage's result in a case, as one digest, and what changed between two of them.

use super::digest::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

/// Raised whenever the engine itself comes to read, check or hand over values in another way: all keys change.
pub const KEY_VERSION: u32 = 1;

/// All that decides what a stage makes of a case.
///
/// Threads, device, memory, timeouts, clocks and folders are not among it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyParts {
    /// `plugin:operator`.
    pub operator: String,
    /// Content of the plugin's file.
    pub build: Digest,
    /// What the operator says it depends on beside its own file: a backend, a library's version. Empty for most.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub identity: String,
    /// The case's label, which operators can read.
    pub case: String,
    /// The stage's settings, with file names in place of paths.
    pub settings: Json,
    /// Content of the files that settings name, by the names used in `settings`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, Digest>,
    /// The order in which members of named sets are wired, by port: operators see it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub order: BTreeMap<String, Vec<String>>,
    /// What stands at each `port` or `port.member`; nothing for an absent one.
    pub inputs: BTreeMap<String, Option<Digest>>,
}

impl KeyParts {
    /// The key: equal keys mean equal results.
    pub fn key(&self) -> Digest {
        Digest::of_json(&serde_json::json!([KEY_VERSION, self]))
    }

    /// What differs from `before`, one sentence each, the most telling first. Empty if the keys are equal.
    pub fn diff(&self, before: &Self) -> Vec<String> {
        let mut said = Vec::new();
        let plugin = |operator: &str| operator.split(':').next().unwrap_or_default().to_owned();
        if self.operator != before.operator {
            said.push(format!("operator: `{}`, was `{}`", self.operator, before.operator));
        } else if self.build != before.build {
            said.push(format!("plugin `{}` was rebuilt", plugin(&self.operator)));
        }
        if self.identity != before.identity {
            said.push(format!(
                "what `{}` depends on: {}, was {}",
                self.operator,
                or_nothing(&self.identity),
                or_nothing(&before.identity)
            ));
        }
        settings_diff("", &self.settings, &before.settings, &mut said);
        for (name, digest) in &self.files {
            if before.files.get(name).is_some_and(|old| old != digest) {
                said.push(format!("file `{name}` has other content"));
            }
        }
        self.inputs_diff(before, &mut said);
        for (port, order) in &self.order {
            let same_members = |old: &&Vec<String>| {
                old.iter().collect::<BTreeSet<_>>() == order.iter().collect::<BTreeSet<_>>()
            };
            if before.order.get(port).filter(same_members).is_some_and(|old| old != order) {
                said.push(format!("the members of input `{port}` are wired in another order"));
            }
        }
        if self.case != before.case {
            said.push(format!("the case's label: `{}`, was `{}`", self.case, before.case));
        }
        said
    }

    fn inputs_diff(&self, before: &Self, said: &mut Vec<String>) {
        let names: BTreeSet<&String> = self.inputs.keys().chain(before.inputs.keys()).collect();
        for name in names {
            said.push(match (self.inputs.get(name), before.inputs.get(name)) {
                (now, old) if now == old => continue,
                (Some(Some(_)), Some(Some(_))) => format!("input `{name}` has other content"),
                (Some(None), _) => format!("input `{name}` is absent now"),
                (Some(Some(_)), Some(None)) => format!("input `{name}` is present now"),
                (Some(Some(_)), None) => format!("input `{name}` is wired now"),
                (None, _) => format!("input `{name}` is no longer wired"),
            });
        }
    }
}

fn or_nothing(text: &str) -> String {
    if text.is_empty() { "nothing".to_owned() } else { format!("`{text}`") }
}

/// What differs between two settings, down to single entries of tables.
fn settings_diff(path: &str, now: &Json, before: &Json, said: &mut Vec<String>) {
    if now == before {
        return;
    }
    if let (Json::Object(now), Json::Object(before)) = (now, before) {
        let keys: BTreeSet<&String> = now.keys().chain(before.keys()).collect();
        for key in keys {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            match (now.get(key), before.get(key)) {
                (Some(now), Some(before)) => settings_diff(&path, now, before, said),
                (Some(now), None) => said.push(format!("setting `{path}`: {}, was not set", short(now))),
                (None, Some(before)) => {
                    said.push(format!("setting `{path}` is no longer set, was {}", short(before)));
                }
                (None, None) => {}
            }
        }
        return;
    }
    said.push(format!("setting `{path}`: {}, was {}", short(now), short(before)));
}

/// A setting in a sentence: long lists are cut.
fn short(json: &Json) -> String {
    /// Characters of a setting that fit a sentence.
    const MOST_CHARS: usize = 60;
    let text = json.to_string();
    if text.chars().count() <= MOST_CHARS {
        return text;
    }
    format!("{}…", text.chars().take(MOST_CHARS).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parts() -> KeyParts {
        let digest = |text: &str| Digest::of_bytes(text.as_bytes());
        KeyParts {
            operator: "lesions:filter".into(),
            build: digest("build"),
            identity: "libtorch 2.11.0".into(),
            case: "sub-01".into(),
            settings: json!({ "threshold": 0.4, "deep": { "list": [1, 2] }, "model": "m.safetensors" }),
            files: BTreeMap::from([("m.safetensors".into(), digest("model"))]),
            order: BTreeMap::from([("images".into(), vec!["a".into(), "b".into()])]),
            inputs: BTreeMap::from([
                ("images.a".into(), Some(digest("a"))),
                ("images.b".into(), Some(digest("b"))),
                ("mask".into(), None),
            ]),
        }
    }

    /// One change, and the sentence that tells it.
    type Change = (fn(&mut KeyParts), &'static str);

    #[test]
    fn each_change_gives_another_key_and_its_own_sentence() {
        let changes: [Change; 14] = [
            (|p| p.operator = "other:filter".into(), "operator: `other:filter`, was `lesions:filter`"),
            (|p| p.build = Digest::of_bytes(b"new"), "plugin `lesions` was rebuilt"),
            (
                |p| p.identity = String::new(),
                "what `lesions:filter` depends on: nothing, was `libtorch 2.11.0`",
            ),
            (|p| p.settings["threshold"] = json!(0.5), "setting `threshold`: 0.5, was 0.4"),
            (|p| p.settings["deep"]["list"] = json!([1]), "setting `deep.list`: [1], was [1,2]"),
            (|p| p.settings["new"] = json!(true), "setting `new`: true, was not set"),
            (
                |p| p.settings = json!({ "threshold": 0.4, "deep": { "list": [1, 2] } }),
                "setting `model` is no longer set, was \"m.safetensors\"",
            ),
            (
                |p| p.files.extend([("m.safetensors".into(), Digest::of_bytes(b"n"))]),
                "file `m.safetensors` has other content",
            ),
            (
                |p| p.inputs.extend([("images.a".into(), Some(Digest::of_bytes(b"n")))]),
                "input `images.a` has other content",
            ),
            (|p| p.inputs.extend([("images.a".into(), None)]), "input `images.a` is absent now"),
            (
                |p| p.inputs.extend([("mask".into(), Some(Digest::of_bytes(b"n")))]),
                "input `mask` is present now",
            ),
            (|p| p.inputs.retain(|name, _| name != "mask"), "input `mask` is no longer wired"),
            (
                |p| p.order.values_mut().for_each(|order| order.reverse()),
                "the members of input `images` are wired in another order",
            ),
            (|p| p.case = "sub-02".into(), "the case's label: `sub-02`, was `sub-01`"),
        ];
        let before = parts();
        for (change, sentence) in changes {
            let mut now = before.clone();
            change(&mut now);
            assert_eq!(now.diff(&before), [sentence]);
            assert_ne!(now.key(), before.key(), "{sentence}");
        }
        assert_eq!(before.diff(&before), [""; 0]);
    }

    #[test]
    fn parts_survive_a_record_with_their_key() {
        let text = serde_json::to_string(&parts()).unwrap();
        let back: KeyParts = serde_json::from_str(&text).unwrap();
        assert_eq!((back.key(), &back), (parts().key(), &parts()));
    }
}
