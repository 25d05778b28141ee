//! What runs again and what does not, and how `why` explains it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use neuroloom_tests::cohort::{SmallCohort, assert_ended};
use neuroloom_tests::{built, finish, neuroloom};
use serde_json::Value as Json;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// A case's history: what was done, and what the program says of it.
struct History {
    cohort: SmallCohort,
    out: PathBuf,
    arguments: Vec<String>,
    told: String,
}

impl History {
    /// The first run of a case, with a stage that reads a file, as a network reads its model.
    fn new(name: &str) -> Self {
        let cohort = SmallCohort::new(name, 1);
        let shifted = "[stages.shifted]\noperator = \"shift\"\ninputs.image = \"first.image\"\n\
                       settings.file = \"shift.txt\"\n[stages.bright]";
        let text = cohort.workflow().replace("[stages.bright]", shifted);
        cohort.set_workflow(
            &text.replace(
                "image = \"first.image\"\nsettings.above",
                "image = \"shifted.image\"\nsettings.above",
            ),
        );
        std::fs::write(cohort.path("shift.txt"), "1.5").unwrap();
        for plugin in ["volume_math", "lesions"] {
            let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
            let file = format!("{prefix}neuroloom_{plugin}{suffix}");
            cohort.add_plugin(&built().join(file));
        }
        let history = Self { out: cohort.path("out"), cohort, arguments: Vec::new(), told: String::new() };
        assert_ended(&finish(&mut history.cohort.batch(&history.out)), 0, 0);
        history
    }

    /// Runs the batch again; what it says of it.
    fn again(&self) -> String {
        let run = finish(self.cohort.batch(&self.out).args(&self.arguments));
        assert_ended(&run, 0, 0);
        run.stderr
    }

    /// After this, nothing runs.
    fn nothing_runs(&mut self, what: &str) {
        let said = self.again();
        assert!(said.contains("nothing to do: 1 up to date"), "{what}: {said}");
        let _ = writeln!(self.told, "# {what}: nothing runs\n");
    }

    /// After this, the case runs; what `why` says of it is told, and what became of these stages. Of the others nothing can be
    /// said: what is quick is made again rather than kept.
    fn runs(&mut self, what: &str, settled: &[&str]) {
        let said = self.again();
        assert!(said.contains("1 of 1 cases run"), "{what}: {said}");
        let why = |more: &[&str]| {
            let answer = finish(neuroloom().arg("why").arg(&self.out).arg("sub-01").args(more));
            assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""), "{what}");
            answer.stdout
        };
        let text = why(&[]);
        let head = text.split("\ninputs: ").next().unwrap();
        let whole: Json = serde_json::from_str(&why(&["--format", "json"])).unwrap();
        let stages = stages(&whole, settled);
        let _ = writeln!(self.told, "# {what}\n{head}\nstages: {stages}\n");
        self.nothing_runs("the same again");
    }

    /// Appends a byte to a plugin: another build, which does the same.
    fn rebuild(&self, plugin: &str) {
        let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
        let path = self.cohort.plugins().join(format!("{prefix}neuroloom_{plugin}{suffix}"));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.push(0);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
    }

    fn assert_told(&self, name: &str) {
        let filters = vec![
            (r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "TIME"),
            (r"after \d+\.\d s", "after SECONDS"),
            (r"\b[0-9a-f]{12}\b", "DIGEST"),
        ];
        insta::with_settings!({ filters => filters }, { insta::assert_snapshot!(name, self.told) });
    }
}

/// `first cached, bright ran`.
fn stages(why: &Json, settled: &[&str]) -> String {
    let all = why["stages"].as_array().unwrap().iter();
    let told = all.filter(|stage| settled.iter().any(|name| stage["stage"] == *name));
    let state = |stage: &Json| {
        let state = if stage["cached"] == true { "cached" } else { stage["state"].as_str().unwrap() };
        format!("{} {state}", stage["stage"].as_str().unwrap())
    };
    told.map(state).collect::<Vec<_>>().join(", ")
}

fn rename(from: &Path, to: &Path) {
    std::fs::rename(from, to).unwrap();
}

#[test]
fn what_changes_no_result_runs_nothing_again() {
    let mut history = History::new("nothing");
    let (data, aside) = (history.cohort.data(), history.cohort.path("elsewhere"));
    rename(&data, &aside);
    let mut moved = neuroloom();
    moved.arg("batch").arg(history.cohort.path("small.toml")).arg(&aside).arg(&history.out);
    moved.arg("--plugin-dir").arg(history.cohort.plugins()).arg("--cache").arg(history.cohort.path("cache"));
    let said = finish(&mut moved);
    assert!(said.stderr.contains("nothing to do: 1 up to date"), "the data set was moved: {}", said.stderr);
    rename(&aside, &data);
    let written = std::fs::read(history.cohort.image("sub-01")).unwrap();
    std::fs::write(history.cohort.image("sub-01"), written).unwrap();
    history.nothing_runs("the input was written again, the same");
    for arguments in [
        &["--device", "cpu"][..],
        &["--set", "first.threads=2"],
        &["--set", "first.timeout=60"],
        &["--memory", "3"],
        &["--no-cache"],
    ] {
        let mut command = history.cohort.batch(&history.out);
        if arguments == ["--no-cache"] {
            command = neuroloom();
            command.arg("batch").arg(history.cohort.path("small.toml")).arg(&data).arg(&history.out);
            command.arg("--plugin-dir").arg(history.cohort.plugins());
        }
        let said = finish(command.args(arguments));
        assert!(said.stderr.contains("nothing to do: 1 up to date"), "{arguments:?}: {}", said.stderr);
    }
    history.rebuild("lesions");
    history.nothing_runs("a plugin that the workflow does not use was rebuilt");
}

#[test]
fn what_changes_a_result_runs_again_with_all_that_follows_and_why_says_so() {
    let mut history = History::new("again");
    history.arguments = ["--set", "bright.settings.above=40.0"].map(str::to_owned).to_vec();
    history.runs("a setting", &["first", "bright", "inside", "last"]);
    std::fs::write(history.cohort.path("shift.txt"), "2.5").unwrap();
    history
        .runs("a file that a setting names, as a model", &["first", "shifted", "bright", "inside", "last"]);
    history.rebuild("volume_math");
    history.runs("a plugin was rebuilt, and does the same", &["first", "bright", "inside", "last"]);
    history.cohort.write_image("sub-01", 55.0);
    history.runs("an input's voxels", &["first", "shifted", "bright", "inside", "last"]);
    let text = history.cohort.workflow();
    history
        .cohort
        .set_workflow(&text.replace("inputs.image = \"inside.image\"", "inputs.image = \"shifted.image\""));
    history.runs("the wiring", &["first", "last"]);
    history.assert_told("what_runs_again");
}
