//! The libtorch backend of plugin `segment`: the only crate that links libtorch.
//!
//! It is no plugin. `segment` opens its library when a stage starts and calls it through the table of
//! `neuroloom-segment-abi`; nothing unwinds across that border.

#![expect(unsafe_code, reason = "the C table: pointers that the caller lends, and sessions that it holds")]

mod device;
mod network;
mod script;
mod trainer;
mod training;

use device::DeviceError;
use network::{Network, NetworkError};
use neuroloom_segment_abi::{Batch, FORMAT_SCRIPT, Lent, Message, Patches, Scoring, Session, Table, VERSION};
use script::{Script, ScriptError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use tch::{Device, Kind, Tensor};

/// Why a session cannot be opened or used.
#[derive(Debug, thiserror::Error)]
enum BackendError {
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error(transparent)]
    Script(#[from] ScriptError),
    #[error("this session's network reads {reads}, and it was given {given}")]
    Format { reads: &'static str, given: &'static str },
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
    #[error("the device's name is not UTF-8")]
    DeviceName(#[from] std::str::Utf8Error),
    #[error("a tensor of {found} numbers does not fit into {expected}")]
    Length { found: usize, expected: usize },
    #[error("the libtorch backend panicked: {0}\nhint: this is a bug; please report it")]
    Panicked(String),
}

/// A network on a device, behind the table's opaque pointer.
struct Opened {
    network: Loaded,
    device: Device,
    /// In which numbers it computes.
    kind: Kind,
    /// Held while a GPU works: its memory serves one batch at a time.
    gpu: Mutex<()>,
}

/// A network of either format.
enum Loaded {
    Slices(Network),
    Script(Script),
}

impl Opened {
    /// Held while a GPU works; nothing on a CPU, where several threads may call.
    fn turn(&self) -> Option<std::sync::MutexGuard<'_, ()>> {
        // The caller has its own threads, a piece of work for each. OpenMP's would spin while they wait for each other, which
        // costs several times the work itself on a machine that does other things, too.
        tch::set_num_threads(1);
        (self.device != Device::Cpu)
            .then(|| self.gpu.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

static TABLE: Table = Table {
    version: VERSION,
    open,
    logits,
    forward,
    close,
    open_trainer: trainer::open,
    gradient: trainer::gradient,
    step: trainer::step,
    read: trainer::read,
    close_trainer: trainer::close,
    drop_gradient: trainer::drop_gradient,
};

/// The backend's one symbol.
#[unsafe(no_mangle)]
pub extern "C" fn neuroloom_segment_backend() -> &'static Table {
    &TABLE
}

unsafe extern "C" fn open(opening: &Scoring<'_>, message: &mut Message<'_>) -> *mut Session {
    let work = || {
        // SAFETY: both live until this call returns.
        let (weights, wanted) = unsafe { (bytes(opening.weights), bytes(opening.device)) };
        let wanted = std::str::from_utf8(wanted)?;
        let (device, note) = device::choose(wanted)?;
        let kind = if opening.half == 0 { Kind::Float } else { Kind::BFloat16 };
        let network = if opening.format == FORMAT_SCRIPT {
            Loaded::Script(Script::load(weights, device, kind)?)
        } else {
            Loaded::Slices(Network::load(weights, device, kind)?)
        };
        Ok((Opened { network, device, kind, gpu: Mutex::new(()) }, note))
    };
    match guarded(work) {
        Ok((opened, note)) => {
            write(message, &note);
            Box::into_raw(Box::new(opened)).cast()
        }
        Err(error) => {
            write(message, &error.to_string());
            std::ptr::null_mut()
        }
    }
}

unsafe extern "C" fn logits(session: *const Session, batch: &Batch<'_>, message: &mut Message<'_>) -> bool {
    let work = || {
        // SAFETY: the caller holds a pointer from `open`; nothing in it changes until `close`.
        let opened = unsafe { &*session.cast::<Opened>() };
        let [count, height, width, _] = batch.shape;
        // SAFETY: `Batch` lends a block of just these lengths for this call; the tensor does not outlive it.
        let stack = unsafe { view(batch.stack, batch.shape)? };
        // SAFETY: as above, and nobody else has the block.
        let out = unsafe { std::slice::from_raw_parts_mut(batch.logits, count * height * width) };
        let Loaded::Slices(network) = &opened.network else {
            return Err(BackendError::Format { reads: "patches", given: "stacks of slices" });
        };
        let _one_at_a_time = opened.turn();
        let logits =
            tch::no_grad(|| network.logits(&stack.f_to_device(opened.device)?.f_to_kind(opened.kind)?))?;
        let logits = logits.f_to_kind(Kind::Float)?.f_to_device(Device::Cpu)?;
        logits.f_contiguous()?.f_copy_data(out, count * height * width)?;
        Ok(())
    };
    match guarded(work) {
        Ok(()) => true,
        Err(error) => {
            write(message, &error.to_string());
            false
        }
    }
}

unsafe extern "C" fn forward(
    session: *const Session,
    patches: &Patches<'_>,
    message: &mut Message<'_>,
) -> bool {
    let work = || {
        // SAFETY: the caller holds a pointer from `open`; nothing in it changes until `close`.
        let opened = unsafe { &*session.cast::<Opened>() };
        // SAFETY: `Patches` lends so many lengths for this call.
        let shape = unsafe { std::slice::from_raw_parts(patches.shape, patches.axes) };
        // SAFETY: as above, and nobody else has the block.
        let out = unsafe { std::slice::from_raw_parts_mut(patches.output, patches.output_len) };
        let Loaded::Script(script) = &opened.network else {
            return Err(BackendError::Format { reads: "stacks of slices", given: "patches" });
        };
        let size: Vec<i64> = shape.iter().map(|&axis| i64::try_from(axis).unwrap_or(i64::MAX)).collect();
        let strides: Vec<i64> = (0..size.len()).map(|axis| size[axis + 1..].iter().product()).collect();
        // SAFETY: the block has just these lengths and outlives the tensor, which this call drops.
        let input =
            unsafe { Tensor::f_from_blob(patches.input.cast(), &size, &strides, Kind::Float, Device::Cpu)? };
        let _one_at_a_time = opened.turn();
        let made =
            tch::no_grad(|| script.forward(&input.f_to_device(opened.device)?.f_to_kind(opened.kind)?))?;
        let made = made.f_to_kind(Kind::Float)?.f_to_device(Device::Cpu)?;
        script::check_shape(&made.size(), &size, out.len())?;
        made.f_contiguous()?.f_copy_data(out, out.len())?;
        Ok(())
    };
    match guarded(work) {
        Ok(()) => true,
        Err(error) => {
            write(message, &error.to_string());
            false
        }
    }
}

unsafe extern "C" fn close(session: *mut Session) {
    let work = || {
        // SAFETY: a pointer from `open`, given back once.
        drop(unsafe { Box::from_raw(session.cast::<Opened>()) });
        Ok(())
    };
    // Nobody is left to be told; a panic must only not cross the border.
    let _: Result<(), BackendError> = guarded(work);
}

/// Runs `work`; a panic becomes an error.
fn guarded<T>(work: impl FnOnce() -> Result<T, BackendError>) -> Result<T, BackendError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        // The payload's own drop could panic again.
        std::mem::forget(panic);
        Err(BackendError::Panicked(text.unwrap_or_default()))
    })
}

