//! `neuroloom model inspect`: what model files tell of themselves, and files that are none.

use neuroloom_tests::scene::scratch;
use neuroloom_tests::{Finished, built, finish, neuroloom};
use std::path::Path;
use std::process::Command;

fn inspect(file: &Path, more: &[&str]) -> Finished {
    finish(neuroloom().args(["model", "inspect"]).arg(file).args(more))
}

/// A model of the project's own making, with initial weights.
fn made(name: &str) -> std::path::PathBuf {
    let path = scratch().join(name);
    let made = finish(Command::new(built().join("make_model")).arg(&path).args(["--width", "0.0625"]));
    assert_eq!(made.code, Some(0), "{made:?}");
    path
}

/// Runs of blanks as one: columns are as wide as the longest name.
fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_model_file_tells_its_card_and_what_it_works_with() {
    let file = made("model.safetensors");
    let answer = inspect(&file, &[]);
    assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""));
    for line in [
        "read by operator `segment`",
        "channels t1_pre, t1_post (optional), bravo, flair (optional)",
        "works with t1_pre, t1_post, bravo, flair t1_pre, bravo, flair",
        "threshold 0.5",
        "warning: UNTRAINED MODEL: the weights of `untrained-w006`",
    ] {
        assert!(squeezed(&answer.stdout).contains(&squeezed(line)), "{line}: {}", answer.stdout);
    }
    let answer = inspect(&file, &["--format", "json"]);
    let content: serde_json::Value = serde_json::from_str(&answer.stdout).expect("one JSON text");
    assert_eq!((&content["operator"], &content["holds"]["width"]), (&"segment".into(), &"0.0625".into()));
    assert!(content["warnings"][0].as_str().is_some_and(|text| text.starts_with("UNTRAINED MODEL")));
}

/// A card may hold thousands of digests: people see where they begin, programs all of them.
#[test]
fn an_entry_of_thousands_of_characters_is_cut_for_people_only() {
    let whole = std::fs::read(made("long.safetensors")).expect("it was just made");
    let length = u64::from_le_bytes(whole[..8].try_into().expect("eight bytes")) as usize;
    let mut header: serde_json::Value =
        serde_json::from_slice(&whole[8..8 + length]).expect("a header is JSON");
    header["__metadata__"]["training_digests"] = "0123456789".repeat(500).into();
    let header = header.to_string();
    let path = scratch().join("long.safetensors");
    let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &whole[8 + length..]].concat();
    std::fs::write(&path, bytes).expect("a file can be written");
    assert!(inspect(&path, &[]).stdout.contains("… (5000 characters; `--format json` has all)"));
    assert!(inspect(&path, &["--format", "json"]).stdout.contains(&"0123456789".repeat(500)));
}

#[test]
fn a_torchscript_file_tells_the_card_beside_it() {
    let file = neuroloom_tests::root().join("plugins/segment/tests/golden/unet.pt");
    let answer = inspect(&file, &[]);
    assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""));
    for line in ["TorchScript, 10 tensors", "t1_post, flair (optional)", "warning: UNTRAINED MODEL"] {
        assert!(answer.stdout.contains(line), "{line}: {}", answer.stdout);
    }
}

/// No file, no model, one that was cut short, one whose card lies, one without its card: each is told with its file.
#[test]
fn files_that_are_no_usable_model_are_refused_with_a_reason() {
    let at = |name: &str| scratch().join(name);
    let write = |name: &str, bytes: &[u8]| std::fs::write(at(name), bytes).expect("a file can be written");
    let whole = std::fs::read(made("whole.safetensors")).expect("it was just made");
    write("short.safetensors", &whole[..whole.len() / 2]);
    let key = br#""width":"0.0625""#;
    let width = whole.windows(key.len()).position(|bytes| bytes == key).expect("a card has a width");
    let mut lying = whole.clone();
    lying[width..width + key.len()].copy_from_slice(br#""width":"0.1250""#);
    write("lying.safetensors", &lying);
    write("text.safetensors", b"no model at all");
    write("bare.pt", b"no model at all");
    let refusals = [
        ("short.safetensors", "where its header promises"),
        ("lying.safetensors", "has tensor `conv1.conv.weight` as F32"),
        ("text.safetensors", "is no safetensors file"),
        ("bare.pt", "has no card: "),
        ("none.safetensors", "No such file"),
    ];
    for (name, reason) in refusals {
        let answer = inspect(&at(name), &[]);
        assert_eq!((answer.code, answer.stdout.as_str()), (Some(2), ""), "{name}");
        assert!(answer.stderr.contains(name) && answer.stderr.contains(reason), "{name}: {}", answer.stderr);
    }
}
