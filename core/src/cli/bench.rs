//! `neuroloom bench`: times an operator by the program that its plugin brings for that, `bench_OPERATOR` beside the library. The engine
//! itself knows nothing of what is measured.

use super::{Common, Exit, Failure, print};
use crate::registry::{programs_in, search_path};
use crate::site::Site;
use clap::Args;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

/// What such a program's name begins with.
const PREFIX: &str = "bench_";
/// How a program says that its arguments are wrong.
const WRONG_ARGUMENTS: i32 = 2;

#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    /// What to time; without it all that can be timed is listed
    operator: Option<String>,
    /// Arguments of the program that times it, passed on as they are
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

pub(super) fn bench(common: &Common, args: &BenchArgs) -> Result<Exit, Failure> {
    let site = Site::find(common.site.as_deref())?;
    let mut programs: BTreeMap<String, PathBuf> = BTreeMap::new();
    for folder in search_path(&common.plugin_dirs, &site.plugins.folders) {
        for (name, path) in programs_in(&folder.path, PREFIX) {
            programs.entry(name).or_insert(path);
        }
    }
    let names: Vec<&str> = programs.keys().map(String::as_str).collect();
    let Some(operator) = &args.operator else {
        print(&names.join("\n"));
        return Ok(Exit::Fine);
    };
    let Some(program) = programs.get(operator) else {
        let listed =
            if names.is_empty() { "nothing".to_owned() } else { format!("`{}`", names.join("`, `")) };
        return Err(Failure::new(format!(
            "no plugin folder holds a program `{PREFIX}{operator}`\nhint: {listed} can be timed here"
        )));
    };
    let status = std::process::Command::new(program).args(&args.arguments).status();
    let status = status.map_err(|error| Failure::new(format!("{}: {error}", program.display())))?;
    Ok(match status.code() {
        Some(0) => Exit::Fine,
        Some(WRONG_ARGUMENTS) => Exit::Nothing,
        _ => Exit::SomeFailed,
    })
}
