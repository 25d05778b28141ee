//! `neuroloom schedule` from outside: watched folders, stops, kills, mistakes, and what it prints for other clocks.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use neuroloom_tests::cohort::{SmallCohort, assert_ended, delivered, ends, labels};
use neuroloom_tests::{Finished, finish, neuroloom, skipped};
use serde_json::Value as Json;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A cohort whose folder is watched.
struct Scene {
    cohort: SmallCohort,
    file: PathBuf,
}

impl Scene {
    fn new(name: &str, cases: usize, job: &str) -> Self {
        let cohort = SmallCohort::new(name, cases);
        let file = cohort.path("schedule.toml");
        let scene = Self { cohort, file };
        scene.write(job);
        scene
    }

    fn write(&self, job: &str) {
        let head =
            "[[jobs]]\nname = \"arrivals\"\nworkflow = \"small.toml\"\ninput = \"data\"\noutput = \"out\"\n";
        let options = "options = [\"--no-cache\", \"--jobs\", \"1\", \"--threads\", \"1\"]\n";
        std::fs::write(&self.file, format!("{head}{options}{job}\n")).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = neuroloom();
        command.arg("schedule").arg(&self.file).args(arguments);
        command.arg("--plugin-dir").arg(self.cohort.plugins());
        command
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        finish(&mut self.command(arguments))
    }

    fn out(&self) -> PathBuf {
        self.cohort.path("out")
    }

    fn history(&self) -> Vec<Json> {
        let answer = self.run(&["--history", "--format", "json"]);
        assert_eq!(answer.code, Some(0), "{}", answer.stderr);
        serde_json::from_str::<Json>(&answer.stdout).unwrap()["history"].as_array().unwrap().clone()
    }

    /// A scheduler whose batch has claimed its first case.
    fn at_work(&self) -> Child {
        let mut child = self.command(&[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_for("a claim", || {
            assert!(child.try_wait().unwrap().is_none(), "the scheduler ended");
            !labels(&self.out()).is_empty()
        });
        child
    }
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < Duration::from_secs(300), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", child.id())]).status().unwrap();
    assert!(sent.success());
}

/// A server that answers one request, and tells of it: the first line, and the body.
fn one_request() -> (u16, JoinHandle<(String, String)>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(&stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
        }
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        (&stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), String::from_utf8(body).unwrap())
    };
    (port, std::thread::spawn(serve))
}

const WATCH: &str = "watch = { stable_s = 1, every_s = 1 }";

#[test]
fn what_has_arrived_runs_once_and_the_digest_tells_of_it() {
    let digest = "on_finish.command = [\"sh\", \"-c\", \"cat > \\\"$0\\\"\", \"DIGEST\"]";
    let scene = Scene::new("watched", 2, "");
    let told = scene.cohort.path("digest.json");
    scene.write(&format!("{WATCH}\n{}", digest.replace("DIGEST", told.to_str().unwrap())));
    assert_ended(&scene.run(&["--once"]), 0, 0);
    assert_eq!(delivered(&scene.out()), 2);
    scene.cohort.write_image("sub-03", 100.0);
    assert_ended(&scene.run(&["--once"]), 0, 0);
    assert_eq!(delivered(&scene.out()), 3);
    let again = scene.run(&["--once"]);
    assert_ended(&again, 0, 0);
    assert!(!again.stderr.contains("starts"), "{}", again.stderr);
    for case in ["sub-01", "sub-02", "sub-03"] {
        assert_eq!(ends(&scene.out(), case).len(), 1, "{case} ran once");
    }
    let history = scene.history();
    assert_eq!(history.len(), 2);
    assert_eq!(history[1]["end"]["summary"]["summary"]["done"], 1);
    assert_eq!(history[1]["fire"]["why"], "arrived");
    let digest: Json = serde_json::from_slice(&std::fs::read(told).unwrap()).unwrap();
    assert_eq!((&digest["job"], &digest["outcome"]), (&Json::from("arrivals"), &Json::from("done")));
    assert_eq!(digest["batch"]["summary"]["up_to_date"], 2);
    let text = digest.to_string();
    assert!(!text.contains("sub-") && !text.contains(scene.out().to_str().unwrap()), "{text}");
}

#[test]
fn a_webhook_gets_the_digest_of_a_batch_and_no_label() {
    if Command::new("curl").arg("--version").output().is_err() {
        return skipped("curl is not here");
    }
    let (port, server) = one_request();
    let hook = format!("on_finish.webhook = \"http://127.0.0.1:{port}/hook\"");
    let scene = Scene::new("webhook", 1, &format!("{WATCH}\n{hook}"));
    assert_ended(&scene.run(&["--once"]), 0, 0);
    let (head, body) = server.join().unwrap();
    assert_eq!(head, "POST /hook HTTP/1.1");
    let digest: Json = serde_json::from_str(&body).unwrap();
    assert_eq!((&digest["job"], &digest["outcome"]), (&Json::from("arrivals"), &Json::from("done")));
    assert!(!body.contains("sub-"), "{body}");
}

