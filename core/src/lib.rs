//! The Neuroloom engine.

pub mod catalogue;
pub mod fault;
pub mod graph;
pub mod plan;
pub mod render;
pub mod schema;
pub mod workflow;
