//! Weeks of a scheduler in milliseconds: the clock stands still until a test moves it.

use super::*;
use jiff::{SignedDuration, Timestamp};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// A job that runs at these times, in Oslo.
pub(super) fn job(name: &str, cron: &str) -> Job {
    Job {
        name: name.to_owned(),
        workflow: "/w.toml".into(),
        input: "/data".into(),
        output: "/out".into(),
        cron: Some(Timetable::new(cron, Some("Europe/Oslo")).unwrap()),
        watch: None,
        overlap: Overlap::Skip,
        missed: Missed::Once,
        executor: None,
        options: Vec::new(),
        on_finish: None,
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A clock that a test sets.
struct Hands(Cell<Timestamp>);

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        self.0.get()
    }
}

/// What was started: when, why, and for whom.
type Started = Rc<RefCell<Vec<(Timestamp, Why, Option<Vec<String>>)>>>;

/// Batches that take as long as a test says, and end with a code.
struct Pretended {
    started: Started,
    seconds: i64,
    exit: i32,
    now: Rc<Cell<Timestamp>>,
}

struct Pretence {
    until: Timestamp,
    exit: i32,
    now: Rc<Cell<Timestamp>>,
    stopped: bool,
}

impl Running for Pretence {
    fn poll(&mut self) -> Option<Ended> {
        let exit = if self.stopped { 75 } else { self.exit };
        (self.stopped || self.now.get() >= self.until).then(|| Ended { exit: Some(exit), ..Ended::default() })
    }

    fn stop(&mut self) {
        self.stopped = true;
    }
}

impl Batches for Pretended {
    fn start(&mut self, order: &Order<'_>) -> Result<Box<dyn Running>, String> {
        let fire = order.fire;
        self.started.borrow_mut().push((fire.due, fire.why, fire.only.clone()));
        let until = self.now.get() + SignedDuration::from_secs(self.seconds);
        Ok(Box::new(Pretence { until, exit: self.exit, now: Rc::clone(&self.now), stopped: false }))
    }

    fn is_at_work(&mut self, _: &Job) -> bool {
        false
    }
}

/// Finds the files `SUBJECT_INPUT` of a folder.
struct Files(PathBuf);

impl Look for Files {
    fn cases(&mut self, job: &Job) -> Result<Vec<Arrived>, String> {
        let mut cases: BTreeMap<String, Vec<(String, Stamp)>> = BTreeMap::new();
        for entry in std::fs::read_dir(&self.0).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let (subject, input) = name.split_once('_').unwrap();
            cases.entry(subject.to_owned()).or_default().push((input.to_owned(), Stamp::of(&path).unwrap()));
        }
        let wait_for = &job.watch.as_ref().unwrap().wait_for;
        let arrived = |(subject, mut files): (String, Vec<(String, Stamp)>)| {
            files.sort();
            let has = |name: &String| files.iter().any(|(input, _)| input == name);
            let lacks = wait_for.iter().filter(|name| !has(name)).cloned().collect();
            let files = files.into_iter().map(|(_, stamp)| stamp).collect();
            Arrived { case: format!("sub-{subject}"), subject, files, lacks }
        };
        Ok(cases.into_iter().map(arrived).collect())
    }
}

/// An output folder, a folder of files, and what happened.
struct Scene {
    folder: tempfile::TempDir,
    now: Rc<Cell<Timestamp>>,
    started: Started,
    seconds: i64,
    exit: i32,
}

impl Scene {
    fn new(now: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        Self { folder, now: Rc::new(Cell::new(at(now))), started: Started::default(), seconds: 60, exit: 0 }
    }

    fn job(&self, name: &str, cron: &str) -> Job {
        Job { output: self.folder.path().join("out"), ..job(name, cron) }
    }

    fn watched(&self, watch: Watch) -> Job {
        Job { cron: None, watch: Some(watch), ..self.job("arrivals", "@daily") }
    }

