//! How a plugin shows its operators to the engine. Authors call [`export_plugin!`](crate::export_plugin) and nothing else here.

use crate::border;
use crate::context::Context;
use crate::error::OperatorError;
use crate::operator::{CaseEntry, Cases, GroupOperator, Inputs, Inspection, Operator, OperatorInfo, Scope};
#[cfg(feature = "testing")]
use crate::operator::{Outputs, Place};
use crate::panics::{self, guard};
use crate::port::{Interface, PortSpec};
use neuroloom_abi::abi_stable::sabi_trait::TD_Opaque;
use neuroloom_abi::abi_stable::std_types::{ROption, RResult, RStr, RString, RVec};
use neuroloom_abi::{self as abi, CasesObject, HostObject, LoggerObject, OperatorObject, PortValue};
use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Version of this SDK.
pub const SDK_VERSION: &str = env!("CARGO_PKG_VERSION");
/// The compiler, for information.
pub const RUSTC: &str = env!("NEUROLOOM_RUSTC");

/// What a plugin offers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PluginDescription {
    /// The package's name, without `neuroloom-`.
    pub name: String,
    /// The package's version.
    pub version: String,
    /// Its operators.
    pub operators: Vec<OperatorDescription>,
}

/// What an operator offers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OperatorDescription {
    /// Its name in workflows.
    pub name: String,
    /// Operators of one role share their ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// What it does, in one sentence.
    pub summary: String,
    /// How many cases it looks at.
    #[serde(default)]
    pub scope: Scope,
    /// What it reads.
    pub inputs: Vec<PortSpec>,
    /// What it makes.
    pub outputs: Vec<PortSpec>,
    /// JSON schema (draft-07) of its settings.
    pub settings: serde_json::Value,
    /// The publication behind the method.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub citation: String,
    /// Whether it works on a GPU where it is given one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gpu: bool,
}

/// An operator behind a table of plain functions, so that a plugin can list operators of different types.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    describe: fn() -> Result<OperatorDescription, OperatorError>,
    interface: fn(&str, &str) -> Result<Interface, OperatorError>,
    open: fn(&str, &str) -> Result<OperatorObject, OperatorError>,
    identity: fn(&str, &str) -> Result<String, OperatorError>,
    inspect: fn(&Path) -> Result<Option<Inspection>, OperatorError>,
}

/// The entry of an operator on cases.
pub const fn entry<T: Operator>() -> Entry {
    Entry {
        name: T::INFO.name,
        describe: || describe_operator::<T::Settings>(&T::INFO),
        interface: |settings, wiring| T::interface(&parse_settings(settings)?, &parse(wiring, "wiring")?),
        open: |settings, place| {
            let operator = T::open(parse_settings(settings)?, &parse(place, "place")?)?;
            Ok(abi::Operator_TO::from_value(CaseShim(Some(operator)), TD_Opaque))
        },
        identity: |settings, place| T::identity(&parse_settings(settings)?, &parse(place, "place")?),
        inspect: T::inspect,
    }
}

/// The entry of an operator on groups.
pub const fn group_entry<T: GroupOperator>() -> Entry {
    Entry {
        name: T::INFO.name,
        describe: || describe_operator::<T::Settings>(&T::INFO),
        interface: |settings, wiring| T::interface(&parse_settings(settings)?, &parse(wiring, "wiring")?),
        open: |settings, place| {
            let operator = T::open(parse_settings(settings)?, &parse(place, "place")?)?;
            Ok(abi::Operator_TO::from_value(GroupShim(Some(operator)), TD_Opaque))
        },
        identity: |settings, place| T::identity(&parse_settings(settings)?, &parse(place, "place")?),
        inspect: |_| Ok(None),
    }
}

fn parse<T: DeserializeOwned>(text: &str, what: &str) -> Result<T, OperatorError> {
    serde_json::from_str(text).map_err(|error| OperatorError::failed(format!("unreadable {what}: {error}")))
}

fn parse_settings<T: DeserializeOwned>(text: &str) -> Result<T, OperatorError> {
    serde_json::from_str(text).map_err(|error| {
        // The place in the JSON means nothing to the author of the TOML.
        let text = error.to_string();
        let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason);
        OperatorError::refused(format!("settings: {reason}"))
    })
}

fn describe_operator<S: schemars::JsonSchema>(
    info: &OperatorInfo,
) -> Result<OperatorDescription, OperatorError> {
    let schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<S>();
    Ok(OperatorDescription {
        name: info.name.to_owned(),
        role: info.role.map(str::to_owned),
        summary: info.summary.to_owned(),
        scope: info.scope,
        inputs: info.inputs.iter().map(PortSpec::from).collect(),
        outputs: info.outputs.iter().map(PortSpec::from).collect(),
        settings: serde_json::to_value(schema)?,
        citation: info.citation.to_owned(),
        gpu: info.gpu,
    })
}

