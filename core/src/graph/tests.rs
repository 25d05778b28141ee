//! Tests of the checker as a whole, on workflows as users write them.

use crate::catalogue::fake::Fake;
use crate::fault::Faults;
use crate::graph::cost::cost_table;
use crate::plan::{Graph, NodePlan, OutputPlan, Source};
use crate::workflow::{Overrides, load};
use std::collections::BTreeSet;
use std::path::Path;

pub(crate) const PAPER: &str = include_str!("../../tests/data/brain-metastases.toml");

fn paper() -> Graph {
    let path = Path::new("tests/data/brain-metastases.toml");
    load(path, &Overrides::default(), &Fake::new()).unwrap_or_else(|faults| panic!("{faults}"))
}

/// Checks a text laid down beside the paper's workflow.
pub(crate) fn check(text: &str) -> Result<Graph, Faults> {
    check_with(text, &Overrides::default())
}

pub(crate) fn check_with(text: &str, overrides: &Overrides) -> Result<Graph, Faults> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("models")).unwrap();
    std::fs::write(folder.path().join("models/demo.safetensors"), "").unwrap();
    std::fs::write(folder.path().join("paper.toml"), PAPER).unwrap();
    let path = folder.path().join("site.toml");
    std::fs::write(&path, text).unwrap();
    load(&path, overrides, &Fake::new())
}

/// The faults as text, without the folder.
pub(crate) fn told(text: &str) -> String {
    let faults = check(text).expect_err("this has a fault").to_string();
    let mut lines = Vec::new();
    for line in faults.lines() {
        let at = line.find("--> ");
        let end = line.rfind('/');
        lines.push(match (at, end) {
            (Some(at), Some(end)) => format!("{}{}", &line[..at + 4], &line[end + 1..]),
            _ => line.to_owned(),
        });
    }
    lines.join("\n")
}

fn present(graph: &Graph, without: &[&str]) -> BTreeSet<String> {
    let names = graph.inputs.iter().map(|input| input.name.clone());
    names.filter(|name| !without.contains(&name.as_str())).collect()
}

pub(crate) fn names(graph: &Graph) -> Vec<String> {
    graph.nodes.iter().map(super::super::plan::Node::label).collect()
}

pub(crate) fn reads(graph: &Graph, label: &str, port: &str) -> Vec<String> {
    let node = graph.nodes.iter().find(|node| node.label() == label).unwrap();
    let wires = node.wires.iter().filter(|wire| wire.port == port);
    wires.flat_map(|wire| &wire.candidates).map(|source| graph.name_of(source)).collect()
}

#[test]
fn twelve_planted_faults_are_told_in_one_go() {
    let path = Path::new("tests/data/twelve-faults.toml");
    let faults = load(path, &Overrides::default(), &Fake::new()).unwrap_err();
    insta::assert_snapshot!(faults);
    assert_eq!(faults.len(), 12);
    assert!(faults.iter().all(|fault| fault.span.is_some() && fault.hint.is_some()));
}

#[test]
fn the_paper_s_workflow_has_no_fault() {
    let graph = paper();
    assert_eq!(graph.notes, Vec::<String>::new());
    assert_eq!(reads(&graph, "segment", "channels").len(), 4);
    let order: Vec<_> = names(&graph);
    for (index, node) in graph.nodes.iter().enumerate() {
        for source in node.wires.iter().flat_map(|wire| &wire.candidates) {
            let earlier = !matches!(source, Source::Output { node, .. } if *node >= index);
            assert!(earlier, "{} reads a later node in {order:?}", node.label());
        }
    }
}

#[test]
fn the_table_tells_what_each_missing_input_costs() {
    insta::assert_snapshot!(cost_table(&paper(), &Fake::new()));
}

#[test]
fn an_absent_input_skips_what_follows_from_it_alone() {
    let graph = paper();
    let plan = graph.plan(&Fake::new(), &present(&graph, &["flair"])).unwrap();
    let at = |label: &str| &plan.nodes[names(&graph).iter().position(|name| name == label).unwrap()];
    let NodePlan::Skip { reason } = at("equalised (flair)") else { panic!("it runs") };
    assert_eq!(reason, "input `flair` is absent, so `aligned (flair)` is skipped");
    let NodePlan::Run { wiring, .. } = at("segment") else { panic!("it is skipped") };
    assert_eq!(wiring.iter().filter(|wire| wire.port == "channels").count(), 3);
    let OutputPlan::Available(members) = &plan.outputs[2] else { panic!("it is missing") };
    assert_eq!(members.iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>(), ["t1_pre", "t1_post"]);
    assert_eq!(plan.notes, ["segment: without flair the model `mini` stands in"]);
}

