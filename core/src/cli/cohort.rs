//! Arguments that name a cohort, or a part of one.

use super::Failure;
use crate::case::{Cohort, Filters};
use crate::plan::Graph;
use crate::site::Site;
use clap::Args;
use std::path::{Path, PathBuf};

/// A cohort and which part of it is meant.
#[derive(Debug, Args)]
pub(super) struct CohortArgs {
    /// A BIDS data set, a table `cases.tsv`, or a folder in another layout
    #[arg(value_name = "COHORT")]
    cohort: PathBuf,
    /// Only these subjects, with or without `sub-`
    #[arg(long, alias = "participant_label", value_name = "LABEL", num_args = 1..)]
    participant_label: Vec<String>,
    /// Only these sessions, with or without `ses-`
    #[arg(long, alias = "session_label", value_name = "LABEL", num_args = 1..)]
    session_label: Vec<String>,
    /// Entities for single inputs, in JSON: `{"t1_pre": {"acquisition": "CUBE", "ceagent": null}}`
    #[arg(long, alias = "bids_filter", value_name = "FILE")]
    bids_filter: Option<PathBuf>,
}

impl CohortArgs {
    /// The folder or table.
    pub(super) fn path(&self) -> &Path {
        &self.cohort
    }

    /// Which part is meant.
    pub(super) fn filters(&self) -> Filters {
        Filters {
            participants: self.participant_label.clone(),
            sessions: self.session_label.clone(),
            bids_filter: self.bids_filter.clone(),
        }
    }

    /// Finds its cases.
    pub(super) fn find(&self, graph: &Graph, site: &Site) -> Result<Cohort, Failure> {
        Ok(Cohort::find(&self.cohort, &graph.inputs, &self.filters(), site)?)
    }
}
