//! `neuroloom.toml`: what belongs to a place and not to a method.
//!
//! Read from `--site`, else the first of: working folder, `$XDG_CONFIG_HOME/neuroloom` (or `~/.config/neuroloom`),
//! `/etc/neuroloom`.

use crate::case::Orientation;
use crate::publish::Policy;
use crate::slurm::SlurmSite;
use crate::store::{DEFAULT_MAX_GIB, GIB};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Name of the file.
pub const SITE_FILE: &str = "neuroloom.toml";

/// A site's configuration.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Site {
    /// Where plugins are.
    pub plugins: Plugins,
    /// Defaults of runs.
    pub run: RunDefaults,
    /// How cohorts are run.
    pub batch: Batch,
    /// How folders that are no BIDS data sets are laid out, by name: `[layouts.ours]`.
    pub layouts: BTreeMap<String, Layout>,
    /// Where results are kept for later runs.
    pub cache: Cache,
    /// How Slurm is asked for what cases need.
    pub slurm: SlurmSite,
    /// Tables for single plugins, by their names: `[plugin.segment] torch_lib = "…"`.
    pub plugin: BTreeMap<String, serde_json::Value>,
}

/// `[plugins]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plugins {
    /// Folders to look for plugins in, before those beside the program; relative to the file.
    pub folders: Vec<PathBuf>,
}

/// `[layouts.NAME]`: where the files of a cohort are that is no BIDS data set.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Layout {
    /// Below the cohort's folder: `{subject}/{session}/{input}.nii.gz`; `*` is anything. With `/*.png` at its end each input
    /// is a folder of slices. Not needed for `brats-mets` and `brain-met-share`, which are known.
    pub files: Option<String>,
    /// For a workflow's input what `{input}` is; by default its own name.
    pub inputs: BTreeMap<String, LayoutFile>,
    /// Distance of columns, rows and slices, where the files do not say it.
    pub spacing_mm: Option<[f64; 3]>,
    /// Where columns, rows and slices run to, where the files do not say it: `LPS`.
    pub orientation: Option<Orientation>,
}

/// Which file of a layout an input is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum LayoutFile {
    /// What `{input}` is.
    Named(String),
    /// `false`: the cohort has no such file.
    Absent(Absence),
}

/// `false`, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "bool")]
pub struct Absence;

impl TryFrom<bool> for Absence {
    type Error = &'static str;

    fn try_from(there: bool) -> Result<Self, Self::Error> {
        if there { Err("write the file's name, or `false` if there is none") } else { Ok(Self) }
    }
}

/// `[run]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunDefaults {
    /// Threads that may work at a time; all cores unless set.
    pub threads: Option<usize>,
    /// Memory for stages that declare their peak, in MiB; no limit unless set.
    pub memory_mib: Option<u64>,
    /// Device of stages that name none; `auto` unless set.
    pub device: Option<String>,
    /// Where scratch folders are made; the system's temporary folder unless set.
    pub scratch: Option<PathBuf>,
}

/// `[cache]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    /// The folder, relative to the file; `$XDG_CACHE_HOME/neuroloom/store` or `~/.cache/neuroloom/store` unless set.
    pub folder: Option<PathBuf>,
    /// How much it may hold, in GiB; 0 or more.
    #[serde(deserialize_with = "not_negative")]
    pub max_gib: f64,
}

impl Default for Cache {
    fn default() -> Self {
        Self { folder: None, max_gib: DEFAULT_MAX_GIB }
    }
}

impl Cache {
    /// Where results are kept: in `named` (from the command line), else where the site says, else in the user's cache folder.
    /// Nothing for a user without a home.
    pub fn place(&self, named: Option<&Path>) -> Option<PathBuf> {
        let chosen = named.or(self.folder.as_deref()).map(Path::to_owned);
        chosen
            .or_else(|| user_folder("XDG_CACHE_HOME", ".cache").map(|folder| folder.join("neuroloom/store")))
    }

    /// How much may be kept, in bytes.
    pub fn limit_bytes(&self) -> u64 {
        (self.max_gib * GIB) as u64
    }
}

fn not_negative<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let number = f64::deserialize(deserializer)?;
    if number.is_finite() && number >= 0.0 {
        return Ok(number);
    }
    Err(serde::de::Error::custom(format!("{number} where 0 or more GiB are expected")))
}

