//! What a case promises, on the paper's grids: contrast, truth, motion. Truth is known by construction.

use neuroloom_phantom::anatomy::Anatomy;
use neuroloom_phantom::case::{self, Case, Options};
use sdk::{Affine, Image};
use std::sync::OnceLock;

/// The default case, made once for all tests.
fn full() -> &'static Case {
    static CASE: OnceLock<Case> = OnceLock::new();
    CASE.get_or_init(|| {
        case::make(&Anatomy::load(), &Options::default(), 1, &sdk::testing::context())
            .expect("a case of five lesions is made")
    })
}

/// The voxel nearest to a world point; `None` outside.
fn nearest(image: &Image, world: [f64; 3]) -> Option<f32> {
    let place = image.grid().world_to_voxel()?.point(world).map(f64::round);
    let inside = (0..3).all(|axis| place[axis] >= 0.0 && place[axis] < image.grid().shape[axis] as f64);
    inside.then(|| image.at(place.map(|v| v as usize)))
}

/// World places of the BRAVO voxels that `chosen` picks.
fn places(chosen: impl Fn(usize) -> bool) -> Vec<[f64; 3]> {
    let grid = full().lesions.grid();
    (0..grid.len()).filter(|&offset| chosen(offset)).map(|offset| grid.world(grid.index(offset))).collect()
}

/// Intensities of image `n` at BRAVO places, sorted.
fn sorted_at(n: usize, places: &[[f64; 3]]) -> Vec<f32> {
    let moved = places.iter().map(|&p| full().bravo_to_image[n].point(p));
    let mut values: Vec<f32> = moved.filter_map(|p| nearest(&full().images[n], p)).collect();
    values.sort_by(f32::total_cmp);
    values
}

fn distance(a: [f64; 3], b: [f64; 3]) -> f64 {
    (0..3).map(|axis| (a[axis] - b[axis]).powi(2)).sum::<f64>().sqrt()
}

/// A row of the lesion table: label, centroid, diameter, volume, whether it is a ring.
fn rows() -> Vec<(u32, [f64; 3], f64, f64, bool)> {
    let table = &full().lesion_table;
    (0..table.rows.len())
        .map(|row| {
            let number =
                |name| table.cell(row, name).and_then(sdk::Cell::number).expect("a number in each row");
            let ring = table.cell(row, "kind").and_then(sdk::Cell::text) == Some("ring");
            let centroid = [number("x_mm"), number("y_mm"), number("z_mm")];
            (number("lesion") as u32, centroid, number("diameter_mm"), number("volume_mm3"), ring)
        })
        .collect()
}

/// Bright after contrast in both sequences, not before it. The 80th percentile lies in the rim of a ring, too; its core and
/// the partial volume of small lesions are darker. Brain within 15 mm has grey matter, fluid and vessels: its median is below
/// white matter.
#[test]
fn lesions_are_bright_after_contrast_and_not_before() {
    for (label, centroid, ..) in rows() {
        let inside = places(|offset| full().lesions.voxels()[offset] == label);
        let around: Vec<[f64; 3]> =
            places(|o| full().lesions.voxels()[o] == 0 && full().brain_mask.voxels()[o] == 1)
                .into_iter()
                .filter(|&p| distance(p, centroid) < 15.0)
                .collect();
        let ratio = |n: usize| {
            let (lesion, brain) = (sorted_at(n, &inside), sorted_at(n, &around));
            lesion[lesion.len() * 4 / 5] / brain[brain.len() / 2]
        };
        let [bravo, pre, post] = [ratio(0), ratio(1), ratio(2)];
        assert!(bravo > 1.3 && post > 1.3, "lesion {label}: {bravo} in BRAVO, {post} in CUBE after contrast");
        assert!(pre < 1.1, "lesion {label}: {pre} in CUBE before contrast");
    }
}

