//! The methods paragraph: what a paper says about how its images were processed.
//!
//! Every number in it is counted from the records; nothing is rounded.

use super::{Account, CaseAccount, Made, items, stages, word};
use crate::record::Ending;
use crate::runner::StageState;
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// How the text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Plain text.
    Text,
    /// Markdown: names of operators and stages as code.
    Markdown,
}

/// A paragraph, its references, and the numbers in it.
#[derive(Clone, Debug)]
pub struct Text {
    /// The paragraph.
    pub paragraph: String,
    /// What it cites, in the order of its numbers.
    pub references: Vec<String>,
    /// The numbers that it tells, under stable names.
    pub numbers: Json,
}

impl Text {
    /// Paragraph and numbered references.
    pub fn whole(&self) -> String {
        let mut text = format!("{}\n\n", self.paragraph);
        for (index, reference) in self.references.iter().enumerate() {
            let _ = writeln!(text, "{}. {reference}", index + 1);
        }
        text
    }

    /// The references as `BibTeX`.
    pub fn bibtex(&self) -> String {
        let entry = |(index, reference): (usize, &String)| {
            let plain: String = reference.chars().filter(|letter| !"{}\\".contains(*letter)).collect();
            format!("@misc{{neuroloom{},\n  note = {{{plain}}}\n}}\n", index + 1)
        };
        self.references.iter().enumerate().map(entry).collect()
    }
}

/// The paragraph of an output folder; a paragraph for each set of things that cases were made with.
pub fn text(account: &Account, form: Form) -> Text {
    let mut writer = Writer { form, references: Vec::new() };
    let mut numbers = Vec::new();
    let mut paragraphs = Vec::new();
    for (index, made) in account.made.iter().enumerate() {
        let cannot: &[String] = if index == 0 { &account.cannot } else { &[] };
        let counts = Counts::of(made, cannot);
        paragraphs.push(writer.paragraph(made, &counts, index > 0));
        numbers.push(counts.json());
    }
    Text { paragraph: paragraphs.join("\n\n"), references: writer.references, numbers: Json::Array(numbers) }
}

/// What is counted.
struct Counts {
    cases: usize,
    subjects: usize,
    done: usize,
    failed: Vec<String>,
    cannot: usize,
    /// Inputs that some cases lack, and how many.
    lacking: BTreeMap<String, usize>,
    /// Stages, and in how many cases they delivered.
    stages: BTreeMap<String, usize>,
}

impl Counts {
    fn of(made: &Made, cannot: &[String]) -> Self {
        let cases = &made.cases;
        let subject = |case: &CaseAccount| case.label.split("_ses-").next().unwrap_or_default().to_owned();
        let inputs: BTreeSet<&String> = cases.iter().flat_map(|case| &case.end.present).collect();
        let lacks = |input: &str| cases.iter().filter(|case| !case.end.present.contains(input)).count();
        let lacking =
            inputs.into_iter().map(|input| (input.clone(), lacks(input))).filter(|(_, count)| *count > 0);
        let mut stages: BTreeMap<String, usize> = BTreeMap::new();
        for case in cases {
            let ran = case.end.stages.iter().filter(|stage| stage.state == StageState::Ran);
            for stage in ran.map(|stage| stage.stage.clone()).collect::<BTreeSet<_>>() {
                *stages.entry(stage).or_default() += 1;
            }
        }
        let failed = |case: &&CaseAccount| case.end.ending != Ending::Ok;
        Self {
            cases: cases.len(),
            subjects: cases.iter().map(subject).collect::<BTreeSet<_>>().len(),
            done: cases.iter().filter(|case| case.end.ending == Ending::Ok).count(),
            failed: cases.iter().filter(failed).map(|case| case.label.clone()).collect(),
            cannot: cannot.len(),
            lacking: lacking.collect(),
            stages,
        }
    }

    fn json(&self) -> Json {
        json!({
            "cases": self.cases, "subjects": self.subjects, "done": self.done, "failed": self.failed.len(),
            "cannot": self.cannot, "lacking": self.lacking, "stages": self.stages,
        })
    }
}

struct Writer {
    form: Form,
    references: Vec<String>,
}

