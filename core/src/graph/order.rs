//! In which order stages are expanded: each after those it reads from. Finds cycles.

use super::names::{Name, Scope};
use crate::fault::{Fault, Span};
use crate::workflow::{Feed, Member, StageDef, Text, Workflow};
use std::collections::HashSet;

/// The stages' indices, each after those it reads from; a cycle is a fault, and is cut where it closes.
pub(super) fn order(workflow: &Workflow, scope: &Scope<'_>, faults: &mut Vec<Fault>) -> Vec<usize> {
    let edges = (0..workflow.stages.len()).map(|stage| reads(workflow, scope, stage)).collect();
    let mut walk =
        Walk { edges, state: vec![State::New; workflow.stages.len()], path: Vec::new(), order: Vec::new() };
    for stage in 0..workflow.stages.len() {
        walk.visit(stage, workflow, faults);
    }
    walk.order
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    New,
    Open,
    Done,
}

struct Walk {
    /// For each stage: what it reads from, and where that is written.
    edges: Vec<Vec<(usize, Span)>>,
    state: Vec<State>,
    path: Vec<usize>,
    order: Vec<usize>,
}

impl Walk {
    fn visit(&mut self, stage: usize, workflow: &Workflow, faults: &mut Vec<Fault>) {
        if self.state[stage] != State::New {
            return;
        }
        self.state[stage] = State::Open;
        self.path.push(stage);
        for (next, span) in self.edges[stage].clone() {
            if self.state[next] == State::Open {
                faults.push(self.cycle(next, span, workflow));
            }
            self.visit(next, workflow, faults);
        }
        self.path.pop();
        self.state[stage] = State::Done;
        self.order.push(stage);
    }

    fn cycle(&self, first: usize, span: Span, workflow: &Workflow) -> Fault {
        let name = |stage: usize| workflow.stages[stage].name.text.as_str();
        let start = self.path.iter().position(|stage| *stage == first).unwrap_or_default();
        let path = &self.path[start..];
        if path.len() == 1 {
            return Fault::at(span, format!("stage `{}` reads its own output", name(first)))
                .hint("let it read another stage or an input");
        }
        let step = |(at, stage): (usize, &usize)| {
            let next = path.get(at + 1).copied().unwrap_or(first);
            if at == 0 {
                format!("stage `{}` reads from `{}`", name(*stage), name(next))
            } else {
                format!("`{}` from `{}`", name(*stage), name(next))
            }
        };
        let steps: Vec<_> = path.iter().enumerate().map(step).collect();
        Fault::at(span, format!("a cycle: {}", steps.join(", ")))
            .hint("one of them must read another stage or an input")
    }
}

/// Whether one name is the other or a part of it: `aligned.registered` and `aligned.registered.flair`.
fn related(a: &str, b: &str) -> bool {
    a.split('.').zip(b.split('.')).all(|(a, b)| a == b)
}

fn texts<'a>(feed: &'a Feed) -> Vec<&'a Text> {
    let text = |member: &'a Member| match member {
        Member::Named(_, text) | Member::Listed(text) | Member::All(text) => Some(text),
        Member::Without(_) => None,
    };
    match feed {
        Feed::One(text) => vec![text],
        Feed::Set(members) => members.iter().filter_map(text).collect(),
    }
}

/// Where a stage is put on wires: which ones.
fn wires(stage: &StageDef) -> &[Text] {
    stage.insert_after.as_ref().map_or(&[], |insert| &insert.wires)
}

/// All stages that a stage reads from, inserted ones among them.
fn reads(workflow: &Workflow, scope: &Scope<'_>, stage: usize) -> Vec<(usize, Span)> {
    let this = &workflow.stages[stage];
    let feeds = this.inputs.iter().chain(&this.each).flat_map(|port| texts(&port.feed));
    let mut reader = Reader { workflow, scope, stage, seen: HashSet::new(), found: Vec::new() };
    for text in feeds.chain(wires(this)) {
        reader.name(&text.text, text.span);
    }
    reader.found
}

struct Reader<'a> {
    workflow: &'a Workflow,
    scope: &'a Scope<'a>,
    stage: usize,
    seen: HashSet<String>,
    found: Vec<(usize, Span)>,
}

impl Reader<'_> {
    fn name(&mut self, text: &str, span: Span) {
        if !self.seen.insert(text.to_owned()) {
            return;
        }
        let first = text.split('.').next().unwrap_or_default();
        match self.scope.get(first) {
            Some(Name::Stage(other)) => self.found.push((other, span)),
            Some(Name::Value(value)) => {
                let workflow = self.workflow;
                workflow.values[value].first_of.iter().for_each(|text| self.name(&text.text, span));
            }
            _ => {}
        }
        for other in self.inserted_on(text) {
            self.found.push((other, span));
            self.name(&self.workflow.stages[other].name.text.clone(), span);
        }
    }

    /// Stages on that wire that this stage reads instead of it. Of several on one wire, the later reads the earlier.
    fn inserted_on(&self, text: &str) -> Vec<usize> {
        let on = |stage: &StageDef| wires(stage).iter().any(|wire| related(&wire.text, text));
        let itself = on(&self.workflow.stages[self.stage]);
        let stages = self.workflow.stages.iter().enumerate();
        let before = |other: usize| if itself { other < self.stage } else { other != self.stage };
        stages.filter(|(other, stage)| before(*other) && on(stage)).map(|(other, _)| other).collect()
    }
}
