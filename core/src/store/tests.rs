//! Whole stores: what is kept, what is found wrong, who shares them.

use super::*;
use proptest::prelude::*;
use sdk::{
    Affine, Cell, Column, Content, Document, Grid, Image, Inputs, Labels, Mask, Probability, Table, Value,
};
use std::sync::Arc;

/// Enough room for every test.
const ROOMY: u64 = 1 << 30;
/// Slow enough to be stored.
const SLOW_SECONDS: f64 = 10.0;

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store"), ROOMY).unwrap();
    (folder, store)
}

fn key(text: &str) -> Digest {
    Digest::of_bytes(text.as_bytes())
}

fn image(side: usize, value: f32) -> Value {
    let voxels = (0..side.pow(3)).map(|i| value + i as f32).collect::<Vec<_>>();
    Image::new(Grid::axis_aligned([side; 3], [1.0; 3]), voxels).unwrap().into()
}

fn outputs() -> Outputs {
    Inputs::new()
        .with("image", image(5, 1.0).fact("threshold", 0.3))
        .with_member("tables", "a", Table::default())
        .with_member("tables", "b", Value::from("text"))
}

fn digests(outputs: &Outputs) -> Vec<(String, String, Digest)> {
    outputs
        .iter()
        .map(|(port, member, value)| (port.into(), member.into(), Digest::of_value(value)))
        .collect()
}

#[test]
fn what_was_put_is_found_by_its_key_and_mapped() {
    let (_folder, store) = store();
    assert!(store.look_up(&key("a")).is_none());
    let put = store.put(&key("a"), &outputs(), SLOW_SECONDS).unwrap();
    let hit = store.look_up(&key("a")).unwrap();
    assert_eq!((&hit.outputs, hit.has_values, hit.seconds), (&put.outputs, true, SLOW_SECONDS));
    assert_eq!(hit.outputs, digests(&outputs()));
    let loaded = hit.load().unwrap();
    assert_eq!(digests(&loaded), hit.outputs);
    let Some(sdk::AnyVolume::Image(image)) = loaded.value("image").unwrap().volume() else { panic!() };
    assert_eq!((image.buffer().owner_kind(), image.voxels().as_ptr() as usize % 64), ("map", 0));
}

#[test]
fn what_is_cheaper_to_make_than_to_read_is_kept_as_digests_only() {
    let (_folder, store) = store();
    let outputs = Inputs::new().with("image", image(40, 1.0));
    let bytes = 40f64.powi(3) * 4.0;
    for (name, seconds, kept) in [("cheap", 0.9, false), ("dear", 1.2, true)] {
        store.put(&key(name), &outputs, seconds * bytes / READ_BYTES_PER_SECOND).unwrap();
        let hit = store.look_up(&key(name)).unwrap();
        assert_eq!((hit.has_values, &hit.outputs, hit.load().is_ok()), (kept, &digests(&outputs), kept));
    }
    assert_eq!(store.verify().len(), 0);
}

#[test]
fn a_path_is_kept_as_a_digest_only() {
    let (folder, store) = store();
    let path = folder.path().join("made.txt");
    fs::write(&path, "content").unwrap();
    let hit = store.put(&key("a"), &Inputs::new().with("file", path), SLOW_SECONDS).unwrap();
    assert!(!hit.has_values && !store.look_up(&key("a")).unwrap().has_values);
}

#[test]
fn damage_to_the_head_is_found_by_look_up_and_damage_to_values_by_load() {
    let (_folder, store) = store();
    let path = store.path(&key("a"));
    let put = || store.put(&key("a"), &outputs(), SLOW_SECONDS).unwrap();
    put();
    let good = fs::read(&path).unwrap();
    let spoil = |bytes: &[u8]| {
        remove(&path);
        fs::write(&path, bytes).unwrap();
    };
    let head_end = good.windows(2).position(|two| two == b"\0\0").unwrap().max(512);
    for at in (0..good.len()).step_by(7) {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        spoil(&bad);
        match store.look_up(&key("a")) {
            None => assert!(!path.exists(), "byte {at}: a damaged file stays"),
            Some(hit) => {
                let error = hit.load().unwrap_err();
                assert!(
                    at > head_end / 2 && matches!(error, EntryError::Damaged { .. }),
                    "byte {at}: {error}"
                );
                assert!(!path.exists(), "byte {at}: a damaged file stays");
            }
        }
    }
    for (bytes, what) in [
        (&good[..0], "the file is empty"),
        (&good[..20], "the file ends before its head"),
        (&good[..100], "the file ends within its head"),
        (&good[..good.len() - 1], "bytes long instead of"),
        (b"hello".repeat(30).as_slice(), "this is no entry file"),
    ] {
        spoil(bytes);
        let text = entry::open(&path).unwrap_err().to_string();
        assert!(text.contains(what), "{text}");
        assert!(store.look_up(&key("a")).is_none() && !path.exists());
    }
    put();
    assert!(store.look_up(&key("a")).unwrap().load().is_ok());
}

