//! The settings table of the README cannot drift from the code.

use neuroloom_skull_strip::bet::Options;
use serde_json::Value;

#[test]
fn the_readme_lists_every_setting_with_its_default() {
    let settings = serde_json::to_value(Options::default()).expect("settings are plain values");
    let section = include_str!("../README.md").split("## Settings").nth(1).expect("a section `Settings`");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows: Vec<[&str; 2]> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| line.split_once("` | "))
        .filter_map(|(name, rest)| Some([name, rest.split_once(" |")?.0]))
        .collect();
    let expected: Vec<[String; 2]> = settings
        .as_object()
        .expect("settings are an object")
        .iter()
        .map(|(name, value)| {
            [name.clone(), if *value == Value::Null { "none".into() } else { value.to_string() }]
        })
        .collect();
    assert_eq!(rows, expected);
}
