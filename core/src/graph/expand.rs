//! Expansion: stages become nodes, names become sources, `each` and `insert_after` are spread.

mod cohort;

use super::names::{Feeder, Members, Name, Offer, Resolved, Resolver, Scope, Shape};
use super::node::{self, Chosen, Health, PortWires, Trust};
use super::presence::Interfaces;
use super::settings;
use super::{kinds, order};
use crate::catalogue::{Catalogue, OperatorRef};
use crate::fault::{Fault, Sources, list};
use crate::plan::{Graph, Node, OutputSpec, Source, WireSpec};
use crate::workflow::{Feed, InsertDef, Member, PortDef, StageDef, Text, Workflow};
use sdk::Kind;
use sdk::port::{KindSpec, PortSpec};
use std::collections::HashMap;
use std::rc::Rc;

/// The graph of a workflow, and how much of each node is known. The stages of the cohort are its last nodes.
pub(super) fn expand(
    workflow: &Workflow,
    sources: &Sources,
    catalogue: &dyn Catalogue,
    faults: &mut Vec<Fault>,
) -> (Graph, Vec<Health>) {
    let scope = Scope::of(workflow, faults);
    let order = order::order(workflow, &scope, faults);
    let files = sources.texts().iter().map(|source| source.path.clone());
    let graph = Graph {
        name: workflow.name.clone(),
        version: workflow.version.clone(),
        dataset: workflow.dataset,
        files: files.filter(|path| !path.starts_with("--set") && !path.starts_with("--use")).collect(),
        digest: String::new(),
        inputs: workflow.inputs.clone(),
        nodes: Vec::new(),
        outputs: Vec::new(),
        cohort: Vec::new(),
        cohort_outputs: Vec::new(),
        notes: Vec::new(),
    };
    let resolver = Resolver {
        workflow,
        scope: &scope,
        shapes: HashMap::new(),
        groups: HashMap::new(),
        redirects: HashMap::new(),
    };
    let mut expander = Expander {
        resolver,
        graph,
        health: Vec::new(),
        sources,
        catalogue,
        cache: Interfaces::default(),
        faults,
    };
    for stage in order {
        expander.stage(stage);
    }
    for value in 0..workflow.values.len() {
        expander.resolver.value(value, expander.faults);
    }
    expander.groups();
    expander.outputs();
    expander.group_outputs();
    (expander.graph, expander.health)
}

/// A set or single value, looked up.
struct Wires {
    /// Whether it is a set; unknown after a fault.
    set: Option<bool>,
    /// Member, where it comes from, and what was written.
    list: Vec<(String, Feeder, Text)>,
    /// Members that were removed or dropped.
    gone: Vec<String>,
}

struct Expander<'a> {
    resolver: Resolver<'a>,
    graph: Graph,
    health: Vec<Health>,
    sources: &'a Sources,
    catalogue: &'a dyn Catalogue,
    cache: Interfaces,
    faults: &'a mut Vec<Fault>,
}

