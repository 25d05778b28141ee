//! Finds, verifies and opens plugins.
//!
//! A file is opened only after its tag (plain bytes in the file) says that it is a plugin for an ABI this engine knows. Each
//! thing that can be wrong with a file ends in one line; plugins are never unloaded.

use crate::catalogue::{Catalogue, Found, Lookup, OperatorRef};
use crate::host::EngineLogger;
use crate::store::{Digest, Memo};
use object::{Object, ObjectSection};
use sdk::abi::load::Plugin;
use sdk::export::{OperatorDescription, PluginDescription};
use sdk::{Cause, Inspection, Interface, OperatorError, Place, Wiring};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A folder to look for plugins in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginFolder {
    /// Where.
    pub path: PathBuf,
    /// Whether the user named it: then files that are no plugins are reported, not passed over.
    pub named: bool,
}

/// A plugin that was verified and opened.
pub struct LoadedPlugin {
    /// Its file.
    pub path: PathBuf,
    /// What its tag says: `abi=1.2 sdk=0.1.0 rustc=1.95.0`.
    pub tag: String,
    /// What it offers.
    pub description: PluginDescription,
    plugin: Plugin,
    digest: OnceLock<String>,
}

/// A file that cannot be used, and why.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// The file.
    pub path: PathBuf,
    /// Why not, in one line.
    pub error: PluginError,
}

/// Why a file is not used as a plugin.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PluginError {
    /// The file cannot be read.
    #[error("cannot be read: {reason}")]
    Unreadable {
        /// The system's reason.
        reason: String,
    },
    /// Others may write to it.
    #[error("anyone may write to {what}\nhint: a plugin is code; take the right away with `chmod o-w`")]
    WorldWritable {
        /// The file or its folder.
        what: PathBuf,
    },
    /// Not a shared library of this system.
    #[error("is not a shared library: {reason}")]
    NotALibrary {
        /// What the file's head lacks.
        reason: String,
    },
    /// A library without our tag.
    #[error(
        "is a library, but no Neuroloom plugin (it has no tag)\nhint: does its crate call `export_plugin!`?"
    )]
    NoTag,
    /// A tag whose text cannot be understood.
    #[error("has an unreadable tag `{tag}`\nhint: build it again with a released SDK")]
    BadTag {
        /// Its text.
        tag: String,
    },
    /// Built for a layout this engine does not know.
    #[error("was built for ABI {found}, this engine has ABI {expected}\nhint: {hint}")]
    WrongAbi {
        /// The plugin's.
        found: String,
        /// Ours.
        expected: String,
        /// The way out.
        hint: &'static str,
    },
    /// The loader or the layout check refused it.
    #[error("cannot be opened: {reason}")]
    NotOpened {
        /// First line of the reason.
        reason: String,
    },
    /// It says nonsense about itself.
    #[error("describes itself wrongly: {reason}")]
    BadDescription {
        /// What is wrong.
        reason: String,
    },
    /// Another of that name was found first.
    #[error("is hidden by another plugin `{name}` at {first}")]
    Hidden {
        /// The name.
        name: String,
        /// The one in use.
        first: PathBuf,
    },
}

impl PluginError {
    /// The sentence and, apart from it, the hint.
    pub fn parts(&self) -> (String, Option<String>) {
        let text = self.to_string();
        match text.split_once("\nhint: ") {
            Some((message, hint)) => (message.to_owned(), Some(hint.to_owned())),
            None => (text, None),
        }
    }
}

/// All plugins of a run.
#[derive(Default)]
pub struct Registry {
    plugins: Vec<LoadedPlugin>,
    rejected: Vec<Rejected>,
}

impl Registry {
    /// Looks through the folders in order; the first plugin of a name wins.
    pub fn discover(folders: &[PluginFolder]) -> Self {
        let mut registry = Self::default();
        let mut seen = BTreeSet::new();
        for folder in folders {
            for path in libraries_in(&folder.path) {
                let real = path.canonicalize().unwrap_or_else(|_| path.clone());
                if !seen.insert(real) {
                    continue;
                }
                if let Err(error) = registry.add(&path) {
                    let silent = !folder.named
                        && matches!(error, PluginError::NoTag | PluginError::NotALibrary { .. });
                    if !silent {
                        registry.rejected.push(Rejected { path, error });
                    }
                }
            }
        }
        registry.plugins.sort_by(|a, b| a.description.name.cmp(&b.description.name));
        registry
    }