#[test]
fn a_stop_or_a_kill_leaves_a_state_that_the_next_start_goes_on_from() {
    let scene = Scene::new("stopped", 4, WATCH);
    let mut stopped = scene.at_work();
    let second = scene.run(&["--once"]);
    assert_ended(&second, 2, 1);
    assert!(second.stderr.contains("is run by another scheduler: process "), "{}", second.stderr);
    signal(&stopped, "TERM");
    assert_eq!(stopped.wait().unwrap().code(), Some(75));
    assert_eq!(scene.history()[0]["end"]["outcome"], "interrupted");

    let mut killed = scene.command(&[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for("a second start", || scene.history().len() == 2);
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_ended(&scene.run(&["--once"]), 0, 0);
    assert_eq!(delivered(&scene.out()), 4);
    for case in labels(&scene.out()) {
        let good = ends(&scene.out(), &case).iter().filter(|end| end["ending"] == "ok").count();
        assert_eq!(good, 1, "{case} was delivered once");
    }
    let text = scene.run(&["--history"]).stdout;
    assert!(text.contains("interrupted") && text.contains("cut off") && text.contains("new cases"), "{text}");
}

#[test]
fn each_mistake_is_one_error_and_nothing_is_started() {
    let scene = Scene::new("mistakes", 1, "");
    let wrong = |job: &str| {
        scene.write(job);
        let run = scene.run(&["--once"]);
        assert_eq!(run.code, Some(2), "{}", run.stderr);
        assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
        assert!(!scene.out().exists());
        run.stderr
    };
    let said = wrong("cron = \"at night\"");
    assert!(
        said.contains("`at night` is no cron expression") && said.contains("schedule.toml:7:8"),
        "{said}"
    );
    let said = wrong("cron = \"@daily\"\ntime_zone = \"Europe/Olso\"");
    assert!(said.contains("hint: did you mean `Europe/Oslo`?"), "{said}");
    let said = wrong("watch = { wait_for = [\"flair\"] }");
    assert!(said.contains("`wait_for` names `flair`, which is no optional input of the workflow"), "{said}");
    let said = wrong("cron = \"@daily\"\nexecutor = \"moon\"");
    assert!(said.contains("job `arrivals`: `neuroloom batch` does not take its options:"), "{said}");
    let missing = finish(neuroloom().args(["schedule", "nowhere.toml"]));
    assert_ended(&missing, 2, 2);
    scene.write("cron = \"30 2 * * *\"\ntime_zone = \"Europe/Oslo\"");
    let dry = scene.run(&["--dry-run"]);
    assert_ended(&dry, 0, 0);
    assert_eq!(dry.stdout.matches(" 02:30 CE").count(), 3, "{}", dry.stdout);
    assert!(!scene.out().exists());
}

#[test]
fn systemd_takes_the_units_that_are_printed() {
    let scene = Scene::new("units", 1, "cron = \"*/20 6-8 1 * MON-FRI\"\ntime_zone = \"Europe/Oslo\"");
    let folder = scene.cohort.path("units");
    let into = folder.to_str().unwrap();
    let print = |arguments: &[&str]| {
        let printed = scene.run(&[&["--print"], arguments].concat());
        assert_ended(&printed, 0, 0);
        printed.stdout
    };
    assert!(print(&["cron"]).contains("\n*/20 6-8 1 * MON-FRI flock -n "));
    assert!(print(&["scrontab"]).contains("#SCRON --job-name=neuroloom-arrivals\n*/20 6-8 1 * MON-FRI "));
    let files = print(&["systemd", "--into", into]);
    assert_eq!(files.lines().count(), 2, "{files}");
    let timer = std::fs::read_to_string(folder.join("neuroloom-arrivals.timer")).unwrap();
    assert!(timer.contains("Persistent=true"), "{timer}");
    verify(&folder.join("neuroloom-arrivals.timer"));
    verify(&folder.join("neuroloom-arrivals.service"));
    scene.write(WATCH);
    print(&["systemd", "--into", into]);
    verify(&folder.join("neuroloom-arrivals.service"));
}

/// Lets systemd itself look at a unit.
fn verify(unit: &Path) {
    let mut command = Command::new("systemd-analyze");
    let Ok(answer) = command.args(["--man=no", "verify"]).arg(unit).output() else {
        return skipped("systemd-analyze is not here");
    };
    let said = String::from_utf8_lossy(&answer.stderr).into_owned();
    let name = unit.file_name().unwrap().to_str().unwrap();
    let stem = name.split('.').next().unwrap();
    let about: Vec<&str> = said.lines().filter(|line| line.contains(stem)).collect();
    assert!(answer.status.success() && about.is_empty(), "{name}: {said}");
}
