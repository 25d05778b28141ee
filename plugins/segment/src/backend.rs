//! Finds libtorch and the backend's library, opens them once, and calls through the backend's table.
//!
//! Libraries are looked for here, and not by the loader alone, so that one build of the plugin works with the CPU libtorch it
//! was built against and with a complete one on a GPU machine: whichever `libtorch_cpu.so` is opened first serves all.
//! Nothing is ever closed again: libtorch leaves threads and static state behind.

#![expect(unsafe_code, reason = "opens libraries and calls through the C table of `neuroloom-segment-abi`")]

mod trainer;

pub use trainer::{Gradient, Trainer};

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_LOCAL, RTLD_NOW};
use neuroloom_segment_abi as abi;
use sdk::{JsonSchema, Place};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Environment variable that names libtorch's `lib` folder.
pub const TORCH_LIB_VARIABLE: &str = "NEUROLOOM_TORCH_LIB";
/// Version of libtorch that the backend is built for.
pub const TORCH_VERSION: &str = "2.11.0";
/// Longest text that comes back from the backend, in bytes.
const MESSAGE_BYTES: usize = 4096;

/// Why there is no network to call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// The backend's library is not where the plugin is.
    #[error(
        "the libtorch backend `{file}` is not beside the plugin, in {folder}\n\
         hint: build it with `make build`, or install both with `make install`"
    )]
    NoLibrary {
        /// Name of the file.
        file: String,
        /// Where the plugin lies.
        folder: PathBuf,
    },
    /// The named folder holds no libtorch.
    #[error(
        "no `libtorch_cpu.so` in {folder}, which {source_of_folder} names\n\
         hint: name the `lib` folder of a libtorch 2.11.0"
    )]
    NoTorch {
        /// The folder.
        folder: PathBuf,
        /// Who named it.
        source_of_folder: &'static str,
    },
    /// The named libtorch is of another version.
    #[error(
        "libtorch {found} in {folder} where {TORCH_VERSION} is needed\n\
         hint: install torch=={TORCH_VERSION} there, or do not name this folder"
    )]
    TorchVersion {
        /// Version found.
        found: String,
        /// The folder.
        folder: PathBuf,
    },
    /// The backend's file cannot be read.
    #[error("the backend {} cannot be read: {source}", path.display())]
    Unreadable {
        /// The library.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A library cannot be opened.
    #[error(
        "`{path}` cannot be opened: {source}\n\
         hint: `scripts/fetch_libtorch.sh` fetches libtorch; or let {TORCH_LIB_VARIABLE} name the `lib` folder of libtorch 2.11.0"
    )]
    Open {
        /// The library.
        path: PathBuf,
        /// The loader's words.
        source: libloading::Error,
    },
    /// The backend belongs to another build.
    #[error(
        "backend `{path}` has table version {found} where {} is needed\nhint: build plugin and backend together",
        abi::VERSION
    )]
    Version {
        /// The library.
        path: PathBuf,
        /// Version found.
        found: u32,
    },
    /// The backend's device has not enough memory.
    #[error("{0}\nhint: lower `batch`, give `device` a GPU with more memory, or set it to `cpu`")]
    Memory(String),
    /// The backend says no.
    #[error("{0}")]
    Backend(String),
}

/// What libtorch says when a GPU's memory, or the machine's, does not suffice.
const NO_MEMORY: [&str; 3] = ["out of memory", "can't allocate memory", "std::bad_alloc"];

impl BackendError {
    /// What the backend's words mean.
    fn of_words(words: String) -> Self {
        if NO_MEMORY.iter().any(|sign| words.contains(sign)) {
            Self::Memory(words)
        } else {
            Self::Backend(words)
        }
    }
}

