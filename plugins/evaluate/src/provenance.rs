//! What the facts of a score map and the engine's provenance say of a case: training inputs, missing sequences.

use sdk::Facts;
use serde_json::Value as Json;
use std::collections::BTreeSet;

/// Keys of a model's card under which the digests of its training inputs may stand, as a list or as JSON text of one.
const DIGEST_KEYS: [&str; 2] = ["training_digests", "trained_on_digests"];

/// Inputs of a case, by name, that the model's card lists among those it was trained on.
///
/// * `provenance`: what the engine tells at `case.provenance`; * `card`: a card read from a file, if there is one.
pub fn in_training(facts: &Facts, card: Option<&Json>, provenance: Option<&Json>) -> Vec<String> {
    let fact = facts.get("model").map(|model| &model["card"]);
    let known: BTreeSet<String> = [fact, card].into_iter().flatten().flat_map(digests).collect();
    let inputs = provenance.and_then(|content| content["inputs"].as_array()).into_iter().flatten();
    inputs
        .filter(|input| input["digest"].as_str().is_some_and(|digest| known.contains(plain(digest))))
        .filter_map(|input| input["name"].as_str().map(str::to_owned))
        .collect()
}

fn digests(card: &Json) -> Vec<String> {
    let own = |value: &Json| match value {
        Json::Array(list) => list.iter().filter_map(|d| Some(plain(d.as_str()?).to_owned())).collect(),
        _ => Vec::new(),
    };
    let read = |value: &Json| match value.as_str() {
        Some(text) => serde_json::from_str::<Json>(text).map(|list| own(&list)).unwrap_or_default(),
        None => own(value),
    };
    DIGEST_KEYS.iter().flat_map(|key| read(&card[*key])).collect()
}

/// A digest without the name of its algorithm.
fn plain(digest: &str) -> &str {
    digest.strip_prefix("blake3:").unwrap_or(digest)
}

/// The sequences that the model had to do without, as it says itself: `none`, or their names.
pub fn missing_sequences(facts: &Facts) -> Option<String> {
    let zeroed = facts.get("model")?["zeroed_channels"].as_array()?;
    let names: Vec<&str> = zeroed.iter().filter_map(Json::as_str).collect();
    Some(if names.is_empty() { "none".to_owned() } else { names.join(", ") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_input_that_the_card_lists_is_named_wherever_the_card_stands() {
        let provenance = json!({ "inputs": [
            { "name": "truth", "digest": "aa" }, { "name": "prob", "digest": "bb" }, { "name": "mask" },
        ] });
        let mut facts = Facts::new();
        facts.set(
            "model",
            json!({ "card": { "training_digests": "[\"blake3:aa\"]" }, "zeroed_channels": ["flair"] }),
        );
        assert_eq!(in_training(&facts, None, Some(&provenance)), ["truth"]);
        assert_eq!(missing_sequences(&facts).as_deref(), Some("flair"));
        let card = json!({ "trained_on_digests": ["bb"] });
        assert_eq!(in_training(&Facts::new(), Some(&card), Some(&provenance)), ["prob"]);
        assert!(in_training(&Facts::new(), None, Some(&provenance)).is_empty());
        assert!(in_training(&facts, Some(&card), None).is_empty());
    }
}
