//! The settings tables of the README cannot drift from the code.

use neuroloom_lesions::{filter, fit, matching, measure};
use serde_json::Value;

/// Names and defaults of the table `| setting | default | … |` of an operator's section.
fn listed(operator: &str) -> Vec<[String; 2]> {
    let heading = format!("## `{operator}`");
    let section = include_str!("../README.md").split(&heading).nth(1).expect("a section of the operator");
    let section = section.split("\n## ").next().unwrap_or_default();
    let table = section.split("| setting | default |").nth(1).expect("a table of settings");
    let rows = table.split("\n\n").next().unwrap_or_default();
    let cells = |line: &str| -> Option<[String; 2]> {
        let (name, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
        Some([name.to_owned(), rest.split_once(" |")?.0.trim_matches('`').to_owned()])
    };
    rows.lines().filter_map(cells).collect()
}

fn of_code(settings: &impl serde::Serialize) -> Vec<[String; 2]> {
    let settings = serde_json::to_value(settings).expect("settings are plain values");
    let text = |value: &Value| if value.is_null() { "none".to_owned() } else { value.to_string() };
    let mut list: Vec<[String; 2]> = settings
        .as_object()
        .expect("settings are an object")
        .iter()
        .map(|(name, value)| [name.clone(), text(value)])
        .collect();
    list.sort();
    list
}

#[test]
fn the_readme_lists_every_setting_with_its_default() {
    let pairs = [
        ("filter_lesions", of_code(&filter::Options::default())),
        ("fit_filter", of_code(&fit::Options::default())),
        ("measure_lesions", of_code(&measure::Options::default())),
        ("match_lesions", of_code(&matching::Options::default())),
    ];
    for (operator, expected) in pairs {
        let mut found = listed(operator);
        found.sort();
        assert_eq!(found, expected, "{operator}");
    }
}
