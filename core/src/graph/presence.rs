//! Presence: for one pattern of inputs, which nodes run, on what, and why the others do not.

use super::kinds::{self, Bindings};
use super::node::{Health, Trust};
use super::unify::Sink;
use crate::catalogue::Catalogue;
use crate::fault::list;
use crate::plan::{
    Graph, GroupNode, GroupPlan, Impossible, Node, NodePlan, OutputPlan, Plan, Source, Wire, WireSpec,
};
use sdk::port::{Interface, Wiring};
use sdk::{Cause, Kind, OperatorError};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

/// A plugin's answer about its ports.
pub(crate) type Answer = Result<Rc<Interface>, OperatorError>;
type Question = (usize, BTreeMap<String, Vec<(String, Kind)>>);

/// What operators answered about their ports: each question is asked once.
#[derive(Debug, Default)]
pub(crate) struct Interfaces {
    answers: RefCell<HashMap<Question, Answer>>,
    /// Ports by description, for each node.
    described: RefCell<HashMap<usize, Option<Rc<Interface>>>>,
}

impl Interfaces {
    /// The node's ports for a wiring.
    pub(crate) fn ask(&self, index: usize, node: &Node, wiring: Wiring, catalogue: &dyn Catalogue) -> Answer {
        let question = (index, wiring.ports);
        if let Some(answer) = self.answers.borrow().get(&question) {
            return answer.clone();
        }
        let wiring = Wiring { ports: question.1.clone() };
        let answer = catalogue.interface(&node.operator, &node.settings, &wiring).map(Rc::new);
        self.answers.borrow_mut().insert(question, answer.clone());
        answer
    }

    /// The node's ports without asking its plugin; none if its operator is unknown.
    fn described(&self, index: usize, node: &Node, catalogue: &dyn Catalogue) -> Option<Rc<Interface>> {
        let describe = || {
            let found = catalogue.find(&node.operator.to_string()).ok()?;
            let (inputs, outputs) = (found.description.inputs.clone(), found.description.outputs.clone());
            Some(Rc::new(Interface { inputs, outputs, ..Interface::default() }))
        };
        self.described.borrow_mut().entry(index).or_insert_with(describe).clone()
    }
}

/// What an operator does instead of telling its ports, in words.
fn refusal(error: &OperatorError) -> String {
    let place = error.location.as_ref().map(|place| format!(" (at {place})")).unwrap_or_default();
    let verb = match error.cause {
        Cause::Refused => "refuses",
        Cause::Panicked => "panics when asked for its ports",
        _ => "cannot tell its ports",
    };
    format!("{verb}: {}{place}", error.message)
}

/// What happens to a node.
pub(crate) enum State {
    /// Skipped; the chain of reasons from its root.
    Skip(String),
    /// It runs, but nothing is known of it after a fault.
    Opaque,
    /// It runs.
    Run(Running),
}

/// A node that runs.
pub(crate) struct Running {
    /// The wires that carry something.
    pub(crate) wires: Vec<Carried>,
    pub(crate) interface: Rc<Interface>,
    pub(crate) bindings: Bindings,
    /// Wires whose kind does not fit, each with what was expected.
    pub(crate) misfits: Vec<(usize, String)>,
}

/// A wire that carries something.
pub(crate) struct Carried {
    /// Index into [`Node::wires`].
    pub(crate) wire: usize,
    /// Unknown after a fault.
    pub(crate) source: Option<Source>,
    /// Unknown after a fault.
    pub(crate) kind: Option<Kind>,
}

/// What one pattern comes to.
pub(crate) struct Evaluation {
    /// For each node.
    pub(crate) states: Vec<State>,
    /// For each output.
    pub(crate) outputs: Vec<OutputPlan>,
    /// For each stage of the cohort.
    pub(crate) groups: Vec<GroupPlan>,
    /// Whether such a case brings a result to a stage of the cohort.
    pub(crate) counts: bool,
    /// Operators that refuse, by node.
    pub(crate) refusals: Vec<(usize, OperatorError)>,
}

enum Found {
    Absent(String),
    Present(Option<Source>, Option<Kind>),
}

