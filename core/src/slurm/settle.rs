//! What the job that follows a round does: it gives every case an end, or another place.

use super::command::{SlurmError, look_up};
use super::judge::{Fate, Recorded, Verdict};
use super::order::{self, Place, Round, SlurmRun};
use super::queue::{JobState, Queue, state_of_log};
use super::submit::Submitter;
use crate::record::{
    Attempt, Attempts, Claim, Claimed, End, Ending, FORMAT, Liveness, Process, State, StateFolder, Token, now,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Rounds after which a run ends in any event: more than any class and any retry can ask for.
const MOST_ROUNDS: u32 = 60;

/// What comes after a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: the run is settled or cancelled.
    Over,
    /// Some tasks are not over; look again.
    Waits(usize),
    /// Another round, frozen and to be submitted.
    Round(u32),
    /// Every case has an end: now the stages over the cohort.
    Finish,
}

/// Looks at a round that is over, notes what its tasks could not say themselves, and freezes the next round if there is one.
///
/// It may be done again after a kill: a round is frozen once.
///
/// # Errors
/// [`SlurmError`] if Slurm cannot be asked or nothing can be written.
pub fn settle(run: &SlurmRun, number: u32, submitter: &Submitter) -> Result<Next, SlurmError> {
    if run.is_over() {
        return Ok(Next::Over);
    }
    if run.round(number + 1).is_some() {
        return Ok(Next::Round(number + 1));
    }
    let round = run.round(number).ok_or_else(|| run.unknown(format!("round {number}")))?;
    let jobs: Vec<String> = round.arrays.iter().map(|array| array.job.clone()).collect();
    let queue = look_up(&jobs)?;
    let scene = Scene::new(run, &round, &queue);
    let verdicts: Vec<(&Place, Verdict)> = round
        .places
        .iter()
        .map(|place| (place, Verdict::of(place, scene.fate(place), &submitter.site)))
        .collect();
    let waiting = verdicts.iter().filter(|(_, verdict)| *verdict == Verdict::Waits).count();
    if waiting > 0 {
        return Ok(Next::Waits(waiting));
    }
    let mut again = Vec::new();
    for (place, verdict) in &verdicts {
        match verdict {
            Verdict::Again { class, retries, why } if number < MOST_ROUNDS => {
                scene.note(place, Ending::Interrupted, why, None)?;
                again.push((place.case.clone(), *class, *retries, why.clone()));
            }
            Verdict::Again { why, .. } => scene.note(place, Ending::Failed, why, None)?,
            Verdict::GiveUp { reason, hint } => {
                let reason = scene.with_log(place, reason);
                scene.note(place, Ending::Failed, &reason, Some(hint))?;
            }
            Verdict::Settled | Verdict::Waits => {}
        }
    }
    if again.is_empty() {
        return Ok(Next::Finish);
    }
    let places = order::places(&again, submitter.site.cases_per_task, submitter.most_tasks);
    run.begin_round(number + 1, &places)?;
    Ok(Next::Round(number + 1))
}

/// A round that is over, and what is known of it.
struct Scene<'a> {
    run: &'a SlurmRun,
    round: &'a Round,
    queue: &'a Queue,
    /// Jobs of earlier rounds.
    earlier: BTreeSet<u64>,
    liveness: Liveness,
    records: BTreeMap<String, (Attempts, Recorded)>,
}

impl<'a> Scene<'a> {
    fn new(run: &'a SlurmRun, round: &'a Round, queue: &'a Queue) -> Self {
        let before = (1..round.number).filter_map(|number| run.round(number));
        let earlier =
            before.flat_map(|round| round.arrays.into_iter().filter_map(|array| array.job.parse().ok()));
        let mut scene = Self {
            run,
            round,
            queue,
            earlier: earlier.collect(),
            liveness: Liveness::now(run.state()),
            records: BTreeMap::new(),
        };
        for place in &round.places {
            let attempts = Attempts::of_case(run.state(), &place.case);
            let recorded = scene.recorded(&attempts);
            scene.records.insert(place.case.clone(), (attempts, recorded));
        }
        scene
    }

