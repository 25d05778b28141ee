//! Pure functions on volumes that two or more plugins use.

pub mod components;
pub mod diameter;
pub mod distance;
pub mod gradient;
pub mod hessian;
pub mod histogram;
pub mod resample;
pub mod smooth;