/// Follows presence through the graph. `health` is that of the nodes, or empty if there are no faults.
pub(crate) fn evaluate(
    graph: &Graph,
    health: &[Health],
    present: &BTreeSet<String>,
    catalogue: &dyn Catalogue,
    cache: &Interfaces,
) -> Evaluation {
    let mut pass =
        Pass { graph, health, present, catalogue, cache, states: Vec::new(), refusals: Vec::new() };
    for index in 0..graph.nodes.len() {
        let state = pass.node(index);
        pass.states.push(state);
    }
    let outputs = graph.outputs.iter().map(|output| pass.output(&output.wires)).collect();
    let groups: Vec<_> = graph.cohort.iter().map(|group| pass.group(group)).collect();
    let counts = groups.iter().any(|group| group.lacks.is_none() && !tells_only(graph, group));
    Evaluation { states: pass.states, outputs, groups, counts, refusals: pass.refusals }
}

/// Whether all that a case brings to a stage of the cohort comes from stages that always run: a page of it is no result.
fn tells_only(graph: &Graph, group: &GroupPlan) -> bool {
    let always = |wire: &Wire| matches!(wire.source, Source::Output { node, .. } if graph.nodes[node].always);
    !group.wiring.is_empty() && group.wiring.iter().all(always)
}

struct Pass<'a> {
    graph: &'a Graph,
    health: &'a [Health],
    present: &'a BTreeSet<String>,
    catalogue: &'a dyn Catalogue,
    cache: &'a Interfaces,
    states: Vec<State>,
    refusals: Vec<(usize, OperatorError)>,
}

