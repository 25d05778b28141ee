//! Runs an operator in process, on phantoms: no engine, no library file.
//!
//! Values go through the same conversion as at the real border, and what comes back is held against the declared ports.

use crate::border;
use crate::buffer;
use crate::context::Context;
use crate::error::OperatorError;
use crate::export;
use crate::geometry::Grid;
use crate::operator::{CaseEntry, GroupOperator, Inputs, Operator, Outputs, Place};
use crate::port::{GridSpec, Interface, KindSpec, PortSpec, Wiring};
use crate::volume::{Image, Mask};
use neuroloom_abi::abi_stable::sabi_trait::TD_Opaque;
use neuroloom_abi::abi_stable::std_types::{RArc, RResult, RStr, RString, RVec};
use neuroloom_abi::{self as abi, HostObject, Parts, PortValue};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// Threads of a test context: two, so that a method which depends on their number shows it.
pub const TEST_THREADS: usize = 2;

/// The engine's side for tests.
struct TestHost {
    pool: Arc<rayon::ThreadPool>,
    cancel: Arc<AtomicBool>,
    scratch: OnceLock<tempfile::TempDir>,
    resume: Option<PathBuf>,
}

impl abi::Host for TestHost {
    fn alloc(&self, dtype: u8, len: usize) -> RResult<abi::Buf, RString> {
        let size = [1, 2, 2, 4, 4, 2, 4, 8].get(usize::from(dtype)).copied();
        let block = size.and_then(|size| len.checked_mul(size)).and_then(|bytes| buffer::heap(dtype, bytes));
        block.map_or_else(|| RResult::RErr(format!("no memory for {len} elements").into()), RResult::ROk)
    }

    fn parallel(&self, count: usize, parts: Parts) {
        use rayon::prelude::*;
        self.pool.install(|| (0..count).into_par_iter().for_each(|i| parts.run(i)));
    }

    fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    fn progress(&self, _: f64, _: RStr<'_>) {}

    fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    fn folder(&self, name: RStr<'_>) -> RResult<RString, RString> {
        if name.as_str() == "resume" {
            let refusal = || "no folder `resume` for a stage that works on one case".into();
            let folder = self.resume.as_ref().map(|folder| folder.display().to_string().into());
            return folder.map_or_else(|| RResult::RErr(refusal()), RResult::ROk);
        }
        if self.scratch.get().is_none() {
            match tempfile::tempdir() {
                Ok(folder) => drop(self.scratch.set(folder)),
                Err(error) => return RResult::RErr(error.to_string().into()),
            }
        }
        let folder = self.scratch.get().expect("set above");
        RResult::ROk(folder.path().display().to_string().into())
    }

    fn case_label(&self) -> RString {
        "sub-test".into()
    }
}

fn host(threads: usize, cancel: Arc<AtomicBool>) -> HostObject {
    host_with(threads, cancel, None)
}

fn host_with(threads: usize, cancel: Arc<AtomicBool>, resume: Option<PathBuf>) -> HostObject {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be started");
    let host = TestHost { pool: Arc::new(pool), cancel, scratch: OnceLock::new(), resume };
    abi::Host_TO::from_ptr(RArc::new(host), TD_Opaque)
}

/// A context with [`TEST_THREADS`] threads.
pub fn context() -> Context {
    context_with(TEST_THREADS)
}

/// A context with so many threads: results must not depend on it.
pub fn context_with(threads: usize) -> Context {
    Context::new(host(threads, Arc::default()))
}

/// A context that asks its operator to stop once `cancel` is set.
pub fn context_to_cancel(cancel: Arc<AtomicBool>) -> Context {
    Context::new(host(TEST_THREADS, cancel))
}

/// The interface an operator has with these settings and inputs.
///
/// # Errors
/// The operator's refusal.
pub fn interface<T: Operator>(
    settings: &serde_json::Value,
    inputs: &Inputs,
) -> Result<Interface, OperatorError> {
    let mut ports: BTreeMap<String, Vec<(String, crate::Kind)>> = BTreeMap::new();
    for (port, member, value) in inputs.iter() {
        ports.entry(port.to_owned()).or_default().push((member.to_owned(), value.kind()));
    }
    let settings = serde_json::from_value(settings.clone())?;
    T::interface(&settings, &Wiring { ports })
}

/// Opens an operator, runs it on one case, and holds what it made against what it declared.
///
/// # Errors
/// What the operator returns; or that an output is missing, undeclared, of another kind or on another grid.
pub fn run<T: Operator>(settings: serde_json::Value, inputs: &Inputs) -> Result<Outputs, OperatorError> {
    let interface = interface::<T>(&settings, inputs)?;
    let place = Place { device: "cpu".to_owned(), threads: TEST_THREADS, ..Place::default() };
    let outputs = export::run_in_process::<T>(&settings, &place, inputs, host(TEST_THREADS, Arc::default()))?;
    check(&interface, inputs, &outputs)?;
    drop(settings);
    Ok(outputs)
}

fn check(interface: &Interface, inputs: &Inputs, outputs: &Outputs) -> Result<(), OperatorError> {
    let mut grids: BTreeMap<&str, Grid> = BTreeMap::new();
    for (specs, values) in [(&interface.inputs, inputs), (&interface.outputs, outputs)] {
        for (port, _, value) in values.iter() {
            let Some(spec) = specs.iter().find(|spec| spec.name == port) else {
                return Err(OperatorError::failed(format!("`{port}` is not declared")));
            };
            if let KindSpec::Exact(kind) = spec.kind
                && !value.kind().may_feed(kind)
            {
                return Err(OperatorError::failed(format!(
                    "`{port}` holds {} instead of {kind}",
                    value.kind()
                )));
            }
            let (GridSpec::On(var)
            | GridSpec::Fresh(var)
            | GridSpec::Derived { var, .. }
            | GridSpec::Cropped { var, .. }) = &spec.grid
            else {
                continue;
            };
            if let Some(volume) = value.volume() {
                let grid = grids.entry(var).or_insert(*volume.grid());
                if !grid.matches(volume.grid()) {
                    return Err(OperatorError::failed(format!(
                        "`{port}` is on {} instead of {grid}",
                        volume.grid()
                    )));
                }
            }
        }
    }
    let missing = interface.outputs.iter().find(|spec| !spec.optional && outputs.value(&spec.name).is_none());
    missing.map_or(Ok(()), |spec| Err(OperatorError::failed(format!("output `{}` is missing", spec.name))))
}

/// The cases of a group, made by a test.
///
/// `TestGroup::new().case("sub-01", inputs).failed("sub-02", "no brain found").run::<MyOperator>(&settings)`
#[derive(Clone, Debug, Default)]
pub struct TestGroup {
    cases: Vec<(CaseEntry, Inputs)>,
    resume: Option<PathBuf>,
    stop_after: Option<usize>,
    reads: Arc<AtomicUsize>,
}

impl TestGroup {
    /// No case yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a case that brings `inputs`; the subject and session are those of its label.
    #[must_use]
    pub fn case(self, label: &str, inputs: Inputs) -> Self {
        self.entry(CaseEntry::of(label), inputs)
    }

    /// Adds a case that failed.
    #[must_use]
    pub fn failed(self, label: &str, reason: &str) -> Self {
        let failure = Some(reason.to_owned());
        self.entry(CaseEntry { failure, ..CaseEntry::of(label) }, Inputs::new())
    }

    /// Adds a case of which more is known.
    #[must_use]
    pub fn entry(mut self, entry: CaseEntry, inputs: Inputs) -> Self {
        self.cases.push((entry, inputs));
        self
    }

    /// Gives a folder to resume from; without one, each run gets an empty one.
    #[must_use]
    pub fn resume_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.resume = Some(folder.into());
        self
    }

    /// Asks the operator to stop once it has read the values of so many cases.
    #[must_use]
    pub fn stop_after(mut self, reads: usize) -> Self {
        self.stop_after = Some(reads);
        self
    }

