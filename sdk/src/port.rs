//! Ports: the typed, named ends of a stage, and how grids and frames hang together across them.

use crate::value::Kind;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What may flow through a port, as written in an operator's `INFO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortKind {
    /// One kind.
    Exact(Kind),
    /// Any of the four volumes. Ports of one variable hold the same kind; `""` is no variable.
    Volume(&'static str),
    /// Any kind at all.
    Any,
}

/// How the grid of a port relates to those of its neighbours, by grid variables such as `"h"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GridRule {
    /// Any grid; members of a set may differ.
    Free,
    /// On the grid `var`: all ports with one variable share a grid.
    On(&'static str),
    /// On a grid computed from `from` by operator and settings alone, in the same frame. Equal terms are equal grids.
    Derived {
        /// The new grid.
        var: &'static str,
        /// What it is computed from.
        from: &'static str,
    },
    /// On a grid that depends on data (a crop), in the frame of `from`. Never equal to another.
    Cropped {
        /// The new grid.
        var: &'static str,
        /// Whose frame it lies in.
        from: &'static str,
    },
    /// On a new grid in a new frame: what a source makes.
    Fresh(&'static str),
}

/// A typed, named end of an operator, as a constant.
#[derive(Clone, Copy, Debug)]
pub struct Port {
    name: &'static str,
    kind: PortKind,
    grid: GridRule,
    maps: Option<(&'static str, &'static str)>,
    optional: bool,
    many: bool,
    about: &'static str,
}

macro_rules! port_of_kind {
    ($($function:ident $kind:ident $words:literal),*) => {$(
        #[doc = concat!("A port for ", $words, ".")]
        pub const fn $function(name: &'static str) -> Self {
            Self::of(name, PortKind::Exact(Kind::$kind))
        }
    )*};
}

impl Port {
    port_of_kind!(
        image Image "an image", mask Mask "a mask", labels Labels "labels", probability Probability "a probability",
        transform Transform "a transform", table Table "a table", document Document "a document", file File "a file",
        text Text "text", number Number "a number"
    );

    /// A port for any of the four volumes.
    pub const fn volume(name: &'static str) -> Self {
        Self::of(name, PortKind::Volume(""))
    }

    /// A port for a volume whose kind is the variable `var`: all ports of that variable hold the same kind.
    pub const fn volume_of(name: &'static str, var: &'static str) -> Self {
        Self::of(name, PortKind::Volume(var))
    }

    /// A port for anything.
    pub const fn any(name: &'static str) -> Self {
        Self::of(name, PortKind::Any)
    }

    const fn of(name: &'static str, kind: PortKind) -> Self {
        Self { name, kind, grid: GridRule::Free, maps: None, optional: false, many: false, about: "" }
    }

    /// On the grid `var`.
    #[must_use]
    pub const fn on(mut self, var: &'static str) -> Self {
        self.grid = GridRule::On(var);
        self
    }

    /// On the new grid `var`, computed from `from` by the settings alone.
    #[must_use]
    pub const fn derived(mut self, var: &'static str, from: &'static str) -> Self {
        self.grid = GridRule::Derived { var, from };
        self
    }

    /// On the new grid `var`, which depends on data, in the frame of `from`.
    #[must_use]
    pub const fn cropped(mut self, var: &'static str, from: &'static str) -> Self {
        self.grid = GridRule::Cropped { var, from };
        self
    }

    /// On the new grid `var` in a new frame.
    #[must_use]
    pub const fn fresh(mut self, var: &'static str) -> Self {
        self.grid = GridRule::Fresh(var);
        self
    }

    /// For a transform: from the frame of grid `from` to the frame of grid `to`.
    #[must_use]
    pub const fn maps(mut self, from: &'static str, to: &'static str) -> Self {
        self.maps = Some((from, to));
        self
    }

    /// May be absent.
    #[must_use]
    pub const fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// Holds a named set. With [`Port::on`] its members share one grid.
    #[must_use]
    pub const fn many(mut self) -> Self {
        self.many = true;
        self
    }

    /// What it is for, in a few words.
    #[must_use]
    pub const fn about(mut self, text: &'static str) -> Self {
        self.about = text;
        self
    }
}

/// [`PortKind`] as it crosses the border.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KindSpec {
    /// One kind.
    Exact(Kind),
    /// Any volume, of a variable unless empty.
    Volume(String),
    /// Any kind.
    Any,
}

