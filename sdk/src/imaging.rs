//! Pure functions on volumes that two or more plugins use.
