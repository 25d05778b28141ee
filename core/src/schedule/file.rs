//! The schedule's TOML file, checked whole.

use super::timetable::{Timetable, TimetableError};
use crate::fault::{Fault, Faults, Sources, Span, suggest};
use serde::Deserialize;
use std::ffi::OsString;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use toml::Spanned;

/// Most seconds that a setting may ask for: a year.
const YEAR_S: u64 = 366 * 86_400;

/// What is done with a due time while an earlier start is at work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// It is left out.
    #[default]
    Skip,
    /// It waits; of several that wait, the last one stays.
    Queue,
}

/// What is done with due times at which no scheduler was there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    /// One start makes up for all of them.
    #[default]
    Once,
    /// They are left out.
    Skip,
}

/// When a hook is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// After every batch.
    #[default]
    Always,
    /// After a batch that did not end well.
    Failure,
}

/// A watched folder's rule.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Watch {
    /// Seconds for which a case's files must have stayed the same.
    pub stable_s: u64,
    /// Seconds between two looks.
    pub every_s: u64,
    /// Inputs of the workflow that a case is to be waited for.
    pub wait_for: Vec<String>,
    /// Hours after which a case runs without them.
    pub limit_h: f64,
}

impl Default for Watch {
    fn default() -> Self {
        Self { stable_s: 120, every_s: 60, wait_for: Vec::new(), limit_h: 24.0 }
    }
}

/// What is told when a batch has ended.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hook {
    /// A program and its arguments; the digest comes on its standard input.
    pub command: Vec<String>,
    /// An address that the digest is posted to.
    pub webhook: Option<String>,
    /// Seconds that each may take.
    pub timeout_s: u64,
    /// When.
    pub when: When,
}

impl Default for Hook {
    fn default() -> Self {
        Self { command: Vec::new(), webhook: None, timeout_s: 30, when: When::Always }
    }
}

/// A batch that runs by itself.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its name: letters, digits, `-` and `_`.
    pub name: String,
    /// The workflow's file.
    pub workflow: PathBuf,
    /// The cohort.
    pub input: PathBuf,
    /// Where results go.
    pub output: PathBuf,
    /// When; none: whenever cases have arrived.
    pub cron: Option<Timetable>,
    /// Which cases are ready; none: all.
    pub watch: Option<Watch>,
    /// What is done with a due time while an earlier start is at work.
    pub overlap: Overlap,
    /// What is done with missed times.
    pub missed: Missed,
    /// Who runs the batch; none: this machine.
    pub executor: Option<String>,
    /// Further options of `neuroloom batch`.
    pub options: Vec<String>,
    /// What is told at the end.
    pub on_finish: Option<Hook>,
}

impl Job {
    /// The arguments of its batch: `batch WORKFLOW COHORT OUT …`.
    pub fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["batch".into()];
        arguments
            .extend([&self.workflow, &self.input, &self.output].map(|path| path.clone().into_os_string()));
        arguments.extend(self.executor.iter().flat_map(|name| ["--executor".into(), name.into()]));
        arguments.extend(self.options.iter().map(OsString::from));
        arguments
    }
}

/// A schedule.
#[derive(Clone, Debug)]
pub struct File {
    /// Batches at a time.
    pub parallel: usize,
    /// The jobs, in their order.
    pub jobs: Vec<Job>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    parallel: Option<Spanned<usize>>,
    #[serde(default)]
    jobs: Vec<Spanned<RawJob>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawJob {
    name: Spanned<String>,
    workflow: Spanned<PathBuf>,
    input: Spanned<PathBuf>,
    output: Spanned<PathBuf>,
    #[serde(default)]
    cron: Option<Spanned<String>>,
    #[serde(default)]
    time_zone: Option<Spanned<String>>,
    #[serde(default)]
    watch: Option<Spanned<Watch>>,
    #[serde(default)]
    overlap: Overlap,
    #[serde(default)]
    missed: Missed,
    #[serde(default)]
    executor: Option<String>,
    #[serde(default)]
    options: Vec<String>,
    #[serde(default)]
    on_finish: Option<Spanned<Hook>>,
}

impl File {
    /// Reads and checks a schedule. Paths in it are relative to it.
    ///
    /// # Errors
    /// All [`Faults`] that it has.
    pub fn read(path: &Path) -> Result<Self, Faults> {
        let mut sources = Sources::default();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                let fault = Fault::whole(format!("cannot read the schedule {}: {error}", path.display()));
                return Err(Faults::new(Arc::new(sources), vec![fault]));
            }
        };
        let file = sources.add(path, text.clone());
        let mut reader = Reader { file, folder: folder_of(path), faults: Vec::new() };
        let schedule = reader.schedule(&text);
        if reader.faults.is_empty() {
            Ok(schedule)
        } else {
            Err(Faults::new(Arc::new(sources), reader.faults))
        }
    }
}

fn folder_of(path: &Path) -> PathBuf {
    let folder = path.parent().unwrap_or(Path::new(""));
    std::path::absolute(folder).or_else(|_| std::env::current_dir()).unwrap_or_default()
}

