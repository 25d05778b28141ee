//! `neuroloom doctor`.

use super::{Common, Exit, Failure, print};
use crate::registry::{Registry, search_path};
use crate::site::Site;

/// Looks at what a run needs, and says what is missing.
pub(super) fn doctor(common: &Common) -> Result<Exit, Failure> {
    let site = Site::find(common.site.as_deref())?;
    let folders = search_path(&common.plugin_dirs, &site.plugins.folders);
    let registry = Registry::discover(&folders);
    let mut fine = true;
    let mut tell = |good: bool, what: &str| {
        fine &= good;
        print(&format!("{} {what}", if good { "ok      " } else { "problem " }));
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    tell(
        true,
        &format!(
            "neuroloom {}, ABI {}.{}",
            env!("CARGO_PKG_VERSION"),
            sdk::abi::ABI_MAJOR,
            sdk::abi::ABI_MINOR
        ),
    );
    tell(
        true,
        &format!(
            "{cores} cores{}",
            memory().map(|gib| format!(", {gib:.1} GiB of memory available")).unwrap_or_default()
        ),
    );
    let scratch = site.run.scratch.clone().unwrap_or_else(std::env::temp_dir);
    match tempfile::tempfile_in(&scratch) {
        Ok(_) => tell(true, &format!("scratch folder {}", scratch.display())),
        Err(error) => tell(false, &format!("scratch folder {}: {error}", scratch.display())),
    }
    for folder in folders.iter().filter(|folder| folder.named && !folder.path.is_dir()) {
        tell(false, &format!("plugin folder {}: no such folder", folder.path.display()));
    }
    for plugin in registry.plugins() {
        let operators: Vec<&str> = plugin.description.operators.iter().map(|o| o.name.as_str()).collect();
        tell(true, &format!("plugin {}: {}", plugin.description.name, operators.join(", ")));
    }
    if registry.plugins().is_empty() {
        tell(false, "no plugin was found; name their folder with --plugin-dir");
    }
    for rejected in registry.rejected() {
        tell(
            false,
            &format!("plugin {} {}", rejected.path.display(), rejected.error.to_string().replace('\n', "; ")),
        );
    }
    Ok(if fine { Exit::Fine } else { Exit::SomeFailed })
}

/// GiB that programs can still have, where the system tells.
fn memory() -> Option<f64> {
    /// KiB in a GiB.
    const KIB_PER_GIB: f64 = 1024.0 * 1024.0;
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<f64>().ok().map(|kib| kib / KIB_PER_GIB)
}
