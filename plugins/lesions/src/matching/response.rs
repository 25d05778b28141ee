//! The imaging component of RANO-BM for the brain: target diameters against baseline and nadir, and new lesions.
//!
//! Targets are the up to five measurable lesions with the longest axial diameters at the first session that has lesions to look
//! at. Of the sum of their diameters:
//!
//! | | |
//! |---|---|
//! | CR | no lesion is left at all |
//! | PD | a new lesion of at least `new_lesion_mm`; or a sum above its nadir by `progression_increase`, with a target above its own nadir by `progression_mm` |
//! | PR | a sum below baseline by `response_decrease` |
//! | SD | none of these |
//! | NE | not evaluable: no measurable lesion at baseline, or the session has no lesions to look at |
//!
//! Non-target lesions, steroids, clinical status, and confirmation after four weeks are for the reader. A response is withheld,
//! with the reason, where the card of the model that found the lesions puts the session outside its domain.
//!
//! Source: N. Lin et al., "Response assessment criteria for brain metastases", Lancet Oncol. 16, 2015, tables 2 and 3.

use super::Options;
use super::session::{Seen, Session};
use super::tracks::{Event, State};
use sdk::Facts;
use std::collections::BTreeMap;

/// RANO-BM: most target lesions.
const TARGETS: usize = 5;
/// RANO-BM: largest distance of slices on which lesions are measurable, mm.
const SLICE_MM: f64 = 5.0;
/// How far from its limit a length or share still counts as on it, relative.
const SLACK: f64 = 1e-6;

/// A track at a session, against what it was.
#[derive(Clone, Debug)]
pub struct Followed {
    /// What was seen.
    pub state: State,
    /// Whether it is a target.
    pub target: bool,
    /// Change of volume since it was first seen, %.
    pub volume_change: Option<f64>,
    /// Change of diameter since it was first seen, %.
    pub diameter_change: Option<f64>,
    /// Change of diameter from its nadir before this session, mm.
    pub from_nadir_mm: Option<f64>,
}

/// A session, assessed.
#[derive(Clone, Debug, Default)]
pub struct Visit {
    /// The tracks; none for a session without lesions to look at.
    pub tracks: Vec<Followed>,
    /// Sum of the targets' longest axial diameters, mm.
    pub sum_mm: Option<f64>,
    /// Its change from baseline, %.
    pub from_baseline: Option<f64>,
    /// Its change from its nadir before this session, %.
    pub from_nadir: Option<f64>,
    /// `baseline`, `CR`, `PR`, `SD`, `PD`, `NE` or `withheld`.
    pub response: &'static str,
    /// Why.
    pub reason: String,
}

impl Visit {
    /// Of a session that failed, or lacks what is needed.
    pub fn failed(reason: &str) -> Self {
        Self { response: "NE", reason: reason.to_owned(), ..Self::default() }
    }

    /// Number of tracks with one of these events.
    pub fn count(&self, is: impl Fn(Event) -> bool) -> usize {
        self.tracks.iter().filter(|track| is(track.state.event)).count()
    }
}

/// What a track was.
#[derive(Clone, Copy, Debug)]
struct Past {
    volume_ml: f64,
    axial_mm: f64,
    nadir_mm: f64,
    target: bool,
}

/// Goes through the sessions in order.
#[derive(Debug)]
pub struct Assessment<'a> {
    options: &'a Options,
    past: BTreeMap<usize, Past>,
    /// Sum of target diameters at baseline, and its least so far, mm.
    sums: Option<(f64, f64)>,
}

impl<'a> Assessment<'a> {
    /// Before the first session.
    pub const fn new(options: &'a Options) -> Self {
        Self { options, past: BTreeMap::new(), sums: None }
    }

    /// The next session, with what became of every track.
    pub(super) fn visit(&mut self, states: Vec<State>, session: &Session) -> Visit {
        let first = self.sums.is_none();
        if first {
            self.choose_targets(&states);
        }
        self.inherit_targets(&states);
        let tracks: Vec<Followed> = states.into_iter().map(|state| self.compare(state)).collect();
        let targets = || tracks.iter().filter(|track| track.target);
        let sum_mm = targets().fold(0.0, |sum, track| sum + track.state.axial_mm());
        let (baseline, nadir) = self.sums.unwrap_or((sum_mm, sum_mm));
        let percent = |from: f64| (!first && from > 0.0).then(|| 100.0 * (sum_mm / from - 1.0));
        let mut visit = Visit {
            sum_mm: Some(sum_mm),
            from_baseline: percent(baseline),
            from_nadir: percent(nadir),
            ..Visit::default()
        };
        (visit.response, visit.reason) = if first {
            let count = targets().count();
            ("baseline", format!("{count} target lesion{}", if count == 1 { "" } else { "s" }))
        } else {
            self.response(&tracks, sum_mm, (baseline, nadir))
        };
        visit.tracks = tracks;
        self.sums = Some((baseline, nadir.min(sum_mm)));
        let reason =
            session.seen.as_ref().and_then(|seen| outside_domain(seen, session.treated.unwrap_or(!first)));
        if let Some(reason) = reason.filter(|_| !first) {
            (visit.response, visit.reason) = ("withheld", reason);
        }
        visit
    }

