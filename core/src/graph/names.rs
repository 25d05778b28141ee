//! Names: what `aligned.registered.flair` stands for.

use crate::fault::{Fault, Span, list, nearest, suggest};
use crate::plan::{Reserved, Source};
use crate::workflow::{Text, Workflow};
use std::collections::{BTreeMap, HashMap, HashSet};

/// What a name's first part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Input,
    Value(usize),
    Stage(usize),
    Group(usize),
    /// It was there until a later text removed it.
    Removed,
}

/// All names of a workflow.
pub(super) struct Scope<'a> {
    names: BTreeMap<&'a str, Name>,
}

impl<'a> Scope<'a> {
    /// Collects the names; two of one name are a fault.
    pub(super) fn of(workflow: &'a Workflow, faults: &mut Vec<Fault>) -> Self {
        let mut names = BTreeMap::new();
        let inputs = workflow.inputs.iter().map(|input| (input.name.as_str(), Name::Input, input.span));
        let values = workflow.values.iter().enumerate();
        let values = values.map(|(at, value)| (value.name.text.as_str(), Name::Value(at), value.name.span));
        let stages = workflow.stages.iter().enumerate();
        let stages = stages.map(|(at, stage)| (stage.name.text.as_str(), Name::Stage(at), stage.name.span));
        let groups = workflow.groups.iter().enumerate();
        let groups = groups.map(|(at, stage)| (stage.name.text.as_str(), Name::Group(at), stage.name.span));
        let all: Vec<(&str, Name, Span)> = inputs.chain(values).chain(stages).chain(groups).collect();
        for (name, what, span) in all {
            let taken = names.contains_key(name);
            if taken {
                let message = format!("`{name}` is the name of more than one input, value or stage");
                faults.push(Fault::at(span, message).hint("rename one of them"));
            }
            // Of a case's stage and one of the cohort, the first stays: more reads it.
            if !taken || !matches!(what, Name::Group(_)) {
                names.insert(name, what);
            }
        }
        for removed in &workflow.removed {
            names.entry(removed.text.as_str()).or_insert(Name::Removed);
        }
        Self { names }
    }

    pub(super) fn get(&self, name: &str) -> Option<Name> {
        self.names.get(name).copied()
    }

    fn all(&self) -> Vec<&str> {
        self.names.keys().copied().chain(["case"]).collect()
    }
}

/// Where one value may come from.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Feeder {
    /// In order of preference; empty if all were removed.
    pub(super) candidates: Vec<Source>,
    /// A fault was told about it already: it fits everywhere.
    pub(super) poisoned: bool,
}

/// A named set of values.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Members {
    pub(super) list: Vec<(String, Feeder)>,
    /// Members that were removed; to read one is no fault.
    pub(super) gone: Vec<String>,
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Resolved {
    /// Unknown, after a fault.
    Poison,
    /// Removed.
    Nothing,
    One(Feeder),
    Set(Members),
}

/// What an output port of a node offers.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Offer {
    One,
    /// A set, with the names of its members.
    Set(Vec<String>),
}

/// Output ports with what each offers.
pub(super) type Offers = Vec<(String, Offer)>;

/// An expanded stage, as its readers see it.
#[derive(Clone, Debug, Default)]
pub(super) struct Shape {
    /// The operator's name; empty if there is none of the name that was written.
    pub(super) operator: String,
    /// Its outputs, each with its kind in words.
    pub(super) outputs: Vec<(String, String)>,
    /// Whether it is mapped over a set.
    pub(super) each: bool,
    /// Its nodes by member; one with an empty member unless it is mapped. With what each output port offers.
    pub(super) nodes: Vec<(String, usize, Offers)>,
    /// Members that were removed.
    pub(super) gone: Vec<String>,
    /// Nothing is known of its members or outputs.
    pub(super) opaque: bool,
}

/// Finds what names stand for, given the stages expanded so far.
pub(super) struct Resolver<'a> {
    pub(super) workflow: &'a Workflow,
    pub(super) scope: &'a Scope<'a>,
    /// Stages expanded so far.
    pub(super) shapes: HashMap<usize, Shape>,
    /// Cohort stages expanded so far.
    pub(super) groups: HashMap<usize, Shape>,
    /// Wires on which a stage was put: its output is read instead.
    pub(super) redirects: HashMap<Source, Source>,
}

