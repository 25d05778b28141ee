//! The Neuroloom engine.

pub mod catalogue;
pub mod fault;
pub mod plan;
