//! What is written is what is read.

#![expect(clippy::unwrap_used, reason = "the lint knows test functions only, not their helpers")]

use neuroloom_sdk::nifti::{self, WriteOptions};
use neuroloom_sdk::{Affine, AnyVolume, Grid, Image, Labels, Mask, Probability, testing};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::path::Path;

/// Turns, mirrors, spacings of 0.2 to 6 mm and shifts, as the f32 of a header holds them.
fn affines() -> impl Strategy<Value = Affine> {
    let angles = proptest::array::uniform3(-3.1f64..3.1);
    let spacing = proptest::array::uniform3(0.2f64..6.0);
    let shift = proptest::array::uniform3(-200.0f64..200.0);
    (angles, spacing, shift, any::<bool>()).prop_map(|(angles, [x, y, z], shift, mirrored)| {
        let x = if mirrored { -x } else { x };
        let affine = Affine::rigid(angles, shift, [0.0; 3]).after(&Affine::scale_shift([x, y, z], [0.0; 3]));
        as_f32(&affine)
    })
}

fn as_f32(affine: &Affine) -> Affine {
    Affine::from_rows(affine.rows().map(|row| row.map(|value| f64::from(value as f32))))
}

fn round_trip(volume: &AnyVolume, path: &Path) -> nifti::Read {
    nifti::write(path, volume, &WriteOptions { description: "round trip".to_owned() }).unwrap();
    nifti::read(path, volume.kind()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, rng_seed: RngSeed::Fixed(7), ..ProptestConfig::default() })]

    /// An image comes back bit for bit, NaN and infinities with it, on the same grid, with and without gzip.
    #[test]
    fn an_image_comes_back_bit_for_bit(
        affine in affines(),
        shape in proptest::array::uniform3(1usize..9),
        bits in proptest::collection::vec(any::<u32>(), 512),
        gzip in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let grid = Grid::new(shape, affine);
        let voxels: Vec<f32> = bits[..grid.len()].iter().map(|&bits| f32::from_bits(bits)).collect();
        let non_finite = voxels.iter().filter(|v| !v.is_finite()).count();
        let volume = AnyVolume::Image(Image::new(grid, voxels).unwrap());
        let path = folder.path().join(if gzip { "a.nii.gz" } else { "a.nii" });
        let back = round_trip(&volume, &path);
        let AnyVolume::Image(image) = back.volume else { panic!("asked for an image") };
        prop_assert_eq!(*image.grid(), grid);
        let found: Vec<u32> = image.voxels().iter().map(|v| v.to_bits()).collect();
        prop_assert_eq!(&found[..], &bits[..grid.len()]);
        prop_assert_eq!(back.header.non_finite, non_finite);
        prop_assert_eq!(back.header.affine_from, "sform");
        let without_count = back.header.warnings.len() - usize::from(non_finite > 0);
        prop_assert_eq!(without_count, 0, "{:?}", back.header.warnings);
    }

    /// Labels of any size come back exactly, in the smallest type that holds them.
    #[test]
    fn labels_come_back_exactly(
        labels in proptest::collection::vec(any::<u32>(), 24),
        shift in 0u32..32,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let labels: Vec<u32> = labels.into_iter().map(|label| label >> shift).collect();
        let grid = Grid::axis_aligned([2, 3, 4], [1.0; 3]);
        let volume = AnyVolume::Labels(Labels::new(grid, labels.clone()).unwrap());
        let back = round_trip(&volume, &folder.path().join("labels.nii.gz"));
        let AnyVolume::Labels(found) = back.volume else { panic!("asked for labels") };
        prop_assert_eq!(found.voxels(), &labels[..]);
        let smallest = match labels.iter().max().unwrap() {
            0..=0xff => "uint8",
            0x100..=0xffff => "uint16",
            _ => "uint32",
        };
        prop_assert_eq!(back.header.datatype, smallest);
    }

    /// The qform of a grid without shear puts every corner where the sform does, also next to half a turn, where the
    /// header's three roundings weigh most: within a hundredth of a voxel of the smallest spacing.
    #[test]
    fn the_qform_agrees_with_the_sform(affine in affines(), tilt in -0.02f64..0.02) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.nii");
        let half_turn = Affine::rigid([tilt, tilt / 3.0, std::f64::consts::PI], [90.0, -120.0, 70.0], [0.0; 3]);
        let oblique = as_f32(&half_turn.after(&Affine::scale_shift([0.5, 0.5, 1.2], [0.0; 3])));
        for affine in [affine, oblique] {
            let grid = Grid::new([300, 300, 100], affine);
            let mask = Mask::new(Grid::new([1; 3], affine), vec![1]).unwrap();
            nifti::write(&path, &AnyVolume::Mask(mask), &WriteOptions::default()).unwrap();
            let mut bytes = std::fs::read(&path).unwrap();
            prop_assert_eq!(&bytes[252..256], &[1i16, 1].map(i16::to_ne_bytes).concat()[..]);
            // Without its sform the file is read by its qform.
            bytes[254..256].fill(0);
            std::fs::write(&path, bytes).unwrap();
            let (by_qform, warnings) = nifti::read_grid(&path).unwrap();
            let by_qform = Grid::new(grid.shape, by_qform.voxel_to_world);
            prop_assert!(grid.matches(&by_qform), "{} mm apart", grid.corner_distance_mm(&by_qform));
            prop_assert!(warnings.is_empty(), "{warnings:?}");
        }
    }
}

