//! Frames and grids as terms, followed through the graph for one pattern of presence.
//!
//! Every image input has a grid and a frame of its own, unless it was told to share. An operator's output lies on a grid of
//! its inputs, on one computed from theirs, or on a new one. Computed grids are equal if operator, settings and the grid
//! they are computed from are; those that depend on data equal none but themselves.

use super::node::Health;
use super::presence::{Evaluation, Running, State};
use crate::catalogue::OperatorRef;
use crate::fault::{Fault, Span, list};
use crate::plan::{Graph, Node, Source, WireSpec};
use sdk::port::{GridSpec, PortSpec};
use std::collections::{BTreeSet, HashMap, HashSet};

/// Collects faults over patterns: each is told once, for the pattern with fewest inputs absent.
#[derive(Debug, Default)]
pub(crate) struct Sink {
    faults: Vec<Fault>,
    absent: Vec<String>,
    /// Stage and port of what was told in earlier patterns.
    told: HashSet<(String, String)>,
    /// Stage, port and place of what was told in this pattern.
    now: HashSet<(String, String, Span)>,
}

impl Sink {
    /// Begins a pattern.
    pub(crate) fn begin(&mut self, graph: &Graph, present: &BTreeSet<String>) {
        self.told.extend(self.now.drain().map(|(stage, port, _)| (stage, port)));
        let absent = graph.inputs.iter().filter(|input| !present.contains(&input.name));
        self.absent = absent.map(|input| input.name.clone()).collect();
    }

    /// Whether a stage's fault was told in an earlier pattern.
    fn knows(&self, node: &Node) -> bool {
        self.told.iter().any(|(stage, _)| *stage == node.stage)
    }

    /// Whether no input is absent in this pattern.
    pub(crate) fn whole(&self) -> bool {
        self.absent.is_empty()
    }

    /// A fault of a wire.
    pub(crate) fn add(&mut self, node: &Node, wire: &WireSpec, message: String, hint: Option<String>) {
        self.add_at(node, &wire.port, wire.span, message, hint);
    }

    /// A fault of a port, at a place.
    pub(crate) fn add_at(
        &mut self,
        node: &Node,
        port: &str,
        span: Span,
        message: String,
        hint: Option<String>,
    ) {
        let key = (node.stage.clone(), port.to_owned());
        if self.told.contains(&key) || !self.now.insert((key.0, key.1, span)) {
            return;
        }
        let when = match self.absent.as_slice() {
            [] => String::new(),
            [one] => format!(", when `{one}` is absent"),
            many => format!(", when {} are absent", list(many)),
        };
        self.faults.push(Fault::at(span, message + &when).maybe_hint(hint));
    }

    /// All of them.
    pub(crate) fn into_faults(self) -> Vec<Fault> {
        self.faults
    }
}

/// A frame or grid, by number; [`UNKNOWN`] fits everywhere.
type Id = usize;
/// Of what a fault was told about.
const UNKNOWN: Id = 0;

/// What a grid is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Term {
    Unknown,
    /// Of an input, or of inputs that share one.
    Input {
        name: String,
        frame: String,
    },
    /// Computed from another.
    Derived {
        operator: OperatorRef,
        settings: String,
        var: String,
        from: Id,
    },
    /// Dependent on data, in the frame of another.
    Cropped {
        node: usize,
        var: String,
        from: Id,
    },
    /// In a frame of its own.
    Fresh {
        node: usize,
        var: String,
    },
}

/// All grids of a pattern.
struct Grids {
    terms: Vec<Term>,
    ids: HashMap<Term, Id>,
}

impl Grids {
    fn new() -> Self {
        Self { terms: vec![Term::Unknown], ids: HashMap::new() }
    }

    fn id(&mut self, term: Term) -> Id {
        if let Some(id) = self.ids.get(&term) {
            return *id;
        }
        self.terms.push(term.clone());
        self.ids.insert(term, self.terms.len() - 1);
        self.terms.len() - 1
    }

