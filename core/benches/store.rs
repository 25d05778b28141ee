//! What the cache costs: a run that finds everything should not notice it, and one that finds nothing neither.

#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up has to stop")]

use divan::Bencher;
use divan::counter::BytesCount;
use neuroloom_core::store::{Digest, Store, entry};
use sdk::{Grid, Image, Inputs, Outputs};
use std::hint::black_box;

fn main() {
    divan::main();
}

/// 64 MiB: a large image.
const SIDE: usize = 256;
/// Enough for every entry of a bench.
const ROOMY: u64 = 64 << 30;
/// So slow a stage is stored.
const SLOW_SECONDS: f64 = 60.0;

fn image(side: usize) -> Outputs {
    let voxels: Vec<f32> = (0..side.pow(3)).map(|i| (i % 251) as f32).collect();
    Inputs::new().with("image", Image::new(Grid::axis_aligned([side; 3], [1.0; 3]), voxels).unwrap())
}

fn key(number: usize) -> Digest {
    Digest::of_bytes(&number.to_le_bytes())
}

/// A cached run of 200 stages looks up 200 keys. Goal: 10 ms for all of them.
#[divan::bench]
fn look_up_of_200(bencher: Bencher<'_, '_>) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), ROOMY).unwrap();
    let keys: Vec<Digest> = (0..200).map(key).collect();
    for key in &keys {
        store.put(key, &image(8), SLOW_SECONDS).unwrap();
    }
    bencher.bench(|| keys.iter().filter(|key| store.look_up(black_box(key)).is_some()).count());
}

/// Every value that a stage makes is hashed. Should run at the speed of memory.
#[divan::bench]
fn digest_of_a_value(bencher: Bencher<'_, '_>) {
    let values = image(SIDE);
    let value = values.value("image").unwrap();
    bencher.counter(BytesCount::new(SIDE.pow(3) * 4)).bench(|| Digest::of_value(black_box(value)));
}

/// Hashes, writes, renames. Goal: 150 ms.
#[divan::bench(sample_count = 10)]
fn put(bencher: Bencher<'_, '_>) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), ROOMY).unwrap();
    let (values, mut number) = (image(SIDE), 0);
    bencher.counter(BytesCount::new(SIDE.pow(3) * 4)).bench_local(|| {
        number += 1;
        store.put(&key(number), &values, SLOW_SECONDS).unwrap()
    });
}

/// Maps and verifies.
#[divan::bench]
fn load(bencher: Bencher<'_, '_>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("values");
    let values = image(SIDE);
    entry::write(&path, &values.iter().collect::<Vec<_>>()).unwrap();
    bencher
        .counter(BytesCount::new(SIDE.pow(3) * 4))
        .bench(|| entry::open(&path).unwrap().load_all().unwrap());
}