#[test]
fn an_entry_of_another_version_or_under_another_name_is_not_taken() {
    let (_folder, store) = store();
    store.put(&key("a"), &outputs(), SLOW_SECONDS).unwrap();
    let bytes = fs::read(store.path(&key("a"))).unwrap();
    let other = store.path(&key("b"));
    fs::create_dir_all(other.parent().unwrap()).unwrap();
    fs::write(&other, &bytes).unwrap();
    assert!(store.look_up(&key("b")).is_none() && !other.exists());
    let mut newer = bytes;
    newer[8] = 2;
    fs::write(&other, &newer).unwrap();
    let text = entry::open(&other).unwrap_err().to_string();
    assert!(text.contains("of version 2, this engine reads version 1"), "{text}");
}

#[test]
fn verify_names_and_removes_the_damaged_and_leaves_the_rest() {
    let (_folder, store) = store();
    for name in ["a", "b", "c"] {
        store.put(&key(name), &outputs(), SLOW_SECONDS).unwrap();
    }
    let path = store.path(&key("b"));
    let mut bytes = fs::read(&path).unwrap();
    let last_text = bytes.len() - 60;
    bytes[last_text] ^= 1;
    remove(&path);
    fs::write(&path, bytes).unwrap();
    let wrong = store.verify();
    let text = wrong[0].to_string();
    assert!(wrong.len() == 1 && text.contains("`tables.b`") && text.contains("checksum"), "{text}");
    assert_eq!((store.survey().entries, store.verify().len()), (2, 0));
}

#[test]
fn the_least_recently_used_go_when_the_limit_is_exceeded() {
    let folder = tempfile::tempdir().unwrap();
    let values = Inputs::new().with("image", image(20, 0.0));
    let one = 20u64.pow(3) * 4;
    let store = Store::open(folder.path(), one * 7 / 2).unwrap();
    for (age, name) in ["a", "b", "c"].iter().enumerate() {
        store.put(&key(name), &values, SLOW_SECONDS).unwrap();
        let when = SystemTime::now() - Duration::from_secs(1000 - age as u64);
        File::open(store.path(&key(name))).unwrap().set_modified(when).unwrap();
    }
    store.look_up(&key("a")).unwrap();
    store.put(&key("d"), &values, SLOW_SECONDS).unwrap();
    let left: Vec<&str> =
        ["a", "b", "c", "d"].into_iter().filter(|name| store.look_up(&key(name)).is_some()).collect();
    assert_eq!(left, ["a", "c", "d"]);
    assert!(store.survey().bytes <= store.limit_bytes());
    assert_eq!(store.collect(0).files, 3);
}

#[cfg(unix)]
#[test]
fn folders_are_for_their_owner_alone_and_entries_are_read_only() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, store) = store();
    store.put(&key("a"), &outputs(), SLOW_SECONDS).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let entry = store.path(&key("a"));
    assert_eq!(
        (mode(&folder.path().join("store")), mode(entry.parent().unwrap()), mode(&entry)),
        (0o700, 0o700, 0o444)
    );
}

#[test]
fn a_store_that_is_no_folder_is_a_clear_error_and_a_failed_write_leaves_nothing() {
    let (folder, store) = store();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let text = Store::open(&file, ROOMY).unwrap_err().to_string();
    assert!(text.contains("cannot be used") && text.contains("--no-cache"), "{text}");
    // A file where the entry's folder should be: no user, not even root, can write there.
    let path = store.path(&key("a"));
    fs::write(path.parent().unwrap(), "").unwrap();
    let text = store.put(&key("a"), &outputs(), SLOW_SECONDS).unwrap_err().to_string();
    assert!(text.contains("bytes could not be written") && text.contains("hint: "), "{text}");
    assert!(store.look_up(&key("a")).is_none());
}

