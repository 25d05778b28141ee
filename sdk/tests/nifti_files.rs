//! What the format allows is read, whoever wrote it.

#![expect(clippy::unwrap_used, reason = "the lint knows test functions only, not their helpers")]

#[path = "nifti_files/damaged.rs"]
mod damaged;
#[path = "nifti_files/fixture.rs"]
mod fixture;

use fixture::{Fixture, gzip};
use neuroloom_sdk::nifti::{self, Read};
use neuroloom_sdk::{AnyVolume, Kind};
use std::path::PathBuf;
use tempfile::TempDir;

/// A folder with these files.
fn folder(files: &[(&str, Vec<u8>)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

/// Reads these bytes as a file of that name.
fn read(name: &str, bytes: Vec<u8>, kind: Kind) -> Result<Read, String> {
    let folder = folder(&[(name, bytes)]);
    nifti::read(folder.path().join(name), kind).map_err(|error| error.to_string())
}

fn image(fixture: &Fixture) -> Vec<f32> {
    voxels(&read("a.nii", fixture.file(), Kind::Image).unwrap())
}

fn voxels(read: &Read) -> Vec<f32> {
    let AnyVolume::Image(image) = &read.volume else { panic!("asked for an image") };
    image.voxels().to_vec()
}

fn counted() -> Vec<f32> {
    (1..=12u8).map(f32::from).collect()
}

#[test]
fn every_type_reads_in_both_versions_and_byte_orders() {
    for (version, big_endian) in [(1, false), (1, true), (2, false), (2, true)] {
        let plain = Fixture { version, big_endian, ..Fixture::default() };
        let cases = [
            (plain.of_type(2, &[0u8, 255].map(u8::to_le_bytes)), [0.0, 255.0], "uint8"),
            (plain.of_type(256, &[-128i8, 127].map(i8::to_le_bytes)), [-128.0, 127.0], "int8"),
            (plain.of_type(512, &[1u16, 65535].map(u16::to_le_bytes)), [1.0, 65535.0], "uint16"),
            (plain.of_type(4, &[-32768i16, 32767].map(i16::to_le_bytes)), [-32768.0, 32767.0], "int16"),
            (plain.of_type(768, &[1u32, u32::MAX].map(u32::to_le_bytes)), [1.0, 4_294_967_296.0], "uint32"),
            (plain.of_type(8, &[-9i32, i32::MIN].map(i32::to_le_bytes)), [-9.0, -2_147_483_648.0], "int32"),
            (
                plain.of_type(1280, &[7u64, 1 << 40].map(u64::to_le_bytes)),
                [7.0, 1_099_511_627_776.0],
                "uint64",
            ),
            (
                plain.of_type(1024, &[-7i64, 1 << 40].map(i64::to_le_bytes)),
                [-7.0, 1_099_511_627_776.0],
                "int64",
            ),
            (plain.of_type(16, &[0.1f32, -3e38].map(f32::to_le_bytes)), [0.1, -3e38], "float32"),
            (plain.of_type(64, &[0.1f64, -1e300].map(f64::to_le_bytes)), [0.1, f32::NEG_INFINITY], "float64"),
        ];
        for (fixture, expected, name) in cases {
            let found = read("a.nii", fixture.file(), Kind::Image).unwrap();
            assert_eq!(voxels(&found), expected, "{name}, NIfTI-{version}, big-endian: {big_endian}");
            assert_eq!(found.header.datatype, name);
            assert_eq!(found.header.byte_order, if big_endian { "big" } else { "little" });
            let packed = read("a.nii.gz", gzip(&fixture.file()), Kind::Image).unwrap();
            assert_eq!(voxels(&packed), expected, "{name}, gzipped");
        }
    }
}

#[test]
fn a_pair_reads_by_either_name_however_packed() {
    for (version, header, image) in
        [(1, "a.hdr", "a.img"), (2, "a.hdr.gz", "a.img.gz"), (1, "a.hdr", "a.img.gz"), (1, "A.HDR", "A.IMG")]
    {
        let fixture = Fixture { version, is_pair: true, ..Fixture::default() };
        let pack = |name: &str, bytes: Vec<u8>| if name.ends_with("gz") { gzip(&bytes) } else { bytes };
        let files = [(header, pack(header, fixture.header())), (image, pack(image, fixture.voxels.clone()))];
        let folder = folder(&files);
        for name in [header, image] {
            let found = nifti::read(folder.path().join(name), Kind::Image).unwrap();
            assert_eq!(voxels(&found), counted(), "{name}");
        }
    }
}

/// bgzip and `cat a.gz b.gz` make such files; zeros at the end are a tape's.
#[test]
fn all_members_of_a_gzip_file_are_read() {
    let file = Fixture::default().file();
    for cuts in [vec![352], vec![10, 360], vec![360, 360, 362]] {
        let mut packed = Vec::new();
        let mut start = 0;
        for end in cuts.into_iter().chain([file.len()]) {
            packed.extend(gzip(&file[start..end]));
            start = end;
        }
        packed.extend([0; 100]);
        assert_eq!(voxels(&read("a.nii.gz", packed, Kind::Image).unwrap()), counted());
    }
}

#[test]
fn what_a_file_holds_counts_and_not_its_name() {
    let file = Fixture::default().file();
    assert_eq!(voxels(&read("a.nii", gzip(&file), Kind::Image).unwrap()), counted());
    assert_eq!(voxels(&read("a.nii.gz", file, Kind::Image).unwrap()), counted());
}

#[test]
fn extensions_before_the_voxels_are_skipped() {
    // 7 is no multiple of a voxel's bytes, so that nothing is aligned.
    for offset in [368usize, 359] {
        let mut fixture = Fixture { vox_offset: Some(offset as f64), ..Fixture::default() };
        fixture.voxels.splice(0..0, vec![99; offset - 352]);
        assert_eq!(image(&fixture), counted());
        assert_eq!(voxels(&read("a.nii.gz", gzip(&fixture.file()), Kind::Image).unwrap()), counted());
    }
}

#[test]
fn slope_and_intercept_are_applied_in_f64() {
    let values = |slope, intercept| image(&Fixture { slope, intercept, ..Fixture::default() });
    assert_eq!(values(0.5, 100.0)[..2], [100.5, 101.0]);
    for slope in [0.0, f64::NAN, f64::INFINITY] {
        assert_eq!(values(slope, 100.0), counted(), "a slope of {slope} is none");
    }
    assert_eq!(values(2.0, f64::NAN)[..2], [2.0, 4.0]);
    // In f32 the product would lose its last bit before the intercept takes the leading ones away.
    let precise = Fixture { slope: 1.0, intercept: -16_777_216.0, ..Fixture::default() };
    assert_eq!(image(&precise.of_type(8, &[16_777_217i32.to_le_bytes()])), [1.0]);
}

#[test]
fn labels_beyond_f32_stay_exact() {
    let label = 16_777_217u32;
    let plain = Fixture::default();
    for fixture in [
        plain.of_type(768, &[label.to_le_bytes()]),
        plain.of_type(1024, &[i64::from(label).to_le_bytes()]),
        plain.of_type(64, &[f64::from(label).to_le_bytes()]),
    ] {
        let AnyVolume::Labels(labels) = read("a.nii", fixture.file(), Kind::Labels).unwrap().volume else {
            panic!("asked for labels")
        };
        assert_eq!(labels.voxels(), [label]);
    }
}

#[test]
fn a_kind_refuses_numbers_that_it_cannot_hold() {
    let of = |values: &[f32]| {
        let rows: Vec<[u8; 4]> = values.iter().map(|v| v.to_le_bytes()).collect();
        Fixture::default().of_type(16, &rows).file()
    };
    let fault = |values: &[f32], kind| read("a.nii", of(values), kind).unwrap_err();
    assert!(fault(&[0.0, 1.0, 2.0], Kind::Mask).contains("holds 1, 2 (first at voxel [2, 0, 0])"));
    assert!(fault(&[0.0, f32::NAN], Kind::Mask).contains("NaN"));
    assert!(fault(&[9.0, 8.0, 7.0, 6.0, 5.0], Kind::Mask).contains("holds 6, 7, 8, 9, …"));
    assert!(fault(&[1.0, 1.5], Kind::Labels).contains("holds 1.5 (first at voxel [1, 0, 0])"));
    assert!(fault(&[-1.0], Kind::Labels).contains("holds -1"));
    assert!(fault(&[0.5, 1.25], Kind::Probability).contains("holds 1.25 (first at voxel [1, 0, 0])"));
    assert!(fault(&[0.0], Kind::Table).contains("asked for as table"));
}

#[test]
fn a_mask_of_0_and_255_is_a_mask() {
    let fixture = Fixture::default().of_type(2, &[[0], [255], [255]]);
    let AnyVolume::Mask(mask) = read("a.nii", fixture.file(), Kind::Mask).unwrap().volume else {
        panic!("asked for a mask")
    };
    assert_eq!(mask.voxels(), [0, 1, 1]);
}

/// 255 times the f32 nearest to 1/255 is a little more than 1.
#[test]
fn a_probability_in_steps_of_a_255th_is_a_probability() {
    let slope = f64::from(1.0f32 / 255.0);
    let fixture = Fixture { slope, ..Fixture::default() }.of_type(2, &[[0], [255]]);
    let AnyVolume::Probability(scores) = read("a.nii", fixture.file(), Kind::Probability).unwrap().volume
    else {
        panic!("asked for a probability")
    };
    assert_eq!(scores.voxels(), [0.0, 1.0]);
}

#[test]
fn voxels_that_are_not_finite_are_kept_and_counted() {
    let fixture = Fixture::default().of_type(16, &[f32::NAN, 1.0, f32::INFINITY].map(f32::to_le_bytes));
    let found = read("a.nii", fixture.file(), Kind::Image).unwrap();
    assert!(voxels(&found)[0].is_nan());
    assert_eq!(found.header.non_finite, 2);
    assert_eq!(found.header.warnings, ["2 voxels are NaN or infinite"]);
    let found = read("a.nii", fixture.file(), Kind::Probability).unwrap();
    let AnyVolume::Probability(scores) = found.volume else { panic!("asked for a probability") };
    assert_eq!(scores.voxels().iter().map(|score| score.is_nan()).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(found.header.non_finite, 2);
}

#[test]
fn one_volume_may_have_any_number_of_axes() {
    for dim in [
        [4, 3, 2, 2, 1, 1, 1, 1],
        [7, 3, 2, 2, 1, 1, 1, 1],
        [2, 6, 2, 0, 0, 0, 0, 0],
        [1, 12, -1, 0, 0, 0, 0, 9],
    ] {
        assert_eq!(image(&Fixture { dim, ..Fixture::default() }), counted(), "{dim:?}");
    }
}

fn placed(fixture: &Fixture) -> ([[f64; 4]; 3], Vec<String>, PathBuf) {
    let folder = folder(&[("a.nii", fixture.file())]);
    let path = folder.path().join("a.nii");
    let (grid, warnings) = nifti::read_grid(&path).unwrap();
    (grid.voxel_to_world.rows(), warnings, path)
}

#[test]
fn qform_counts_where_there_is_no_sform_and_qfac_0_is_1() {
    let half = std::f64::consts::FRAC_1_SQRT_2;
    // A quarter turn about z: i runs to the front, j to the left.
    let fixture = Fixture {
        sform_code: 0,
        qform_code: 1,
        quatern: [0.0, 0.0, half],
        qoffset: [5.0, 6.0, 7.0],
        version: 2,
        ..Fixture::default()
    };
    for (qfac, z) in [(1.0, 3.0), (0.0, 3.0), (-1.0, -3.0)] {
        let mut fixture = fixture.clone();
        fixture.pixdim[0] = qfac;
        let (rows, warnings, _) = placed(&fixture);
        let expected = [[0.0, -2.0, 0.0, 5.0], [2.0, 0.0, 0.0, 6.0], [0.0, 0.0, z, 7.0]];
        for (found, expected) in rows.iter().flatten().zip(expected.iter().flatten()) {
            // Rounding of f64.
            assert!((found - expected).abs() < 1e-12, "{rows:?} with qfac {qfac}");
        }
        assert!(warnings.is_empty(), "{warnings:?}");
    }
}

/// Axes and origin are those of nibabel and SPM; the golden files say so, too.
#[test]
fn without_orientation_the_middle_is_the_origin_and_a_warning_says_so() {
    let (rows, warnings, _) = placed(&Fixture { sform_code: 0, ..Fixture::default() });
    assert_eq!(rows, [[-2.0, 0.0, 0.0, 2.0], [0.0, 2.0, 0.0, -1.0], [0.0, 0.0, 3.0, -1.5]]);
    let expected =
        "the header has no orientation (sform_code and qform_code are 0): left and right are a guess";
    assert_eq!(warnings, [expected]);
}

#[test]
fn metres_and_microns_become_millimetres() {
    for (units, factor, name) in [(1, 1000.0, "m"), (3, 0.001, "um")] {
        let (rows, warnings, _) = placed(&Fixture { units, ..Fixture::default() });
        assert_eq!(rows[0], [2.0 * factor, 0.0, 0.0, -10.0 * factor]);
        assert_eq!(warnings, [format!("the header counts in {name}; converted to mm")]);
    }
}

#[test]
fn two_forms_that_differ_in_one_space_are_told() {
    let fixture = Fixture { qform_code: 1, qoffset: [-10.0, -20.0, -33.0], ..Fixture::default() };
    assert_eq!(placed(&fixture).1, ["sform and qform differ by 3.000 mm at a corner; the sform is used"]);
    // A template's space and the scanner's may differ.
    assert!(placed(&Fixture { qform_code: 1, sform_code: 4, ..fixture }).1.is_empty());
}

#[test]
fn a_grid_needs_the_first_bytes_only() {
    let mut fixture = Fixture::default();
    fixture.dim[3] = 30_000;
    fixture.voxels = vec![0; 1000];
    let folder = folder(&[("a.nii", fixture.file()), ("a.nii.gz", gzip(&fixture.file()))]);
    for name in ["a.nii", "a.nii.gz"] {
        let (grid, _) = nifti::read_grid(folder.path().join(name)).unwrap();
        assert_eq!(grid.shape, [3, 2, 30_000]);
    }
}

/// Of a pair the numbers begin at byte 0 of their file, of a single file at any byte: both are handed over in place or moved.
#[test]
fn stored_numbers_come_as_they_are_in_every_byte_order() {
    let numbers = [-32768i16, 1, 2, 32767];
    for (big_endian, is_pair) in [(false, false), (true, false), (false, true)] {
        let plain = Fixture { big_endian, is_pair, ..Fixture::default() };
        let fixture = plain.of_type(4, &numbers.map(i16::to_le_bytes));
        let files = if is_pair {
            vec![("a.hdr", fixture.header()), ("a.img", fixture.voxels.clone())]
        } else {
            vec![("a.hdr", gzip(&fixture.file()))]
        };
        let folder = folder(&files);
        let stored = nifti::read_stored(folder.path().join("a.hdr")).unwrap();
        assert!(matches!(stored, nifti::Stored::I16(found) if found[..] == numbers[..found.len()]));
    }
    let folder = folder(&[("a.nii", Fixture::default().of_type(256, &[[1u8], [2]]).file())]);
    let error = nifti::read_stored(folder.path().join("a.nii")).unwrap_err().to_string();
    assert!(error.contains("int8"), "{error}");
}
