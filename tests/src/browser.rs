//! A headless Chromium that is driven by a test, through a pipe and without a network.
//!
//! It speaks the `DevTools` protocol: JSON messages, each ended by a zero byte, on the browser's file descriptors 3 and 4.

use crate::{root, scene::scratch, skipped};
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The browser of this machine; where there is none the test says so.
pub fn chromium() -> Option<PathBuf> {
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

/// The accessibility checker, installed by `make tools` where npm is there; where it is not the test says so.
pub fn axe() -> Option<String> {
    let script = root().join("third_party/tools/node_modules/axe-core/axe.min.js");
    let found = std::fs::read_to_string(&script).ok();
    if found.is_none() {
        skipped("axe-core is not here to check the page's accessibility");
    }
    found
}

/// A browser with one page.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    to: File,
    from: BufReader<File>,
    sent: u64,
    session: Option<String>,
    /// What the page complained of.
    pub complaints: Vec<String>,
    /// Addresses that the page asked for beside itself and what it holds.
    pub requests: Vec<String>,
    /// Files that it has saved and nobody has asked for yet.
    saved: usize,
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Browser {
    /// Starts the browser of this machine.
    ///
    /// * `name`: of its folder, apart from other tests'.
    ///
    /// # Panics
    /// When it cannot be started or does not answer.
    pub fn start(name: &str) -> Option<Self> {
        let chromium = chromium()?;
        let folder = scratch().join(name);
        std::fs::create_dir_all(&folder).expect("the scratch folder is writable");
        let pipes = ["to", "from"].map(|pipe| folder.join(pipe));
        let made = Command::new("mkfifo").args(&pipes).status().expect("mkfifo runs");
        assert!(made.success(), "pipes are made");
        let mut shell = Command::new("sh");
        shell.args(["-c", "exec \"$@\" 3<\"$TO\" 4>\"$FROM\"", "sh"]).arg(chromium);
        shell.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
        shell.args(["--remote-debugging-pipe", "--host-resolver-rules=MAP * ~NOTFOUND", "--hide-scrollbars"]);
        shell.arg(format!("--user-data-dir={}", folder.join("profile").display())).arg("about:blank");
        shell.env("TO", &pipes[0]).env("FROM", &pipes[1]);
        let child = shell.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the browser starts");
        let to = OpenOptions::new().write(true).open(&pipes[0]).expect("the browser reads");
        let from = BufReader::new(File::open(&pipes[1]).expect("the browser writes"));
        let (complaints, requests) = (Vec::new(), Vec::new());
        let mut browser = Self { child, to, from, sent: 0, session: None, complaints, requests, saved: 0 };
        let target = browser.call("Target.createTarget", &json!({"url": "about:blank"}));
        let attached =
            browser.call("Target.attachToTarget", &json!({"targetId": target["targetId"], "flatten": true}));
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        Some(browser)
    }

    /// Calls a method of the protocol and returns its result.
    ///
    /// # Panics
    /// When the browser is gone, or says that the call is wrong.
    pub fn call(&mut self, method: &str, params: &Value) -> Value {
        self.sent += 1;
        let mut message = json!({"id": self.sent, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        self.to.write_all(format!("{message}\0").as_bytes()).expect("the browser listens");
        loop {
            let mut answer = self.next();
            if answer["id"] == self.sent {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].take();
            }
        }
    }

    /// The next message; events are noted.
    fn next(&mut self) -> Value {
        let mut bytes = Vec::new();
        let read = self.from.read_until(0, &mut bytes).expect("the browser speaks");
        assert!(read > 0, "the browser ended");
        bytes.pop();
        let message: Value = serde_json::from_slice(&bytes).expect("messages are JSON");
        let params = &message["params"];
        match message["method"].as_str() {
            Some("Runtime.exceptionThrown" | "Runtime.consoleAPICalled") => {
                self.complaints.push(params.to_string());
            }
            // Hints on speed come as warnings, also for what the test itself does.
            Some("Log.entryAdded") if params["entry"]["level"] == "error" => {
                self.complaints.push(params.to_string());
            }
            Some("Network.requestWillBeSent") => {
                let url = params["request"]["url"].as_str().unwrap_or_default();
                if !["file:", "data:", "blob:"].iter().any(|own| url.starts_with(own)) {
                    self.requests.push(url.to_owned());
                }
            }
            Some("Page.downloadProgress") if params["state"] == "completed" => self.saved += 1,
            _ => {}
        }
        message
    }

    /// Opens a file and waits until its viewer, if it has one, holds all volumes.
    ///
    /// # Panics
    /// When the browser is gone.
    pub fn open(&mut self, page: &Path) {
        self.call("Page.navigate", &json!({"url": format!("file://{}", page.display())}));
        while self.next()["method"] != "Page.loadEventFired" {}
        self.value("typeof Viewer === 'object' && Viewer ? Viewer.ready.then(() => true) : false");
        self.settle();
    }

    /// Does what makes the page save a file, and waits until it lies in `folder`.
    ///
    /// # Panics
    /// When the browser is gone.
    pub fn save(&mut self, folder: &Path, expression: &str) {
        let params = json!({"behavior": "allow", "downloadPath": folder.display().to_string()});
        self.call("Page.setDownloadBehavior", &params);
        self.value(expression);
        while self.saved == 0 {
            self.next();
        }
        self.saved -= 1;
    }

    /// Gives a file to an input of the page, as its reader would by the dialog.
    ///
    /// # Panics
    /// When there is no such input.
    pub fn choose_file(&mut self, id: &str, file: &Path) {
        let expression = format!("document.getElementById('{id}')");
        let found = self.call("Runtime.evaluate", &json!({"expression": expression}));
        let params = json!({"files": [file.display().to_string()], "objectId": found["result"]["objectId"]});
        self.call("DOM.setFileInputFiles", &params);
        self.settle();
    }

    /// Waits until what was asked for is drawn.
    ///
    /// # Panics
    /// When the browser is gone.
    pub fn settle(&mut self) {
        self.value(
            "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))",
        );
    }

    /// The value of an expression on the page; promises are waited for.
    ///
    /// # Panics
    /// When it throws.
    pub fn value(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let mut result = self.call("Runtime.evaluate", &params);
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].take()
    }

    /// Presses a key and waits until the page has drawn.
    ///
    /// # Panics
    /// When the browser is gone.
    pub fn press(&mut self, key: &str) {
        let text = if key.chars().count() == 1 { key } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            self.call("Input.dispatchKeyEvent", &json!({"type": kind, "key": key, "text": text}));
        }
        self.settle();
    }

    /// Presses a mouse button at the first place, moves to the second and lets go.
    ///
    /// * `button`: `left` or `right`.
    ///
    /// # Panics
    /// When the browser is gone.
    pub fn drag(&mut self, button: &str, from: [f64; 2], to: [f64; 2]) {
        let buttons = if button == "right" { 2 } else { 1 };
        for (kind, [x, y]) in [("mousePressed", from), ("mouseMoved", to), ("mouseReleased", to)] {
            let params =
                json!({"type": kind, "x": x, "y": y, "button": button, "buttons": buttons, "clickCount": 1});
            self.call("Input.dispatchMouseEvent", &params);
        }
        self.settle();
    }

    /// Shows the page in a window of this width, in a colour scheme (`light` or `dark`).
    ///
    /// # Panics
    /// When the browser is gone.
    pub fn look(&mut self, width: u32, scheme: &str) {
        let metrics = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500});
        self.call("Emulation.setDeviceMetricsOverride", &metrics);
        let feature = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", &feature);
        self.settle();
    }

    /// Asserts that the page has no serious fault of accessibility and does not scroll sideways, in wide and narrow windows and both
    /// colour schemes.
    ///
    /// # Panics
    /// When it has one.
    pub fn is_accessible(&mut self, axe: &str) {
        self.value(&format!("{axe}; 0"));
        for (width, scheme) in [(1280, "light"), (1280, "dark"), (400, "light"), (400, "dark")] {
            self.look(width, scheme);
            let faults = self.value(
                "axe.run().then((found) => found.violations.filter((v) => ['serious', 'critical'].includes(v.impact))
                    .map((v) => v.id + ': ' + v.nodes.slice(0, 3).map((n) => n.html.slice(0, 120)).join(' | ')))",
            );
            assert_eq!(faults, json!([]), "{width} {scheme}");
            let wide = self.value("document.documentElement.scrollWidth");
            assert!(wide.as_u64() <= Some(width.into()), "{wide} dots wide in a window of {width}");
        }
    }
}