/// The backend's table, opened.
#[derive(Clone, Copy, Debug)]
pub struct Backend(&'static abi::Table);

/// The backend, once it was opened in this process.
static OPENED: Mutex<Option<Backend>> = Mutex::new(None);

impl Backend {
    /// Opens libtorch and the backend, or returns the one that is open.
    ///
    /// # Errors
    /// [`BackendError`] when a library is missing or of another version.
    pub fn open(place: &Place) -> Result<Self, BackendError> {
        let mut opened = OPENED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(backend) = *opened {
            return Ok(backend);
        }
        let path = find_backend(&place.plugin_dir)?;
        if let Some((folder, source_of_folder)) = named_torch(place) {
            preload(&folder, source_of_folder)?;
        }
        let library = open_library(&path, RTLD_NOW | RTLD_LOCAL)?;
        // SAFETY: the symbol is the backend's own and has this type in every version.
        let entry = unsafe { library.get::<abi::Entry>(abi::SYMBOL) }
            .map_err(|source| BackendError::Open { path: path.clone(), source })?;
        let table = entry();
        if table.version != abi::VERSION {
            return Err(BackendError::Version { path, found: table.version });
        }
        std::mem::forget(library);
        tracing::debug!(backend = %path.display(), "opened the libtorch backend");
        *opened = Some(Self(table));
        Ok(Self(table))
    }

    /// Puts a network on the place's device.
    ///
    /// * `weights`: a whole safetensors file.
    ///
    /// # Errors
    /// [`BackendError::Backend`]: a weight that does not fit, no such device, no memory.
    pub fn session(self, weights: &[u8], place: &Place) -> Result<Session, BackendError> {
        self.open_session(weights, abi::FORMAT_SLICES, Precision::F32, place)
    }

    /// As [`Backend::session`], for weights of either format (`abi::FORMAT_SLICES`, `abi::FORMAT_SCRIPT`) and in the precision
    /// that is asked for.
    ///
    /// # Errors
    /// As [`Backend::session`].
    pub fn open_session(
        self,
        weights: &[u8],
        format: u32,
        precision: Precision,
        place: &Place,
    ) -> Result<Session, BackendError> {
        let device = if place.device.is_empty() { "auto" } else { &place.device };
        let opening = abi::Scoring {
            weights: abi::Lent::new(weights),
            device: abi::Lent::new(device.as_bytes()),
            format,
            half: u32::from(precision == Precision::Bf16),
        };
        let mut block = [0; MESSAGE_BYTES];
        let mut message = abi::Message::new(&mut block);
        // SAFETY: the table is of our version, and all that is lent lives until the call returns.
        let session = unsafe { (self.0.open)(&opening, &mut message) };
        let text = read(message.len, &block);
        if session.is_null() {
            return Err(BackendError::of_words(text));
        }
        if !text.is_empty() {
            tracing::info!("{text}");
        }
        Ok(Session { table: self.0, session })
    }
}

/// In which numbers a network computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(crate = "sdk::schemars")]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits, of which 8 are the exponent: faster on a GPU, about three significant digits.
    Bf16,
}

/// A network on a device.
#[derive(Debug)]
pub struct Session {
    table: &'static abi::Table,
    session: *mut abi::Session,
}

// SAFETY: the backend ties a session to no thread.
unsafe impl Send for Session {}
// SAFETY: the table allows calls from several threads at once.
unsafe impl Sync for Session {}

impl Session {
    /// Scores stacks. On a CPU it takes the calling thread alone; several threads may call at once.
    ///
    /// * `stack`: `[batch, height, width, channel]`, channel fastest, as `shape` says.
    /// * `logits`: `[batch, height, width]`, filled.
    ///
    /// # Errors
    /// [`BackendError::Backend`]: no memory, wrong number of channels.
    pub fn logits(&self, stack: &[f32], shape: [usize; 4], logits: &mut [f32]) -> Result<(), BackendError> {
        let Some(batch) = abi::Batch::new(stack, shape, logits) else {
            return Err(BackendError::Backend(format!(
                "{} numbers do not make a stack of {shape:?}",
                stack.len()
            )));
        };
        let mut block = [0; MESSAGE_BYTES];
        let mut message = abi::Message::new(&mut block);
        // SAFETY: the session is open, and the blocks live until the call returns.
        let done = unsafe { (self.table.logits)(self.session, &batch, &mut message) };
        if done { Ok(()) } else { Err(BackendError::of_words(read(message.len, &block))) }
    }
}