impl Resolver<'_> {
    /// What `text` stands for; `reader` ("stage `brain`") is for messages.
    pub(super) fn resolve(&self, text: &Text, reader: &str, faults: &mut Vec<Fault>) -> Resolved {
        let parts: Vec<&str> = text.text.split('.').collect();
        match self.scope.get(parts[0]) {
            _ if parts[0] == "case" => reserved(text, &parts, reader, faults),
            Some(Name::Removed) => Resolved::Nothing,
            Some(Name::Input) if parts.len() == 1 => {
                let source = self.redirected(Source::Input(parts[0].to_owned()));
                Resolved::One(Feeder { candidates: vec![source], poisoned: false })
            }
            Some(Name::Value(value)) if parts.len() == 1 => self.value(value, faults),
            Some(Name::Input | Name::Value(_)) => {
                let what = if self.scope.get(parts[0]) == Some(Name::Input) { "an input" } else { "a value" };
                let message = format!("{reader} reads `{}`, but `{}` is {what}", text.text, parts[0]);
                faults.push(Fault::at(text.span, message).hint(format!("read `{}`", parts[0])));
                Resolved::Poison
            }
            Some(Name::Stage(stage)) => match self.shapes.get(&stage) {
                Some(shape) => self.output(text, &parts, shape, reader, faults),
                // It is part of a cycle.
                None => Resolved::Poison,
            },
            Some(Name::Group(_)) => {
                let message = format!(
                    "{reader} reads `{}`, but `{}` is a cohort stage, which runs after all cases",
                    text.text, parts[0]
                );
                let hint = "only `[cohort.outputs]` reads what cohort stages make";
                faults.push(Fault::at(text.span, message).hint(hint));
                Resolved::Poison
            }
            None => {
                let all = self.scope.all();
                let message = format!(
                    "{reader} reads `{}`, but there is no input, value or stage `{}`",
                    text.text, parts[0]
                );
                faults.push(Fault::at(text.span, message).maybe_hint(suggest(parts[0], "there are", &all)));
                Resolved::Poison
            }
        }
    }

    /// What a cohort output publishes.
    pub(super) fn group_output(&self, text: &Text, reader: &str, faults: &mut Vec<Fault>) -> Resolved {
        let parts: Vec<&str> = text.text.split('.').collect();
        match self.scope.get(parts[0]) {
            Some(Name::Removed) => Resolved::Nothing,
            Some(Name::Group(group)) => match self.groups.get(&group) {
                Some(shape) => self.output(text, &parts, shape, reader, faults),
                None => Resolved::Poison,
            },
            None if parts[0] != "case" => {
                let names: Vec<&str> =
                    self.workflow.groups.iter().map(|group| group.name.text.as_str()).collect();
                let message = format!(
                    "{reader} publishes `{}`, but there is no cohort stage `{}`",
                    text.text, parts[0]
                );
                faults.push(Fault::at(text.span, message).maybe_hint(suggest(parts[0], "there are", &names)));
                Resolved::Poison
            }
            _ => {
                let message = format!("{reader} publishes `{}`, which each case has its own of", text.text);
                let hint = "publish it under `[outputs]`, or name the output of a cohort stage";
                faults.push(Fault::at(text.span, message).hint(hint));
                Resolved::Poison
            }
        }
    }

    fn redirected(&self, mut source: Source) -> Source {
        while let Some(next) = self.redirects.get(&source) {
            source = next.clone();
        }
        source
    }

    /// A stand-in. Values may name values; one that names itself was told when it was checked.
    pub(super) fn value(&self, value: usize, faults: &mut Vec<Fault>) -> Resolved {
        let mut feeder = Feeder::default();
        self.candidates(value, &mut HashSet::new(), &mut feeder, faults);
        if feeder.candidates.is_empty() && !feeder.poisoned {
            Resolved::Nothing
        } else {
            Resolved::One(feeder)
        }
    }

    fn candidates(
        &self,
        value: usize,
        open: &mut HashSet<usize>,
        feeder: &mut Feeder,
        faults: &mut Vec<Fault>,
    ) {
        let value_def = &self.workflow.values[value];
        let reader = format!("value `{}`", value_def.name.text);
        open.insert(value);
        for text in &value_def.first_of {
            if let Some(Name::Value(inner)) = self.scope.get(&text.text) {
                if open.contains(&inner) {
                    faults.push(Fault::at(text.span, format!("{reader} names itself")));
                    feeder.poisoned = true;
                } else {
                    self.candidates(inner, open, feeder, faults);
                }
                continue;
            }
            match self.resolve(text, &reader, faults) {
                Resolved::Poison => feeder.poisoned = true,
                Resolved::Nothing => {}
                Resolved::One(one) => {
                    feeder.poisoned |= one.poisoned;
                    feeder.candidates.extend(one.candidates);
                }
                Resolved::Set(set) => {
                    faults.push(one_of_set(text, &reader, &set));
                    feeder.poisoned = true;
                }
            }
        }
        open.remove(&value);
    }

    fn output(
        &self,
        text: &Text,
        parts: &[&str],
        shape: &Shape,
        reader: &str,
        faults: &mut Vec<Fault>,
    ) -> Resolved {
        if shape.opaque && shape.outputs.is_empty() {
            return Resolved::Poison;
        }
        let offers: Vec<_> = shape.outputs.iter().map(|(name, kind)| format!("`{name}` ({kind})")).collect();
        let offers = format!("it offers {}", joined(&offers));
        let Some(port) = parts.get(1) else {
            let message = format!("{reader} reads `{}`, a stage, but not which of its outputs", text.text);
            faults.push(Fault::at(text.span, message).hint(offers));
            return Resolved::Poison;
        };
        if !shape.outputs.iter().any(|(name, _)| name == port) {
            let message = format!(
                "{reader} reads `{}`, but operator `{}` has no output `{port}`",
                text.text, shape.operator
            );
            faults.push(Fault::at(text.span, message).hint(offers));
            return Resolved::Poison;
        }
        if shape.opaque {
            return Resolved::Poison;
        }
        let resolved = self.members(shape, port, parts.get(2..).unwrap_or_default());
        resolved.unwrap_or_else(|members| {
            let member = parts.last().copied().unwrap_or_default();
            let message = format!("{reader} reads `{}`, but there is no member `{member}`", text.text);
            let near = nearest(member, members.iter().map(String::as_str));
            let hint = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None if members.is_empty() => format!("read `{}.{port}`", parts[0]),
                None => format!("its members are {}", list(&members)),
            };
            faults.push(Fault::at(text.span, message).hint(hint));
            Resolved::Poison
        })
    }

    /// What a port of a stage offers under the names `rest`; the members there are if it has none of that name.
    fn members(&self, shape: &Shape, port: &str, rest: &[&str]) -> Result<Resolved, Vec<String>> {
        let source = |node: usize, member: &str| {
            let source = Source::Output { node, port: port.to_owned(), member: member.to_owned() };
            Feeder { candidates: vec![self.redirected(source)], poisoned: false }
        };
        let offer = |ports: &[(String, Offer)]| {
            ports.iter().find(|(name, _)| name == port).map_or(Offer::One, |(_, offer)| offer.clone())
        };
        if shape.each && rest.is_empty() {
            let mut list = Vec::new();
            for (member, node, ports) in &shape.nodes {
                match offer(ports) {
                    Offer::One => list.push((member.clone(), source(*node, ""))),
                    Offer::Set(inner) => {
                        list.extend(
                            inner.iter().map(|name| (format!("{member}-{name}"), source(*node, name))),
                        );
                    }
                }
            }
            return Ok(Resolved::Set(Members { list, gone: shape.gone.clone() }));
        }
        let (node, rest) = if shape.each {
            if shape.gone.iter().any(|gone| gone == rest[0]) {
                return Ok(Resolved::Nothing);
            }
            let found = shape.nodes.iter().find(|(member, ..)| member == rest[0]);
            let all = || shape.nodes.iter().map(|(member, ..)| member.clone()).collect::<Vec<_>>();
            (found.ok_or_else(all)?, &rest[1..])
        } else {
            // A stage has one node, unless all it reads is unknown.
            (shape.nodes.first().ok_or_else(Vec::new)?, rest)
        };
        match (offer(&node.2), rest) {
            (Offer::One, []) => Ok(Resolved::One(source(node.1, ""))),
            (Offer::One, _) => Err(Vec::new()),
            (Offer::Set(names), []) => {
                let list = names.iter().map(|name| (name.clone(), source(node.1, name))).collect();
                Ok(Resolved::Set(Members { list, gone: Vec::new() }))
            }
            (Offer::Set(names), [name]) if names.iter().any(|known| known == name) => {
                Ok(Resolved::One(source(node.1, name)))
            }
            (Offer::Set(names), _) => Err(names),
        }
    }
}

