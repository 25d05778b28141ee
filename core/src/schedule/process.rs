//! Batches as processes: the program starts itself, as a person would.

use super::book::{Ended, Outcome};
use super::file::{Hook, Job, When};
use super::scheduler::{Batches, Order, Running};
use crate::record::{Heartbeat, Liveness, StateFolder};
use crate::slurm::{Hands, Held, SlurmRun};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Seconds from being asked to end until a hook is killed.
const GRACE: Duration = Duration::from_secs(2);

/// How often Slurm is asked whether it still has a job's cases in hand.
const ASK: Duration = Duration::from_secs(10);
/// Runs of an output folder before that many have ended long ago.
const LAST: usize = 20;

/// Starts batches as processes.
#[derive(Debug)]
pub struct Processes {
    /// The program: the one that runs.
    program: PathBuf,
    /// `--site`, `--plugin-dir` and the like.
    common: Vec<OsString>,
    /// The schedule's name.
    schedule: String,
    /// When Slurm was last asked about a job, and had cases of it in hand.
    asked: BTreeMap<String, Instant>,
}

impl Processes {
    /// Starts `program` with these arguments beside those of a job.
    pub fn new(program: PathBuf, common: Vec<OsString>, schedule: &Path) -> Self {
        let schedule = schedule.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Self { program, common, schedule, asked: BTreeMap::new() }
    }
}

impl Batches for Processes {
    fn start(&mut self, order: &Order<'_>) -> Result<Box<dyn Running>, String> {
        let mut command = Command::new(&self.program);
        command.args(order.job.arguments()).args(["--format", "json"]).args(&self.common);
        // With Slurm the batch is over when its jobs are; here the word changes nothing.
        if !order.job.options.iter().any(|option| option == "--wait") {
            command.arg("--wait");
        }
        if let Some(only) = &order.fire.only {
            command.arg("--participant-label").args(only);
        }
        // In a process group of its own, so that a Ctrl-C reaches it through the scheduler only.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
        let child = command.spawn().map_err(|error| format!("the batch could not be started: {error}"))?;
        let pid = child.id();
        let digest = json!({
            "schedule": self.schedule,
            "job": order.job.name,
            "why": order.fire.why,
            "due": order.fire.due,
            "missed": order.fire.missed,
            "attempt": order.fire.attempt,
            "since": order.fire.since,
        });
        let hook = order.job.on_finish.clone();
        let (sender, ended) = channel();
        std::thread::spawn(move || {
            // Nobody listens any more only if the scheduler is gone.
            let _ = sender.send(attend(child, digest, hook.as_ref()));
        });
        Ok(Box::new(Batch { pid, ended }))
    }

    fn is_at_work(&mut self, job: &Job) -> bool {
        let state = StateFolder::of(&job.output);
        has_living_run(&state) || self.is_in_slurms_hand(job, &state)
    }
}

impl Processes {
    /// Whether Slurm has cases of the job in hand that it has not lost. What was so is not asked again for a while.
    fn is_in_slurms_hand(&mut self, job: &Job, state: &StateFolder) -> bool {
        if SlurmRun::open(state).is_empty() {
            return false;
        }
        if self.asked.get(&job.name).is_some_and(|asked| asked.elapsed() < ASK) {
            return true;
        }
        let is_held = Hands::of(state).cases.values().any(|hand| hand.held != Held::Lost);
        if is_held {
            self.asked.insert(job.name.clone(), Instant::now());
        }
        is_held
    }
}

/// Whether a process works on an output folder.
fn has_living_run(state: &StateFolder) -> bool {
    let entries = std::fs::read_dir(state.runs()).into_iter().flatten().filter_map(Result::ok);
    let homes = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut runs: Vec<u32> = homes.collect();
    if runs.is_empty() {
        return false;
    }
    runs.sort_unstable();
    let liveness = Liveness::now(state);
    runs.iter().rev().take(LAST).any(|run| {
        let beat = Heartbeat::read(&state.run(*run));
        beat.is_some_and(|beat| liveness.is_alive(&beat.process, &StateFolder::home(*run)))
    })
}

/// A batch that was started.
struct Batch {
    pid: u32,
    ended: Receiver<Ended>,
}

impl Running for Batch {
    fn poll(&mut self) -> Option<Ended> {
        self.ended.try_recv().ok()
    }