impl std::fmt::Display for KindSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(kind) => write!(f, "{kind}"),
            Self::Volume(_) => f.write_str("volume"),
            Self::Any => f.write_str("anything"),
        }
    }
}

/// [`GridRule`] as it crosses the border.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GridSpec {
    /// Any grid.
    #[default]
    Free,
    /// On the grid `var`.
    On(String),
    /// Computed from another by the settings alone.
    Derived {
        /// The new grid.
        var: String,
        /// What it is computed from.
        from: String,
    },
    /// Dependent on data, in the frame of another.
    Cropped {
        /// The new grid.
        var: String,
        /// Whose frame it lies in.
        from: String,
    },
    /// New, in a new frame.
    Fresh(String),
}

/// A port as the engine sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortSpec {
    /// Its name.
    pub name: String,
    /// What may flow through it.
    pub kind: KindSpec,
    /// How its grid relates to others.
    #[serde(default)]
    pub grid: GridSpec,
    /// For a transform: from the frame of one grid variable to that of another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maps: Option<(String, String)>,
    /// May be absent.
    #[serde(default)]
    pub optional: bool,
    /// Holds a named set.
    #[serde(default)]
    pub many: bool,
    /// For a set among the outputs: its members' names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
}

impl From<&Port> for PortSpec {
    fn from(port: &Port) -> Self {
        Self {
            name: port.name.to_owned(),
            kind: match port.kind {
                PortKind::Exact(kind) => KindSpec::Exact(kind),
                PortKind::Volume(var) => KindSpec::Volume(var.to_owned()),
                PortKind::Any => KindSpec::Any,
            },
            grid: match port.grid {
                GridRule::Free => GridSpec::Free,
                GridRule::On(var) => GridSpec::On(var.to_owned()),
                GridRule::Derived { var, from } => {
                    GridSpec::Derived { var: var.to_owned(), from: from.to_owned() }
                }
                GridRule::Cropped { var, from } => {
                    GridSpec::Cropped { var: var.to_owned(), from: from.to_owned() }
                }
                GridRule::Fresh(var) => GridSpec::Fresh(var.to_owned()),
            },
            maps: port.maps.map(|(from, to)| (from.to_owned(), to.to_owned())),
            optional: port.optional,
            many: port.many,
            members: Vec::new(),
            about: port.about.to_owned(),
        }
    }
}

/// What is wired to an operator in one exact pattern of presence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wiring {
    /// For each port that has a value: its members (`""` for a single value) and their kinds.
    pub ports: BTreeMap<String, Vec<(String, Kind)>>,
}

impl Wiring {
    /// Whether the port has a value.
    pub fn has(&self, port: &str) -> bool {
        self.ports.contains_key(port)
    }

    /// Names of the members at a set's port, in the order they were wired.
    pub fn members(&self, port: &str) -> Vec<&str> {
        self.ports
            .get(port)
            .map(|list| list.iter().map(|(name, _)| name.as_str()).collect())
            .unwrap_or_default()
    }
}

/// The ports of an operator for one pattern of presence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// What it reads.
    pub inputs: Vec<PortSpec>,
    /// What it makes.
    pub outputs: Vec<PortSpec>,
    /// Pairs of grid variables that must lie in one frame.
    #[serde(default)]
    pub same_frame: Vec<(String, String)>,
    /// What a user should know about this pattern ("without flair the model `x` stands in").
    #[serde(default)]
    pub notes: Vec<String>,
}

impl Interface {
    /// These ports.
    pub fn of(inputs: &[Port], outputs: &[Port]) -> Self {
        Self {
            inputs: inputs.iter().map(PortSpec::from).collect(),
            outputs: outputs.iter().map(PortSpec::from).collect(),
            ..Self::default()
        }
    }

    /// Demands that two grid variables lie in one frame.
    #[must_use]
    pub fn in_one_frame(mut self, a: &str, b: &str) -> Self {
        self.same_frame.push((a.to_owned(), b.to_owned()));
        self
    }

    /// Names the members of a set among the outputs.
    #[must_use]
    pub fn with_members<S: Into<String>>(
        mut self,
        output: &str,
        members: impl IntoIterator<Item = S>,
    ) -> Self {
        let members: Vec<String> = members.into_iter().map(Into::into).collect();
        if let Some(port) = self.outputs.iter_mut().find(|port| port.name == output) {
            port.members = members;
        }
        self
    }

    /// Adds a note for the user.
    #[must_use]
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }
}
