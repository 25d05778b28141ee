//! The same jobs for the clock that a machine has already: systemd, cron, Slurm's scrontab.
//!
//! A job with `cron` alone starts `neuroloom batch` directly. A job that watches a folder needs the scheduler's memory of what was there
//! before, so it starts `neuroloom schedule FILE --job NAME`: all the time under systemd, once in a while under the others.

use super::file::{File, Job};
use super::timetable::Timetable;
use croner::CronComponent;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::path::PathBuf;

/// For whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A service, and a timer for it.
    Systemd,
    /// Lines of a crontab.
    Cron,
    /// Lines of Slurm's scrontab.
    Scrontab,
}

/// Why a job cannot be written in a form.
#[derive(Debug, thiserror::Error)]
pub enum UnitError {
    /// Others have no words for `L`, `W`, `#` and `+`.
    #[error(
        "job `{job}`: `{cron}` uses `L`, `W`, `#` or `+`, which {form} has no form for\nhint: run `neuroloom schedule` itself, or say it with days of the month"
    )]
    NoForm {
        /// The job.
        job: String,
        /// Its cron expression.
        cron: String,
        /// For whom.
        form: &'static str,
    },
    /// A path that cannot be written into such a file.
    #[error("job `{job}`: {argument:?} has a line break or is no Unicode\nhint: give that file another name")]
    Unwritable {
        /// The job.
        job: String,
        /// The argument.
        argument: OsString,
    },
}

/// The program that is to be started.
#[derive(Clone, Debug)]
pub struct Program {
    /// The program.
    pub path: PathBuf,
    /// `--site`, `--plugin-dir` and the like.
    pub common: Vec<OsString>,
    /// The schedule's file.
    pub schedule: PathBuf,
}

impl Program {
    /// The command line of a job.
    fn line(&self, job: &Job, once: bool) -> Vec<OsString> {
        let mut line = vec![self.path.clone().into_os_string()];
        if job.watch.is_some() {
            line.extend(["schedule".into(), self.schedule.clone().into_os_string(), "--job".into()]);
            line.push(OsString::from(&job.name));
            line.extend(once.then(|| "--once".into()));
        } else {
            line.extend(job.arguments());
        }
        line.extend(self.common.iter().cloned());
        line
    }
}

/// A file, or a piece of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// The file's name; empty for lines of a crontab.
    pub name: String,
    /// What it holds.
    pub text: String,
}

/// All jobs in a form.
///
/// # Errors
/// [`UnitError`] for the first job that has none.
pub fn units(form: Form, schedule: &File, program: &Program) -> Result<Vec<Unit>, UnitError> {
    let of = |job: &Job| match form {
        Form::Systemd => systemd(job, program),
        Form::Cron => crontab(job, program).map(|unit| vec![unit]),
        Form::Scrontab => scrontab(job, program).map(|unit| vec![unit]),
    };
    Ok(schedule.jobs.iter().map(of).collect::<Result<Vec<_>, _>>()?.concat())
}

/// What gets lost outside `neuroloom schedule`.
fn lost(job: &Job) -> String {
    let hook = job.on_finish.is_some() && job.watch.is_none();
    if hook { "# `on_finish` is called by `neuroloom schedule` only.\n".to_owned() } else { String::new() }
}

