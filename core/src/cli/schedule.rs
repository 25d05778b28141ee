//! `neuroloom schedule`.

use super::batch::BatchArgs;
use super::stop::Stop;
use super::{Cli, Command, Common, Exit, Failure, Format, LogFormat, load, open_site, print, say, table};
use crate::batch::Stopped;
use crate::schedule::{
    Book, Clock, File, Fire, FireEnd, Folder, Folders, Form, Job, Processes, Program, Scheduler, units,
};
use crate::site::SITE_FILE;
use clap::{Args, Parser as _, ValueEnum};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the scheduler sleeps at most: so soon it sees that a batch has ended or that it is to stop.
const PACE: Duration = Duration::from_millis(200);
/// Due times of each job that `--dry-run` shows.
const NEXT: usize = 3;
/// Starts that `--history` shows of each job.
const PAST: usize = 50;

#[derive(Debug, Args)]
pub(super) struct ScheduleArgs {
    /// The schedule, a TOML file with `[[jobs]]`
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only these jobs
    #[arg(long = "job", value_name = "NAME")]
    jobs: Vec<String>,
    /// Do what is due now, or was missed, wait for it, and end
    #[arg(long, conflicts_with_all = ["dry_run", "history", "print"])]
    once: bool,
    /// Say when each job is due next; start and write nothing
    #[arg(long, conflicts_with_all = ["history", "print"])]
    dry_run: bool,
    /// Show what was started before, and what came of it
    #[arg(long, conflicts_with = "print")]
    history: bool,
    /// Write the jobs for systemd, cron or Slurm's scrontab
    #[arg(long, value_enum, value_name = "FORM")]
    print: Option<PrintForm>,
    /// With `--print systemd`: write the units into this folder
    #[arg(long, value_name = "DIR", requires = "print")]
    into: Option<PathBuf>,
    /// How the answer of `--dry-run` and `--history` is written
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PrintForm {
    /// A service and a timer for each job.
    Systemd,
    /// Lines of a crontab.
    Cron,
    /// Lines of Slurm's scrontab.
    Scrontab,
}

pub(super) fn schedule(common: &Common, args: &ScheduleArgs) -> Result<Exit, Failure> {
    let mut schedule = File::read(&args.file).map_err(|faults| {
        let (count, path) = (faults.len(), args.file.display());
        let plural = if count == 1 { "" } else { "s" };
        Failure(format!(
            "{}\nerror: {count} fault{plural} in {path}; nothing was started",
            faults.render(super::colour())
        ))
    })?;
    choose(&mut schedule, &args.jobs)?;
    if args.history {
        return Ok(history(&schedule, args.format));
    }
    let folders = folders(common, &schedule)?;
    let common_arguments = arguments(common)?;
    let program = std::env::current_exe()?;
    if let Some(form) = args.print {
        let program =
            Program { path: program, common: common_arguments, schedule: std::path::absolute(&args.file)? };
        return print_units(form, &schedule, &program, args.into.as_deref());
    }
    if args.dry_run {
        return Ok(dry_run(&schedule, args.format));
    }
    run(schedule, args, folders, Processes::new(program, common_arguments, &args.file))
}

fn choose(schedule: &mut File, names: &[String]) -> Result<(), Failure> {
    let known: Vec<String> = schedule.jobs.iter().map(|job| job.name.clone()).collect();
    if let Some(name) = names.iter().find(|name| !known.contains(name)) {
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let hint = crate::fault::suggest(name, "there are", &known).unwrap_or_default();
        return Err(Failure::new(format!("--job {name}: no such job\nhint: {hint}")));
    }
    schedule.jobs.retain(|job| names.is_empty() || names.contains(&job.name));
    Ok(())
}

/// What all commands take, for the processes that are started. The site's file in this folder is named: they may start elsewhere.
fn arguments(common: &Common) -> Result<Vec<OsString>, Failure> {
    let mut arguments: Vec<OsString> = Vec::new();
    let here = Path::new(SITE_FILE);
    let site = common.site.as_deref().or_else(|| here.is_file().then_some(here));
    if let Some(site) = site {
        arguments.extend(["--site".into(), std::path::absolute(site)?.into_os_string()]);
    }
    for folder in &common.plugin_dirs {
        arguments.extend(["--plugin-dir".into(), std::path::absolute(folder)?.into_os_string()]);
    }
    if common.log_format == LogFormat::Json {
        arguments.extend(["--log-format".into(), "json".into()]);
    }
    Ok(arguments)
}

/// Checks what each job asks `neuroloom batch` for, and its workflow; what is needed to look through watched folders.
fn folders(common: &Common, schedule: &File) -> Result<Folders, Failure> {
    let (site, registry) = open_site(common)?;
    let mut jobs = BTreeMap::new();
    for job in &schedule.jobs {
        let batch = batch_of(job)?;
        let graph = load(batch.workflow(), &registry)?;
        let Some(watch) = &job.watch else { continue };
        let is_optional = |name: &&String| graph.input(name).is_some_and(|input| !input.required);
        if let Some(name) = watch.wait_for.iter().find(|name| !is_optional(name)) {
            let optional: Vec<&str> = graph
                .inputs
                .iter()
                .filter(|input| !input.required)
                .map(|input| input.name.as_str())
                .collect();
            let hint =
                crate::fault::suggest(name, "its optional inputs are", &optional).unwrap_or_else(|| {
                    "it has none: a case without a required input is waited for anyway".to_owned()
                });
            return Err(Failure::new(format!(
                "job `{}`: `wait_for` names `{name}`, which is no optional input of the workflow\nhint: {hint}",
                job.name
            )));
        }
        let folder = Folder { inputs: graph.inputs.clone(), filters: batch.cohort().filters() };
        if folder.filters.narrow() {
            return Err(Failure::new(format!(
                "job `{}`: `watch` chooses the subjects, and `options` does, too\nhint: leave one of them out",
                job.name
            )));
        }
        jobs.insert(job.name.clone(), folder);
    }
    Ok(Folders::new(site, jobs))
}

/// A job's arguments as `neuroloom batch` reads them.
fn batch_of(job: &Job) -> Result<BatchArgs, Failure> {
    let arguments = std::iter::once(OsString::from("neuroloom")).chain(job.arguments());
    let arguments = arguments.chain(["--format".into(), "json".into()]);
    match Cli::try_parse_from(arguments).map(|cli| cli.command) {
        Ok(Command::Batch(batch)) => Ok(batch),
        Ok(_) => unreachable!("the first argument is `batch`"),
        Err(error) => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            Err(Failure::new(format!(
                "job `{}`: `neuroloom batch` does not take its options: {first}\nhint: `neuroloom batch --help` lists them",
                job.name
            )))
        }
    }
}

