//! `workflows/follow-up.toml` from end to end: the sessions of a phantom whose lesions grow, shrink, go and come, each in another
//! position of the head, against what is known by construction.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use neuroloom_tests::scene::{scratch, sequence};
use neuroloom_tests::{finish, neuroloom};
use sdk::imaging::resample::{self, Interpolation};
use sdk::nifti::{self, WriteOptions};
use sdk::testing::context;
use sdk::{Affine, AnyVolume, Grid, Image, Kind, Labels};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Place in the head of the first session, relative to its middle, and radius, mm.
type Ball = ([f64; 3], f64);

const GROWS: [f64; 3] = [25.0, 0.0, 20.0];
const STAYS: [f64; 3] = [0.0, -25.0, 20.0];
const GOES: [f64; 3] = [-25.0, 0.0, 20.0];
const COMES: [f64; 3] = [0.0, 25.0, 20.0];

/// The phantom's BRAVO: a head to put lesions into.
fn head() -> Image {
    match nifti::read(sequence("bravo"), Kind::Image).unwrap().volume {
        AnyVolume::Image(image) => image,
        other => panic!("an image was read as {other:?}"),
    }
}

/// Mean place of what is brighter than the mean, mm.
fn middle(image: &Image) -> [f64; 3] {
    let mean = image.voxels().iter().map(|v| f64::from(*v)).sum::<f64>() / image.voxels().len() as f64;
    let bright: Vec<usize> =
        (0..image.voxels().len()).filter(|&n| f64::from(image.voxels()[n]) > mean).collect();
    let grid = image.grid();
    let sum = |axis: usize| bright.iter().map(|&n| grid.world(grid.index(n))[axis]).sum::<f64>();
    std::array::from_fn(|axis| sum(axis) / bright.len() as f64)
}

/// Where the head lies in a session.
fn moved(session: usize) -> Affine {
    let by = session as f64 - 1.0;
    Affine::rigid([0.06 * by, -0.04 * by, 0.07 * by], [4.0 * by, -3.0 * by, 2.0 * by], [0.0; 3])
}

/// Writes image and lesions (numbered in the order given) of a session on a grid; gives their files.
fn visit(folder: &Path, head: &Image, grid: Grid, session: usize, lesions: &[Ball]) -> [PathBuf; 2] {
    let back = moved(session).inverse().unwrap();
    let middle = middle(head);
    let shown = resample::image(head, &grid, Some(&back), Interpolation::Linear, &context()).unwrap();
    let label = |n: usize| {
        let at = back.point(grid.world(grid.index(n)));
        let inside = |(place, radius): &Ball| {
            (0..3).map(|a| (at[a] - middle[a] - place[a]).powi(2)).sum::<f64>() <= radius * radius
        };
        lesions.iter().position(inside).map_or(0, |n| n as u32 + 1)
    };
    let labels: Vec<u32> = (0..grid.len()).map(label).collect();
    let bright = shown.voxels().iter().fold(0f32, |high, &v| high.max(v));
    let voxels: Vec<f32> = shown
        .voxels()
        .iter()
        .zip(&labels)
        .map(|(&v, &label)| if label > 0 { 0.8 * bright } else { v })
        .collect();
    let files = ["bravo", "lesions"].map(|name| folder.join(format!("{name}_{session}.nii.gz")));
    let volumes = [
        AnyVolume::Image(Image::new(grid, voxels).unwrap()),
        AnyVolume::Labels(Labels::new(grid, labels).unwrap()),
    ];
    for (file, volume) in files.iter().zip(volumes) {
        nifti::write(file, &volume, &WriteOptions::default()).unwrap();
    }
    files
}

/// A session in the cohort's table.
fn row(table: &mut String, subject: &str, session: usize, files: &[PathBuf; 2], first: &Path, treated: &str) {
    let [bravo, lesions] = files.each_ref().map(|file| file.display());
    let date = format!("2024-0{session}-08");
    let first = first.display();
    writeln!(table, "sub-{subject}\t{session}\t{bravo}\t{lesions}\t{first}\t{date}\t{treated}").unwrap();
}

/// The rows of the one table of a subject whose name ends so.
fn rows(out: &Path, subject: &str, name: &str) -> Vec<BTreeMap<String, String>> {
    let mut folders = vec![out.to_owned()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let text = entry.to_string_lossy().into_owned();
            if entry.is_dir() {
                folders.push(entry);
            } else if text.contains(&format!("sub-{subject}")) && text.ends_with(&format!("{name}.tsv")) {
                found.push(entry);
            }
        }
    }
    assert_eq!(found.len(), 1, "{found:?}");
    let text = std::fs::read_to_string(&found[0]).unwrap();
    let mut lines = text.lines().map(|line| line.split('\t').map(str::to_owned).collect::<Vec<_>>());
    let names = lines.next().unwrap();
    lines.map(|cells| names.iter().cloned().zip(cells).collect()).collect()
}

fn number(row: &BTreeMap<String, String>, name: &str) -> f64 {
    row[name].parse().unwrap_or_else(|_| panic!("{name} is `{}` in {row:?}", row[name]))
}

fn ball_ml(radius: f64) -> f64 {
    4.0 / 3.0 * std::f64::consts::PI * radius.powi(3) / 1000.0
}

