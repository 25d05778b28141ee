//! The settings tables of the README cannot drift from the code.

use neuroloom_evaluate::options::{Options, Summary};
use serde_json::Value;

fn check(operator: &str, settings: &Value) {
    let readme = include_str!("../README.md");
    let section = readme.split(&format!("## `{operator}`")).nth(1).expect("the operator has a section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let section = section.split("| setting |").nth(1).expect("a table of settings");
    let mut rows: Vec<[String; 2]> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| line.split_once("` | "))
        .filter_map(|(name, rest)| Some([name.to_owned(), rest.split_once(" |")?.0.to_owned()]))
        .collect();
    let text = |value: &Value| match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => format!("`{text}`"),
        other => other.to_string(),
    };
    let mut expected: Vec<[String; 2]> = settings
        .as_object()
        .expect("settings are an object")
        .iter()
        .map(|(name, value)| [name.clone(), text(value)])
        .collect();
    rows.sort();
    expected.sort();
    assert_eq!(rows, expected, "{operator}");
}

#[test]
fn the_readme_lists_every_setting_with_its_default() {
    check("score", &serde_json::to_value(Options::default()).expect("plain values"));
    check("summarise", &serde_json::to_value(Summary::default()).expect("plain values"));
}
