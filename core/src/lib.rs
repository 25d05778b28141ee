//! The Neuroloom engine.
