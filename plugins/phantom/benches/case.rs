//! Whole cases.

use neuroloom_phantom::anatomy::Anatomy;
use neuroloom_phantom::case::{self, Options};
use neuroloom_phantom::protocol::Grids;

fn main() {
    divan::main();
}

/// A cohort makes one per case, on one thread each: a full-size case should cost below 4 s, a small one below 1 s.
#[divan::bench(args = [Grids::Paper, Grids::Small], sample_count = 3)]
fn make(bencher: divan::Bencher<'_, '_>, grids: Grids) {
    let anatomy = Anatomy::load();
    let options = Options { grids, ..Options::default() };
    let context = sdk::testing::context_with(1);
    bencher.bench(|| case::make(&anatomy, &options, 1, &context));
}
