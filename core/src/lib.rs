//! The Neuroloom engine.
//!
//! TOML text becomes a checked [`plan::Graph`] ([`workflow`], [`graph`]), the plugins it names are found and verified
//! ([`registry`]), and [`runner`] runs it for cases; [`publish`] writes what they made. [`cli`] is the program around it.

pub mod batch;
pub mod capability;
pub mod case;
pub mod catalogue;
pub mod cli;
pub mod compare;
pub mod fault;
pub mod graph;
pub mod group;
mod host;
pub mod learned;
pub mod plan;
pub mod provenance;
pub mod publish;
pub mod record;
pub mod registry;
pub mod render;
pub mod replay;
pub mod review;
pub mod runner;
pub mod schedule;
pub mod schema;
pub mod site;
pub mod slurm;
pub mod store;
pub mod workflow;
pub mod xfm;