#[test]
fn many_threads_with_stores_of_their_own_share_a_folder() {
    let (_folder, first) = store();
    let values = Arc::new(outputs());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let (folder, values) = (first.folder(), Arc::clone(&values));
            scope.spawn(move || {
                let store = Store::open(folder, ROOMY).unwrap();
                for round in 0..40 {
                    let key = key(&format!("{}", round % 5));
                    store.put(&key, &values, SLOW_SECONDS).unwrap();
                    if let Some(hit) = store.look_up(&key) {
                        // Gone, perhaps, but never half there.
                        match hit.load() {
                            Ok(loaded) => assert_eq!(digests(&loaded), hit.outputs),
                            Err(error) => assert!(matches!(error, EntryError::Unreadable { .. }), "{error}"),
                        }
                    }
                    if round % 7 == 0 {
                        store.collect(0);
                    }
                }
            });
        }
    });
    assert!(first.verify().is_empty());
}

fn any_value() -> impl Strategy<Value = Value> {
    let voxels = prop::collection::vec(any::<u32>(), 24);
    let volume = (0..5usize, voxels, prop::array::uniform3(0.1f64..9.0)).prop_map(|(kind, bits, spacing)| {
        let grid = Grid::axis_aligned([2, 3, 4], spacing);
        let floats: Vec<f32> = bits.iter().map(|bits| f32::from_bits(*bits)).collect();
        let bytes: Vec<u8> = bits.iter().map(|bits| *bits as u8).collect();
        match kind {
            0 => Image::new(grid, floats).unwrap().into(),
            1 => Mask::new(grid, bytes).unwrap().into(),
            2 => Labels::new(grid, bits).unwrap().into(),
            3 => Probability::new(grid, floats).unwrap().into(),
            _ => Value::from(Document::new("image/png", bytes)),
        }
    });
    let number = any::<f64>().prop_filter("JSON has no other numbers", |number| number.is_finite());
    let cell = prop_oneof![
        Just(Cell::Absent),
        any::<bool>().prop_map(Cell::Bool),
        number.clone().prop_map(Cell::Number),
        ".*".prop_map(Cell::Text)
    ];
    let table = prop::collection::vec(cell, 0..5).prop_map(|row| {
        let columns = (0..row.len()).map(|i| Column::new(&format!("c{i}"), "mm", "what it tells")).collect();
        Value::from(Table { columns, rows: vec![row] })
    });
    let affine =
        prop::array::uniform3(number).prop_map(|shift| Value::from(Affine::scale_shift([1.0; 3], shift)));
    let content =
        prop_oneof![volume, table, affine, ".*".prop_map(Value::from), any::<f64>().prop_map(Value::from)];
    (content, prop::collection::btree_map("[a-z]{1,8}", any::<f64>(), 0..4))
        .prop_map(|(value, facts)| facts.iter().fold(value, |value, (name, fact)| value.fact(name, *fact)))
}

/// The numbers and all else, to compare two values bit for bit.
fn image_of(value: &Value) -> (String, Option<Vec<u8>>, String) {
    let number = match value.content {
        Content::Number(number) => number.to_bits().to_string(),
        _ => String::new(),
    };
    (digest::header(value), digest::payload(value).map(|(_, bytes)| bytes.to_vec()), number)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_values_survive_a_file_bit_for_bit_and_any_flipped_byte_is_found(
        values in prop::collection::vec(any_value(), 0..4), at in any::<prop::sample::Index>(), flip in 1..=255u8,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("values");
        let names: Vec<String> = (0..values.len()).map(|i| format!("m{i}")).collect();
        let entries: Vec<_> = names.iter().zip(&values).map(|(name, value)| ("port", name.as_str(), value)).collect();
        let listed = entry::write(&path, &entries).unwrap();
        let file = entry::open(&path).unwrap();
        prop_assert_eq!(&file.list(), &listed);
        for (name, value) in names.iter().zip(&values) {
            let back = file.load("port", name).unwrap().unwrap();
            let nan = matches!(value.content, Content::Number(number) if number.is_nan());
            prop_assert!(nan || image_of(&back) == image_of(value), "{value:?} {back:?}");
            prop_assert_eq!(Digest::of_value(&back), Digest::of_value(value));
        }
        let mut bytes = fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        remove(&path);
        fs::write(&path, &bytes).unwrap();
        let found = entry::open(&path).and_then(|file| file.load_all().map(drop));
        prop_assert!(matches!(found, Err(EntryError::Damaged { .. })), "byte {at} of {}", bytes.len());
    }
}
