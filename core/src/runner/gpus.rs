//! Which GPUs a run may use.

use std::ffi::OsStr;

/// The visible GPUs as `cuda:0` …: those of `CUDA_VISIBLE_DEVICES` if that is set, else all that the driver shows.
///
/// The numbers are those that programs see: `CUDA_VISIBLE_DEVICES=3` leaves one GPU, called `cuda:0`.
pub fn visible() -> Vec<String> {
    let count = match std::env::var_os("CUDA_VISIBLE_DEVICES") {
        Some(list) => listed(&list),
        None => std::fs::read_dir("/proc/driver/nvidia/gpus").map_or(0, Iterator::count),
    };
    (0..count).map(|index| format!("cuda:{index}")).collect()
}

/// Entries of the list up to the first that names no device, as CUDA reads it.
fn listed(list: &OsStr) -> usize {
    let text = list.to_string_lossy();
    text.split(',').map(str::trim).take_while(|name| !name.is_empty() && !name.starts_with('-')).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_counts_devices_until_the_first_that_is_none() {
        for (list, count) in
            [("", 0), ("-1", 0), ("3", 1), ("0,2", 2), ("0,-1,1", 1), ("GPU-1a2b, MIG-3c", 2)]
        {
            assert_eq!(listed(OsStr::new(list)), count, "{list:?}");
        }
    }
}