impl Expander<'_> {
    fn stage(&mut self, index: usize) {
        let def = &self.resolver.workflow.stages[index];
        let mut chosen = node::choose(def, false, self.catalogue, self.faults);
        self.check_settings(def, chosen.as_mut());
        self.conditions(def);
        let reader = format!("stage `{}`", def.name.text);
        let shared: Vec<_> = def.inputs.iter().map(|port| (port, self.wires(&port.feed, &reader))).collect();
        let mut each: Vec<_> =
            def.each.iter().map(|port| (port.port.clone(), self.wires(&port.feed, &reader))).collect();
        let insert = def.insert_after.as_ref().and_then(|insert| self.insert(def, insert, chosen.as_ref()));
        let mut single = None;
        let output = insert.map(|(port, output, wires)| {
            if wires.set == Some(true) {
                each.push((port, wires));
            } else {
                single = Some((port, wires));
            }
            output
        });
        // If it could not be put on its wires, what it lacks was told.
        let usable = chosen.as_ref().filter(|_| def.insert_after.is_none() || output.is_some());
        let mut shape = Shape { each: !each.is_empty(), ..Shape::default() };
        shape.opaque = usable.is_none() || each.iter().any(|(_, wires)| wires.set != Some(true));
        for (member, gone) in self.members(def, &each) {
            if gone {
                shape.gone.push(member);
                continue;
            }
            let mut ports: Vec<_> =
                shared.iter().map(|(port, wires)| port_wires(&port.port, wires)).collect();
            ports.extend(single.iter().map(|(port, wires)| port_wires(port, wires)));
            ports.extend(each.iter().map(|(port, wires)| self.member_wires(def, port, wires, &member)));
            let node = self.node(def, &member, &ports, usable);
            shape.nodes.push((member, node, self.offers(node)));
        }
        if let Some(output) = output {
            self.redirect(&shape, &output);
        }
        self.name_outputs(&mut shape, chosen.as_ref());
        self.resolver.shapes.insert(index, shape);
    }

    fn check_settings(&mut self, def: &StageDef, chosen: Option<&mut Chosen>) {
        let Some(chosen) = chosen else { return };
        let (schema, operator) = (&chosen.description.settings, &chosen.operator.name);
        chosen.checked = settings::check(def.settings.as_ref(), schema, self.sources, operator, self.faults);
    }

    /// `only_with` and `only_without` name inputs that may be absent.
    fn conditions(&mut self, def: &StageDef) {
        for text in def.only_with.iter().chain(&def.only_without) {
            let names: Vec<_> = self
                .graph
                .inputs
                .iter()
                .filter(|input| !input.required)
                .map(|input| input.name.as_str())
                .collect();
            let removed = self.resolver.scope.get(&text.text) == Some(Name::Removed);
            if !removed && !names.contains(&text.text.as_str()) {
                let message = format!(
                    "stage `{}` depends on `{}`, which is no optional input",
                    def.name.text, text.text
                );
                let hint = if names.is_empty() {
                    "no input is optional".to_owned()
                } else {
                    format!("optional inputs are {}", list(&names))
                };
                self.faults.push(Fault::at(text.span, message).hint(hint));
            }
        }
    }

    fn wires(&mut self, feed: &Feed, reader: &str) -> Wires {
        let mut wires = Wires { set: Some(true), list: Vec::new(), gone: Vec::new() };
        let members = match feed {
            Feed::Set(members) => members,
            Feed::One(text) => {
                match self.resolver.resolve(text, reader, self.faults) {
                    Resolved::Poison => {
                        wires.set = None;
                        let feeder = Feeder { candidates: Vec::new(), poisoned: true };
                        wires.list.push((String::new(), feeder, text.clone()));
                    }
                    Resolved::Nothing => {
                        wires.set = None;
                        wires.list.push((String::new(), Feeder::default(), text.clone()));
                    }
                    Resolved::One(feeder) => {
                        wires.set = Some(false);
                        wires.list.push((String::new(), feeder, text.clone()));
                    }
                    Resolved::Set(set) => splice(&mut wires, set, text, &[]),
                }
                return wires;
            }
        };
        // A member with a name of its own takes the place of the one that `*` brings.
        let own = |member: &Member| {
            if let Member::Named(name, _) = member { Some(name.text.clone()) } else { None }
        };
        let own: Vec<String> = members.iter().filter_map(own).collect();
        for member in members {
            self.member(member, &own, reader, &mut wires);
        }
        for member in members {
            if let Member::Without(name) = member {
                wires.list.retain(|(known, ..)| *known != name.text);
                wires.gone.push(name.text.clone());
            }
        }
        wires
    }

    fn member(&mut self, member: &Member, own: &[String], reader: &str, wires: &mut Wires) {
        let (name, text) = match member {
            Member::Without(_) => return,
            Member::Named(name, text) => (Some(name), text),
            Member::Listed(text) | Member::All(text) => (None, text),
        };
        let last = text.text.rsplit('.').next().unwrap_or_default();
        let name = name.map_or(last, |name| name.text.as_str()).to_owned();
        let resolved = self.resolver.resolve(text, reader, self.faults);
        match (resolved, member) {
            (Resolved::Poison, Member::All(_)) => wires.set = None,
            (Resolved::Nothing, Member::All(_)) => {}
            (Resolved::One(_), Member::All(_)) => {
                let message = format!("{reader} reads `{}` as a set, but it is a single value", text.text);
                let hint = format!("give it a name: `{last} = \"{}\"`", text.text);
                self.faults.push(Fault::at(text.span, message).hint(hint));
                wires.set = None;
            }
            (Resolved::Set(set), Member::Named(..)) => {
                self.faults.push(super::names::one_of_set(text, reader, &set));
                wires.list.push((name, Feeder { candidates: Vec::new(), poisoned: true }, text.clone()));
            }
            (Resolved::Set(set), _) => splice(wires, set, text, own),
            (Resolved::Poison, _) => {
                wires.list.push((name, Feeder { candidates: Vec::new(), poisoned: true }, text.clone()));
            }
            (Resolved::Nothing, _) => wires.gone.push(name),
            (Resolved::One(feeder), _) => {
                if wires.list.iter().any(|(known, ..)| *known == name) {
                    let fault = Fault::at(text.span, format!("{reader} has more than one member `{name}`"));
                    self.faults.push(fault.hint("name one of them otherwise: `{ name = \"…\" }`"));
                } else {
                    wires.list.push((name, feeder, text.clone()));
                }
            }
        }
    }

    /// The members a stage is mapped over, and whether each was removed; one without a name if it is not mapped.
    fn members(&mut self, def: &StageDef, each: &[(Text, Wires)]) -> Vec<(String, bool)> {
        if each.is_empty() {
            return vec![(String::new(), false)];
        }
        let mut members: Vec<(String, bool)> = Vec::new();
        for (port, wires) in each {
            if wires.set == Some(false) {
                let (_, _, text) = &wires.list[0];
                let message = format!(
                    "stage `{}` is mapped over `{}`, which is a single value, not a set",
                    def.name.text, text.text
                );
                let hint = format!("write `inputs.{} = \"{}\"`", port.text, text.text);
                self.faults.push(Fault::at(text.span, message).hint(hint));
            }
            if wires.set == Some(true) {
                let known = wires.list.iter().map(|(name, ..)| (name, false));
                for (name, gone) in known.chain(wires.gone.iter().map(|name| (name, true))) {
                    if !members.iter().any(|(member, _)| member == name) {
                        members.push((name.clone(), gone));
                    }
                }
            }
        }
        members
    }

    /// What a mapped stage reads at a port for one member.
    fn member_wires(&mut self, def: &StageDef, port: &Text, wires: &Wires, member: &str) -> PortWires {
        let one = Wires { set: Some(false), list: Vec::new(), gone: Vec::new() };
        let found = wires.list.iter().find(|(name, ..)| name == member);
        let mut one = match found {
            Some((_, feeder, text)) => {
                Wires { list: vec![(String::new(), feeder.clone(), text.clone())], ..one }
            }
            None => one,
        };
        if one.list.is_empty() {
            let poisoned = wires.set != Some(true);
            if !poisoned && !wires.gone.iter().any(|gone| gone == member) {
                let names: Vec<_> = wires.list.iter().map(|(name, ..)| name.as_str()).collect();
                let message = format!(
                    "stage `{}` is mapped over `{member}`, but `each.{}` has no such member",
                    def.name.text, port.text
                );
                self.faults.push(Fault::at(port.span, message).hint(format!("it has {}", list(&names))));
            }
            one.list.push((String::new(), Feeder { candidates: Vec::new(), poisoned }, port.clone()));
        }
        port_wires(port, &one)
    }

    fn node(&mut self, def: &StageDef, member: &str, ports: &[PortWires], chosen: Option<&Chosen>) -> usize {
        let names = |texts: &[Text]| texts.iter().map(|text| text.text.clone()).collect();
        let node = Node {
            stage: def.name.text.clone(),
            member: member.to_owned(),
            operator: chosen.map_or_else(OperatorRef::default, |chosen| chosen.operator.clone()),
            role: chosen.and_then(|chosen| chosen.description.role.clone()),
            settings: chosen.map_or(serde_json::Value::Null, |chosen| chosen.checked.json.clone()),
            files: chosen.map_or_else(Vec::new, |chosen| chosen.checked.files.clone()),
            wires: ports.iter().flat_map(|port| port.wires.clone()).collect(),
            always: def.always,
            only_with: names(&def.only_with),
            only_without: names(&def.only_without),
            means: def.means.clone(),
            span: def.name.span,
        };
        let index = self.graph.nodes.len();
        let first = |wire: &WireSpec| wire.candidates.first().and_then(|source| self.kind(source));
        let kinds: Vec<_> = node.wires.iter().map(first).collect();
        let ask = |wiring| self.cache.ask(index, &node, wiring, self.catalogue);
        let health = node::examine(&node, ports, chosen, &kinds, self.faults, ask);
        self.graph.nodes.push(node);
        self.health.push(health);
        index
    }

    /// What a source holds when all inputs are there.
    fn kind(&self, source: &Source) -> Option<Kind> {
        match source {
            Source::Input(name) => self.graph.input(name).map(|input| input.kind),
            Source::Reserved(reserved) => Some(reserved.kind()),
            Source::Output { node, port, .. } => {
                let health = &self.health[*node];
                kinds::output(&health.ports, port).and_then(|spec| health.bindings.of(spec))
            }
        }
    }

    fn offers(&self, node: usize) -> Vec<(String, Offer)> {
        let offer = |port: &PortSpec| {
            let offer = if port.many { Offer::Set(port.members.clone()) } else { Offer::One };
            (port.name.clone(), offer)
        };
        self.health[node].ports.outputs.iter().map(offer).collect()
    }

    fn name_outputs(&self, shape: &mut Shape, chosen: Option<&Chosen>) {
        let Some(chosen) = chosen else { return };
        shape.operator.clone_from(&chosen.operator.name);
        let first = shape.nodes.first().map(|(_, node, _)| &self.health[*node]);
        let ports = first.map_or_else(|| Rc::new(chosen.ports()), |health| Rc::clone(&health.ports));
        let kind = |port: &PortSpec| {
            let kind = first.and_then(|health| health.bindings.of(port)).map(|kind| kind.name().to_owned());
            let kind = kind.unwrap_or_else(|| port.kind.to_string());
            if port.many { format!("set of {kind}") } else { kind }
        };
        shape.outputs = ports.outputs.iter().map(|port| (port.name.clone(), kind(port))).collect();
        // A set whose members could not be asked for.
        let unknown = |health: &Health| {
            health.trust != Trust::Sound && health.ports.outputs.iter().any(|port| port.many)
        };
        shape.opaque |= shape.nodes.iter().any(|(_, node, _)| unknown(&self.health[*node]));
    }

    /// Where a stage is put on wires: its input, its output, and what it reads.
    fn insert(
        &mut self,
        def: &StageDef,
        insert: &InsertDef,
        chosen: Option<&Chosen>,
    ) -> Option<(Text, String, Wires)> {
        let reader = format!("stage `{}`", def.name.text);
        let listed = insert.wires.iter().cloned().map(Member::Listed).collect();
        let feed = match insert.wires.as_slice() {
            [wire] => Feed::One(wire.clone()),
            _ => Feed::Set(listed),
        };
        let wires = self.wires(&feed, &reader);
        for (_, feeder, text) in &wires.list {
            if feeder.candidates.len() > 1 || matches!(feeder.candidates.first(), Some(Source::Reserved(_))) {
                let message = format!("{reader} cannot be put after `{}`", text.text);
                self.faults.push(Fault::at(text.span, message).hint("name an input or a stage's output"));
            }
        }
        if !def.each.is_empty() {
            let fault = Fault::at(def.name.span, format!("{reader} has both `each` and `insert_after`"));
            self.faults
                .push(fault.hint("`insert_after` takes a list of wires, and maps the stage over them"));
            return None;
        }
        let chosen = chosen?;
        match insert_ports(def, insert, chosen) {
            Ok((input, output)) => {
                let span = insert.wires.first().map_or(def.name.span, |wire| wire.span);
                Some((Text { text: input, span }, output, wires))
            }
            Err(message) => {
                let span = insert.wires.first().map_or(def.name.span, |wire| wire.span);
                let fault = Fault::at(span, format!("{reader} cannot be put on a wire: {message}"));
                let hint = "say which: `insert_after = { wires = […], input = \"…\", output = \"…\" }`";
                self.faults.push(fault.hint(hint));
                None
            }
        }
    }

    /// From now on, who reads the wires reads the stage that was put on them.
    fn redirect(&mut self, shape: &Shape, output: &str) {
        for (_, index, _) in &shape.nodes {
            let node = &self.graph.nodes[*index];
            // The wire it was put on comes last.
            let Some(source) = node.wires.last().and_then(|wire| wire.candidates.first()) else { continue };
            let new = Source::Output { node: *index, port: output.to_owned(), member: String::new() };
            self.resolver.redirects.insert(source.clone(), new);
        }
    }

    fn outputs(&mut self) {
        let defs = &self.resolver.workflow.outputs;
        for def in defs {
            let reader = format!("output `{}`", def.name.text);
            let wires = self.wires(&def.from, &reader);
            let port = Text { text: String::new(), span: def.name.span };
            let specs = port_wires(&port, &wires).wires;
            let kind = |wires: &[WireSpec]| {
                let kinds =
                    wires.iter().flat_map(|wire| &wire.candidates).filter_map(|source| self.kind(source));
                // The names of documents and files end as their content says.
                kinds.into_iter().find(|kind| !matches!(kind, Kind::Document | Kind::File))
            };
            let same = |other: &&OutputSpec| {
                def.bids.is_some()
                    && other.dataset == def.dataset
                    && other.bids.as_ref() == def.bids.as_ref().map(|bids| &bids.text)
                    && kind(&specs).is_some_and(|kind_here| kind(&other.wires) == Some(kind_here))
            };
            if let (Some(other), Some(bids)) = (self.graph.outputs.iter().find(same), &def.bids) {
                let message =
                    format!("outputs `{}` and `{}` would have one file name", other.name, def.name.text);
                self.faults
                    .push(Fault::at(bids.span, message).hint("give one of them another `bids` or `dataset`"));
            }
            self.graph.outputs.push(OutputSpec {
                name: def.name.text.clone(),
                wires: specs,
                bids: def.bids.as_ref().map(|bids| bids.text.clone()),
                dataset: def.dataset.clone(),
                sidecar: def.sidecar.clone(),
                span: def.name.span,
            });
        }
        if defs.is_empty() && self.resolver.workflow.group_outputs.is_empty() {
            let fault = Fault::whole("the workflow has no outputs, so nothing of it is needed");
            self.faults.push(fault.hint("name what to publish under `[outputs]`"));
        }
    }
}