/// Volume within 5 % and a tenth of the surface layer's voxels; centroid within a third of a voxel.
#[test]
fn labels_agree_with_the_table() {
    let grid = full().lesions.grid();
    for (label, centroid, diameter, volume, _) in rows() {
        let inside = places(|offset| full().lesions.voxels()[offset] == label);
        let found = inside.len() as f64 * grid.voxel_volume_mm3();
        let surface_layer = std::f64::consts::PI * diameter.powi(2) * 0.95;
        let tolerance = 0.05 * volume + 0.1 * surface_layer;
        assert!(
            (found - volume).abs() < tolerance,
            "lesion {label}: {found} mm3 in voxels, {volume} in the table"
        );
        let mean =
            std::array::from_fn(|axis| inside.iter().map(|p| p[axis]).sum::<f64>() / inside.len() as f64);
        assert!(distance(mean, centroid) < 0.33, "lesion {label}: centroid {mean:?} instead of {centroid:?}");
    }
}

#[test]
fn every_lesion_lies_in_the_brain_mask_of_an_adult_volume() {
    let mask = full().brain_mask.voxels();
    assert!(full().lesions.voxels().iter().zip(mask).all(|(&label, &brain)| label == 0 || brain == 1));
    let millilitres = full().brain_mask.count() as f64 * full().brain_mask.grid().voxel_volume_mm3() / 1000.0;
    assert!((1000.0..1900.0).contains(&millilitres), "{millilitres} ml");
}

/// Mutual information (nats, 32 bins a side) of BRAVO and image `n` under a map, over every 7th brain voxel.
fn information(n: usize, bravo_to_image: &Affine) -> f64 {
    const BINS: usize = 32;
    let bravo = &full().images[0];
    let mask = full().brain_mask.voxels();
    let pairs: Vec<[f32; 2]> = (0..bravo.grid().len())
        .step_by(7)
        .filter(|&offset| mask[offset] == 1)
        .filter_map(|offset| {
            let world = bravo.grid().world(bravo.grid().index(offset));
            Some([bravo.voxels()[offset], nearest(&full().images[n], bravo_to_image.point(world))?])
        })
        .collect();
    let top = |side: usize| pairs.iter().map(|pair| pair[side]).fold(1.0, f32::max);
    let tops = [top(0), top(1)];
    let mut joint = vec![0f64; BINS * BINS];
    for pair in &pairs {
        let bin = |side: usize| ((pair[side] / tops[side] * BINS as f32) as usize).min(BINS - 1);
        joint[bin(0) * BINS + bin(1)] += 1.0 / pairs.len() as f64;
    }
    let row = |a: usize| joint[a * BINS..(a + 1) * BINS].iter().sum::<f64>();
    let column = |b: usize| (0..BINS).map(|a| joint[a * BINS + b]).sum::<f64>();
    let term = |at: usize| joint[at] * (joint[at] / (row(at / BINS) * column(at % BINS))).ln();
    (0..joint.len()).filter(|&at| joint[at] > 0.0).map(term).sum()
}

#[test]
fn recorded_motion_explains_each_image_better_than_none_or_its_inverse() {
    for (n, recorded) in full().bravo_to_image.iter().enumerate().skip(1) {
        let with = information(n, recorded);
        let without = information(n, &Affine::IDENTITY);
        let inverse = information(n, &recorded.inverse().unwrap());
        assert!(with > 1.2 * without && with > 1.2 * inverse, "image {n}: {with}, {without}, {inverse}");
    }
}

/// Vessels tell blood from lesion: the brightest 0.1 % of BRAVO in the brain outside lesions is dark in CUBE.
#[test]
fn vessels_are_bright_in_bravo_and_black_in_cube() {
    let case = full();
    let brain = places(|o| case.brain_mask.voxels()[o] == 1 && case.lesions.voxels()[o] == 0);
    let white = sorted_at(0, &brain)[brain.len() * 3 / 4];
    let vessels: Vec<[f64; 3]> =
        brain.iter().copied().filter(|&p| nearest(&case.images[0], p).unwrap() > 1.5 * white).collect();
    assert!(vessels.len() > 1000, "{} bright voxels", vessels.len());
    let (cube, all) = (sorted_at(2, &vessels), sorted_at(2, &brain));
    let ratio = cube[cube.len() / 2] / all[all.len() * 3 / 4];
    assert!(ratio < 0.6, "{ratio} of white matter");
}
