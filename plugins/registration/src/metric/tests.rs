use super::*;
use crate::pose::{Freedom, Pose, Step};
use nalgebra::Rotation3;
use proptest::prelude::*;
use sdk::testing::{ball_mask, context, context_with};
use sdk::{Grid, Image};

const BINS: usize = 32;

/// A level whose intensities run from 0 to 1.
fn level(grid: Grid, value: impl Fn([f64; 3]) -> f64) -> Level {
    let voxels: Vec<f32> = (0..grid.len()).map(|n| value(grid.world(grid.index(n))) as f32).collect();
    Level::new(Image::new(grid, voxels).unwrap(), [0.0, 1.0], None)
}

/// A smooth pattern between 0 and 1 without any symmetry.
fn pattern(p: [f64; 3]) -> f64 {
    0.5 + 0.25 * (0.31 * p[0] + 0.1 * p[1]).sin()
        + 0.25 * (0.23 * p[1] - 0.17 * p[2]).cos() * (0.11 * p[2]).sin()
}

/// Every voxel of a level as a point.
fn voxels_of(level: &Level) -> Samples {
    let grid = level.image.grid();
    let along = |axis: usize| (0..grid.len()).map(|n| grid.world(grid.index(n))[axis] as f32).collect();
    let points = [along(0), along(1), along(2)];
    let values = level.image.voxels().to_vec();
    Samples { centre: [0.0; 3], points, values, cell_mm3: grid.voxel_volume_mm3() }
}

fn fixed() -> Level {
    level(Grid::axis_aligned([24, 22, 20], [1.3, 1.5, 1.6]), pattern)
}

/// The same pattern in another contrast on thick, oblique slices.
fn moving() -> Level {
    let place = Affine::rigid([0.1, 0.0, -0.2], [3.0, -2.0, 1.0], [0.0; 3]);
    let grid = Grid::axis_aligned([30, 20, 9], [1.1, 1.7, 4.0]);
    level(Grid::new(grid.shape, place.after(&grid.voxel_to_world)), |p| 1.0 - pattern(p).powi(2))
}

/// With a mask whose border is soft.
fn masked(level: &Level, centre: [f64; 3]) -> Level {
    let inside = ball_mask(*level.image.grid(), centre, 14.0);
    let inside: Vec<f32> = inside.voxels().iter().map(|inside| f32::from(*inside)).collect();
    let mask = Image::new(*level.image.grid(), inside).unwrap();
    let mask = sdk::imaging::smooth::gaussian(&mask, [2.0; 3], &context()).unwrap();
    Level::new(level.image.clone(), level.range, Some(mask))
}

const CENTRES: [[f64; 3]; 2] = [[15.0, 16.0, 15.0], [14.0, 15.0, 17.0]];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    /// The slope is what the metric does over a step of 0.02 mm, with 6, 7 and 12 degrees of freedom, symmetric or not,
    /// with masks or without. 6 % of its length: the kinks of the linear windows, which 40 000 points average out, and f32
    /// places.
    #[test]
    fn the_slope_agrees_with_finite_differences(
        by in proptest::array::uniform12(-5.0f64..5.0),
        angles in proptest::array::uniform3(-0.3f64..0.3),
        symmetric in proptest::bool::ANY,
        with_masks in proptest::bool::ANY,
    ) {
        const STEP_MM: f64 = 0.02;
        let (mut fixed, mut moving) = (fixed(), moving());
        if with_masks {
            (fixed, moving) = (masked(&fixed, CENTRES[0]), masked(&moving, CENTRES[1]));
        }
        let samples = Samples::draw(&fixed, None, CENTRES[0], 40_000, &context());
        let back = Samples::draw(&moving, None, CENTRES[1], 40_000, &context());
        let metric = Metric::new(&samples, &moving, BINS).unwrap();
        let metric = if symmetric { metric.and_back(&back, &fixed).unwrap() } else { metric };
        let rotation = Rotation3::from_euler_angles(angles[0], angles[1], angles[2]).into_inner();
        let pose = Pose::new(rotation, 1.05, samples.centre, samples.centre);
        let by = Step::from(by);
        for freedom in [Freedom::Rigid, Freedom::Similarity, Freedom::Affine] {
            let nmi = |by: &Step| metric.value(&pose.moved(by, freedom).map()).nmi;
            let slope = metric.value_and_slope(&pose.moved(&by, freedom).map(), None).1;
            let slope = pose.slope(&by, freedom, &slope);
            let differences = Step::from_fn(|n, _| {
                let mut step = Step::zeros();
                step[n] = STEP_MM;
                (nmi(&(by + step)) - nmi(&(by - step))) / (2.0 * STEP_MM)
            });
            let error = (slope - differences).norm();
            prop_assert!(error < 0.06 * differences.norm() + 1e-5, "{freedom:?}: {slope} is not {differences}");
        }
    }
}