fn reserved(text: &Text, parts: &[&str], reader: &str, faults: &mut Vec<Fault>) -> Resolved {
    let found = Reserved::ALL.into_iter().find(|known| parts.len() == 2 && known.name() == parts[1]);
    if let Some(reserved) = found {
        return Resolved::One(Feeder { candidates: vec![Source::Reserved(reserved)], poisoned: false });
    }
    let names: Vec<_> = Reserved::ALL.iter().map(|known| format!("case.{}", known.name())).collect();
    let message = format!("{reader} reads `{}`, which the engine does not know of a case", text.text);
    faults.push(Fault::at(text.span, message).hint(format!("it knows {}", list(&names))));
    Resolved::Poison
}

/// The fault of a set where a single value is wanted.
pub(super) fn one_of_set(text: &Text, reader: &str, set: &Members) -> Fault {
    let message = format!("{reader} wants a single value, but `{}` is a set", text.text);
    let hint = match set.list.first() {
        Some((member, _)) => {
            format!("name a member, such as `{}.{member}`, or map the stage over it with `each`", text.text)
        }
        None => "map the stage over it with `each`".to_owned(),
    };
    Fault::at(text.span, message).hint(hint)
}

/// `a, b and c`.
pub(super) fn joined(items: &[String]) -> String {
    match items.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => "nothing".to_owned(),
    }
}
