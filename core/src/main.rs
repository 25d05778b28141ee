//! The `neuroloom` program: arguments in, exit code out.

fn main() -> std::process::ExitCode {
    neuroloom_core::cli::main()
}
