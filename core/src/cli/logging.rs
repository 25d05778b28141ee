//! Log lines on stderr: for people, or as JSON.

use super::progress::Stderr;
use super::{Common, LogFormat, colour};
use std::sync::OnceLock;
use tracing_subscriber::EnvFilter;

static FORMAT: OnceLock<LogFormat> = OnceLock::new();

/// Whether all that goes to stderr is JSON.
pub(super) fn is_json() -> bool {
    FORMAT.get() == Some(&LogFormat::Json)
}

/// Sets up the log for the life of the process; `NEUROLOOM_LOG` overrides `-v`.
pub(super) fn install(common: &Common) {
    FORMAT.get_or_init(|| common.log_format);
    let level = match (common.verbose, common.log_format) {
        (0, LogFormat::Text) => "warn",
        (0, LogFormat::Json) | (1, _) => "info",
        (2, _) => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_env("NEUROLOOM_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Stderr);
    match common.log_format {
        LogFormat::Text => builder.with_ansi(colour()).without_time().with_target(common.verbose > 1).init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).init(),
    }
}
