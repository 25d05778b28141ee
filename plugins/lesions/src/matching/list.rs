//! The tables of `match_lesions`.

use super::response::{Visit, warnings};
use super::session::Session;
use super::tracks::{By, Event};
use sdk::{Cell, Column, Table};

/// A row for each track and session.
pub(super) fn lesions(sessions: &[Session], visits: &[Visit]) -> Table {
    let mut table = Table::new(vec![
        Column::new("track", "", "number of the lesion through all sessions"),
        Column::new("case", "", "the session"),
        Column::new("date", "", "its date, if the cohort's table has one"),
        Column::new(
            "event",
            "",
            "baseline, new, matched, back, split, merged, merged and split, merged into, gone",
        ),
        Column::new("labels", "", "labels of its lesions in this session"),
        Column::new("overlap", "", "larger share of overlap that tied it to what was seen before"),
        Column::new("distance_mm", "mm", "distance of centroids that tied it, where there was no overlap"),
        Column::new("volume_ml", "ml", "volume of all its lesions"),
        Column::new("longest_axial_diameter_mm", "mm", "sum over its lesions, if it split"),
        Column::new("longest_diameter_mm", "mm", "longest diameter in 3-D of any of its lesions"),
        Column::new("volume_change_percent", "%", "since it was first seen"),
        Column::new("diameter_change_percent", "%", "axial, since it was first seen"),
        Column::new("diameter_from_nadir_mm", "mm", "axial, from its least before this session"),
        Column::new("measurable", "", "by RANO-BM"),
        Column::new("target", "", "whether it counts in the sum of diameters"),
    ]);
    for (session, visit) in sessions.iter().zip(visits) {
        for track in &visit.tracks {
            let state = &track.state;
            let labels: Vec<String> = state.lesions.iter().map(|lesion| lesion.label.to_string()).collect();
            let (overlap, distance) = match state.by {
                Some(By::Overlap(share)) => (Some(share), None),
                Some(By::Distance(mm)) => (None, Some(mm)),
                None => (None, None),
            };
            // What merged into another has no size of its own any more.
            let own = !matches!(state.event, Event::MergedInto(_));
            let size = |value: f64| Cell::from(own.then_some(value));
            table.rows.push(vec![
                state.track.into(),
                session.label.clone().into(),
                session.date.clone().into(),
                state.event.name().into(),
                (!labels.is_empty()).then(|| labels.join(" ")).into(),
                overlap.into(),
                distance.into(),
                size(state.volume_ml()),
                size(state.axial_mm()),
                size(state.longest_mm()),
                track.volume_change.into(),
                track.diameter_change.into(),
                track.from_nadir_mm.into(),
                state.measurable().into(),
                track.target.into(),
            ]);
        }
    }
    table
}

/// A row for each session.
pub(super) fn sessions(sessions: &[Session], visits: &[Visit]) -> Table {
    let mut table = Table::new(vec![
        Column::new("case", "", "the session"),
        Column::new("date", "", "its date, if the cohort's table has one"),
        Column::new("lesions", "", "number of lesions"),
        Column::new("new", "", "lesions that were not there before"),
        Column::new("gone", "", "lesions that were there before"),
        Column::new("split", "", "lesions that are several now"),
        Column::new("merged", "", "lesions that several became"),
        Column::new("total_volume_ml", "ml", "volume of all lesions"),
        Column::new("sum_of_target_diameters_mm", "mm", "longest axial diameters of the targets"),
        Column::new("from_baseline_percent", "%", "change of that sum from the first session"),
        Column::new("from_nadir_percent", "%", "change of that sum from its least before this session"),
        Column::new("response", "", "imaging component of RANO-BM: CR, PR, SD, PD, NE; or withheld"),
        Column::new("reason", "", "why"),
        Column::new("warnings", "", "what the session's own stages warned of"),
    ]);
    for (session, visit) in sessions.iter().zip(visits) {
        let known = session.seen.as_ref();
        let count = |value: usize| Cell::from(known.map(|_| value));
        let lesions: usize = visit.tracks.iter().map(|track| track.state.lesions.len()).sum();
        let volume = visit.tracks.iter().fold(0.0, |sum, track| sum + track.state.volume_ml());
        let has_split = |event| matches!(event, Event::Split | Event::MergedAndSplit);
        let has_merged = |event| matches!(event, Event::Merged | Event::MergedAndSplit);
        table.rows.push(vec![
            session.label.clone().into(),
            session.date.clone().into(),
            count(lesions),
            count(visit.count(|event| event == Event::New)),
            count(visit.count(|event| event == Event::Gone)),
            count(visit.count(has_split)),
            count(visit.count(has_merged)),
            known.map(|_| volume).into(),
            visit.sum_mm.into(),
            visit.from_baseline.into(),
            visit.from_nadir.into(),
            visit.response.into(),
            visit.reason.clone().into(),
            known.and_then(|seen| warnings(&seen.facts)).into(),
        ]);
    }
    table
}
