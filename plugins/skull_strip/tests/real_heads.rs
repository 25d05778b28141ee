//! Heads of real people with published masks, at one default setting. Skipped, with a message, where the data are missing.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::print_stdout, reason = "says what was skipped, and the figures")]

use neuroloom_skull_strip::bet::{Options, find_brain};
use sdk::testing::context;
use sdk::{Affine, Image, nifti};
use std::path::{Path, PathBuf};

/// What any image must reach; the published program has 0.884 to 0.976 at its own default.
const LEAST_DICE: f64 = 0.94;
/// What the median of the seven that have a mask of their own must reach.
const LEAST_MEDIAN: f64 = 0.96;
/// What must be reached where the reference is itself an output of the published program.
const LEAST_DICE_OF_BET: f64 = 0.93;

/// Slices of the tumour patient's head in which no bone is seen between brain and scalp.
const UPPER_SLICES: usize = 5;

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

/// Dice at the default settings against a reference; over all voxels, and over those that `counts` names.
fn dice(image: &Image, reference: &[bool], counts: impl Fn(usize) -> bool) -> [f64; 2] {
    let brain = find_brain(image, &Options::default(), &context()).unwrap();
    let found: Vec<bool> = brain.mask.voxels().iter().map(|v| *v == 1).collect();
    let over = |counts: &dyn Fn(usize) -> bool| {
        let size = |mask: &[bool]| (0..mask.len()).filter(|n| mask[*n] && counts(*n)).count();
        let both: Vec<bool> = found.iter().zip(reference).map(|(a, b)| *a && *b).collect();
        2.0 * size(&both) as f64 / (size(&found) + size(reference)) as f64
    };
    [over(&|_| true), over(&counts)]
}

/// The sequences of a person of the MS set.
const SEQUENCES: [&str; 3] = ["T1W", "FLAIR", "T2W"];

/// From the set's common space, where the published mask lies, to a sequence: the transforms map its points to FLAIR and on
/// to T1 and T2.
fn from_common(folder: &Path, sequence: &str) -> Affine {
    let to_flair = read_itk(&folder.join("study1_FLAIR_to_common_space.txt"));
    if sequence == "FLAIR" {
        return to_flair;
    }
    read_itk(&folder.join(format!("study1_{sequence}_intrastudy_to_FLAIR.txt"))).after(&to_flair)
}

/// Dice of the three sequences of a person of the MS set: over all voxels, and over those that all three show. The published
/// mask ends where the first of the three does.
fn ms(folder: &Path) -> Vec<[f64; 2]> {
    let reference = read(&folder.join("common_brainmask.nii.gz"));
    let images = SEQUENCES.map(|sequence| read(&folder.join(format!("study1_{sequence}.nii.gz"))));
    let maps = SEQUENCES.map(|sequence| from_common(folder, sequence));
    let of_one = |(image, map): (&Image, &Affine)| {
        let to_common = map.inverse().unwrap();
        let reference = reference_on(image, &reference, &to_common);
        let seen: Vec<(Affine, [usize; 3])> = (images.iter().zip(&maps))
            .map(|(other, from_common)| {
                let to_world = from_common.after(&to_common).after(&image.grid().voxel_to_world);
                (other.grid().world_to_voxel().unwrap().after(&to_world), other.grid().shape)
            })
            .collect();
        let by_all = |n: usize| {
            let index = image.grid().index(n).map(|i| i as f64);
            seen.iter().all(|(to_other, shape)| {
                let place = to_other.point(index);
                (0..3).all(|axis| place[axis] > -0.5 && place[axis] < shape[axis] as f64 - 0.5)
            })
        };
        dice(image, &reference, by_all)
    };
    images.iter().zip(&maps).map(of_one).collect()
}

/// Dice of an image whose mask lies on its own grid.
fn on_own_grid(folder: &Path, image: &str, reference: &str) -> [f64; 2] {
    let (image, reference) = (read(&folder.join(image)), read(&folder.join(reference)));
    dice(&image, &reference_on(&image, &reference, &Affine::IDENTITY), |_| true)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[test]
fn one_default_reaches_0_94_on_t1_t2_flair_and_post_contrast_and_0_96_in_the_median() {
    let Some(data) = data() else { return };
    let mut found = Vec::new();
    for person in ["ms01", "ms04"] {
        let names = SEQUENCES.map(|sequence| format!("{person} {sequence}"));
        found.extend(names.into_iter().zip(ms(&data.join(person))));
    }
    let tumour = on_own_grid(&data.join("tumour"), "t1c.nii.gz", "t1c_brainmask.nii.gz");
    found.push(("tumour T1 post contrast, 5.5 mm".into(), tumour));
    for (name, [all, seen]) in &found {
        println!("{name}: {all:.4}, within the view of all {seen:.4}");
    }
    let medians = [0, 1].map(|column| median(found.iter().map(|(_, dice)| dice[column])));
    println!("median: {:.4}, within the view of all {:.4}", medians[0], medians[1]);
    assert!(found.iter().all(|(_, [all, _])| *all >= LEAST_DICE), "{found:.4?}");
    assert!(medians[0] >= LEAST_MEDIAN, "median {:.4} of {found:.4?}", medians[0]);
}

/// Volume of the brain in the uppermost slices of an image, ml.
fn upper_ml(image: &Image) -> f64 {
    let brain = find_brain(image, &Options::default(), &context()).unwrap();
    let [nx, ny, nz] = image.grid().shape;
    let slices = &brain.mask.voxels()[nx * ny * (nz - UPPER_SLICES)..];
    slices.iter().map(|v| f64::from(*v)).sum::<f64>() * image.grid().voxel_volume_mm3() / 1000.0
}

#[test]
fn a_scalp_that_is_as_bright_as_brain_is_not_taken_for_it() {
    let Some(data) = data() else { return };
    let [t1, t2] = ["t1", "t2"].map(|name| upper_ml(&read(&data.join(format!("tumour/{name}.nii.gz")))));
    println!("brain in the upper {UPPER_SLICES} slices of 5.5 mm: {t2:.0} ml in T2, {t1:.0} ml in T1");
    assert!((t2 / t1 - 1.0).abs() < 0.25, "{t2:.0} ml in T2, {t1:.0} ml in T1");
}

#[test]
fn colin27_reaches_0_93_of_a_mask_that_is_itself_an_output_of_the_published_program() {
    let Some(data) = data() else { return };
    let [dice, _] = on_own_grid(&data.join("colin27"), "ch2.nii.gz", "ch2bet.nii.gz");
    println!("colin27: {dice:.4}");
    assert!(dice >= LEAST_DICE_OF_BET, "Dice {dice:.4}");
}