    /// The frame's name; none if it is unknown. Equal names are equal frames.
    fn frame(&self, grid: Id, graph: &Graph) -> Option<String> {
        match &self.terms[grid] {
            Term::Unknown => None,
            Term::Input { frame, .. } => Some(frame.clone()),
            Term::Derived { from, .. } | Term::Cropped { from, .. } => self.frame(*from, graph),
            Term::Fresh { node, var } => Some(format!("{}.{var}", graph.nodes[*node].name())),
        }
    }
}

/// What is known of a value beside its kind.
#[derive(Clone, Debug, Default)]
struct Facts {
    grid: Option<Id>,
    /// For a transform: the frames it leads from and to, by name.
    maps: Option<(String, String)>,
}

/// Follows grids and frames through the nodes that run, and tells where they do not fit.
pub(crate) fn check(graph: &Graph, health: &[Health], evaluation: &Evaluation, sink: &mut Sink) {
    let mut pass = Pass { graph, grids: Grids::new(), values: HashMap::new(), sink };
    for input in &graph.inputs {
        let frame = input.frame.clone().map(|frame| format!("frame {frame}"));
        let frame = frame.or_else(|| input.grid.clone().map(|grid| format!("grid {grid}")));
        let frame = frame.unwrap_or_else(|| input.name.clone());
        let name = input.grid.clone().map_or_else(|| input.name.clone(), |grid| format!("grid {grid}"));
        let grid = input.kind.is_volume().then(|| pass.grids.id(Term::Input { name, frame }));
        pass.values.insert(Source::Input(input.name.clone()), Facts { grid, maps: None });
    }
    for (index, state) in evaluation.states.iter().enumerate() {
        if let State::Run(running) = state {
            pass.node(index, &health[index], running);
        }
    }
}

/// A grid variable of a node: its grid, and the wire that bound it.
type Bound = HashMap<String, (Id, Option<usize>)>;

struct Pass<'a> {
    graph: &'a Graph,
    grids: Grids,
    values: HashMap<Source, Facts>,
    sink: &'a mut Sink,
}