/// The machine's clock.
struct System;

impl Clock for System {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

fn run(
    schedule: File,
    args: &ScheduleArgs,
    mut folders: Folders,
    mut batches: Processes,
) -> Result<Exit, Failure> {
    let stop = Stop::install()?;
    let settled_by = Timestamp::now() + once_limit(&schedule);
    for job in schedule.jobs.iter().filter(|_| !args.once) {
        say(&format!("job `{}`: {}", job.name, first(job)));
    }
    let mut tell = |line: &str| say(line);
    let parts = (&mut batches as _, &mut folders as _);
    let mut scheduler = Scheduler::new(schedule.jobs, schedule.parallel, &System, parts, &mut tell)?;
    let mut stopping = false;
    loop {
        scheduler.tick()?;
        if let Some(stopped) = stop.stopped() {
            if scheduler.at_work() == 0 {
                return Ok(if stopped == Stopped::Terminated { Exit::Interrupted } else { Exit::CtrlC });
            }
            if !std::mem::replace(&mut stopping, true) {
                say(&format!("note: stopping; {} at work end first", scheduler.at_work()));
                scheduler.stop();
            }
        } else if args.once && scheduler.is_idle() {
            let settled = !scheduler.is_settling() || Timestamp::now() >= settled_by;
            if settled {
                return Ok(if scheduler.all_well() { Exit::Fine } else { Exit::SomeFailed });
            }
        }
        std::thread::sleep(PACE);
    }
}

/// How long `--once` waits for cases that are still changing.
fn once_limit(schedule: &File) -> SignedDuration {
    let most = schedule
        .jobs
        .iter()
        .filter_map(|job| job.watch.as_ref())
        .map(|watch| watch.stable_s + 2 * watch.every_s);
    SignedDuration::from_secs(i64::try_from(most.max().unwrap_or(0)).unwrap_or(i64::MAX / 2))
}

/// When a job is due, in words.
fn first(job: &Job) -> String {
    let next = job.cron.as_ref().and_then(|table| Some(table.shown(table.after(Timestamp::now())?)));
    match (next, &job.watch) {
        (Some(next), None) => format!("next at {next}"),
        (Some(next), Some(_)) => format!("next at {next}, with the cases that have arrived by then"),
        (None, Some(watch)) => format!("looks for cases every {} s", watch.every_s),
        (None, None) => "never".to_owned(),
    }
}

fn dry_run(schedule: &File, format: Format) -> Exit {
    let now = Timestamp::now();
    let next = |job: &Job| -> Vec<Timestamp> {
        let Some(table) = &job.cron else { return Vec::new() };
        std::iter::successors(table.after(now), |time| table.after(*time)).take(NEXT).collect()
    };
    if format == Format::Json {
        let one = |job: &Job| json!({ "job": job.name, "next": next(job), "watch": job.watch.is_some() });
        let jobs: Vec<_> = schedule.jobs.iter().map(one).collect();
        print(&format!("{:#}", json!({ "jobs": jobs })));
        return Exit::Fine;
    }
    let mut rows = table::plain(&["job", "next", "starts"]);
    for job in &schedule.jobs {
        let table = job.cron.as_ref();
        let times: Vec<String> =
            table.map(|table| next(job).iter().map(|time| table.shown(*time)).collect()).unwrap_or_default();
        let times = if times.is_empty() { first(job) } else { times.join("\n") };
        let words: Vec<String> =
            job.arguments().iter().map(|word| word.to_string_lossy().into_owned()).collect();
        rows.add_row([job.name.clone(), times, words.join(" ")]);
    }
    print(&rows.to_string());
    say("nothing was started");
    Exit::Fine
}

fn history(schedule: &File, format: Format) -> Exit {
    let mut all = Vec::new();
    let mut rows = table::plain(&["job", "due", "because of", "cases", "outcome", "ended"]);
    for job in &schedule.jobs {
        let book = Book::of(&job.output, &job.name);
        let (history, alive) = (book.history(), book.holder().is_some());
        let from = history.len().saturating_sub(PAST);
        for (fire, end) in &history[from..] {
            rows.add_row(history_row(job, fire, end.as_ref(), alive));
        }
        all.extend(
            history.into_iter().map(|(fire, end)| json!({ "job": job.name, "fire": fire, "end": end })),
        );
    }
    match format {
        Format::Json => print(&format!("{:#}", json!({ "history": all }))),
        Format::Text if all.is_empty() => print("nothing was started yet"),
        Format::Text => print(&rows.to_string()),
    }
    Exit::Fine
}

fn history_row(job: &Job, fire: &Fire, end: Option<&FireEnd>, alive: bool) -> [String; 6] {
    let shown =
        |time: Timestamp| job.cron.as_ref().map_or_else(|| time.to_string(), |table| table.shown(time));
    let missed = if fire.missed > 0 { format!(" (and {} before it)", fire.missed) } else { String::new() };
    let summary = end.and_then(|end| Some(end.batch.summary.as_ref()?["summary"].clone()));
    let count = |key: &str| summary.as_ref().and_then(|summary| summary[key].as_u64()).unwrap_or(0);
    let cases = summary.as_ref().map_or_else(String::new, |_| {
        let words =
            [("done", "done"), ("failed", "failed"), ("up_to_date", "up to date"), ("cannot", "cannot run")];
        let words = words
            .iter()
            .filter(|(key, _)| count(key) > 0)
            .map(|(key, word)| format!("{} {word}", count(key)));
        words.collect::<Vec<_>>().join(", ")
    });
    let outcome = match end {
        Some(end) => [&[end.outcome.name().to_owned()][..], &end.batch.said].concat().join("; "),
        None if alive => "at work".to_owned(),
        None => "cut off".to_owned(),
    };
    let ended = end.map(|end| shown(end.until)).unwrap_or_default();
    [job.name.clone(), shown(fire.due), format!("{}{missed}", fire.why.name()), cases, outcome, ended]
}

fn print_units(
    form: PrintForm,
    schedule: &File,
    program: &Program,
    into: Option<&Path>,
) -> Result<Exit, Failure> {
    let form = match form {
        PrintForm::Systemd => Form::Systemd,
        PrintForm::Cron => Form::Cron,
        PrintForm::Scrontab => Form::Scrontab,
    };
    let units = units(form, schedule, program)?;
    if let Some(folder) = into {
        if form != Form::Systemd {
            return Err(Failure::new(
                "--into is for systemd, whose units are files\nhint: leave it out, and add the lines to your crontab",
            ));
        }
        std::fs::create_dir_all(folder)?;
        for unit in &units {
            std::fs::write(folder.join(&unit.name), &unit.text)?;
            print(&folder.join(&unit.name).display().to_string());
        }
        return Ok(Exit::Fine);
    }
    for unit in &units {
        let head = if unit.name.is_empty() { String::new() } else { format!("# {}\n", unit.name) };
        print(&format!("{head}{}\n", unit.text));
    }
    Ok(Exit::Fine)
}