struct Reader {
    file: usize,
    folder: PathBuf,
    faults: Vec<Fault>,
}

impl Reader {
    fn span(&self, range: Range<usize>) -> Span {
        Span { file: self.file, start: range.start, end: range.end }
    }

    fn fault(&mut self, range: Range<usize>, message: impl Into<String>, hint: impl Into<String>) {
        let fault = Fault::at(self.span(range), message).hint(hint);
        self.faults.push(fault);
    }

    fn schedule(&mut self, text: &str) -> File {
        let raw: RawFile = match toml::from_str(text) {
            Ok(raw) => raw,
            Err(error) => {
                let message = error.message().trim().to_owned();
                let fault = error.span().map(|range| Fault::at(self.span(range), message.clone()));
                self.faults.push(fault.unwrap_or_else(|| Fault::whole(message)));
                return File { parallel: 1, jobs: Vec::new() };
            }
        };
        if raw.jobs.is_empty() {
            self.faults.push(
                Fault::whole("the schedule has no job").hint("write `[[jobs]]`, and below it `name = \"…\"`"),
            );
        }
        let parallel = raw.parallel.map_or(1, |parallel| {
            if *parallel.get_ref() == 0 {
                self.fault(parallel.span(), "`parallel` is 0", "1 batch at a time is the least");
            }
            parallel.into_inner()
        });
        let mut names: Vec<String> = Vec::new();
        let mut jobs = Vec::new();
        for raw in raw.jobs {
            let job = self.job(raw, &names);
            names.push(job.name.clone());
            jobs.push(job);
        }
        File { parallel, jobs }
    }

    fn job(&mut self, raw: Spanned<RawJob>, names: &[String]) -> Job {
        let whole = raw.span();
        let raw = raw.into_inner();
        let name = self.name(&raw.name, names);
        if raw.cron.is_none() && raw.watch.is_none() {
            let head = whole.start..whole.start + "[[jobs]]".len();
            self.fault(
                head,
                format!("job `{name}` says neither `cron` nor `watch`"),
                "`cron = \"30 2 * * *\"` runs it each night, `watch = {}` when cases have arrived",
            );
        }
        let workflow = self.path(&raw.workflow, Path::is_file, "no such workflow file");
        let input = self.path(&raw.input, Path::exists, "no such folder or table");
        let output = tidy(&self.folder.join(raw.output.get_ref()));
        self.apart(&input, &output, raw.output.span());
        Job {
            name,
            workflow,
            input,
            output,
            cron: self.cron(raw.cron.as_ref(), raw.time_zone.as_ref()),
            watch: raw.watch.map(|watch| self.watch(watch)),
            overlap: raw.overlap,
            missed: raw.missed,
            executor: raw.executor,
            options: raw.options,
            on_finish: raw.on_finish.map(|hook| self.hook(hook)),
        }
    }

    fn name(&mut self, name: &Spanned<String>, names: &[String]) -> String {
        /// Characters of a name: it is part of file names.
        const MOST: usize = 64;
        let text = name.get_ref();
        let allowed = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
        if text.is_empty() || text.len() > MOST || !text.chars().all(allowed) {
            self.fault(
                name.span(),
                format!("`{text}` is no name of a job"),
                format!("1 to {MOST} letters, digits, `-` and `_`"),
            );
        } else if names.contains(text) {
            self.fault(name.span(), format!("two jobs are called `{text}`"), "give each a name of its own");
        }
        text.clone()
    }

    fn path(&mut self, path: &Spanned<PathBuf>, is_there: impl Fn(&Path) -> bool, missing: &str) -> PathBuf {
        let full = tidy(&self.folder.join(path.get_ref()));
        if !is_there(&full) {
            let near = near(&full).unwrap_or_else(|| "paths are relative to the schedule's file".to_owned());
            self.fault(path.span(), format!("{}: {missing}", path.get_ref().display()), near);
        }
        full
    }

    /// Results must not lie among the images: they would be looked through with them. BIDS has `derivatives` for that.
    fn apart(&mut self, input: &Path, output: &Path, range: Range<usize>) {
        let (input, output) = (real(input), real(output));
        let Ok(within) = output.strip_prefix(&input) else { return };
        let below = within.starts_with("derivatives") && within.components().count() > 1;
        if !below {
            self.fault(
                range,
                "the output lies in the input folder",
                "choose a folder outside, or below its `derivatives`",
            );
        }
    }

    fn cron(&mut self, cron: Option<&Spanned<String>>, zone: Option<&Spanned<String>>) -> Option<Timetable> {
        let Some(cron) = cron else {
            if let Some(zone) = zone {
                self.fault(
                    zone.span(),
                    "a `time_zone` without `cron`",
                    "leave it out, or say when with `cron`",
                );
            }
            return None;
        };
        match Timetable::new(cron.get_ref(), zone.map(|zone| zone.get_ref().as_str())) {
            Ok(table) => Some(table),
            Err(error) => {
                let at = match (&error, zone) {
                    (TimetableError::Zone { .. }, Some(zone)) => zone.span(),
                    _ => cron.span(),
                };
                self.fault(at, error.to_string(), error.hint());
                None
            }
        }
    }