struct CaseShim<T: Operator>(Option<T>);

impl<T: Operator> abi::Operator for CaseShim<T> {
    fn run(
        &mut self,
        inputs: RVec<PortValue>,
        _: ROption<CasesObject>,
        host: HostObject,
    ) -> RResult<RVec<PortValue>, RString> {
        let run = || {
            let inputs = border::inputs_from_abi(&inputs)?;
            let operator = self.0.as_mut().expect("taken on drop only");
            border::inputs_to_abi(&operator.run(&inputs, &Context::new(host))?)
        };
        answer(guard(run))
    }
}

impl<T: Operator> Drop for CaseShim<T> {
    fn drop(&mut self) {
        drop_guarded(self.0.take(), T::INFO.name);
    }
}

struct GroupShim<T: GroupOperator>(Option<T>);

impl<T: GroupOperator> abi::Operator for GroupShim<T> {
    fn run(
        &mut self,
        _: RVec<PortValue>,
        cases: ROption<CasesObject>,
        host: HostObject,
    ) -> RResult<RVec<PortValue>, RString> {
        let run = || {
            let ROption::RSome(cases) = cases else {
                return Err(OperatorError::failed("a group operator was run without its cases"));
            };
            let operator = self.0.as_mut().expect("taken on drop only");
            border::inputs_to_abi(&operator.run(&CasesView(cases), &Context::new(host))?)
        };
        answer(guard(run))
    }
}

impl<T: GroupOperator> Drop for GroupShim<T> {
    fn drop(&mut self) {
        drop_guarded(self.0.take(), T::INFO.name);
    }
}

/// A panic while an operator is dropped must not cross the border either.
fn drop_guarded<T>(operator: Option<T>, name: &str) {
    let dropped = guard(|| {
        drop(operator);
        Ok(())
    });
    if let Err(error) = dropped {
        tracing::warn!(operator = name, "panicked while it was dropped: {error}");
    }
}

/// The engine's cases, as an operator sees them.
struct CasesView(CasesObject);

impl Cases for CasesView {
    fn len(&self) -> usize {
        self.0.count()
    }

    fn entry(&self, index: usize) -> Result<CaseEntry, OperatorError> {
        parse(self.0.describe(index).as_str(), "case")
    }

    fn inputs(&self, index: usize) -> Result<Inputs, OperatorError> {
        let answer = self.0.values(index, RStr::from_str("")).into_result();
        border::inputs_from_abi(&answer.map_err(|error| border::error_from_json(error.as_str()))?)
    }
}

fn answer<T>(result: Result<T, OperatorError>) -> RResult<T, RString> {
    match result {
        Ok(value) => RResult::ROk(value),
        Err(error) => RResult::RErr(border::error_to_json(&error).into()),
    }
}

fn find<'a>(entries: &'a [Entry], name: &str) -> Result<&'a Entry, OperatorError> {
    let found = entries.iter().find(|entry| entry.name == name);
    found.ok_or_else(|| OperatorError::failed(format!("no operator `{name}` in this plugin")))
}

/// [`abi::PluginModule::attach`].
pub fn attach(logger: LoggerObject) {
    panics::install_hook();
    crate::logging::install(logger);
}

/// [`abi::PluginModule::describe`].
pub fn describe(package: &str, version: &str, entries: &[Entry]) -> RResult<RString, RString> {
    let describe = || {
        let operators = entries.iter().map(|entry| (entry.describe)()).collect::<Result<_, _>>()?;
        let name = package.strip_prefix("neuroloom-").unwrap_or(package).replace('-', "_");
        let description = PluginDescription { name, version: version.to_owned(), operators };
        Ok(RString::from(serde_json::to_string(&description)?))
    };
    answer(guard(describe))
}

/// [`abi::PluginModule::interface`].
pub fn interface(entries: &[Entry], name: &str, settings: &str, wiring: &str) -> RResult<RString, RString> {
    let interface = || {
        let interface = (find(entries, name)?.interface)(settings, wiring)?;
        Ok(RString::from(serde_json::to_string(&interface)?))
    };
    answer(guard(interface))
}

/// [`abi::PluginModule::open`].
pub fn open(entries: &[Entry], name: &str, settings: &str, place: &str) -> RResult<OperatorObject, RString> {
    answer(guard(|| (find(entries, name)?.open)(settings, place)))
}

/// [`abi::PluginModule::identity`].
pub fn identity(entries: &[Entry], name: &str, settings: &str, place: &str) -> RResult<RString, RString> {
    answer(guard(|| (find(entries, name)?.identity)(settings, place).map(RString::from)))
}

/// [`abi::PluginModule::inspect`].
pub fn inspect(entries: &[Entry], name: &str, file: &str) -> RResult<RString, RString> {
    let inspect = || {
        let inspection = (find(entries, name)?.inspect)(Path::new(file))?;
        Ok(RString::from(serde_json::to_string(&inspection)?))
    };
    answer(guard(inspect))
}

