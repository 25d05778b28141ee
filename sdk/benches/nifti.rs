//! What reading and writing cost against the bytes that move.

#![expect(clippy::unwrap_used, reason = "a bench may end on a fault")]

use divan::Bencher;
use divan::counter::BytesCount;
use neuroloom_sdk::nifti::{self, WriteOptions};
use neuroloom_sdk::{AnyVolume, Grid, Image, Labels};
use std::path::PathBuf;

/// Voxels along each axis: a whole head at 1 mm.
const SIDE: usize = 256;

fn main() {
    divan::main();
}

fn grid() -> Grid {
    Grid::axis_aligned([SIDE; 3], [1.0; 3])
}

/// A smooth ball under noise of some bits, as in a head: it packs to about half.
fn value(offset: usize) -> u32 {
    let noise = (offset as u32).wrapping_mul(2_654_435_761) >> 27;
    let distance =
        grid().index(offset).map(|i| (i as f64 - SIDE as f64 / 2.0).powi(2)).into_iter().sum::<f64>();
    if distance < 12_100.0 { 600 - (distance / 40.0) as u32 + noise } else { 0 }
}

fn head() -> AnyVolume {
    let voxels: Vec<f32> = (0..grid().len()).map(|offset| value(offset) as f32).collect();
    AnyVolume::Image(Image::new(grid(), voxels).unwrap())
}

/// Labels up to 65535 are stored as uint16: as many bytes as the int16 of a scanner.
fn head_of_16_bits() -> AnyVolume {
    let voxels: Vec<u32> = (0..grid().len()).map(value).collect();
    AnyVolume::Labels(Labels::new(grid(), voxels).unwrap())
}

fn written(volume: &AnyVolume, name: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    nifti::write(&path, volume, &WriteOptions::default()).unwrap();
    (folder, path)
}

/// A case has four of these, so a run should not wait for them.
#[divan::bench(args = ["a.nii.gz", "a.nii"], sample_count = 10)]
fn read_16_bits_as_f32(bencher: Bencher<'_, '_>, name: &str) {
    let (_folder, path) = written(&head_of_16_bits(), name);
    bencher.counter(BytesCount::of_many::<u16>(SIDE.pow(3))).bench(|| nifti::read_image(&path).unwrap());
}

/// Results of an earlier run; uncompressed they are read straight into the memory of the volume.
#[divan::bench(args = ["a.nii.gz", "a.nii"], sample_count = 10)]
fn read_f32(bencher: Bencher<'_, '_>, name: &str) {
    let (_folder, path) = written(&head(), name);
    bencher.counter(BytesCount::of_many::<f32>(SIDE.pow(3))).bench(|| nifti::read_image(&path).unwrap());
}

/// The planner asks for the grid of every file of a cohort: this must not depend on the file's size.
#[divan::bench(sample_count = 10)]
fn read_grid(bencher: Bencher<'_, '_>) {
    let (_folder, path) = written(&head_of_16_bits(), "a.nii.gz");
    bencher.bench(|| nifti::read_grid(&path).unwrap());
}

/// Outputs are written while the next case computes; with fsync, so the disk has its say.
#[divan::bench(args = ["a.nii.gz", "a.nii"], sample_count = 5)]
fn write_f32(bencher: Bencher<'_, '_>, name: &str) {
    let volume = head();
    let (_folder, path) = written(&volume, name);
    let options = WriteOptions::default();
    bencher
        .counter(BytesCount::of_many::<f32>(SIDE.pow(3)))
        .bench(|| nifti::write(&path, &volume, &options).unwrap());
}