    fn watch(&mut self, watch: Spanned<Watch>) -> Watch {
        let range = watch.span();
        let watch = watch.into_inner();
        for (name, value) in [("stable_s", watch.stable_s), ("every_s", watch.every_s)] {
            if !(1..=YEAR_S).contains(&value) {
                self.fault(
                    range.clone(),
                    format!("`{name}` is {value}"),
                    "seconds, 1 or more, at most a year",
                );
            }
        }
        if !(0.0..=YEAR_S as f64 / 3600.0).contains(&watch.limit_h) {
            self.fault(range, format!("`limit_h` is {}", watch.limit_h), "hours, 0 or more, at most a year");
        }
        watch
    }

    fn hook(&mut self, hook: Spanned<Hook>) -> Hook {
        let range = hook.span();
        let hook = hook.into_inner();
        if hook.command.is_empty() && hook.webhook.is_none() {
            self.fault(
                range.clone(),
                "`on_finish` says neither `command` nor `webhook`",
                "`command = [\"logger\", \"-t\", \"neuroloom\"]`",
            );
        }
        let is_web = |url: &String| url.starts_with("https://") || url.starts_with("http://");
        if let Some(url) = hook.webhook.as_ref().filter(|url| !is_web(url)) {
            self.fault(range.clone(), format!("`{url}` is no web address"), "it begins with `https://`");
        }
        if !(1..=3600).contains(&hook.timeout_s) {
            self.fault(range, format!("`timeout_s` is {}", hook.timeout_s), "seconds, 1 to 3600");
        }
        hook
    }
}

/// A name in the same folder that was probably meant.
fn near(path: &Path) -> Option<String> {
    let entries = std::fs::read_dir(path.parent()?).ok()?.filter_map(Result::ok);
    let names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    suggest(&path.file_name()?.to_string_lossy(), "there are", &names).filter(|hint| hint.starts_with("did"))
}

/// A path without `.` and with `..` taken out, as the file says it.
fn tidy(path: &Path) -> PathBuf {
    let mut tidy = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if tidy.file_name().is_some() => {
                tidy.pop();
            }
            other => tidy.push(other),
        }
    }
    tidy
}

/// A path with the links of what is there of it followed.
fn real(path: &Path) -> PathBuf {
    let mut there = path;
    let mut rest = Vec::new();
    loop {
        if let Ok(real) = there.canonicalize() {
            return rest.iter().rev().fold(real, |real: PathBuf, part| real.join(part));
        }
        match (there.parent(), there.file_name()) {
            (Some(parent), Some(name)) => {
                rest.push(name);
                there = parent;
            }
            _ => return path.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The faults of a schedule beside a workflow `w.toml` and a folder `data`.
    fn faults(text: &str) -> Vec<(String, Option<String>)> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("w.toml"), "").unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        let path = folder.path().join("schedule.toml");
        std::fs::write(&path, text).unwrap();
        let faults = File::read(&path).err();
        faults
            .iter()
            .flat_map(Faults::iter)
            .map(|fault| (fault.message.clone(), fault.hint.clone()))
            .collect()
    }

    fn job(rest: &str) -> String {
        format!("[[jobs]]\nname = \"a\"\nworkflow = \"w.toml\"\ninput = \"data\"\noutput = \"out\"\n{rest}\n")
    }

    fn only(text: &str) -> String {
        let all = faults(text);
        assert_eq!(all.len(), 1, "{all:?}");
        all[0].0.clone()
    }

    #[test]
    fn each_mistake_is_one_fault() {
        let good = job("cron = \"@daily\"");
        assert_eq!(faults(&good), []);
        assert!(only(&job("cron = \"nightly\"")).starts_with("`nightly` is no cron expression"));
        assert_eq!(only(&job("cron = \"@daily\"\ntime_zone = \"Mars\"")), "there is no time zone `Mars`");
        assert_eq!(only(&good.replace("\"data\"", "\"dta\"")), "dta: no such folder or table");
        assert_eq!(only(&good.replace("\"w.toml\"", "\"v.toml\"")), "v.toml: no such workflow file");
        assert_eq!(only(&format!("{good}{good}")), "two jobs are called `a`");
        assert_eq!(only(&good.replace("\"out\"", "\"data/out\"")), "the output lies in the input folder");
        assert_eq!(only(&good.replace("\"out\"", "\"x/../data\"")), "the output lies in the input folder");
        assert_eq!(faults(&good.replace("\"out\"", "\"data/derivatives/lesions\"")), []);
        assert_eq!(only(&job("")), "job `a` says neither `cron` nor `watch`");
        assert_eq!(only(&job("watch = { stable_s = 0 }")), "`stable_s` is 0");
        assert_eq!(only(""), "the schedule has no job");
        assert!(only(&job("crn = \"@daily\"")).contains("crn"));
        assert_eq!(only(&good.replace("\"a\"", "\"a b\"")), "`a b` is no name of a job");
        let hook = only(&job("cron = \"@daily\"\non_finish.webhook = \"example.org\""));
        assert_eq!(hook, "`example.org` is no web address");
    }
}
