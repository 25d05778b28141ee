//! The `neuroloom` program.

fn main() {}
