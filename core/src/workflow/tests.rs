//! Tests of what a later text does to an earlier one, and of wires in their rarer forms.

use super::{Overrides, load};
use crate::catalogue::fake::Fake;
use crate::graph::tests::{PAPER, check, names, reads, told};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

#[test]
fn another_role_takes_neither_wires_nor_settings() {
    let text = "extends = \"paper.toml\"\nstages.brain.operator = \"bias_correct\"\n";
    assert!(told(text).contains("stage `brain` has nothing at `image`"), "{}", told(text));
    let wired = format!("{text}stages.brain.inputs.image = \"t1_pre\"\n");
    assert!(told(&wired).contains("operator `bias_correct` has no output `mask`"), "{}", told(&wired));
}

#[test]
fn files_are_sought_beside_the_file_that_names_them() {
    let folder = tempfile::tempdir().unwrap();
    let here = |name: &str| folder.path().join(name);
    std::fs::create_dir_all(here("sites")).unwrap();
    std::fs::create_dir_all(here("models")).unwrap();
    std::fs::write(here("models/demo.safetensors"), "").unwrap();
    std::fs::write(here("sites/own.safetensors"), "").unwrap();
    std::fs::write(here("paper.toml"), PAPER).unwrap();
    let files = |text: &str| {
        std::fs::write(here("sites/site.toml"), text).unwrap();
        let graph = load(&here("sites/site.toml"), &Overrides::default(), &Fake::new())?;
        Ok::<_, crate::fault::Faults>(
            graph.nodes.iter().find(|node| node.stage == "segment").unwrap().files.clone(),
        )
    };
    let base = "extends = \"../paper.toml\"\n";
    let real = |name: &str| here(name).canonicalize().unwrap();
    assert_eq!(files(base).unwrap(), [real("models/demo.safetensors")]);
    let own = format!("{base}stages.segment.settings.models = [\"own.safetensors\"]\n");
    assert_eq!(files(&own).unwrap(), [real("sites/own.safetensors")]);
    let wrong = format!("{base}stages.segment.settings.models = [\"models/demo.safetensors\"]\n");
    let faults = files(&wrong).unwrap_err().to_string();
    assert!(faults.contains("there is no file `models/demo.safetensors`"), "{faults}");
}

#[test]
fn braces_give_a_set_anew_and_dotted_keys_change_it() {
    let with =
        |line: &str| check(&format!("extends = \"paper.toml\"\nstages.segment.inputs.{line}\n")).unwrap();
    let anew = with("channels = { bravo = \"equalised.image.bravo\", t1_pre = \"equalised.image.t1_pre\" }");
    assert_eq!(reads(&anew, "segment", "channels"), ["equalised.image.bravo", "equalised.image.t1_pre"]);
    let changed = with("channels.bravo = \"reference.image\"");
    let channels = reads(&changed, "segment", "channels");
    assert_eq!(channels.len(), 4);
    assert!(
        channels.contains(&"reference.image".to_owned())
            && !channels.contains(&"equalised.image.bravo".to_owned())
    );
    let without_mask = with("mask = false");
    assert!(reads(&without_mask, "segment", "mask").is_empty());
}

#[test]
fn braces_give_all_inputs_settings_or_an_output_anew() {
    let text = "extends = \"paper.toml\"\n[stages.equalised]\ninputs = {}\n[stages.reference]\nsettings = {}\n\
                [outputs]\nlesions = { from = \"filter.labels\" }\n[stages.page.inputs]\ntable.remove = true\n";
    let graph = check(text).unwrap();
    assert!(reads(&graph, "equalised (flair)", "mask").is_empty());
    assert_eq!(reads(&graph, "equalised (flair)", "image"), ["aligned.registered.flair"]);
    assert_eq!(graph.nodes[0].settings, serde_json::json!({}));
    assert_eq!(graph.outputs[0].bids, None);
    assert!(reads(&graph, "page", "table").is_empty() && !reads(&graph, "page", "lesions").is_empty());
}

