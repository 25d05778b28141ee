//! The report in a browser without a network: it opens without a complaint, and its viewer does what it says.

use neuroloom_tests::browser::{Browser, axe, chromium};
use neuroloom_tests::finish;
use neuroloom_tests::scene::{ALL, SEQUENCES, main_workflow, scratch, sequence, with_candidates};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Made once: a case that another test works on is left to it.
fn report() -> &'static Path {
    static REPORT: OnceLock<PathBuf> = OnceLock::new();
    REPORT.get_or_init(|| {
        let out = scratch().join("report");
        let run = finish(with_candidates(&mut main_workflow(&ALL, &out)));
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
    let Some(browser) = chromium() else { return };
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

/// The viewer's state, as it tells it.
fn viewer(browser: &mut Browser) -> Value {
    browser.value("({...document.getElementById('viewer-panes').dataset})")
}

fn at(viewer: &Value) -> Vec<i64> {
    let text = viewer["at"].as_str().expect("the viewer tells its place");
    text.split(' ').map(|n| n.parse().expect("a voxel index")).collect()
}

#[test]
fn keys_and_mouse_drive_the_viewer() {
    let Some(mut browser) = Browser::start("keys") else { return };
    browser.look(1280, "light");
    browser.open(report());
    browser.value("document.querySelector('#viewer canvas').focus()");
    let first = viewer(&mut browser);
    assert_eq!(first["ready"], "true");
    for (key, axis, by) in [
        ("ArrowRight", 0, 1),
        ("ArrowLeft", 0, -1),
        ("ArrowDown", 1, 1),
        ("ArrowUp", 1, -1),
        ("PageDown", 2, 1),
        ("PageUp", 2, -1),
    ] {
        let before = at(&viewer(&mut browser));
        browser.press(key);
        let after = at(&viewer(&mut browser));
        assert_eq!(after[axis] - before[axis], by, "{key}");
    }
    browser.press("2");
    assert_ne!(viewer(&mut browser)["image"], first["image"], "the second sequence is shown");
    for (key, state, value) in
        [("m", "mip", "true"), ("o", "bare", "true"), ("+", "zoom", "2"), ("a", "shows", "images")]
    {
        browser.press(key);
        assert_eq!(viewer(&mut browser)[state], value, "{key}");
    }
    assert_eq!(browser.value("document.querySelectorAll('#viewer-panes canvas').length"), 4, "all sequences");
    browser.press("a");
    browser.press("?");
    assert_eq!(browser.value("document.getElementById('viewer-help').open"), true);
    let place = "(() => { const box = document.querySelector('#viewer canvas').getBoundingClientRect();
        return [box.left + box.width / 3, box.top + box.height / 3]; })()";
    browser.value("document.getElementById('viewer-panes').scrollIntoView()");
    let place: Vec<f64> = serde_json::from_value(browser.value(place)).unwrap();
    let (before, place) = (viewer(&mut browser), [place[0], place[1]]);
    browser.drag("right", place, [place[0] + 40.0, place[1]]);
    let wider = viewer(&mut browser);
    assert_ne!(
        (&before["black"], &before["white"]),
        (&wider["black"], &wider["white"]),
        "the window is wider"
    );
    assert_eq!(before["at"], wider["at"], "the cross-hair stays");
    browser.drag("left", place, [place[0] + 40.0, place[1] + 40.0]);
    assert_ne!(wider["at"], viewer(&mut browser)["at"], "the cross-hair moves");
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
    assert!(browser.requests.is_empty(), "{:?}", browser.requests);
}

#[test]
fn a_row_leads_to_its_candidate_and_overlays_can_be_taken_off() {
    let Some(mut browser) = Browser::start("rows") else { return };
    browser.look(1280, "dark");
    browser.open(report());
    let rows = browser.value("document.querySelectorAll('tr[data-lesion]').length");
    assert!(rows.as_u64() > Some(0), "the case has candidates");
    browser.value("document.querySelector('tr[data-lesion]').scrollIntoView()");
    let drawn = "new Promise((done) => { const wait = () => document.querySelector('tr[data-lesion] .pictured canvas')
        ? done(true) : setTimeout(wait, 20); wait(); })";
    browser.value(drawn);
    browser.value("document.querySelector('tr[data-lesion] .pictured button').click()");
    browser.settle();
    let (shown, id) =
        (viewer(&mut browser), browser.value("document.querySelector('tr[data-lesion]').dataset.lesion"));
    assert_eq!(shown["chosen"], id);
    let told = browser.value("Volumes.candidates().then(({ places }) => [...places.values()][0].centre)");
    assert_eq!(
        at(&shown),
        serde_json::from_value::<Vec<i64>>(told).unwrap(),
        "the cross-hair is on its slice"
    );
    let ink = "(() => { const c = document.querySelector('#viewer canvas'), d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
        let n = 0; for (let i = 0; i < d.length; i += 4) n += Math.abs(d[i] - d[i + 2]) > 40; return n; })()";
    let with = browser.value(ink).as_u64();
    browser.press("o");
    browser.press("h");
    assert!(browser.value(ink).as_u64() < with, "no colour without overlays");
    assert_eq!(
        browser.value("document.getElementById('blink').hidden"),
        false,
        "registration can be judged by eye"
    );
    browser.value("document.getElementById('blink').scrollIntoView()");
    browser.value("(() => { const m = document.getElementById('blink-mode'); m.value = 'blend'; m.dispatchEvent(new Event('input')); })()");
    browser.settle();
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
}