impl Writer {
    /// `[3]`, or nothing where there is nothing to cite.
    fn cite(&mut self, reference: &str) -> String {
        if reference.is_empty() {
            return String::new();
        }
        // Some end with a stop, some do not: the same work is cited once.
        let reference = reference.trim().trim_end_matches('.');
        let known = self.references.iter().position(|known| known == reference);
        let index = known.unwrap_or_else(|| {
            self.references.push(reference.to_owned());
            self.references.len() - 1
        });
        format!(" [{}]", index + 1)
    }

    fn code(&self, name: &str) -> String {
        if self.form == Form::Markdown { format!("`{name}`") } else { name.to_owned() }
    }

    fn paragraph(&mut self, made: &Made, counts: &Counts, earlier: bool) -> String {
        let provenance = &made.submission.provenance;
        let (engine, workflow) = (&provenance["engine"], &provenance["workflow"]);
        let version = word(engine, "version");
        let own = format!(
            "Neuroloom, a plugin-based workflow engine for neuroimaging, version {version}. {}",
            env!("CARGO_PKG_REPOSITORY")
        );
        let cite = self.cite(&own);
        let head = if earlier { "Further images" } else { "Images" };
        let mut text = format!(
            "{head} were processed with Neuroloom {version}{cite}, workflow {} version {} (digest {}), and its plugins ",
            self.code(word(workflow, "name")),
            word(workflow, "version"),
            word(workflow, "digest").get(..16).unwrap_or_default(),
        );
        let plugin =
            |plugin: &Json| format!("{} {}", self.code(word(plugin, "name")), word(plugin, "version"));
        let plugins: Vec<String> = items(provenance, "plugins").iter().map(plugin).collect();
        let _ = write!(text, "{}. {}", joined(&plugins), self.outcome(counts));
        let stages: Vec<String> =
            stages(made).into_iter().filter_map(|stage| self.stage(stage, counts)).collect();
        let _ = write!(text, " The stages were {}.", joined(&stages));
        let over: Vec<String> =
            items(provenance, "cohort").iter().map(|stage| self.operator(stage, "")).collect();
        if !over.is_empty() {
            let _ = write!(text, " Over all cases followed {}.", joined(&over));
        }
        text
    }

    /// `Of 42 cases of 40 subjects, 40 were processed to the end and 2 failed (sub-07, sub-31).`
    fn outcome(&self, counts: &Counts) -> String {
        let plural =
            |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
        let mut text = format!(
            "Of {} of {}, {} ",
            plural(counts.cases, "case"),
            plural(counts.subjects, "subject"),
            counts.done
        );
        text.push_str(if counts.done == 1 {
            "was processed to the end"
        } else {
            "were processed to the end"
        });
        match counts.failed.len() {
            0 => text.push_str(" and none failed."),
            failed => {
                let _ = write!(text, " and {failed} failed ({}).", counts.failed.join(", "));
            }
        }
        if counts.cannot > 0 {
            let _ = write!(
                text,
                " {} could not be processed for want of a required input.",
                plural(counts.cannot, "further case")
            );
        }
        for (input, count) in &counts.lacking {
            let verb = if *count == 1 { "lacked" } else { "were without" };
            let _ = write!(text, " {} {verb} {}.", plural(*count, "case"), self.code(input));
        }
        text
    }

    /// A stage that ran in some case; in how many, where not in all.
    fn stage(&mut self, stage: &Json, counts: &Counts) -> Option<String> {
        let ran = *counts.stages.get(word(stage, "stage"))?;
        let of =
            if ran == counts.cases { String::new() } else { format!(", in {ran} of {} cases", counts.cases) };
        Some(self.operator(stage, &of))
    }

    /// `brain (operator bet; fractional_threshold 0.4; in 39 of 42 cases) [2]`.
    fn operator(&mut self, stage: &Json, of: &str) -> String {
        let settings = stage["settings"].as_object().into_iter().flatten();
        let plain = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let settings = settings.filter(|(_, value)| !value.is_null());
        let settings: Vec<String> =
            settings.map(|(key, value)| format!(", {key} {}", plain(value))).collect();
        let settings = settings.concat();
        let name = self.code(word(stage, "stage"));
        let operator = self.code(word(stage, "operator"));
        let cite = self.cite(word(stage, "citation"));
        format!("{name} (operator {operator}{settings}{of}){cite}")
    }
}

/// `a, b and c`.
fn joined(parts: &[String]) -> String {
    match parts.split_last() {
        None => "none".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}
