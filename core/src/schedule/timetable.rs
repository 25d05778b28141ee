//! When a job is due: a cron expression in a time zone.
//!
//! Clocks that are put forward or back follow the rule of Vixie cron: a fixed time that a day leaves out comes at the first moment
//! after the gap, one that a day has twice comes the first time only; a job of every so many minutes or hours simply goes on.

use crate::fault;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Why a time table cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TimetableError {
    /// The expression is no cron expression.
    #[error("`{text}` is no cron expression: {reason}")]
    Cron {
        /// What was written.
        text: String,
        /// What is wrong.
        reason: String,
    },
    /// The expression names no day that ever comes.
    #[error("`{text}` never comes")]
    Never {
        /// What was written.
        text: String,
    },
    /// Nobody knows the time zone.
    #[error("there is no time zone `{name}`")]
    Zone {
        /// What was written.
        name: String,
        /// One that was probably meant.
        near: Option<String>,
    },
}

impl TimetableError {
    /// The way out.
    pub fn hint(&self) -> String {
        match self {
            Self::Cron { .. } => {
                "five fields: minute, hour, day of month, month, day of week, as in `30 2 * * *` (each night at 2:30)".to_owned()
            }
            Self::Never { .. } => "is there such a day in that month?".to_owned(),
            Self::Zone { near: Some(near), .. } => format!("did you mean `{near}`?"),
            Self::Zone { .. } => "write it as in `Europe/Oslo`, `America/New_York` or `UTC`".to_owned(),
        }
    }
}

/// A cron expression in a time zone.
#[derive(Clone, Debug)]
pub struct Timetable {
    text: String,
    cron: Cron,
    zone: TimeZone,
}

/// Times that have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// The last of them.
    pub latest: Timestamp,
    /// How many came before it.
    pub before: u32,
}

impl Timetable {
    /// A cron expression of five fields (or `@daily` and the like), in a time zone by its name; by default the machine's.
    ///
    /// # Errors
    /// [`TimetableError`].
    pub fn new(text: &str, zone: Option<&str>) -> Result<Self, TimetableError> {
        let wrong = |error: &croner::errors::CronError| TimetableError::Cron {
            text: text.to_owned(),
            reason: error.to_string().trim_end_matches('.').to_owned(),
        };
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(text).map_err(|error| wrong(&error))?;
        let zone = zone.map_or_else(|| Ok(TimeZone::system()), find_zone)?;
        let table = Self { text: text.trim().to_owned(), cron, zone };
        // The calendar repeats after 400 years, and 29 February comes each 8 at least.
        let never = table.after(Timestamp::UNIX_EPOCH).is_none();
        if never { Err(TimetableError::Never { text: table.text }) } else { Ok(table) }
    }

    /// The expression as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The expression's fields.
    pub(super) const fn cron(&self) -> &Cron {
        &self.cron
    }

    /// The time zone's name; none if the machine's has none.
    pub fn zone(&self) -> Option<&str> {
        self.zone.iana_name()
    }

    /// The next due time after a moment.
    pub fn after(&self, moment: Timestamp) -> Option<Timestamp> {
        let next = self.cron.find_next_occurrence(&moment.to_zoned(self.zone.clone()), false).ok()?;
        Some(next.timestamp())
    }

    /// What was due after one moment, up to another and with it.
    pub fn due(&self, after: Timestamp, now: Timestamp) -> Option<Due> {
        let mut times = std::iter::successors(self.after(after), |time| self.after(*time));
        let first = times.next().filter(|first| *first <= now)?;
        let mut due = Due { latest: first, before: 0 };
        for time in times.take_while(|time| *time <= now) {
            due = Due { latest: time, before: due.before.saturating_add(1) };
        }
        Some(due)
    }

    /// A moment as people in the time zone say it: `Tue 2026-11-24 02:30 CET`.
    pub fn shown(&self, moment: Timestamp) -> String {
        moment.to_zoned(self.zone.clone()).strftime("%a %Y-%m-%d %H:%M %Z").to_string()
    }
}

fn find_zone(name: &str) -> Result<TimeZone, TimetableError> {
    TimeZone::get(name).map_err(|_| {
        let known: Vec<String> = jiff::tz::db().available().map(|zone| zone.to_string()).collect();
        let near = fault::nearest(name, known.iter().map(String::as_str)).map(str::to_owned);
        TimetableError::Zone { name: name.to_owned(), near }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn times(cron: &str, zone: &str, from: &str, until: &str) -> Vec<String> {
        let table = Timetable::new(cron, Some(zone)).unwrap();
        let all = std::iter::successors(table.after(at(from)), |time| table.after(*time));
        all.take_while(|time| *time < at(until)).map(|time| time.to_string()).collect()
    }

    #[test]
    fn a_night_without_half_past_two_fires_once_after_the_gap() {
        // Oslo, 29 March 2026: at 2:00 the clock is put to 3:00, which is 01:00 UTC.
        let fired = times("30 2 * * *", "Europe/Oslo", "2026-03-27T12:00:00Z", "2026-03-31T12:00:00Z");
        let expected =
            ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z", "2026-03-31T00:30:00Z"];
        assert_eq!(fired, expected);
    }

    #[test]
    fn a_night_with_two_half_past_twos_fires_once() {
        // Oslo, 25 October 2026: at 3:00 the clock is put to 2:00, which is 01:00 UTC.
        let fired = times("30 2 * * *", "Europe/Oslo", "2026-10-23T12:00:00Z", "2026-10-27T12:00:00Z");
        let expected =
            ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z", "2026-10-27T01:30:00Z"];
        assert_eq!(fired, expected);
    }

    #[test]
    fn every_half_hour_goes_on_through_both_days() {
        for day in ["2026-03-29", "2026-10-25"] {
            let (from, until) = (format!("{day}T00:00:00Z"), format!("{day}T03:00:00Z"));
            let fired = times("*/30 * * * *", "Europe/Oslo", &from, &until);
            let expected: Vec<String> = ["00:30", "01:00", "01:30", "02:00", "02:30"]
                .map(|time| format!("{day}T{time}:00Z"))
                .to_vec();
            assert_eq!(fired, expected);
        }
    }

    #[test]
    fn what_was_due_is_told_with_how_often_it_was_missed() {
        let table = Timetable::new("0 3 * * *", Some("UTC")).unwrap();
        assert_eq!(table.due(at("2026-11-20T03:00:00Z"), at("2026-11-21T02:59:59Z")), None);
        let due = table.due(at("2026-11-20T03:00:00Z"), at("2026-11-24T12:00:00Z"));
        assert_eq!(due, Some(Due { latest: at("2026-11-24T03:00:00Z"), before: 3 }));
    }

    #[test]
    fn what_is_no_time_table_is_said_with_the_way_out() {
        let wrong = |cron: &str, zone| {
            let error = Timetable::new(cron, zone).unwrap_err();
            format!("{error}\n{}", error.hint())
        };
        assert!(wrong("every night", None).starts_with("`every night` is no cron expression"));
        assert!(wrong("61 2 * * *", None).contains("is no cron expression"), "{}", wrong("61 2 * * *", None));
        assert!(wrong("0 0 2 * * *", None).contains("five fields"));
        assert_eq!(wrong("0 0 30 2 *", None), "`0 0 30 2 *` never comes\nis there such a day in that month?");
        let zone = wrong("0 0 * * *", Some("Europe/Olso"));
        assert_eq!(zone, "there is no time zone `Europe/Olso`\ndid you mean `Europe/Oslo`?");
        assert_eq!(Timetable::new("0 0 29 2 *", Some("UTC")).unwrap().zone(), Some("UTC"));
    }
}
