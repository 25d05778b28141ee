//! The settings tables of the README cannot drift from the code.

use neuroloom_registration::{fit_matrix, register, resample};
use serde::Serialize;
use serde_json::Value;

/// Name and default of each row of the settings table in the README's section about an operator.
fn listed(operator: &str) -> Vec<[String; 2]> {
    let heading = format!("\n## `{operator}`");
    let section = include_str!("../README.md").split(&heading).nth(1).expect("a section for each operator");
    let section = section.split("\n## ").next().unwrap_or_default();
    let table = section.split("| setting | default |").nth(1).expect("a table of settings");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with("| `"));
    rows.map(|row| {
        let mut cells = row.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).skip(1);
        [(); 2].map(|()| cells.next().expect("name and default"))
    })
    .collect()
}

fn defaults<T: Default + Serialize>() -> Vec<[String; 2]> {
    let settings = serde_json::to_value(T::default()).expect("settings are plain values");
    let text = |value: &Value| match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let object = settings.as_object().expect("settings are an object");
    object.iter().map(|(name, value)| [name.clone(), text(value)]).collect()
}

#[test]
fn the_readme_lists_every_setting_with_its_default() {
    assert_eq!(listed("register"), defaults::<register::Options>());
    assert_eq!(listed("resample"), defaults::<resample::Options>());
    assert_eq!(listed("fit_matrix"), defaults::<fit_matrix::Options>());
}
