//! How long a slice takes on one CPU thread.

use divan::{Bencher, black_box};
use neuroloom_segment::backend::Backend;
use neuroloom_segment::model;
use sdk::Place;

/// Side of the paper's slices, in voxels.
const SIDE: usize = 256;
/// Channels of its stack: seven slices of four sequences.
const CHANNELS: usize = 28;

fn main() {
    divan::main();
}

/// A volume has 160 to 300 slices. Cost should stay below 0.3 CPU-s a slice at width 0.25.
#[divan::bench(args = [0.25, 1.0], sample_count = 3, sample_size = 1)]
fn slice(bencher: Bencher<'_, '_>, width: f64) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("model.safetensors");
    model::write_initial(&path, &model::untrained(width, 1), 1).expect("a file can be written");
    let weights = std::fs::read(path).expect("it was just written");
    let exe = std::env::current_exe().expect("the bench has a path");
    let plugin_dir = exe.parent().expect("it lies in a folder").to_owned();
    let place = Place { device: "cpu".to_owned(), plugin_dir, ..Place::default() };
    let session = Backend::open(&place).and_then(|b| b.session(&weights, &place)).expect("libtorch is there");
    let stack = vec![0.5; SIDE * SIDE * CHANNELS];
    let mut logits = vec![0.0; SIDE * SIDE];
    bencher.bench_local(|| {
        session.logits(black_box(&stack), [1, SIDE, SIDE, CHANNELS], &mut logits).expect("it fits");
    });
}
