//! A Slurm of the tests' own, started and stopped by the scripts of `shared/slurm` beside the repository.

use crate::cohort::SmallCohort;
use crate::{Finished, finish, neuroloom, root, skipped};
use serde_json::Value as Json;
use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Two clusters on one machine would take each other's processors.
static ALONE: Mutex<()> = Mutex::new(());

/// Ports that a cluster takes in a row: the controller's, and those of its nodes.
const PORTS: u16 = 4;

/// A job, or a task of an array, that is not over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// `12`, or `12_3`.
    pub job: String,
    /// Slurm's word: `PENDING`.
    pub state: String,
    /// Why it waits, in Slurm's word.
    pub reason: String,
    /// Where it runs; empty while it waits.
    pub node: String,
}

/// A cluster of its own. It ends when this is dropped.
pub struct Cluster {
    scripts: PathBuf,
    folder: PathBuf,
    _alone: MutexGuard<'static, ()>,
}

impl Cluster {
    /// Starts one with these variables of the start script, `SLURM_DEV_NODES` for one; says why not where it cannot.
    ///
    /// # Panics
    /// When the scripts are there and the cluster does not start.
    pub fn start(variables: &[(&str, &str)]) -> Option<Self> {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let scripts = root().parent()?.join("shared/slurm");
        if !scripts.join("start-slurm.sh").is_file() {
            skipped("there is no shared/slurm beside the repository");
            return None;
        }
        if finish(Command::new("id").arg("-u")).stdout.trim() != "0" {
            skipped("a Slurm of its own needs root");
            return None;
        }
        let enforced = variables.iter().any(|(name, _)| *name == "SLURM_DEV_CGROUP");
        if enforced && !Path::new("/sys/fs/cgroup/memory").is_dir() {
            skipped("no cgroup v1 here, so no limits of memory");
            return None;
        }
        let folder = tempfile::Builder::new().prefix("nl-slurm-").tempdir().expect("a folder").keep();
        let cluster = Self { scripts, folder, _alone: alone };
        let mut start = cluster.script("start-slurm.sh");
        start.env("SLURM_DEV_PORT", free_port().to_string()).envs(variables.iter().copied());
        let started = finish(&mut start);
        if !started.stdout.contains("node(s) up") && !installed() {
            skipped(&format!("Slurm is not installed, and cannot be: {}{}", started.stdout, started.stderr));
            return None;
        }
        assert!(started.stdout.contains("node(s) up"), "{}{}", started.stdout, started.stderr);
        Some(cluster)
    }

    fn script(&self, name: &str) -> Command {
        let mut command = Command::new(self.scripts.join(name));
        command.env("SLURM_DEV_DIR", self.folder.join("dev"));
        command
    }

    /// A path in the cluster's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A command that talks to the cluster, and counts the calls of `sbatch`.
    ///
    /// # Panics
    /// When the counter cannot be written.
    pub fn talk(&self, mut command: Command) -> Command {
        let bin = self.path("bin");
        if !bin.join("sbatch").is_file() {
            let calls = self.path("sbatch-calls");
            let counter = format!("echo \"$@\" >>{}\nexec /usr/bin/sbatch \"$@\"", calls.display());
            self.stand_in("sbatch", &counter);
        }
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", bin.display()));
        command.env("SLURM_CONF", self.folder.join("dev/slurm.conf"));
        command
    }

