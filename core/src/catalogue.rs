//! What the checker asks about operators. The registry of loaded plugins answers; so can a list written by hand.

use sdk::export::OperatorDescription;
use sdk::{Interface, OperatorError, Wiring};
use serde::Serialize;
use std::fmt;

/// An operator and the plugin it comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct OperatorRef {
    /// The plugin's name, as it describes itself.
    pub plugin: String,
    /// The operator's name in that plugin.
    pub name: String,
}

impl fmt::Display for OperatorRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.plugin, self.name)
    }
}

/// An operator that was found by name.
#[derive(Clone, Debug)]
pub struct Found<'a> {
    /// Which it is.
    pub operator: OperatorRef,
    /// Its ports, settings and role.
    pub description: &'a OperatorDescription,
}

/// Why no operator was found by a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lookup {
    /// No plugin offers it.
    #[error("no loaded plugin offers it")]
    Unknown,
    /// More than one plugin offers it: their operators as `plugin:operator`.
    #[error("{} offer it", .0.join(" and "))]
    Ambiguous(Vec<String>),
}

/// The operators that workflows can name.
pub trait Catalogue {
    /// All of them, in a fixed order.
    fn operators(&self) -> Vec<OperatorRef>;

    /// The operator called `name`: `operator`, or `plugin:operator` where two plugins offer the same.
    ///
    /// # Errors
    /// [`Lookup`] if there is none or more than one.
    fn find(&self, name: &str) -> Result<Found<'_>, Lookup>;

    /// The operator's ports for one pattern of presence, as its plugin answers. Asked again and again for the same
    /// question, it gives the same answer.
    ///
    /// # Errors
    /// The operator's refusal, or its failure.
    fn interface(
        &self,
        operator: &OperatorRef,
        settings: &serde_json::Value,
        wiring: &Wiring,
    ) -> Result<Interface, OperatorError>;
}

#[cfg(test)]
pub(crate) mod fake;
