//! Which cases Slurm has in hand. The records of the cases come first; this says what they cannot know.

use super::command::look_up;
use super::order::{Place, Round, SlurmRun};
use super::queue::{JobState, Queue};
use crate::record::{Attempts, Liveness, STALE, State, StateFolder};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::SystemTime;

/// How often a look is begun again because a new round came in between.
const LOOKS: usize = 3;

/// How Slurm has a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Held {
    /// It waits: for a node, after it was put back, or for the job that submits it again.
    Pending,
    /// Its task is on a node.
    Running,
    /// Slurm knows neither its task nor the job that follows any more.
    Lost,
}

/// A case that Slurm has, or had, in hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hand {
    /// The run.
    pub run: u32,
    /// How.
    pub held: Held,
    /// In words.
    pub why: String,
}

/// What Slurm has in hand of an output folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Hands {
    /// By label: all cases of the last round of each run that is not over, delivered or not.
    pub cases: BTreeMap<String, Hand>,
    /// The jobs of the last round of each such run.
    pub runs: BTreeMap<u32, Vec<String>>,
    /// Why Slurm could not be asked, if it could not.
    pub trouble: Option<String>,
}

impl Hands {
    /// Looks at an output folder, and asks Slurm if there is something to ask.
    pub fn of(state: &StateFolder) -> Self {
        for _ in 1..LOOKS {
            let (hands, last) = Self::once(state);
            if last == rounds(state) {
                return hands;
            }
        }
        Self::once(state).0
    }

    fn once(state: &StateFolder) -> (Self, Vec<(u32, u32)>) {
        let runs: Vec<(SlurmRun, Round)> = SlurmRun::open(state)
            .into_iter()
            .filter_map(|run| Some((run.clone(), run.last_round()?)))
            .collect();
        let jobs: Vec<String> = runs.iter().flat_map(|(_, round)| round.jobs().map(str::to_owned)).collect();
        let mut hands = Self::default();
        let queue = look_up(&jobs).map_err(|error| hands.trouble = Some(error.to_string())).ok();
        for (run, round) in &runs {
            let quiet = queue.is_some() && is_quiet(run);
            hands.runs.insert(run.run, round.jobs().map(str::to_owned).collect());
            for place in &round.places {
                let hand = hand(run.run, round, place, queue.as_ref(), quiet);
                hands.cases.insert(place.case.clone(), hand);
            }
        }
        (hands, runs.iter().map(|(run, round)| (run.run, round.number)).collect())
    }

    /// How a case stands, where Slurm knows better than its records: its state and why. None where the records have the word.
    pub fn word(&self, label: &str, attempts: &Attempts, stands: State) -> Option<(Held, &str)> {
        let hand = self.cases.get(label)?;
        let latest = attempts.latest();
        let run = latest.and_then(|latest| {
            latest.end.as_ref().map(|end| end.run).or(latest.claim.as_ref().map(|claim| claim.run))
        });
        let ended = matches!(stands, State::Done | State::Failed | State::Changed);
        let begun = run.is_some_and(|run| run >= hand.run);
        // A task that Slurm put back, or knows to be over, does not run, however fresh its last sign of life is.
        let runs = stands == State::Running && (hand.held == Held::Running || run != Some(hand.run));
        if (ended && begun) || runs {
            return None;
        }
        let held = if hand.held == Held::Running { Held::Pending } else { hand.held };
        Some((held, &hand.why))
    }

    /// The cases that another run may not take, and who has them, in words.
    pub fn held(&self, state: &StateFolder) -> BTreeMap<String, String> {
        let liveness = Liveness::now(state);
        let one = |(label, hand): (&String, &Hand)| {
            let attempts = Attempts::of_case(state, label);
            let (held, why) = self.word(label, &attempts, attempts.state(&liveness))?;
            (held != Held::Lost).then(|| (label.clone(), format!("run {}: {why}", hand.run)))
        };
        self.cases.iter().filter_map(one).collect()
    }
}

/// The last round of each run that is not over.
fn rounds(state: &StateFolder) -> Vec<(u32, u32)> {
    SlurmRun::open(state).into_iter().filter_map(|run| Some((run.run, run.last_round()?.number))).collect()
}

