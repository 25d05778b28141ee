//! `measure_lesions` against the definitions spelled out pair by pair, and on lesions known by construction.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use neuroloom_lesions::MeasureLesions;
use neuroloom_lesions::measure::{Beside, Options, measure};
use proptest::prelude::*;
use sdk::testing::{ball_mask, context_with, run};
use sdk::{Affine, Cell, Grid, Image, Inputs, Labels, Mask, Outputs, Probability, Table};
use serde_json::{Value, json};

fn labels(grid: Grid, label: impl Fn([usize; 3]) -> u32) -> Labels {
    let voxels: Vec<u32> = (0..grid.len()).map(|offset| label(grid.index(offset))).collect();
    Labels::new(grid, voxels).unwrap()
}

fn grid(shape: [usize; 3]) -> Grid {
    Grid::axis_aligned(shape, [1.0; 3])
}

fn measured(inputs: &Inputs) -> (Table, Value, Outputs) {
    let outputs = run::<MeasureLesions>(json!({}), inputs).unwrap();
    let burden = outputs.facts("table").get("burden").unwrap().clone();
    (outputs.table("table").unwrap(), burden, outputs)
}

fn of(labels: Labels) -> (Table, Value) {
    let (table, burden, _) = measured(&Inputs::new().with("labels", labels));
    (table, burden)
}

fn number(table: &Table, row: usize, name: &str) -> f64 {
    table.cell(row, name).unwrap().number().unwrap_or_else(|| panic!("no number in {name} of row {row}"))
}

fn ball_labels(grid: Grid, centre_mm: [f64; 3], radius_mm: f64) -> Labels {
    let ball = ball_mask(grid, centre_mm, radius_mm);
    Labels::new(grid, ball.voxels().iter().map(|&v| u32::from(v)).collect::<Vec<_>>()).unwrap()
}

fn distance(p: [f64; 3], q: [f64; 3]) -> f64 {
    (0..3).map(|a| (p[a] - q[a]).powi(2)).sum::<f64>().sqrt()
}

/// Ends along the given voxel axes of every voxel: face centres for all three, edge centres of a slice for two.
fn ends(grid: &Grid, voxels: &[[usize; 3]], axes: &[usize]) -> Vec<[f64; 3]> {
    let mut points = Vec::new();
    for voxel in voxels {
        for &axis in axes {
            for side in [-0.5, 0.5] {
                let mut place = voxel.map(|n| n as f64);
                place[axis] += side;
                points.push(grid.voxel_to_world.point(place));
            }
        }
    }
    points
}

fn longest(points: &[[f64; 3]]) -> f64 {
    points.iter().flat_map(|p| points.iter().map(move |q| distance(*p, *q))).fold(0.0, f64::max)
}

/// The definition of the axial diameter, pair by pair and point by point.
fn axial(grid: &Grid, voxels: &[[usize; 3]], axis: usize) -> (f64, f64) {
    let across: Vec<usize> = (0..3).filter(|&a| a != axis).collect();
    let mut best = (0.0f64, 0.0f64);
    for slice in 0..grid.shape[axis] {
        let here: Vec<[usize; 3]> = voxels.iter().copied().filter(|v| v[axis] == slice).collect();
        let points = ends(grid, &here, &across);
        for p in &points {
            for q in &points {
                let length = distance(*p, *q);
                if length < best.0 - 1e-9 || length == 0.0 {
                    continue;
                }
                let unit: [f64; 3] = std::array::from_fn(|a| (q[a] - p[a]) / length);
                // Offset from the line through p and q, with a side: the slice's normal tells which.
                let [u, v] = [across[0], across[1]].map(|a| {
                    let mut step = [0.0; 3];
                    step[a] = 1.0;
                    grid.voxel_to_world.vector(step)
                });
                let normal = cross(u, v);
                let size = distance(normal, [0.0; 3]);
                let sideways = cross(normal, unit).map(|x| x / size);
                let offsets = points.iter().map(|c| (0..3).map(|a| (c[a] - p[a]) * sideways[a]).sum::<f64>());
                let (low, high) = offsets.fold((0.0f64, 0.0f64), |(l, h), o| (l.min(o), h.max(o)));
                if length > best.0 + 1e-9 || high - low > best.1 {
                    best = (length, high - low);
                }
            }
        }
    }
    best
}

fn cross(p: [f64; 3], q: [f64; 3]) -> [f64; 3] {
    [p[1] * q[2] - p[2] * q[1], p[2] * q[0] - p[0] * q[2], p[0] * q[1] - p[1] * q[0]]
}

