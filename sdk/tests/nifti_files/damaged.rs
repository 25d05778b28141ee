//! What cannot be read ends in one clear error: what, where, which limit, and a way out.

use crate::fixture::{Fixture, gzip};
use neuroloom_sdk::{Kind, nifti};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// The error for a file of that name with these bytes; the folder's name is left out.
fn fault(name: &str, bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let error = nifti::read(&path, Kind::Image).expect_err("this file cannot be read");
    error.to_string().replace(&format!("{}/", folder.path().display()), "")
}

/// The error must begin so, name the file, and give a hint.
#[track_caller]
fn expect(bytes: &[u8], name: &str, text: &str) {
    let fault = fault(name, bytes);
    assert!(fault.starts_with(text), "`{fault}` does not begin with `{text}`");
    assert_eq!(fault.lines().filter(|line| line.starts_with("hint: ")).count(), 1, "`{fault}` has no hint");
}

#[track_caller]
fn expect_header(change: impl Fn(&mut Fixture), text: &str) {
    for version in [1, 2] {
        let mut fixture = Fixture { version, ..Fixture::default() };
        change(&mut fixture);
        expect(&fixture.file(), "a.nii", text);
        expect(&gzip(&fixture.file()), "a.nii", text);
    }
}

#[test]
fn other_things_than_nifti_are_named() {
    let analyze = {
        let mut bytes = Fixture::default().file();
        bytes[344..348].fill(0);
        bytes
    };
    expect(b"", "a.nii", "`a.nii` is no NIfTI file: the file is empty");
    expect(b"a", "a.nii", "`a.nii` is no NIfTI file: it begins with `a`");
    expect(b"subject,age\n", "a.nii", r"`a.nii` is no NIfTI file: it begins with `subject,age\n`");
    expect(&gzip(b""), "a.nii.gz", "`a.nii.gz` is no NIfTI file: the file is empty");
    expect(&analyze, "a.hdr", "`a.hdr` is no NIfTI file: its header has no NIfTI mark, as in ANALYZE 7.5");
    let folder = tempfile::tempdir().unwrap();
    let error = nifti::read(folder.path(), Kind::Image).unwrap_err().to_string();
    assert!(error.contains("is a folder where a file is expected\nhint: "), "{error}");
    let error = nifti::read(folder.path().join("none.nii"), Kind::Image).unwrap_err().to_string();
    assert!(error.starts_with("cannot open `") && error.contains("No such file"), "{error}");
}

#[test]
#[cfg(unix)]
fn a_file_without_permission_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.nii");
    std::fs::write(&path, Fixture::default().file()).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    if std::fs::File::open(&path).is_ok() {
        println!("skipped: this user may open everything");
        return;
    }
    let error = nifti::read(&path, Kind::Image).unwrap_err().to_string();
    assert!(error.contains("Permission denied") && error.contains("hint: ask the folder's owner"), "{error}");
}

#[test]
fn a_file_cut_short_says_how_much_is_there() {
    let file = Fixture::default().file();
    expect(&file[..100], "a.nii", "`a.nii` holds 100 bytes where its header asks for 348");
    expect(&file[..370], "a.nii", "`a.nii` holds 370 bytes where its header asks for 376");
    expect(&gzip(&file[..370]), "a.nii.gz", "`a.nii.gz` holds 370 bytes where its header asks for 376");
    let packed = gzip(&file);
    expect(&packed[..packed.len() - 12], "a.nii.gz", "the gzip data of `a.nii.gz` are damaged: ");
}