impl Pass<'_> {
    fn node(&mut self, index: usize) -> State {
        let node = &self.graph.nodes[index];
        let health = self.health.get(index);
        if let Some(reason) = self.condition(node) {
            return State::Skip(reason);
        }
        if health.is_some_and(|health| health.trust == Trust::Opaque) {
            return State::Opaque;
        }
        let mut carried = Vec::new();
        let mut absent: BTreeMap<&str, String> = BTreeMap::new();
        for (wire, spec) in node.wires.iter().enumerate() {
            match self.pick(spec, health.is_some_and(|health| health.poisoned[wire])) {
                Found::Present(source, kind) => carried.push(Carried { wire, source, kind }),
                Found::Absent(reason) => {
                    absent.entry(&spec.port).or_insert(reason);
                }
            }
        }
        for one in &carried {
            absent.remove(node.wires[one.wire].port.as_str());
        }
        let described = self.cache.described(index, node, self.catalogue);
        let lacks = |interface: &Interface| {
            let required = interface.inputs.iter().filter(|port| !port.optional);
            required.into_iter().find_map(|port| absent.get(port.name.as_str()).cloned())
        };
        if let Some(reason) = described.as_deref().and_then(lacks) {
            return State::Skip(reason);
        }
        let fallback = || health.map(|health| Rc::clone(&health.ports)).or(described).unwrap_or_default();
        let interface = self.ask(index, node, health, &carried).unwrap_or_else(fallback);
        if let Some(reason) = lacks(&interface) {
            return State::Skip(reason);
        }
        let wired = carried.iter().map(|one| (one.wire, node.wires[one.wire].port.clone(), one.kind));
        let (bindings, misfits) = Bindings::bind(&interface, wired);
        State::Run(Running { wires: carried, interface, bindings, misfits })
    }

    /// Why the node does not run by what was written in `only_with` and `only_without`.
    fn condition(&self, node: &Node) -> Option<String> {
        let lacking = node.only_with.iter().find(|name| !self.present.contains(*name));
        if let Some(name) = lacking {
            return Some(format!("input `{name}` is absent"));
        }
        let there = node.only_without.iter().find(|name| self.present.contains(*name));
        there.map(|name| format!("input `{name}` is present"))
    }

    /// The plugin's answer; none if it refuses, or if faults make it pointless to ask.
    fn ask(
        &mut self,
        index: usize,
        node: &Node,
        health: Option<&Health>,
        carried: &[Carried],
    ) -> Option<Rc<Interface>> {
        if health.is_some_and(|health| health.trust != Trust::Sound) {
            return None;
        }
        let mut wiring = Wiring::default();
        for one in carried {
            let spec = &node.wires[one.wire];
            wiring.ports.entry(spec.port.clone()).or_default().push((spec.member.clone(), one.kind?));
        }
        match self.cache.ask(index, node, wiring, self.catalogue) {
            Ok(interface) => {
                let wired = |name: &str| node.wires.iter().any(|wire| wire.port == name);
                let bare = interface.inputs.iter().find(|port| !port.optional && !wired(&port.name));
                if let Some(port) = bare {
                    let message = format!("nothing is wired to `{}`, which it needs here", port.name);
                    self.refusals.push((index, OperatorError::refused(message)));
                }
                Some(interface)
            }
            Err(error) => {
                self.refusals.push((index, error));
                None
            }
        }
    }

    fn pick(&self, spec: &WireSpec, poisoned: bool) -> Found {
        if poisoned {
            return Found::Present(None, None);
        }
        let mut reasons = Vec::new();
        for source in &spec.candidates {
            match self.look(source) {
                Found::Absent(reason) => reasons.push(reason),
                found @ Found::Present(..) => return found,
            }
        }
        match reasons.as_slice() {
            [] => Found::Absent(format!("`{}` was removed", spec.text)),
            [reason] => Found::Absent(reason.clone()),
            _ => Found::Absent(format!("`{}` has no stand-in: {}", spec.text, reasons.join("; "))),
        }
    }

    fn look(&self, source: &Source) -> Found {
        let known = |kind| Found::Present(Some(source.clone()), kind);
        match source {
            Source::Reserved(reserved) => known(Some(reserved.kind())),
            Source::Input(name) if self.present.contains(name) => {
                known(self.graph.input(name).map(|input| input.kind))
            }
            Source::Input(name) => Found::Absent(format!("input `{name}` is absent")),
            Source::Output { node, port, member } => match &self.states[*node] {
                State::Opaque => known(None),
                State::Skip(reason) => {
                    Found::Absent(format!("{reason}, so `{}` is skipped", self.graph.nodes[*node].label()))
                }
                State::Run(running) => match kinds::output(&running.interface, port) {
                    Some(spec) if !spec.many || spec.members.contains(member) => {
                        known(running.bindings.of(spec))
                    }
                    _ => Found::Absent(format!("`{}` is not made", self.graph.name_of(source))),
                },
            },
        }
    }

    /// What the case brings to a stage of the cohort.
    fn group(&self, group: &GroupNode) -> GroupPlan {
        let mut wiring: Vec<Wire> = Vec::new();
        let mut absent: Vec<(&str, String)> = Vec::new();
        for spec in &group.node.wires {
            let (port, member) = (spec.port.clone(), spec.member.clone());
            match self.pick(spec, false) {
                Found::Present(source, kind) => wiring.extend(source.map(|source| Wire {
                    port,
                    member,
                    source,
                    kind: kind.unwrap_or(Kind::Image),
                })),
                Found::Absent(reason) => absent.push((&spec.port, reason)),
            }
        }
        let empty = |port: &str| !wiring.iter().any(|wire| wire.port == port);
        let needs = |port: &str| {
            let spec = kinds::input(&group.interface, port);
            spec.is_some_and(|spec| !spec.optional) && empty(port)
        };
        let lacks = absent.into_iter().find(|(port, _)| needs(port)).map(|(_, reason)| reason);
        GroupPlan { wiring, lacks }
    }

    fn output(&self, wires: &[WireSpec]) -> OutputPlan {
        let mut members = Vec::new();
        let mut missing = None;
        for wire in wires {
            match self.pick(wire, false) {
                Found::Present(Some(source), kind) => {
                    members.push((wire.member.clone(), source, kind.unwrap_or(Kind::Image)));
                }
                Found::Present(None, _) => {}
                Found::Absent(reason) => {
                    missing.get_or_insert(reason);
                }
            }
        }
        match missing {
            Some(reason) if members.is_empty() => OutputPlan::Missing(reason),
            _ => OutputPlan::Available(members),
        }
    }
}