    fn write(&self, name: &str, bytes: usize) {
        std::fs::write(self.data().join(name), vec![0; bytes]).unwrap();
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A scheduler lives from now to a time, and looks at the clock every so many seconds. Then it is killed.
    fn live(&self, jobs: &[Job], until: &str, step_s: i64) {
        self.live_with(jobs, until, step_s, |_, _| ());
    }

    fn live_with(&self, jobs: &[Job], until: &str, step_s: i64, mut each: impl FnMut(&Self, Timestamp)) {
        let hands = Hands(Cell::new(self.now.get()));
        let (started, now) = (Rc::clone(&self.started), Rc::clone(&self.now));
        let mut batches = Pretended { started, seconds: self.seconds, exit: self.exit, now };
        let mut files = Files(self.data());
        let mut tell = |_: &str| ();
        let parts = (&mut batches as _, &mut files as _);
        let mut scheduler = Scheduler::new(jobs.to_vec(), 1, &hands, parts, &mut tell).unwrap();
        while self.now.get() <= at(until) {
            each(self, self.now.get());
            hands.0.set(self.now.get());
            scheduler.tick().unwrap();
            self.now.set(self.now.get() + SignedDuration::from_secs(step_s));
        }
    }

    /// What was started since the last question.
    fn started(&self) -> Vec<(String, Why)> {
        let all = std::mem::take(&mut *self.started.borrow_mut());
        all.into_iter().map(|(due, why, _)| (due.to_string(), why)).collect()
    }

    fn subjects(&self) -> Vec<Option<Vec<String>>> {
        std::mem::take(&mut *self.started.borrow_mut()).into_iter().map(|(_, _, only)| only).collect()
    }

    fn outcomes(&self, job: &str) -> Vec<Option<Outcome>> {
        let history = Book::of(&self.folder.path().join("out"), job).history();
        history.into_iter().map(|(_, end)| end.map(|end| end.outcome)).collect()
    }
}

fn on_time(times: &[&str]) -> Vec<(String, Why)> {
    times.iter().map(|time| ((*time).to_owned(), Why::Time)).collect()
}

#[test]
fn a_job_fires_on_time_through_both_days_on_which_clocks_change() {
    let spring = Scene::new("2026-03-27T12:00:00Z");
    spring.live(&[spring.job("night", "30 2 * * *")], "2026-03-30T12:00:00Z", 300);
    let times = ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"];
    assert_eq!(spring.started(), on_time(&times));
    let autumn = Scene::new("2026-10-24T12:00:00Z");
    autumn.live(&[autumn.job("night", "30 2 * * *")], "2026-10-26T12:00:00Z", 300);
    assert_eq!(autumn.started(), on_time(&["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]));
}

#[test]
fn missed_times_are_caught_up_once_or_left_out() {
    for (missed, expected) in
        [(Missed::Once, vec![("2026-11-23T02:00:00Z".to_owned(), Why::CaughtUp)]), (Missed::Skip, vec![])]
    {
        let scene = Scene::new("2026-11-19T12:00:00Z");
        let jobs = [Job { missed, ..scene.job("night", "0 3 * * *") }];
        scene.live(&jobs, "2026-11-20T12:00:00Z", 300);
        assert_eq!(scene.started(), on_time(&["2026-11-20T02:00:00Z"]));
        scene.now.set(at("2026-11-23T08:00:00Z"));
        scene.live(&jobs, "2026-11-23T12:00:00Z", 300);
        assert_eq!(scene.started(), expected);
        scene.live(&jobs, "2026-11-24T12:00:00Z", 300);
        assert_eq!(scene.started(), on_time(&["2026-11-24T02:00:00Z"]), "and then it goes on as ever");
    }
}

#[test]
fn a_job_is_not_missed_before_it_was_known() {
    let scene = Scene::new("2026-11-19T12:00:00Z");
    scene.live(&[scene.job("night", "0 3 * * *")], "2026-11-19T13:00:00Z", 60);
    assert_eq!(scene.started(), []);
    // Its time was changed to one that has passed today.
    scene.live(&[scene.job("night", "0 11 * * *")], "2026-11-19T18:00:00Z", 300);
    assert_eq!(scene.started(), []);
    scene.now.set(at("2026-11-20T10:30:00Z"));
    scene.live(&[scene.job("night", "0 11 * * *")], "2026-11-20T11:00:00Z", 60);
    assert_eq!(scene.started(), [("2026-11-20T10:00:00Z".to_owned(), Why::CaughtUp)]);
}

#[test]
fn a_kill_at_any_tick_neither_loses_nor_doubles_a_fire() {
    let scene = Scene { seconds: 100, ..Scene::new("2026-11-19T01:58:00Z") };
    let jobs = [scene.job("night", "0 3 * * *")];
    // Each scheduler lives for one look, so each kill falls between two looks.
    while scene.now.get() < at("2026-11-19T02:10:00Z") {
        let until = scene.now.get().to_string();
        scene.live(&jobs, &until, 20);
    }
    // While it was killed at each look it could never see the end; each new one goes on with the same fire.
    let started = scene.started();
    assert!(started.iter().all(|(due, _)| due == "2026-11-19T02:00:00Z"), "{started:?}");
    assert_eq!(started.iter().filter(|(_, why)| *why != Why::Resumed).count(), 1, "{started:?}");
    scene.live(&jobs, "2026-11-19T12:00:00Z", 100);
    assert_eq!(scene.started().len(), 1);
    assert_eq!(scene.outcomes("night").last(), Some(&Some(Outcome::Done)));
    scene.live(&jobs, "2026-11-19T18:00:00Z", 300);
    assert_eq!(scene.started(), [], "what is done is not done again");
}

#[test]
fn a_clock_that_is_set_back_fires_nothing_twice() {
    let scene = Scene::new("2026-11-19T01:30:00Z");
    let jobs = [scene.job("half", "*/30 * * * *")];
    let mut moved = false;
    scene.live_with(&jobs, "2026-11-19T03:10:00Z", 20, |scene, now| {
        if now > at("2026-11-19T02:31:00Z") && !std::mem::replace(&mut moved, true) {
            scene.now.set(at("2026-11-19T01:50:00Z"));
        }
    });
    let times = ["2026-11-19T02:00:00Z", "2026-11-19T02:30:00Z", "2026-11-19T03:00:00Z"];
    assert_eq!(scene.started(), on_time(&times));
}

#[test]
fn a_time_that_comes_while_the_last_one_is_at_work_is_skipped_or_waits() {
    let scene = Scene { seconds: 5400, ..Scene::new("2026-11-19T01:30:00Z") };
    scene.live(&[scene.job("hour", "0 * * * *")], "2026-11-19T04:30:00Z", 60);
    assert_eq!(scene.started(), on_time(&["2026-11-19T02:00:00Z", "2026-11-19T04:00:00Z"]));
    assert_eq!(scene.outcomes("hour"), [Some(Outcome::Done), Some(Outcome::Skipped), None]);
    let scene = Scene { seconds: 5400, ..Scene::new("2026-11-19T01:30:00Z") };
    scene.live(
        &[Job { overlap: Overlap::Queue, ..scene.job("hour", "0 * * * *") }],
        "2026-11-19T04:30:00Z",
        60,
    );
    assert_eq!(scene.started(), on_time(&["2026-11-19T02:00:00Z", "2026-11-19T03:00:00Z"]));
}

#[test]
fn two_jobs_take_turns() {
    let scene = Scene { seconds: 600, ..Scene::new("2026-11-19T01:30:00Z") };
    let other = Job { output: scene.folder.path().join("other"), ..scene.job("b", "0 3 * * *") };
    let jobs = [scene.job("a", "0 3 * * *"), other];
    scene.live(&jobs, "2026-11-19T02:09:00Z", 60);
    assert_eq!(scene.started().len(), 1);
    scene.live(&jobs, "2026-11-19T02:40:00Z", 60);
    let history = Book::of(&scene.folder.path().join("other"), "b").history();
    assert_eq!(history.len(), 1);
}

#[test]
fn only_the_case_that_was_copied_in_slowly_is_run_and_only_when_it_is_whole() {
    let scene = Scene::new("2026-11-19T08:00:00Z");
    let jobs = [scene.watched(Watch { stable_s: 120, every_s: 60, ..Watch::default() })];
    scene.write("01_t1", 10);
    scene.write("02_t1", 10);
    scene.live(&jobs, "2026-11-19T08:30:00Z", 30);
    assert_eq!(scene.subjects(), [None], "all that was there is handed over once, as a whole cohort");
    // A file grows for ten minutes; a copy that keeps the old time of change shows by its size.
    let mut bytes = 0;
    scene.live_with(&jobs, "2026-11-19T08:40:00Z", 30, |scene, _| {
        bytes += 1000;
        scene.write("03_t1", bytes);
    });
    scene.write("04_t1", 0);
    assert_eq!(scene.subjects(), Vec::<Option<Vec<String>>>::new());
    let mut bytes = 0;
    scene.live_with(&jobs, "2026-11-19T09:00:00Z", 30, |scene, _| {
        bytes += 1;
        scene.write("04_t1", bytes);
    });
    assert_eq!(scene.subjects(), [Some(vec!["03".to_owned()])], "the fourth is still being copied");
    scene.live(&jobs, "2026-11-19T09:30:00Z", 30);
    assert_eq!(scene.subjects(), [None], "now that all are whole, stages over the cohort can run, too");
    scene.live(&jobs, "2026-11-20T09:30:00Z", 600);
    assert_eq!(scene.subjects(), Vec::<Option<Vec<String>>>::new(), "a new scheduler finds nothing new");
}

#[test]
fn a_case_is_waited_for_until_its_limit_and_runs_again_when_the_rest_comes() {
    let scene = Scene::new("2026-11-19T08:00:00Z");
    let watch = Watch { wait_for: vec!["flair".to_owned()], limit_h: 6.0, ..Watch::default() };
    let jobs = [scene.watched(watch)];
    scene.write("01_t1", 10);
    scene.write("02_t1", 10);
    scene.write("02_flair", 10);
    scene.live(&jobs, "2026-11-19T13:59:00Z", 120);
    assert_eq!(scene.subjects(), [Some(vec!["02".to_owned()])]);
    // The limit counts on through a restart.
    scene.live(&jobs, "2026-11-19T14:10:00Z", 60);
    assert_eq!(scene.subjects(), [None]);
    scene.write("01_flair", 10);
    scene.live(&jobs, "2026-11-19T14:30:00Z", 60);
    assert_eq!(scene.subjects(), [None]);
}

#[test]
fn a_time_with_a_watched_folder_takes_what_has_arrived_by_then() {
    let scene = Scene::new("2026-11-19T01:00:00Z");
    let jobs = [Job { watch: Some(Watch::default()), ..scene.job("night", "0 3 * * *") }];
    scene.write("01_t1", 10);
    let mut bytes = 0;
    scene.live_with(&jobs, "2026-11-19T02:10:00Z", 30, |scene, _| {
        bytes += 1;
        scene.write("02_t1", bytes);
    });
    assert_eq!(scene.subjects(), [Some(vec!["01".to_owned()])]);
    std::fs::remove_file(scene.data().join("01_t1")).unwrap();
    std::fs::remove_file(scene.data().join("02_t1")).unwrap();
    scene.live(&jobs, "2026-11-20T12:00:00Z", 300);
    assert_eq!(scene.subjects(), Vec::<Option<Vec<String>>>::new());
    assert_eq!(scene.outcomes("night"), [Some(Outcome::Done), Some(Outcome::NothingReady)]);
}

#[test]
fn a_batch_that_failed_is_not_tried_again_and_one_that_was_stopped_is() {
    for (exit, again) in [(1, 0), (2, 0), (75, 1)] {
        let scene = Scene { exit, ..Scene::new("2026-11-19T01:30:00Z") };
        let jobs = [scene.job("night", "0 3 * * *")];
        scene.live(&jobs, "2026-11-19T04:00:00Z", 30);
        assert_eq!(scene.started().len(), 1);
        scene.live(&jobs, "2026-11-19T05:00:00Z", 30);
        assert_eq!(scene.started().len(), again, "exit {exit}");
    }
}

#[test]
fn a_stop_lets_the_batch_end_and_starts_nothing() {
    let scene = Scene { seconds: 3600, ..Scene::new("2026-11-19T02:00:00Z") };
    let hands = Hands(Cell::new(at("2026-11-19T01:59:00Z")));
    let (started, now) = (Rc::clone(&scene.started), Rc::clone(&scene.now));
    let mut batches = Pretended { started, seconds: 3600, exit: 0, now };
    let mut files = Files(scene.data());
    let mut said = Vec::new();
    let mut tell = |line: &str| said.push(line.to_owned());
    let jobs = vec![scene.job("night", "0 3 * * *")];
    let mut scheduler = Scheduler::new(jobs, 1, &hands, (&mut batches, &mut files), &mut tell).unwrap();
    hands.0.set(at("2026-11-19T02:00:05Z"));
    scheduler.tick().unwrap();
    assert_eq!(scheduler.at_work(), 1);
    scheduler.stop();
    hands.0.set(at("2026-11-20T02:00:05Z"));
    scheduler.tick().unwrap();
    assert_eq!(scheduler.at_work(), 0);
    assert_eq!(scene.outcomes("night"), [Some(Outcome::Interrupted)]);
    assert_eq!(said[0], "job `night` starts: its time, Thu 2026-11-19 03:00 CET");
}

#[test]
fn one_scheduler_has_a_job_at_a_time() {
    let scene = Scene::new("2026-11-19T01:30:00Z");
    let out: &Path = &scene.folder.path().join("out");
    let book = Book::of(out, "night");
    book.take("night").unwrap();
    assert!(book.take("night").is_ok(), "it is this process");
    let fire = Fire::new(at("2026-11-19T02:00:00Z"), 1, Why::Time, at("2026-11-19T02:00:00Z"));
    assert!(book.start(&fire).unwrap());
    let other = Book::of(out, "night");
    assert!(!other.start(&fire).unwrap(), "a due time is taken once");
}
