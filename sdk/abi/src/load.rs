//! Opens a plugin library with `libloading` and lets `abi_stable` compare its layout with ours.

use crate::{LoggerObject, OperatorObject, PluginModuleRef};
use abi_stable::StableAbi;
use abi_stable::abi_stability::abi_checking::check_layout_compatibility;
use abi_stable::library::{AbiHeaderRef, ROOT_MODULE_LOADER_NAME_WITH_NUL};
use abi_stable::type_layout::TypeLayout;
use std::path::Path;

/// A library that was opened and whose layout agrees. It is never unloaded: its threads, thread-locals and vtables live on.
#[derive(Clone, Copy)]
pub struct Plugin {
    module: PluginModuleRef,
}

/// Why a library could not be opened: one line, and all that is known.
#[derive(Debug)]
pub struct LoadError {
    /// For the user.
    pub summary: String,
    /// For the debug log: abi_stable writes thousands of lines about one changed field.
    pub detail: String,
}

impl LoadError {
    fn of_loader(error: &libloading::Error) -> Self {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(inner) = cause {
            text = inner.to_string();
            cause = inner.source();
        }
        Self { summary: text.lines().next().unwrap_or_default().to_owned(), detail: text }
    }

    fn of_layout(text: String) -> Self {
        /// Characters of abi_stable's text that reach the user.
        const SUMMARY_CHARS: usize = 240;
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let start = lines.iter().position(|line| line.starts_with("Error:")).unwrap_or(0);
        let summary: String = lines[start..].join(" ").chars().take(SUMMARY_CHARS).collect();
        Self { summary, detail: text }
    }
}

/// Whether a plugin with the root module `theirs` can work with this engine.
///
/// `abi_stable` wants a library to be at least as new as the program, and we want the reverse: a plugin may lack what was
/// added since. So the plugin takes the place of the program in the comparison. What it lacks is asked for with care: its
/// module tells how many functions it has.
pub(crate) fn check(theirs: &'static TypeLayout) -> Result<(), LoadError> {
    check_layout_compatibility(theirs, PluginModuleRef::LAYOUT)
        .map_err(|error| LoadError::of_layout(error.to_string()))
}

/// Opens a library whose tag has been read already, and keeps it for the life of the process.
///
/// # Errors
/// [`LoadError`] with the loader's reason (missing library or symbol, not an ELF file), or the first layout difference.
pub fn open(path: &Path) -> Result<Plugin, LoadError> {
    // SAFETY: the library's constructors run. The caller has read the tag: it is one of our plugins, from a trusted folder.
    let library = unsafe { libloading::Library::new(path) }.map_err(|error| LoadError::of_loader(&error))?;
    // SAFETY: the symbol is abi_stable's header, whose first bytes are checked by `upgrade` before anything else is read.
    let header: AbiHeaderRef = unsafe { library.get::<AbiHeaderRef>(ROOT_MODULE_LOADER_NAME_WITH_NUL) }
        .map(|symbol| *symbol)
        .map_err(|error| LoadError::of_loader(&error))?;
    std::mem::forget(library);
    let header = header.upgrade().map_err(|error| LoadError::of_layout(error.to_string()))?;
    check(header.layout().ok_or_else(|| LoadError::of_layout("it does not tell its layout".to_owned()))?)?;
    // SAFETY: the layouts were compared the line before.
    let module = unsafe { header.init_root_module_with_unchecked_layout::<PluginModuleRef>() }
        .map_err(|error| LoadError::of_layout(error.to_string()))?;
    Ok(Plugin { module })
}

impl Plugin {
    /// Sets up logging and the panic message inside the library.
    pub fn attach(&self, logger: LoggerObject) {
        self.module.attach()(logger);
    }

    /// JSON: the plugin's name and version, its operators; or a JSON error.
    pub fn describe(&self) -> Result<String, String> {
        self.module.describe()().into_result().map(Into::into).map_err(Into::into)
    }

    /// The interface of an operator with these settings and this wiring (all JSON).
    pub fn interface(&self, operator: &str, settings: &str, wiring: &str) -> Result<String, String> {
        let answer = self.module.interface()(operator.into(), settings.into(), wiring.into());
        answer.into_result().map(Into::into).map_err(Into::into)
    }

    /// What decides an operator's results beside the plugin's file and its settings, or a JSON error; nothing from a plugin
    /// of ABI 1.0, which cannot tell.
    pub fn identity(&self, operator: &str, settings: &str, place: &str) -> Option<Result<String, String>> {
        let answer = self.module.identity()?(operator.into(), settings.into(), place.into());
        Some(answer.into_result().map(Into::into).map_err(Into::into))
    }

    /// What a model file holds as JSON, or a JSON error; nothing from a plugin of ABI 1.1 or older, which cannot tell.
    pub fn inspect(&self, operator: &str, file: &str) -> Option<Result<String, String>> {
        let answer = self.module.inspect()?(operator.into(), file.into());
        Some(answer.into_result().map(Into::into).map_err(Into::into))
    }

    /// An operator ready to run, or a JSON error.
    pub fn open(&self, operator: &str, settings: &str, place: &str) -> Result<OperatorObject, String> {
        let answer = self.module.open()(operator.into(), settings.into(), place.into());
        answer.into_result().map_err(Into::into)
    }
}
