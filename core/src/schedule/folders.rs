//! Looks through watched folders, as a batch would.

use super::file::Job;
use super::watch::{Arrived, Look};
use crate::case::{Cohort, CohortError, Filters};
use crate::plan::InputSpec;
use crate::site::Site;
use std::collections::BTreeMap;

/// What a look at a job's folder needs to know.
#[derive(Clone, Debug)]
pub struct Folder {
    /// The workflow's inputs.
    pub inputs: Vec<InputSpec>,
    /// Which part of the cohort is meant.
    pub filters: Filters,
}

/// Looks through the folders of jobs.
#[derive(Debug)]
pub struct Folders {
    site: Site,
    jobs: BTreeMap<String, Folder>,
}

impl Folders {
    /// Looks through these, by the jobs' names.
    pub const fn new(site: Site, jobs: BTreeMap<String, Folder>) -> Self {
        Self { site, jobs }
    }
}

impl Look for Folders {
    fn cases(&mut self, job: &Job) -> Result<Vec<Arrived>, String> {
        let (Some(folder), Some(watch)) = (self.jobs.get(&job.name), &job.watch) else {
            return Ok(Vec::new());
        };
        match Cohort::find(&job.input, &folder.inputs, &folder.filters, &self.site) {
            Ok(cohort) => Ok(Arrived::of(&cohort, &folder.inputs, &watch.wait_for)),
            // The first case is still to come.
            Err(CohortError::NoCases { .. } | CohortError::UnknownLayout { .. }) => Ok(Vec::new()),
            Err(error) => Err(error.to_string()),
        }
    }
}