#[test]
fn a_required_input_that_is_absent_is_told_with_its_readers() {
    let graph = paper();
    let reasons = graph.plan(&Fake::new(), &present(&graph, &["t1_pre"])).unwrap_err();
    assert_eq!(reasons.len(), 1);
    assert_eq!(
        reasons[0].reason,
        "input `t1_pre` is absent and required: `aligned (t1_pre)` reads it at `moving`, `brain` reads it at `head`"
    );
}

#[test]
fn a_stage_is_swapped_by_one_line() {
    let graph = check("extends = \"paper.toml\"\nstages.brain.operator = \"my_strip\"\n").unwrap();
    assert_eq!(graph.nodes.iter().filter(|node| node.operator.name == "my_strip").count(), 1);
    assert_eq!(reads(&graph, "brain", "head"), ["t1_pre"]);
    let overrides = Overrides { operators: vec!["brain=my_strip".to_owned()], settings: Vec::new() };
    let other = check_with("extends = \"paper.toml\"", &overrides).unwrap();
    assert_eq!(names(&other), names(&graph));
}

#[test]
fn a_setting_and_a_device_are_set_from_the_command_line() {
    let settings =
        ["segment.settings.threshold=0.5", "segment.device=cuda:0", "reference.settings.matrix = 128"];
    let overrides = Overrides { operators: Vec::new(), settings: settings.map(str::to_owned).to_vec() };
    let graph = check_with("extends = \"paper.toml\"", &overrides).unwrap();
    let segment = graph.nodes.iter().find(|node| node.stage == "segment").unwrap();
    assert_eq!(
        (&segment.settings["threshold"], segment.means.device.as_deref()),
        (&0.5.into(), Some("cuda:0"))
    );
    assert_eq!(segment.files.len(), 1);
    assert_eq!(graph.nodes[0].settings["matrix"], 128);
}

#[test]
fn faults_of_the_command_line_point_into_its_arguments() {
    let settings =
        ["segmnt.device=cpu", "brain.settings.fractional_threshold=wide"].map(str::to_owned).to_vec();
    let overrides = Overrides { operators: vec!["brain".to_owned()], settings };
    insta::assert_snapshot!(check_with("extends = \"paper.toml\"", &overrides).unwrap_err());
    let settings = vec!["brain.settings.fractional_threshold=wide".to_owned()];
    let overrides = Overrides { operators: Vec::new(), settings };
    insta::assert_snapshot!(
        "set_of_the_wrong_type",
        check_with("extends = \"paper.toml\"", &overrides).unwrap_err()
    );
}

#[test]
fn a_stage_is_put_on_all_four_inputs() {
    let text = "extends = \"paper.toml\"\n[stages.n4]\noperator = \"bias_correct\"\n\
                insert_after = [\"bravo\", \"t1_pre\", \"t1_post\", \"flair\"]\n";
    let graph = check(text).unwrap();
    assert_eq!(reads(&graph, "n4 (flair)", "image"), ["flair"]);
    assert_eq!(reads(&graph, "aligned (flair)", "moving"), ["n4.image.flair"]);
    assert_eq!(reads(&graph, "reference", "image"), ["n4.image.bravo"]);
    assert_eq!(reads(&graph, "probability_on_bravo", "like"), ["n4.image.bravo"]);
    assert_eq!(reads(&graph, "page", "images")[0], "n4.image.bravo");
}

#[test]
fn of_two_stages_on_one_wire_the_later_is_nearer_to_the_readers() {
    let text = "extends = \"paper.toml\"\n[stages.a]\noperator = \"bias_correct\"\ninsert_after = \"t1_pre\"\n\
                [stages.b]\noperator = \"histogram_equalise\"\ninsert_after = \"t1_pre\"\n";
    let graph = check(text).unwrap();
    assert_eq!(reads(&graph, "a", "image"), ["t1_pre"]);
    assert_eq!(reads(&graph, "b", "image"), ["a.image"]);
    assert_eq!(reads(&graph, "brain", "head"), ["b.image"]);
}

