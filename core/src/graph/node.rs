//! A node in the making: its operator, its ports, and how far it can be trusted after faults.

use super::kinds::{self, Bindings};
use super::presence::Answer;
use super::settings::Checked;
use crate::catalogue::{Catalogue, Lookup, OperatorRef};
use crate::fault::{Fault, list, nearest};
use crate::plan::{Node, WireSpec};
use crate::workflow::{StageDef, Text};
use sdk::export::OperatorDescription;
use sdk::port::{Interface, Wiring};
use sdk::{Kind, Scope};
use serde_json::Value as Json;
use std::rc::Rc;

/// How much of a node is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// All: its operator may be asked for its ports.
    Sound,
    /// It has a fault: its ports are those of its description.
    Described,
    /// Its operator is unknown.
    Opaque,
}

/// What is known of a node beside the graph.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    pub(crate) trust: Trust,
    /// Its ports when all that can be wired is.
    pub(crate) ports: Rc<Interface>,
    /// For each wire, whether a fault was told about what it reads.
    pub(crate) poisoned: Vec<bool>,
    /// Its settings, with defaults filled in.
    pub(crate) settings: Json,
    /// Kinds of its outputs when all that can be wired is.
    pub(crate) bindings: Bindings,
}

/// An operator that was found.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    pub(super) operator: OperatorRef,
    pub(super) description: OperatorDescription,
    /// The stage's settings for it.
    pub(super) checked: Checked,
}

impl Chosen {
    /// Its ports without asking its plugin.
    pub(super) fn ports(&self) -> Interface {
        let (inputs, outputs) = (self.description.inputs.clone(), self.description.outputs.clone());
        Interface { inputs, outputs, ..Interface::default() }
    }
}

/// The operator of a stage (a cohort stage, if `group`); none after a fault.
pub(super) fn choose(
    def: &StageDef,
    group: bool,
    catalogue: &dyn Catalogue,
    faults: &mut Vec<Fault>,
) -> Option<Chosen> {
    let Text { text: name, span } = def.operator.as_ref()?;
    let stage = &def.name.text;
    match catalogue.find(name) {
        Ok(found) if group == (found.description.scope != Scope::Case) => {
            let checked = Checked::default();
            Some(Chosen { operator: found.operator, description: found.description.clone(), checked })
        }
        Ok(_) => {
            let (message, section) = if group {
                (format!("cohort stage `{stage}` runs `{name}`, which works on single cases"), "stages")
            } else {
                let message = format!("stage `{stage}` runs `{name}`, which does not work on single cases");
                (message, "cohort.stages")
            };
            faults.push(Fault::at(*span, message).hint(format!("move it to `[{section}.{stage}]`")));
            None
        }
        Err(Lookup::Unknown) => {
            let all = catalogue.operators();
            let bare = name.rsplit(':').next().unwrap_or(name);
            let names: Vec<&str> = all.iter().map(|operator| operator.name.as_str()).collect();
            let fault = Fault::at(*span, format!("stage `{stage}` runs `{name}`, but no plugin offers it"));
            faults.push(match nearest(bare, names.iter().copied()) {
                Some(near) if near != bare => fault.hint(format!("did you mean `{near}`?")),
                Some(near) => {
                    let plugins: Vec<_> =
                        all.iter().filter(|o| o.name == near).map(|o| o.plugin.as_str()).collect();
                    fault.hint(format!("`{near}` is offered by plugin {}", list(&plugins)))
                }
                None => fault.hint("`neuroloom plugins list` shows what there is"),
            });
            None
        }
        Err(Lookup::Ambiguous(offers)) => {
            let message = format!("stage `{stage}` runs `{name}`, which more than one plugin offers");
            faults.push(Fault::at(*span, message).hint(format!("write one of {}", list(&offers))));
            None
        }
    }
}

/// What is wired to one port of a stage, as written.
#[derive(Clone, Debug)]
pub(super) struct PortWires {
    pub(super) port: Text,
    /// Whether a set is wired; unknown after a fault.
    pub(super) set: Option<bool>,
    pub(super) wires: Vec<WireSpec>,
    /// For each wire, whether a fault was told about it.
    pub(super) poisoned: Vec<bool>,
}