    /// Verifies and opens one file.
    ///
    /// # Errors
    /// [`PluginError`].
    pub fn add(&mut self, path: &Path) -> Result<(), PluginError> {
        refuse_world_writable(path)?;
        let tag = read_tag(path)?;
        check_abi(&tag)?;
        let plugin = sdk::abi::load::open(path).map_err(|error| {
            tracing::debug!(plugin = %path.display(), detail = error.detail, "not opened");
            PluginError::NotOpened { reason: error.summary }
        })?;
        plugin.attach(EngineLogger::object());
        let description = described(plugin)?;
        if let Some(first) = self.plugins.iter().find(|first| first.description.name == description.name) {
            return Err(PluginError::Hidden { name: description.name, first: first.path.clone() });
        }
        let path = path.to_owned();
        self.plugins.push(LoadedPlugin { path, tag, description, plugin, digest: OnceLock::new() });
        Ok(())
    }

    /// The plugins in use, by name.
    pub fn plugins(&self) -> &[LoadedPlugin] {
        &self.plugins
    }

    /// The files that could not be used.
    pub fn rejected(&self) -> &[Rejected] {
        &self.rejected
    }

    /// The plugin of that name.
    pub fn plugin(&self, name: &str) -> Option<&LoadedPlugin> {
        self.plugins.iter().find(|plugin| plugin.description.name == name)
    }
}

impl LoadedPlugin {
    /// BLAKE3 of its file, in hexadecimal: the build's identity.
    pub fn digest(&self) -> &str {
        self.digest.get_or_init(|| match std::fs::read(&self.path) {
            Ok(bytes) => blake3::hash(&bytes).to_hex().to_string(),
            Err(error) => format!("unreadable: {error}"),
        })
    }

    /// The same through a memo, so that the file is not read if its content is known; [`Self::digest`] then knows it, too.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn digest_by(&self, memo: &Memo) -> std::io::Result<Digest> {
        let digest = memo.digest_of(&self.path)?.digest;
        self.digest.get_or_init(|| digest.to_string());
        Ok(digest)
    }

    /// What decides an operator's results beside this file and the settings; empty if it says nothing.
    ///
    /// # Errors
    /// What the operator says.
    pub fn identity(
        &self,
        operator: &str,
        settings: &serde_json::Value,
        place: &Place,
    ) -> Result<String, OperatorError> {
        let place = serde_json::to_string(place)?;
        let answer =
            self.plugin.identity(operator, &settings.to_string(), &place).unwrap_or(Ok(String::new()));
        answer.map_err(|error| sdk::border::error_from_json(&error))
    }

    /// What an operator says of a model file; `None` if it reads none.
    ///
    /// # Errors
    /// Why the operator could not use the file.
    pub fn inspect(&self, operator: &str, file: &str) -> Result<Option<Inspection>, OperatorError> {
        let Some(answer) = self.plugin.inspect(operator, file) else { return Ok(None) };
        let text = answer.map_err(|error| sdk::border::error_from_json(&error))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// An operator ready to run.
    ///
    /// # Errors
    /// What the operator's `open` says.
    pub fn open(
        &self,
        operator: &str,
        settings: &serde_json::Value,
        place: &Place,
    ) -> Result<sdk::abi::OperatorObject, OperatorError> {
        let place = serde_json::to_string(place)?;
        let opened = self.plugin.open(operator, &settings.to_string(), &place);
        opened.map_err(|error| sdk::border::error_from_json(&error))
    }
}

impl Catalogue for Registry {
    fn operators(&self) -> Vec<OperatorRef> {
        let of = |plugin: &LoadedPlugin| {
            let name = plugin.description.name.clone();
            let list = plugin.description.operators.iter();
            list.map(|operator| OperatorRef { plugin: name.clone(), name: operator.name.clone() })
                .collect::<Vec<_>>()
        };
        self.plugins.iter().flat_map(of).collect()
    }