/// The crate and nibabel stop at the last voxel and see none of this.
#[test]
fn a_gzip_trailer_that_is_wrong_or_cut_is_damage() {
    let packed = gzip(&Fixture::default().file());
    let len = packed.len();
    for (place, what) in [(len - 8, "CRC-32"), (len - 1, "length")] {
        let mut broken = packed.clone();
        broken[place] ^= 1;
        expect(&broken, "a.nii.gz", "the gzip data of `a.nii.gz` are damaged: corrupt gzip stream");
        println!("a wrong {what} was seen");
    }
    for cut in 1..=8 {
        expect(&packed[..len - cut], "a.nii.gz", "the gzip data of `a.nii.gz` are damaged: ");
    }
    let second = [gzip(&Fixture::default().file()[..360]), gzip(&Fixture::default().file()[360..])].concat();
    let mut broken = second.clone();
    broken[second.len() - 6] ^= 1;
    expect(&broken, "a.nii.gz", "the gzip data of `a.nii.gz` are damaged: ");
}

#[test]
fn a_gzip_file_that_inflates_far_beyond_its_header_is_stopped() {
    let mut file = Fixture::default().file();
    file.resize(64 << 20, 0);
    expect(
        &gzip(&file),
        "a.nii.gz",
        "the gzip data of `a.nii.gz` are damaged: they inflate to more than twice the 376",
    );
}

/// 30000^3 voxels are 54 TB: no memory may be taken for what a file of 400 bytes cannot hold.
#[test]
fn a_header_that_asks_for_more_than_the_file_holds_takes_no_memory() {
    let mut fixture = Fixture { dim: [3, 30_000, 30_000, 30_000, 1, 1, 1, 1], ..Fixture::default() };
    expect(&fixture.file(), "a.nii", "`a.nii` holds 376 bytes where its header asks for 54000000000352");
    let packed = fault("a.nii.gz", &gzip(&fixture.file()));
    assert!(packed.contains("where its header asks for 54000000000352"), "{packed}");
    fixture = Fixture { version: 2, dim: [3, 1 << 40, 1 << 40, 2, 1, 1, 1, 1], ..fixture };
    expect(&fixture.file(), "a.nii", "`dim[2]` of `a.nii` is 1099511627776; expected fewer voxels");
}

#[test]
fn a_field_that_cannot_be_is_named_with_its_value() {
    expect_header(|f| f.dim[2] = -5, "`dim[2]` of `a.nii` is -5; expected 1 or more");
    expect_header(|f| f.dim[3] = 0, "`dim[3]` of `a.nii` is 0; expected 1 or more");
    expect_header(|f| f.dim[0] = 0, "`dim[0]` of `a.nii` is 0; expected 1 to 7");
    expect_header(|f| f.dim[0] = -3, "`dim[0]` of `a.nii` is -3; expected 1 to 7");
    expect_header(|f| f.dim[0] = 8, "`dim[0]` of `a.nii` is 8; expected 1 to 7");
    expect_header(|f| f.bitpix = 8, "`bitpix` of `a.nii` is 8; expected 16, as datatype 4 says");
    expect_header(|f| f.datatype = 5, "`datatype` of `a.nii` is 5; expected a code");
    expect_header(
        |f| f.vox_offset = Some(100.0),
        "`vox_offset` of `a.nii` is 100; expected a whole number of",
    );
    expect_header(
        |f| f.vox_offset = Some(-352.0),
        "`vox_offset` of `a.nii` is -352; expected a whole number of",
    );
    let beyond = Fixture { vox_offset: Some(1e9), ..Fixture::default() };
    expect(&beyond.file(), "a.nii", "`a.nii` holds 376 bytes where its header asks for 1000000024");
    let nan = Fixture { vox_offset: Some(f64::NAN), ..Fixture::default() };
    expect(&nan.file(), "a.nii", "`vox_offset` of `a.nii` is NaN");
}

#[test]
fn what_is_no_scalar_volume_is_refused_by_name() {
    let refused = |datatype, bitpix, name: &str| {
        let change = |f: &mut Fixture| (f.datatype, f.bitpix) = (datatype, bitpix);
        expect_header(change, &format!("`a.nii` holds {name} voxels; expected integers or floats"));
    };
    refused(128, 24, "RGB");
    refused(2304, 32, "RGBA");
    refused(32, 64, "complex64");
    refused(1792, 128, "complex128");
    refused(2048, 256, "complex256");
    refused(1536, 128, "float128");
    expect_header(
        |f| (f.dim[0], f.dim[4]) = (4, 300),
        "`a.nii` has 300 volumes where 1 is expected\nhint: take one volume",
    );
    expect_header(
        |f| (f.dim[0], f.dim[4], f.dim[5]) = (5, 1, 3),
        "`a.nii` has 3 volumes where 1 is expected",
    );
}

