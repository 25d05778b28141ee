//! Synthetic cases with known truth.
