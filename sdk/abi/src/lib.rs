//! The layout that crosses the border between the engine and a plugin: small, and frozen for ABI 1.x.
//!
//! A plugin is a shared library with two exported things: a **tag** (plain bytes in the file, [`TAG_SECTION`])
//! that is read before the library is opened, and a **root module** ([`PluginModule`]): a few functions.
//! Everything with structure (descriptions, settings, interfaces, errors, the headers of values) is JSON in a
//! string, so that nothing here changes when a kind of value or a field is added. Voxels travel in [`Buf`],
//! which points into memory that somebody owns: no copy is made at the border.
//!
//! `abi_stable` is used in this crate alone. Plugin authors never see it: `neuroloom-sdk` wraps all of this.
//!
//! Additions to a trait or the root module go *below* the field marked `last_prefix_field`.

#![expect(unsafe_code, reason = "raw pointers into buffers that another library owns")]
#![allow(
    non_local_definitions,
    non_camel_case_types,
    missing_docs,
    clippy::all,
    clippy::pedantic,
    reason = "the code that abi_stable's macros generate"
)]

#[cfg(feature = "load")]
pub mod load;

pub use abi_stable;
use abi_stable::StableAbi;
use abi_stable::library::RootModule;
use abi_stable::sabi_trait;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::{RArc, RBox, ROption, RResult, RStr, RString, RVec};

/// First number of the ABI: another one means another layout.
pub const ABI_MAJOR: u32 = 1;
/// Second number of the ABI: a plugin needs an engine whose number is at least its own.
pub const ABI_MINOR: u32 = 2;
/// The section of the library file that holds the tag.
#[cfg(not(target_os = "macos"))]
pub const TAG_SECTION: &str = ".neuroloom.tag";
/// The section of the library file that holds the tag (`segment,section` on macOS).
#[cfg(target_os = "macos")]
pub const TAG_SECTION: &str = "__neuroloom_tag";
/// First bytes of a tag.
pub const TAG_MAGIC: &[u8; 16] = b"NEUROLOOM-PLUGIN";
/// Bytes in a tag: magic, then `abi=1.2 sdk=0.1.0 rustc=…`, filled up with zeros.
pub const TAG_BYTES: usize = 160;

/// Makes a tag of the given text.
pub const fn tag(text: &str) -> [u8; TAG_BYTES] {
    let mut bytes = [0; TAG_BYTES];
    let mut i = 0;
    while i < TAG_MAGIC.len() {
        bytes[i] = TAG_MAGIC[i];
        i += 1;
    }
    let text = text.as_bytes();
    let mut j = 0;
    while j < text.len() && i + j < TAG_BYTES {
        bytes[i + j] = text[j];
        j += 1;
    }
    bytes
}

/// What keeps the memory of a [`Buf`] alive: a heap block, a mapped file, a tensor.
#[sabi_trait]
pub trait Owner: Send + Sync + 'static {
    /// A word for logs: `heap`, `vec`, `map`, `tensor`.
    #[sabi(last_prefix_field)]
    fn kind(&self) -> RStr<'static>;
}

/// An [`Owner`] that several buffers share.
pub type SharedOwner = Owner_TO<RArc<()>>;

/// A block of plain numbers and the owner that keeps it alive.
///
/// `dtype`: 0 u8, 1 i16, 2 u16, 3 i32, 4 u32, 5 f16, 6 f32, 7 f64. `ptr` is aligned for it.
#[repr(C)]
#[derive(StableAbi)]
pub struct Buf {
    ptr: *const u8,
    bytes: usize,
    dtype: u8,
    owner: SharedOwner,
}

// SAFETY: the memory is read-only once a `Buf` is shared, and its owner is Send + Sync.
unsafe impl Send for Buf {}
// SAFETY: as above.
unsafe impl Sync for Buf {}

impl Buf {
    /// Wraps memory that `owner` keeps alive.
    ///
    /// # Safety
    /// `ptr` must be valid for `bytes` bytes, initialised and aligned for `dtype` as long as `owner` lives, and nobody may
    /// write to it while more than one `Buf` of that owner exists.
    pub unsafe fn new(ptr: *const u8, bytes: usize, dtype: u8, owner: SharedOwner) -> Self {
        Self { ptr, bytes, dtype, owner }
    }

    /// First byte.
    pub fn ptr(&self) -> *const u8 {
        self.ptr
    }

