use super::*;
use crate::record::{Claimed, Process, tests_support, write_new};
use std::collections::BTreeMap;

/// An output folder with two data sets.
struct Scene {
    _folder: tempfile::TempDir,
    place: Place,
}

const CASE: &str = "sub-01";
const DATASETS: [&str; 2] = ["sub-01", "derivatives/truth/sub-01"];

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().to_owned();
        let state = StateFolder::of(&out);
        state.make().unwrap();
        Self { _folder: folder, place: Place { out, state, keep_replaced: 1, told: None } }
    }

    fn claim(&self) -> u32 {
        let claim = tests_support::claim(CASE, Process::this());
        match Attempts::of_case(&self.place.state, CASE).claim_next(&self.place.state, &claim).unwrap() {
            Claimed::Mine(number) => number,
            Claimed::Taken => panic!("nobody else is here"),
        }
    }

    /// A change of both data sets, with kept values, that says `text` in each file.
    fn stage(&self, number: u32, text: &str) -> Transaction<'_> {
        let mut transaction = Transaction::begin(&self.place, Attempted::at_case(CASE, number)).unwrap();
        for dataset in DATASETS {
            let folder = transaction.folder(Path::new(dataset), &Old::Keep(number - 1)).unwrap();
            std::fs::create_dir(folder.join("anat")).unwrap();
            std::fs::write(folder.join("anat/image"), text).unwrap();
            std::fs::write(folder.join(format!("only_{text}")), text).unwrap();
        }
        std::fs::write(transaction.values_path(), text).unwrap();
        transaction.clear(Path::new(StateFolder::NAME).join("failed").join(CASE));
        transaction.list_participants(PathBuf::new());
        transaction
    }

    /// What is there, but for `tmp`; records without their clocks.
    fn tree(&self) -> BTreeMap<PathBuf, String> {
        let mut files = BTreeMap::new();
        let mut open = vec![self.place.out.clone()];
        while let Some(folder) = open.pop() {
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else if !path.ends_with("0001.claim.json") && !path.ends_with("0002.claim.json") {
                    let text = std::fs::read_to_string(&path).unwrap();
                    files.insert(path.strip_prefix(&self.place.out).unwrap().to_owned(), text);
                }
            }
        }
        files
    }

    /// Gives all that this process has in `tmp` to one that is dead.
    fn kill(&self) {
        let (this, dead) = (Process::this().tag(), Process { started: 1, ..Process::this().clone() }.tag());
        for owned in Owned::list(&self.place.state.tmp()) {
            let name = owned.path.file_name().unwrap().to_string_lossy().replace(&this, &dead);
            std::fs::rename(&owned.path, owned.path.with_file_name(name)).unwrap();
        }
    }

    fn left_in_tmp(&self) -> usize {
        std::fs::read_dir(self.place.state.tmp()).unwrap().count()
    }
}

fn end() -> End {
    End {
        values: true,
        since: "2026-01-01T00:00:00Z".to_owned(),
        until: "2026-01-01T00:00:01Z".to_owned(),
        ..tests_support::blank_end(CASE)
    }
}

/// A scene with a first result, the page of a failed attempt, and a claim of the second.
fn with_a_first_result() -> (Scene, u32) {
    let scene = Scene::new();
    let first = scene.claim();
    scene.stage(first, "old").commit(&end()).unwrap();
    let failed = scene.place.state.failed().join(CASE);
    std::fs::create_dir_all(&failed).unwrap();
    std::fs::write(failed.join("page"), "it failed").unwrap();
    let second = scene.claim();
    (scene, second)
}

#[test]
fn a_kill_after_any_step_of_the_commit_gives_the_new_result_with_its_record() {
    let (undisturbed, number) = with_a_first_result();
    undisturbed.stage(number, "new").commit(&end()).unwrap();
    let expected = undisturbed.tree();
    let new = expected.iter().filter(|(path, text)| *text == "new" && !path.starts_with(".neuroloom"));
    assert_eq!(new.count(), 4);
    assert!(expected.contains_key(Path::new(".neuroloom/cases/sub-01/0002.end.json")));
    assert!(expected.contains_key(Path::new(".neuroloom/replaced/sub-01.0001/sub-01/only_old")));
    assert!(!expected.contains_key(Path::new(".neuroloom/failed/sub-01/page")));
    let steps = 2 * DATASETS.len() + 6;
    for killed_after in 0..=steps {
        let (scene, number) = with_a_first_result();
        let ready = scene.stage(number, "new").make_ready(&end()).unwrap();
        let all = read_steps(&ready).unwrap();
        assert_eq!(all.all().len(), steps);
        for step in &all.all()[..killed_after] {
            all.take(&scene.place, &ready, step).unwrap();
        }
        scene.kill();
        let said = recover(&scene.place).unwrap();
        assert_eq!(said.len(), usize::from(killed_after < steps), "{said:?}");
        assert_eq!(scene.tree(), expected, "killed after step {killed_after}");
        assert_eq!(scene.left_in_tmp(), 0, "killed after step {killed_after}");
    }
}

