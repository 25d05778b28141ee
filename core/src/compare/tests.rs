use super::*;
use sdk::nifti::{self, WriteOptions};
use sdk::{AnyVolume, Grid, Image, Labels, Mask, Probability};
use serde_json::json;

/// An output folder in the making.
struct Out(tempfile::TempDir);

impl Out {
    fn new(workflow: &str) -> Self {
        let out = Self(tempfile::tempdir().unwrap());
        let by = json!([{ "Name": "neuroloom", "Version": "0.1.0", "Description": format!("workflow {workflow}") }]);
        out.write("dataset_description.json", &json!({ "GeneratedBy": by }).to_string());
        out
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn volume(&self, case: &str, name: &str, volume: &AnyVolume) {
        let folder = self.path().join(case).join("anat");
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{case}_{name}.nii.gz"));
        nifti::write(path, volume, &WriteOptions { description: String::new() }).unwrap();
    }

    fn lesions(&self, case: &str, digits: &str) {
        let voxels: Vec<u32> = digits.chars().map(|digit| digit.to_digit(10).unwrap()).collect();
        let labels = Labels::new(row(voxels.len()), voxels).unwrap();
        self.volume(case, "desc-lesions_dseg", &AnyVolume::Labels(labels));
    }

    /// A case with one file of each kind.
    fn case(&self, case: &str, lesions: &str, value: f32) {
        self.lesions(case, lesions);
        let mask = Mask::new(row(4), vec![1, 1, u8::from(value > 0.5), 0]).unwrap();
        self.volume(case, "desc-brain_mask", &AnyVolume::Mask(mask));
        let score = Probability::new(row(4), vec![0.0, 0.5, value, 1.0]).unwrap();
        self.volume(case, "probseg", &AnyVolume::Probability(score));
        let image = Image::new(row(4), vec![0.0, 100.0, value, 7.0]).unwrap();
        self.volume(case, "T1w", &AnyVolume::Image(image));
        let x = f64::from(value);
        self.write(
            &format!("{case}/anat/{case}_from-a_to-b_xfm.txt"),
            &format!("1 0 0 {x}\n0 1 0 0\n0 0 1 0\n0 0 0 1\n"),
        );
        self.write(
            &format!("{case}/anat/{case}_desc-measured_lesions.tsv"),
            &format!("lesion\tvolume_ml\n1\t{x}\n"),
        );
        self.write(&format!("{case}/{case}_report.html"), &format!("<p>{x}</p>"));
    }
}

/// A row of voxels of 1 ml.
fn row(voxels: usize) -> Grid {
    Grid::axis_aligned([voxels, 1, 1], [10.0; 3])
}

fn compared(a: &Out, b: &Out) -> Comparison {
    compare(a.path(), b.path(), &Selection::default()).unwrap()
}

fn lines(comparison: &Comparison) -> String {
    let mut lines = vec![headline(comparison)];
    for case in &comparison.cases {
        lines.extend(
            in_words(case).iter().map(|(output, _, words)| format!("{} | {output} | {words}", case.case)),
        );
    }
    lines.join("\n")
}

#[test]
fn every_kind_says_by_how_much_it_differs_and_the_worst_case_comes_first() {
    let (a, b) = (Out::new("w 1.0.0 (aaaa)"), Out::new("w 1.1.0 (bbbb)"));
    for case in ["sub-01", "sub-02", "sub-03"] {
        a.case(case, "1100200", 0.25);
        b.case(case, "1100200", 0.25);
    }
    b.case("sub-02", "1100033", 0.75);
    let comparison = compared(&a, &b);
    insta::assert_snapshot!(lines(&comparison));
    assert_eq!(comparison.runs_differ, ["workflow: w 1.0.0 (aaaa) in A, w 1.1.0 (bbbb) in B"]);
    insta::assert_json_snapshot!(serde_json::to_value(&comparison).unwrap()["outputs"][0]);
    let mut worst = serde_json::to_value(&comparison.cases[0]).unwrap();
    for file in worst["files"].as_array_mut().unwrap() {
        if let Some(measures) = file.get_mut("measures").and_then(|m| m.as_object_mut()) {
            measures.remove("grid");
        }
    }
    insta::assert_json_snapshot!(worst);
}

#[test]
fn two_folders_of_the_same_content_are_identical() {
    let (a, b) = (Out::new("w"), Out::new("w"));
    for out in [&a, &b] {
        out.case("sub-01", "0110", 0.25);
        out.case("sub-02", "0000", 0.25);
    }
    let comparison = compared(&a, &b);
    assert_eq!(lines(&comparison), "all 2 cases identical");
    assert!(comparison.runs_differ.is_empty());
    assert!(comparison.outputs.iter().all(|output| output.identical == 2 && output.worst_case.is_none()));
}

#[test]
fn a_page_alone_does_not_make_a_case_differ() {
    let (a, b) = (Out::new("w"), Out::new("w"));
    a.case("sub-01", "0110", 0.25);
    b.case("sub-01", "0110", 0.25);
    b.write("sub-01/sub-01_report.html", "another day");
    let comparison = compared(&a, &b);
    insta::assert_snapshot!(lines(&comparison), @r"
    the case is identical; pages and other documents differ in 1
    sub-01 | report | other content
    ");
}

#[test]
fn cases_and_files_of_one_side_are_told_with_their_reason() {
    let (a, b) = (Out::new("w"), Out::new("w"));
    for case in ["sub-01", "sub-02", "sub-03"] {
        a.lesions(case, "0110");
    }
    b.lesions("sub-01", "0110");
    b.write("sub-01/anat/sub-01_extra.tsv", "x\n1\n");
    b.lesions("sub-04", "0110");
    b.write(".neuroloom/failed/sub-02/sub-02_report.html", "failed");
    b.write(".neuroloom/failed/sub-05/sub-05_report.html", "failed");
    a.write(".neuroloom/failed/sub-05/sub-05_report.html", "failed");
    insta::assert_snapshot!(lines(&compared(&a, &b)), @r"
    the case is not identical; extra differs in 1; 2 cases with results in A alone; 1 case with results in B alone; 1 case failed in A; 2 cases failed in B
    sub-02 | all | failed in B
    sub-03 | all | not in B
    sub-04 | all | not in A
    sub-01 | extra | only in B
    sub-05 | all | failed in both
    ");
}

#[test]
fn what_a_failed_attempt_could_still_make_is_no_result() {
    let (a, b) = (Out::new("w"), Out::new("w"));
    for case in ["sub-01", "sub-02"] {
        a.case(case, "0110", 0.25);
    }
    b.case("sub-01", "0110", 0.25);
    b.write("sub-02/sub-02_report.html", "what failed");
    let end = json!({
        "format": 1, "name": "sub-02", "run": 1, "ending": "failed", "reason": "stage `brain`: no brain",
        "seconds": 1.0, "since": "", "until": "",
    });
    b.write(".neuroloom/cases/sub-02/0001.end.json", &end.to_string());
    insta::assert_snapshot!(lines(&compared(&a, &b)), @r"
    the case is identical; 1 case with results in A alone; 1 case failed in B
    sub-02 | all | failed in B: stage `brain`: no brain
    ");
}

#[test]
fn another_grid_and_a_damaged_file_are_told_and_the_rest_is_compared() {
    let (a, b) = (Out::new("w"), Out::new("w"));
    for out in [&a, &b] {
        for case in ["sub-01", "sub-02", "sub-03"] {
            out.lesions(case, "0110");
        }
    }
    b.lesions("sub-01", "011000");
    let damaged = b.path().join("sub-02/anat/sub-02_desc-lesions_dseg.nii.gz");
    let bytes = std::fs::read(&damaged).unwrap();
    std::fs::write(&damaged, &bytes[..10]).unwrap();
    let text = lines(&compared(&a, &b)).replace(&*b.path().to_string_lossy(), "B");
    insta::assert_snapshot!(text, @r"
    1 of 3 cases identical; desc-lesions_dseg differs in 2; 1 file cannot be read
    sub-02 | desc-lesions_dseg | the gzip data of `B/sub-02/anat/sub-02_desc-lesions_dseg.nii.gz` are damaged: incomplete deflate stream
    sub-01 | desc-lesions_dseg | other grid: 4x1x1 of 10x10x10 mm RAS and 6x1x1 of 10x10x10 mm RAS; 1 and 1 lesion, 2.000 and 2.000 ml
    ");
}

#[test]
fn cases_and_outputs_can_be_chosen() {
    let (a, b) = (Out::new("w"), Out::new("w"));
    for case in ["sub-01", "sub-02"] {
        a.case(case, "0110", 0.25);
        b.case(case, "0111", 0.75);
    }
    let choose = |cases: &[&str], outputs: &[&str]| {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        compare(a.path(), b.path(), &Selection { cases: owned(cases), outputs: owned(outputs) })
    };
    let chosen = choose(&["02"], &["lesions", "T1w"]).unwrap();
    let files: Vec<_> = chosen.cases[0].files.iter().map(|file| file.output.as_str()).collect();
    assert_eq!((chosen.cases.len(), chosen.cases[0].case.as_str()), (1, "sub-02"));
    assert_eq!(files, ["desc-lesions_dseg", "T1w", "desc-measured_lesions"]);
    insta::assert_snapshot!(choose(&["sub-03"], &[]).unwrap_err(), @r"
    case `sub-03` is in neither folder
    hint: did you mean `sub-01`?
    ");
    insta::assert_snapshot!(choose(&[], &["lesion"]).unwrap_err(), @r"
    output `lesion` is in neither folder
    hint: there is: `T1w`, `desc-brain_mask`, `desc-lesions_dseg`, `desc-measured_lesions`, `from-a_to-b_xfm`, `probseg` and `report`
    ");
    assert!(choose(&["../x"], &[]).unwrap_err().to_string().contains("not of the form"));
}

#[test]
fn what_cannot_be_compared_is_said() {
    let (a, b) = (Out::new("w"), Out::new("w"));
    a.lesions("sub-01", "0110");
    b.lesions("sub-02", "0110");
    let compare = |a: &Path, b: &Path| compare(a, b, &Selection::default()).unwrap_err();
    assert!(matches!(compare(a.path(), b.path()), CompareError::NothingInCommon { a: 1, b: 1 }));
    let again = a.path().join("sub-01/..");
    assert!(matches!(compare(a.path(), &again), CompareError::SameFolder { .. }));
    assert!(matches!(compare(a.path(), &a.path().join("sub-01")), CompareError::NotAnOutput { .. }));
    assert!(matches!(compare(&a.path().join("none"), b.path()), CompareError::NotAFolder { .. }));
}

#[test]
fn an_output_is_called_by_its_name_or_parts_of_it() {
    let name = "derivatives/truth/space-orig_desc-lesions_dseg";
    for wanted in ["truth", "lesions", "dseg", "desc-lesions", "desc-lesions_dseg", name] {
        assert!(is_called("truth", name, wanted), "{wanted}");
    }
    for wanted in ["lesion", "seg", "space", "", "desc-lesion"] {
        assert!(!is_called("truth", name, wanted), "{wanted}");
    }
}
