//! Kinds: which may feed which, and what the variables of an operator's ports stand for.

use sdk::Kind;
use sdk::port::{Interface, KindSpec, PortSpec};
use std::collections::HashMap;

/// What the kind variables of an operator stand for. What is unknown fits everywhere.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bindings(HashMap<String, Kind>);

impl Bindings {
    /// Binds the variables of `interface` to the kinds that are wired, and tells which wires do not fit, each with what was
    /// expected. `wired` is a port and a kind for each wire.
    pub(crate) fn bind(
        interface: &Interface,
        wired: impl IntoIterator<Item = (usize, String, Option<Kind>)>,
    ) -> (Self, Vec<(usize, String)>) {
        let mut bindings = Self::default();
        let mut misfits = Vec::new();
        for (wire, port, kind) in wired {
            let (Some(spec), Some(kind)) = (input(interface, &port), kind) else { continue };
            match &spec.kind {
                KindSpec::Exact(expected) if !kind.may_feed(*expected) => {
                    misfits.push((wire, with_article(expected.name())));
                }
                KindSpec::Volume(_) if !kind.is_volume() => {
                    misfits.push((wire, "an image, a mask, labels or a probability".to_owned()));
                }
                KindSpec::Volume(variable) if !variable.is_empty() => {
                    let bound = *bindings.0.entry(variable.clone()).or_insert(kind);
                    if bound != kind {
                        misfits.push((wire, format!("{}, as at another input", with_article(bound.name()))));
                    }
                }
                _ => {}
            }
        }
        (bindings, misfits)
    }

    /// What an output holds, if that is known.
    pub(crate) fn of(&self, spec: &PortSpec) -> Option<Kind> {
        match &spec.kind {
            KindSpec::Exact(kind) => Some(*kind),
            KindSpec::Volume(variable) => self.0.get(variable).copied(),
            KindSpec::Any => None,
        }
    }
}

/// The input port of that name.
pub(crate) fn input<'a>(interface: &'a Interface, name: &str) -> Option<&'a PortSpec> {
    interface.inputs.iter().find(|port| port.name == name)
}

/// The output port of that name.
pub(crate) fn output<'a>(interface: &'a Interface, name: &str) -> Option<&'a PortSpec> {
    interface.outputs.iter().find(|port| port.name == name)
}

/// "a mask", "an image", "labels", "text".
pub(crate) fn with_article(kind: &str) -> String {
    match kind {
        "labels" | "text" => kind.to_owned(),
        "image" => format!("an {kind}"),
        _ => format!("a {kind}"),
    }
}