#[test]
fn two_outputs_of_one_kind_need_names_of_their_own() {
    let text = "extends = \"paper.toml\"\noutputs.again = { from = \"filter.labels\", bids = \"desc-lesions_dseg\" }\n";
    assert!(told(text).contains("outputs `lesions` and `again` would have one file name"), "{}", told(text));
    let table = text.replace("filter.labels", "filter.table");
    check(&table).unwrap();
}

#[test]
fn a_stage_can_be_mapped_where_it_was_single_and_back() {
    let text = "extends = \"paper.toml\"\nstages.brain.each.head = [\"t1_pre\", \"bravo\"]\n\
                stages.brain_on_reference.inputs.image = \"brain.mask.t1_pre\"\n";
    let graph = check(text).unwrap();
    assert_eq!(reads(&graph, "brain (t1_pre)", "head"), ["t1_pre"]);
    assert!(!names(&graph).contains(&"brain (bravo)".to_owned()), "nothing reads it");
}

#[test]
fn a_stage_is_mapped_over_a_whole_set_and_zipped_by_member() {
    let text = "extends = \"paper.toml\"\n[stages.back]\noperator = \"resample\"\n\
                each.image = \"aligned.registered\"\neach.like = [\"t1_pre\", \"t1_post\", \"flair\"]\n\
                [outputs]\nback = { from = \"back.image\" }\n";
    let faults = told(text);
    assert!(faults.contains("must lie in one frame"), "the other way has no transform: {faults}");
    let text = "extends = \"paper.toml\"\n[stages.again]\noperator = \"resample\"\n\
                each.image = [\"t1_pre\", \"t1_post\", \"flair\"]\neach.transform = \"aligned.fixed_to_moving\"\n\
                inputs.like = \"reference.image\"\n[outputs]\nagain = { from = \"again.image\" }\n";
    let graph = check(text).unwrap();
    assert_eq!(reads(&graph, "again (flair)", "transform"), ["aligned.fixed_to_moving.flair"]);
    let short = text.replace(", \"flair\"]\neach.transform", "]\neach.transform");
    insta::assert_snapshot!(told(&short));
}

#[test]
fn a_wire_with_two_ways_through_a_stage_must_be_told() {
    let text = "extends = \"paper.toml\"\n[stages.sub]\noperator = \"register\"\ninsert_after = \"flair\"\n";
    insta::assert_snapshot!(told(text));
    let plain = "insert_after = \"flair\"";
    let told = "insert_after = { wires = \"flair\", input = \"moving\" }\ninputs.fixed = \"reference.image\"";
    let graph = check(&text.replace(plain, told)).unwrap();
    assert_eq!(reads(&graph, "aligned (flair)", "moving"), ["sub.registered"]);
}

#[test]
fn values_that_name_each_other_in_a_ring_are_a_fault() {
    let text =
        "extends = \"paper.toml\"\nvalues.a.first_of = [\"b\"]\nvalues.b.first_of = [\"a\", \"bravo\"]\n";
    assert!(told(text).contains("names itself"), "{}", told(text));
}

