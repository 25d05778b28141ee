//! Which lesion is which: tracks through the sessions.
//!
//! Each session is held against what was last seen of every track, a track that was gone among them. A lesion and a track
//! belong together if the larger of the two shares (of the lesion within the track's last lesions, of these within the lesion)
//! reaches `min_overlap`; what then has no partner on either side is paired by distance of centroids, nearest first, up to
//! `max_distance_mm`. What hangs together by such pairs is one track: of several tracks the oldest goes on (*merged*), several
//! lesions of one track are its parts (*split*).

use super::Options;
use super::session::{Lesion, Seen};
use std::collections::{BTreeMap, BTreeSet};

/// What happened to a track at a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// There at the first session.
    Baseline,
    /// Not there before.
    New,
    /// There before, and one lesion.
    Matched,
    /// Gone at the session before, and there again.
    Back,
    /// One lesion before, several now.
    Split,
    /// Several tracks before, one lesion now.
    Merged,
    /// Several tracks before, several lesions now, which cannot be told apart.
    MergedAndSplit,
    /// Ended in another track.
    MergedInto(usize),
    /// There before, not now.
    Gone,
}

impl Event {
    /// As the table says it.
    pub fn name(self) -> String {
        match self {
            Self::Baseline => "baseline".to_owned(),
            Self::New => "new".to_owned(),
            Self::Matched => "matched".to_owned(),
            Self::Back => "back".to_owned(),
            Self::Split => "split".to_owned(),
            Self::Merged => "merged".to_owned(),
            Self::MergedAndSplit => "merged and split".to_owned(),
            Self::MergedInto(track) => format!("merged into {track}"),
            Self::Gone => "gone".to_owned(),
        }
    }
}

/// How a lesion was found to belong to a track.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum By {
    /// The larger share.
    Overlap(f64),
    /// Distance of centroids, mm.
    Distance(f64),
}

/// A track at a session.
#[derive(Clone, Debug)]
pub struct State {
    /// Number of the track, from 1.
    pub track: usize,
    /// What happened.
    pub event: Event,
    /// Its lesions.
    pub lesions: Vec<Lesion>,
    /// The strongest tie to what was seen before.
    pub by: Option<By>,
}

impl State {
    /// Volume of all parts, ml.
    pub fn volume_ml(&self) -> f64 {
        self.lesions.iter().fold(0.0, |sum, lesion| sum + lesion.volume_ml)
    }

    /// Sum of the longest axial diameters of all parts, mm: what RECIST 1.1 adds up of a lesion that split.
    pub fn axial_mm(&self) -> f64 {
        self.lesions.iter().fold(0.0, |sum, lesion| sum + lesion.axial_mm)
    }

    /// Longest diameter in 3-D of any part, mm.
    pub fn longest_mm(&self) -> f64 {
        self.lesions.iter().map(|lesion| lesion.longest_mm).fold(0.0, f64::max)
    }

    /// Whether a part is measurable.
    pub fn measurable(&self) -> bool {
        self.lesions.iter().any(|lesion| lesion.measurable)
    }
}

/// A track: where its lesions were last seen.
#[derive(Clone, Debug)]
struct Track {
    seen: usize,
    parts: Vec<usize>,
    gone: bool,
    ended: bool,
}

/// The tracks of a subject.
#[derive(Debug, Default)]
pub struct Tracks {
    tracks: Vec<Track>,
    sessions: Vec<Seen>,
}

/// A tie of a track and a lesion.
#[derive(Clone, Copy, Debug)]
struct Tie {
    track: usize,
    lesion: usize,
    by: By,
}

impl Tracks {
    /// Adds a session and tells what became of every track that had not ended in another, and of the new ones.
    pub fn see(&mut self, seen: &Seen, options: &Options) -> Vec<State> {
        let first = self.sessions.is_empty();
        self.sessions.push(seen.clone());
        let mut ties = self.overlapping(seen, options.min_overlap);
        self.add_nearest(&mut ties, seen, options.max_distance_mm);
        let mut states = Vec::new();
        let mut left: BTreeSet<usize> = (0..seen.lesions.len()).collect();
        let open: Vec<usize> = (0..self.tracks.len()).filter(|&n| !self.tracks[n].ended).collect();
        let mut done: BTreeSet<usize> = BTreeSet::new();
        for track in open {
            if done.contains(&track) {
                continue;
            }
            let (tracks, lesions) = together(track, &ties);
            left.retain(|lesion| !lesions.contains(lesion));
            done.extend(&tracks);
            let strength = |by: By| match by {
                By::Overlap(share) => share,
                By::Distance(mm) => -mm,
            };
            let own = ties.iter().filter(|tie| tracks.contains(&tie.track)).map(|tie| tie.by);
            let by = own.max_by(|a, b| strength(*a).total_cmp(&strength(*b)));
            let event = match (tracks.len(), lesions.len()) {
                (_, 0) => Event::Gone,
                (1, 1) if self.tracks[track].gone => Event::Back,
                (1, 1) => Event::Matched,
                (1, more) if more == self.tracks[track].parts.len() && !self.tracks[track].gone => {
                    Event::Matched
                }
                (1, _) => Event::Split,
                (_, 1) => Event::Merged,
                _ => Event::MergedAndSplit,
            };
            states.push(self.go_on(track, event, &lesions, by));
            for &other in tracks.iter().filter(|other| **other != track) {
                self.tracks[other].ended = true;
                let event = Event::MergedInto(track + 1);
                states.push(State { track: other + 1, event, lesions: Vec::new(), by: None });
            }
        }
        for lesion in left {
            let parts = vec![lesion];
            self.tracks.push(Track { seen: self.sessions.len() - 1, parts, gone: false, ended: false });
            let event = if first { Event::Baseline } else { Event::New };
            let lesions = vec![seen.lesions[lesion].clone()];
            states.push(State { track: self.tracks.len(), event, lesions, by: None });
        }
        states.sort_by_key(|state| state.track);
        states
    }