impl Evaluation {
    /// The plan, or why there is none.
    pub(crate) fn into_plan(
        self,
        graph: &Graph,
        present: &BTreeSet<String>,
    ) -> Result<Plan, Vec<Impossible>> {
        let reasons = self.impossible(graph, present);
        if !reasons.is_empty() {
            return Err(reasons);
        }
        let mut notes: Vec<String> = Vec::new();
        let mut nodes = Vec::new();
        for (node, state) in graph.nodes.iter().zip(self.states) {
            nodes.push(match state {
                State::Run(running) => {
                    for note in &running.interface.notes {
                        let note = format!("{}: {note}", node.label());
                        if !notes.contains(&note) {
                            notes.push(note);
                        }
                    }
                    running.planned(node)
                }
                State::Skip(reason) => NodePlan::Skip { reason },
                State::Opaque => NodePlan::Skip { reason: "its operator is unknown".to_owned() },
            });
        }
        let (outputs, groups) = (self.outputs, self.groups);
        Ok(Plan { present: present.clone(), nodes, outputs, groups, notes })
    }

    /// Why a case of this pattern cannot run; empty if it can.
    pub(crate) fn impossible(&self, graph: &Graph, present: &BTreeSet<String>) -> Vec<Impossible> {
        let mut reasons: Vec<_> = graph
            .inputs
            .iter()
            .filter(|input| input.required && !present.contains(&input.name))
            .map(|input| Impossible { reason: required(graph, &input.name), hint: None })
            .collect();
        if !reasons.is_empty() {
            return reasons;
        }
        for (index, error) in &self.refusals {
            let node = &graph.nodes[*index];
            let (operator, stage) = (&node.operator.name, node.label());
            let reason = format!("operator `{operator}` of stage `{stage}` {}", refusal(error));
            reasons.push(Impossible { reason, hint: error.hint.clone() });
        }
        if reasons.is_empty() {
            reasons.extend(self.nothing_remains(graph));
        }
        reasons
    }

    /// If all outputs that are not made by `always` stages are missing, and no stage of the cohort reads more of it than these
    /// stages make: why. A page that says that nothing was done is no result.
    fn nothing_remains(&self, graph: &Graph) -> Option<Impossible> {
        if self.counts {
            return None;
        }
        let made_always = |wire: &WireSpec| {
            let always =
                |source: &Source| matches!(source, Source::Output { node, .. } if graph.nodes[*node].always);
            wire.candidates.iter().any(always)
        };
        let outputs = graph.outputs.iter().zip(&self.outputs);
        let results: Vec<_> = outputs.filter(|(output, _)| !output.wires.iter().any(made_always)).collect();
        let missing = |plan: &OutputPlan| {
            if let OutputPlan::Missing(reason) = plan { Some(reason.clone()) } else { None }
        };
        let reasons: Vec<_> =
            results.iter().filter_map(|(output, plan)| Some((&output.name, missing(plan)?))).collect();
        if results.is_empty() || reasons.len() < results.len() {
            return None;
        }
        let mut lines: Vec<(String, Vec<&String>)> = Vec::new();
        for (name, reason) in reasons {
            match lines.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, names)) => names.push(name),
                None => lines.push((reason, vec![name])),
            }
        }
        let lines: Vec<_> =
            lines.iter().map(|(reason, names)| format!("{reason}, so no {}", list(names))).collect();
        Some(Impossible { reason: format!("no output remains: {}", lines.join("; ")), hint: None })
    }
}

impl Running {
    fn planned(self, node: &Node) -> NodePlan {
        let wire = |one: Carried| {
            let spec = &node.wires[one.wire];
            let (port, member) = (spec.port.clone(), spec.member.clone());
            Some(Wire { port, member, source: one.source?, kind: one.kind.unwrap_or(Kind::Image) })
        };
        NodePlan::Run {
            wiring: self.wires.into_iter().filter_map(wire).collect(),
            interface: Rc::unwrap_or_clone(self.interface),
        }
    }
}

