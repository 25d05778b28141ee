//! The shipped workflows on synthetic and real patients: what is written, and that it is the same each time.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use neuroloom_tests::scene::{ALL, MAIN, main_workflow, model, names, scratch, sequence, tree};
use neuroloom_tests::{Finished, finish, neuroloom, root, shared_data};
use serde_json::Value;
use std::path::{Path, PathBuf};

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// What a reader sees of a page: no tags, no pictures.
fn page(path: &Path) -> String {
    let html = text(path);
    let pieces = html.split('<').filter_map(|piece| Some(piece.split_once('>')?.1));
    pieces.collect::<Vec<_>>().join("").replace("&#x27;", "'")
}

/// The files that stdout lists for an output.
fn listed(run: &Finished, output: &str) -> Vec<PathBuf> {
    let lines = run.stdout.lines().filter_map(|line| line.split_once('\t'));
    lines.filter(|(name, _)| *name == output).map(|(_, path)| path.into()).collect()
}

fn succeeded(run: &Finished) {
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    for line in run.stdout.lines() {
        let (_, path) = line.split_once('\t').expect("output, tab, path");
        assert!(Path::new(path).is_file(), "{line} is listed and does not exist");
    }
}

#[test]
fn a_whole_patient_gets_lesions_score_mask_transforms_tables_and_a_page() {
    let out = scratch().join("whole");
    let run = finish(&mut main_workflow(&ALL, &out));
    succeeded(&run);
    let listed_names: Vec<_> =
        run.stdout.lines().map(|line| line.replace(&*out.to_string_lossy(), "OUT")).collect();
    insta::assert_snapshot!("outputs", listed_names.join("\n"));
    insta::assert_snapshot!("files", names(&out).join("\n"));
    // The brain comes from the pre-contrast T1 alone, brought to the grid of the BRAVO.
    for (output, inputs) in [("lesions", 4), ("below_size", 4), ("score", 4), ("brain_mask", 2)] {
        let sidecar = json(&listed(&run, output)[0].with_extension("").with_extension("json"));
        let sources = sidecar["Sources"].as_array().unwrap();
        assert_eq!(sources.len(), inputs, "{output}: {sidecar}");
        assert_eq!(sources[0], "bids:raw:sub-demo/anat/sub-demo_acq-BRAVO_ce-gad_T1w.nii.gz");
        assert_eq!(sidecar["SpatialReference"], sources[0], "{output} lies on the grid of the BRAVO");
    }
    let lesions = json(&out.join("sub-demo/anat/sub-demo_space-orig_desc-lesions_dseg.json"));
    assert!(lesions["Threshold"].as_f64().is_some_and(|t| t > 0.0 && t < 1.0), "{lesions}");
    assert_eq!(lesions["Model"]["name"], "phantom-demo");
    let transforms = listed(&run, "transforms");
    assert_eq!(transforms.len(), 3);
    for path in transforms {
        let rows: Vec<Vec<f64>> = text(&path)
            .lines()
            .map(|line| line.split(' ').map(|number| number.parse().unwrap()).collect())
            .collect();
        assert_eq!(rows.iter().map(Vec::len).collect::<Vec<_>>(), [4; 4], "{}", path.display());
        assert_eq!(rows[3], [0.0, 0.0, 0.0, 1.0]);
    }
    let page = page(&listed(&run, "report")[0]);
    for words in ["MODEL TRAINED ON PHANTOMS", "PHANTOM-TRAINED MODEL", "RESEARCH USE ONLY"] {
        assert!(page.contains(words), "the page does not say `{words}`");
    }
}

/// Other folders, other numbers of threads: the same bytes, sidecars and page included.
#[test]
fn the_same_case_gives_the_same_bytes_with_any_number_of_threads() {
    let (one, two) = (scratch().join("one_thread"), scratch().join("two_threads"));
    succeeded(&finish(main_workflow(&ALL, &one).args(["--threads", "1"])));
    succeeded(&finish(main_workflow(&ALL, &two).args(["--threads", "2"])));
    let (one, two) = (tree(&one), tree(&two));
    assert_eq!(one.keys().collect::<Vec<_>>(), two.keys().collect::<Vec<_>>());
    let differ: Vec<_> =
        one.iter().filter(|(name, bytes)| two[*name] != **bytes).map(|(name, _)| name).collect();
    assert!(differ.is_empty(), "{differ:?}");
}

