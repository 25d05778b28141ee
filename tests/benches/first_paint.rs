//! File size, first paint and end of loading of pages in headless Chromium, each the median of five:
//! `cargo bench --workspace --profile release --bench first_paint -- /absolute/PAGE…`.
//!
//! Each opening is a new browser with an empty profile; times are the browser's own, from the start of the navigation.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench tells what it measured, and stops where it cannot"
)]

use neuroloom_tests::browser::Browser;
use neuroloom_tests::skipped;
use std::path::{Path, PathBuf};

/// The time of the first paint; the browser may tell it some time after it has painted.
const FIRST_PAINT: &str =
    "new Promise((told) => new PerformanceObserver((list) => told(list.getEntries()[0].startTime))
    .observe({ type: 'paint', buffered: true }))";
/// Openings of a page.
const OPENINGS: usize = 5;
/// Bytes of a megabyte.
const MEGABYTE: f64 = 1e6;

fn main() {
    // Cargo adds `--bench`.
    let pages: Vec<PathBuf> =
        std::env::args().skip(1).filter(|word| !word.starts_with("--")).map(PathBuf::from).collect();
    if pages.is_empty() {
        return skipped("no page was named to measure");
    }
    println!("load {}", std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    for (number, page) in pages.iter().enumerate() {
        let Some(told) = measured(&page.canonicalize().unwrap(), number) else { return };
        println!("{}: {told}", page.display());
    }
}

/// `6.0 MB, first paint 0.21 s, loaded 0.50 s`; none without a browser.
///
/// * `number`: of the page, for the names of the browsers' folders.
fn measured(page: &Path, number: usize) -> Option<String> {
    let (mut paints, mut loads) = (Vec::new(), Vec::new());
    for opening in 0..OPENINGS {
        let mut browser = Browser::start(&format!("page-{number}-{opening}"))?;
        browser.look(1280, "light");
        browser.open(page);
        let seconds = |value: serde_json::Value| value.as_f64().unwrap() / 1000.0;
        paints.push(seconds(browser.value(FIRST_PAINT)));
        loads.push(seconds(browser.value("performance.getEntriesByType('navigation')[0].loadEventEnd")));
    }
    let middle = |mut values: Vec<f64>| {
        values.sort_unstable_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let megabytes = page.metadata().ok()?.len() as f64 / MEGABYTE;
    Some(format!("{megabytes:.2} MB, first paint {:.2} s, loaded {:.2} s", middle(paints), middle(loads)))
}
