//! The content of the page without its pictures: what `json` holds and the templates show.

use crate::case::Case;
use crate::documents::{InputFile, Named, PlannedInput, PlannedOutput, UsedOperator};
use crate::form::Record;
use crate::model::{self, Banner, Level, Model, entries, plain};
use crate::options::Options;
use crate::shape::Shape;
use crate::stages::{self, StageRow};
use crate::summary::Summary;
use crate::tables::Shown;
use sdk::serde::Serialize;
use sdk::{Cell, Column, Grid, Table};

/// What every report must say.
pub const USE_LIMIT: &str =
    "RESEARCH USE ONLY – not for diagnosis or treatment planning without review by a qualified reader";

/// A case, as the page tells it.
#[derive(Clone, Debug, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct Report {
    /// Label of the case.
    pub case: String,
    /// [`USE_LIMIT`].
    pub use_limit: &'static str,
    /// The workflow.
    pub workflow: Named,
    /// Version of the engine.
    pub engine: Option<String>,
    /// What nobody may overlook.
    pub banners: Vec<Banner>,
    /// The model behind the score.
    pub model: Option<Model>,
    /// Network score from which on a voxel belongs to a candidate.
    pub threshold: Option<f64>,
    /// Network score from which on pictures are coloured.
    pub display_threshold: f64,
    /// The figures at the top.
    pub summary: Summary,
    /// What readers decided, where this is the result after review.
    pub review: Option<Record>,
    /// What a reader should bear in mind.
    pub warnings: Vec<String>,
    /// Measures of the accepted lesions.
    pub lesions: Option<Shown>,
    /// All candidates of the filter.
    pub candidates: Option<Shown>,
    /// The filter's rules: each with its limit, or why it is off.
    pub rules: Vec<(String, String)>,
    /// Quality of registration and the like.
    pub quality: Vec<Quality>,
    /// Which inputs the case has.
    pub inputs: Vec<PlannedInput>,
    /// The stages and what became of them.
    pub stages: Vec<StageRow>,
    /// What is published.
    pub outputs: Vec<PlannedOutput>,
    /// The plugins used.
    pub plugins: Vec<Named>,
    /// The files read.
    pub files: Vec<File>,
    /// The operators used.
    pub methods: Vec<Method>,
    /// Remarks on the page itself.
    pub notes: Vec<String>,
}

/// Quality of the members whose tables have the same columns.
#[derive(Clone, Debug, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct Quality {
    /// Names of the members.
    pub name: String,
    /// Their measures, one row or more for each.
    pub table: Shown,
}

/// A file that was read.
#[derive(Clone, Debug, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct File {
    /// Name of the input.
    pub name: String,
    /// The file.
    pub file: String,
    /// Digest of its content.
    pub digest: String,
    /// Its grid in words.
    pub grid: String,
}

/// How one operator was used.
#[derive(Clone, Debug, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct Method {
    /// The stage it ran in.
    pub stage: String,
    /// Its name.
    pub operator: String,
    /// The publication behind it.
    pub citation: String,
    /// Its settings.
    pub settings: Vec<(String, String)>,
}

impl Report {
    /// Gathers all that is known about a case.
    ///
    /// * `accepted`, `below_size`: where the labels lie, for counts when tables are absent.
    pub fn of(case: &Case, accepted: &[Shape], below_size: &[Shape], options: &Options) -> Self {
        let provenance = case.provenance.clone().unwrap_or_default();
        let plan = case.plan.clone().unwrap_or_default();
        let stages = stages::rows(case.plan.as_ref(), case.outcome.as_ref());
        let model = Model::of(case);
        let workflow = Named {
            name: plan.workflow.name.or(provenance.workflow.name),
            version: plan.workflow.version.or(provenance.workflow.version),
            digest: provenance.workflow.digest.or(plan.workflow.digest),
        };
        Self {
            case: case.label.clone(),
            use_limit: USE_LIMIT,
            workflow,
            engine: provenance.engine.version,
            banners: banners(case, model.as_ref(), &stages),
            model,
            threshold: case.result_fact("threshold").and_then(serde_json::Value::as_f64),
            display_threshold: options.display_threshold,
            summary: Summary::of(case, accepted, below_size),
            review: case.review.clone(),
            warnings: warnings(case, &plan.inputs, &stages),
            lesions: case.table.as_ref().map(Shown::of),
            candidates: case.candidates.as_ref().map(Shown::of),
            rules: rules(case),
            quality: quality(&case.quality),
            inputs: plan.inputs,
            stages,
            outputs: plan.outputs,
            plugins: provenance.plugins,
            files: provenance.inputs.iter().map(file).collect(),
            methods: provenance.operators.iter().map(method).collect(),
            notes: case.notes.iter().chain(&plan.notes).cloned().collect(),
        }
    }
}

/// What the filter said of its rules.
fn rules(case: &Case) -> Vec<(String, String)> {
    let said = |(name, rule): (&String, &serde_json::Value)| {
        let text = match rule["why"].as_str() {
            Some(why) => format!("off: {why}"),
            None => format!("limit {}", plain(&rule["limit"])),
        };
        (name.clone(), text)
    };
    let rules = case.result_fact("rules").and_then(serde_json::Value::as_object);
    rules.map(|rules| rules.iter().map(said).collect()).unwrap_or_default()
}