impl Session {
    /// Runs a TorchScript network on patches. On a CPU it takes the calling thread alone; several threads may call at once.
    ///
    /// * `input`: C order, `shape` holds its lengths, the slowest first: `[batch, channel, …]`.
    /// * `output`: `[batch, class, …]` with the same lengths after the second, filled.
    ///
    /// # Errors
    /// [`BackendError`]: no memory, or the network makes something of another size.
    pub fn forward(&self, input: &[f32], shape: &[usize], output: &mut [f32]) -> Result<(), BackendError> {
        let Some(patch) = abi::Patches::new(input, shape, output) else {
            let text = format!("{} numbers do not make patches of {shape:?}", input.len());
            return Err(BackendError::Backend(text));
        };
        let mut block = [0; MESSAGE_BYTES];
        let mut message = abi::Message::new(&mut block);
        // SAFETY: the session is open, and the blocks live until the call returns.
        let done = unsafe { (self.table.forward)(self.session, &patch, &mut message) };
        if done { Ok(()) } else { Err(BackendError::of_words(read(message.len, &block))) }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: opened by this table, and closed only here.
        unsafe { (self.table.close)(self.session) };
    }
}

fn read(len: usize, block: &[u8]) -> String {
    String::from_utf8_lossy(&block[..len.min(block.len())]).into_owned()
}

/// What computes the scores, without opening it: the backend's build and the version of libtorch that it would get.
///
/// # Errors
/// [`BackendError`] when the backend is missing.
pub fn identity(place: &Place) -> Result<String, BackendError> {
    let path = find_backend(&place.plugin_dir)?;
    let bytes = std::fs::read(&path).map_err(|source| BackendError::Unreadable { path, source })?;
    let named = named_torch(place).and_then(|(folder, _)| torch_version(&folder));
    let version = named.unwrap_or_else(|| TORCH_VERSION.to_owned());
    Ok(format!("libtorch {version}, backend {}", blake3::hash(&bytes).to_hex()))
}

/// The backend lies beside the plugin; in a build folder it may also lie one folder up or in `deps`.
fn find_backend(plugin_dir: &Path) -> Result<PathBuf, BackendError> {
    let file = libloading::library_filename(abi::LIBRARY);
    [plugin_dir.to_owned(), plugin_dir.join(".."), plugin_dir.join("deps")]
        .into_iter()
        .map(|folder| folder.join(&file))
        .find(|path| path.is_file())
        .ok_or_else(|| BackendError::NoLibrary {
            file: file.to_string_lossy().into_owned(),
            folder: plugin_dir.to_owned(),
        })
}

/// libtorch's folder as the site or the environment names it; else the backend's own search path finds it.
fn named_torch(place: &Place) -> Option<(PathBuf, &'static str)> {
    if let Some(folder) = place.site.get("torch_lib").and_then(serde_json::Value::as_str) {
        return Some((PathBuf::from(folder), "the site's `torch_lib`"));
    }
    let folder = std::env::var_os(TORCH_LIB_VARIABLE).filter(|folder| !folder.is_empty())?;
    Some((PathBuf::from(folder), TORCH_LIB_VARIABLE))
}

/// Opens the two libraries that the backend needs; the loader then takes these, whatever the backend's own search path says.
fn preload(folder: &Path, source_of_folder: &'static str) -> Result<(), BackendError> {
    if !folder.join("libtorch_cpu.so").is_file() {
        return Err(BackendError::NoTorch { folder: folder.to_owned(), source_of_folder });
    }
    if let Some(found) = torch_version(folder).filter(|found| !is_wanted(found)) {
        return Err(BackendError::TorchVersion { found, folder: folder.to_owned() });
    }
    for file in ["libc10.so", "libtorch_cpu.so"] {
        std::mem::forget(open_library(&folder.join(file), RTLD_NOW | RTLD_GLOBAL)?);
    }
    Ok(())
}