fn systemd(job: &Job, program: &Program) -> Result<Vec<Unit>, UnitError> {
    let line = quoted(job, &program.line(job, false), systemd_word)?;
    let (name, unit) = (&job.name, format!("neuroloom-{}", job.name));
    let head = format!("[Unit]\nDescription=Neuroloom job {name}\n\n[Service]\n");
    let Some(table) = job.cron.as_ref().filter(|_| job.watch.is_none()) else {
        // 75: stopped by SIGTERM. 2: a mistake in the schedule, which a restart does not mend.
        let text = format!(
            "{head}Type=exec\nExecStart={line}\nKillMode=mixed\nTimeoutStopSec=5min\nSuccessExitStatus=75\n\
             Restart=on-failure\nRestartSec=1min\nRestartPreventExitStatus=2\n\n[Install]\nWantedBy=default.target\n"
        );
        return Ok(vec![Unit { name: format!("{unit}.service"), text }]);
    };
    let calendar =
        calendar(job, table)?.iter().map(|time| format!("OnCalendar={time}")).collect::<Vec<_>>().join("\n");
    let service = format!(
        "{}# A oneshot service is started by its timer only when it does not run.\n{head}Type=oneshot\nExecStart={line}\n\
         KillMode=mixed\nTimeoutStartSec=infinity\nTimeoutStopSec=5min\n",
        lost(job)
    );
    let timer = format!(
        "[Unit]\nDescription=When Neuroloom job {name} runs\n\n[Timer]\n{calendar}\nAccuracySec=1s\nPersistent=true\n\n\
         [Install]\nWantedBy=timers.target\n"
    );
    Ok(vec![
        Unit { name: format!("{unit}.service"), text: service },
        Unit { name: format!("{unit}.timer"), text: timer },
    ])
}

fn crontab(job: &Job, program: &Program) -> Result<Unit, UnitError> {
    let line = quoted(job, &program.line(job, true), shell_word)?.replace('%', "\\%");
    let (name, mut text) = (&job.name, lost(job));
    if let Some(zone) = job.cron.as_ref().and_then(Timetable::zone).filter(|_| job.watch.is_none()) {
        let _ = writeln!(
            text,
            "# CRON_TZ is known to cronie; in Debian's cron the machine's own time counts, and this must be {zone}.\nCRON_TZ={zone}"
        );
    }
    let lock = format!("\"${{TMPDIR:-/tmp}}/neuroloom-$(id -u)-{name}.lock\"");
    let _ = writeln!(text, "{} flock -n -E 0 {lock} {line}", fields(job, "cron")?);
    Ok(Unit { name: String::new(), text })
}

fn scrontab(job: &Job, program: &Program) -> Result<Unit, UnitError> {
    let line = quoted(job, &program.line(job, true), shell_word)?;
    let mut text = lost(job);
    if let Some(zone) = job.cron.as_ref().and_then(Timetable::zone).filter(|_| job.watch.is_none()) {
        let _ = writeln!(text, "# The time is that of Slurm's controller, and must be {zone}.");
    }
    if job.executor.is_none() {
        text.push_str("# The batch runs in this job itself: ask for what it needs with #SCRON --cpus-per-task, --mem and --time.\n");
    }
    // A scrontab entry is one job, which Slurm puts back into the queue: it cannot overlap with itself.
    let _ = write!(text, "#SCRON --job-name=neuroloom-{}\n{} {line}\n", job.name, fields(job, "scrontab")?);
    Ok(Unit { name: String::new(), text })
}

/// The five fields of a crontab.
fn fields(job: &Job, form: &'static str) -> Result<String, UnitError> {
    match (&job.cron, &job.watch) {
        (Some(table), None) => {
            plain(job, table, form)?;
            Ok(table.text().to_owned())
        }
        (_, watch) => {
            let every = watch.as_ref().map_or(60, |watch| watch.every_s);
            Ok(format!("*/{} * * * *", every.div_ceil(60).clamp(1, 30)))
        }
    }
}

/// Refuses what only few programs understand.
fn plain(job: &Job, table: &Timetable, form: &'static str) -> Result<(), UnitError> {
    let pattern = &table.cron().pattern;
    let special = pattern.days.has_modifiers() || pattern.days_of_week.has_modifiers();
    if special || (pattern.matches_dom_and_dow() && form != "systemd") || table.text().contains('?') {
        return Err(UnitError::NoForm { job: job.name.clone(), cron: table.text().to_owned(), form });
    }
    Ok(())
}

