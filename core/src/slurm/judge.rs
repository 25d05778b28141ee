//! What becomes of a case whose task has ended.

use super::classes::Class;
use super::order::Place;
use super::queue::JobState;
use super::site::SlurmSite;

/// What is known of a case once its round is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    /// What its own records say.
    pub record: Recorded,
    /// How its task stands; none if nobody knows.
    pub task: Option<JobState>,
    /// Whether its task began any case.
    pub task_began: bool,
}

/// What the records of a case say of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// Delivered, failed, changed, or in other hands: nothing is to be done.
    Settled,
    /// Begun, and stopped.
    Interrupted,
    /// Begun, and its process is gone.
    Lost,
    /// Not begun.
    Never,
}

/// What is to become of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: its records say how it ended.
    Settled,
    /// Its task is not over.
    Waits,
    /// It is submitted again.
    Again {
        /// In this class.
        class: Class,
        /// How often that now was without a larger class.
        retries: u32,
        /// Why.
        why: String,
    },
    /// It failed.
    GiveUp {
        /// Why.
        reason: String,
        /// The way out.
        hint: String,
    },
}

impl Verdict {
    /// On a case.
    pub fn of(place: &Place, fate: Fate, site: &SlurmSite) -> Self {
        if fate.record == Recorded::Settled {
            return Self::Settled;
        }
        if fate.task.is_some_and(JobState::is_active) {
            return Self::Waits;
        }
        let begun = fate.record != Recorded::Never;
        match fate.task {
            Some(JobState::OutOfMemory) if begun => out_of_memory(place, site),
            Some(JobState::Timeout) if begun => out_of_time(place, site),
            state if begun || !fate.task_began => retry(place, begun, state, site),
            // The task ended over another of its cases.
            _ => Self::Again {
                class: place.class,
                retries: place.retries,
                why: "its task ended before its turn came".to_owned(),
            },
        }
    }
}

/// GiB, to the hundredth.
fn gib(mib: u64) -> f64 {
    (mib as f64 / 1024.0 * 100.0).round() / 100.0
}

fn out_of_memory(place: &Place, site: &SlurmSite) -> Verdict {
    let (had, _) = site.request(place.class);
    match place.class.more_memory(site) {
        Some(class) => Verdict::Again {
            class,
            retries: place.retries,
            why: format!(
                "ran out of memory with {} GiB, goes on with {} GiB",
                gib(had),
                gib(site.request(class).0)
            ),
        },
        None => Verdict::GiveUp {
            reason: format!("out of memory: {} GiB, the largest class, were too little", gib(had)),
            hint:
                "add a larger class to `[slurm] memory_gib` of the site file, and give the same command again"
                    .to_owned(),
        },
    }
}

fn out_of_time(place: &Place, site: &SlurmSite) -> Verdict {
    let (_, had) = site.request(place.class);
    if let Some(class) = place.class.more_time(site) {
        let (_, next) = site.request(class);
        let why = format!("ran out of time after {had} min, goes on with {next} min");
        return Verdict::Again { class, retries: place.retries, why };
    }
    if place.retries < site.retries {
        let why = format!("ran out of time after {had} min, goes on from what is in the cache");
        return Verdict::Again { class: place.class, retries: place.retries + 1, why };
    }
    Verdict::GiveUp {
        reason: format!("a timeout: {had} min, the longest class, were too short"),
        hint: "add a longer class to `[slurm] minutes` of the site file, and give the same command again"
            .to_owned(),
    }
}

fn retry(place: &Place, begun: bool, state: Option<JobState>, site: &SlurmSite) -> Verdict {
    let what = state.map_or("vanished", JobState::words);
    let when = if begun { "" } else { " before the case began" };
    if place.retries < site.retries {
        let why = format!("its task {what}{when}");
        return Verdict::Again { class: place.class, retries: place.retries + 1, why };
    }
    let times = place.retries + 1;
    Verdict::GiveUp {
        reason: format!("its task {what}{when}, for the {times}. time"),
        hint: "look at the log of the task; `[slurm] retries` of the site file says how often is tried"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use JobState::{Cancelled, Completed, Failed, OutOfMemory, Preempted, Running, Timeout};
    use Recorded::{Interrupted, Lost, Never, Settled};

    fn place(memory: usize, time: usize, retries: u32) -> Place {
        Place {
            case: "sub-01".to_owned(),
            array: 1,
            task: 0,
            class: Class { memory, time },
            retries,
            why: "missing".to_owned(),
        }
    }

    fn verdict(place: &Place, record: Recorded, task: Option<JobState>, task_began: bool) -> Verdict {
        Verdict::of(place, Fate { record, task, task_began }, &SlurmSite::default())
    }

    /// The class and the count of a case that is submitted again.
    fn again(verdict: &Verdict) -> (usize, usize, u32) {
        match verdict {
            Verdict::Again { class, retries, .. } => (class.memory, class.time, *retries),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn want_of_memory_or_time_leads_to_the_next_class_and_in_the_end_to_a_reason() {
        let first = place(0, 0, 0);
        assert_eq!(again(&verdict(&first, Lost, Some(OutOfMemory), true)), (1, 0, 0));
        assert_eq!(again(&verdict(&first, Interrupted, Some(Timeout), true)), (0, 1, 0));
        let Verdict::GiveUp { reason, .. } = verdict(&place(3, 0, 0), Lost, Some(OutOfMemory), true) else {
            panic!("there is no larger class");
        };
        assert_eq!(reason, "out of memory: 32 GiB, the largest class, were too little");
        assert_eq!(again(&verdict(&place(0, 2, 0), Interrupted, Some(Timeout), true)), (0, 2, 1));
        assert!(matches!(verdict(&place(0, 2, 3), Lost, Some(Timeout), true), Verdict::GiveUp { .. }));
    }

    #[test]
    fn who_was_cancelled_or_lost_is_tried_again_a_few_times() {
        for state in [Some(Cancelled), Some(Preempted), Some(Failed), Some(Completed), None] {
            for record in [Interrupted, Lost, Never] {
                let again = again(&verdict(&place(1, 0, 0), record, state, record != Never));
                assert_eq!(again, (1, 0, 1), "{state:?} {record:?}");
            }
            assert!(matches!(verdict(&place(1, 0, 3), Lost, state, true), Verdict::GiveUp { .. }));
        }
    }

    #[test]
    fn a_case_is_not_blamed_for_its_neighbour_and_what_is_settled_or_under_way_is_left_alone() {
        assert_eq!(again(&verdict(&place(0, 0, 2), Never, Some(OutOfMemory), true)), (0, 0, 2));
        assert_eq!(verdict(&place(0, 0, 0), Settled, Some(Failed), true), Verdict::Settled);
        assert_eq!(verdict(&place(0, 0, 0), Lost, Some(Running), true), Verdict::Waits);
    }
}