/// `[batch]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Batch {
    /// How many replaced results of a case are kept.
    pub keep_replaced: usize,
    /// Where cases run unless `--executor` says it.
    pub executor: Executor,
    /// Whether the columns of the raw data set's `participants.tsv` are copied into the output's.
    pub copy_participants: bool,
}

/// Where the cases of a batch run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Executor {
    /// In this process.
    #[default]
    Local,
    /// As an array of Slurm's, with nobody logged in.
    Slurm,
}

impl Default for Batch {
    fn default() -> Self {
        Self { keep_replaced: 1, executor: Executor::Local, copy_participants: true }
    }
}

impl Batch {
    /// What is wanted of output folders; `keep_replaced` as on the command line.
    pub fn policy(&self, keep_replaced: Option<usize>) -> Policy {
        Policy {
            keep_replaced: keep_replaced.unwrap_or(self.keep_replaced),
            copy_participants: self.copy_participants,
        }
    }
}

/// Why a site file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// It cannot be read.
    #[error("{}: {source}\nhint: `--site` names a TOML file with the tables `plugins`, `run`, `batch`, `slurm`, `cache`, `layouts` and `plugin`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It is no valid site file.
    #[error("{}: {source}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its line.
        source: Box<toml::de::Error>,
    },
}

impl Site {
    /// The site's configuration: the named file, or the first that is found; all defaults if there is none.
    ///
    /// # Errors
    /// [`SiteError`] if the file cannot be read or has keys that mean nothing.
    pub fn find(named: Option<&Path>) -> Result<Self, SiteError> {
        let file = named.map(Path::to_owned).or_else(|| places().into_iter().find(|path| path.is_file()));
        file.map_or_else(|| Ok(Self::default()), |path| Self::read(&path))
    }

    fn read(path: &Path) -> Result<Self, SiteError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| SiteError::Unreadable { path: path.to_owned(), source })?;
        let mut site: Self = toml::from_str(&text)
            .map_err(|source| SiteError::Invalid { path: path.to_owned(), source: Box::new(source) })?;
        let folder = path.parent().unwrap_or(Path::new("."));
        for plugins in &mut site.plugins.folders {
            *plugins = folder.join(&*plugins);
        }
        site.cache.folder = site.cache.folder.map(|cache| folder.join(cache));
        Ok(site)
    }
}

fn places() -> Vec<PathBuf> {
    let user = user_folder("XDG_CONFIG_HOME", ".config");
    let folders =
        [Some(PathBuf::from(".")), user.map(|f| f.join("neuroloom")), Some("/etc/neuroloom".into())];
    folders.into_iter().flatten().map(|folder| folder.join(SITE_FILE)).collect()
}

/// The folder that `variable` names, else `name` in the user's home.
fn user_folder(variable: &str, name: &str) -> Option<PathBuf> {
    let set = |variable: &str| std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from);
    set(variable).or_else(|| set("HOME").map(|home| home.join(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_is_an_error_and_folders_are_relative_to_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(SITE_FILE);
        std::fs::write(
            &path,
            "[plugins]\nfolders = [\"ours\"]\n[plugin.segment]\ntorch_lib = \"/opt/torch\"\n",
        )
        .unwrap();
        let site = Site::find(Some(&path)).unwrap();
        assert_eq!(site.plugins.folders, [folder.path().join("ours")]);
        assert_eq!(site.plugin["segment"]["torch_lib"], "/opt/torch");
        std::fs::write(&path, "[cache]\nfolder = \"kept\"\nmax_gib = 3\n").unwrap();
        let cache = Site::find(Some(&path)).unwrap().cache;
        assert_eq!(cache.place(None), Some(folder.path().join("kept")));
        assert_eq!(cache.place(Some(Path::new("named"))), Some("named".into()));
        assert_eq!(cache.limit_bytes(), 3 << 30);
        std::fs::write(&path, "[cache]\nmax_gib = -1\n").unwrap();
        assert!(Site::find(Some(&path)).unwrap_err().to_string().contains("0 or more GiB"));
        std::fs::write(&path, "[plugin]\n[pluggins]\nfolders = []\n").unwrap();
        assert!(Site::find(Some(&path)).unwrap_err().to_string().contains("pluggins"));
    }
}