/// For tests: runs an opened operator through the border within one process.
#[cfg(feature = "testing")]
pub(crate) fn run_in_process<T: Operator>(
    settings: &serde_json::Value,
    place: &Place,
    inputs: &Inputs,
    host: HostObject,
) -> Result<Outputs, OperatorError> {
    let entry = entry::<T>();
    let mut operator = guard(|| (entry.open)(&settings.to_string(), &serde_json::to_string(place)?))?;
    let answer = operator.run(border::inputs_to_abi(inputs)?, ROption::RNone, host).into_result();
    border::inputs_from_abi(&answer.map_err(|error| border::error_from_json(error.as_str()))?)
}

/// For tests: runs a group operator on cases in memory.
#[cfg(feature = "testing")]
pub(crate) fn run_group_in_process<T: GroupOperator>(
    settings: &serde_json::Value,
    place: &Place,
    cases: CasesObject,
    host: HostObject,
) -> Result<Outputs, OperatorError> {
    let entry = group_entry::<T>();
    let mut operator = guard(|| (entry.open)(&settings.to_string(), &serde_json::to_string(place)?))?;
    let answer = operator.run(RVec::new(), ROption::RSome(cases), host).into_result();
    border::inputs_from_abi(&answer.map_err(|error| border::error_from_json(error.as_str()))?)
}

/// Makes a shared library of the crate: `export_plugin![Bet, Other]`, group operators after `groups:`.
///
/// Once per plugin, in its `lib.rs`; the crate is `crate-type = ["cdylib", "rlib"]`.
#[macro_export]
macro_rules! export_plugin {
    ($($operator:ty),* $(,)? $(; groups: $($group:ty),* $(,)?)?) => {
        #[allow(unsafe_code, missing_docs, reason = "the two symbols by which the engine knows a plugin")]
        const _: () = {
            use $crate::abi::abi_stable::std_types::{RResult, RStr, RString};

            const ENTRIES: &[$crate::export::Entry] = &[
                $($crate::export::entry::<$operator>(),)*
                $($($crate::export::group_entry::<$group>(),)*)?
            ];

            #[used]
            #[cfg_attr(not(target_os = "macos"), unsafe(link_section = ".neuroloom.tag"))]
            #[cfg_attr(target_os = "macos", unsafe(link_section = "__DATA,__neuroloom_tag"))]
            static TAG: [u8; $crate::abi::TAG_BYTES] = $crate::abi::tag($crate::export::TAG_TEXT);

            extern "C" fn attach(logger: $crate::abi::LoggerObject) {
                $crate::export::attach(logger);
            }
            extern "C" fn describe() -> RResult<RString, RString> {
                $crate::export::describe(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), ENTRIES)
            }
            extern "C" fn interface(
                name: RStr<'_>,
                settings: RStr<'_>,
                wiring: RStr<'_>,
            ) -> RResult<RString, RString> {
                $crate::export::interface(ENTRIES, name.as_str(), settings.as_str(), wiring.as_str())
            }
            extern "C" fn open(
                name: RStr<'_>,
                settings: RStr<'_>,
                place: RStr<'_>,
            ) -> RResult<$crate::abi::OperatorObject, RString> {
                $crate::export::open(ENTRIES, name.as_str(), settings.as_str(), place.as_str())
            }
            extern "C" fn identity(
                name: RStr<'_>,
                settings: RStr<'_>,
                place: RStr<'_>,
            ) -> RResult<RString, RString> {
                $crate::export::identity(ENTRIES, name.as_str(), settings.as_str(), place.as_str())
            }
            extern "C" fn inspect(name: RStr<'_>, file: RStr<'_>) -> RResult<RString, RString> {
                $crate::export::inspect(ENTRIES, name.as_str(), file.as_str())
            }
            fn module() -> $crate::abi::PluginModuleRef {
                use $crate::abi::abi_stable::prefix_type::PrefixTypeTrait;
                $crate::abi::PluginModule { attach, describe, interface, open, identity, inspect }
                    .leak_into_prefix()
            }
            extern "C" fn root() -> $crate::abi::abi_stable::library::RootModuleResult {
                $crate::abi::abi_stable::library::__call_root_module_loader(module)
            }

            // The name abi_stable looks for.
            #[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
            pub static HEADER: $crate::abi::abi_stable::library::LibHeader = unsafe {
                // SAFETY: `root` returns the very module type that is named here.
                $crate::abi::abi_stable::library::LibHeader::from_constructor::<$crate::abi::PluginModuleRef>(
                    root,
                    $crate::abi::abi_stable::library::CheckTypeLayout::Yes,
                )
            };
        };
    };
}

/// Text of the tag: what the engine reads before it opens the file.
pub const TAG_TEXT: &str =
    concat!("abi=1.2 sdk=", env!("CARGO_PKG_VERSION"), " rustc=", env!("NEUROLOOM_RUSTC"));
