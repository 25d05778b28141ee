//! `neuroloom cache`.

use super::{Common, Exit, Failure, Format, print, say};
use crate::record::timestamp;
use crate::site::Site;
use crate::store::{GIB, Store};
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub(super) struct CacheArgs {
    #[command(subcommand)]
    command: CacheCommand,
}

#[derive(Debug, Subcommand)]
enum CacheCommand {
    /// Tell how much is kept, and since when
    Stat(Which),
    /// Read all that is kept, and remove what is damaged
    Verify(Which),
    /// Remove what was not used for longest, down to the limit
    Gc {
        #[command(flatten)]
        which: Which,
        /// Down to so many GiB [default: `[cache] max_gib` of the site, or 20]
        #[arg(long, value_name = "GIB", value_parser = gib)]
        max_gib: Option<f64>,
        /// Remove all
        #[arg(long, conflicts_with = "max_gib")]
        all: bool,
    },
}

/// Which cache, and how the answer is written.
#[derive(Debug, Args)]
struct Which {
    /// Its folder [default: `[cache] folder` of the site, or ~/.cache/neuroloom/store]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// How the answer is written
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

fn gib(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| "a number of GiB, 0 or more, is expected".to_owned())
}

pub(super) fn cache(common: &Common, args: &CacheArgs) -> Result<Exit, Failure> {
    let site = Site::find(common.site.as_deref())?;
    Ok(match &args.command {
        CacheCommand::Stat(which) => stat(&open(&site, which)?, which.format),
        CacheCommand::Verify(which) => verify(&open(&site, which)?, which.format),
        CacheCommand::Gc { which, max_gib, all } => {
            let store = open(&site, which)?;
            let limit = if *all { 0 } else { max_gib.map_or(store.limit_bytes(), |gib| (gib * GIB) as u64) };
            gc(&store, limit, which.format)
        }
    })
}

/// The store that is meant. A folder that was named and holds none is probably a typo.
fn open(site: &Site, which: &Which) -> Result<Store, Failure> {
    let named = which.cache.as_deref();
    if let Some(folder) = named.filter(|folder| !Store::is_at(folder)) {
        return Err(Failure::new(format!(
            "--cache {}: no cache is there\nhint: name the folder that a run was given as `--cache`",
            folder.display()
        )));
    }
    open_store(site, named)
}

/// The store in the folder `named` on the command line, or else in the site's or the user's.
pub(super) fn open_store(site: &Site, named: Option<&Path>) -> Result<Store, Failure> {
    let homeless =
        || Failure::new("no folder for the cache: `HOME` is not set\nhint: name one with `--cache DIR`");
    let folder = site.cache.place(named).ok_or_else(homeless)?;
    Ok(Store::open(&folder, site.cache.limit_bytes())?)
}

fn stat(store: &Store, format: Format) -> Exit {
    let (survey, limit) = (store.survey(), store.limit_bytes());
    if format == Format::Json {
        print(&format!(
            "{:#}",
            json!({
                "folder": store.folder(), "entries": survey.entries, "bytes": survey.bytes, "limit_bytes": limit,
                "oldest_use": survey.oldest.map(timestamp), "newest_use": survey.newest.map(timestamp),
            })
        ));
        return Exit::Fine;
    }
    let mut lines = vec![
        format!("folder    {}", store.folder().display()),
        format!("results   {}", survey.entries),
        format!("size      {} of {} at most", size(survey.bytes), size(limit)),
    ];
    if let (Some(oldest), Some(newest)) = (survey.oldest, survey.newest) {
        lines.push(format!("last use  {} to {}", timestamp(oldest), timestamp(newest)));
    }
    print(&lines.join("\n"));
    Exit::Fine
}

fn verify(store: &Store, format: Format) -> Exit {
    let entries = store.survey().entries;
    let wrong = store.verify();
    if format == Format::Json {
        let damaged: Vec<String> = wrong.iter().map(ToString::to_string).collect();
        print(&format!("{:#}", json!({ "folder": store.folder(), "entries": entries, "damaged": damaged })));
    } else {
        for error in &wrong {
            print(&error.to_string());
        }
        let verdict = match wrong.len() {
            0 => "all are what was written".to_owned(),
            count => format!("{count} damaged, which will be computed again"),
        };
        say(&format!("{entries} results read: {verdict}"));
    }
    if wrong.is_empty() { Exit::Fine } else { Exit::SomeFailed }
}

fn gc(store: &Store, limit: u64, format: Format) -> Exit {
    let removed = store.collect(limit);
    let left = store.survey();
    if format == Format::Json {
        print(&format!(
            "{:#}",
            json!({
                "folder": store.folder(), "removed": removed.files, "freed_bytes": removed.bytes,
                "entries": left.entries, "bytes": left.bytes,
            })
        ));
    } else {
        print(&format!(
            "removed {} files ({}); {} results are left ({})",
            removed.files,
            size(removed.bytes),
            left.entries,
            size(left.bytes)
        ));
    }
    Exit::Fine
}

/// Bytes for people: `1.5 GiB`.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    /// One unit in the one before.
    const STEP: f64 = 1024.0;
    let mut number = bytes as f64;
    let mut unit = 0;
    while number >= STEP && unit + 1 < UNITS.len() {
        number /= STEP;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} {}", UNITS[0]) } else { format!("{number:.1} {}", UNITS[unit]) }
}