    fn go_on(&mut self, track: usize, event: Event, lesions: &BTreeSet<usize>, by: Option<By>) -> State {
        let now = self.sessions.len() - 1;
        let own = &mut self.tracks[track];
        own.gone = lesions.is_empty();
        if !own.gone {
            own.seen = now;
            own.parts = lesions.iter().copied().collect();
        }
        let lesions = lesions.iter().map(|&lesion| self.sessions[now].lesions[lesion].clone()).collect();
        State { track: track + 1, event, lesions, by }
    }

    /// Ties by overlap with what was last seen of each track.
    fn overlapping(&self, seen: &Seen, min_overlap: f64) -> Vec<Tie> {
        let mut ties = Vec::new();
        let before: BTreeSet<usize> = self.tracks.iter().filter(|t| !t.ended).map(|t| t.seen).collect();
        for session in before {
            let old = &self.sessions[session];
            let (there, back) = (seen.overlaps(old), old.overlaps(seen));
            for (n, track) in self.tracks.iter().enumerate().filter(|(_, t)| !t.ended && t.seen == session) {
                for (lesion, own) in seen.lesions.iter().enumerate() {
                    let of = |map: &BTreeMap<(usize, usize), usize>, pair| *map.get(&pair).unwrap_or(&0);
                    let into: usize = track.parts.iter().map(|&part| of(&there, (lesion, part))).sum();
                    let share_of_new = into as f64 / own.voxels as f64;
                    let share_of_old =
                        |&part: &usize| of(&back, (part, lesion)) as f64 / old.lesions[part].voxels as f64;
                    let share = track.parts.iter().map(share_of_old).fold(share_of_new, f64::max);
                    if share > 0.0 && share >= min_overlap {
                        ties.push(Tie { track: n, lesion, by: By::Overlap(share) });
                    }
                }
            }
        }
        ties
    }

    /// Pairs lesions and tracks without a partner, nearest first.
    fn add_nearest(&self, ties: &mut Vec<Tie>, seen: &Seen, max_distance_mm: f64) {
        let mut pairs: Vec<(f64, usize, usize)> = Vec::new();
        for (n, track) in self.tracks.iter().enumerate().filter(|(_, track)| !track.ended) {
            for (lesion, own) in seen.lesions.iter().enumerate() {
                let parts = track.parts.iter().map(|&part| &self.sessions[track.seen].lesions[part]);
                let mm =
                    parts.map(|part| distance(part.centroid, own.centroid)).fold(f64::INFINITY, f64::min);
                if mm <= max_distance_mm {
                    pairs.push((mm, n, lesion));
                }
            }
        }
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        for (mm, track, lesion) in pairs {
            if !ties.iter().any(|tie| tie.track == track || tie.lesion == lesion) {
                ties.push(Tie { track, lesion, by: By::Distance(mm) });
            }
        }
    }
}

fn distance(p: [f64; 3], q: [f64; 3]) -> f64 {
    (0..3).map(|axis| (p[axis] - q[axis]).powi(2)).sum::<f64>().sqrt()
}

/// All tracks and lesions that hang together with a track.
fn together(track: usize, ties: &[Tie]) -> (BTreeSet<usize>, BTreeSet<usize>) {
    let (mut tracks, mut lesions) = (BTreeSet::from([track]), BTreeSet::new());
    loop {
        let before = (tracks.len(), lesions.len());
        for tie in ties {
            if tracks.contains(&tie.track) || lesions.contains(&tie.lesion) {
                tracks.insert(tie.track);
                lesions.insert(tie.lesion);
            }
        }
        if before == (tracks.len(), lesions.len()) {
            return (tracks, lesions);
        }
    }
}
