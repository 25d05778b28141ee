//! Lesions of a subject over time: which is which from session to session, how each changed, and what that means by RANO-BM.
//!
//! Sessions come in time order. All are looked at in one common frame, to which each session's `common_to_session` leads: a
//! stage before this one registers every session to the same image, so that what registers can be exchanged, and this
//! operator needs no image. A session without a transform lies in the common frame already.
//!
//! * [`tracks`]: a lesion continues the track with which it overlaps, else the nearest one; splits and merges stay one track.
//! * [`response`]: sum of target diameters against baseline and nadir, new lesions, and why a response is withheld.
//!
//! Sources: N. Lin et al., Lancet Oncol. 16, 2015 (RANO-BM); E. Eisenhauer et al., Eur. J. Cancer 45, 2009 (RECIST 1.1: lesions
//! that split or coalesce).

mod list;
pub mod response;
mod session;
pub mod tracks;

use response::{Assessment, Visit};
use sdk::{Cases, Context, JsonSchema, OperatorError, Table};
use serde::{Deserialize, Serialize};
use session::{Session, read};
use tracks::Tracks;

/// Settings of `match_lesions`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(crate = "sdk::schemars")]
pub struct Options {
    /// Least share of the smaller of two lesions that must lie in the other for both to be the same, 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_overlap: f64,
    /// Farthest that the centroids of two lesions may be apart that do not overlap and are the same, mm.
    #[schemars(range(min = 0.0, max = 50.0))]
    pub max_distance_mm: f64,
    /// Partial response: least decrease of the sum of target diameters from baseline, as a share.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub response_decrease: f64,
    /// Progression: least increase of the sum of target diameters from its nadir, as a share.
    #[schemars(range(min = 0.0))]
    pub progression_increase: f64,
    /// Progression: least increase of at least one target from its own nadir, mm.
    #[schemars(range(min = 0.0))]
    pub progression_mm: f64,
    /// Shortest longest axial diameter of a new lesion that is progression by itself, mm; smaller ones are told, not judged.
    #[schemars(range(min = 0.0))]
    pub new_lesion_mm: f64,
    /// Column of the cohort's table by which sessions are ordered if all have it, as in `2024-05-31`.
    pub date_column: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            min_overlap: 0.1,
            max_distance_mm: 5.0,
            response_decrease: 0.3,
            progression_increase: 0.2,
            progression_mm: 5.0,
            new_lesion_mm: 5.0,
            date_column: "date".to_owned(),
        }
    }
}

/// Why lesions could not be followed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MatchError {
    /// A setting out of its range.
    #[error("`{name}` is {found}, where a number from 0 to {high} is expected")]
    Setting {
        /// The setting.
        name: &'static str,
        /// Its value.
        found: f64,
        /// Its highest.
        high: f64,
    },
    /// The measures do not belong to the labels.
    #[error(
        "session {session}: label {label} has no row among the measures\nhint: wire `measures` to the `measure_lesions` that reads the same labels"
    )]
    NoMeasures {
        /// Label of the case.
        session: String,
        /// The lesion.
        label: u32,
    },
    /// A transform or an affine that cannot be undone.
    #[error("session {session}: {what} cannot be inverted\nhint: look at the registration of this session")]
    Flat {
        /// Label of the case.
        session: String,
        /// Which map.
        what: &'static str,
    },
}

impl Options {
    /// Whether the settings can be used.
    ///
    /// # Errors
    /// The first setting out of its range.
    pub fn check(&self) -> Result<(), MatchError> {
        let ranges = [
            ("min_overlap", self.min_overlap, 1.0),
            ("max_distance_mm", self.max_distance_mm, 50.0),
            ("response_decrease", self.response_decrease, 1.0),
            ("progression_increase", self.progression_increase, f64::MAX),
            ("progression_mm", self.progression_mm, f64::MAX),
            ("new_lesion_mm", self.new_lesion_mm, f64::MAX),
        ];
        let outside = ranges.into_iter().find(|(_, found, high)| !(0.0..=*high).contains(found));
        outside.map_or(Ok(()), |(name, found, high)| Err(MatchError::Setting { name, found, high }))
    }
}

/// A subject's lesions over time.
#[derive(Debug)]
pub struct Followed {
    /// A row for each track and session.
    pub lesions: Table,
    /// A row for each session.
    pub sessions: Table,
    /// What a reader must know.
    pub warnings: Vec<String>,
}

/// Follows the lesions of a subject.
///
/// # Errors
/// [`MatchError`]; a value that cannot be read; the stage was asked to stop.
pub fn follow(cases: &dyn Cases, options: &Options, ctx: &Context) -> Result<Followed, OperatorError> {
    options.check()?;
    let mut sessions: Vec<Session> = Vec::new();
    for index in 0..cases.len() {
        ctx.check_cancelled()?;
        sessions.push(read(cases, index, &options.date_column)?);
    }
    if sessions.iter().all(|session| session.date.is_some()) {
        sessions.sort_by(|a, b| a.date.cmp(&b.date));
    }
    let mut tracks = Tracks::default();
    let mut assessment = Assessment::new(options);
    let mut visits: Vec<Visit> = Vec::new();
    for session in &sessions {
        let Some(seen) = &session.seen else {
            visits.push(Visit::failed(session.failure.as_deref().unwrap_or("no values")));
            continue;
        };
        ctx.check_cancelled()?;
        let states = tracks.see(seen, options);
        visits.push(assessment.visit(states, session));
    }
    let mut warnings: Vec<String> = Vec::new();
    let moved = |session: &Session| session.seen.as_ref().is_some_and(|seen| seen.moved);
    if sessions.iter().any(moved) {
        let still = sessions.iter().filter(|session| session.seen.is_some() && !moved(session));
        warnings.extend(still.map(|session| {
            format!("{} has no transform: its world counts as the common frame", session.label)
        }));
    }
    Ok(Followed {
        lesions: list::lesions(&sessions, &visits),
        sessions: list::sessions(&sessions, &visits),
        warnings,
    })
}
