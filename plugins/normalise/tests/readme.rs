//! The settings tables of the README cannot drift from the code.

use neuroloom_normalise::{bias, equalise, matching, standardise};
use serde::Serialize;
use serde_json::Value;

fn expected(options: impl Serialize) -> Vec<[String; 2]> {
    let settings = serde_json::to_value(options).expect("settings are plain values");
    let entries = settings.as_object().expect("settings are an object").iter();
    entries
        .map(|(name, value)| {
            let shown = match value {
                Value::Null => "none".to_owned(),
                Value::String(text) => format!("`{text}`"),
                other => other.to_string(),
            };
            [name.clone(), shown]
        })
        .collect()
}

fn rows(operator: &str) -> Vec<[String; 2]> {
    let section = include_str!("../README.md").split(&format!("\n## `{operator}`")).nth(1);
    let section = section.expect("a section for each operator").split("\n## ").next().unwrap_or_default();
    let (_, table) = section.split_once("| setting | default |").expect("a settings table");
    let mut rows: Vec<[String; 2]> = table
        .lines()
        .skip(2)
        .map_while(|line| line.strip_prefix("| `"))
        .filter_map(|line| line.split_once("` | "))
        .filter_map(|(name, rest)| Some([name.to_owned(), rest.split_once(" |")?.0.to_owned()]))
        .collect();
    // As the names come out of the settings.
    rows.sort();
    rows
}

#[test]
fn the_readme_lists_every_setting_with_its_default() {
    assert_eq!(rows("bias_correct"), expected(bias::Options::default()));
    assert_eq!(rows("histogram_equalise"), expected(equalise::Options::default()));
    assert_eq!(rows("z_score"), expected(standardise::Options::default()));
    assert_eq!(rows("match_histogram"), expected(matching::Options::default()));
}