/// Checks the wires of a node against its ports and says how much is known of it. `kinds` is what each of its wires carries
/// when all inputs are there, and `ask` puts a wiring to its plugin.
pub(super) fn examine(
    node: &Node,
    ports: &[PortWires],
    chosen: Option<&Chosen>,
    kinds: &[Option<Kind>],
    faults: &mut Vec<Fault>,
    ask: impl FnOnce(Wiring) -> Answer,
) -> Health {
    let poisoned: Vec<bool> = ports.iter().flat_map(|port| port.poisoned.clone()).collect();
    let Some(chosen) = chosen else {
        let (ports, settings, bindings) = (Rc::default(), Json::Null, Bindings::default());
        return Health { trust: Trust::Opaque, ports, poisoned, settings, bindings };
    };
    let mut trust = if chosen.checked.valid { Trust::Sound } else { Trust::Described };
    let mut interface = Rc::new(chosen.ports());
    if trust == Trust::Sound && !poisoned.contains(&true) && kinds.iter().all(Option::is_some) {
        let mut wiring = Wiring::default();
        for (wire, kind) in node.wires.iter().zip(kinds) {
            let member = (wire.member.clone(), kind.unwrap_or(Kind::Image));
            wiring.ports.entry(wire.port.clone()).or_default().push(member);
        }
        if let Ok(answer) = ask(wiring) {
            interface = answer;
        }
    }
    let before = faults.len();
    check_ports(node, ports, chosen, &interface, faults);
    if faults.len() > before {
        trust = Trust::Described;
    }
    let wired = node.wires.iter().zip(kinds).enumerate();
    let wired = wired.map(|(at, (wire, kind))| (at, wire.port.clone(), *kind));
    let (bindings, _) = Bindings::bind(&interface, wired);
    let settings = super::settings::with_defaults(&chosen.checked.json, &chosen.description.settings);
    Health { trust, ports: interface, poisoned, settings, bindings }
}

fn check_ports(
    node: &Node,
    ports: &[PortWires],
    chosen: &Chosen,
    interface: &Interface,
    faults: &mut Vec<Fault>,
) {
    let operator = &chosen.operator.name;
    let described = chosen.ports();
    let names: Vec<&str> = interface.inputs.iter().map(|port| port.name.as_str()).collect();
    let mut meant = Vec::new();
    for wired in ports {
        let name = wired.port.text.as_str();
        let spec = kinds::input(interface, name).or_else(|| kinds::input(&described, name));
        let Some(spec) = spec else {
            let free =
                names.iter().copied().filter(|known| !ports.iter().any(|port| port.port.text == *known));
            let fault = Fault::at(wired.port.span, format!("operator `{operator}` has no input `{name}`"));
            let near = nearest(name, free);
            meant.extend(near);
            faults.push(match near {
                Some(near) => fault.hint(format!("did you mean `{near}`?")),
                None if names.is_empty() => fault.hint("it reads nothing"),
                None => fault.hint(format!("it reads {}", list(&names))),
            });
            continue;
        };
        if wired.poisoned.contains(&true) {
            continue;
        }
        let place = wired.wires.first().map_or(wired.port.span, |wire| wire.span);
        if spec.many && wired.set == Some(false) {
            let text = wired.wires.first().map_or("", |wire| wire.text.as_str());
            let last = text.rsplit('.').next().unwrap_or("name");
            let message =
                format!("stage `{}` wires the single `{text}` to `{name}`, which takes a set", node.stage);
            faults
                .push(Fault::at(place, message).hint(format!("write `{name} = {{ {last} = \"{text}\" }}`")));
        }
        if !spec.many && wired.set == Some(true) {
            let message =
                format!("stage `{}` wires a set to `{name}`, which takes a single value", node.stage);
            let hint = format!("name one member, or map the stage over the set with `each.{name}`");
            faults.push(Fault::at(place, message).hint(hint));
        }
    }
    for port in interface.inputs.iter().filter(|port| !port.optional) {
        let wired = ports.iter().any(|wired| wired.port.text == port.name);
        if !wired && !meant.contains(&port.name.as_str()) {
            let message = format!(
                "stage `{}` has nothing at `{}`, which operator `{operator}` needs ({})",
                node.label(),
                port.name,
                port.kind
            );
            let value = if port.many { "{ … }" } else { "\"…\"" };
            faults.push(Fault::at(node.span, message).hint(format!("add `inputs.{} = {value}`", port.name)));
        }
    }
}