fn banners(case: &Case, model: Option<&Model>, stages: &[StageRow]) -> Vec<Banner> {
    let mut banners: Vec<Banner> = stages.iter().filter(|s| s.state == "failed").map(failure).collect();
    let failed = case.outcome.as_ref().is_some_and(|outcome| outcome.ok == Some(false));
    if failed && banners.is_empty() {
        banners.push(Banner {
            level: Level::Danger,
            title: "THE CASE DID NOT FINISH".to_owned(),
            text: "No stage failed by itself: the run was stopped.".to_owned(),
        });
    }
    if case.has_results() {
        banners.extend(model.map_or_else(|| Some(model::unknown()), Model::banner));
    } else {
        banners.push(Banner {
            level: Level::Warning,
            title: "NO LESION RESULTS".to_owned(),
            text: "Nothing can be said about lesions. This is not a finding that there are none.".to_owned(),
        });
    }
    banners
}

fn failure(stage: &StageRow) -> Banner {
    let ended = stage.details.iter().filter(|detail| detail.state == "failed");
    let text: Vec<String> = ended
        .map(|detail| {
            let member =
                if detail.member.is_empty() { String::new() } else { format!("{}: ", detail.member) };
            let hint = if detail.hint.is_empty() { "" } else { " – hint: " };
            format!("{member}{}{hint}{}", detail.reason, detail.hint)
        })
        .collect();
    Banner { level: Level::Danger, title: format!("STAGE FAILED: {}", stage.stage), text: text.join("; ") }
}

/// Missing inputs, stages that did not deliver, and what operators warned of.
fn warnings(case: &Case, inputs: &[PlannedInput], stages: &[StageRow]) -> Vec<String> {
    let mut warnings: Vec<String> = Vec::new();
    let missing: Vec<String> = inputs
        .iter()
        .filter(|input| input.present == Some(false))
        .map(|input| {
            input.kind.as_ref().map_or_else(|| input.name.clone(), |kind| format!("{} ({kind})", input.name))
        })
        .collect();
    if !missing.is_empty() {
        warnings.push(format!("Missing from this case: {}", missing.join(", ")));
    }
    warnings.extend(undelivered(stages));
    // A warning travels with a value through all stages that pass it on: say it once.
    for (port, facts) in &case.facts {
        for warning in facts.warnings() {
            if !warnings.iter().any(|known| known.ends_with(&format!(": {warning}"))) {
                warnings.push(format!("{port}: {warning}"));
            }
        }
    }
    warnings
}

/// One line for all stages that share a state and a reason.
fn undelivered(stages: &[StageRow]) -> Vec<String> {
    let mut groups: Vec<((&str, &str), Vec<String>)> = Vec::new();
    for stage in stages {
        for detail in &stage.details {
            if !matches!(detail.state.as_str(), "failed" | "cancelled" | "skipped") {
                continue;
            }
            let name = if detail.member.is_empty() {
                stage.stage.clone()
            } else {
                format!("{} ({})", stage.stage, detail.member)
            };
            let key = (detail.state.as_str(), detail.reason.as_str());
            match groups.iter_mut().find(|(known, _)| *known == key) {
                Some((_, names)) => names.push(name),
                None => groups.push((key, vec![name])),
            }
        }
    }
    let line = |((state, reason), names): ((&str, &str), Vec<String>)| {
        let mut letters = state.chars();
        let state: String = letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect();
        let reason = if reason.is_empty() { "no reason given" } else { reason };
        format!("{state}: {} – {reason}", names.join(", "))
    };
    groups.into_iter().map(line).collect()
}

/// One table for all members whose tables have the same columns, with the members' names in front.
fn quality(members: &[(String, Table)]) -> Vec<Quality> {
    let mut groups: Vec<(Vec<&str>, Table)> = Vec::new();
    for (name, table) in members {
        let mut rows: Vec<Vec<Cell>> = table.rows.clone();
        for row in &mut rows {
            row.insert(0, name.as_str().into());
        }
        let known = groups.iter_mut().find(|(_, known)| known.columns[1..] == table.columns[..]);
        if let Some((names, known)) = known {
            names.push(name);
            known.rows.extend(rows);
        } else {
            let mut columns = vec![Column::new("image", "", "which image was judged")];
            columns.extend(table.columns.iter().cloned());
            groups.push((vec![name], Table { columns, rows }));
        }
    }
    groups
        .into_iter()
        .map(|(names, table)| Quality { name: names.join(", "), table: Shown::of(&table) })
        .collect()
}

fn file(input: &InputFile) -> File {
    let grid = serde_json::from_value::<Grid>(input.grid.clone());
    File {
        name: input.name.clone(),
        file: input.file.clone().unwrap_or_default(),
        digest: input.digest.clone().unwrap_or_default(),
        grid: grid.map_or_else(|_| plain(&input.grid), |grid| grid.to_string()),
    }
}

fn method(used: &UsedOperator) -> Method {
    Method {
        stage: used.stage.clone(),
        operator: used.operator.clone(),
        citation: used.citation.clone().unwrap_or_default(),
        settings: entries(&used.settings),
    }
}
