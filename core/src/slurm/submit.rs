//! Sends rounds to Slurm.

use super::classes::{Class, Need};
use super::command::{self, SlurmError, sbatch};
use super::order::{self, ArrayJob, Place, Round, SlurmRun};
use super::script::{Frame, Script, ScriptError};
use super::site::SlurmSite;
use crate::batch::{Decided, Decision};
use crate::record::{StateFolder, now};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What the jobs of a run are sent with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Submitter {
    /// What the site asks for.
    pub site: SlurmSite,
    /// The workflow's name.
    pub workflow: String,
    /// The output folder, absolute.
    pub out: PathBuf,
    /// The folder that the command was given in.
    pub folder: PathBuf,
    /// The program on the nodes.
    pub program: PathBuf,
    /// What tasks ask for beside processors and memory: `gpu:1`.
    pub gres: Option<String>,
    /// Whether there are stages over the cohort.
    pub groups: bool,
    /// How many tasks an array may have.
    pub most_tasks: usize,
}

/// A script and what it is for: the array's number in its round, 0 for the job that follows.
type Written = (usize, usize, Class, Script);

/// The first round of a run: the cases that run, each in the smallest class that it fits into.
pub fn first_round(cases: &[Decided], need: &dyn Fn(&Decided) -> Need, submitter: &Submitter) -> Vec<Place> {
    let site = &submitter.site;
    let place = |case: &Decided| {
        let Decision::Run { why } = &case.decision else { return None };
        Some((case.label.to_string(), Class::of(need(case), site.cases_per_task, site), 0, why.clone()))
    };
    let running: Vec<_> = cases.iter().filter_map(place).collect();
    order::places(&running, site.cases_per_task, submitter.most_tasks)
}

impl Submitter {
    /// The texts of a round's scripts, the one of the job that follows last.
    ///
    /// # Errors
    /// [`ScriptError`].
    pub fn scripts(&self, run: &SlurmRun, round: u32, places: &[Place]) -> Result<Vec<Script>, ScriptError> {
        Ok(self.write(run, round, places)?.into_iter().map(|(.., script)| script).collect())
    }

    fn write(&self, run: &SlurmRun, round: u32, places: &[Place]) -> Result<Vec<Written>, ScriptError> {
        let mut arrays: BTreeMap<usize, (Class, usize)> = BTreeMap::new();
        for place in places {
            let (_, tasks) = arrays.entry(place.array).or_insert((place.class, 0));
            *tasks = (*tasks).max(place.task + 1);
        }
        let name = self.job_name(run.run);
        // Absolute: jobs may be sent from another folder than they run in.
        let logs = SlurmRun::new(&StateFolder::of(&self.out), run.run).logs();
        let frame = Frame {
            site: &self.site,
            name: &name,
            folder: &self.folder,
            logs: &logs,
            gres: self.gres.as_deref(),
        };
        let throttle = self.site.throttle.map(|most| (most / arrays.len().max(1)).max(1));
        let mut written = Vec::new();
        for (array, (class, tasks)) in arrays {
            let command = self.command(run.run, round, Some(array));
            let script = Script::array(&frame, class, tasks, throttle, &command)?;
            written.push((array, tasks, class, script));
        }
        let follow = Script::follow(&frame, &self.command(run.run, round, None))?;
        written.push((0, 0, Class::default(), follow));
        Ok(written)
    }

    /// `nl-lesions-0007`, of letters that no command of Slurm's reads as anything else.
    fn job_name(&self, run: u32) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' };
        format!("nl-{}-{run:04}", self.workflow.chars().map(plain).collect::<String>())
    }

    /// The command of an array's script, or of the job that follows.
    fn command(&self, run: u32, round: u32, array: Option<usize>) -> Vec<String> {
        let path = |path: &Path| path.to_string_lossy().into_owned();
        let (run, round) = (run.to_string(), round.to_string());
        let what = if array.is_some() { "task" } else { "follow" };
        let mut words = vec![path(&self.program), "slurm".to_owned(), what.to_owned(), path(&self.out)];
        words.extend(["--run".to_owned(), run, "--round".to_owned(), round]);
        if let Some(array) = array {
            words.extend(["--array".to_owned(), array.to_string()]);
        }
        words
    }

    /// Sends what of a round Slurm has not taken yet, then the job that follows. Returns the round with its jobs, and what
    /// `sbatch` said on the way. If the job that follows is refused, its arrays are taken back.
    ///
    /// # Errors
    /// [`SlurmError`].
    pub fn submit(&self, run: &SlurmRun, number: u32) -> Result<(Round, String), SlurmError> {
        let unknown = || SlurmError::from(run.unknown(format!("round {number}")));
        let round = run.round(number).ok_or_else(unknown)?;
        let logs = run.logs();
        std::fs::create_dir_all(&logs).map_err(|source| {
            order::OrderError::from(crate::record::RecordError::Io { path: logs.clone(), source })
        })?;
        let mut jobs: Vec<String> = round.arrays.iter().map(|array| array.job.clone()).collect();
        let mut said = String::new();
        for (array, tasks, class, script) in self.write(run, number, &round.places)? {
            let known = if array == 0 {
                round.follow.is_some()
            } else {
                round.arrays.iter().any(|known| known.array == array)
            };
            if known {
                continue;
            }
            let path = run.keep_script(number, array, script.text())?;
            let after = if array == 0 { jobs.as_slice() } else { &[] };
            match sbatch(&path, after) {
                Ok((job, words)) => {
                    said.push_str(&words);
                    run.note_job(number, &ArrayJob { job: job.clone(), array, tasks, class, at: now() })?;
                    jobs.push(job);
                }
                Err(error) => {
                    // Without the job that follows, nobody would look after the arrays.
                    command::end(&jobs)?;
                    return Err(error);
                }
            }
        }
        if run.cancelled().is_some() {
            command::end(&jobs)?;
        }
        Ok((run.round(number).ok_or_else(unknown)?, said))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submitter() -> Submitter {
        Submitter {
            site: SlurmSite { throttle: Some(10), ..SlurmSite::default() },
            workflow: "my lesions".to_owned(),
            out: PathBuf::from("/data/out"),
            folder: PathBuf::from("/study"),
            program: PathBuf::from("/opt/neuroloom"),
            gres: None,
            groups: false,
            most_tasks: 1001,
        }
    }

    #[test]
    fn five_hundred_cases_are_one_array_and_one_job_that_follows() {
        let cases: Vec<_> =
            (0..500).map(|case| (format!("sub-{case:03}"), Class::default(), 0, String::new())).collect();
        let places = order::places(&cases, 1, 1001);
        let run = SlurmRun::new(&StateFolder::of(Path::new("/data/out")), 7);
        let scripts = submitter().scripts(&run, 1, &places).unwrap();
        assert_eq!(scripts.len(), 2);
        let (array, follow) = (scripts[0].text(), scripts[1].text());
        assert!(array.contains("#SBATCH --array=0-499%10\n"), "{array}");
        assert!(array.contains("#SBATCH --job-name=nl-my-lesions-0007\n"), "{array}");
        assert!(
            array.ends_with("exec /opt/neuroloom slurm task /data/out --run 7 --round 1 --array 1\n"),
            "{array}"
        );
        assert!(
            follow.ends_with("exec /opt/neuroloom slurm follow /data/out --run 7 --round 1\n"),
            "{follow}"
        );
    }
}
