use super::*;
use serde_json::Value;

/// Numbers of SimpleITK 2.5.7; `PROVENANCE.md` beside the file.
const GOLDEN: &str = include_str!("../../tests/data/itk/itk.json");

fn point(value: &Value) -> [f64; 3] {
    serde_json::from_value(value.clone()).unwrap()
}

/// RAS+ and LPS point either way.
fn flip([x, y, z]: [f64; 3]) -> [f64; 3] {
    [-x, -y, z]
}

fn apart_mm(a: [f64; 3], b: [f64; 3]) -> f64 {
    (0..3).map(|axis| (a[axis] - b[axis]).powi(2)).sum::<f64>().sqrt()
}

fn map(text: &str) -> Affine {
    *read(text).unwrap().as_affine().unwrap()
}

fn some_map() -> Transform {
    Transform::affine(Affine::from_rows([
        [1.05, -0.11, 0.02, 12.5],
        [0.1, 0.97, -0.2, -31.0625],
        [0.01, 0.21, 0.9, 1.0 / 3.0],
    ]))
}

/// 1e-9 mm: rounding of the last digit that ITK writes.
#[test]
fn itk_files_send_points_where_itk_sends_them() {
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    let transforms = golden["transforms"].as_array().unwrap();
    assert_eq!(transforms.len(), 7);
    for transform in transforms {
        let found = map(transform["text"].as_str().unwrap());
        for pair in transform["points"].as_array().unwrap() {
            let there = flip(found.point(flip(point(&pair[0]))));
            let off = apart_mm(there, point(&pair[1]));
            assert!(off < 1e-9, "{}: {off} mm at {}", transform["name"], pair[0]);
        }
    }
}

/// Each form holds all digits, so a transform comes back bit by bit.
#[test]
fn what_is_written_is_read_again() {
    let transform = some_map();
    for text in [matrix_text(&transform), itk_text(&transform)] {
        assert_eq!(read(&text).unwrap(), transform, "{text}");
    }
    let plain = serde_json::to_string(&transform).unwrap();
    assert_eq!(read(&plain).unwrap(), transform);
    assert_eq!(read(&format!("{{ \"Convention\": \"…\", \"Transform\": {plain} }}")).unwrap(), transform);
}

/// What our files say is read by SimpleITK itself, where a Python that has it is at hand (1e-4 mm: far below any voxel).
#[test]
fn simpleitk_sends_points_where_we_send_them() {
    const SCRIPT: &str = "import sys, json, numpy, SimpleITK as sitk\n\
        itk, rows = sitk.ReadTransform(sys.argv[1]), numpy.loadtxt(sys.argv[2])\n\
        points = json.loads(sys.argv[3])\n\
        print(json.dumps([[itk.TransformPoint((-x, -y, z)), (rows @ [x, y, z, 1])[:3].tolist()] for x, y, z in points]))";
    let points = [[0.0, 0.0, 0.0], [80.0, -60.5, 42.0], [-100.0, 100.0, -75.25]];
    let folder = tempfile::tempdir().unwrap();
    let (itk, rows) = (folder.path().join("xfm.tfm"), folder.path().join("xfm.txt"));
    std::fs::write(&itk, itk_text(&some_map())).unwrap();
    std::fs::write(&rows, matrix_text(&some_map())).unwrap();
    let python = std::env::var("NEUROLOOM_PYTHON").unwrap_or_else(|_| "python3".into());
    let asked = std::process::Command::new(python)
        .args(["-c", SCRIPT])
        .args([&itk, &rows])
        .arg(serde_json::to_string(&points).unwrap())
        .output();
    let Some(answer) = asked.ok().filter(|answer| answer.status.success()) else {
        println!("skipped: NEUROLOOM_PYTHON names no Python with SimpleITK");
        return;
    };
    let found: Vec<[[f64; 3]; 2]> = serde_json::from_slice(&answer.stdout).unwrap();
    let transform = some_map();
    for (at, [by_itk, by_rows]) in points.into_iter().zip(found) {
        let expected = transform.as_affine().unwrap().point(at);
        assert!(apart_mm(flip(by_itk), expected) < 1e-4 && apart_mm(by_rows, expected) < 1e-4, "{at:?}");
    }
}

#[test]
fn what_is_no_transform_says_why() {
    let itk = |name: &str, numbers: &str| {
        format!(
            "{ITK_TITLE}\n#Transform 0\nTransform: {name}\nParameters: {numbers}\nFixedParameters: 0 0 0\n"
        )
    };
    for (text, message) in [
        ("1 0 0 0".to_owned(), "4 numbers instead of a 4x4 matrix"),
        ("dear friend".to_owned(), "0 numbers instead of a 4x4 matrix"),
        ("1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 2".to_owned(), "16 numbers instead"),
        ("0 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1".to_owned(), "cannot be inverted"),
        (
            itk("BSplineTransform_double_3_3", "1 2 3"),
            "ITK's `BSplineTransform_double_3_3` is not known here",
        ),
        (itk("AffineTransform_double_3_3", "1 2 3"), "has 3 parameters and 3 fixed ones"),
        (itk("AffineTransform_double_3_3", "0 0 0 0 1 0 0 0 1 0 0 0"), "cannot be inverted"),
        (ITK_TITLE.to_owned(), "0 numbers instead"),
    ] {
        let error = read(&text).unwrap_err().to_string();
        assert!(error.contains(message) && error.contains("hint: "), "{error}");
    }
}
