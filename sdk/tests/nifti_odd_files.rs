//! Real files of many writers read to the same voxels and affine as nibabel gives, or to the right error.
//!
//! The numbers are recorded by `golden/odd_nifti.py`; the files themselves are not part of the repository.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "the lints know test functions only, not their helpers"
)]

use neuroloom_sdk::nifti;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What `golden/odd_nifti.py` wrote.
#[derive(Deserialize)]
struct Golden {
    made_with: BTreeMap<String, String>,
    files: BTreeMap<String, Expected>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Expected {
    Error {
        error: String,
    },
    Volume {
        datatype: String,
        shape: [usize; 3],
        affine: [[f64; 4]; 3],
        voxels: usize,
        sum: f64,
        min: f32,
        max: f32,
        samples: Vec<(usize, f32)>,
        crc32: u32,
    },
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("golden/odd_nifti.json")).unwrap()
}

/// The test data next to the repository; `None`, with a message, where they are not.
fn data() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .find(|folder| folder.join("Cargo.lock").exists())?;
    let data = root.parent()?.join("shared/data");
    if data.join("odd").is_dir() {
        return Some(data);
    }
    println!("skipped: no folder {}", data.display());
    None
}

#[test]
fn every_file_reads_as_nibabel_reads_it() {
    let Some(data) = data() else { return };
    let Golden { made_with, files } = golden();
    println!("recorded with {made_with:?}");
    let faults: Vec<String> = files
        .iter()
        .filter_map(|(name, expected)| {
            Some(format!("{name}: {}", compare(&data.join(name), expected).err()?))
        })
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// A file that is added to the folder without a record would go unchecked.
#[test]
fn every_file_has_a_record() {
    let Some(data) = data() else { return };
    let files = golden().files;
    let mut folders = vec![data.join("odd"), data.join("colin27")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(&data).unwrap().to_str().unwrap();
            assert!(
                files.contains_key(name),
                "{name} is not in golden/odd_nifti.json: run golden/odd_nifti.py"
            );
        }
    }
}

fn compare(path: &Path, expected: &Expected) -> Result<(), String> {
    let same = |what: &str, found: &dyn std::fmt::Debug, expected: &dyn std::fmt::Debug| {
        let (found, expected) = (format!("{found:?}"), format!("{expected:?}"));
        if found == expected { Ok(()) } else { Err(format!("{what} {found} instead of {expected}")) }
    };
    let read = nifti::read(path, neuroloom_sdk::Kind::Image);
    let Expected::Volume { datatype, shape, affine, voxels, sum, min, max, samples, crc32 } = expected else {
        let Expected::Error { error } = expected else { unreachable!("two variants") };
        let message = read.map_or_else(|error| error.to_string(), |_| "it was read".to_owned());
        let hinted = message.contains("\nhint: ");
        return if message.contains(error) && hinted {
            Ok(())
        } else {
            Err(format!("`{message}`, not `{error}`"))
        };
    };
    let read = read.map_err(|error| error.to_string())?;
    let neuroloom_sdk::AnyVolume::Image(image) = read.volume else { return Err("no image".to_owned()) };
    same("datatype", &read.header.datatype, &datatype)?;
    same("shape", &image.grid().shape, shape)?;
    let rows = image.grid().voxel_to_world.rows();
    let apart =
        (rows.iter().flatten()).zip(affine.iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    // Both compute in f64 from the same f32 fields, in another order: no voxel of a head moves by 1e-9 mm.
    if apart > 1e-10 {
        return Err(format!("affine {rows:?} instead of {affine:?}"));
    }
    let (header_grid, _) = nifti::read_grid(path).map_err(|error| error.to_string())?;
    same("grid by header", &header_grid, image.grid())?;
    same("number of voxels", &image.voxels().len(), voxels)?;
    for &(place, value) in samples {
        same(&format!("voxel {place}"), &image.voxels()[place], &value)?;
    }
    let least = image.voxels().iter().copied().fold(f32::INFINITY, f32::min);
    let largest = image.voxels().iter().copied().fold(f32::NEG_INFINITY, f32::max);
    same("least and largest", &(least, largest), &(min, max))?;
    let magnitude: f64 = image.voxels().iter().map(|&v| f64::from(v.abs())).sum();
    let total: f64 = image.voxels().iter().map(|&v| f64::from(v)).sum();
    // f64 sums of up to 1e7 numbers in another order.
    if (total - sum).abs() > 1e-12 * magnitude {
        return Err(format!("sum {total} instead of {sum}"));
    }
    let bytes: Vec<u8> = image.voxels().iter().flat_map(|v| v.to_le_bytes()).collect();
    same("CRC-32 of the voxels", &libdeflater::crc32(&bytes), crc32)
}