#[test]
fn lesions_of_a_phantom_are_followed_through_its_sessions() {
    let folder = scratch().join("follow-up");
    std::fs::create_dir_all(folder.join("thick")).unwrap();
    let head = head();
    let grid = *head.grid();
    let sessions: [&[Ball]; 3] = [
        &[(GROWS, 8.0), (STAYS, 7.0), (GOES, 3.0)],
        &[(COMES, 4.5), (STAYS, 7.0), (GROWS, 12.0)],
        &[(GROWS, 5.0), (COMES, 4.5), (STAYS, 4.0)],
    ];
    let mut table = "participant_id\tsession\tbravo\tlesions\tfirst\tdate\ttreated\n".to_owned();
    let first = folder.join("bravo_1.nii.gz");
    for (session, lesions) in (1..).zip(sessions) {
        let files = visit(&folder, &head, grid, session, lesions);
        row(&mut table, "01", session, &files, &first, if session > 1 { "yes" } else { "no" });
    }
    // The same head on slices of 6 mm: what RANO-BM asks for is not there.
    let spacing = grid.spacing_mm();
    let thick = [1.0, 1.0, 6.0 / spacing[2]];
    let thick = Grid::new(
        [grid.shape[0], grid.shape[1], (grid.shape[2] as f64 / thick[2]) as usize],
        grid.voxel_to_world.after(&Affine::scale_shift(thick, [0.0; 3])),
    );
    let first = folder.join("thick/bravo_1.nii.gz");
    for (session, lesions) in (1..).zip(&sessions[..2]) {
        let files = visit(&folder.join("thick"), &head, thick, session, lesions);
        row(&mut table, "02", session, &files, &first, "no");
    }
    let list = folder.join("sessions.tsv");
    std::fs::write(&list, table).unwrap();
    let out = folder.join("out");
    let run = finish(
        neuroloom().args(["batch", "workflows/follow-up.toml"]).arg(&list).arg(&out).arg("--no-cache"),
    );
    assert_eq!(run.code, Some(0), "{}", run.stderr);

    lesions_are_those_that_were_put_there(&rows(&out, "01", "desc-overtime_lesions"), &grid);
    responses_are_those_of_the_diameters(&rows(&out, "01", "desc-response_sessions"));
    let thick = rows(&out, "02", "desc-response_sessions");
    assert_eq!(thick[1]["response"], "withheld");
    assert_eq!(thick[1]["reason"], "axial slices are 6.0 mm apart, more than 5 mm");
}

fn lesions_are_those_that_were_put_there(rows: &[BTreeMap<String, String>], grid: &Grid) {
    let told: Vec<String> = rows
        .iter()
        .map(|row| {
            format!(
                "{} {} {} {}",
                &row["case"][row["case"].len() - 5..],
                row["track"],
                row["event"],
                row["labels"]
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "ses-1 1 baseline 1",
            "ses-1 2 baseline 2",
            "ses-1 3 baseline 3",
            "ses-2 1 matched 3",
            "ses-2 2 matched 2",
            "ses-2 3 gone n/a",
            "ses-2 4 new 1",
            "ses-3 1 matched 1",
            "ses-3 2 matched 3",
            "ses-3 3 gone n/a",
            "ses-3 4 matched 2",
        ]
    );
    let radii = [(0, 8.0), (1, 7.0), (2, 3.0), (3, 12.0), (4, 7.0), (6, 4.5), (7, 5.0), (8, 4.0), (10, 4.5)];
    let voxel_mm = grid.spacing_mm().into_iter().fold(0.0, f64::max);
    for (row, radius) in radii {
        // Half a voxel's layer, of which ins and outs cancel for the most part.
        let (found, expected) = (number(&rows[row], "volume_ml"), ball_ml(radius));
        let layer = 0.2 * voxel_mm * 4.0 * std::f64::consts::PI * radius * radius / 1000.0;
        assert!((found - expected).abs() < layer, "{found} ml instead of {expected} in {:?}", rows[row]);
        let axial = number(&rows[row], "longest_axial_diameter_mm");
        assert!((axial - 2.0 * radius).abs() < 1.5 * voxel_mm, "{axial} mm for {radius}");
    }
    let change = number(&rows[3], "volume_change_percent");
    assert!((change - 100.0 * ((12.0f64 / 8.0).powi(3) - 1.0)).abs() < 40.0, "{change} %");
    // What did not change lies on itself, but for the registration and for voxels of 2.5 to 3 mm, a fifth of it across, on another grid.
    assert!(number(&rows[4], "overlap") > 0.75, "{:?}", rows[4]);
}

fn responses_are_those_of_the_diameters(rows: &[BTreeMap<String, String>]) {
    let responses: Vec<&str> = rows.iter().map(|row| row["response"].as_str()).collect();
    // 30 mm; then 38 with a new lesion of 9 mm; then 18 of what were 30.
    assert_eq!(responses, ["baseline", "PD", "PR"], "{rows:?}");
    let counts = |name: &str| rows.iter().map(|row| row[name].clone()).collect::<Vec<_>>();
    assert_eq!(
        (counts("new"), counts("gone")),
        (["0", "1", "0"].map(str::to_owned).to_vec(), ["0", "1", "1"].map(str::to_owned).to_vec())
    );
    for (row, sum) in rows.iter().zip([30.0, 38.0, 18.0]) {
        let found = number(row, "sum_of_target_diameters_mm");
        // Diameters reach to the corners of voxels of 2.5 mm.
        assert!((found - sum).abs() < 5.0, "{found} mm instead of {sum}");
    }
}