#[test]
fn a_removed_stage_is_absent_and_its_chain_is_told() {
    let text = "extends = \"paper.toml\"\nstages.brain.remove = true\n";
    let graph = check(text);
    // The mask is optional for what reads it, so the rest remains.
    let graph = graph.unwrap_or_else(|faults| panic!("{faults}"));
    insta::assert_snapshot!(graph.notes.join("\n"), @"stage `brain_on_reference` is left out: `brain.mask` was removed");
    let text = "extends = \"paper.toml\"\nstages.segment.remove = true\n";
    insta::assert_snapshot!(check(text).unwrap().notes.join("\n"), @"
    stage `brain` is left out: nothing reads it
    stage `brain_on_reference` is left out: nothing reads it
    stage `equalised` is left out: nothing reads it
    stage `probability_on_bravo` is left out: `segment.probability` was removed
    stage `filter` is left out: `segment.probability` was removed, so `probability_on_bravo` is skipped
    output `lesions` is left out: nothing makes it any more
    output `probability` is left out: nothing makes it any more
    ");
}

#[test]
fn a_workflow_that_can_only_say_that_nothing_was_done_is_a_fault() {
    let text = "extends = \"paper.toml\"\nstages.reference.remove = true\n";
    insta::assert_snapshot!(told(text));
}

#[test]
fn what_names_nothing_is_a_fault() {
    let text = "extends = \"paper.toml\"\nstages.aligned.each.moving = []\noutputs.lesions.from = false\n";
    let told = told(text);
    assert!(told.contains("`moving` names nothing"), "{told}");
    assert!(told.contains("`from` is true or false, not the name of what it publishes"), "{told}");
}

#[test]
fn an_output_of_any_kind_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.toml");
    let text = "name = \"w\"\n[inputs]\na = { type = \"image\" }\n[stages.s]\noperator = \"boom\"\n\
                inputs.head = \"a\"\n[stages.t]\noperator = \"bet\"\ninputs.head = \"s.thing\"\n\
                [outputs]\nm = { from = \"t.mask\" }\n";
    std::fs::write(&path, text).unwrap();
    let faults = load(&path, &Overrides::default(), &Fake::new().with_a_riddle()).unwrap_err();
    assert_eq!(faults.len(), 1, "{faults}");
    assert!(faults.to_string().contains("operator `boom` does not say what `thing` holds"), "{faults}");
}

#[test]
fn an_operator_that_panics_when_asked_is_one_clear_fault() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.toml");
    let text = "name = \"w\"\n[inputs]\na = { type = \"image\" }\n[stages.s]\noperator = \"boom\"\n\
                inputs.head = \"a\"\n[outputs]\nm = { from = \"s.mask\" }\n";
    std::fs::write(&path, text).unwrap();
    let faults = load(&path, &Overrides::default(), &Fake::new().with_a_panic()).unwrap_err();
    assert_eq!(faults.len(), 1);
    let message = &faults.iter().next().unwrap().message;
    let expected =
        "operator `boom` of stage `s` panics when asked for its ports: index 3 of 2 (at boom.rs:7:1)";
    assert_eq!(message, expected);
}

#[test]
fn a_sensible_unit_is_understood() {
    let text = "extends = \"paper.toml\"\n[stages.brain]\nmemory = \"1.5 GiB\"\ntimeout = \"10 min\"\nretries = 2\n\
                cache = false\nthreads = 3\nisolation = \"thread\"\n";
    let graph = check(text).unwrap();
    let means = &graph.nodes.iter().find(|node| node.stage == "brain").unwrap().means;
    assert_eq!((means.memory, means.timeout), (Some(1_610_612_736), Some(Duration::from_secs(600))));
    assert_eq!((means.retries, means.cache, means.threads), (2, false, Some(3)));
}

/// 4096 patterns of 36 stages: the limit on optional inputs keeps the check quick.
#[test]
fn twelve_optional_inputs_are_checked_in_seconds() {
    let mut text = "name = \"w\"\n[inputs]\nr = { type = \"image\" }\n".to_owned();
    let list: Vec<_> = (0..12).map(|i| format!("\"i{i}\"")).collect();
    for i in 0..12 {
        let _ = writeln!(text, "i{i} = {{ type = \"image\", required = false }}");
    }
    let _ = write!(
        text,
        "[stages.n]\noperator = \"bias_correct\"\neach.image = [{}]\n[stages.a]\noperator = \"register\"\n\
         each.moving = \"n.image\"\ninputs.fixed = \"r\"\n[stages.e]\noperator = \"histogram_equalise\"\n\
         each.image = \"a.registered\"\n[outputs]\no = {{ from = \"e.image\" }}\nr = {{ from = \"r\" }}\n",
        list.join(", ")
    );
    let start = Instant::now();
    let graph = check(&text).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(graph.nodes.len(), 36);
    // It takes 0.3 s; the limit leaves room for a busy machine.
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    println!("{:?}", start.elapsed());
}