    fn stop(&mut self) {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        // It is there until its thread has taken its end; if that was a moment ago, there is nothing to stop.
        let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
    }
}

/// Waits for a batch and calls its hook.
fn attend(mut child: Child, mut digest: Json, hook: Option<&Hook>) -> Ended {
    let mut text = String::new();
    if let Some(stdout) = &mut child.stdout {
        let _ = stdout.read_to_string(&mut text);
    }
    let status = child.wait();
    let exit = status.as_ref().ok().and_then(std::process::ExitStatus::code);
    let mut ended = Ended { exit, summary: serde_json::from_str(&text).ok(), said: Vec::new() };
    let outcome = Outcome::of_exit(exit);
    let wanted = |hook: &&Hook| hook.when == When::Always || outcome != Outcome::Done;
    if let Some(hook) = hook.filter(wanted) {
        digest["outcome"] = json!(outcome);
        digest["exit"] = json!(exit);
        digest["until"] = json!(crate::record::now());
        digest["batch"] = ended.summary.clone().unwrap_or_default();
        ended.said.extend(call(hook, &format!("{digest:#}\n")));
    }
    ended
}

/// Calls a hook; what went wrong.
fn call(hook: &Hook, digest: &str) -> Vec<String> {
    let limit = Duration::from_secs(hook.timeout_s);
    let mut said = Vec::new();
    if let Some((program, arguments)) = hook.command.split_first() {
        let mut command = Command::new(program);
        command.args(arguments);
        let result = feed(command, digest, limit);
        said.extend(result.err().map(|reason| format!("the command `{program}` of `on_finish` {reason}")));
    }
    if let Some(url) = &hook.webhook {
        // curl brings the certificates, the proxies and the protocols that a site has set up.
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--fail", "--max-time", &hook.timeout_s.to_string()]);
        command.args(["--header", "content-type: application/json", "--data-binary", "@-", "--url", url]);
        let result = feed(command, digest, limit + GRACE);
        // An address may hold a secret.
        said.extend(result.err().map(|reason| format!("the webhook of `on_finish` failed: `curl` {reason}")));
    }
    said
}

/// Runs a command with a text on its standard input, for a limited time.
fn feed(mut command: Command, text: &str, limit: Duration) -> Result<(), String> {
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().map_err(|error| format!("could not be started: {error}"))?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let (mut stdin, text) = (child.stdin.take(), text.to_owned());
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        // A program that does not read is none of our business: its exit code tells.
        let _ = stdin.take().map(|mut stdin| stdin.write_all(text.as_bytes()));
    });
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    let ended = receiver.recv_timeout(limit).or_else(|error| match error {
        RecvTimeoutError::Timeout => {
            let group = |signal| pid.map(|pid| rustix::process::kill_process_group(pid, signal));
            let _ = group(Signal::TERM);
            let ended = receiver.recv_timeout(GRACE);
            let _ = group(Signal::KILL);
            ended.and(Err(error))
        }
        RecvTimeoutError::Disconnected => Err(error),
    });
    match ended {
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => {
            let last = String::from_utf8_lossy(&output.stderr).trim().lines().last().map(str::to_owned);
            Err(format!(
                "ended with {}{}",
                output.status,
                last.map(|line| format!(": {line}")).unwrap_or_default()
            ))
        }
        Ok(Err(error)) => Err(format!("could not be waited for: {error}")),
        Err(_) => Err(format!("did not end within {} s", limit.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(command: &[&str]) -> Vec<String> {
        let command = command.iter().map(ToString::to_string).collect();
        call(&Hook { command, timeout_s: 1, ..Hook::default() }, "{}\n")
    }

    #[test]
    fn a_hook_that_fails_or_hangs_is_said_and_nothing_more() {
        assert_eq!(said(&["sh", "-c", "read line && test \"$line\" = {}"]), Vec::<String>::new());
        let failed = said(&["sh", "-c", "echo no room >&2; exit 3"]);
        assert_eq!(failed, ["the command `sh` of `on_finish` ended with exit status: 3: no room"]);
        assert!(said(&["/nowhere/mail"])[0].contains("could not be started"));
        assert_eq!(
            said(&["sh", "-c", "sleep 60"]),
            ["the command `sh` of `on_finish` did not end within 1 s"]
        );
    }
}
