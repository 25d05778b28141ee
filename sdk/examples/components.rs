//! Labels the components of a mask, with statistics, for `tests/peers/components.py`: one run for each line on stdin.
//!
//! `components FILE NX NY NZ`: the file holds one byte a voxel, `i` fastest. A line `CONNECTIVITY THREADS` asks for a run, which
//! answers `SECONDS CPU_SECONDS COMPONENTS SUM`: the sum of the label of each voxel times its place, modulo 2^64, tells whether
//! two runs agree.

#![expect(clippy::print_stdout, reason = "a program's result goes to its standard output")]

use neuroloom_sdk::imaging::components::{Components, Connectivity};
use neuroloom_sdk::testing::context_with;
use neuroloom_sdk::{Context, Grid, Mask, OperatorError};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

fn main() -> Result<(), OperatorError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, nx, ny, nz] = &arguments[..] else {
        return Err(OperatorError::failed("no mask named").hint("components FILE NX NY NZ"));
    };
    let shape = [nx.parse()?, ny.parse()?, nz.parse()?];
    let mask = Mask::new(Grid::axis_aligned(shape, [1.0; 3]), std::fs::read(path)?)?;
    let mut contexts: BTreeMap<usize, Context> = BTreeMap::new();
    for line in std::io::stdin().lines() {
        let line = line?;
        let (connectivity, threads) = line.split_once(' ').unwrap_or((&line, "1"));
        let (connectivity, threads) = (Connectivity::of(connectivity.parse()?)?, threads.parse()?);
        let ctx = contexts.entry(threads).or_insert_with(|| context_with(threads));
        let (cpu, wall) = (cpu_seconds()?, Instant::now());
        let (count, labels) = labels(black_box(&mask), connectivity, ctx)?;
        let (wall, cpu) = (wall.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
        let sum = (1u64..)
            .zip(labels.iter())
            .fold(0u64, |sum, (place, &label)| sum.wrapping_add(place.wrapping_mul(u64::from(label))));
        println!("{wall} {cpu} {count} {sum}");
    }
    Ok(())
}

fn labels(
    mask: &Mask,
    connectivity: Connectivity,
    ctx: &Context,
) -> Result<(usize, neuroloom_sdk::BufMut<u32>), OperatorError> {
    let components = Components::of_mask(mask, connectivity, ctx);
    let mut out = ctx.alloc(mask.voxels().len())?;
    let numbers: Vec<u32> = (1..=components.len() as u32).collect();
    components.paint(&mut out, &numbers, ctx);
    Ok((black_box(components.statistics()).len(), out))
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
