//! A program that runs a workflow in itself: volumes in memory go in and come out, nothing is read from or written to disk
//! but the workflow's text.
//!
//! `cargo run --release -p embed_engine -- target/release` (the folder of the built plugins) marks the bright ball of a
//! synthetic image with the operator `threshold`, and prints what each stage did and how large the ball is.

use neuroloom_core::registry::{PluginFolder, Registry};
use neuroloom_core::runner::{self, CaseInput, CaseJob, RunOptions};
use neuroloom_core::workflow::{self, Overrides};
use sdk::{AnyVolume, Grid, Image, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What runs: one stage, whose setting comes from here as well as it could from a file.
const WORKFLOW: &str = r#"
name = "bright"
[inputs]
head = { type = "image" }
[stages.bright]
operator = "threshold"
inputs.image = "head"
settings.above = 50.0
[outputs]
mask = { from = "bright.mask", bids = "desc-bright_mask" }
"#;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            show(&format!("error: {error}"));
            ExitCode::from(2)
        }
    }
}

/// Whether every stage delivered.
fn run() -> Result<bool, Box<dyn Error>> {
    // 1. The plugins: each file is verified before it is opened, and stays open.
    let path = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("target/release"), PathBuf::from);
    let registry = Registry::discover(&[PluginFolder { path, named: false }]);
    for rejected in registry.rejected() {
        show(&format!("not used: {} {}", rejected.path.display(), rejected.error));
    }

    // 2. The workflow, checked whole: all its faults come back at once.
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("bright.toml");
    std::fs::write(&file, WORKFLOW)?;
    let graph =
        workflow::load(&file, &Overrides::default(), &registry).map_err(|faults| faults.to_string())?;

    // 3. The plan for the inputs that this case has.
    let inputs = BTreeMap::from([("head".to_owned(), CaseInput::Value(Value::from(ball(40.0)?)))]);
    let present: BTreeSet<String> = inputs.keys().cloned().collect();
    let plan = graph
        .plan(&registry, &present)
        .map_err(|reasons| reasons.into_iter().map(|reason| reason.reason).collect::<Vec<_>>().join("; "))?;
    let job = CaseJob { label: "sub-01".to_owned(), inputs, plan: Arc::new(plan), memory_mib: 0 };

    // 4. The run: `finish` sees each case as it ends, on one of the run's threads.
    let ok = AtomicBool::new(false);
    let (graph, registry) = (Arc::new(graph), Arc::new(registry));
    runner::run(&graph, &registry, &RunOptions::default(), &mut std::iter::once(job), &|result| {
        for record in &result.records {
            let reason = record.reason.as_deref().unwrap_or_default();
            show(&format!("{} {:?} {reason}", record.place(), record.state));
        }
        for (_, value) in result.outputs.iter().flatten() {
            if let Some(AnyVolume::Mask(mask)) = value.volume() {
                let volume_ml = mask.count() as f64 * mask.grid().voxel_volume_mm3() / 1000.0;
                show(&format!("mask: {volume_ml:.1} ml on {}", mask.grid()));
            }
        }
        ok.store(result.ok, Ordering::Relaxed);
    });
    Ok(ok.into_inner())
}

/// A ball of intensity 100 on 0, its radius in mm, in the middle of a grid of 2 mm.
fn ball(radius_mm: f64) -> Result<Image, sdk::WrongLength> {
    let grid = Grid::axis_aligned([64; 3], [2.0; 3]);
    let centre = grid.centre_world();
    let voxel = |offset: usize| {
        let place = grid.world(grid.index(offset));
        let squared: f64 = (0..3).map(|axis| (place[axis] - centre[axis]).powi(2)).sum();
        if squared <= radius_mm * radius_mm { 100.0 } else { 0.0 }
    };
    Image::new(grid, (0..grid.len()).map(voxel).collect::<Vec<f32>>())
}

#[expect(clippy::print_stdout, reason = "the program's answer")]
fn show(line: &str) {
    println!("{line}");
}
