//! The report opens in a browser without a network, and without a complaint.

use neuroloom_tests::scene::{ALL, main_workflow, scratch};
use neuroloom_tests::{finish, skipped};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

fn browser() -> Option<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    let found = std::env::split_paths(&paths)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|path| path.is_file());
    if found.is_none() {
        skipped("no chromium is here to open the report");
    }
    found
}

/// Made once: a case that another test works on is left to it.
fn report() -> &'static Path {
    static REPORT: OnceLock<PathBuf> = OnceLock::new();
    REPORT.get_or_init(|| {
        let out = scratch().join("report");
        let run = finish(&mut main_workflow(&ALL, &out));
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        out.join("sub-demo/sub-demo_report.html")
    })
}

/// The page after its scripts have run, and what the browser said meanwhile.
fn opened(browser: &Path, page: &Path) -> (String, String) {
    let mut command = Command::new(browser);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom"]);
    command.args(["--enable-logging=stderr", "--virtual-time-budget=2000"]);
    command.arg("--host-resolver-rules=MAP * ~NOTFOUND");
    command.arg(format!("--user-data-dir={}", scratch().join("profile").display()));
    let run = finish(command.arg(format!("file://{}", page.display())));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    (run.stdout, run.stderr)
}

#[test]
fn the_report_opens_without_network_or_complaint() {
    let Some(browser) = browser() else { return };
    let (page, said) = opened(&browser, report());
    for words in ["RESEARCH USE ONLY", "UNTRAINED MODEL", "sub-demo"] {
        assert!(page.contains(words), "the opened page does not show `{words}`");
    }
    let complaints: Vec<_> = said.lines().filter(|line| line.contains("CONSOLE")).collect();
    assert!(complaints.is_empty(), "{complaints:?}");
    let planted = scratch().join("planted.html");
    std::fs::write(&planted, "<!doctype html><script>nothing.here()</script>").unwrap();
    let (_, said) = opened(&browser, &planted);
    assert!(said.contains("CONSOLE"), "a complaint would have been seen: {said}");
}

#[test]
fn the_report_asks_for_nothing_outside_itself() {
    let page = std::fs::read_to_string(report()).unwrap();
    for mark in ["src=\"", "src='", "href=\"", "href='", "url("] {
        for piece in page.split(mark).skip(1) {
            let target = piece.trim_start_matches(['"', '\'']);
            let inside = target.starts_with('#') || target.starts_with("data:");
            assert!(inside, "{mark}{}", target.chars().take(60).collect::<String>());
        }
    }
    assert!(!page.contains("@import"));
}