/// A cron expression as systemd says it, systemd.time(7). A day of the month *or* of the week is two lines.
fn calendar(job: &Job, table: &Timetable) -> Result<Vec<String>, UnitError> {
    plain(job, table, "systemd")?;
    let pattern = &table.cron().pattern;
    let list = |part: &CronComponent, count: usize| {
        let values = part.values();
        if values.len() == count {
            return "*".to_owned();
        }
        values.iter().map(|value| format!("{value:02}")).collect::<Vec<_>>().join(",")
    };
    let names = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    let mut days: Vec<&str> =
        pattern.days_of_week.values().iter().map(|day| names[usize::from(*day) % 7]).collect();
    days.dedup();
    let week = if pattern.is_dow_wildcard() { String::new() } else { format!("{} ", days.join(",")) };
    let time = format!("{}:{}:00", list(&pattern.hours, 24), list(&pattern.minutes, 60));
    let zone = table.zone().map(|zone| format!(" {zone}")).unwrap_or_default();
    let months = list(&pattern.months, 12);
    let one = |week: &str, days: &str| format!("{week}*-{months}-{days} {time}{zone}");
    let days = list(&pattern.days, 31);
    if week.is_empty() || pattern.is_dom_wildcard() || pattern.matches_dom_and_dow() {
        return Ok(vec![one(&week, &days)]);
    }
    Ok(vec![one("", &days), one(&week, "*")])
}

fn quoted(job: &Job, line: &[OsString], quote: fn(&str) -> String) -> Result<String, UnitError> {
    let word = |argument: &OsString| {
        let text = OsStr::to_str(argument).filter(|text| !text.contains(['\n', '\r']));
        let unwritable = || UnitError::Unwritable { job: job.name.clone(), argument: argument.clone() };
        text.map(quote).ok_or_else(unwritable)
    };
    Ok(line.iter().map(word).collect::<Result<Vec<_>, _>>()?.join(" "))
}

fn is_plain(text: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-=,:+@".contains(letter);
    !text.is_empty() && text.chars().all(plain)
}

/// systemd.service(5), "Command lines": `%` and `$` are doubled, `"` and `\` escaped.
fn systemd_word(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    format!("\"{escaped}\"")
}

fn shell_word(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::tests::job;

    fn calendars(cron: &str) -> Vec<String> {
        let table = Timetable::new(cron, Some("Europe/Oslo")).unwrap();
        calendar(&job("a", "0 0 * * *"), &table).unwrap()
    }

    #[test]
    fn cron_expressions_are_said_as_systemd_says_them() {
        assert_eq!(calendars("30 2 * * *"), ["*-*-* 02:30:00 Europe/Oslo"]);
        assert_eq!(calendars("*/30 8-9 1,15 MAR *"), ["*-03-01,15 08,09:00,30:00 Europe/Oslo"]);
        assert_eq!(calendars("0 6 * * MON-FRI"), ["Mon,Tue,Wed,Thu,Fri *-*-* 06:00:00 Europe/Oslo"]);
        let either = ["*-*-13 06:00:00 Europe/Oslo", "Fri *-*-* 06:00:00 Europe/Oslo"];
        assert_eq!(calendars("0 6 13 * FRI"), either);
        assert_eq!(calendars("0 6 13 * +FRI"), ["Fri *-*-13 06:00:00 Europe/Oslo"]);
        let table = Timetable::new("0 6 L * *", Some("UTC")).unwrap();
        assert!(calendar(&job("a", "0 0 * * *"), &table).unwrap_err().to_string().contains("`0 6 L * *`"));
    }

    #[test]
    fn odd_file_names_survive_each_form() {
        assert_eq!(systemd_word("/a b/50%$x\"\\"), "\"/a b/50%%$$x\\\"\\\\\"");
        assert_eq!(shell_word("/it's"), "'/it'\\''s'");
        let mut job = job("night", "0 2 * * *");
        job.output = "/out/50% done".into();
        let program =
            Program { path: "/bin/neuroloom".into(), common: Vec::new(), schedule: "/s.toml".into() };
        let schedule = File { parallel: 1, jobs: vec![job] };
        let text = units(Form::Cron, &schedule, &program).unwrap()[0].text.clone();
        assert!(text.ends_with(" /bin/neuroloom batch /w.toml /data '/out/50\\% done'\n"), "{text}");
        assert!(
            text.contains("\n0 2 * * * flock -n -E 0 \"${TMPDIR:-/tmp}/neuroloom-$(id -u)-night.lock\""),
            "{text}"
        );
    }
}