/// Axial, coronal or sagittal, oblique, mirrored, sheared, with thick slices.
fn grids() -> impl Strategy<Value = Grid> {
    let spacing = proptest::array::uniform3(0.4f64..3.0);
    let angles = proptest::array::uniform3(-3.0f64..3.0);
    (spacing, angles, -0.2f64..0.2, any::<bool>()).prop_map(|(spacing, angles, shear, mirror)| {
        let rotate = Affine::rigid(angles, [3.0, -20.0, 7.0], [0.0; 3]);
        let sign = if mirror { -1.0 } else { 1.0 };
        let scale = Affine::from_rows([
            [spacing[0] * sign, shear, 0.0, 0.0],
            [0.0, spacing[1], 0.0, 0.0],
            [0.0, 0.0, spacing[2], 0.0],
        ]);
        Grid::new([6, 5, 4], rotate.after(&scale))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn diameters_equal_those_of_all_pairs(grid in grids(), seed in proptest::collection::vec(0u8..4, 120)) {
        let labels = labels(grid, |index| u32::from(seed[grid.offset(index)] == 0));
        let voxels: Vec<[usize; 3]> = (0..grid.len()).filter(|&n| labels.voxels()[n] == 1).map(|n| grid.index(n)).collect();
        prop_assume!(!voxels.is_empty());
        let (table, burden) = of(labels);
        let centres: Vec<[f64; 3]> = voxels.iter().map(|&v| grid.world(v)).collect();
        let axis = burden["axial_axis"].as_u64().unwrap() as usize;
        let (axial, perpendicular) = axial(&grid, &voxels, axis);
        let expected = [
            ("longest_diameter_mm", longest(&ends(&grid, &voxels, &[0, 1, 2]))),
            ("longest_diameter_centre_mm", longest(&centres)),
            ("longest_axial_diameter_mm", axial),
            ("perpendicular_mm", perpendicular),
        ];
        for (name, expected) in expected {
            let found = number(&table, 0, name);
            // Millimetres up to 30 in f64, and ties within 1e-9.
            prop_assert!((found - expected).abs() < 1e-7, "{} is {} instead of {}", name, found, expected);
        }
    }

    #[test]
    fn all_lesions_together_have_the_volume_of_their_labels(seed in proptest::collection::vec(0u32..4, 120)) {
        let grid = Grid::axis_aligned([6, 5, 4], [1.0, 2.0, 0.5]);
        let (table, burden) = of(labels(grid, |index| seed[grid.offset(index)]));
        let voxels: f64 = (0..table.rows.len()).map(|row| number(&table, row, "voxels")).sum();
        prop_assert_eq!(voxels as usize, seed.iter().filter(|&&v| v != 0).count());
        // Voxels of 1 mm3: exact but for the division by 1000.
        prop_assert!((burden["total_volume_ml"].as_f64().unwrap() - voxels / 1000.0).abs() < 1e-12);
    }
}

#[test]
fn one_voxel_is_as_long_as_its_longest_edge_by_faces_and_0_by_centres() {
    let grid = Grid::axis_aligned([3, 3, 3], [0.5, 0.75, 2.0]);
    let (table, _) = of(labels(grid, |index| 7 * u32::from(index == [1, 1, 1])));
    let expected = [
        ("lesion", 7.0),
        ("volume_mm3", 0.75),
        ("volume_ml", 0.000_75),
        ("longest_diameter_mm", 2.0),
        ("longest_diameter_centre_mm", 0.0),
        ("longest_axial_diameter_mm", 0.75),
        ("perpendicular_mm", 0.5),
        ("axial_slice", 1.0),
        ("centroid_z", 2.0),
        ("centroid_k", 1.0),
    ];
    for (name, expected) in expected {
        assert!((number(&table, 0, name) - expected).abs() < 1e-12, "{name}");
    }
}

#[test]
fn a_ball_reads_a_little_long_by_faces_and_a_little_short_by_centres() {
    for radius_mm in [2.0, 5.0, 10.0, 15.0] {
        let (table, _) = of(ball_labels(grid([40; 3]), [19.7, 20.2, 19.9], radius_mm));
        let by_faces = number(&table, 0, "longest_diameter_mm") - 2.0 * radius_mm;
        let by_centres = number(&table, 0, "longest_diameter_centre_mm") - 2.0 * radius_mm;
        // Half a voxel of 1 mm at each end, at most along a diagonal; and what the lattice leaves out.
        assert!((0.0..1.0).contains(&by_faces), "{by_faces} mm at {radius_mm}");
        assert!((-0.8..=0.0).contains(&by_centres), "{by_centres} mm at {radius_mm}");
    }
}

/// The same head, acquired in two ways: what a clinician reads cannot differ.
#[test]
fn measures_do_not_depend_on_the_plane_of_acquisition() {
    let axial = Grid::axis_aligned([20, 22, 24], [1.0; 3]);
    // i runs back, j down, k to the left.
    let sagittal = Grid::new(
        [22, 24, 20],
        Affine::from_rows([[0.0, 0.0, -1.0, 19.0], [-1.0, 0.0, 0.0, 21.0], [0.0, -1.0, 0.0, 23.0]]),
    );
    let ellipsoid = |p: [f64; 3]| {
        let [x, y, z] = [(p[0] - 9.0) / 6.0, (p[1] - 11.0) / 4.0, (p[2] - 12.0) / 3.0];
        u32::from(x * x + x * y + y * y + z * z <= 1.0)
    };
    let rows = [axial, sagittal].map(|grid| of(labels(grid, |index| ellipsoid(grid.world(index)))));
    for name in [
        "volume_mm3",
        "centroid_x",
        "centroid_y",
        "centroid_z",
        "longest_diameter_mm",
        "longest_axial_diameter_mm",
        "perpendicular_mm",
    ] {
        let [a, b] = [&rows[0].0, &rows[1].0].map(|table| number(table, 0, name));
        assert!((a - b).abs() < 1e-9, "{name}: {a} and {b}");
    }
    assert_eq!([&rows[0].1, &rows[1].1].map(|burden| burden["axial_axis"].as_u64()), [Some(2), Some(1)]);
    assert_eq!(number(&rows[1].0, 0, "axial_slice"), 23.0 - number(&rows[0].0, 0, "axial_slice"));
}

/// A box of `shape` voxels.
fn block(shape: [usize; 3], spacing_mm: [f64; 3]) -> Labels {
    let grid = Grid::axis_aligned([14, 8, 4], spacing_mm);
    labels(grid, |index| u32::from((0..3).all(|a| (1..=shape[a]).contains(&index[a]))))
}

#[test]
fn measurable_means_10_mm_by_5_mm_on_two_slices_at_most_5_mm_apart() {
    // A row of n voxels of 1 mm is n mm long by edges; a block's diagonal is longer, so it is its length that is tested here.
    let measurable = |shape, spacing_mm| {
        let (table, burden) = of(block(shape, spacing_mm));
        let count = burden["measurable"].as_u64().unwrap();
        assert_eq!(table.cell(0, "measurable"), Some(&Cell::Bool(count == 1)));
        count == 1
    };
    assert!(measurable([12, 6, 2], [1.0; 3]));
    assert!(!measurable([7, 6, 2], [1.0; 3]), "9 mm long");
    assert!(!measurable([12, 2, 2], [1.0; 3]), "2 to 4 mm across");
    assert!(!measurable([12, 6, 1], [1.0; 3]), "one slice");
    assert!(measurable([12, 6, 2], [1.0, 1.0, 5.0]));
    assert!(!measurable([12, 6, 2], [1.0, 1.0, 5.5]), "slices 5.5 mm apart");
}

#[test]
fn slices_too_thick_for_rano_are_told() {
    let (_, _, outputs) = measured(&Inputs::new().with("labels", block([12, 6, 2], [1.0, 1.0, 5.5])));
    let facts = outputs.facts("table");
    assert_eq!(
        facts.warnings(),
        ["axial slices are 5.50 mm apart, more than 5 mm: no lesion counts as measurable"]
    );
}

#[test]
fn up_to_five_longest_measurable_lesions_are_targets() {
    // Seven blocks, 11 to 17 voxels long, 6 wide, 2 thick; the longest is number 7.
    let grid = grid([20, 60, 4]);
    let labels = labels(grid, |[i, j, k]| {
        let n = j / 8 + 1;
        let inside = n <= 7 && j % 8 < 6 && i < 10 + n && (1..3).contains(&k);
        if inside { n as u32 } else { 0 }
    });
    let (table, burden) = of(labels);
    assert_eq!(burden["lesions"], 7);
    assert_eq!(burden["measurable"], 7);
    assert_eq!(burden["targets"], json!([7, 6, 5, 4, 3]));
    let sum: f64 = (2..7).map(|row| number(&table, row, "longest_axial_diameter_mm")).sum();
    assert!((burden["sum_of_longest_diameters_mm"].as_f64().unwrap() - sum).abs() < 1e-9);
}

#[test]
fn scores_contrast_and_edge_come_from_what_lies_beside() {
    let grid = grid([12, 12, 12]);
    let lesion = ball_labels(grid, [6.0; 3], 2.0);
    let bright = |n: usize| if lesion.voxels()[n] == 1 { 300.0 } else { 100.0 };
    let image = Image::new(grid, (0..grid.len()).map(bright).collect::<Vec<_>>()).unwrap();
    let mut scores: Vec<f32> = lesion.voxels().iter().map(|&v| if v == 1 { 0.5 } else { 0.0 }).collect();
    scores[grid.offset([6, 6, 6])] = 1.0;
    scores[grid.offset([6, 6, 5])] = f32::NAN;
    let count = lesion.voxels().iter().filter(|&&v| v == 1).count() as f64;
    let with = |mask: Mask| {
        let inputs = Inputs::new()
            .with("labels", lesion.clone())
            .with("image", image.clone())
            .with("probability", Probability::new(grid, scores.clone()).unwrap())
            .with("mask", mask);
        measured(&inputs).0
    };
    let table = with(ball_mask(grid, [6.0; 3], 4.0));
    assert_eq!(number(&table, 0, "contrast_ratio"), 3.0);
    assert_eq!(number(&table, 0, "max_score"), 1.0);
    // One voxel at 1, one not finite and so 0, the others at one half.
    assert!((number(&table, 0, "mean_score") - 0.5).abs() < 1e-12, "{count} voxels");
    assert_eq!(table.cell(0, "touches_mask_edge"), Some(&Cell::Bool(false)));
    let tight = with(ball_mask(grid, [6.0; 3], 2.0));
    assert_eq!(tight.cell(0, "touches_mask_edge"), Some(&Cell::Bool(true)));
    // No surround is left inside the mask.
    assert_eq!(tight.cell(0, "contrast_ratio"), Some(&Cell::Absent));
}

#[test]
fn what_is_not_beside_is_absent_and_facts_of_the_labels_travel_on() {
    let labels = ball_labels(grid([8; 3]), [4.0; 3], 2.0);
    let inputs = Inputs::new().with("labels", sdk::Value::from(labels).fact("threshold", 0.3));
    let (table, _, outputs) = measured(&inputs);
    for name in ["mean_score", "max_score", "contrast_ratio", "touches_mask_edge"] {
        assert_eq!(table.cell(0, name), Some(&Cell::Absent), "{name}");
    }
    assert_eq!(outputs.facts("table").number("threshold"), Some(0.3));
}

#[test]
fn a_case_without_lesions_has_an_empty_table_and_no_burden() {
    let (table, burden) = of(labels(grid([3, 3, 3]), |_| 0));
    assert!(table.rows.is_empty() && table.columns.len() > 10);
    assert_eq!((&burden["lesions"], &burden["total_volume_ml"]), (&json!(0), &json!(0.0)));
    assert_eq!(burden["sum_of_longest_diameters_mm"], json!(0.0));
}

#[test]
fn measures_do_not_depend_on_the_number_of_threads() {
    let grid = Grid::axis_aligned([30, 30, 30], [0.7, 0.9, 1.3]);
    let labels = labels(grid, |[i, j, k]| if (i * j + k) % 7 < 3 { (i / 6 + j / 6) as u32 } else { 0 });
    let with =
        |threads| measure(&labels, Beside::default(), &Options::default(), &context_with(threads)).unwrap();
    let (one, four) = (with(1), with(4));
    assert_eq!(one.table, four.table);
    assert_eq!(one.burden, four.burden);
}

#[test]
fn a_volume_on_another_grid_and_a_bad_setting_are_named() {
    let labels = || labels(grid([3, 3, 3]), |_| 1);
    let other = Image::new(grid([2, 2, 2]), vec![0.0; 8]).unwrap();
    let inputs = Inputs::new().with("labels", labels()).with("image", other);
    let error = run::<MeasureLesions>(json!({}), &inputs).unwrap_err();
    assert!(error.message.starts_with("`image` on 2x2x2 voxels"), "{error}");
    let inputs = Inputs::new().with("labels", labels());
    let error = run::<MeasureLesions>(json!({ "surround_mm": -1 }), &inputs).unwrap_err();
    assert_eq!(error.message, "`surround_mm` is -1, outside 0 to 50");
}