#[test]
fn a_removed_input_takes_with_it_what_needs_it() {
    let text = "extends = \"paper.toml\"\ninputs.t1_post.remove = true\nstages.page.remove = true\n";
    let graph = check(text).unwrap();
    assert_eq!(reads(&graph, "segment", "channels").len(), 3);
    insta::assert_snapshot!(graph.notes.join("\n"), @"output `report` is left out: nothing makes it any more");
}

#[test]
fn a_dropped_member_leaves_the_others_and_what_only_it_needed() {
    let text = "extends = \"paper.toml\"\nstages.segment.inputs.channels.flair = false\n\
                stages.page.inputs.images = { bravo = \"bravo\" }\noutputs.aligned.remove = true\n";
    let graph = check(text).unwrap();
    assert_eq!(reads(&graph, "segment", "channels").len(), 3);
    insta::assert_snapshot!(graph.notes.join("\n"), @"
    stage `aligned (flair)` is left out: nothing reads it
    stage `equalised (flair)` is left out: nothing reads it
    nothing reads input `flair`
    ");
}

#[test]
fn inputs_that_come_registered_need_no_registration() {
    let text = r#"
        name = "registered"
        [inputs]
        bravo = { type = "image", grid = "mni" }
        flair = { type = "image", grid = "mni" }
        [stages.segment]
        operator = "segment"
        inputs.channels = { bravo = "bravo", flair = "flair" }
        [outputs]
        p = { from = "segment.probability" }
    "#;
    check(text).unwrap();
    let framed = text.replace("grid =", "frame =");
    assert!(told(&framed).contains("on one grid with `bravo`, but theirs differ"), "{}", told(&framed));
}

#[test]
fn a_stand_in_is_chosen_for_each_pattern() {
    let text = "extends = \"paper.toml\"\ninputs.bravo.required = false\n\
                values.main.first_of = [\"bravo\", \"t1_post\"]\n\
                stages.reference.inputs.image = \"main\"\nstages.probability_on_bravo.inputs.like = \"main\"\n";
    let graph = check(text).unwrap();
    let row = |absent: &[&str]| {
        let absent = absent.iter().map(|name| (*name).to_owned()).collect();
        super::cost::cost_row(&graph, &Fake::new(), &absent)
    };
    assert_eq!(row(&["bravo"]).stand_ins, ["`main` is `t1_post`"]);
    let both = row(&["bravo", "t1_post"]);
    assert!(both.impossible[0].starts_with("no output remains: "), "{both}");
}

#[test]
fn grids_computed_alike_are_alike_and_crops_are_not() {
    let text = |operator: &str, setting: &str| {
        format!(
            "name = \"g\"\n[inputs]\na = {{ type = \"image\" }}\n[stages.one]\noperator = \"{operator}\"\n\
             inputs.image = \"a\"\n[stages.two]\noperator = \"{operator}\"\ninputs.image = \"a\"\n{setting}\n\
             [stages.s]\noperator = \"segment\"\ninputs.channels = {{ one = \"one.image\", two = \"two.image\" }}\n\
             [outputs]\np = {{ from = \"s.probability\" }}\n"
        )
    };
    check(&text("fit_matrix", "")).unwrap();
    check(&text("fit_matrix", "settings.matrix = 0"))
        .unwrap_or_else(|faults| panic!("the default, written:\n{faults}"));
    assert!(told(&text("fit_matrix", "settings.matrix = 64")).contains("theirs differ"));
    assert!(told(&text("crop", "")).contains("theirs differ"));
}

#[test]
fn a_transform_must_lead_where_it_is_used() {
    let text = PAPER
        .replace("aligned.fixed_to_moving.t1_pre", "aligned.fixed_to_moving.flair")
        .replace("models/demo", "paper")
        .replace("paper.safetensors", "paper.toml");
    insta::assert_snapshot!(told(&text));
}

#[test]
fn a_fault_that_shows_only_without_an_input_says_so() {
    let text = r#"
        name = "when"
        [inputs]
        a = { type = "image" }
        b = { type = "image", required = false }
        c = { type = "image", grid = "a" }
        [values.x]
        first_of = ["b", "a"]
        [stages.moved]
        operator = "register"
        inputs = { fixed = "b", moving = "c" }
        [values.y]
        first_of = ["moved.registered", "c"]
        [stages.s]
        operator = "segment"
        inputs.channels = { x = "x", y = "y" }
        [outputs]
        p = { from = "s.probability" }
    "#;
    insta::assert_snapshot!(told(text));
}

#[test]
fn sets_that_operators_make_are_read_by_member() {
    let text = |from: &str| {
        format!(
            "name = \"p\"\ndataset = \"raw\"\n[stages.p]\noperator = \"phantom\"\n[outputs]\no = {{ from = \"{from}\" }}\n"
        )
    };
    assert_eq!(check(&text("p.images")).unwrap().outputs[0].wires.len(), 2);
    assert_eq!(check(&text("p.images.flair")).unwrap().outputs[0].wires.len(), 1);
    assert!(told(&text("p.images.flar")).contains("did you mean `flair`?"));
}

#[test]
fn what_this_version_lacks_is_refused_by_name() {
    let text = "extends = \"paper.toml\"\nstages.brain.isolation = \"process\"\n";
    insta::assert_snapshot!(told(text));
}

#[test]
fn keys_types_and_names_are_checked() {
    insta::assert_snapshot!(told(
        r#"
name = 1
colour = "red"
[inputs]
a = { type = "imge", requird = true }
b = { bids = { suffix = 1.5 } }
"c.d" = { type = "image" }
[stages.s]
operator = "bet"
inputs.head = ["b"]
threads = 0
memory = "4 bananas"
timeout = "-1 s"
only_with = ["b"]
[stages.b]
operator = "bet"
inputs = { head = "case.age", mask = "b" }
[stages.e]
operator = "register"
each.moving = "b"
inputs.fixed = "s"
settings = { degrees = "rigit", bins = 4 }
[outputs]
x = { bids = "desc-x" }
y = { from = "s.mask", dataset = "../up" }
"#
    ));
}

#[test]
fn a_name_that_two_plugins_offer_must_be_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.toml");
    let text = "name = \"w\"\n[inputs]\na = { type = \"image\" }\n[stages.s]\noperator = \"bet\"\n\
                inputs.head = \"a\"\n[outputs]\nm = { from = \"s.mask\" }\n";
    std::fs::write(&path, text).unwrap();
    let clash = Fake::new().with_a_clash();
    let faults = load(&path, &Overrides::default(), &clash).unwrap_err().to_string();
    assert!(faults.contains("write one of `skull_strip:bet` and `other:bet`"), "{faults}");
    std::fs::write(&path, text.replace("\"bet\"", "\"skull_strip:bet\"")).unwrap();
    load(&path, &Overrides::default(), &clash).unwrap();
}

