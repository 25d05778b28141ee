//! Log lines on stderr: for people, or as JSON.

use super::progress::Stderr;
use super::{Common, LogFormat, colour};
use crate::batch::RunLog;
use std::sync::OnceLock;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt};

static FORMAT: OnceLock<LogFormat> = OnceLock::new();

/// Whether all that goes to stderr is JSON.
pub(super) fn is_json() -> bool {
    FORMAT.get() == Some(&LogFormat::Json)
}

/// Target of what people are told in another way: lines and bars on stderr. In JSON, and in the run's log, it is a line as any.
pub(super) const TOLD: &str = "neuroloom";

/// Sets up the log for the life of the process; `NEUROLOOM_LOG` overrides `-v`.
pub(super) fn install(common: &Common) {
    FORMAT.get_or_init(|| common.log_format);
    let level = match (common.verbose, common.log_format) {
        (0, LogFormat::Text) => "warn",
        (0, LogFormat::Json) | (1, _) => "info",
        (2, _) => "debug",
        _ => "trace",
    };
    let asked = EnvFilter::try_from_env("NEUROLOOM_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let in_run = fmt::layer().json().flatten_event(true).with_span_list(false).with_writer(|| RunLog);
    let all = tracing_subscriber::registry().with(in_run.with_filter(LevelFilter::INFO));
    let stderr = fmt::layer().with_writer(|| Stderr);
    match common.log_format {
        LogFormat::Text => {
            let people = stderr.with_ansi(colour()).without_time().with_target(common.verbose > 1);
            all.with(people.with_filter(asked.and(filter_fn(|line| line.target() != TOLD)))).init();
        }
        LogFormat::Json => {
            let programs = stderr.json().flatten_event(true).with_current_span(false);
            all.with(programs.with_filter(asked)).init();
        }
    }
}