    /// How often operators read the values of a case so far: less after resuming.
    pub fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }

    /// Opens a group operator, runs it on the cases, and holds what it made against what it declared.
    ///
    /// # Errors
    /// What the operator returns; or that an input or output is missing, undeclared or of another kind.
    pub fn run<T: GroupOperator>(&self, settings: &serde_json::Value) -> Result<Outputs, OperatorError> {
        let interface = self.interface::<T>(settings)?;
        for (_, inputs) in self.cases.iter().filter(|(entry, _)| entry.failure.is_none()) {
            let outputs = Interface { outputs: Vec::new(), ..interface.clone() };
            check(&outputs, inputs, &Outputs::new())?;
            let empty = |port: &&PortSpec| !port.optional && inputs.value(&port.name).is_none();
            if let Some(port) = interface.inputs.iter().find(empty) {
                return Err(OperatorError::failed(format!("nothing at the required input `{}`", port.name)));
            }
        }
        let cancel = Arc::<AtomicBool>::default();
        let own = tempfile::tempdir()?;
        let resume = self.resume.clone().unwrap_or_else(|| own.path().to_owned());
        let cases = GroupCases { group: self.clone(), cancel: Arc::clone(&cancel), stop: self.stop_at() };
        let cases = abi::Cases_TO::from_ptr(RArc::new(cases), TD_Opaque);
        let place = Place { device: "cpu".to_owned(), threads: TEST_THREADS, ..Place::default() };
        let host = host_with(TEST_THREADS, cancel, Some(resume));
        let outputs = export::run_group_in_process::<T>(settings, &place, cases, host)?;
        check(&interface, &Inputs::new(), &outputs)?;
        Ok(outputs)
    }

    fn stop_at(&self) -> Option<usize> {
        self.stop_after.map(|reads| self.reads() + reads)
    }

    /// The operator's ports, with all wired that some case has.
    fn interface<T: GroupOperator>(&self, settings: &serde_json::Value) -> Result<Interface, OperatorError> {
        let mut wiring = Wiring::default();
        for (port, member, value) in self.cases.iter().flat_map(|(_, inputs)| inputs.iter()) {
            let members = wiring.ports.entry(port.to_owned()).or_default();
            if !members.iter().any(|(known, _)| known == member) {
                members.push((member.to_owned(), value.kind()));
            }
        }
        T::interface(&serde_json::from_value(settings.clone())?, &wiring)
    }
}

/// The engine's side of a [`TestGroup`].
struct GroupCases {
    group: TestGroup,
    cancel: Arc<AtomicBool>,
    /// Number of reads at which the operator is asked to stop.
    stop: Option<usize>,
}

impl abi::Cases for GroupCases {
    fn count(&self) -> usize {
        self.group.cases.len()
    }

    fn describe(&self, index: usize) -> RString {
        serde_json::to_string(&self.group.cases[index].0).expect("plain text").into()
    }

    fn values(&self, index: usize, _: RStr<'_>) -> RResult<RVec<PortValue>, RString> {
        let reads = self.group.reads.fetch_add(1, Ordering::Relaxed) + 1;
        if self.stop.is_some_and(|stop| reads >= stop) {
            self.cancel.store(true, Ordering::Relaxed);
        }
        match border::inputs_to_abi(&self.group.cases[index].1) {
            Ok(values) => RResult::ROk(values),
            Err(error) => RResult::RErr(border::error_to_json(&error).into()),
        }
    }
}

/// A ball of `value` on a background of 0, smooth over one voxel at its rim.
///
/// * `centre_mm`, `radius_mm`: in the world.
pub fn ball(grid: Grid, centre_mm: [f64; 3], radius_mm: f64, value: f32) -> Image {
    let rim = grid.spacing_mm().into_iter().fold(f64::INFINITY, f64::min);
    let voxel = |offset: usize| {
        let p = grid.world(grid.index(offset));
        let distance = (0..3).map(|a| (p[a] - centre_mm[a]).powi(2)).sum::<f64>().sqrt();
        value * ((radius_mm - distance) / rim + 0.5).clamp(0.0, 1.0) as f32
    };
    let voxels: Vec<f32> = (0..grid.len()).map(voxel).collect();
    Image::new(grid, voxels).expect("one number for each voxel")
}

/// The voxels whose centre lies within `radius_mm` of `centre_mm`.
pub fn ball_mask(grid: Grid, centre_mm: [f64; 3], radius_mm: f64) -> Mask {
    let inside = |offset: usize| {
        let p = grid.world(grid.index(offset));
        u8::from((0..3).map(|a| (p[a] - centre_mm[a]).powi(2)).sum::<f64>() <= radius_mm * radius_mm)
    };
    let voxels: Vec<u8> = (0..grid.len()).map(inside).collect();
    Mask::new(grid, voxels).expect("one number for each voxel")
}