    fn find(&self, name: &str) -> Result<Found<'_>, Lookup> {
        let (plugin_name, operator_name) = match name.split_once(':') {
            Some((plugin, operator)) => (Some(plugin), operator),
            None => (None, name),
        };
        let mut found: Vec<Found<'_>> = Vec::new();
        for plugin in &self.plugins {
            if plugin_name.is_some_and(|wanted| wanted != plugin.description.name) {
                continue;
            }
            if let Some(description) = plugin.description.operators.iter().find(|o| o.name == operator_name) {
                let operator =
                    OperatorRef { plugin: plugin.description.name.clone(), name: operator_name.to_owned() };
                found.push(Found { operator, description });
            }
        }
        match found.len() {
            0 => Err(Lookup::Unknown),
            1 => Ok(found.remove(0)),
            _ => Err(Lookup::Ambiguous(found.iter().map(|f| f.operator.to_string()).collect())),
        }
    }

    fn interface(
        &self,
        operator: &OperatorRef,
        settings: &serde_json::Value,
        wiring: &Wiring,
    ) -> Result<Interface, OperatorError> {
        let lost = || OperatorError::failed(format!("plugin `{}` is not loaded", operator.plugin));
        let plugin = self.plugin(&operator.plugin).ok_or_else(lost)?;
        let wiring = serde_json::to_string(wiring)?;
        let answer = plugin.plugin.interface(&operator.name, &settings.to_string(), &wiring);
        let text = answer.map_err(|error| {
            let error = sdk::border::error_from_json(&error);
            match error.cause {
                Cause::Panicked => {
                    OperatorError { message: format!("its code panicked: {}", error.message), ..error }
                        .hint("this is a fault of the plugin: tell its author")
                }
                _ => error,
            }
        })?;
        Ok(serde_json::from_str(&text)?)
    }
}

/// The folders to search: the user's, the environment's, the site's, then those beside the program.
pub fn search_path(arguments: &[PathBuf], site: &[PathBuf]) -> Vec<PluginFolder> {
    let named = |path: PathBuf| PluginFolder { path, named: true };
    let mut folders: Vec<PluginFolder> = arguments.iter().cloned().map(named).collect();
    if let Some(list) = std::env::var_os("NEUROLOOM_PLUGIN_PATH") {
        folders.extend(std::env::split_paths(&list).filter(|path| !path.as_os_str().is_empty()).map(named));
    }
    folders.extend(site.iter().cloned().map(named));
    if let Some(beside) = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned)) {
        let installed = beside.join("../lib/neuroloom/plugins");
        folders.push(PluginFolder { path: beside, named: false });
        folders.push(PluginFolder { path: installed, named: false });
    }
    folders
}

fn libraries_in(folder: &Path) -> Vec<PathBuf> {
    let suffix = std::env::consts::DLL_SUFFIX;
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(suffix));
    files.sort();
    files
}

/// The programs of a plugin folder whose name begins with `prefix`, each under the rest of its name: lower-case letters, digits and
/// underscores. Like a plugin, a program that anyone may replace is not there.
pub fn programs_in(folder: &Path, prefix: &str) -> Vec<(String, PathBuf)> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let named = |path: PathBuf| {
        let file = path.file_name()?.to_str()?;
        let name = file.strip_prefix(prefix)?.strip_suffix(std::env::consts::EXE_SUFFIX)?;
        let fits = !name.is_empty() && name.chars().all(plain) && path.is_file();
        (fits && refuse_world_writable(&path).is_ok()).then(|| (name.to_owned(), path.clone()))
    };
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut programs: Vec<_> = entries.filter_map(|entry| named(entry.ok()?.path())).collect();
    programs.sort();
    programs
}

#[cfg(unix)]
fn refuse_world_writable(path: &Path) -> Result<(), PluginError> {
    use std::os::unix::fs::MetadataExt;
    /// The permission bit that lets everyone write.
    const OTHERS_WRITE: u32 = 0o002;
    /// The bit that keeps others from replacing files in a shared folder.
    const STICKY: u32 = 0o1000;
    let folder = path.parent().unwrap_or(Path::new("."));
    for what in [path, folder] {
        let metadata =
            std::fs::metadata(what).map_err(|e| PluginError::Unreadable { reason: e.to_string() })?;
        let mode = metadata.mode();
        if mode & OTHERS_WRITE != 0 && mode & STICKY == 0 {
            return Err(PluginError::WorldWritable { what: what.to_owned() });
        }
    }
    Ok(())
}

