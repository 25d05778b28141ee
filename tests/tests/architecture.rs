//! The rules of `ARCHITECTURE.md` that a machine can check.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use neuroloom_tests::{finish, root};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The workspace as cargo sees it.
fn packages() -> Vec<Value> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root()).args(["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    let run = finish(&mut cargo);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let metadata: Value = serde_json::from_str(&run.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

fn name(package: &Value) -> &str {
    package["name"].as_str().unwrap()
}

/// Folder of a package below the root: `plugins/lesions`.
fn folder(package: &Value) -> String {
    let manifest = Path::new(package["manifest_path"].as_str().unwrap());
    manifest.parent().unwrap().strip_prefix(root()).unwrap().to_string_lossy().into_owned()
}

/// The packages that one depends on, when built (`normal`, `build`) or only when tested (`dev`).
fn needs(package: &Value, dev: bool) -> BTreeSet<String> {
    let dependencies = package["dependencies"].as_array().unwrap().iter();
    let wanted = dependencies.filter(|dependency| (dependency["kind"] == "dev") == dev);
    wanted.map(|dependency| name(dependency).to_owned()).collect()
}

/// The arrows that a package in this folder may have to others of the workspace.
fn allowed(folder: &str, dev: bool) -> &'static [&'static str] {
    const SDK: &str = "neuroloom-sdk";
    const SEGMENT_ABI: &str = "neuroloom-segment-abi";
    match (folder, dev) {
        ("sdk/abi" | "plugins/segment/abi", false) => &[],
        ("sdk", false) => &["neuroloom-abi"],
        ("tests" | "examples/embed_engine", _) => &[SDK, "neuroloom-core"],
        ("plugins/segment", false) => &[SDK, SEGMENT_ABI],
        ("plugins/segment/torch", false) => &[SEGMENT_ABI],
        ("plugins/segment/torch", true) => &[SDK, "neuroloom-segment"],
        _ => &[SDK],
    }
}

#[test]
fn crates_depend_on_each_other_only_as_the_architecture_says() {
    let packages = packages();
    let own: BTreeSet<&str> = packages.iter().map(name).collect();
    let mut wrong = Vec::new();
    for package in &packages {
        for dev in [false, true] {
            let allowed = allowed(&folder(package), dev);
            let arrows = needs(package, dev).into_iter().filter(|need| own.contains(need.as_str()));
            let new = arrows.filter(|need| !allowed.contains(&need.as_str()) && need != name(package));
            wrong.extend(new.map(|need| format!("{} -> {need}", folder(package))));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(packages.len() >= 12, "{own:?}");
}

#[test]
fn heavy_and_risky_crates_are_used_in_one_place() {
    let packages = packages();
    for (external, place) in [("abi_stable", "sdk/abi"), ("tch", "plugins/segment/torch")] {
        let users = packages
            .iter()
            .filter(|p| needs(p, false).contains(external) || needs(p, true).contains(external));
        assert_eq!(users.map(folder).collect::<Vec<_>>(), [place], "{external}");
    }
}

/// All Rust files of the project, by their path below the root.
fn sources() -> BTreeMap<String, String> {
    let mut sources = BTreeMap::new();
    let mut waiting: Vec<PathBuf> =
        ["sdk", "core", "plugins", "tests", "examples"].map(|top| root().join(top)).to_vec();
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
                sources.insert(name, std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    assert!(sources.len() > 100, "the project has more files than {}", sources.len());
    sources
}

/// Whether a text has a word as a whole, not as part of a longer name.
fn has_word(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(part) && !text[at + word.len()..].starts_with(part))
}

#[test]
fn the_engine_names_no_plugin() {
    let plugins: Vec<String> = packages()
        .iter()
        .filter(|package| folder(package).starts_with("plugins/"))
        .map(|package| name(package).replace('-', "_"))
        .collect();
    assert!(plugins.len() >= 8, "{plugins:?}");
    let engine = sources().into_iter().filter(|(path, _)| path.starts_with("core/src/"));
    for (path, text) in engine {
        let named: Vec<_> = plugins.iter().filter(|plugin| has_word(&text, plugin)).collect();
        assert!(named.is_empty(), "{path} names {named:?}");
    }
}

/// Code without its comments and without what stands between quotes.
fn code(text: &str) -> String {
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.map(|line| line.split('"').step_by(2).collect::<Vec<_>>().join("\"")).collect::<Vec<_>>().join("\n")
}

#[test]
fn unsafe_code_lives_in_the_named_files_only() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let block = text.split("```unsafe files\n").nth(1).and_then(|rest| rest.split("```").next());
    let listed: BTreeSet<&str> = block.expect("the list is there").lines().collect();
    let sources = sources();
    // This file speaks of the word, and does nothing with it.
    let own = |path: &str| path == "tests/tests/architecture.rs";
    let found: BTreeSet<&str> = sources
        .iter()
        .filter(|(path, text)| !own(path) && has_word(&code(text), "unsafe"))
        .map(|(path, _)| path.as_str())
        .collect();
    assert_eq!(found, listed);
}

#[test]
fn no_file_is_longer_than_600_lines() {
    let long = sources().into_iter().map(|(path, text)| (path, text.lines().count()));
    let long: Vec<_> = long.filter(|(_, lines)| *lines > 600).collect();
    assert!(long.is_empty(), "{long:?}");
}

#[test]
fn every_plugin_has_a_readme() {
    let packages = packages();
    let plugins = packages
        .iter()
        .map(folder)
        .filter(|folder| folder.strip_prefix("plugins/").is_some_and(|plugin| !plugin.contains('/')));
    let bare: Vec<_> = plugins.filter(|folder| !root().join(folder).join("README.md").is_file()).collect();
    assert_eq!(bare, Vec::<String>::new());
}
