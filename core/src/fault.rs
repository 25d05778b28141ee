//! What is wrong with a workflow: every fault with its place, a caret and a way out.
//!
//! A fault points into one of the [`Sources`] that were read: a workflow file, or an argument of the command line such as
//! `--set`, which counts as a file of one line. [`Faults`] holds all that were found in one go; its text is what the user
//! sees.

use serde::Serialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A piece of one of the [`Sources`], in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// Which source, in the order they were read.
    pub file: usize,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// A text that was read, and what it is called in messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceText {
    /// The file's path as the user wrote it, or the argument's name (`--set`).
    pub path: PathBuf,
    /// Its content.
    pub text: String,
}

/// All texts that faults may point into.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    texts: Vec<SourceText>,
}

impl Sources {
    /// Adds a text and returns its number.
    pub fn add(&mut self, path: &Path, text: String) -> usize {
        self.texts.push(SourceText { path: path.to_owned(), text });
        self.texts.len() - 1
    }

    /// The texts in the order they were added.
    pub fn texts(&self) -> &[SourceText] {
        &self.texts
    }

    /// The characters a span covers; empty if it points nowhere.
    pub fn slice(&self, span: Span) -> &str {
        self.texts.get(span.file).and_then(|source| source.text.get(span.start..span.end)).unwrap_or_default()
    }

    /// The path of a span's text.
    pub fn path(&self, span: Span) -> &Path {
        self.texts.get(span.file).map_or(Path::new(""), |source| &source.path)
    }

    /// Where a span starts.
    pub fn place(&self, span: Span) -> Option<Place> {
        let source = self.texts.get(span.file)?;
        let start = span.start.min(source.text.len());
        let line_start = source.text.get(..start)?.rfind('\n').map_or(0, |at| at + 1);
        Some(Place {
            file: source.path.clone(),
            line: source.text[..start].matches('\n').count() + 1,
            column: source.text[line_start..start].chars().count() + 1,
        })
    }
}

/// A line and column, both counted from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The file as the user named it.
    pub file: PathBuf,
    /// Its line.
    pub line: usize,
    /// The character in that line.
    pub column: usize,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Found before expected; lower case, no full stop.
    pub message: String,
    /// Where; none if it is about no place in a text.
    pub span: Option<Span>,
    /// The way out.
    pub hint: Option<String>,
}

impl Fault {
    /// A fault at a place.
    pub fn at(span: Span, message: impl Into<String>) -> Self {
        Self { message: message.into(), span: Some(span), hint: None }
    }

    /// A fault about no place in a text.
    pub fn whole(message: impl Into<String>) -> Self {
        Self { message: message.into(), span: None, hint: None }
    }

    /// The same with a way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with a way out, if there is one.
    #[must_use]
    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }
}

/// All faults of a workflow, in the order of their places. Its text is what the user sees, without colour.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", self.render(false))]
pub struct Faults {
    sources: Arc<Sources>,
    faults: Vec<Fault>,
}

impl Faults {
    /// These faults, sorted by place, each once.
    pub fn new(sources: Arc<Sources>, mut faults: Vec<Fault>) -> Self {
        faults.sort_by(|a, b| (a.span, &a.message).cmp(&(b.span, &b.message)));
        faults.dedup();
        Self { sources, faults }
    }

    /// One by one.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.faults.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.faults.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// All of them as text, a blank line between two, with ANSI colours if wanted. Colour carries no meaning.
    pub fn render(&self, colour: bool) -> String {
        let texts: Vec<_> = self.faults.iter().map(|fault| self.render_one(fault, colour)).collect();
        texts.join("\n")
    }

