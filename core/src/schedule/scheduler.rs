//! Decides what is started when.

use super::book::{Book, BookError, Ended, Fire, FireEnd, Outcome, Why};
use super::file::{Job, Missed, Overlap};
use super::timetable::Due;
use super::watch::{Look, Watcher, seconds};
use crate::record::RecordError;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// Later than this after its time a start counts as missed: the scheduler or the machine was not there.
const LATE: SignedDuration = SignedDuration::from_mins(2);

/// How often a scheduler shows that it lives. A job whose scheduler, on another machine, was silent for 5 minutes is free.
const BEAT: SignedDuration = SignedDuration::from_secs(60);

/// What time it is.
pub trait Clock {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// A batch that is to be started.
pub struct Order<'a> {
    /// The job.
    pub job: &'a Job,
    /// Its start.
    pub fire: &'a Fire,
}

/// A batch that was started.
pub trait Running {
    /// What came of it, once it has ended and its hook has, too.
    fn poll(&mut self) -> Option<Ended>;
    /// Asks it to end soon, in good order.
    fn stop(&mut self);
}

/// Starts batches.
pub trait Batches {
    /// Starts one.
    ///
    /// # Errors
    /// Why that cannot be.
    fn start(&mut self, order: &Order<'_>) -> Result<Box<dyn Running>, String>;

    /// Whether a batch still works on the job's output: one that outlived its scheduler.
    fn is_at_work(&mut self, job: &Job) -> bool;
}

/// Is told what happens, line by line.
pub type Tell<'a> = &'a mut dyn FnMut(&str);

/// A start that waits for its turn.
#[derive(Clone, Copy, Debug)]
struct Pending {
    due: Timestamp,
    missed: u32,
    attempt: u32,
    why: Why,
}

impl Pending {
    fn fire(&self, now: Timestamp) -> Fire {
        Fire { missed: self.missed, ..Fire::new(self.due, self.attempt, self.why, now) }
    }
}

/// A start whose batch runs.
struct Open {
    fire: Fire,
    fed: BTreeMap<String, String>,
    running: Box<dyn Running>,
}

/// A job and where it stands.
struct Entry {
    job: Job,
    book: Book,
    /// Due times up to this one are settled.
    settled: Timestamp,
    pending: Option<Pending>,
    open: Option<Open>,
    watcher: Watcher,
    fed: BTreeMap<String, String>,
    next_look: Timestamp,
    /// Until then a watched folder was not looked at for long enough to tell which cases are ready.
    settles: Timestamp,
    /// What the last look found wrong, so that it is said once.
    wrong: Option<String>,
}

/// Runs jobs.
pub struct Scheduler<'a> {
    entries: Vec<Entry>,
    parallel: usize,
    clock: &'a dyn Clock,
    batches: &'a mut dyn Batches,
    look: &'a mut dyn Look,
    tell: Tell<'a>,
    beats: u64,
    next_beat: Timestamp,
    stopping: bool,
    all_well: bool,
}

impl<'a> Scheduler<'a> {
    /// Takes the jobs; what was cut off or missed becomes due.
    ///
    /// # Errors
    /// [`BookError`] if another scheduler has one of them, or its records cannot be written.
    pub fn new(
        jobs: Vec<Job>,
        parallel: usize,
        clock: &'a dyn Clock,
        (batches, look): (&'a mut dyn Batches, &'a mut dyn Look),
        tell: Tell<'a>,
    ) -> Result<Self, BookError> {
        let now = clock.now();
        let entries: Result<Vec<Entry>, BookError> =
            jobs.into_iter().map(|job| Entry::open(job, now)).collect();
        let (entries, next_beat) = (entries?, now + BEAT);
        Ok(Self {
            entries,
            parallel,
            clock,
            batches,
            look,
            tell,
            beats: 0,
            next_beat,
            stopping: false,
            all_well: true,
        })
    }

    /// Does what is due now. Called again and again; between calls nothing changes but batches and folders.
    ///
    /// # Errors
    /// [`RecordError`] if a start or an end cannot be recorded: what is not on record is not started.
    pub fn tick(&mut self) -> Result<(), RecordError> {
        let now = self.clock.now();
        self.beat(now)?;
        for entry in &mut self.entries {
            self.all_well &= entry.finish(now, self.tell)?;
            if self.stopping {
                continue;
            }
            entry.look(now, self.look, self.tell)?;
            entry.come_due(now, self.tell)?;
        }
        let mut free = self.parallel.saturating_sub(self.at_work());
        for entry in self.entries.iter_mut().filter(|_| !self.stopping) {
            if free > 0 && entry.open.is_none() && entry.begin(now, self.batches, self.tell)? {
                free -= 1;
            }
        }
        Ok(())
    }

