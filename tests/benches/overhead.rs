//! What the engine itself costs.

use divan::{Bencher, black_box};
use neuroloom_core::plan::Graph;
use neuroloom_core::registry::Registry;
use neuroloom_core::runner::{self, CaseInput, CaseJob, Keeping, RunOptions};
use neuroloom_core::store::{Memo, NodeKeys, Store};
use neuroloom_core::workflow::{self, Overrides};
use neuroloom_tests::hostile;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

fn main() {
    divan::main();
}

/// Chains of the bench, and stages in each.
const CHAINS: usize = 10;
const STAGES: usize = 20;

fn chains() -> String {
    let mut text = "name = \"chains\"\n[inputs]\nnumber = { type = \"number\" }\n".to_owned();
    let mut outputs = "[outputs]\n".to_owned();
    for chain in 0..CHAINS {
        let mut before = "number".to_owned();
        for stage in 0..STAGES {
            let name = format!("c{chain}s{stage}");
            let _ = write!(text, "[stages.{name}]\noperator = \"nothing\"\ninputs.number = \"{before}\"\n");
            before = format!("{name}.number");
        }
        let _ = writeln!(outputs, "o{chain} = {{ from = \"{before}\", bids = \"o{chain}\" }}");
    }
    text + &outputs
}

fn load(registry: &Registry) -> Graph {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("chains.toml");
    std::fs::write(&path, chains()).expect("a file");
    workflow::load(&path, &Overrides::default(), registry).expect("a sound workflow")
}

fn registry() -> Registry {
    let mut registry = Registry::default();
    registry.add(&hostile()).expect("the test plugin; build it with `cargo build --release --examples`");
    registry
}

/// 10 chains of 20 stages that do nothing, one case: the engine's cost is this time divided by 200 stages.
#[divan::bench(sample_count = 50)]
fn ten_chains_of_twenty_stages(bencher: Bencher<'_, '_>) {
    let registry = Arc::new(registry());
    let graph = Arc::new(load(&registry));
    let plan = Arc::new(graph.plan(&*registry, &BTreeSet::from(["number".to_owned()])).expect("it can run"));
    let options = RunOptions { cores: 2, ..RunOptions::default() };
    bencher
        .counter(divan::counter::ItemsCount::new(CHAINS * STAGES))
        .with_inputs(|| CaseJob {
            label: "sub-01".to_owned(),
            inputs: BTreeMap::from([("number".to_owned(), CaseInput::Value(1.0.into()))]),
            plan: Arc::clone(&plan),
            memory_mib: 0,
        })
        .bench_values(|job| {
            runner::run(&graph, &registry, &options, &mut std::iter::once(job), &|result| {
                assert!(black_box(result).ok);
            });
        });
}

/// The same case again with a store that holds all its results: what a rerun costs when nothing has changed.
#[divan::bench(sample_count = 50)]
fn two_hundred_stages_from_the_store(bencher: Bencher<'_, '_>) {
    let registry = Arc::new(registry());
    let graph = Arc::new(load(&registry));
    let plan = Arc::new(graph.plan(&*registry, &BTreeSet::from(["number".to_owned()])).expect("it can run"));
    let folder = tempfile::tempdir().expect("a folder");
    let memo = Arc::new(Memo::in_memory());
    let keys = NodeKeys::new(&graph, &registry, &memo, &BTreeMap::new()).expect("the plugin can be read");
    let store = Arc::new(Store::open(folder.path(), u64::MAX).expect("a store"));
    let keeping = Keeping { keys: Arc::new(keys), memo, store: Some(store) };
    let options = RunOptions { cores: 2, keeping: Some(keeping), ..RunOptions::default() };
    let case = || CaseJob {
        label: "sub-01".to_owned(),
        inputs: BTreeMap::from([("number".to_owned(), CaseInput::Value(1.0.into()))]),
        plan: Arc::clone(&plan),
        memory_mib: 0,
    };
    let again = || {
        runner::run(&graph, &registry, &options, &mut std::iter::once(case()), &|result| {
            assert!(black_box(result).ok);
        });
    };
    again();
    bencher.counter(divan::counter::ItemsCount::new(CHAINS * STAGES)).bench(again);
}

/// Reading and checking the same workflow.
#[divan::bench(sample_count = 20)]
fn checking_two_hundred_stages(bencher: Bencher<'_, '_>) {
    let registry = registry();
    bencher.bench(|| black_box(load(&registry)));
}