#[test]
fn a_grid_that_lies_nowhere_is_refused() {
    let no_sform = |f: &mut Fixture| (f.sform_code, f.qform_code) = (0, 1);
    expect_header(|f| f.srow[1][1] = f64::NAN, "the sform of `a.nii` holds NaN");
    expect_header(|f| f.srow[1] = f.srow[0], "the sform of `a.nii` is flat");
    expect_header(|f| f.srow = [[0.0; 4]; 3], "the sform of `a.nii` is flat");
    expect_header(
        |f| {
            no_sform(f);
            f.quatern = [1.0, 1.0, 0.0];
        },
        "the qform of `a.nii` has the quaternion (1, 1, 0), longer than 1",
    );
    expect_header(
        |f| {
            no_sform(f);
            f.qoffset[0] = f64::INFINITY;
        },
        "the qform of `a.nii` holds inf",
    );
    expect_header(
        |f| {
            no_sform(f);
            f.pixdim[1] = f64::NAN;
        },
        "the spacing of `a.nii` is NaN along axis 0",
    );
}

#[test]
fn half_a_pair_names_the_other_half() {
    let pair = Fixture { is_pair: true, ..Fixture::default() };
    expect(&pair.header(), "a.hdr", "`a.hdr` is half of a pair, and `a.img` is missing");
    expect(&gzip(&pair.header()), "a.hdr.gz", "`a.hdr.gz` is half of a pair, and `a.img.gz` is missing");
    expect(&pair.voxels, "a.img", "`a.img` is half of a pair, and `a.hdr` is missing");
    expect(&pair.file(), "a.nii", "`magic` of `a.nii` is `ni1`, half of a pair");
}

#[test]
fn a_header_copied_as_text_is_told() {
    let mut bytes = Fixture { version: 2, ..Fixture::default() }.file();
    bytes[8] = b'\n';
    expect(&bytes, "a.nii", "`magic` of `a.nii` is followed by");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(20_200),
        ..ProptestConfig::default()
    })]

    /// Whatever the bytes, reading ends in a volume or in an error: no panic, no memory beyond what the file can hold.
    #[test]
    fn a_header_with_any_bytes_ends_in_a_volume_or_an_error(
        version in 1u8..=2,
        big_endian in any::<bool>(),
        gzipped in any::<bool>(),
        changes in proptest::collection::vec((0usize..380, any::<u8>()), 1..6),
        len in 0usize..600,
    ) {
        let mut bytes = Fixture { version, big_endian, ..Fixture::default() }.file();
        for (place, value) in changes {
            let place = place % bytes.len();
            bytes[place] = value;
        }
        bytes.truncate(len);
        let bytes = if gzipped { gzip(&bytes) } else { bytes };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.nii");
        std::fs::write(&path, bytes).unwrap();
        for kind in [Kind::Image, Kind::Mask, Kind::Labels, Kind::Probability] {
            if let Err(error) = nifti::read(&path, kind) {
                prop_assert!(error.to_string().contains("\nhint: "), "{error}");
            }
        }
    }

    /// Any bytes after the gzip mark end in an error or a volume.
    #[test]
    fn a_gzip_stream_with_any_bytes_ends_in_a_volume_or_an_error(
        changes in proptest::collection::vec((2usize..70, any::<u8>()), 1..4),
    ) {
        let mut packed = gzip(&Fixture::default().file());
        for (place, value) in changes {
            let place = place % packed.len();
            packed[place.max(2)] = value;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.nii.gz");
        std::fs::write(&path, packed).unwrap();
        let _ = nifti::read(&path, Kind::Image).map_err(|error| error.to_string());
    }
}