/// "input `t1_pre` is absent and required: `brain` reads it at `head`".
fn required(graph: &Graph, name: &str) -> String {
    let reads = |wire: &&WireSpec| wire.candidates.contains(&Source::Input(name.to_owned()));
    let mut readers: Vec<String> = Vec::new();
    for node in graph.nodes.iter().chain(graph.cohort.iter().map(|group| &group.node)) {
        for wire in node.wires.iter().filter(reads) {
            readers.push(format!("`{}` reads it at `{}`", node.label(), wire.port));
        }
    }
    readers.dedup();
    let why = if readers.is_empty() { "the workflow says so".to_owned() } else { readers.join(", ") };
    format!("input `{name}` is absent and required: {why}")
}

/// Tells of kinds that do not fit and of operators that refuse though all inputs are there.
pub(crate) fn report(graph: &Graph, evaluation: &Evaluation, sink: &mut Sink) {
    for (index, state) in evaluation.states.iter().enumerate() {
        let State::Run(running) = state else { continue };
        let node = &graph.nodes[index];
        report_unknown_kinds(graph, evaluation, node, running, sink);
        for (wire, expected) in &running.misfits {
            let spec = &node.wires[*wire];
            let carried = running.wires.iter().find(|one| one.wire == *wire);
            let kind = carried.and_then(|one| one.kind).map_or("", Kind::name);
            let port = if spec.member.is_empty() {
                spec.port.clone()
            } else {
                format!("{}.{}", spec.port, spec.member)
            };
            let message = format!(
                "stage `{}` reads `{}`, {}, at `{port}`, which takes {expected}",
                node.stage,
                spec.text,
                kinds::with_article(kind)
            );
            let hint = kinds::input(&running.interface, &spec.port).and_then(|port| match port.kind {
                sdk::port::KindSpec::Exact(kind) if !kind.is_volume() => {
                    offered(graph, evaluation, index, kind)
                }
                _ => None,
            });
            sink.add(node, spec, message, hint);
        }
    }
    if sink.whole() {
        for (index, error) in &evaluation.refusals {
            let node = &graph.nodes[*index];
            let (operator, stage) = (&node.operator.name, &node.stage);
            let message = format!("operator `{operator}` of stage `{stage}` {}", refusal(error));
            sink.add_at(node, "", node.span, message, error.hint.clone());
        }
    }
}

/// Tells of outputs whose kind their operator leaves open.
fn report_unknown_kinds(
    graph: &Graph,
    evaluation: &Evaluation,
    node: &Node,
    running: &Running,
    sink: &mut Sink,
) {
    for one in running.wires.iter().filter(|one| one.kind.is_none()) {
        let Some(Source::Output { node: from, port, .. }) = &one.source else { continue };
        // After a fault the kind is unknown for another reason.
        let State::Run(maker) = &evaluation.states[*from] else { continue };
        if maker.wires.iter().all(|wire| wire.kind.is_some()) && maker.misfits.is_empty() {
            let spec = &node.wires[one.wire];
            let operator = &graph.nodes[*from].operator.name;
            let message = format!(
                "stage `{}` reads `{}`, but operator `{operator}` does not say what `{port}` holds",
                node.stage, spec.text
            );
            sink.add(node, spec, message, Some("this is a fault of the plugin".to_owned()));
        }
    }
}

/// Up to three values of a kind that a node could read.
fn offered(graph: &Graph, evaluation: &Evaluation, before: usize, kind: Kind) -> Option<String> {
    let mut names = Vec::new();
    for (index, state) in evaluation.states.iter().enumerate().take(before) {
        let State::Run(running) = state else { continue };
        for port in running.interface.outputs.iter().filter(|port| running.bindings.of(port) == Some(kind)) {
            let source = Source::Output { node: index, port: port.name.clone(), member: String::new() };
            names.push(graph.name_of(&source));
        }
    }
    names.truncate(3);
    (!names.is_empty())
        .then(|| format!("{} {} {kind}", list(&names), if names.len() == 1 { "is a" } else { "are each a" }))
}