fn splice(wires: &mut Wires, set: Members, text: &Text, own: &[String]) {
    for (member, feeder) in set.list {
        if !own.contains(&member) && !wires.list.iter().any(|(known, ..)| *known == member) {
            let part = Text { text: format!("{}.{member}", text.text), span: text.span };
            wires.list.push((member, feeder, part));
        }
    }
    wires.gone.extend(set.gone);
}

fn port_wires(port: &Text, wires: &Wires) -> PortWires {
    let mut specs = Vec::new();
    let mut poisoned = Vec::new();
    for (member, feeder, text) in &wires.list {
        specs.push(WireSpec {
            port: port.text.clone(),
            member: member.clone(),
            candidates: feeder.candidates.clone(),
            text: text.text.clone(),
            span: text.span,
        });
        poisoned.push(feeder.poisoned);
    }
    if specs.is_empty() {
        // All members were removed, or are unknown: the port was wired, but to nothing.
        let text = wires.gone.first().cloned().unwrap_or_else(|| port.text.clone());
        let (port, span) = (port.text.clone(), port.span);
        specs.push(WireSpec { port, member: String::new(), candidates: Vec::new(), text, span });
        poisoned.push(wires.set.is_none());
    }
    PortWires { port: port.clone(), set: wires.set, wires: specs, poisoned }
}

