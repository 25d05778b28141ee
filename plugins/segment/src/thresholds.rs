//! Scores from which on a voxel counts as lesion, by the sequences that a case lacks.
//!
//! A network that does without a sequence is less sure of everything: one threshold for all cases would find nothing in those that
//! lack much. The card's key `thresholds` holds a score for each pattern of absence that was judged; a pattern is named by what
//! lacks, in the card's order, joined by commas.

use crate::card::Needs;
use crate::model::quoted;
use std::collections::BTreeMap;

/// A score for each pattern of absence.
pub type Thresholds = BTreeMap<String, f64>;

/// What the key should hold.
pub const EXPECTED: &str = "scores in 0..=1 by what may lack, in the order of `channels`, as `{\"flair\": 0.3, \"t1_post,flair\": 0.2}`";

/// Whether each pattern is one that the model bears, and each score is one.
pub fn usable(thresholds: &Thresholds, needs: &Needs<'_>) -> bool {
    thresholds.iter().all(|(pattern, score)| borne(pattern, needs) && (0.0..=1.0).contains(score))
}

/// Whether a model works without a pattern's sequences, which stand in its order, each once.
fn borne(pattern: &str, needs: &Needs<'_>) -> bool {
    let absent: Vec<&str> = pattern.split(',').collect();
    let all = needs.channels.iter().map(|channel| channel.name.as_str());
    let present: Vec<&str> = all.filter(|name| !absent.contains(name)).collect();
    !present.is_empty() && needs.lacks(&present).is_none() && needs.zeroed(&present) == absent
}

/// The name of the pattern without these sequences, which stand in the card's order.
pub fn name(absent: &[&str]) -> String {
    absent.join(",")
}

/// The threshold of a case, and whether it was chosen for what the case lacks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    /// Score from which on a voxel counts as lesion, 0..=1.
    pub score: f64,
    /// Whether it was chosen on cases that lack the same.
    pub own: bool,
}

/// The threshold of a case that lacks `absent`: of its pattern, or else `whole`, that of all sequences.
pub fn of(thresholds: &Thresholds, whole: f64, absent: &[&str]) -> Threshold {
    let own = if absent.is_empty() { Some(whole) } else { thresholds.get(&name(absent)).copied() };
    Threshold { score: own.unwrap_or(whole), own: own.is_some() }
}

/// All thresholds in words, one a line, that of all sequences first.
pub fn told(thresholds: &Thresholds, whole: f64) -> String {
    let without = thresholds.iter().map(|(pattern, score)| {
        let names: Vec<&str> = pattern.split(',').collect();
        format!("{score:.4} without {}", quoted(&names))
    });
    std::iter::once(whole.to_string()).chain(without).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::Channel;

    fn table(text: &str) -> Thresholds {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn patterns_that_the_model_does_not_bear_and_scores_that_are_none_are_refused() {
        let channel = |name: &str| Channel { name: name.to_owned(), optional: name != "t1_pre" };
        let channels = ["t1_pre", "t1_post", "bravo", "flair"].map(channel);
        let one_of = ["t1_post", "bravo"].map(str::to_owned);
        let needs = Needs { channels: &channels, one_of: &one_of };
        let fits = |text: &str| usable(&table(text), &needs);
        assert!(fits("{}") && fits(r#"{"flair": 0.0, "bravo,flair": 1.0}"#));
        for wrong in ["", "t1_pre", "t2", "flair,bravo", "t1_post,bravo", "flair,flair", "bravo, flair"] {
            assert!(!fits(&format!(r#"{{"{wrong}": 0.5}}"#)), "`{wrong}`");
        }
        assert!(!fits(r#"{"flair": 1.5}"#) && !fits(r#"{"flair": -0.1}"#));
    }

    #[test]
    fn a_case_gets_the_threshold_of_its_pattern_or_that_of_all_sequences() {
        let thresholds = table(r#"{"flair": 0.25, "t1_post,flair": 0.125}"#);
        let at = |absent: &[&str]| of(&thresholds, 0.5, absent);
        assert_eq!(at(&[]), Threshold { score: 0.5, own: true });
        assert_eq!(at(&["flair"]), Threshold { score: 0.25, own: true });
        assert_eq!(at(&["t1_post", "flair"]), Threshold { score: 0.125, own: true });
        assert_eq!(at(&["t1_post"]), Threshold { score: 0.5, own: false });
        assert_eq!(told(&thresholds, 0.5), "0.5\n0.2500 without `flair`\n0.1250 without `t1_post`, `flair`");
    }
}
