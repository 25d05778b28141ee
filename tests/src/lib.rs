//! What the tests from outside share: where things are, the built program, test images.

pub mod browser;
pub mod cohort;
pub mod scene;
pub mod slurm;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies below the root")
}

/// A folder of real images beside the repository; none where it is missing, and then the test says so.
pub fn shared_data(name: &str) -> Option<PathBuf> {
    let folder = root().parent()?.join("shared/data").join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    skipped(&format!("the images of shared/data/{name} are not here"));
    None
}

/// Says that a test looked at nothing.
#[expect(clippy::print_stderr, reason = "whoever runs the tests must see it")]
pub fn skipped(why: &str) {
    eprintln!("SKIPPED: {why}");
}

/// The folder of the built program and plugins, brought up to date first: `cargo test` alone does not build plugins.
///
/// # Panics
/// When they cannot be built.
pub fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(root()).args(["build", "--release", "--quiet"]);
        // `cargo test` sets what `.cargo/config.toml` says; found in the environment it would build the torch bindings anew.
        cargo.env_remove("LIBTORCH");
        if root().join("third_party/libtorch").exists() {
            cargo.arg("--workspace");
        }
        assert!(cargo.status().expect("cargo runs").success(), "the workspace builds");
        target()
    })
}

/// `target/release`, where this test itself was built.
fn target() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a file");
    let folder =
        test.ancestors().find(|folder| folder.join("build").is_dir() && folder.join("deps").is_dir());
    folder.expect("tests lie in the target folder").to_owned()
}

/// The plugin that does everything wrong. `cargo test` builds it as an example.
pub fn hostile() -> PathBuf {
    target().join("examples").join(format!(
        "{}hostile{}",
        std::env::consts::DLL_PREFIX,
        std::env::consts::DLL_SUFFIX
    ))
}

/// Lets cargo work on the example plugin, outside the workspace.
///
/// # Panics
/// When cargo cannot be started.
pub fn example_plugin(subcommand: &str) -> Finished {
    let cargo = || {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(root().join("examples/minimal_plugin"));
        cargo.args(["--quiet", subcommand, "--release", "--locked", "--target-dir"]);
        cargo.arg(root().join("target/minimal_plugin"));
        cargo
    };
    // What the workspace has fetched is enough as a rule; where it is not, cargo may fetch.
    let offline = finish(cargo().arg("--offline"));
    if offline.code == Some(0) { offline } else { finish(&mut cargo()) }
}

/// The folder of the built example plugin.
///
/// # Panics
/// When it cannot be built.
pub fn example_plugin_dir() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let built = example_plugin("build");
        assert_eq!(built.code, Some(0), "the example plugin builds: {}", built.stderr);
        root().join("target/minimal_plugin/release")
    })
}

/// The built program.
pub fn neuroloom() -> Command {
    let mut command = Command::new(built().join("neuroloom"));
    command
        .current_dir(root())
        .env("NO_COLOR", "1")
        // Each test binary begins with an empty cache, and nobody's own is touched.
        .env("XDG_CACHE_HOME", scene::scratch().join("cache"))
        .env_remove("NEUROLOOM_PLUGIN_PATH")
        .env_remove("NEUROLOOM_LOG");
    command
}

/// Runs a command to its end.
///
/// # Panics
/// When it cannot be started.
pub fn finish(command: &mut Command) -> Finished {
    let Output { status, stdout, stderr } = command.output().expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Finished { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

/// How a command ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// What it printed as data.
    pub stdout: String,
    /// What it said.
    pub stderr: String,
}