#[test]
fn a_file_that_extends_itself_and_one_that_is_not_there_are_faults() {
    assert!(told("extends = \"site.toml\"").contains("extends itself"));
    assert!(told("extends = \"gone.toml\"").contains("cannot read workflow"));
}

#[test]
fn thirteen_optional_inputs_are_too_many() {
    let inputs: Vec<_> =
        (0..13).map(|i| format!("i{i} = {{ type = \"image\", required = false }}\n")).collect();
    let inputs = inputs.concat();
    let text = format!(
        "name = \"w\"\n[inputs]\n{inputs}[stages.s]\noperator = \"bet\"\ninputs.head = \"i0\"\n\
                        [outputs]\nm = {{ from = \"s.mask\" }}\n"
    );
    assert!(told(&text).contains("13 inputs are optional, more than 12"));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(300))]

    /// Whatever is done to a workflow, the checker answers.
    #[test]
    fn a_mutated_workflow_never_makes_the_checker_panic(
        cuts in proptest::collection::vec((0usize..4000, 0usize..40, 0usize..12), 1..6)
    ) {
        const BITS: [&str; 12] =
            ["", "flair", "\"", "aligned.registered", "= false", "\n", "*", "1", "each.", "bravo", ".", "remove = true\n"];
        let mut text = PAPER.to_owned();
        for (at, length, bit) in cuts {
            let at = at % text.len();
            let end = (at + length).min(text.len());
            text.replace_range(at..end, BITS[bit]);
        }
        if let Err(faults) = check(&text) {
            proptest::prop_assert!(!faults.is_empty() && !faults.to_string().is_empty());
        }
    }
}
