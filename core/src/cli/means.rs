//! What a run works with: device, threads, memory, cache.

use super::cache::open_store;
use super::stop::Stop;
use super::{Failure, WorkflowArgs};
use crate::batch::{Submission, machine};
use crate::plan::Graph;
use crate::record::{FORMAT, Process};
use crate::registry::Registry;
use crate::runner::{self, Keeping, RunOptions};
use crate::site::Site;
use crate::store::{Digest, Memo, NodeKeys};
use clap::Args;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// MiB of a GiB.
const MIB_OF_GIB: f64 = 1024.0;
/// Share of a memory budget, or of the memory that is there, which a run plans with: peaks are expected and not known, and files
/// that are read need some, too.
pub(super) const SHARE_OF_MEMORY: f64 = 0.85;

/// What a run works with. Nothing of it changes a result.
#[derive(Debug, Args)]
pub(super) struct MeansArgs {
    /// Device of stages that name none: `auto`, `cpu`, `cuda:0` …
    #[arg(long, value_name = "D")]
    pub(super) device: Option<String>,
    /// Threads that may work at a time [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) threads: Option<u16>,
    /// Memory to plan with [default: most of what is free]
    #[arg(long, value_name = "GIB")]
    pub(super) memory: Option<f64>,
    /// Where results of stages are kept for later runs [default: the site's, or ~/.cache/neuroloom/store]
    #[arg(long, value_name = "DIR", conflicts_with = "no_cache")]
    cache: Option<PathBuf>,
    /// Compute everything, and keep nothing
    #[arg(long)]
    no_cache: bool,
    /// Where scratch folders are made, if the command has a way to say it.
    #[arg(skip)]
    scratch: Option<PathBuf>,
}

impl MeansArgs {
    /// Lets scratch folders, and the results of stages unless another place is named for them, lie in a working folder.
    pub(super) fn work_in(&mut self, folder: &Path) -> std::io::Result<()> {
        let scratch = folder.join("scratch");
        std::fs::create_dir_all(&scratch)?;
        if !self.no_cache {
            self.cache.get_or_insert_with(|| folder.join("cache"));
        }
        self.scratch = Some(scratch);
        Ok(())
    }

    /// What the machine gives: arguments first, then the site, then all there is.
    pub(super) fn options(&self, site: &Site, stop: &Stop, keeping: Keeping) -> RunOptions {
        let defaults = RunOptions::default();
        let scratch = self.scratch.clone().or_else(|| site.run.scratch.clone());
        RunOptions {
            cores: self.threads.map(usize::from).or(site.run.threads).unwrap_or(defaults.cores),
            memory_mib: self.memory_mib(site),
            device: self.device.clone().or_else(|| site.run.device.clone()).unwrap_or(defaults.device),
            scratch_root: scratch.unwrap_or(defaults.scratch_root),
            cancel: Arc::clone(&stop.any),
            site: site.plugin.clone(),
            keeping: Some(keeping),
            ..defaults
        }
    }

    /// What earlier runs left, and what identifies it.
    pub(super) fn keeping(
        &self,
        site: &Site,
        graph: &Graph,
        registry: &Registry,
    ) -> Result<Keeping, Failure> {
        let store = if self.no_cache { None } else { Some(open_store(site, self.cache.as_deref())?) };
        let memo = store.as_ref().map_or_else(Memo::in_memory, Memo::beside);
        let keys = NodeKeys::new(graph, registry, &memo, &site.plugin)?;
        Ok(Keeping { keys: Arc::new(keys), memo: Arc::new(memo), store: store.map(Arc::new) })
    }

    /// What was asked for, as a run's folder keeps it.
    pub(super) fn submission(
        &self,
        command: &str,
        workflow: &WorkflowArgs,
        cohort: Option<&Path>,
        graph: &Graph,
        registry: &Registry,
    ) -> Submission {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let digested = |path: &PathBuf| Some((absolute(path), Digest::of_bytes(&std::fs::read(path).ok()?)));
        Submission {
            format: FORMAT,
            command: command.to_owned(),
            workflow: absolute(&workflow.workflow),
            name: graph.name.clone(),
            digest: graph.digest.clone(),
            files: graph.files.iter().filter_map(digested).collect(),
            operators: workflow.changes.operators.clone(),
            settings: workflow.changes.set.clone(),
            cohort: cohort.map(absolute),
            device: self.device.clone(),
            arguments: std::env::args().skip(1).collect(),
            folder: std::env::current_dir().unwrap_or_default(),
            provenance: runner::provenance_with_cohort(graph, registry),
            process: Process::this().clone(),
            since: crate::record::now(),
        }
    }

    /// The memory to plan with.
    fn memory_mib(&self, site: &Site) -> u64 {
        // A budget holds for the whole process, and its libraries and the engine take their part before the first case.
        let own = machine::resident_mib().unwrap_or(0);
        let budget = self.memory.map(|gib| gib * MIB_OF_GIB).or(site.run.memory_mib.map(|mib| mib as f64));
        let share = |mib: f64| (mib * SHARE_OF_MEMORY) as u64;
        let asked = budget.map(|mib| share(mib).saturating_sub(own).max(1));
        let most = || machine::available_mib().map(|mib| share(mib as f64));
        asked.or_else(most).unwrap_or(u64::MAX)
    }
}