/// Views lent bytes.
///
/// # Safety
/// The caller of the table promises that they live until the call returns.
unsafe fn bytes(lent: Lent<'_>) -> &[u8] {
    // SAFETY: as above; `Lent` is made from a slice.
    unsafe { std::slice::from_raw_parts(lent.ptr, lent.len) }
}

/// A tensor that views the caller's stack, `[batch, channel, height, width]` with channels fastest in memory: no copy.
///
/// # Safety
/// The block must have the lengths of `shape` and outlive the tensor.
unsafe fn view(stack: *const f32, shape: [usize; 4]) -> Result<Tensor, tch::TchError> {
    let [count, height, width, channels] = shape.map(|axis| i64::try_from(axis).unwrap_or(i64::MAX));
    let strides = [height * width * channels, 1, width * channels, channels];
    let size = [count, channels, height, width];
    // SAFETY: as above.
    unsafe { Tensor::f_from_blob(stack.cast(), &size, &strides, Kind::Float, Device::Cpu) }
}

/// Writes as much of `text` as the caller's block holds, cut between characters.
fn write(message: &mut Message<'_>, text: &str) {
    let len =
        (0..=message.capacity.min(text.len())).rev().find(|&len| text.is_char_boundary(len)).unwrap_or(0);
    // SAFETY: the block has `capacity` bytes, and the text lies elsewhere.
    unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), message.ptr, len) };
    message.len = len;
}
