//! The Neuroloom engine.

pub mod catalogue;
pub mod fault;
pub mod graph;
pub mod plan;
pub mod workflow;
