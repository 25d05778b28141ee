//! Why an operator did not deliver.

use serde::{Deserialize, Serialize};

/// What sort of end it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// The operator says no: bad input, no brain found, out of memory.
    Failed,
    /// The operator cannot work with this wiring or these settings, whatever the data.
    Refused,
    /// The operator stopped because it was asked to.
    Cancelled,
    /// The operator's code panicked: a bug in the plugin.
    Panicked,
}

/// Why an operator did not deliver: what was found, which limit, and the way out.
///
/// Every `std::error::Error` turns into one with `?`; a line `hint: …` in its text becomes the hint. (It is no
/// `std::error::Error` itself, for that very conversion.)
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorError {
    /// What sort of end.
    pub cause: Cause,
    /// Found value before expected one; lower case, no full stop.
    pub message: String,
    /// The way out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Where a panic happened, `file:line:column`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// How a panic came there, for the debug log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backtrace: Option<String>,
}

impl OperatorError {
    fn of(cause: Cause, message: impl Into<String>) -> Self {
        Self { cause, message: message.into(), hint: None, location: None, backtrace: None }
    }

    /// The operator cannot deliver.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::of(Cause::Failed, message)
    }

    /// The operator cannot work with this wiring or these settings.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::of(Cause::Refused, message)
    }

    /// The operator stopped when asked to.
    pub fn cancelled() -> Self {
        Self::of(Cause::Cancelled, "stopped on request")
    }

    /// The operator's code panicked.
    pub fn panicked(message: impl Into<String>, location: Option<String>, backtrace: Option<String>) -> Self {
        Self { location, backtrace, ..Self::of(Cause::Panicked, message) }
    }

    /// The same with a way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl<E: std::error::Error> From<E> for OperatorError {
    fn from(error: E) -> Self {
        let mut message = String::new();
        let mut hint = None;
        for line in error.to_string().lines() {
            if let Some(text) = line.trim_start().strip_prefix("hint: ") {
                hint = Some(text.to_owned());
            } else {
                let gap = if message.is_empty() { "" } else { " " };
                message = format!("{message}{gap}{}", line.trim());
            }
        }
        let mut source = error.source();
        while let Some(inner) = source {
            let text = inner.to_string();
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            source = inner.source();
        }
        Self { hint, ..Self::failed(message) }
    }
}

impl std::fmt::Display for OperatorError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        if let Some(location) = &self.location {
            write!(f, " (at {location})")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("no brain found between 0 and 0\nhint: is this a head?")]
    struct NoBrain;

    #[test]
    fn a_hint_line_of_an_error_becomes_the_hint() {
        let error = OperatorError::from(NoBrain);
        assert_eq!(error.message, "no brain found between 0 and 0");
        assert_eq!(error.hint.as_deref(), Some("is this a head?"));
    }
}
