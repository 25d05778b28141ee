//! A workflow with twelve planted faults, checked by the built program with the real plugins: all twelve in one go.

use neuroloom_tests::{built, finish, neuroloom, root};

#[test]
fn all_twelve_faults_are_told_with_line_caret_and_hint() {
    let folder = tempfile::tempdir().unwrap();
    let workflow = folder.path().join("twelve-faults.toml");
    std::fs::copy(root().join("core/tests/data/twelve-faults.toml"), &workflow).unwrap();
    let model = folder.path().join("models/demo.safetensors");
    std::fs::create_dir(model.parent().unwrap()).unwrap();
    let mut maker = std::process::Command::new(built().join("make_model"));
    let made = finish(maker.arg(&model).args(["--width", "0.25", "--seed", "1"]));
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let checked = finish(neuroloom().arg("check").arg(&workflow));
    assert_eq!(checked.code, Some(2));
    let place = folder.path().display().to_string();
    insta::with_settings!({ filters => vec![(place.as_str(), "FOLDER")] }, {
        insta::assert_snapshot!(checked.stderr);
    });
}
