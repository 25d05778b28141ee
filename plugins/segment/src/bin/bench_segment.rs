//! Times the network of `segment` on made input, from host memory to host memory: `bench_segment [--slices 32] …`.
//!
//! One line of JSON comes out: the median of the repeats, all of them, and the processor's seconds. One run before them warms up.

use neuroloom_segment::backend::{Backend, Precision, Session};
use neuroloom_segment::model;
use neuroloom_segment_abi::FORMAT_SLICES;
use sdk::Place;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

const USAGE: &str = "usage: bench_segment [--slices N] [--side N] [--width W] [--batch N] [--threads N] [--repeats N]\n\
                     \x20                    [--device D] [--precision f32|bf16] [--plugin-dir DIR]\n\
                     N slices of the initial weights at width W; DIR holds the libtorch backend";
/// Channels of the paper's stack: seven slices of four sequences.
const CHANNELS: usize = 28;
/// Kernel ticks in a second, as `/proc` counts them on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

struct Arguments {
    slices: usize,
    side: usize,
    width: f64,
    batch: usize,
    threads: usize,
    repeats: usize,
    precision: Precision,
    place: Place,
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Arguments> {
    let own_folder = std::env::current_exe().ok().and_then(|exe| exe.parent().map(PathBuf::from));
    let place =
        Place { device: "auto".to_owned(), plugin_dir: own_folder.unwrap_or_default(), ..Place::default() };
    let mut parsed = Arguments {
        slices: 32,
        side: 256,
        width: 1.0,
        batch: 1,
        threads: 2,
        repeats: 3,
        precision: Precision::F32,
        place,
    };
    while let Some(option) = arguments.next() {
        let value = arguments.next()?;
        match option.as_str() {
            "--slices" => parsed.slices = value.parse().ok()?,
            "--side" => parsed.side = value.parse().ok()?,
            "--width" => parsed.width = value.parse().ok()?,
            "--batch" => parsed.batch = value.parse().ok()?,
            "--threads" => parsed.threads = value.parse().ok()?,
            "--repeats" => parsed.repeats = value.parse().ok()?,
            "--device" => parsed.place.device = value,
            "--precision" => parsed.precision = serde_json::from_value(value.into()).ok()?,
            "--plugin-dir" => parsed.place.plugin_dir = value.into(),
            _ => return None,
        }
    }
    let counts = [parsed.slices, parsed.side, parsed.batch, parsed.threads, parsed.repeats];
    (counts.iter().all(|&count| count > 0) && parsed.side.is_multiple_of(4)).then_some(parsed)
}

/// The stack of `tests/golden/make_golden.py`: (17 (c + 3 b) + 5 i^2 + 3 i j + 11 j) mod 97 / 96.
fn stack(side: usize, batch: usize) -> Vec<f32> {
    let voxel = |at: usize| {
        let (c, i) = (at % CHANNELS, at / CHANNELS % side);
        let (j, b) = (at / CHANNELS / side % side, at / CHANNELS / side / side);
        (((17 * (c + 3 * b) + 5 * i * i + 3 * i * j + 11 * j) % 97) as f64 / 96.0) as f32
    };
    (0..CHANNELS * side * side * batch).map(voxel).collect()
}

/// Scores all slices once, in batches that the threads take by turns.
fn score(session: &Session, arguments: &Arguments, stack: &[f32]) -> Result<(), String> {
    let Arguments { slices, side, batch, threads, .. } = *arguments;
    let next = AtomicUsize::new(0);
    let work = || {
        let mut logits = vec![0.0; batch * side * side];
        loop {
            let start = next.fetch_add(batch, Ordering::Relaxed);
            if start >= slices {
                return Ok(());
            }
            let count = batch.min(slices - start);
            let (stack, logits) =
                (&stack[..count * side * side * CHANNELS], &mut logits[..count * side * side]);
            session
                .logits(stack, [count, side, side, CHANNELS], logits)
                .map_err(|error| error.to_string())?;
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let done =
            workers.into_iter().map(|worker| worker.join().map_err(|_| "a thread panicked".to_owned()));
        done.collect::<Result<Vec<_>, _>>()?.into_iter().collect()
    })
}

/// Seconds that this process took of all processors; none where the system does not tell.
fn cpu_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = text.rsplit(')').next()?.split_whitespace().collect();
    // utime and stime, the 14th and 15th field; the name, which may hold blanks, is the 2nd.
    let ticks: f64 = fields.get(11..13)?.iter().map(|ticks| ticks.parse().unwrap_or(0.0)).sum();
    Some(ticks / TICKS_PER_SECOND)
}

fn bench(arguments: &Arguments) -> Result<serde_json::Value, Box<dyn std::error::Error>> {
    let card = model::untrained(arguments.width, 1);
    let file = std::env::temp_dir().join(format!("bench-segment-{}.safetensors", std::process::id()));
    model::write_initial(&file, &card, 1)?;
    let weights = std::fs::read(&file)?;
    std::fs::remove_file(&file)?;
    let backend = Backend::open(&arguments.place)?;
    let session = backend.open_session(&weights, FORMAT_SLICES, arguments.precision, &arguments.place)?;
    let stack = stack(arguments.side, arguments.batch.min(arguments.slices));
    score(&session, arguments, &stack)?;
    let before = cpu_seconds();
    let mut seconds = Vec::new();
    for _ in 0..arguments.repeats {
        let start = Instant::now();
        score(&session, arguments, &stack)?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    let repeats = arguments.repeats as f64;
    let cpu = before.zip(cpu_seconds()).map(|(before, after)| (after - before) / repeats);
    let mut sorted = seconds.clone();
    sorted.sort_by(f64::total_cmp);
    Ok(serde_json::json!({
        "slices": arguments.slices,
        "side": arguments.side,
        "width": arguments.width,
        "batch": arguments.batch,
        "threads": arguments.threads,
        "device": arguments.place.device,
        "precision": arguments.precision,
        "median_s": sorted[sorted.len() / 2],
        "all_s": seconds,
        "cpu_s": cpu,
    }))
}

fn main() -> ExitCode {
    let Some(arguments) = parse(std::env::args().skip(1)) else {
        let _ = writeln!(std::io::stderr(), "{USAGE}");
        return ExitCode::from(2);
    };
    match bench(&arguments) {
        Ok(figures) => {
            let _ = writeln!(std::io::stdout(), "{figures}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}
