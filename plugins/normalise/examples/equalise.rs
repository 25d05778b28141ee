//! Equalises slices for `tests/peers/equalise.py`: `equalise NX NY NZ FILE`, then one run for each line on stdin.
//!
//! The file holds f32, `i` fastest. Each run is on one thread, into memory that is
//! there, and answers `SECONDS CPU_SECONDS SUM`, the sum over all voxels.

#![expect(clippy::print_stdout, reason = "a program's result goes to its standard output")]

use neuroloom_normalise::equalise::{Options, equalise_into};
use sdk::testing::context_with;
use sdk::{Grid, Image, OperatorError};
use std::hint::black_box;
use std::time::Instant;

fn main() -> Result<(), OperatorError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [nx, ny, nz, file] = &arguments[..] else {
        return Err(OperatorError::failed("no image named").hint("equalise NX NY NZ FILE"));
    };
    let bytes = std::fs::read(file)?;
    let number = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let voxels: Vec<f32> = bytes.chunks_exact(4).map(number).collect();
    let image = Image::new(Grid::axis_aligned([nx.parse()?, ny.parse()?, nz.parse()?], [1.0; 3]), voxels)?;
    let (options, ctx) = (Options::default(), context_with(1));
    let mut made = vec![1f32; image.grid().len()];
    for line in std::io::stdin().lines() {
        line?;
        let (cpu, wall) = (cpu_seconds()?, Instant::now());
        equalise_into(black_box(&image), None, &options, &mut made, &ctx)?;
        let (wall, cpu) = (wall.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
        let sum: f64 = made.iter().map(|value| f64::from(*value)).sum();
        println!("{wall} {cpu} {sum}");
    }
    Ok(())
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
