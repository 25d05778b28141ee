//! What was computed before, found again by content.
//!
//! A stage's result has a [key](KeyParts): all that decides it, as one digest. [`Memo`] knows the content of files without
//! reading them again.

mod digest;
mod key;
mod memo;

pub use digest::{Digest, NoDigest};
pub use key::{KEY_VERSION, KeyParts};
pub use memo::{FileState, Memo, RACY, Stamp};
