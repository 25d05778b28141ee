//! Writes a model file with deterministic initial weights: `make_model FILE [--width W] [--seed N]`.
//!
//! Until a trained model is at hand, workflows run with it and their reports say that it is untrained.

use neuroloom_segment::{card::Card, model};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "usage: make_model FILE [--width W] [--seed N]    width 0.25 and seed 1 unless told";

struct Arguments {
    file: PathBuf,
    width: f64,
    seed: u64,
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Arguments> {
    let mut parsed = Arguments { file: PathBuf::new(), width: 0.25, seed: 1 };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--width" => parsed.width = arguments.next()?.parse().ok()?,
            "--seed" => parsed.seed = arguments.next()?.parse().ok()?,
            option if option.starts_with('-') => return None,
            file => parsed.file = PathBuf::from(file),
        }
    }
    (parsed.file != Path::new("")).then_some(parsed)
}

fn make(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let card = model::untrained(arguments.width, arguments.seed);
    // What the plugin would refuse is not written.
    Card::parse(&card.metadata())?;
    if let Some(folder) = arguments.file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    model::write_initial(&arguments.file, &card, arguments.seed)?;
    Ok(())
}

fn main() -> ExitCode {
    let mut stderr = std::io::stderr();
    let Some(arguments) = parse(std::env::args().skip(1)) else {
        let _ = writeln!(stderr, "{USAGE}");
        return ExitCode::from(2);
    };
    match make(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(stderr, "error: {}: {error}", arguments.file.display());
            ExitCode::FAILURE
        }
    }
}