    /// How many batches run.
    pub fn at_work(&self) -> usize {
        self.entries.iter().filter(|entry| entry.open.is_some()).count()
    }

    /// Whether nothing runs or waits for its turn.
    pub fn is_idle(&self) -> bool {
        self.entries.iter().all(|entry| entry.open.is_none() && entry.pending.is_none())
    }

    /// Whether all batches so far ended well.
    pub const fn all_well(&self) -> bool {
        self.all_well
    }

    /// Whether some case of a watched folder changed a moment ago.
    pub fn is_settling(&self) -> bool {
        self.entries.iter().any(|entry| entry.watcher.is_settling())
    }

    /// Asks all batches to end; nothing new is started.
    pub fn stop(&mut self) {
        self.stopping = true;
        self.entries.iter_mut().filter_map(|entry| entry.open.as_mut()).for_each(|open| open.running.stop());
    }

    fn beat(&mut self, now: Timestamp) -> Result<(), RecordError> {
        if now >= self.next_beat {
            self.beats += 1;
            self.next_beat = now + BEAT;
            self.entries.iter().try_for_each(|entry| entry.book.beat(self.beats))?;
        }
        Ok(())
    }
}

impl Entry {
    fn open(job: Job, now: Timestamp) -> Result<Self, BookError> {
        let book = Book::of(&job.output, &job.name);
        book.take(&job.name)?;
        let history = book.history();
        let mut settled = now;
        let mut pending = None;
        if let Some(table) = &job.cron {
            let known = format!("{} {}", table.text(), table.zone().unwrap_or_default());
            let last = history.last().map(|(fire, _)| fire.due);
            settled = book.known_since(&known, now)?.max(last.unwrap_or(Timestamp::MIN));
            let ran = |end: &Option<FireEnd>| end.as_ref().is_none_or(|end| end.outcome.is_of_batch());
            if let Some((fire, end)) = history.iter().rfind(|(_, end)| ran(end)) {
                let cut_off = end.as_ref().is_none_or(|end| end.outcome == Outcome::Interrupted);
                let attempt = fire.attempt + 1;
                let again = Pending { due: fire.due, missed: fire.missed, attempt, why: Why::Resumed };
                pending = cut_off.then_some(again);
            }
        }
        let (fed, watcher) = (book.fed(), Watcher::default());
        let settles = job.watch.as_ref().map_or(now, |rule| now + seconds(rule.stable_s + rule.every_s));
        Ok(Self {
            job,
            book,
            settled,
            pending,
            open: None,
            watcher,
            fed,
            next_look: now,
            settles,
            wrong: None,
        })
    }

    /// Takes note of a batch that has ended; whether that was well, if there is one.
    fn finish(&mut self, now: Timestamp, tell: Tell<'_>) -> Result<bool, RecordError> {
        let Some(ended) = self.open.as_mut().and_then(|open| open.running.poll()) else { return Ok(true) };
        let Some(open) = self.open.take() else { return Ok(true) };
        let outcome = Outcome::of_exit(ended.exit);
        for said in &ended.said {
            tell(&format!("warning: job `{}`: {said}", self.job.name));
        }
        if outcome != Outcome::Interrupted {
            self.book.feed(&open.fed)?;
            self.fed.extend(open.fed);
        }
        tell(&format!("job `{}`: {}", self.job.name, outcome.name()));
        self.book.end(&open.fire, &FireEnd::new(outcome, ended, now))?;
        Ok(outcome == Outcome::Done)
    }

    /// Looks through a watched folder.
    fn look(&mut self, now: Timestamp, look: &mut dyn Look, tell: Tell<'_>) -> Result<(), RecordError> {
        let Some(rule) = self.job.watch.as_ref().filter(|_| now >= self.next_look) else { return Ok(()) };
        self.next_look = now + seconds(rule.every_s);
        match look.cases(&self.job) {
            Ok(cases) => {
                self.wrong = None;
                self.watcher.observe(cases, now, rule, &self.book)?;
            }
            Err(wrong) => {
                if self.wrong.as_ref() != Some(&wrong) {
                    tell(&format!("warning: job `{}`: {wrong}", self.job.name));
                }
                self.wrong = Some(wrong);
            }
        }
        Ok(())
    }

