//! What travels on an edge: a value, or the mere knowledge of what it would be.

use crate::store::Digest;
use sdk::Value;

/// A value and the digest of its content. In a run that keeps nothing there is no digest; where a stored result makes the
/// value needless, there is no value.
#[derive(Clone, Debug, Default)]
pub(super) struct Parcel {
    /// What the value holds.
    pub(super) digest: Option<Digest>,
    /// The value, if anybody needs it.
    pub(super) value: Option<Value>,
}

/// What arrives on an edge for a case.
#[derive(Clone)]
pub(super) enum Arrival {
    /// A value.
    Value(Box<Parcel>),
    /// Nothing, by plan.
    Absent,
    /// Nothing, because something failed: what, and why.
    Cancelled(std::sync::Arc<str>),
}

/// `port`, or `port.member` for a member of a set.
pub(super) fn port_name(port: &str, member: &str) -> String {
    if member.is_empty() { port.to_owned() } else { format!("{port}.{member}") }
}
