//! Small arithmetic on volumes.