#[test]
fn mask_and_probability_come_back_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let grid = Grid::axis_aligned([3, 2, 1], [0.9, 0.9, 5.5]);
    let mask = AnyVolume::Mask(Mask::new(grid, vec![0, 1, 1, 0, 0, 1]).unwrap());
    let AnyVolume::Mask(found) = round_trip(&mask, &folder.path().join("mask.nii.gz")).volume else {
        panic!("asked for a mask")
    };
    assert_eq!(found.voxels(), [0, 1, 1, 0, 0, 1]);
    let scores = vec![0.0, 1.0, 0.5, f32::MIN_POSITIVE, 0.1, 0.999_999_94];
    let probability = AnyVolume::Probability(Probability::new(grid, scores.clone()).unwrap());
    let AnyVolume::Probability(found) = round_trip(&probability, &folder.path().join("p.nii")).volume else {
        panic!("asked for a probability")
    };
    assert_eq!(found.voxels(), &scores[..]);
}

#[test]
fn the_same_volume_makes_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let grid = Grid::axis_aligned([20, 20, 20], [1.0; 3]);
    let volume = AnyVolume::Image(testing::ball(grid, [10.0; 3], 6.0, 100.0));
    let options = WriteOptions { description: "neuroloom".to_owned() };
    let files = ["a.nii.gz", "b.nii.gz"].map(|name| {
        let path = folder.path().join(name);
        nifti::write(&path, &volume, &options).unwrap();
        std::fs::read(path).unwrap()
    });
    assert_eq!(files[0], files[1]);
    assert_eq!(files[0][4..8], [0; 4], "the gzip header has no time");
}

#[test]
fn a_sheared_grid_is_written_without_qform_and_read_with_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sheared.nii.gz");
    // Of a gantry's tilt, and of the rounding in a chain of programs, at which ITK refuses a file.
    for (shear, degrees) in [(0.125, "7.13"), (0.003_906_25, "0.22")] {
        let rows = [[1.0, shear, 0.0, -3.0], [0.0, 1.0, 0.0, 5.0], [0.0, 0.0, 2.0, 7.0]];
        let grid = Grid::new([3, 3, 3], Affine::from_rows(rows));
        let volume = AnyVolume::Mask(Mask::new(grid, vec![1; 27]).unwrap());
        let back = round_trip(&volume, &path);
        assert_eq!(*back.volume.grid(), grid);
        let warning = format!("the sform is sheared: two axes are {degrees} degrees off the right angle");
        assert_eq!(back.header.warnings, [warning]);
    }
}

/// The crate cuts such a name to `sub-01.nii` and replaces that file.
#[test]
fn a_name_with_a_dot_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("sub-01.nii");
    std::fs::write(&other, "keep").unwrap();
    let volume = AnyVolume::Mask(Mask::new(Grid::axis_aligned([1; 3], [1.0; 3]), vec![1]).unwrap());
    nifti::write(folder.path().join("sub-01.v2.nii"), &volume, &WriteOptions::default()).unwrap();
    assert_eq!(std::fs::read_to_string(other).unwrap(), "keep");
    assert_eq!(names(folder.path()), ["sub-01.nii", "sub-01.v2.nii"]);
}

#[test]
fn a_failed_write_says_why_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("taken.nii")).unwrap();
    let volume = |shape| {
        let grid = Grid::axis_aligned(shape, [1.0; 3]);
        AnyVolume::Mask(Mask::new(grid, vec![1; grid.len()]).unwrap())
    };
    let attempt = |name: &str, shape| {
        let error =
            nifti::write(folder.path().join(name), &volume(shape), &WriteOptions::default()).unwrap_err();
        error.to_string().replace(&*folder.path().to_string_lossy(), "FOLDER")
    };
    assert!(
        attempt("a.mgz", [1; 3]).starts_with("`FOLDER/a.mgz` cannot be written: its name ends in neither")
    );
    assert!(attempt("long.nii", [40000, 1, 1]).starts_with("[40000, 1, 1] voxels do not fit into"));
    assert!(attempt("taken.nii", [1; 3]).starts_with("cannot write `FOLDER/taken.nii`: "));
    assert!(attempt("none/a.nii", [1; 3]).starts_with("cannot write `FOLDER/none/a.nii`: No such file"));
    assert_eq!(names(folder.path()), ["taken.nii"]);
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