/// Exchanging the images and inverting the map changes nothing (1e-9: rounding; the points are the same).
#[test]
fn the_symmetric_measure_knows_no_first_image() {
    let (fixed, moving) = (fixed(), moving());
    let (of_fixed, of_moving) = (
        Samples::draw(&fixed, None, CENTRES[0], 8_000, &context()),
        Samples::draw(&moving, None, CENTRES[1], 8_000, &context()),
    );
    let map = Affine::from_rows([[1.1, 0.1, 0.0, 2.0], [-0.1, 0.9, 0.05, -1.0], [0.0, 0.0, 1.05, 0.5]]);
    let forth = Metric::new(&of_fixed, &moving, BINS).unwrap().and_back(&of_moving, &fixed).unwrap();
    let back = Metric::new(&of_moving, &fixed, BINS).unwrap().and_back(&of_fixed, &moving).unwrap();
    let (one, two) = (forth.value(&map), back.value(&map.inverse().unwrap()));
    assert!((one.nmi - two.nmi).abs() < 1e-9 && (one.overlap - two.overlap).abs() < 1e-9, "{one:?} {two:?}");
    let alone = Metric::new(&of_fixed, &moving, BINS).unwrap().value(&map);
    assert!((alone.nmi - one.nmi).abs() > 1e-9, "the points of the second image count, too");
}

#[test]
fn an_image_tells_most_of_itself_where_it_lies() {
    let image = level(Grid::axis_aligned([20; 3], [2.0; 3]), pattern);
    let samples = voxels_of(&image);
    let metric = Metric::new(&samples, &image, BINS).unwrap();
    let nmi = |mm: f64| metric.value(&Affine::translation([mm, 0.0, 0.0])).nmi;
    assert!(nmi(0.0) > nmi(1.0) && nmi(1.0) > nmi(3.0), "{} {} {}", nmi(0.0), nmi(1.0), nmi(3.0));
    assert!((metric.value(&Affine::IDENTITY).overlap - 1.0).abs() < 1e-9);
}

/// What lies outside the mask of the image that is looked up is as if it were not there.
#[test]
fn a_mask_hides_what_lies_outside() {
    let (fixed, moving) = (fixed(), masked(&moving(), CENTRES[1]));
    let spoilt = |n: usize| {
        let outside = moving.mask.as_ref().unwrap().voxels()[n] == 0.0;
        // A voxel beside the border is still looked at, with the weight that is left there.
        let near = ball_mask(*moving.image.grid(), CENTRES[1], 26.0).voxels()[n] != 0;
        if outside && !near { 0.9 } else { moving.image.voxels()[n] }
    };
    let voxels: Vec<f32> = (0..moving.image.grid().len()).map(spoilt).collect();
    assert_ne!(voxels, moving.image.voxels());
    let other = Image::new(*moving.image.grid(), voxels).unwrap();
    let other = Level::new(other, moving.range, moving.mask.clone());
    let samples = Samples::draw(&fixed, None, CENTRES[0], 8_000, &context());
    let nmi = |level: &Level| Metric::new(&samples, level, BINS).unwrap().value(&Affine::IDENTITY).nmi;
    assert_eq!(nmi(&moving).to_bits(), nmi(&other).to_bits());
}

#[test]
fn far_away_nothing_overlaps() {
    let image = level(Grid::axis_aligned([8; 3], [2.0; 3]), pattern);
    let samples = voxels_of(&image);
    let metric = Metric::new(&samples, &image, BINS).unwrap().and_back(&samples, &image).unwrap();
    for map in [Affine::translation([1000.0, 0.0, 0.0]), Affine::scale_shift([0.0, 1.0, 1.0], [0.0; 3])] {
        let measure = metric.value(&map);
        assert_eq!((measure.nmi, measure.overlap), (1.0, 0.0));
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let image = level(Grid::axis_aligned([40, 30, 20], [1.0; 3]), pattern);
    let samples = voxels_of(&image);
    assert!(samples.values.len() > 2 * CHUNK, "more than one part");
    let metric = Metric::new(&samples, &image, BINS).unwrap().and_back(&samples, &image).unwrap();
    let map = Affine::rigid([0.1, 0.0, 0.05], [1.0, 2.0, 0.5], [0.0; 3]);
    let (alone, slope_alone) = metric.value_and_slope(&map, None);
    for threads in [1, 2, 7] {
        let (shared, slope_shared) = metric.value_and_slope(&map, Some(&context_with(threads)));
        assert_eq!(alone.nmi.to_bits(), shared.nmi.to_bits());
        assert_eq!((slope_alone.force, slope_alone.moment), (slope_shared.force, slope_shared.moment));
    }
}