/// Length in characters of the picture of a frame of one colour, about.
const BLANK: usize = 5000;

/// Length of the picture of an element: the more is drawn on it, the longer.
fn drawn(browser: &mut Browser, id: &str) -> usize {
    let place = format!(
        "(() => {{ const e = document.getElementById('{id}'); e.scrollIntoView(); const r = e.getBoundingClientRect();
            return {{ x: r.x, y: r.y + scrollY, width: r.width, height: r.height, scale: 1 }}; }})()"
    );
    let clip = browser.value(&place);
    let picture = browser.call("Page.captureScreenshot", &serde_json::json!({"format": "png", "clip": clip}));
    picture["data"].as_str().map_or(0, str::len)
}

#[test]
fn a_3d_view_is_there_where_it_is_asked_for_and_draws_when_it_is_opened() {
    let Some(mut browser) = Browser::start("solid") else { return };
    browser.open(report());
    assert_eq!(browser.value("!document.getElementById('solid') && !window.niivue"), true, "not asked for");
    let out = scratch().join("report-solid");
    let mut command = main_workflow(&ALL, &out);
    let run = finish(with_candidates(command.args(["--set", "page.settings.view_3d=true"])));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    browser.look(800, "light");
    browser.open(&out.join("sub-demo/sub-demo_report.html"));
    assert_eq!(browser.value("!window.niivue"), true, "its program does not run before a reader opens it");
    browser.value(
        "new Promise((done) => {
            const tools = document.getElementById('solid-tools'), said = document.getElementById('solid-said');
            new MutationObserver(() => tools.hidden && !said.textContent.includes('cannot') || done())
                .observe(document.getElementById('solid'), { subtree: true, attributes: true, childList: true });
            document.getElementById('solid-open').click(); })",
    );
    assert_eq!(browser.value("document.getElementById('solid-said').textContent"), "");
    assert_eq!(browser.value("document.getElementById('solid').dataset.volumes"), "2", "brain and lesions");
    browser.settle();
    let solid = drawn(&mut browser, "solid-frame");
    browser.value("(() => { const o = document.getElementById('solid-opacity'); o.value = 0; o.dispatchEvent(new Event('input')); })()");
    browser.settle();
    let clear = drawn(&mut browser, "solid-frame");
    assert!(clear > 10 * BLANK, "the lesions alone: {clear}");
    assert!(solid > clear + clear / 5, "{solid} with the brain, {clear} without");
    assert_eq!((&browser.complaints, &browser.requests), (&vec![], &vec![]));
}

#[test]
fn the_page_has_no_serious_accessibility_fault() {
    let (Some(axe), Some(mut browser)) = (axe(), Browser::start("axe")) else { return };
    browser.open(report());
    browser.is_accessible(&axe);
}

#[test]
fn the_page_prints_on_six_sheets() {
    let Some(mut browser) = Browser::start("print") else { return };
    browser.open(report());
    let printed = browser
        .call("Page.printToPDF", &serde_json::json!({"preferCSSPageSize": true, "printBackground": true}));
    let file = scratch().join("report.pdf.base64");
    std::fs::write(&file, printed["data"].as_str().unwrap()).unwrap();
    let run = finish(Command::new("base64").arg("-d").arg(&file));
    // `/Type /Pages` is the list of them.
    let pages = run.stdout.matches("/Type /Page\n").count();
    assert!((1..=6).contains(&pages), "{pages} sheets");
}

/// What must never leave a sidecar: names, dates, numbers of the person and the place.
const PRIVATE: [(&str, &str); 5] = [
    ("PatientName", "Quux^Zaphod<script>alert(1)</script>"),
    ("PatientID", "QX-4711-ZZ"),
    ("PatientBirthDate", "19010203"),
    ("InstitutionName", "Quuxhospital"),
    ("StudyInstanceUID", "1.2.840.4711.99"),
];

#[test]
fn nothing_private_of_a_sidecar_reaches_the_page() {
    let folder = scratch().join("private");
    std::fs::create_dir_all(&folder).unwrap();
    let mut workflow = main_workflow(&[], &folder.join("out"));
    for (input, _) in SEQUENCES {
        let copy = folder.join(format!("sub-demo_{input}.nii.gz"));
        std::fs::copy(sequence(input), &copy).unwrap();
        let sidecar = PRIVATE.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value)));
        let sidecar: serde_json::Map<String, Value> = sidecar.collect();
        std::fs::write(folder.join(format!("sub-demo_{input}.json")), Value::from(sidecar).to_string())
            .unwrap();
        workflow.arg("--input").arg(format!("{input}={}", copy.display()));
    }
    let run = finish(workflow.args(["--case", "sub-demo"]));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    for file in ["sub-demo_report.html", "sub-demo_desc-data_report.json"] {
        let text = std::fs::read_to_string(folder.join("out/sub-demo").join(file)).unwrap();
        for (key, value) in PRIVATE {
            assert!(!text.contains(key) && !text.contains(value), "{file} holds {key}");
        }
    }
}
