//! What changes a key, and what does not.

use super::*;
use crate::catalogue::fake::Fake;
use crate::workflow::{Overrides, load};
use std::collections::BTreeSet;

const WORKFLOW: &str = r#"
name = "two-models"
version = "1.0.0"
[inputs]
t1_pre = { type = "image", grid = "g" }
bravo = { type = "image", grid = "g" }
flair = { type = "image", required = false, grid = "g" }
[stages.strip]
operator = "bet"
inputs.head = "bravo"
settings.fractional_threshold = 0.5
[stages.scores]
operator = "segment"
inputs = { channels = { t1_pre = "t1_pre", bravo = "bravo", flair = "flair" }, mask = "strip.mask" }
settings.models = ["a/model.safetensors", "b/model.safetensors"]
[outputs]
scores = { from = "scores.probability" }
mask = { from = "strip.mask" }
"#;

/// A workflow in a folder of its own, with its two models of one name.
fn graph(text: &str, models: [&str; 2]) -> (tempfile::TempDir, Graph) {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in ["a", "b"].into_iter().zip(models) {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        std::fs::write(folder.path().join(name).join("model.safetensors"), content).unwrap();
    }
    let path = folder.path().join("workflow.toml");
    std::fs::write(&path, text).unwrap();
    let graph = load(&path, &Overrides::default(), &Fake::new()).unwrap_or_else(|faults| panic!("{faults}"));
    (folder, graph)
}

fn keys(graph: &Graph, build_of: impl Fn(&str) -> &'static str) -> NodeKeys {
    let origin =
        |node: &Node| Ok((Digest::of_bytes(build_of(&node.operator.plugin).as_bytes()), String::new()));
    NodeKeys::with(graph, &Memo::in_memory(), origin).unwrap()
}

fn content(text: &str) -> Digest {
    Digest::of_bytes(text.as_bytes())
}

/// The keys of `strip` and `scores`.
fn both(graph: &Graph, keys: &NodeKeys, order: [&str; 2]) -> [KeyParts; 2] {
    let channels = order.map(|name| (format!("channels.{name}"), Some(content(name))));
    let node = |name: &str| graph.nodes.iter().position(|node| node.name() == name).unwrap();
    [
        keys.parts(node("strip"), "sub-01", BTreeMap::from([("head".to_owned(), Some(content("bravo")))])),
        keys.parts(node("scores"), "sub-01", channels.into()),
    ]
}

fn parts(text: &str, models: [&str; 2], build_of: impl Fn(&str) -> &'static str) -> [KeyParts; 2] {
    let (_folder, graph) = graph(text, models);
    let keys = keys(&graph, build_of);
    both(&graph, &keys, ["bravo", "flair"])
}

const MODELS: [&str; 2] = ["first", "second"];

#[test]
fn another_folder_other_means_and_another_plugin_change_no_key() {
    let before = parts(WORKFLOW, MODELS, |_| "build");
    let means = WORKFLOW.replace(
        "inputs.head",
        "threads = 3\ndevice = \"cpu\"\ntimeout = \"60s\"\nmemory = \"2 GiB\"\ninputs.head",
    );
    assert_eq!(parts(&means, MODELS, |_| "build"), before);
    let unrelated = parts(WORKFLOW, MODELS, |plugin| if plugin == "report" { "rebuilt" } else { "build" });
    assert_eq!(unrelated, before);
}

#[test]
fn a_build_a_setting_and_a_model_change_the_key_of_their_stage_alone() {
    let before = parts(WORKFLOW, MODELS, |_| "build");
    let rebuilt = parts(WORKFLOW, MODELS, |plugin| if plugin == "segment" { "rebuilt" } else { "build" });
    let setting = parts(&WORKFLOW.replace("0.5", "0.4"), MODELS, |_| "build");
    let model = parts(WORKFLOW, ["first", "other"], |_| "build");
    let swapped = parts(WORKFLOW, ["second", "first"], |_| "build");
    let told =
        |now: &[KeyParts; 2]| [now[0].diff(&before[0]), now[1].diff(&before[1])].map(|said| said.join("; "));
    assert_eq!(told(&rebuilt), ["", "plugin `segment` was rebuilt"]);
    assert_eq!(told(&setting), ["setting `fractional_threshold`: 0.4, was 0.5", ""]);
    assert_eq!(told(&model), ["", "file `model.safetensors (2)` has other content"]);
    assert_eq!(
        told(&swapped)[1],
        "file `model.safetensors` has other content; file `model.safetensors (2)` has other content"
    );
}

#[test]
fn the_order_of_members_is_part_of_the_key() {
    let before = parts(WORKFLOW, MODELS, |_| "build");
    let text = WORKFLOW.replace(r#"bravo = "bravo", flair = "flair""#, r#"flair = "flair", bravo = "bravo""#);
    let now = parts(&text, MODELS, |_| "build");
    assert_eq!(now[1].diff(&before[1]), ["the members of input `channels` are wired in another order"]);
    assert_ne!(now[1].key(), before[1].key());
}

#[test]
fn a_fingerprint_follows_what_a_case_leaves_behind() {
    let fingerprint = |text: &str, present: &[&str], bravo: &str| {
        let (_folder, graph) = graph(text, MODELS);
        let names: BTreeSet<String> = present.iter().map(|name| (*name).to_owned()).collect();
        let plan = graph.plan(&Fake::new(), &names).unwrap();
        let inputs = BTreeMap::from([
            ("bravo".to_owned(), Some(content(bravo))),
            ("flair".to_owned(), present.contains(&"flair").then(|| content("flair"))),
        ]);
        keys(&graph, |_| "build").case_fingerprint(&graph, &plan, &inputs)
    };
    let all = ["t1_pre", "bravo", "flair"];
    let before = fingerprint(WORKFLOW, &all, "bravo");
    let comment = WORKFLOW.replace("[outputs]", "# a remark\n[outputs]").replace("1.0.0", "1.0.1");
    assert_eq!(fingerprint(&comment, &all, "bravo"), before, "moved, with a remark");
    let changed = [
        fingerprint(WORKFLOW, &all, "other voxels"),
        fingerprint(WORKFLOW, &["t1_pre", "bravo"], "bravo"),
        fingerprint(&WORKFLOW.replace("0.5", "0.4"), &all, "bravo"),
        fingerprint(&WORKFLOW.replace("scores = {", "likelihood = {"), &all, "bravo"),
        fingerprint(&WORKFLOW.replace(r#"mask = { from = "strip.mask" }"#, ""), &all, "bravo"),
    ];
    for (index, now) in changed.iter().enumerate() {
        assert_ne!(*now, before, "change {index}");
    }
}

#[test]
fn a_model_that_vanished_is_a_clear_error() {
    let (folder, graph) = graph(WORKFLOW, MODELS);
    std::fs::remove_file(folder.path().join("b/model.safetensors")).unwrap();
    let origin = |_: &Node| Ok((Digest::of_bytes(b""), String::new()));
    let text = NodeKeys::with(&graph, &Memo::in_memory(), origin).unwrap_err().to_string();
    assert!(
        text.contains("stage `scores`") && text.contains("b/model.safetensors") && text.contains("hint: "),
        "{text}"
    );
}