    fn choose_targets(&mut self, states: &[State]) {
        let mut measurable: Vec<&State> = states.iter().filter(|state| state.measurable()).collect();
        measurable.sort_by(|a, b| b.axial_mm().total_cmp(&a.axial_mm()).then(a.track.cmp(&b.track)));
        for state in measurable.into_iter().take(TARGETS) {
            let (volume_ml, axial_mm) = (state.volume_ml(), state.axial_mm());
            self.past.insert(state.track, Past { volume_ml, axial_mm, nadir_mm: axial_mm, target: true });
        }
    }

    /// A target that merges makes a target of what it merges into.
    fn inherit_targets(&mut self, states: &[State]) {
        for state in states {
            if let Event::MergedInto(into) = state.event
                && let Some(past) = self.past.get_mut(&state.track)
            {
                let was_target = std::mem::take(&mut past.target);
                if let Some(heir) = self.past.get_mut(&into) {
                    heir.target |= was_target;
                }
            }
        }
    }

    fn compare(&mut self, state: State) -> Followed {
        let (volume_ml, axial_mm) = (state.volume_ml(), state.axial_mm());
        let new = matches!(state.event, Event::Baseline | Event::New);
        let start = Past { volume_ml, axial_mm, nadir_mm: axial_mm, target: false };
        let past = self.past.entry(state.track).or_insert(start);
        let ended = matches!(state.event, Event::MergedInto(_));
        let against =
            |now: f64, then: f64| (!new && !ended && then > 0.0).then(|| 100.0 * (now / then - 1.0));
        let followed = Followed {
            target: past.target,
            volume_change: against(volume_ml, past.volume_ml),
            diameter_change: against(axial_mm, past.axial_mm),
            from_nadir_mm: (!new && !ended).then_some(axial_mm - past.nadir_mm),
            state,
        };
        past.nadir_mm = past.nadir_mm.min(axial_mm);
        followed
    }

    fn response(
        &self,
        tracks: &[Followed],
        sum_mm: f64,
        (baseline, nadir): (f64, f64),
    ) -> (&'static str, String) {
        let Options { response_decrease, progression_increase, progression_mm, new_lesion_mm, .. } =
            *self.options;
        let reaches = |value: f64, limit: f64| value >= limit * (1.0 - SLACK) - f64::EPSILON;
        let is_new = |track: &&Followed| matches!(track.state.event, Event::New);
        let new = tracks.iter().filter(is_new).find(|track| reaches(track.state.axial_mm(), new_lesion_mm));
        if let Some(track) = new {
            return (
                "PD",
                format!("new lesion (track {}) of {:.1} mm", track.state.track, track.state.axial_mm()),
            );
        }
        if tracks.iter().all(|track| track.state.lesions.is_empty()) {
            return ("CR", "no lesion is left".to_owned());
        }
        if baseline <= 0.0 {
            return ("NE", "no measurable lesion at baseline".to_owned());
        }
        let grown = tracks
            .iter()
            .filter(|track| track.target)
            .find(|track| track.from_nadir_mm.is_some_and(|mm| mm > 0.0 && reaches(mm, progression_mm)));
        let grows = sum_mm > nadir && reaches(sum_mm, nadir * (1.0 + progression_increase));
        if let Some(track) = grown.filter(|_| grows) {
            let mm = track.from_nadir_mm.unwrap_or_default();
            let sum = format!("sum {sum_mm:.1} mm, nadir {nadir:.1} mm");
            return ("PD", format!("{sum}, track {} longer by {mm:.1} mm", track.state.track));
        }
        let text = format!("sum {sum_mm:.1} mm, baseline {baseline:.1} mm, nadir {nadir:.1} mm");
        if reaches(baseline - sum_mm, baseline * response_decrease) { ("PR", text) } else { ("SD", text) }
    }
}

/// Why a session is outside the domain of the model that found its lesions; `None` if it is not, or no model did.
fn outside_domain(seen: &Seen, treated: bool) -> Option<String> {
    let slice_mm = seen.facts.get("burden").and_then(|burden| burden["axial_slice_mm"].as_f64());
    let card = seen.facts.get("model").map(|model| &model["card"]);
    let limit_mm = card.and_then(|card| entry(card, "max_slice_mm")?.parse().ok()).unwrap_or(SLICE_MM);
    if let Some(slice_mm) = slice_mm.filter(|mm| *mm > limit_mm * (1.0 + SLACK)) {
        return Some(format!("axial slices are {slice_mm:.1} mm apart, more than {limit_mm} mm"));
    }
    let card = card?;
    let allowed = entry(card, "treated_brains").map(|text| text == "true");
    let untreated_only = entry(card, "domain").is_some_and(|text| text.to_lowercase().contains("untreated"));
    let outside = allowed.map_or(untreated_only, |allowed| !allowed);
    (treated && outside).then(|| {
        let name = seen.facts.get("model").and_then(|model| model["name"].as_str()).unwrap_or("the model");
        format!("a treated brain, outside the domain of `{name}`")
    })
}

/// An entry of a card as text; numbers and truth values are JSON or text of it.
fn entry(card: &serde_json::Value, key: &str) -> Option<String> {
    match card.get(key)? {
        serde_json::Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// Whether a warning of a session's facts must be told beside its lesions.
pub(super) fn warnings(facts: &Facts) -> Option<String> {
    let all = facts.warnings();
    (!all.is_empty()).then(|| all.join("; "))
}
