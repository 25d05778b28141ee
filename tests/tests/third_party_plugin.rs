//! A plugin that is built outside the workspace serves as any other: inspected, swapped in by one line, run.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use neuroloom_tests::{Finished, example_plugin, example_plugin_dir, finish, neuroloom, root};
use std::path::Path;
use std::process::Command;

/// The engine, which knows the example plugin.
fn engine(arguments: &[&str]) -> Command {
    let mut command = neuroloom();
    command.arg("--plugin-dir").arg(example_plugin_dir()).args(arguments);
    command
}

fn fine(command: &mut Command) -> Finished {
    let finished = finish(command);
    assert_eq!(finished.code, Some(0), "{command:?}: {}", finished.stderr);
    finished
}

/// A site file of at most four lines.
fn site_file(folder: &Path, text: &str) -> String {
    assert!(text.lines().count() <= 4, "{text}");
    let path = folder.join("site.toml");
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// Whether a drawing has a stage that runs this operator.
fn draws(drawing: &str, stage: &str, operator: &str) -> bool {
    drawing.lines().any(|line| line.contains(&format!("<b>{stage}</b><br/>{operator}\"")))
}

#[test]
fn the_engine_shows_ports_and_settings_of_a_strangers_plugin() {
    let shown = fine(&mut engine(&["plugins", "inspect", "otsu_brain"])).stdout;
    for words in [
        "plugin    otsu_brain 0.1.0",
        "otsu_brain (role skull_stripper)",
        "head               image - whole head, not yet stripped",
        "mask               mask - brain, ventricles included",
        "opening_mm         Radius in mm",
        "[default: 5.0]",
    ] {
        assert!(shown.contains(words), "`{words}` is missing in:\n{shown}");
    }
    let schema = fine(&mut engine(&["schema", "otsu_brain"])).stdout;
    assert!(schema.contains("\"maximum\": 20"), "{schema}");
}

#[test]
fn its_own_tests_pass() {
    let tested = example_plugin("test");
    assert_eq!(tested.code, Some(0), "{}\n{}", tested.stdout, tested.stderr);
}

/// What `bet` has beyond its role (a start, the skull) is optional on both sides.
#[test]
fn its_ports_are_those_that_a_stage_of_its_role_relies_on() {
    let operator = |name: &str| {
        let text = fine(&mut engine(&["plugins", "inspect", name, "--format", "json"])).stdout;
        let shown: serde_json::Value = serde_json::from_str(&text).unwrap();
        shown["operators"]
            .as_array()
            .unwrap()
            .iter()
            .find(|operator| operator["name"] == name)
            .unwrap()
            .clone()
    };
    let ports = |operator: &serde_json::Value, side: &str| {
        let mut ports = operator[side].as_array().unwrap().clone();
        ports.retain(|port| port["optional"] != true);
        for port in &mut ports {
            port.as_object_mut().unwrap().remove("about");
        }
        ports
    };
    let (own, shipped) = (operator("otsu_brain"), operator("bet"));
    assert_eq!(own["role"], shipped["role"]);
    assert_eq!(ports(&own, "inputs"), ports(&shipped, "inputs"));
    let offered = ports(&shipped, "outputs");
    let made = ports(&own, "outputs");
    assert!(made.len() == 2 && made.iter().all(|port| offered.contains(port)), "{made:?} of {offered:?}");
}

#[test]
fn a_site_file_of_two_lines_replaces_bet() {
    let folder = tempfile::tempdir().unwrap();
    let workflow = root().join("workflows/brain-extraction.toml");
    let text =
        format!("extends = {:?}\nstages.brain.operator = \"otsu_brain\"\n", workflow.display().to_string());
    let site = site_file(folder.path(), &text);
    let before = fine(&mut engine(&["graph", "workflows/brain-extraction.toml"])).stdout;
    assert!(draws(&before, "brain", "bet"), "{before}");
    let after = fine(&mut engine(&["graph", &site])).stdout;
    assert!(draws(&after, "brain", "otsu_brain"), "{after}");
    let by_flag =
        fine(&mut engine(&["graph", "workflows/brain-extraction.toml", "--use", "brain=otsu_brain"])).stdout;
    assert_eq!(by_flag, after);
}

#[test]
fn settings_out_of_range_are_refused_before_any_image_is_read() {
    let set = "brain.settings.opening_mm=21.0";
    let refused = finish(&mut engine(&[
        "check",
        "workflows/brain-extraction.toml",
        "--use",
        "brain=otsu_brain",
        "--set",
        set,
    ]));
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("opening_mm") && refused.stderr.contains("21"), "{}", refused.stderr);
}

#[test]
fn it_finds_the_brain_of_a_phantom() {
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("raw").display().to_string();
    let small = "phantom.settings.grids=\"small\"";
    let label = ["--case", "sub-p"];
    let mut make = engine(&["run", "workflows/phantom.toml", "--set", small, "--out", &raw]);
    fine(make.args(label));
    let head = format!("head={raw}/sub-p/anat/sub-p_acq-CUBE_T1w.nii.gz");
    let out = folder.path().join("out").display().to_string();
    let mut strip = engine(&["run", "workflows/brain-extraction.toml", "--use", "brain=otsu_brain"]);
    let finished = fine(strip.args(["--input", &head, "--out", &out]).args(label));
    let mask =
        finished.stdout.lines().find_map(|line| line.strip_prefix("mask\t")).expect("a mask is written");
    let mask = sdk::nifti::read_mask(mask).unwrap();
    let volume_ml = mask.count() as f64 * mask.grid().voxel_volume_mm3() / 1000.0;
    // The phantom is made from one adult's head.
    assert!((800.0..2200.0).contains(&volume_ml), "{volume_ml} ml");
}

#[test]
fn a_stage_is_put_on_all_four_inputs_by_four_lines() {
    let folder = tempfile::tempdir().unwrap();
    let workflow = root().join("workflows/brain-metastases.toml");
    let text = format!(
        "extends = {:?}\n[stages.even]\noperator = \"z_score\"\ninsert_after = [\"bravo\", \"t1_pre\", \"t1_post\", \"flair\"]\n",
        workflow.display().to_string()
    );
    let drawing = fine(&mut engine(&["graph", &site_file(folder.path(), &text)])).stdout;
    assert!(draws(&drawing, "even", "z_score<br/>bravo, t1_pre, t1_post, flair"), "{drawing}");
    let from_inputs: Vec<&str> =
        drawing.lines().filter(|line| line.trim().starts_with("in") && line.contains("-->")).collect();
    assert_eq!(from_inputs.len(), 4, "{drawing}");
    assert!(from_inputs.iter().all(|line| line.ends_with("_even")), "{drawing}");
}