    /// Length in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Element type, as numbered above.
    pub fn dtype(&self) -> u8 {
        self.dtype
    }

    /// What owns the memory.
    pub fn owner_kind(&self) -> &'static str {
        self.owner.kind().as_str()
    }
}

impl Clone for Buf {
    fn clone(&self) -> Self {
        let owner = Owner_TO::from_sabi(self.owner.obj.shallow_clone());
        Self { ptr: self.ptr, bytes: self.bytes, dtype: self.dtype, owner }
    }
}

/// A value at the border: its kind, a JSON header, its buffers.
#[repr(C)]
#[derive(StableAbi, Clone)]
pub struct Value {
    /// `image`, `mask`, `table`, … as in `neuroloom-sdk`.
    pub kind: RString,
    /// What the kind needs beside its buffers (grid, columns, text …) and the facts.
    pub header: RString,
    /// Voxels or bytes.
    pub buffers: RVec<Buf>,
}

/// A value and the port (and member of a named set) it belongs to.
#[repr(C)]
#[derive(StableAbi, Clone)]
pub struct PortValue {
    /// The port's name.
    pub port: RString,
    /// The member's name; empty on a port that holds one value.
    pub member: RString,
    /// The value.
    pub value: Value,
}

/// Work in independent parts: `call(data, index)` runs one of them.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct Parts {
    /// Runs part `index`; never unwinds.
    pub call: extern "C" fn(*const (), usize),
    /// What `call` needs; valid until `Host::parallel` returns, and shared by its threads.
    pub data: *const (),
}

// SAFETY: whoever makes `Parts` promises that `data` may be shared between threads.
unsafe impl Send for Parts {}
// SAFETY: as above.
unsafe impl Sync for Parts {}

impl Parts {
    /// Runs part `index`.
    pub fn run(&self, index: usize) {
        (self.call)(self.data, index);
    }
}

/// What the engine offers a running stage.
#[sabi_trait]
pub trait Host: Send + Sync + 'static {
    /// A zeroed block for `len` elements of `dtype`, 64-byte aligned; the caller may write to it until it shares it.
    fn alloc(&self, dtype: u8, len: usize) -> RResult<Buf, RString>;
    /// Runs the parts `i < count` on the stage's threads; returns when all are done.
    fn parallel(&self, count: usize, parts: Parts);
    /// Threads the stage may use.
    fn threads(&self) -> usize;
    /// How far the stage is, 0 to 1, and what it does.
    fn progress(&self, fraction: f64, message: RStr<'_>);
    /// Whether the stage should stop.
    fn cancelled(&self) -> bool;
    /// A folder by name: `scratch` (empty, removed afterwards) or `resume` (survives a kill; group operators only).
    fn folder(&self, name: RStr<'_>) -> RResult<RString, RString>;
    /// The case's label.
    #[sabi(last_prefix_field)]
    fn case_label(&self) -> RString;
}

/// A [`Host`] to pass by value.
pub type HostObject = Host_TO<RArc<()>>;

/// Where a plugin's log lines go.
#[sabi_trait]
pub trait Logger: Send + Sync + 'static {
    /// The most detailed level that anybody reads: 0 off, 1 error … 5 trace.
    fn max_level(&self) -> u8;
    /// One line: level 1 to 5, module path, spans from the outside in, message with fields.
    #[sabi(last_prefix_field)]
    fn log(&self, level: u8, target: RStr<'_>, spans: RStr<'_>, message: RStr<'_>);
}

/// A [`Logger`] to pass by value.
pub type LoggerObject = Logger_TO<RArc<()>>;

/// The cases a group operator reads: in label order, any of them, as often as it likes.
#[sabi_trait]
pub trait Cases: Send + Sync + 'static {
    /// How many there are.
    fn count(&self) -> usize;
    /// JSON: label, subject, session, failure.
    fn describe(&self, index: usize) -> RString;
    /// The values a case has at a port: none if absent, several for a named set.
    #[sabi(last_prefix_field)]
    fn values(&self, index: usize, port: RStr<'_>) -> RResult<RVec<PortValue>, RString>;
}

/// [`Cases`] to pass by value.
pub type CasesObject = Cases_TO<RArc<()>>;

/// An opened operator. Errors are JSON.
#[sabi_trait]
pub trait Operator: Send + 'static {
    /// Runs one case (or one group, when `cases` is given).
    #[sabi(last_prefix_field)]
    fn run(
        &mut self,
        inputs: RVec<PortValue>,
        cases: ROption<CasesObject>,
        host: HostObject,
    ) -> RResult<RVec<PortValue>, RString>;
}

