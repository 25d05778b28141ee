//! Reads, writes and resamples for `tests/peers`: one run for each line on stdin.
//!
//! * `stored FILE`, `f32 FILE`: reads a NIfTI file as the numbers it holds, or as an image.
//! * `write FILE TO`: reads the integers of a file, and writes them; only the writing is timed.
//! * `resample FILE INTERPOLATION A B C D E F G H I J K L`: brings an image onto its own grid; the numbers are the first three
//!   rows of a map from world to world, mm.
//!
//! Each run is on one thread and answers `SECONDS CPU_SECONDS SUM`, where the sum over all numbers tells whether two agree.

#![expect(clippy::print_stdout, reason = "a program's result goes to its standard output")]

use neuroloom_sdk::geometry::Affine;
use neuroloom_sdk::imaging::resample;
use neuroloom_sdk::nifti::{self, Stored, WriteOptions};
use neuroloom_sdk::testing::context_with;
use neuroloom_sdk::{AnyVolume, Context, Image, OperatorError};
use std::hint::black_box;
use std::time::Instant;

fn main() -> Result<(), OperatorError> {
    let ctx = context_with(1);
    let mut kept = (String::new(), None);
    for line in std::io::stdin().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let [task, file, rest @ ..] = &words[..] else {
            return Err(OperatorError::failed(format!("`{line}` is no task")));
        };
        let [wall, cpu, sum] = match (*task, rest) {
            ("stored", []) => timed(|| Ok(nifti::read_stored(file)?), |stored| sum_of(&stored))?,
            ("f32", []) => timed(|| Ok(nifti::read_image(file)?), |image| sum(image.voxels()))?,
            ("write", [to]) => write(file, to)?,
            ("resample", [interpolation, numbers @ ..]) => {
                if kept.0 != *file {
                    kept = ((*file).to_owned(), Some(nifti::read_image(file)?));
                }
                let image = kept.1.as_ref().ok_or_else(|| OperatorError::failed("no image"))?;
                resampled(image, interpolation, numbers, &ctx)?
            }
            _ => return Err(OperatorError::failed(format!("`{line}` is no task"))),
        };
        println!("{wall} {cpu} {sum}");
    }
    Ok(())
}

fn write(file: &str, to: &str) -> Result<[f64; 3], OperatorError> {
    let labels = AnyVolume::Labels(nifti::read_labels(file)?);
    let work = || Ok(nifti::write(to, &labels, &WriteOptions::default())?);
    timed(work, |()| std::fs::metadata(to).map_or(f64::NAN, |file| file.len() as f64))
}

fn resampled(
    image: &Image,
    interpolation: &str,
    numbers: &[&str],
    ctx: &Context,
) -> Result<[f64; 3], OperatorError> {
    let interpolation = serde_json::from_value(interpolation.into())?;
    let mut rows = [[0.0; 4]; 3];
    for (entry, text) in rows.iter_mut().flatten().zip(numbers) {
        *entry = text.parse()?;
    }
    let map = Affine::from_rows(rows);
    let work = || resample::image(black_box(image), image.grid(), Some(&map), interpolation, ctx);
    timed(work, |image| sum(image.voxels()))
}

fn timed<R>(
    work: impl FnOnce() -> Result<R, OperatorError>,
    sum: impl FnOnce(R) -> f64,
) -> Result<[f64; 3], OperatorError> {
    let (cpu, wall) = (cpu_seconds()?, Instant::now());
    let made = black_box(work()?);
    let (wall, cpu) = (wall.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
    Ok([wall, cpu, sum(made)])
}

fn sum_of(stored: &Stored) -> f64 {
    match stored {
        Stored::U8(numbers) => sum(numbers),
        Stored::I16(numbers) => sum(numbers),
        Stored::U16(numbers) => sum(numbers),
        Stored::I32(numbers) => sum(numbers),
        Stored::U32(numbers) => sum(numbers),
        Stored::F32(numbers) => sum(numbers),
        Stored::F64(numbers) => sum(numbers),
    }
}

fn sum<T: Copy + Into<f64>>(numbers: &[T]) -> f64 {
    numbers.iter().map(|number| (*number).into()).sum()
}

/// Seconds that all threads of this process have run so far; exact where the kernel counts them (Linux).
fn cpu_seconds() -> Result<f64, OperatorError> {
    let mut nanoseconds = 0.0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        nanoseconds += text.split(' ').next().unwrap_or_default().parse::<f64>()?;
    }
    Ok(nanoseconds * 1e-9)
}