#[test]
fn without_flair_the_case_runs_and_says_what_it_skipped() {
    let out = scratch().join("no_flair");
    let run = finish(&mut main_workflow(&["bravo", "t1_pre", "t1_post"], &out));
    succeeded(&run);
    assert!(run.stderr.contains("note: without flair"), "{}", run.stderr);
    assert!(run.stderr.contains("aligned (flair)"), "{}", run.stderr);
    assert!(run.stderr.contains("skipped: input `flair` is absent"), "{}", run.stderr);
    assert_eq!(listed(&run, "transforms").len(), 2);
    let page = page(&listed(&run, "report")[0]);
    assert!(page.contains("input flair is absent"), "the page says what was skipped");
}

/// The post-contrast CUBE is then the image that all is brought to and reported on.
#[test]
fn without_bravo_the_case_runs_on_the_other_post_contrast_sequence() {
    let out = scratch().join("no_bravo");
    let run = finish(&mut main_workflow(&["t1_pre", "t1_post", "flair"], &out));
    succeeded(&run);
    assert!(run.stderr.contains("note: without bravo"), "{}", run.stderr);
    let sidecar = json(&listed(&run, "lesions")[0].with_extension("").with_extension("json"));
    let cube = "bids:raw:sub-demo/anat/sub-demo_acq-CUBE_ce-gad_T1w.nii.gz";
    assert_eq!(sidecar["SpatialReference"], cube, "{sidecar}");
    assert_eq!(sidecar["Model"]["zeroed_channels"], serde_json::json!(["bravo"]), "{sidecar}");
    let lesions = sdk::nifti::read_labels(&listed(&run, "lesions")[0]).unwrap();
    let reference = sdk::nifti::read_image(sequence("t1_post")).unwrap();
    assert_eq!(lesions.grid().shape, reference.grid().shape);
    assert!(
        page(&listed(&run, "report")[0]).contains("input bravo is absent"),
        "the page says what was skipped"
    );
}

#[test]
fn with_neither_post_contrast_sequence_nothing_runs_and_the_chain_of_reasons_is_told() {
    let out = scratch().join("no_contrast");
    let run = finish(&mut main_workflow(&["t1_pre", "flair"], &out));
    assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""));
    insta::assert_snapshot!(run.stderr);
    assert!(!out.exists());
}

/// The BRAVO is no image at all: had it been read, the message would say so.
#[test]
fn without_t1_pre_nothing_is_read_or_written() {
    let out = scratch().join("no_t1_pre");
    let garbage = scratch().join("sub-demo_garbage.nii.gz");
    std::fs::write(&garbage, "no image").unwrap();
    let mut command = neuroloom();
    command.args(["run", MAIN, "--input"]).arg(format!("bravo={}", garbage.display()));
    let run = finish(command.arg("--out").arg(&out));
    assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""));
    insta::assert_snapshot!(run.stderr);
    assert!(!out.exists());
}

