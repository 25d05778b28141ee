//! Heads of real people with published masks, at one default setting. Skipped, with a message, where the data are missing.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::print_stdout, reason = "says what was skipped, and the figures")]

use neuroloom_skull_strip::bet::{Options, find_brain};
use sdk::testing::context;
use sdk::{Affine, Image, nifti};
use std::path::{Path, PathBuf};

/// What any image must reach; the published program has 0.884 to 0.976 at its own default.
const LEAST_DICE: f64 = 0.94;

/// The test images beside the repository, if they are there.
fn data() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .find(|folder| folder.join("Cargo.lock").exists())?;
    let folder = root.parent()?.join("shared/data");
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no test images in {}", folder.display());
    None
}

/// The numbers of an image or mask file.
fn read(path: &Path) -> Image {
    nifti::read_image(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// An ITK text transform as a map between RAS+ worlds. ITK counts in LPS: both sides change sign in x and y.
fn read_itk(path: &Path) -> Affine {
    let text = std::fs::read_to_string(path).unwrap();
    let numbers = |name: &str| -> Vec<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().map(|number| number.parse().unwrap()).collect()
    };
    let (p, centre) = (numbers("Parameters:"), numbers("FixedParameters:"));
    let row = |r: usize| {
        let m = &p[3 * r..3 * r + 3];
        let shift = p[9 + r] + centre[r] - (0..3).map(|c| m[c] * centre[c]).sum::<f64>();
        [m[0], m[1], m[2], shift]
    };
    let flip = Affine::scale_shift([-1.0, -1.0, 1.0], [0.0; 3]);
    flip.after(&Affine::from_rows([row(0), row(1), row(2)])).after(&flip)
}

/// Whether each voxel of `image` lies in the reference mask, nearest voxel; `to_reference` maps world to world.
fn reference_on(image: &Image, reference: &Image, to_reference: &Affine) -> Vec<bool> {
    let to_voxel =
        reference.grid().world_to_voxel().unwrap().after(to_reference).after(&image.grid().voxel_to_world);
    let shape = reference.grid().shape;
    let inside = |offset: usize| {
        let place = to_voxel.point(image.grid().index(offset).map(|i| i as f64)).map(f64::round);
        (0..3).all(|axis| place[axis] >= 0.0 && place[axis] < shape[axis] as f64)
            && reference.at(place.map(|x| x as usize)) > 0.0
    };
    (0..image.grid().len()).map(inside).collect()
}

/// Dice at the default settings against a reference.
fn dice(image: &Image, reference: &[bool]) -> f64 {
    let brain = find_brain(image, &Options::default(), &context()).unwrap();
    let found = brain.mask.voxels();
    let both = found.iter().zip(reference).filter(|(a, b)| **a == 1 && **b).count();
    2.0 * both as f64 / (brain.mask.count() + reference.iter().filter(|b| **b).count()) as f64
}

/// Dice of a person of the MS set. The published mask lies in the set's common space; the transforms map its points to
/// FLAIR and on to T1 and T2, so the way from a T1 voxel is their inverse.
fn ms(folder: &Path, sequence: &str) -> f64 {
    let image = read(&folder.join(format!("study1_{sequence}.nii.gz")));
    let mut from_common = read_itk(&folder.join("study1_FLAIR_to_common_space.txt"));
    if sequence != "FLAIR" {
        let on = read_itk(&folder.join(format!("study1_{sequence}_intrastudy_to_FLAIR.txt")));
        from_common = on.after(&from_common);
    }
    let reference = read(&folder.join("common_brainmask.nii.gz"));
    dice(&image, &reference_on(&image, &reference, &from_common.inverse().unwrap()))
}

/// Dice of an image whose mask lies on its own grid.
fn on_own_grid(folder: &Path, image: &str, reference: &str) -> f64 {
    let (image, reference) = (read(&folder.join(image)), read(&folder.join(reference)));
    dice(&image, &reference_on(&image, &reference, &Affine::IDENTITY))
}

#[test]
fn one_default_reaches_0_94_on_every_t1_head_with_a_mask() {
    let Some(data) = data() else { return };
    let found = [
        ("ms01 T1", ms(&data.join("ms01"), "T1W")),
        ("ms04 T1", ms(&data.join("ms04"), "T1W")),
        (
            "tumour T1 post contrast, 5.5 mm",
            on_own_grid(&data.join("tumour"), "t1c.nii.gz", "t1c_brainmask.nii.gz"),
        ),
        ("colin27 T1", on_own_grid(&data.join("colin27"), "ch2.nii.gz", "ch2bet.nii.gz")),
    ];
    println!("{found:.4?}");
    assert!(found.iter().all(|(_, dice)| *dice >= LEAST_DICE), "{found:.4?}");
}

#[test]
fn the_same_default_serves_flair_and_t2() {
    let Some(data) = data() else { return };
    let found = [("ms01", "FLAIR"), ("ms01", "T2W"), ("ms04", "FLAIR"), ("ms04", "T2W")]
        .map(|(person, sequence)| (person, sequence, ms(&data.join(person), sequence)));
    println!("{found:.4?}");
    assert!(found.iter().all(|(_, _, dice)| *dice >= LEAST_DICE), "{found:.4?}");
}