    /// Lets lines of `sh` stand for one of Slurm's commands, where [`Self::talk`] talks to the cluster.
    ///
    /// # Panics
    /// When they cannot be written.
    pub fn stand_in(&self, program: &str, lines: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let place = self.path("bin").join(program);
        std::fs::create_dir_all(self.path("bin")).expect("the folder is made");
        std::fs::write(&place, format!("#!/bin/sh\n{lines}\n")).expect("the script is written");
        std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o755)).expect("it may run");
    }

    /// How often `sbatch` was called through [`Self::talk`].
    pub fn sbatch_calls(&self) -> usize {
        std::fs::read_to_string(self.path("sbatch-calls")).unwrap_or_default().lines().count()
    }

    /// Runs one of Slurm's commands.
    pub fn slurm(&self, program: &str, arguments: &[&str]) -> Finished {
        let mut command = self.talk(Command::new(program));
        finish(command.args(arguments))
    }

    /// `batch` over a cohort on the cluster, with the `[slurm]` that `site` says.
    ///
    /// # Panics
    /// When the site file cannot be written.
    pub fn batch(&self, cohort: &SmallCohort, out: &Path, site: &str) -> Command {
        let file = self.path("neuroloom.toml");
        let text = format!("[batch]\nexecutor = \"slurm\"\n[slurm]\nscratch_gib = 0.1\n{site}\n");
        std::fs::write(&file, text).expect("the site file is written");
        let mut command = self.talk(neuroloom());
        command.arg("batch").arg(cohort.path("small.toml")).arg(cohort.data()).arg(out);
        command.arg("--plugin-dir").arg(cohort.plugins()).arg("--cache").arg(self.path("cache"));
        command.arg("--site").arg(file);
        command
    }

    /// What `status` says.
    ///
    /// # Panics
    /// When it ends with an error, or could not ask Slurm.
    pub fn status(&self, out: &Path) -> Json {
        let mut command = self.talk(neuroloom());
        let answer = finish(command.arg("status").arg(out).args(["--format", "json"]));
        assert_eq!(answer.code, Some(0), "{}", answer.stderr);
        let status: Json = serde_json::from_str(&answer.stdout).expect("one JSON text");
        assert!(status["trouble"].is_null(), "{}", status["trouble"]);
        status
    }

    /// The jobs that are not over.
    pub fn queue(&self) -> Vec<Queued> {
        let said = self.slurm("squeue", &["-r", "-h", "-o", "%i|%T|%r|%N"]).stdout;
        let queued = |line: &str| {
            let mut fields = line.trim().split('|').map(str::to_owned);
            let mut next = || fields.next();
            Some(Queued { job: next()?, state: next()?, reason: next()?, node: next()? })
        };
        said.lines().filter_map(queued).collect()
    }

    /// The starts of tasks of arrays that are over, each as `12_3` with Slurm's word for how it ended, as Slurm lists them.
    pub fn ended_tasks(&self) -> Vec<(String, String)> {
        let text = std::fs::read_to_string(self.path("dev/log/jobcomp.txt")).unwrap_or_default();
        let task = |line: &str| {
            let field = |name: &str| line.split_whitespace().find_map(|word| word.strip_prefix(name));
            let task = format!("{}_{}", field("ArrayJobId=")?, field("ArrayTaskId=")?);
            Some((task, field("JobState=")?.to_owned()))
        };
        text.lines().filter_map(task).collect()
    }

    /// What the logs of a run's jobs say, for messages of tests.
    pub fn logs(&self, out: &Path) -> String {
        let mut text = String::new();
        for run in std::fs::read_dir(out.join(".neuroloom/runs")).into_iter().flatten().filter_map(Result::ok)
        {
            let logs =
                std::fs::read_dir(run.path().join("logs")).into_iter().flatten().filter_map(Result::ok);
            for log in logs {
                let said = std::fs::read_to_string(log.path()).unwrap_or_default();
                let _ = write!(text, "== {}\n{said}", log.file_name().to_string_lossy());
            }
        }
        text
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = finish(self.script("stop-slurm.sh").arg("--purge"));
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn installed() -> bool {
    finish(Command::new("sh").args(["-c", "command -v slurmctld && command -v slurmd && command -v munged"]))
        .code
        == Some(0)
}

/// The first of some ports in a row that nobody listens on.
fn free_port() -> u16 {
    let free = |port: &u16| (*port..*port + PORTS).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok());
    (21_000..30_000).step_by(usize::from(PORTS)).find(free).expect("some ports are free")
}
