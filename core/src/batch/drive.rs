//! Takes the cases of a cohort through the runner, one claim at a time.

use super::decide::{Decided, Decision, worker};
use super::session::{Finished, Session, Task};
use super::summary::Summary;
use crate::learned::Learned;
use crate::plan::Graph;
use crate::record::{Attempts, Claimed, Ending, Liveness, State, is_disk_full};
use crate::registry::Registry;
use crate::runner::{self, CaseJob, CaseResult, RunOptions};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a batch tells while it goes on. Called from several threads.
pub trait Listener: Sync {
    /// A case of this run ended.
    fn finished(&self, result: &CaseResult, finished: &Finished);
    /// Something the user should know: a case that another process took, a disk that is full.
    fn say(&self, line: &str);
}

/// The cases of a run, in the order they are to be begun.
struct Queue<'a> {
    graph: &'a Graph,
    session: &'a Session,
    listener: &'a dyn Listener,
    learned: &'a Learned,
    waiting: std::vec::IntoIter<Decided>,
    counts: &'a Mutex<Summary>,
}

/// Runs the cases that are to run, and counts all.
///
/// `cases` are in the order they are to be begun. The runner asks for the next case when it has room; only then it is claimed.
pub fn run_cases(
    graph: &Arc<Graph>,
    registry: &Arc<Registry>,
    options: &RunOptions,
    session: &Session,
    cases: Vec<Decided>,
    learned: &Learned,
    listener: &dyn Listener,
) -> Summary {
    let counts = Mutex::new(Summary::of_settled(&cases));
    let finish = |result: CaseResult| {
        let finished = session.finish(graph, &result);
        {
            let mut counts = lock(&counts);
            counts.note(&finished);
            if let Some(error) = finished.error.as_ref().filter(|error| is_disk_full(*error)) {
                tell_full(&mut counts, listener, error);
            }
        }
        listener.finished(&result, &finished);
    };
    let waiting: Vec<Decided> = cases.into_iter().filter(|case| case.decision.runs()).collect();
    let waiting = waiting.into_iter();
    let mut queue = Queue { graph, session, listener, learned, waiting, counts: &counts };
    runner::run(graph, registry, options, &mut queue, &finish);
    let not_run = session.release();
    let mut summary = counts.into_inner().unwrap_or_else(PoisonError::into_inner);
    summary.interrupted += not_run;
    let ended = summary.done + summary.failed + summary.changed + summary.interrupted + summary.busy;
    let settled = summary.up_to_date + summary.cannot + summary.left_out;
    summary.not_begun = summary.cases.saturating_sub(ended + settled);
    summary
}

fn lock(counts: &Mutex<Summary>) -> MutexGuard<'_, Summary> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Summary {
    /// Counts what is settled before anything runs.
    pub fn of_settled(cases: &[Decided]) -> Self {
        let mut summary = Self { cases: cases.len(), ..Self::default() };
        for case in cases {
            match case.decision {
                Decision::Run { .. } => {}
                Decision::UpToDate => summary.up_to_date += 1,
                Decision::Cannot { .. } => summary.cannot += 1,
                Decision::Busy { .. } => summary.busy += 1,
                Decision::LeftOut { .. } => summary.left_out += 1,
            }
        }
        summary
    }

    fn note(&mut self, finished: &Finished) {
        match finished.ending {
            Some(Ending::Ok) => self.done += 1,
            Some(Ending::Failed) => self.failed += 1,
            Some(Ending::Changed) => self.changed += 1,
            Some(Ending::Interrupted) => self.interrupted += 1,
            None => self.busy += 1,
        }
    }
}

/// Says once that nothing can be written any more. No further case is begun.
fn tell_full(counts: &mut Summary, listener: &dyn Listener, error: &dyn std::error::Error) {
    if !std::mem::replace(&mut counts.full, true) {
        listener.say(&format!(
            "error: {error}\nnote: no further case is begun; make room and give the same command again"
        ));
    }
}

impl Iterator for Queue<'_> {
    type Item = CaseJob;

    fn next(&mut self) -> Option<CaseJob> {
        loop {
            if lock(self.counts).full {
                return None;
            }
            let case = self.waiting.next()?;
            if let Some(job) = self.claim(&case) {
                return Some(job);
            }
        }
    }
}

impl Queue<'_> {
    /// Claims a case, unless another process came first.
    fn claim(&self, case: &Decided) -> Option<CaseJob> {
        let (Decision::Run { why }, Some(plan)) = (&case.decision, &case.plan) else { return None };
        let label = case.label.to_string();
        loop {
            let attempts = Attempts::of_case(self.session.state(), &label);
            let latest = attempts.latest().and_then(|latest| latest.claim.as_ref());
            let taken = attempts.latest().filter(|latest| latest.number > case.seen);
            let state = attempts.state(&Liveness::now(self.session.state()));
            let gone = latest.is_some_and(|claim| self.session.overrules(claim));
            let overruled = latest.is_some_and(|claim| self.session.is_overruled_by(claim));
            let busy = state == State::Done || (state == State::Running && !gone);
            if overruled || (taken.is_some() && busy) {
                let by = taken.and_then(|attempt| attempt.claim.as_ref()).map(worker).unwrap_or_default();
                self.listener.say(&format!("note: case `{label}` was taken by {by}"));
                lock(self.counts).busy += 1;
                return None;
            }
            let task = Task {
                label: case.label.clone(),
                inputs: case.inputs.clone(),
                plan: Arc::clone(plan),
                why: why.clone(),
                fingerprint: case.fingerprint,
            };
            match self.session.claim(&attempts, task) {
                Ok(Claimed::Mine(_)) => break,
                Ok(Claimed::Taken) => {}
                Err(error) => {
                    let mut counts = lock(self.counts);
                    tell_full(&mut counts, self.listener, &error);
                    return None;
                }
            }
        }
        let memory_mib = self.learned.case_mib(self.graph, plan, case.bytes);
        let (inputs, plan) = (case.inputs.clone(), Arc::clone(plan));
        Some(CaseJob { label, inputs, plan, memory_mib })
    }
}

/// Puts the longest cases first where times are known, so that no long one is left for the end; else in the order of labels.
pub fn longest_first(cases: &mut [Decided], learned: &Learned, graph: &Graph) {
    let seconds = |case: &Decided| learned.seconds(graph, case.plan.as_deref()?, case.bytes);
    cases.sort_by(|a, b| {
        let (of_a, of_b) = (seconds(a).unwrap_or(0.0), seconds(b).unwrap_or(0.0));
        of_b.total_cmp(&of_a).then_with(|| a.label.cmp(&b.label))
    });
}