    /// One of them as text, as `error: …`, the place, the line with a caret, and the hint.
    pub fn render_one(&self, fault: &Fault, colour: bool) -> String {
        let paint = |code: &str, text: &str| {
            if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
        };
        let mut out = format!("{} {}\n", paint("1;31", "error:"), fault.message);
        if let Some((span, place)) = fault.span.and_then(|span| Some((span, self.sources.place(span)?))) {
            let number = place.line.to_string();
            let gap = " ".repeat(number.len());
            let line = self.sources.texts[span.file].text.lines().nth(place.line - 1).unwrap_or_default();
            let line = line.replace('\t', " ");
            let covered = self.sources.slice(span).lines().next().unwrap_or_default().chars().count();
            let room = line.chars().count().saturating_sub(place.column - 1);
            let carets = "^".repeat(covered.min(room).max(1));
            let indent = " ".repeat(place.column - 1);
            let bar = paint("1;34", "|");
            let file = place.file.display();
            let _ = writeln!(out, "{gap}{} {file}:{}:{}", paint("1;34", "-->"), place.line, place.column);
            let _ = writeln!(out, "{gap} {bar}\n{} {bar} {line}", paint("1;34", &number));
            let _ = writeln!(out, "{gap} {bar} {indent}{}", paint("1;31", &carets));
        }
        if let Some(hint) = &fault.hint {
            let _ = writeln!(out, "{} {hint}", paint("1;36", "hint:"));
        }
        out
    }

    /// For `--format json`.
    pub fn records(&self) -> Vec<FaultRecord> {
        let record = |fault: &Fault| FaultRecord {
            message: fault.message.clone(),
            hint: fault.hint.clone(),
            place: fault.span.and_then(|span| self.sources.place(span)),
        };
        self.faults.iter().map(record).collect()
    }
}

/// A fault with stable keys, for programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FaultRecord {
    /// What is wrong.
    pub message: String,
    /// The way out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// `file`, `line` and `column`, if it is at a place.
    #[serde(flatten)]
    pub place: Option<Place>,
}

/// Of `names`, the one that was probably meant by `name`: at most a third of its letters differ.
pub fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (name.chars().count() / 3).max(1);
    names
        .into_iter()
        .map(|other| (strsim::osa_distance(&name.to_lowercase(), &other.to_lowercase()), other))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, other)| other)
}

/// The hint for a name that is unknown: the nearest one, or all there are.
pub fn suggest(name: &str, what: &str, names: &[&str]) -> Option<String> {
    if let Some(near) = nearest(name, names.iter().copied()) {
        return Some(format!("did you mean `{near}`?"));
    }
    (!names.is_empty()).then(|| format!("{what}: {}", list(names)))
}

/// `` `a`, `b` and `c` ``.
pub fn list<S: AsRef<str>>(names: &[S]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{}`", name.as_ref())).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => "none".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(text: &str) -> Arc<Sources> {
        let mut sources = Sources::default();
        sources.add(Path::new("workflows/lesions.toml"), text.to_owned());
        Arc::new(sources)
    }

    #[test]
    fn a_fault_shows_file_line_caret_and_hint() {
        let text = "[stages.strip]\nhead = \"aligned.registred\"\n";
        let start = text.find("\"aligned").unwrap();
        let span = Span { file: 0, start, end: start + 19 };
        let fault = Fault::at(span, "operator `register` has no output `registred`")
            .hint("did you mean `registered`?");
        insta::assert_snapshot!(Faults::new(sources(text), vec![fault]), @r#"
        error: operator `register` has no output `registred`
         --> workflows/lesions.toml:2:8
          |
        2 | head = "aligned.registred"
          |        ^^^^^^^^^^^^^^^^^^^
        hint: did you mean `registered`?
        "#);
    }

    #[test]
    fn a_span_over_several_lines_is_underlined_on_its_first() {
        let span = Span { file: 0, start: 4, end: 12 };
        let text = Faults::new(sources("a = [\n1,\n2]\n"), vec![Fault::at(span, "a list")]).to_string();
        assert!(text.ends_with("1 | a = [\n  |     ^\n"), "{text}");
    }

    #[test]
    fn a_span_outside_the_text_does_no_harm() {
        let span = Span { file: 0, start: 99, end: 120 };
        assert!(Faults::new(sources("a = 1"), vec![Fault::at(span, "odd")]).to_string().contains("odd"));
    }

    #[test]
    fn the_nearest_name_is_offered_only_when_it_is_near() {
        assert_eq!(nearest("registr", ["resample", "register"]), Some("register"));
        assert_eq!(nearest("bet", ["register", "segment"]), None);
    }
}