    /// Whether its time has come, or cases have.
    fn come_due(&mut self, now: Timestamp, tell: Tell<'_>) -> Result<(), RecordError> {
        let Some(table) = &self.job.cron else {
            let arrived = self.open.is_none() && !self.watcher.ready(&self.fed).new.is_empty();
            if arrived {
                self.pending = Some(Pending { due: now, missed: 0, attempt: 1, why: Why::Arrived });
            }
            return Ok(());
        };
        let Some(Due { latest, before }) = table.due(self.settled, now) else { return Ok(()) };
        self.settled = latest;
        let late = now.duration_since(latest) > LATE;
        let (missed, why) = (before, if late || before > 0 { Why::CaughtUp } else { Why::Time });
        let pending = Pending { due: latest, missed, attempt: 1, why };
        if late && self.job.missed == Missed::Skip {
            return self.leave_out(&pending, Outcome::Missed, now, tell);
        }
        if self.open.is_some() && self.job.overlap == Overlap::Skip {
            return self.leave_out(&pending, Outcome::Skipped, now, tell);
        }
        self.pending = Some(pending);
        Ok(())
    }

    /// Records that a start did not come about.
    fn leave_out(
        &self,
        pending: &Pending,
        outcome: Outcome,
        now: Timestamp,
        tell: Tell<'_>,
    ) -> Result<(), RecordError> {
        let fire = pending.fire(now);
        if self.book.start(&fire)? {
            tell(&format!("job `{}`: {}", self.job.name, outcome.name()));
            self.book.end(&fire, &FireEnd::new(outcome, Ended::default(), now))?;
        }
        Ok(())
    }

    /// Starts what waits; whether a batch runs now.
    fn begin(
        &mut self,
        now: Timestamp,
        batches: &mut dyn Batches,
        tell: Tell<'_>,
    ) -> Result<bool, RecordError> {
        let Some(pending) = self.pending else { return Ok(false) };
        // A batch may have outlived its scheduler, or a person may have started one.
        if batches.is_at_work(&self.job) {
            return Ok(false);
        }
        let ready = self.watcher.ready(&self.fed);
        let mut fire = pending.fire(now);
        let mut fed = BTreeMap::new();
        if self.job.watch.is_some() {
            if self.job.cron.is_some() && self.watcher.is_settling() && now < self.settles {
                return Ok(false);
            }
            let chosen = if self.job.cron.is_some() { &ready.all } else { &ready.new };
            fed.clone_from(&ready.all);
            if ready.others {
                fed.clone_from(chosen);
                fire.only = Some(chosen.keys().cloned().collect());
            }
        }
        self.pending = None;
        if self.job.watch.is_some() && fed.is_empty() {
            return self.leave_out(&pending, Outcome::NothingReady, now, tell).map(|()| false);
        }
        if !self.book.start(&fire)? {
            return Ok(false);
        }
        tell(&self.begun(&fire));
        match batches.start(&Order { job: &self.job, fire: &fire }) {
            Ok(running) => {
                self.open = Some(Open { fire, fed, running });
                Ok(true)
            }
            Err(said) => {
                tell(&format!("error: job `{}`: {said}", self.job.name));
                let ended = Ended { said: vec![said], ..Ended::default() };
                self.book.end(&fire, &FireEnd::new(Outcome::CouldNotRun, ended, now)).map(|()| false)
            }
        }
    }

    /// `job `night` starts: its time, Tue 2026-11-24 02:30 CET`.
    fn begun(&self, fire: &Fire) -> String {
        let due = self.job.cron.as_ref().map(|table| format!(", {}", table.shown(fire.due)));
        let missed = (fire.missed > 0).then(|| format!(", and {} before it", fire.missed));
        let only = fire.only.as_ref().map(|only| format!(", {} of the subjects", only.len()));
        let more: String = [due, missed, only].into_iter().flatten().collect();
        format!("job `{}` starts: {}{more}", self.job.name, fire.why.name())
    }
}