/// The one volume a stage on a wire reads, and the one of the same kind that it makes.
fn insert_ports(def: &StageDef, insert: &InsertDef, chosen: &Chosen) -> Result<(String, String), String> {
    let operator = &chosen.operator.name;
    let one = |ports: Vec<&PortSpec>, what: &str| match ports.as_slice() {
        [port] => Ok(port.name.clone()),
        [] => Err(format!("operator `{operator}` has no {what}")),
        many => {
            let names: Vec<_> = many.iter().map(|port| port.name.as_str()).collect();
            Err(format!("operator `{operator}` has more than one {what}: {}", list(&names)))
        }
    };
    let volume = |port: &PortSpec| match port.kind {
        KindSpec::Exact(kind) => kind.is_volume(),
        KindSpec::Volume(_) => true,
        KindSpec::Any => false,
    };
    let wired =
        |port: &PortSpec| def.inputs.iter().any(|PortDef { port: wired, .. }| wired.text == port.name);
    let description = &chosen.description;
    let input = if let Some(name) = &insert.input {
        name.text.clone()
    } else {
        let free = description.inputs.iter();
        let free = free.filter(|port| volume(port) && !port.optional && !port.many && !wired(port));
        one(free.collect(), "volume to read from the wire")?
    };
    let Some(spec) = description.inputs.iter().find(|port| port.name == input) else {
        return Err(format!("operator `{operator}` has no input `{input}`"));
    };
    let output = if let Some(name) = &insert.output {
        name.text.clone()
    } else {
        let alike = description.outputs.iter().filter(|port| port.kind == spec.kind && !port.many);
        one(alike.collect(), "output of the kind it reads")?
    };
    if !description.outputs.iter().any(|port| port.name == output) {
        return Err(format!("operator `{operator}` has no output `{output}`"));
    }
    Ok((input, output))
}