/// Whether a version is the wanted one, built for whatever (`2.11.0+cu130`).
fn is_wanted(version: &str) -> bool {
    version.split('+').next() == Some(TORCH_VERSION)
}

/// What the folder above `lib` says of its version, as a libtorch or a Python package does.
fn torch_version(lib: &Path) -> Option<String> {
    let base = lib.parent()?;
    if let Ok(version) = std::fs::read_to_string(base.join("build-version")) {
        return Some(version.trim().to_owned());
    }
    let python = std::fs::read_to_string(base.join("version.py")).ok()?;
    let line = python.lines().find_map(|line| line.strip_prefix("__version__ = "))?;
    Some(line.trim().trim_matches('\'').to_owned())
}

fn open_library(path: &Path, flags: std::ffi::c_int) -> Result<Library, BackendError> {
    // SAFETY: libtorch's and the backend's static constructors only register themselves.
    unsafe { Library::open(Some(path), flags) }
        .map_err(|source| BackendError::Open { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_backend_is_named_with_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place { plugin_dir: folder.path().to_owned(), ..Place::default() };
        let text = Backend::open(&place).unwrap_err().to_string();
        assert!(text.contains("neuroloom_segment_torch") && text.contains("hint: build it"), "{text}");
    }

    #[test]
    fn a_site_that_names_a_folder_without_libtorch_is_told_so() {
        let folder = tempfile::tempdir().unwrap();
        let text = preload(folder.path(), "the site's `torch_lib`").unwrap_err().to_string();
        assert!(text.contains("no `libtorch_cpu.so`") && text.contains("the site's `torch_lib`"), "{text}");
    }

    #[test]
    fn another_build_of_the_backend_or_of_libtorch_is_another_identity_and_device_and_folder_are_not() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let named = |folder: usize, backend: &str, device: &str, torch: Option<&str>| {
            let folder = folders[folder].path();
            std::fs::write(folder.join(libloading::library_filename(abi::LIBRARY)), backend).unwrap();
            let site = torch.map(|version| {
                std::fs::create_dir_all(folder.join("torch/lib")).unwrap();
                std::fs::write(folder.join("torch/build-version"), version).unwrap();
                serde_json::json!({ "torch_lib": folder.join("torch/lib") })
            });
            let (plugin_dir, device) = (folder.to_owned(), device.to_owned());
            identity(&Place { plugin_dir, device, site: site.unwrap_or_default(), ..Place::default() })
                .unwrap()
        };
        let before = named(0, "build", "cpu", Some("2.11.0+cpu"));
        assert_eq!(named(1, "build", "cuda:0", Some("2.11.0+cpu")), before);
        assert_ne!(named(0, "rebuilt", "cpu", Some("2.11.0+cpu")), before);
        assert_ne!(named(0, "build", "cpu", Some("2.11.0+cu130")), before);
    }

    #[test]
    fn another_libtorch_is_refused_before_it_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let lib = folder.path().join("lib");
        std::fs::create_dir(&lib).unwrap();
        std::fs::write(lib.join("libtorch_cpu.so"), "no library at all").unwrap();
        std::fs::write(folder.path().join("version.py"), "__version__ = '2.9.1+cu128'\n").unwrap();
        let error = preload(&lib, TORCH_LIB_VARIABLE).unwrap_err();
        assert!(
            matches!(&error, BackendError::TorchVersion { found, .. } if found == "2.9.1+cu128"),
            "{error}"
        );
        std::fs::write(folder.path().join("build-version"), "2.11.0+cpu\n").unwrap();
        let error = preload(&lib, TORCH_LIB_VARIABLE).unwrap_err();
        assert!(matches!(error, BackendError::Open { .. }), "the version was right: {error}");
    }
}