/// The model with all its weights replaced by NaN: the header is right, so that only running it can tell.
fn sour_model(folder: &Path) -> PathBuf {
    let mut bytes = std::fs::read(model()).unwrap();
    let header = 8 + usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    bytes[header..].fill(0xff);
    let path = folder.join("sour.safetensors");
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn when_segment_fails_there_is_a_page_that_says_so_and_a_good_result_stays() {
    let out = scratch().join("failing");
    let sour = sour_model(scratch());
    let set = format!("segment.settings.models=[\"{}\"]", sour.display());
    let failing = || finish(main_workflow(&["bravo", "t1_pre"], &out).args(["--set", &set]));

    let first = failing();
    assert_eq!(first.code, Some(1));
    assert!(
        first
            .stderr
            .contains("error: case `sub-demo` stopped at stage `segment`: the network's score of slice"),
        "{}",
        first.stderr
    );
    let report = out.join("sub-demo/sub-demo_report.html");
    assert_eq!(listed(&first, "report"), [report.as_path()]);
    for words in ["the network's score of slice", "stage segment failed"] {
        assert!(page(&report).contains(words), "the page does not say `{words}`");
    }
    assert!(listed(&first, "lesions").is_empty());

    succeeded(&finish(&mut main_workflow(&["bravo", "t1_pre"], &out)));
    let good = tree(&out.join("sub-demo"));
    let second = failing();
    assert_eq!(second.code, Some(1));
    assert_eq!(tree(&out.join("sub-demo")), good, "a failed run replaces nothing");
    assert!(listed(&second, "report")[0].starts_with(out.join(".neuroloom/failed/sub-demo")));
}

#[test]
fn a_second_run_replaces_the_first_and_keeps_it_aside() {
    let out = scratch().join("again");
    let brain = |threshold: &str| {
        let mut command = neuroloom();
        command.args(["run", "workflows/brain-extraction.toml", "--input"]);
        command.arg(format!("head={}", sequence("t1_pre").display())).arg("--out").arg(&out);
        succeeded(&finish(
            command.args(["--set", &format!("brain.settings.fractional_threshold={threshold}")]),
        ));
        tree(&out.join("sub-demo"))
    };
    let (first, second) = (brain("0.5"), brain("0.4"));
    assert_ne!(first, second);
    assert_eq!(tree(&out.join(".neuroloom/replaced/sub-demo.0001/sub-demo")), first);
}

/// A real patient whose second post-contrast sequence was never made.
#[test]
fn a_real_patient_without_t1_post_gets_all_outputs() {
    let Some(data) = shared_data("tumour") else { return };
    let out = scratch().join("tumour");
    let mut command = neuroloom();
    command.args(["run", MAIN, "--case", "sub-tumour", "--out"]).arg(&out);
    for (input, file) in [("bravo", "t1c"), ("t1_pre", "t1"), ("flair", "fla")] {
        command.arg("--input").arg(format!("{input}={}", data.join(file).with_extension("nii.gz").display()));
    }
    let run = finish(&mut command);
    succeeded(&run);
    for output in [
        "report",
        "report_data",
        "lesions",
        "below_size",
        "score",
        "brain_mask",
        "lesion_table",
        "candidates",
    ] {
        assert_eq!(listed(&run, output).len(), 1, "{output}");
    }
    assert_eq!(listed(&run, "transforms").len(), 2);
    assert!(page(&listed(&run, "report")[0]).contains("input t1_post is absent"));
}

#[test]
fn two_sequences_of_a_real_patient_are_coregistered() {
    let Some(data) = shared_data("ms01") else { return };
    let out = scratch().join("coregister");
    let mut command = neuroloom();
    command.args(["run", "workflows/coregister.toml", "--case", "sub-ms01", "--out"]).arg(&out);
    for (input, file) in [("fixed", "study1_T1W"), ("moving", "study1_FLAIR")] {
        command.arg("--input").arg(format!("{input}={}", data.join(file).with_extension("nii.gz").display()));
    }
    let run = finish(&mut command);
    succeeded(&run);
    let matrix = text(&listed(&run, "fixed_to_moving")[0]);
    let numbers: Vec<f64> = matrix.split_whitespace().map(|number| number.parse().unwrap()).collect();
    assert_eq!(numbers.len(), 16);
    assert_eq!(listed(&run, "registered").len(), 1);
}

#[test]
fn the_brain_of_a_real_patient_is_found() {
    let Some(data) = shared_data("ms04") else { return };
    let out = scratch().join("brain");
    let head = data.join("study1_T1W.nii.gz");
    let mut command = neuroloom();
    command.args(["run", "workflows/brain-extraction.toml", "--case", "sub-ms04", "--input"]);
    let run = finish(command.arg(format!("head={}", head.display())).arg("--out").arg(&out));
    succeeded(&run);
    let mask = sdk::nifti::read(&listed(&run, "mask")[0], sdk::Kind::Mask).unwrap();
    let sdk::AnyVolume::Mask(mask) = mask.volume else { panic!("a mask was written") };
    let voxels: f64 = mask.voxels().iter().map(|voxel| f64::from(*voxel)).sum();
    let litres = voxels * mask.grid().voxel_volume_mm3() / 1e6;
    assert!((0.9..2.0).contains(&litres), "{litres} litres are no adult's brain");
}

/// What is shipped has to be checked as it is shipped.
#[test]
fn all_shipped_workflows_are_free_of_faults() {
    for folder in ["workflows", "workflows/sites"] {
        for entry in std::fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                let run = finish(neuroloom().arg("check").arg(&path));
                assert_eq!(run.code, Some(0), "{}\n{}", path.display(), run.stderr);
            }
        }
    }
}
