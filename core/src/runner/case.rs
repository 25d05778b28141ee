//! What is known of a case in flight.

use super::event::StageRecord;
use super::survey::Survey;
use super::{CaseJob, InputRecord};
use crate::plan::{Plan, Source};
use sdk::Value;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

/// A case in flight.
pub(super) struct CaseState {
    /// Its number in the run.
    pub(super) index: usize,
    /// What it brings; the plan may change while it is read (an unreadable file that counts as absent).
    pub(super) job: CaseJob,
    /// When it was admitted.
    pub(super) started: Instant,
    plan: OnceLock<Arc<Plan>>,
    survey: OnceLock<Survey>,
    inputs: OnceLock<Vec<InputRecord>>,
    results: Mutex<BTreeMap<Source, Value>>,
    records: Mutex<BTreeMap<usize, StageRecord>>,
    input_records: Mutex<Vec<StageRecord>>,
    remaining: AtomicUsize,
    before_outcome: AtomicUsize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CaseState {
    /// A case of a graph with so many nodes, of which so many end before the case's outcome is known.
    pub(super) fn new(index: usize, job: CaseJob, nodes: usize, before_outcome: usize) -> Self {
        Self {
            index,
            job,
            started: Instant::now(),
            plan: OnceLock::new(),
            survey: OnceLock::new(),
            inputs: OnceLock::new(),
            results: Mutex::default(),
            records: Mutex::default(),
            input_records: Mutex::default(),
            remaining: AtomicUsize::new(nodes),
            before_outcome: AtomicUsize::new(before_outcome),
        }
    }

    /// Its label.
    pub(super) fn label(&self) -> &str {
        &self.job.label
    }

    /// The plan in force.
    pub(super) fn plan(&self) -> &Arc<Plan> {
        self.plan.get().unwrap_or(&self.job.plan)
    }

    /// Puts another plan in force, before anything was sent.
    pub(super) fn replan(&self, plan: Plan) {
        self.plan.set(Arc::new(plan)).expect("a case is planned again at most once");
    }

    /// What stored results make needless; none in a run that keeps nothing.
    pub(super) fn survey(&self) -> Option<&Survey> {
        self.survey.get()
    }

    /// Notes what was looked up, before anything was sent.
    pub(super) fn note_survey(&self, survey: Survey) {
        assert!(self.survey.set(survey).is_ok(), "a case is surveyed once");
    }

    /// What its files were when they were looked at.
    pub(super) fn inputs(&self) -> &[InputRecord] {
        self.inputs.get().map_or(&[], Vec::as_slice)
    }

    /// Notes what its files are.
    pub(super) fn note_inputs(&self, inputs: Vec<InputRecord>) {
        assert!(self.inputs.set(inputs).is_ok(), "a case's inputs are looked at once");
    }

    /// Notes an input that could not be read.
    pub(super) fn note_unreadable(&self, record: StageRecord) {
        lock(&self.input_records).push(record);
    }

    /// Notes how a node ended.
    pub(super) fn note_node(&self, node: usize, record: StageRecord) {
        lock(&self.records).insert(node, record);
    }

    /// All records so far: inputs, then nodes in order.
    pub(super) fn records(&self) -> Vec<StageRecord> {
        let nodes = lock(&self.records);
        lock(&self.input_records).iter().chain(nodes.values()).cloned().collect()
    }

    /// Keeps a value for the end of the case.
    pub(super) fn keep(&self, source: &Source, value: Value) {
        lock(&self.results).insert(source.clone(), value);
    }

    /// What was kept.
    pub(super) fn take_results(&self) -> BTreeMap<Source, Value> {
        std::mem::take(&mut *lock(&self.results))
    }

    /// Counts a node that ended; whether it was the last.
    pub(super) fn count_node(&self) -> bool {
        self.remaining.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Counts a node that ended before the outcome; whether it was the last of these.
    pub(super) fn count_before_outcome(&self) -> bool {
        self.before_outcome.fetch_sub(1, Ordering::AcqRel) == 1
    }
}
