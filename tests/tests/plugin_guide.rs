//! The plugin guide cannot drift from the plugin it walks through.

use neuroloom_tests::root;
use std::path::PathBuf;

/// A fenced block whose first line names a file: `// from src/lib.rs`.
struct Excerpt {
    file: PathBuf,
    text: String,
}

fn excerpts(guide: &str) -> Vec<Excerpt> {
    let blocks = guide.split("\n```").skip(1).step_by(2);
    let excerpt = |block: &str| {
        let (_, body) = block.split_once('\n')?;
        let (first, text) = body.split_once('\n')?;
        let file = first.strip_prefix("// from ").or_else(|| first.strip_prefix("# from "))?;
        Some(Excerpt { file: root().join("examples/minimal_plugin").join(file), text: text.to_owned() })
    };
    blocks.filter_map(excerpt).collect()
}

fn guide() -> String {
    std::fs::read_to_string(root().join("docs/plugin-guide.md")).expect("the guide is there")
}

#[test]
fn every_excerpt_stands_word_for_word_in_the_example() {
    let found = excerpts(&guide());
    assert!(found.len() >= 10, "{} excerpts: has their mark changed?", found.len());
    for Excerpt { file, text } in found {
        let source = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file:?}: {error}"));
        assert!(source.contains(&text), "{} does not hold\n{text}", file.display());
    }
}

#[test]
fn all_rust_in_the_guide_is_from_the_example() {
    let guide = guide();
    let unmarked = guide.split("\n```rust\n").skip(1).filter(|block| !block.starts_with("// from ")).count();
    assert_eq!(unmarked, 0, "blocks without a source");
}

#[test]
fn settings_in_the_examples_readme_are_those_of_its_code() {
    let folder = root().join("examples/minimal_plugin");
    let readme = std::fs::read_to_string(folder.join("README.md")).expect("a README");
    let code = std::fs::read_to_string(folder.join("src/brain.rs")).expect("a method");
    for name in ["opening_mm", "closing_mm"] {
        let row = readme.lines().find(|line| line.starts_with(&format!("| `{name}` |"))).expect("a row");
        let default = row.split('|').nth(2).expect("a default").trim();
        assert!(code.contains(&format!("{name}: {default}")), "{name}: {default}");
    }
}
