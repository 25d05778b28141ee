//! The content of the page without its pictures: what `json` holds and the templates show.

use crate::case::Case;
use crate::documents::{InputFile, Named, PlannedInput, PlannedOutput, UsedOperator};
use crate::model::{self, Banner, Level, Model, entries, plain};
use crate::options::Options;
use crate::shape::Shape;
use crate::stages::{self, StageRow};
use crate::summary::Summary;
use crate::tables::Shown;
use sdk::Grid;
use sdk::serde::Serialize;

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
    /// What a reader should bear in mind.
    pub warnings: Vec<String>,
    /// Measures of the accepted lesions.
    pub lesions: Option<Shown>,
    /// All candidates of the filter.
    pub candidates: Option<Shown>,
    /// Quality of registration by image.
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

/// Quality of one registration.
#[derive(Clone, Debug, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct Quality {
    /// Name of the image.
    pub name: String,
    /// Its measures.
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
            warnings: warnings(case, &plan.inputs, &stages),
            lesions: case.table.as_ref().map(Shown::of),
            candidates: case.candidates.as_ref().map(Shown::of),
            quality: case.quality.iter().map(quality).collect(),
            inputs: plan.inputs,
            stages,
            outputs: plan.outputs,
            plugins: provenance.plugins,
            files: provenance.inputs.iter().map(file).collect(),
            methods: provenance.operators.iter().map(method).collect(),
            notes: case.notes.clone(),
        }
    }
}

fn banners(case: &Case, model: Option<&Model>, stages: &[StageRow]) -> Vec<Banner> {
    let mut banners = Vec::new();
    for stage in stages.iter().filter(|stage| stage.state == "failed" || stage.state == "cancelled") {
        let ended = stage.details.iter().filter(|detail| detail.state == stage.state);
        let text: Vec<String> = ended
            .map(|detail| {
                let hint = if detail.hint.is_empty() { "" } else { " – hint: " };
                format!("{}{hint}{}", detail.reason, detail.hint)
            })
            .collect();
        banners.push(Banner {
            level: Level::Danger,
            title: format!("STAGE {}: {}", stage.state.to_uppercase(), stage.stage),
            text: text.join("; "),
        });
    }
    let failed = case.outcome.as_ref().is_some_and(|outcome| outcome.ok == Some(false));
    if failed && banners.is_empty() {
        banners.push(Banner {
            level: Level::Danger,
            title: "THE CASE DID NOT FINISH".to_owned(),
            text: "No stage says why; see the log of the run.".to_owned(),
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

/// Missing inputs, what operators warned of, and stages that did not run.
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
    for stage in stages {
        let details = stage.details.iter();
        for detail in details.filter(|d| matches!(d.state.as_str(), "failed" | "cancelled" | "skipped")) {
            let member =
                if detail.member.is_empty() { String::new() } else { format!(", {}", detail.member) };
            let reason = if detail.reason.is_empty() { "no reason given" } else { &detail.reason };
            warnings.push(format!("Stage {}{member} {}: {reason}", stage.stage, detail.state));
        }
    }
    // A warning travels with a value through all stages that pass it on: say it once.
    for (port, facts) in &case.facts {
        for warning in facts.warnings() {
            let text = format!("{port}: {warning}");
            if !warnings.iter().any(|known| known.ends_with(&format!(": {warning}"))) {
                warnings.push(text);
            }
        }
    }
    warnings
}

fn quality((name, table): &(String, sdk::Table)) -> Quality {
    Quality { name: name.clone(), table: Shown::of(table) }
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
        operator: used.operator.clone(),
        citation: used.citation.clone().unwrap_or_default(),
        settings: entries(&used.settings),
    }
}