#[cfg(not(unix))]
fn refuse_world_writable(_: &Path) -> Result<(), PluginError> {
    Ok(())
}

/// The text of a plugin's tag, read from the file without opening the library.
fn read_tag(path: &Path) -> Result<String, PluginError> {
    let unreadable = |error: std::io::Error| PluginError::Unreadable { reason: error.to_string() };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let cache = object::ReadCache::new(file);
    let library =
        object::File::parse(&cache).map_err(|e| PluginError::NotALibrary { reason: e.to_string() })?;
    let section = library.section_by_name(sdk::abi::TAG_SECTION).ok_or(PluginError::NoTag)?;
    let bytes = section.data().map_err(|e| PluginError::NotALibrary { reason: e.to_string() })?;
    let text = bytes.strip_prefix(sdk::abi::TAG_MAGIC).ok_or(PluginError::NoTag)?;
    let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
    Ok(String::from_utf8_lossy(&text[..end]).into_owned())
}

/// Holds a tag such as `abi=1.2 sdk=0.1.0 rustc=1.95.0` against this engine's ABI.
fn check_abi(tag: &str) -> Result<(), PluginError> {
    use sdk::abi::{ABI_MAJOR, ABI_MINOR};
    let bad = || PluginError::BadTag { tag: tag.to_owned() };
    let text = tag.split_whitespace().find_map(|word| word.strip_prefix("abi=")).ok_or_else(bad)?;
    let (major, minor) = text.split_once('.').ok_or_else(bad)?;
    let (major, minor): (u32, u32) = (major.parse().map_err(|_| bad())?, minor.parse().map_err(|_| bad())?);
    let hint = match (major.cmp(&ABI_MAJOR), minor > ABI_MINOR) {
        (std::cmp::Ordering::Equal, false) => return Ok(()),
        (std::cmp::Ordering::Less, _) => "build the plugin again with this engine's SDK",
        _ => "update the engine, or build the plugin with an older SDK",
    };
    let (found, expected) = (text.to_owned(), format!("{ABI_MAJOR}.{ABI_MINOR}"));
    Err(PluginError::WrongAbi { found, expected, hint })
}

fn described(plugin: Plugin) -> Result<PluginDescription, PluginError> {
    let wrong = |reason: String| PluginError::BadDescription { reason };
    let text = plugin.describe().map_err(|e| wrong(sdk::border::error_from_json(&e).to_string()))?;
    let description: PluginDescription = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    let mut names = BTreeSet::new();
    for operator in &description.operators {
        if operator.name.is_empty() || !names.insert(operator.name.as_str()) {
            return Err(wrong(format!("operator name `{}` is empty or used twice", operator.name)));
        }
        check_ports(operator).map_err(wrong)?;
    }
    Ok(description)
}

fn check_ports(operator: &OperatorDescription) -> Result<(), String> {
    for ports in [&operator.inputs, &operator.outputs] {
        let mut names = BTreeSet::new();
        for port in ports {
            if port.name.is_empty() || !names.insert(port.name.as_str()) {
                return Err(format!("operator `{}` has two ports `{}`", operator.name, port.name));
            }
        }
    }
    if operator.settings.is_object() {
        Ok(())
    } else {
        Err(format!("operator `{}` has no settings schema", operator.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_minor_abi_is_fine_and_a_newer_one_is_not() {
        for tag in ["abi=1.0 sdk=0.1.0 rustc=1.95.0", "abi=1.2 sdk=0.1.0"] {
            assert!(check_abi(tag).is_ok(), "{tag}");
        }
        for tag in ["abi=1.3 sdk=0.9.0", "abi=2.0 sdk=2.0.0", "abi=0.9 sdk=0.0.1"] {
            assert!(matches!(check_abi(tag), Err(PluginError::WrongAbi { .. })), "{tag}");
        }
        for tag in ["", "abi=one", "sdk=0.1.0"] {
            assert!(matches!(check_abi(tag), Err(PluginError::BadTag { .. })), "{tag}");
        }
    }

    #[test]
    fn a_text_file_is_not_a_library() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libnotes.so");
        std::fs::write(&path, "not a library at all, but long enough to have a head").unwrap();
        assert!(matches!(read_tag(&path), Err(PluginError::NotALibrary { .. })));
    }
}
