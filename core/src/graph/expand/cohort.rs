//! Stages of the cohort: nodes like others, which read of each case and are read by `[cohort.outputs]` alone.

use super::super::names::{Resolved, Shape};
use super::super::node;
use super::{Expander, port_wires};
use crate::fault::Fault;
use crate::plan::{GroupOutput, GroupPart, Source};
use crate::workflow::{Feed, Member, Text};
use sdk::{Kind, Scope};

/// Names at the root of a data set that are BIDS's own.
const TAKEN: [&str; 5] = ["participants", "samples", "README", "CHANGES", "LICENSE"];

impl Expander<'_> {
    pub(super) fn groups(&mut self) {
        for index in 0..self.resolver.workflow.groups.len() {
            let def = &self.resolver.workflow.groups[index];
            let mut chosen = node::choose(def, true, self.catalogue, self.faults);
            self.check_settings(def, chosen.as_mut());
            let reader = format!("cohort stage `{}`", def.name.text);
            let wires: Vec<_> =
                def.inputs.iter().map(|port| (&port.port, self.wires(&port.feed, &reader))).collect();
            let ports: Vec<_> = wires.iter().map(|(port, wires)| port_wires(port, wires)).collect();
            let node = self.node(def, "", &ports, chosen.as_ref());
            let mut shape = Shape { opaque: chosen.is_none(), ..Shape::default() };
            shape.nodes.push((String::new(), node, self.offers(node)));
            self.name_outputs(&mut shape, chosen.as_ref());
            self.resolver.groups.insert(index, shape);
        }
    }

    /// `[cohort.outputs]`; until the stages of the cohort are taken out of the nodes, their parts count in these.
    pub(super) fn group_outputs(&mut self) {
        for def in &self.resolver.workflow.group_outputs {
            let reader = format!("cohort output `{}`", def.name.text);
            let mut output = GroupOutput {
                name: def.name.text.clone(),
                parts: Vec::new(),
                bids: def.bids.as_ref().map(|bids| bids.text.clone()),
                root: def.root,
                sidecar: def.sidecar.clone(),
                span: def.name.span,
            };
            match &def.from {
                Feed::One(text) => self.parts(None, text, &reader, &mut output),
                Feed::Set(members) => {
                    for member in members {
                        match member {
                            Member::Named(name, text) => {
                                self.parts(Some(&name.text), text, &reader, &mut output);
                            }
                            Member::Listed(text) => {
                                let last = text.text.rsplit('.').next();
                                self.parts(last, text, &reader, &mut output);
                            }
                            Member::All(text) => self.parts(None, text, &reader, &mut output),
                            Member::Without(name) => output.parts.retain(|part| part.member != name.text),
                        }
                    }
                }
            }
            self.tell_apart(&output, def.bids.as_ref());
            self.check_root(&output);
            self.graph.cohort_outputs.push(output);
        }
    }

    /// Adds what `text` names: a single value called `member`, or all members of a set.
    fn parts(&mut self, member: Option<&str>, text: &Text, reader: &str, output: &mut GroupOutput) {
        let found = match self.resolver.group_output(text, reader, self.faults) {
            Resolved::Poison | Resolved::Nothing => return,
            Resolved::One(feeder) => vec![(member.unwrap_or_default().to_owned(), feeder)],
            Resolved::Set(set) => set.list,
        };
        for (member, feeder) in found {
            let Some(Source::Output { node, port, member: port_member }) =
                feeder.candidates.into_iter().next()
            else {
                continue;
            };
            output.parts.retain(|part| part.member != member);
            output.parts.push(GroupPart { member, node, port, port_member });
        }
    }

    /// At the root of the output folder there is room for single documents of the cohort, under names that no other file has.
    fn check_root(&mut self, output: &GroupOutput) {
        if !output.root {
            return;
        }
        let name = output.root_name();
        let one = match output.parts.as_slice() {
            [part] => {
                let (node, port, member) = (part.node, part.port.clone(), part.port_member.clone());
                let operator = self.graph.nodes[node].operator.to_string();
                let of_subject = self
                    .catalogue
                    .find(&operator)
                    .is_ok_and(|found| found.description.scope == Scope::Subject);
                let kind = self.kind(&Source::Output { node, port, member });
                !of_subject && part.member.is_empty() && kind.is_none_or(|kind| kind == Kind::Document)
            }
            parts => parts.is_empty(),
        };
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') && !name.starts_with("sub-");
        let taken = TAKEN.contains(&name.as_str())
            || self.graph.cohort_outputs.iter().any(|other| other.root && other.root_name() == name);
        let (message, hint) = if !one {
            (
                "is no single document of the cohort, and so cannot go to the root",
                "leave `root` out: it goes to `group/`",
            )
        } else if !plain || name.is_empty() || taken {
            (
                "would have a name at the root that it cannot have",
                "give it a `bids` of letters and digits that nobody has",
            )
        } else {
            return;
        };
        let message = format!("cohort output `{}` {message}", output.name);
        self.faults.push(Fault::at(output.span, message).hint(hint));
    }

    /// Two outputs cannot have one file name.
    fn tell_apart(&mut self, output: &GroupOutput, bids: Option<&Text>) {
        let kind = |output: &GroupOutput| {
            let part = output.parts.first()?;
            let (node, port, member) = (part.node, part.port.clone(), part.port_member.clone());
            let kind = self.kind(&Source::Output { node, port, member })?;
            // The names of documents and files end as their content says.
            (!matches!(kind, Kind::Document | Kind::File)).then_some(kind)
        };
        let Some(bids) = bids else { return };
        let same = |other: &&GroupOutput| {
            other.bids == output.bids && kind(output).is_some() && kind(other) == kind(output)
        };
        if let Some(other) = self.graph.cohort_outputs.iter().find(same) {
            let message =
                format!("cohort outputs `{}` and `{}` would have one file name", other.name, output.name);
            self.faults.push(Fault::at(bids.span, message).hint("give one of them another `bids`"));
        }
    }
}