impl Pass<'_> {
    fn node(&mut self, index: usize, health: &Health, running: &Running) {
        let node = &self.graph.nodes[index];
        let mut bound = Bound::new();
        for port in &running.interface.inputs {
            self.read(node, index, health, running, port, &mut bound);
        }
        for port in &running.interface.inputs {
            self.check_transform(node, running, port, &bound);
        }
        self.check_frames(node, running, &bound);
        self.make(node, index, health, running, &mut bound);
    }

    fn facts(&self, source: Option<&Source>) -> Facts {
        source.and_then(|source| self.values.get(source)).cloned().unwrap_or_default()
    }

    /// Binds the grid variable of an input port, or compares with what it is bound to.
    fn read(
        &mut self,
        node: &Node,
        index: usize,
        health: &Health,
        running: &Running,
        port: &PortSpec,
        bound: &mut Bound,
    ) {
        let wires = running.wires.iter().filter(|one| node.wires[one.wire].port == port.name);
        for one in wires {
            if running.misfits.iter().any(|(wire, _)| *wire == one.wire) {
                continue;
            }
            let Some(grid) = self.facts(one.source.as_ref()).grid else { continue };
            let expected = match &port.grid {
                GridSpec::On(var) => {
                    let (expected, by) = *bound.entry(var.clone()).or_insert((grid, Some(one.wire)));
                    (expected, by)
                }
                GridSpec::Derived { var, from } => match bound.get(from) {
                    Some((from, by)) => (self.derived(node, health, var, *from), *by),
                    None => continue,
                },
                GridSpec::Cropped { var, .. } | GridSpec::Fresh(var) => {
                    bound.entry(var.clone()).or_insert((grid, Some(one.wire)));
                    continue;
                }
                GridSpec::Free => continue,
            };
            let (expected, by) = expected;
            if expected != grid && expected != UNKNOWN && grid != UNKNOWN {
                self.mismatch(node, index, one.wire, by, (expected, grid));
            }
        }
    }

    fn derived(&mut self, node: &Node, health: &Health, var: &str, from: Id) -> Id {
        if from == UNKNOWN {
            return UNKNOWN;
        }
        let (operator, settings) = (node.operator.clone(), health.settings.to_string());
        self.grids.id(Term::Derived { operator, settings, var: var.to_owned(), from })
    }

    /// A volume that is not on the grid it should be on.
    fn mismatch(&mut self, node: &Node, index: usize, wire: usize, by: Option<usize>, grids: (Id, Id)) {
        let (expected, found) = grids;
        let spec = &node.wires[wire];
        let frames = (self.grids.frame(expected, self.graph), self.grids.frame(found, self.graph));
        let other = by.map_or_else(String::new, |by| node.wires[by].text.clone());
        let there = by.map_or("", |by| node.wires[by].port.as_str());
        let port = &spec.port;
        let with = if there == port { format!("`{other}`") } else { format!("`{other}` at `{there}`") };
        let stage = &node.stage;
        let text = &spec.text;
        let (message, way) = if frames.0 == frames.1 {
            let message = format!(
                "stage `{stage}` wants `{text}` at `{port}` on one grid with {with}, but theirs differ"
            );
            (message, "bring one onto the grid of the other with `resample`")
        } else {
            let message = format!(
                "stage `{stage}` wants `{text}` at `{port}` on one grid with {with}, but they are not registered: \
                 they lie in the frames of {} and {}",
                told(frames.1.as_deref()),
                told(frames.0.as_deref())
            );
            (message, "register one to the other, or say in `[inputs]` that they share a `grid` or `frame`")
        };
        let hint = self
            .on_grid(index, expected, &spec.candidates)
            .map_or_else(|| way.to_owned(), |name| format!("`{name}` is on that grid"));
        self.sink.add(node, spec, message, Some(hint));
    }

    /// A value on `grid` that is made, by way of any stage, from one of `sources`.
    fn on_grid(&self, before: usize, grid: Id, sources: &[Source]) -> Option<String> {
        let comes_from = |node: usize| {
            let wires = &self.graph.nodes[node].wires;
            wires.iter().flat_map(|wire| &wire.candidates).any(|source| sources.contains(source))
        };
        let mut found: Vec<_> = self
            .values
            .iter()
            .filter(|(_, facts)| facts.grid == Some(grid))
            .filter_map(|(source, _)| match source {
                Source::Output { node, .. } if *node < before && comes_from(*node) => Some((*node, source)),
                _ => None,
            })
            .collect();
        found.sort();
        found.first().map(|(_, source)| self.graph.name_of(source))
    }

    /// A transform leads from and to the frames that its port says.
    fn check_transform(&mut self, node: &Node, running: &Running, port: &PortSpec, bound: &Bound) {
        let Some((from, to)) = &port.maps else { return };
        let frame = |var: &str| bound.get(var).and_then(|(grid, _)| self.grids.frame(*grid, self.graph));
        let (Some(from), Some(to)) = (frame(from), frame(to)) else { return };
        let wires: Vec<_> =
            running.wires.iter().filter(|one| node.wires[one.wire].port == port.name).collect();
        for one in wires {
            let Some((starts, ends)) = self.facts(one.source.as_ref()).maps else { continue };
            if starts == from && ends == to {
                continue;
            }
            let spec = &node.wires[one.wire];
            let message = format!(
                "stage `{}` reads `{}` at `{}`, which leads from the frame of {} to that of {}, \
                 but from {} to {} is wanted",
                node.stage,
                spec.text,
                port.name,
                told(Some(&starts)),
                told(Some(&ends)),
                told(Some(&from)),
                told(Some(&to))
            );
            let hint = self.transform(&from, &to).map(|name| format!("`{name}` does"));
            self.sink.add(node, spec, message, hint);
        }
    }

    fn transform(&self, from: &str, to: &str) -> Option<String> {
        let fits = |facts: &Facts| facts.maps.as_ref().is_some_and(|(a, b)| a == from && b == to);
        let mut found: Vec<_> =
            self.values.iter().filter(|(_, facts)| fits(facts)).map(|(source, _)| source).collect();
        found.sort();
        found.first().map(|source| self.graph.name_of(source))
    }

    /// Grids that must lie in one frame do.
    fn check_frames(&mut self, node: &Node, running: &Running, bound: &Bound) {
        if self.sink.knows(node) {
            // Without an optional transform that was wrong, frames differ again.
            return;
        }
        for (a, b) in &running.interface.same_frame {
            let (Some((first, Some(here))), Some((second, Some(there)))) = (bound.get(a), bound.get(b))
            else {
                continue;
            };
            let frame = |grid: Id| self.grids.frame(grid, self.graph);
            let (Some(moving), Some(fixed)) = (frame(*first), frame(*second)) else { continue };
            if moving == fixed {
                continue;
            }
            let (one, other) = (&node.wires[*here], &node.wires[*there]);
            let message = format!(
                "stage `{}` reads `{}` at `{}` and `{}` at `{}`, which must lie in one frame, \
                 but lie in those of {} and {}",
                node.stage,
                one.text,
                one.port,
                other.text,
                other.port,
                told(Some(&moving)),
                told(Some(&fixed))
            );
            let hint = self.frame_hint(running, bound, (&fixed, &moving));
            self.sink.add(node, one, message, Some(hint));
        }
    }

    /// The transform that could be wired, if the operator has a port for one.
    fn frame_hint(&self, running: &Running, bound: &Bound, frames: (&str, &str)) -> String {
        let frame = |var: &str| bound.get(var).and_then(|(grid, _)| self.grids.frame(*grid, self.graph));
        let port = running.interface.inputs.iter().find(|port| port.maps.is_some());
        let Some(port) = port else { return "register one to the other".to_owned() };
        let (from, to) = port.maps.clone().unwrap_or_default();
        let (from, to) = (frame(&from), frame(&to));
        let (from, to) = (from.as_deref().unwrap_or(frames.0), to.as_deref().unwrap_or(frames.1));
        if let Some(name) = self.transform(from, to) {
            return format!("wire a transform: `{} = \"{name}\"`", port.name);
        }
        let (from, to) = (told(Some(from)), told(Some(to)));
        format!("wire to `{}` a transform from the frame of {from} to that of {to}", port.name)
    }

    /// Grids and frames of what the node makes.
    fn make(&mut self, node: &Node, index: usize, health: &Health, running: &Running, bound: &mut Bound) {
        for port in &running.interface.outputs {
            let (var, grid) = match &port.grid {
                GridSpec::Derived { var, from } => {
                    let from = bound.get(from).map_or(UNKNOWN, |(grid, _)| *grid);
                    (var, self.derived(node, health, var, from))
                }
                GridSpec::Cropped { var, from } => {
                    let from = bound.get(from).map_or(UNKNOWN, |(grid, _)| *grid);
                    (var, self.grids.id(Term::Cropped { node: index, var: var.clone(), from }))
                }
                GridSpec::Fresh(var) => (var, self.grids.id(Term::Fresh { node: index, var: var.clone() })),
                GridSpec::On(_) | GridSpec::Free => continue,
            };
            bound.insert(var.clone(), (grid, None));
        }
        for port in &running.interface.outputs {
            let members: Vec<&str> =
                if port.many { port.members.iter().map(String::as_str).collect() } else { vec![""] };
            for member in members {
                let grid = match &port.grid {
                    GridSpec::On(var)
                    | GridSpec::Derived { var, .. }
                    | GridSpec::Cropped { var, .. }
                    | GridSpec::Fresh(var) => bound.get(var).map_or(UNKNOWN, |(grid, _)| *grid),
                    GridSpec::Free => {
                        self.grids.id(Term::Fresh { node: index, var: format!("{}.{member}", port.name) })
                    }
                };
                let frame =
                    |var: &str| bound.get(var).and_then(|(grid, _)| self.grids.frame(*grid, self.graph));
                let maps = port.maps.as_ref().and_then(|(from, to)| Some((frame(from)?, frame(to)?)));
                let volume = running.bindings.of(port).is_some_and(sdk::Kind::is_volume);
                let source =
                    Source::Output { node: index, port: port.name.clone(), member: member.to_owned() };
                self.values.insert(source, Facts { grid: volume.then_some(grid), maps });
            }
        }
    }
}

/// A frame in words.
fn told(frame: Option<&str>) -> String {
    match frame.map(|frame| frame.split_once(' ').unwrap_or(("", frame))) {
        None => "an unknown one".to_owned(),
        Some(("", name)) => format!("`{name}`"),
        Some((group, name)) => format!("{group} `{name}`"),
    }
}