#[test]
fn a_step_that_is_done_twice_changes_nothing() {
    let (undisturbed, number) = with_a_first_result();
    undisturbed.stage(number, "new").commit(&end()).unwrap();
    let (scene, number) = with_a_first_result();
    let ready = scene.stage(number, "new").make_ready(&end()).unwrap();
    let all = read_steps(&ready).unwrap();
    for step in all.all().iter().filter(|step| **step != Step::Clean) {
        all.take(&scene.place, &ready, step).unwrap();
        all.take(&scene.place, &ready, step).unwrap();
    }
    clean(&ready).unwrap();
    assert_eq!(scene.tree(), undisturbed.tree());
}

#[test]
fn a_kill_before_the_commit_leaves_the_old_result_and_nothing_else() {
    let (scene, number) = with_a_first_result();
    let before = scene.tree();
    let transaction = scene.stage(number, "new");
    assert!(scene.left_in_tmp() > 0);
    scene.kill();
    assert!(recover(&scene.place).unwrap().is_empty());
    drop(transaction);
    assert_eq!((scene.tree(), scene.left_in_tmp()), (before, 0));
}

#[test]
fn a_kill_while_the_committed_folder_is_removed_leaves_nothing_that_cannot_be_removed() {
    let (scene, number) = with_a_first_result();
    let ready = scene.stage(number, "new").make_ready(&end()).unwrap();
    let all = read_steps(&ready).unwrap();
    let steps = all.all();
    steps[..steps.len() - 1].iter().for_each(|step| all.take(&scene.place, &ready, step).unwrap());
    rename(&ready, &ready.with_extension(PART)).unwrap();
    std::fs::remove_file(ready.with_extension(PART).join(STEPS)).unwrap();
    scene.kill();
    recover(&scene.place).unwrap();
    assert_eq!(scene.left_in_tmp(), 0);
}

#[test]
fn an_attempt_that_was_overtaken_publishes_nothing() {
    let (scene, number) = with_a_first_result();
    let before = scene.tree();
    let transaction = scene.stage(number, "new");
    scene.claim();
    assert!(matches!(transaction.commit(&end()), Err(PublishError::Fenced { .. })));
    std::fs::remove_file(Attempts::claim_path(&scene.place.state.case(CASE), 3)).unwrap();
    assert_eq!((scene.tree(), scene.left_in_tmp()), (before, 0));
}

#[test]
fn what_was_committed_before_a_later_result_does_not_replace_it() {
    let (scene, number) = with_a_first_result();
    let ready = scene.stage(number, "late").make_ready(&end()).unwrap();
    let hidden = scene.place.out.join("hidden");
    std::fs::rename(&ready, &hidden).unwrap();
    let third = scene.claim();
    scene.stage(third, "newest").commit(&end()).unwrap();
    let expected = scene.tree();
    std::fs::rename(&hidden, &ready).unwrap();
    scene.kill();
    recover(&scene.place).unwrap();
    let mut found = scene.tree();
    found.retain(|path, _| !path.starts_with("hidden"));
    let expected: BTreeMap<_, _> =
        expected.into_iter().filter(|(path, _)| !path.starts_with("hidden")).collect();
    assert_eq!((found, scene.left_in_tmp()), (expected, 0));
}

#[test]
fn as_many_replaced_results_are_kept_as_the_policy_says() {
    for keep in [0, 1, 2] {
        let mut scene = Scene::new();
        scene.place.keep_replaced = keep;
        for text in ["one", "two", "three", "four"] {
            let number = scene.claim();
            scene.stage(number, text).commit(&end()).unwrap();
        }
        let replaced = std::fs::read_dir(scene.place.state.replaced()).unwrap();
        let mut names: Vec<_> =
            replaced.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        assert_eq!(names, ["sub-01.0002", "sub-01.0003"][2 - keep..]);
    }
}

#[test]
fn what_a_living_process_works_on_is_left_alone_and_a_damaged_commit_is_named() {
    let (scene, number) = with_a_first_result();
    let transaction = scene.stage(number, "new");
    recover(&scene.place).unwrap();
    let ready = transaction.make_ready(&end()).unwrap();
    recover(&scene.place).unwrap();
    assert!(ready.is_dir());
    std::fs::write(ready.join(STEPS), "{").unwrap();
    scene.kill();
    let said = recover(&scene.place).unwrap();
    assert!(said[0].starts_with("warning: ") && said[0].contains("steps.json"), "{said:?}");
}

#[test]
fn of_two_that_create_one_record_the_first_stays() {
    let scene = Scene::new();
    let path = Attempts::end_path(&scene.place.state.case(CASE), 1);
    assert!(write_new(&scene.place.state, &path, b"first").unwrap());
    assert!(!write_new(&scene.place.state, &path, b"second").unwrap());
    assert_eq!(std::fs::read(&path).unwrap(), b"first");
}
