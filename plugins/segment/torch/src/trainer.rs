//! The table's functions on trainers: pointers that the caller holds on one side, [`crate::training`] on the other.

#![expect(unsafe_code, reason = "the C table: pointers that the caller lends, and trainers that it holds")]

use crate::training::{Gradient, Trainer};
use crate::{BackendError, bytes, device, guarded, view, write};
use neuroloom_segment_abi as abi;
use std::sync::{Mutex, PoisonError};
use tch::{Device, Kind, Tensor};

/// A network that learns, behind the table's opaque pointer.
struct Opened {
    trainer: Trainer,
    /// Held while a GPU works: its memory serves one lesson at a time.
    gpu: Mutex<()>,
}

pub(crate) unsafe extern "C" fn open(
    opening: &abi::Opening<'_>,
    recipe: &abi::Recipe,
    message: &mut abi::Message<'_>,
) -> *mut abi::Trainer {
    let work = || {
        // SAFETY: both live until this call returns.
        let (weights, wanted) = unsafe { (bytes(opening.weights), bytes(opening.device)) };
        let (device, note) = device::choose(std::str::from_utf8(wanted)?)?;
        let trainer = Trainer::load(weights, *recipe, device)?;
        Ok((Opened { trainer, gpu: Mutex::new(()) }, note))
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

pub(crate) unsafe extern "C" fn gradient(
    trainer: *const abi::Trainer,
    lesson: &abi::Lesson<'_>,
    message: &mut abi::Message<'_>,
) -> *mut abi::Gradient {
    let work = || {
        // SAFETY: the caller holds a pointer from `open`; nothing in it changes but in `step`, which is not called meanwhile.
        let opened = unsafe { &*trainer.cast::<Opened>() };
        let device = opened.trainer.device;
        let [count, height, width, _] = lesson.shape;
        // SAFETY: `Lesson` lends blocks of just these lengths for this call; the tensors do not outlive it.
        let stack = unsafe { view(lesson.stack, lesson.shape)? };
        // SAFETY: as above.
        let truth = unsafe { view(lesson.truth, [count, height, width, 1])? };
        // As for scoring: the caller has a thread for each lesson.
        tch::set_num_threads(1);
        let _one_at_a_time =
            (device != Device::Cpu).then(|| opened.gpu.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(opened.trainer.gradient(&stack.f_to_device(device)?, &truth.f_to_device(device)?)?)
    };
    match guarded(work) {
        Ok(gradient) => Box::into_raw(Box::new(gradient)).cast(),
        Err(error) => {
            write(message, &error.to_string());
            std::ptr::null_mut()
        }
    }
}

pub(crate) unsafe extern "C" fn step(
    trainer: *mut abi::Trainer,
    gradients: *const *mut abi::Gradient,
    count: usize,
    share: f64,
    message: &mut abi::Message<'_>,
) -> f64 {
    let work = || {
        // SAFETY: a pointer from `open`, and nobody else calls meanwhile.
        let opened = unsafe { &mut *trainer.cast::<Opened>() };
        // SAFETY: the caller lends a list of this length for this call.
        let list = unsafe { std::slice::from_raw_parts(gradients, count) };
        // SAFETY: each is a pointer from `gradient`, given back once.
        let own = |gradient: &*mut abi::Gradient| *unsafe { Box::from_raw(gradient.cast::<Gradient>()) };
        let gradients: Vec<Gradient> = list.iter().map(own).collect();
        tch::set_num_threads(1);
        Ok(opened.trainer.step(&gradients, share)?)
    };
    guarded(work).unwrap_or_else(|error| {
        write(message, &error.to_string());
        f64::NAN
    })
}

pub(crate) unsafe extern "C" fn read(
    trainer: *const abi::Trainer,
    name: abi::Lent<'_>,
    out: *mut f32,
    len: usize,
    message: &mut abi::Message<'_>,
) -> bool {
    let work = || {
        // SAFETY: the caller holds a pointer from `open`, and the name lives until this call returns.
        let (opened, name) = unsafe { (&*trainer.cast::<Opened>(), bytes(name)) };
        let tensor = opened.trainer.read(std::str::from_utf8(name)?)?;
        let tensor: Tensor = tensor.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?.f_contiguous()?;
        if tensor.numel() != len {
            return Err(BackendError::Length { found: tensor.numel(), expected: len });
        }
        // SAFETY: the caller lends this block for this call.
        tensor.f_copy_data(unsafe { std::slice::from_raw_parts_mut(out, len) }, len)?;
        Ok(())
    };
    guarded(work).map_err(|error| write(message, &error.to_string())).is_ok()
}

pub(crate) unsafe extern "C" fn close(trainer: *mut abi::Trainer) {
    // Nobody is left to be told; a panic must only not cross the border.
    let _: Result<(), BackendError> = guarded(|| {
        // SAFETY: a pointer from `open`, given back once.
        drop(unsafe { Box::from_raw(trainer.cast::<Opened>()) });
        Ok(())
    });
}

pub(crate) unsafe extern "C" fn drop_gradient(gradient: *mut abi::Gradient) {
    let _: Result<(), BackendError> = guarded(|| {
        // SAFETY: a pointer from `gradient`, given back once.
        drop(unsafe { Box::from_raw(gradient.cast::<Gradient>()) });
        Ok(())
    });
}