    fn recorded(&self, attempts: &Attempts) -> Recorded {
        let state = attempts.state(&self.liveness);
        let Some(latest) = attempts.latest() else { return Recorded::Never };
        match state {
            State::Done => Recorded::Settled,
            State::Running if !self.is_of_round(latest) => Recorded::Settled,
            _ if !self.is_of_round(latest) => Recorded::Never,
            State::Failed | State::Changed => Recorded::Settled,
            State::Interrupted => Recorded::Interrupted,
            // Slurm has the word on whether a task is over.
            State::Running | State::Lost | State::Never => Recorded::Lost,
        }
    }

    /// Whether a task of this round made an attempt.
    fn is_of_round(&self, attempt: &Attempt) -> bool {
        let Some(claim) = &attempt.claim else { return false };
        let token = claim.token.as_deref().and_then(Token::parse);
        claim.run == self.run.run && token.is_some_and(|token| !self.earlier.contains(&token.job))
    }

    fn log(&self, place: &Place) -> Option<PathBuf> {
        Some(self.run.logs().join(format!("{}.log", self.round.task_of(place)?)))
    }

    fn fate(&self, place: &Place) -> Fate {
        let mates =
            self.round.places.iter().filter(|mate| (mate.array, mate.task) == (place.array, place.task));
        let began =
            |mate: &Place| self.records.get(&mate.case).is_some_and(|(_, record)| *record != Recorded::Never);
        let task = self.round.task_of(place).and_then(|task| self.queue.state(&task));
        Fate {
            record: self.records.get(&place.case).map_or(Recorded::Never, |(_, record)| *record),
            task: match task {
                // These words may hide a better one: a warning before the limit, the kernel's kill of a child.
                None | Some(JobState::Failed | JobState::Completed) => {
                    self.log(place).and_then(|log| state_of_log(&log)).or(task)
                }
                known => known,
            },
            task_began: { mates }.any(began),
        }
    }

    /// A reason with the last word of the task's log, if the case's own records hold none.
    fn with_log(&self, place: &Place, reason: &str) -> String {
        let never = self.records.get(&place.case).is_none_or(|(_, record)| *record == Recorded::Never);
        let log = self.log(place).filter(|_| never);
        let text = log.as_ref().and_then(|log| std::fs::read_to_string(log).ok()).unwrap_or_default();
        let error = text.lines().rev().find(|line| line.starts_with("error: "));
        match error.or(text.lines().rev().find(|line| !line.trim().is_empty())) {
            Some(line) => format!("{reason}: {}", line.trim_start_matches("error: ")),
            None => reason.to_owned(),
        }
    }

    /// Writes how an attempt ended that could not say it itself; a failure of a case without such an attempt gets one.
    fn note(
        &self,
        place: &Place,
        ending: Ending,
        reason: &str,
        hint: Option<&str>,
    ) -> Result<(), SlurmError> {
        let Some((attempts, recorded)) = self.records.get(&place.case) else { return Ok(()) };
        let state = self.run.state();
        let latest = attempts.latest();
        let (number, since) = match latest {
            Some(latest) if *recorded == Recorded::Lost => {
                (latest.number, latest.claim.as_ref().map_or_else(now, |claim| claim.since.clone()))
            }
            _ if ending == Ending::Interrupted => return Ok(()),
            _ => match attempts.claim_next(state, &self.claim(place)).map_err(order::OrderError::from)? {
                Claimed::Mine(number) => (number, now()),
                // Somebody else works on it now.
                Claimed::Taken => return Ok(()),
            },
        };
        let end = End {
            format: FORMAT,
            name: place.case.clone(),
            run: self.run.run,
            ending,
            reason: Some(reason.to_owned()),
            hint: hint.map(str::to_owned),
            fingerprint: None,
            present: BTreeSet::new(),
            stages: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            values: false,
            seconds: 0.0,
            since,
            until: now(),
        };
        Attempts::write_end(state, attempts.folder(), number, &end).map_err(order::OrderError::from)?;
        Ok(())
    }

    fn claim(&self, place: &Place) -> Claim {
        Claim {
            format: FORMAT,
            name: place.case.clone(),
            run: self.run.run,
            process: Process::this().clone(),
            home: StateFolder::home(self.run.run),
            token: None,
            why: place.why.clone(),
            fingerprint: None,
            since: now(),
        }
    }
}
