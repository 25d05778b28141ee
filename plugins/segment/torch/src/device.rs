//! Chooses where a network runs: one CPU build, which finds CUDA by opening it.
//!
//! The backend is always linked against the CPU half of libtorch. A complete libtorch has `libtorch_cuda.so` beside the
//! `libtorch_cpu.so` that is loaded; opened before the first question about CUDA, it registers its kernels with it.

#![expect(unsafe_code, reason = "opens `libtorch_cuda.so`")]

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use std::path::PathBuf;
use tch::{Cuda, Device};

/// Why a device cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum DeviceError {
    /// No such device.
    #[error("device `{found}` is unknown\nhint: `auto`, `cpu`, `cuda` or `cuda:0`, `cuda:1` …")]
    Unknown {
        /// As asked for.
        found: String,
    },
    /// CUDA was asked for and is not there.
    #[error("device `{wanted}` cannot be used: {reason}\nhint: set `device` to `auto` or `cpu`")]
    NoCuda {
        /// As asked for.
        wanted: String,
        /// Why not.
        reason: String,
    },
}

/// The device of that name, and a note for the log (empty if there is nothing to say).
///
/// `auto` takes the first GPU, or the CPU with a note on why.
///
/// # Errors
/// [`DeviceError`]: an unknown name, or CUDA asked for by name that is not there.
pub(crate) fn choose(wanted: &str) -> Result<(Device, String), DeviceError> {
    let index = match wanted {
        "cpu" => return Ok((Device::Cpu, String::new())),
        "auto" | "cuda" => 0,
        _ => {
            let index = wanted.strip_prefix("cuda:").and_then(|index| index.parse().ok());
            index.ok_or_else(|| DeviceError::Unknown { found: wanted.to_owned() })?
        }
    };
    match cuda(index) {
        Ok(device) => Ok((device, format!("the network runs on cuda:{index}"))),
        Err(reason) if wanted == "auto" => {
            Ok((Device::Cpu, format!("the network runs on the CPU: {reason}")))
        }
        Err(reason) => Err(DeviceError::NoCuda { wanted: wanted.to_owned(), reason }),
    }
}

fn cuda(index: usize) -> Result<Device, String> {
    open_cuda_half()?;
    let count = usize::try_from(Cuda::device_count()).unwrap_or(0);
    if !Cuda::is_available() || count == 0 {
        return Err("no GPU or no driver is found".to_owned());
    }
    if index >= count {
        return Err(format!("there are {count} GPUs"));
    }
    Ok(Device::Cuda(index))
}

/// Opens the `libtorch_cuda.so` that belongs to the loaded libtorch, for good.
fn open_cuda_half() -> Result<(), String> {
    let maps = std::fs::read_to_string("/proc/self/maps").map_err(|error| error.to_string())?;
    // The path is the sixth field and may hold blanks.
    let cpu_half = maps
        .lines()
        .filter_map(|line| line.find('/').map(|start| PathBuf::from(&line[start..])))
        .find(|path| path.ends_with("libtorch_cpu.so"))
        .ok_or("`libtorch_cpu.so` is not among the loaded libraries")?;
    let cuda_half = cpu_half.with_file_name("libtorch_cuda.so");
    if !cuda_half.exists() {
        return Err("this libtorch is for CPUs only".to_owned());
    }
    // SAFETY: its static constructors only register themselves with the loaded CPU half.
    let library = unsafe { Library::open(Some(&cuda_half), RTLD_NOW | RTLD_GLOBAL) };
    library.map(std::mem::forget).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_device_is_named() {
        let text = choose("gpu0").unwrap_err().to_string();
        assert!(text.starts_with("device `gpu0` is unknown\nhint: "), "{text}");
        assert!(choose("cuda:x").is_err());
    }

    #[test]
    fn the_cpu_is_always_there() {
        assert_eq!(choose("cpu").unwrap(), (Device::Cpu, String::new()));
    }

    /// Whatever the machine: `auto` works, and `cuda` by name works just when `auto` takes it.
    #[test]
    fn auto_falls_back_to_the_cpu_with_a_reason_where_cuda_by_name_fails() {
        let (device, note) = choose("auto").unwrap();
        match choose("cuda:0") {
            Ok((named, _)) => assert_eq!(device, named),
            Err(error) => {
                assert_eq!(device, Device::Cpu);
                assert!(note.starts_with("the network runs on the CPU: "), "{note}");
                assert!(error.to_string().contains("hint: set `device` to `auto` or `cpu`"), "{error}");
            }
        }
    }
}