/// An [`Operator`] to pass by value.
pub type OperatorObject = Operator_TO<RBox<()>>;

/// What a plugin exports.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginModuleRef)))]
#[sabi(missing_field(option))]
pub struct PluginModule {
    /// Called once after loading: sets up logging and the panic message.
    pub attach: extern "C" fn(logger: LoggerObject),
    /// JSON: the plugin's name and version, its operators with ports and settings schema.
    pub describe: extern "C" fn() -> RResult<RString, RString>,
    /// (operator, settings JSON, wiring JSON) -> interface JSON.
    pub interface: extern "C" fn(RStr<'_>, RStr<'_>, RStr<'_>) -> RResult<RString, RString>,
    /// (operator, settings JSON, place JSON) -> an operator ready to run.
    #[sabi(last_prefix_field)]
    pub open: extern "C" fn(RStr<'_>, RStr<'_>, RStr<'_>) -> RResult<OperatorObject, RString>,
    /// (operator, settings JSON, place JSON) -> what decides its results beside the plugin's file and its settings; a text.
    /// Since ABI 1.1.
    pub identity: extern "C" fn(RStr<'_>, RStr<'_>, RStr<'_>) -> RResult<RString, RString>,
    /// (operator, a model file's path) -> what the file holds, as JSON; `null` from an operator that reads no model files.
    /// Since ABI 1.2.
    pub inspect: extern "C" fn(RStr<'_>, RStr<'_>) -> RResult<RString, RString>,
}

impl RootModule for PluginModuleRef {
    abi_stable::declare_root_module_statics! {PluginModuleRef}
    const BASE_NAME: &'static str = "neuroloom_plugin";
    const NAME: &'static str = "neuroloom_plugin";
    // Constant on purpose: abi_stable wants the library at least as new as the host, we want the reverse; the tag decides.
    const VERSION_STRINGS: VersionStrings = VersionStrings::new("1.0.0");
}

#[cfg(all(test, feature = "load"))]
mod tests {
    use super::*;
    use abi_stable::prefix_type::PrefixTypeTrait;

    /// The root module as ABI 1.0 had it.
    mod before {
        use super::super::*;

        #[repr(C)]
        #[derive(StableAbi)]
        #[sabi(kind(Prefix(prefix_ref = PluginModuleRef)))]
        #[sabi(missing_field(option))]
        pub struct PluginModule {
            pub attach: extern "C" fn(logger: LoggerObject),
            pub describe: extern "C" fn() -> RResult<RString, RString>,
            pub interface: extern "C" fn(RStr<'_>, RStr<'_>, RStr<'_>) -> RResult<RString, RString>,
            #[sabi(last_prefix_field)]
            pub open: extern "C" fn(RStr<'_>, RStr<'_>, RStr<'_>) -> RResult<OperatorObject, RString>,
        }
    }

    extern "C" fn attach(_: LoggerObject) {}
    extern "C" fn describe() -> RResult<RString, RString> {
        RResult::ROk("described".into())
    }
    extern "C" fn interface(_: RStr<'_>, _: RStr<'_>, _: RStr<'_>) -> RResult<RString, RString> {
        RResult::RErr("none".into())
    }
    extern "C" fn open(_: RStr<'_>, _: RStr<'_>, _: RStr<'_>) -> RResult<OperatorObject, RString> {
        RResult::RErr("none".into())
    }

    #[test]
    fn a_plugin_of_abi_1_0_still_loads_and_has_neither_identity_nor_inspect() {
        load::check(before::PluginModuleRef::LAYOUT).unwrap_or_else(|error| panic!("{}", error.detail));
        let old = before::PluginModule { attach, describe, interface, open }.leak_into_prefix();
        // SAFETY: what the loader does, too, once the layouts agree.
        let seen = unsafe { std::mem::transmute::<before::PluginModuleRef, PluginModuleRef>(old) };
        assert_eq!(seen.describe()(), RResult::ROk("described".into()));
        assert!(seen.identity().is_none());
        assert!(seen.inspect().is_none());
        assert_eq!(
            (old.attach() as usize, old.open() as usize),
            (seen.attach() as usize, seen.open() as usize)
        );
        assert_eq!(old.interface() as usize, seen.interface() as usize);
        assert_eq!(old.describe() as usize, seen.describe() as usize);
    }
}
