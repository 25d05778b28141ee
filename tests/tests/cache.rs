//! `neuroloom cache`, from outside.

use neuroloom_core::store::{Digest, Store};
use neuroloom_tests::{Finished, finish, neuroloom};
use sdk::{Grid, Image, Inputs};
use serde_json::Value as Json;
use std::path::{Path, PathBuf};

/// Slow enough to be stored.
const SLOW_SECONDS: f64 = 10.0;

fn ask(arguments: &[&str], folder: &Path) -> Finished {
    finish(neuroloom().arg("cache").args(arguments).arg("--cache").arg(folder))
}

fn json(answer: &Finished) -> Json {
    serde_json::from_str(&answer.stdout).unwrap_or_else(|error| panic!("{error}: {}", answer.stdout))
}

/// A store of three results of 4 KB.
fn stored() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("kept");
    let store = Store::open(&path, 1 << 30).expect("a store");
    for name in ["a", "b", "c"] {
        let image = Image::new(Grid::axis_aligned([10; 3], [1.0; 3]), vec![1.0; 1000]).expect("a voxel each");
        store
            .put(&Digest::of_bytes(name.as_bytes()), &Inputs::new().with("image", image), SLOW_SECONDS)
            .expect("room");
    }
    (folder, path)
}

/// The file of result `a`.
fn entry(store: &Path) -> PathBuf {
    let name = Digest::of_bytes(b"a").to_string();
    store.join("v1").join(&name[..2]).join(&name[2..])
}

#[test]
fn a_flipped_bit_is_found_named_and_removed() {
    let (_folder, store) = stored();
    let fine = ask(&["verify"], &store);
    assert_eq!((fine.code, fine.stdout.as_str()), (Some(0), ""), "{}", fine.stderr);
    let path = entry(&store);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let answer = ask(&["verify", "--format", "json"], &store);
    let found = json(&answer);
    let text = found["damaged"][0].as_str().unwrap();
    assert!(
        text.contains(path.to_str().unwrap()) && text.contains("`image` is not what was written"),
        "{text}"
    );
    assert_eq!((answer.code, found["entries"].as_u64(), path.exists()), (Some(1), Some(3), false));
    assert_eq!(ask(&["verify"], &store).code, Some(0));
}

#[test]
fn the_cache_tells_its_size_and_shrinks_to_the_limit() {
    let (_folder, store) = stored();
    let stat = json(&ask(&["stat", "--format", "json"], &store));
    assert_eq!((stat["entries"].as_u64(), stat["limit_bytes"].as_u64()), (Some(3), Some(20 << 30)));
    assert!(stat["bytes"].as_u64().is_some_and(|bytes| bytes > 12_000), "{stat}");
    assert!(ask(&["stat"], &store).stdout.contains("results   3"));
    let gc = json(&ask(&["gc", "--max-gib", "0.00001", "--format", "json"], &store));
    assert_eq!((gc["removed"].as_u64(), gc["entries"].as_u64()), (Some(1), Some(2)), "{gc}");
    let all = ask(&["gc", "--all"], &store);
    assert_eq!((all.code, all.stdout.contains("0 results are left")), (Some(0), true), "{}", all.stdout);
}

#[test]
fn a_folder_that_holds_no_cache_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let answer = ask(&["gc", "--all"], folder.path());
    assert_eq!(answer.code, Some(2));
    assert!(answer.stderr.contains("no cache is there\nhint: "), "{}", answer.stderr);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