/// Whether nothing was heard of a round for so long that what Slurm does not know is lost.
fn is_quiet(run: &SlurmRun) -> bool {
    let state = run.state();
    let now = tempfile::tempfile_in(state.path()).and_then(|file| file.metadata()?.modified());
    let now = now.unwrap_or_else(|_| SystemTime::now());
    let changed = |path: &std::path::Path| path.metadata().and_then(|data| data.modified()).ok();
    // Both folders change when a job is submitted and when a task begins.
    let last =
        [run.home(), run.home().join("tasks"), run.logs()].iter().filter_map(|path| changed(path)).max();
    last.and_then(|last| now.duration_since(last).ok()).unwrap_or_default() > STALE
}

fn hand(run: u32, round: &Round, place: &Place, queue: Option<&Queue>, quiet: bool) -> Hand {
    let (held, why) = words(round, place, queue, quiet);
    Hand { run, held, why }
}

fn words(round: &Round, place: &Place, queue: Option<&Queue>, quiet: bool) -> (Held, String) {
    let Some(task) = round.task_of(place) else {
        let held = if quiet { Held::Lost } else { Held::Pending };
        return (held, "its job is being submitted, or was never taken by Slurm".to_owned());
    };
    let Some(queue) = queue else {
        return (Held::Running, format!("submitted as job {task}; Slurm could not be asked"));
    };
    let state = queue.state(&task);
    let reason = queue.reason(&task).map(|reason| format!(" ({reason})")).unwrap_or_default();
    match state {
        Some(JobState::Running) => (Held::Running, format!("job {task} runs")),
        Some(state) if state.is_active() => (Held::Pending, format!("job {task} {}{reason}", state.words())),
        _ => {
            let what = state.map_or("is not known to Slurm any more", JobState::words);
            let follow = round.follow.as_ref().map(|follow| follow.job.as_str());
            let state = follow.and_then(|follow| queue.state(follow));
            match (follow, state) {
                (Some(follow), Some(state)) if state.is_active() => {
                    (Held::Pending, format!("job {task} {what}; job {follow} decides what comes next"))
                }
                (Some(follow), Some(state)) => (
                    Held::Lost,
                    format!("job {task} {what}, and job {follow}, which was to follow, {}", state.words()),
                ),
                _ if quiet => (Held::Lost, format!("job {task} {what}, and nothing follows it")),
                _ => (Held::Pending, format!("job {task} {what}")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::classes::Class;
    use super::super::order::ArrayJob;
    use super::*;

    fn round() -> Round {
        let job = |array, job: &str| ArrayJob {
            job: job.to_owned(),
            array,
            tasks: 2,
            class: Class::default(),
            at: String::new(),
        };
        let place = |task| Place {
            case: format!("sub-{task}"),
            array: 1,
            task,
            class: Class::default(),
            retries: 0,
            why: String::new(),
        };
        Round {
            number: 1,
            places: vec![place(0), place(1)],
            arrays: vec![job(1, "12")],
            follow: Some(job(0, "13")),
        }
    }

    fn held(squeue: &str, quiet: bool) -> Held {
        let mut queue = Queue::default();
        queue.read_squeue(squeue);
        let round = round();
        words(&round, &round.places[0], Some(&queue), quiet).0
    }

    #[test]
    fn what_waits_is_pending_and_what_nobody_knows_is_lost_after_a_while() {
        assert_eq!(held("neuroloom|12_0|PENDING|BeginTime", false), Held::Pending);
        assert_eq!(held("neuroloom|12_0|COMPLETING|None", false), Held::Running);
        let follows = "neuroloom|12_0|NODE_FAIL|None\nneuroloom|13|PENDING|Dependency";
        assert_eq!(held(follows, true), Held::Pending, "the job that follows takes care of it");
        assert_eq!(held("neuroloom|12_0|TIMEOUT|None\nneuroloom|13|CANCELLED|None", false), Held::Lost);
        assert_eq!(held("", false), Held::Pending);
        assert_eq!(held("", true), Held::Lost);
        let round = round();
        assert_eq!(
            words(&round, &round.places[0], None, false).0,
            Held::Running,
            "the records have the word"
        );
    }
}
