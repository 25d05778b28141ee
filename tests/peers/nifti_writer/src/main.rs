//! Writes with the crate `nifti`, for `tests/peers/nifti_io.py`: `nifti_writer FILE TO`, then one run for each line on stdin.
//!
//! A run answers `SECONDS CPU_SECONDS BYTES`.

use nifti::{IntoNdArray, NiftiObject, ReaderOptions, writer::WriterOptions};
use std::error::Error;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let [file, to] = &std::env::args().skip(1).collect::<Vec<_>>()[..] else {
        return Err("nifti_writer FILE TO".into());
    };
    let object = ReaderOptions::new().read_file(file)?;
    let header = object.header().clone();
    let numbers = object.into_volume().into_ndarray::<i16>()?;
    for line in std::io::stdin().lines() {
        line?;
        let (cpu, wall) = (cpu_seconds()?, Instant::now());
        WriterOptions::new(to).reference_header(&header).write_nifti(&numbers)?;
        let (wall, cpu) = (wall.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
        println!("{wall} {cpu} {}", std::fs::metadata(to)?.len());
    }
    Ok(())
}

/// Seconds that this process has run so far, in all its threads.
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let mut nanoseconds = 0.0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        nanoseconds += text.split(' ').next().unwrap_or_default().parse::<f64>()?;
    }
    Ok(nanoseconds * 1e-9)
}
