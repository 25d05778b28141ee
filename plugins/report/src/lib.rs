//! Reports: one page that holds a case.
//!
//! [`case::Case`] is what arrives, [`report::Report`] what is said, [`figures`] what is drawn, [`html`] how it looks; this
//! file is only the plugin's face towards the engine.

pub mod case;
pub mod cohort;
pub mod display;
pub mod documents;
pub mod figures;
pub mod form;
pub mod glyphs;
pub mod graph;
pub mod histogram;
pub mod html;
pub mod model;
pub mod options;
pub mod overlay;
pub mod packing;
pub mod picture;
pub mod plane;
pub mod report;
pub mod rows;
pub mod sample;
pub mod scene;
pub mod shape;
pub mod solid;
pub mod stages;
pub mod summary;
pub mod tables;
pub mod volumes;

use case::Case;
use figures::Drawn;
use html::Pictures;
use options::Options;
use overlay::Outline;
use plane::{Plane, View};
use report::Report;
use scene::Scene;
use sdk::{
    Context, Document, Inputs, Interface, Operator, OperatorError, OperatorInfo, Outputs, Place, Port, Wiring,
};
use shape::{Shape, shapes};
use solid::Solid;

/// Operator `case_report`.
#[derive(Debug)]
pub struct CaseReport {
    options: Options,
}

impl Operator for CaseReport {
    const INFO: OperatorInfo = OperatorInfo {
        name: "case_report",
        summary: "Put all that is known about a case on one page.",
        inputs: &[
            Port::image("images").many().optional().about("registered images, shown against the reference"),
            Port::image("normalised").many().optional().about("the same images as the network sees them"),
            Port::image("reference").optional().about("the image that pictures are drawn on"),
            Port::probability("probability").optional().about("network score"),
            Port::labels("lesions").optional().about("accepted lesions"),
            Port::labels("below_size").optional().about("lesions below the size limit"),
            Port::labels("rejected").optional().about("candidates that another rule rejected"),
            Port::table("table").optional().about("measures of the accepted lesions"),
            Port::table("candidates").optional().about("all candidates of the filter, with verdicts"),
            Port::document("review").optional().about("what readers decided, of `apply_review`"),
            Port::mask("mask").optional().about("brain mask: nothing beyond it is shown"),
            Port::table("quality").many().optional().about("quality of registration by image"),
            Port::labels("truth").optional().about("true lesions, to compare"),
            Port::document("outcome").optional().about("`case.outcome`"),
            Port::document("plan").optional().about("`case.plan`"),
            Port::document("provenance").optional().about("`case.provenance`"),
        ],
        outputs: &[
            Port::document("html").about("the page, one self-contained file"),
            Port::document("json").about("the same content for programs"),
            Port::table("table").about("all candidates with verdict and measures"),
            Port::document("form").about("the candidates, by whose digest a review names what was reviewed"),
        ],
        ..OperatorInfo::CASE
    };
    type Settings = Options;

    fn interface(options: &Options, _: &Wiring) -> Result<Interface, OperatorError> {
        options.check()?;
        Ok(Interface::of(Self::INFO.inputs, Self::INFO.outputs))
    }

    fn open(options: Options, _: &Place) -> Result<Self, OperatorError> {
        options.check()?;
        Ok(Self { options })
    }

    fn run(&mut self, inputs: &Inputs, ctx: &Context) -> Result<Outputs, OperatorError> {
        let case = Case::read(inputs, &ctx.case_label())?;
        let backdrop = case.backdrop();
        let shapes_of = |labels: &Option<sdk::Labels>| {
            let grid = backdrop.map(sdk::Image::grid);
            labels.as_ref().map_or_else(Vec::new, |labels| {
                let grid = grid.unwrap_or(labels.grid());
                shapes(labels, grid, Plane::of(grid, View::Axial).through)
            })
        };
        let (accepted, below_size) = (shapes_of(&case.lesions), shapes_of(&case.below_size));
        let mut report = Report::of(&case, &accepted, &below_size, &self.options);
        let pictures = match Scene::new(backdrop, case.mask.as_ref(), &self.options) {
            Ok(scene) => draw(&case, &scene, [&accepted, &below_size], &self.options, ctx)?,
            Err(reason) => {
                report.notes.push(reason.to_string());
                Pictures::default()
            }
        };
        ctx.check_cancelled()?;
        let (json, form) = (serde_json::to_vec_pretty(&report)?, form::form(&case));
        let head = form::head(&case, &form);
        Ok(Outputs::new()
            .with("html", Document::new("text/html", html::page(&report, &pictures, head.as_deref())?))
            .with("json", Document::new("application/json", json))
            .with("table", rows::joined(case.table.as_ref(), case.candidates.as_ref()))
            .with("form", Document::new("application/json", form)))
    }
}

/// All pictures of a case.
fn draw(
    case: &Case,
    scene: &Scene<'_>,
    [accepted, below_size]: [&[Shape]; 2],
    options: &Options,
    ctx: &Context,
) -> Result<Pictures, OperatorError> {
    let grid = scene.grid();
    let mut drawn = Drawn::new(options);
    drawn.scores(case.probability.as_ref(), grid);
    drawn.outline(Outline::Truth, case.truth.as_ref(), grid);
    drawn.outline(Outline::Rejected, case.rejected.as_ref(), grid);
    drawn.outline(Outline::BelowSize, case.below_size.as_ref(), grid);
    drawn.outline(Outline::Accepted, case.lesions.as_ref(), grid);
    let all: Vec<Shape> = accepted.iter().chain(below_size).cloned().collect();
    ctx.progress(0.2, "mosaic");
    let mosaic = figures::mosaic(scene, &drawn, &all, options.mosaic_slices, ctx)?;
    ctx.check_cancelled()?;
    ctx.progress(0.5, "lesions");
    let lesions = figures::lesions(scene, &drawn, accepted, options.lesion_pictures, ctx)?;
    ctx.check_cancelled()?;
    ctx.progress(0.8, "quality");
    let registered = figures::registered(scene, case, ctx)?;
    let mask = case.mask.as_ref().map(|mask| figures::mask_outline(scene, mask));
    ctx.check_cancelled()?;
    ctx.progress(0.9, "viewer");
    let volumes = if options.viewer_mb > 0.0 { volumes::volumes(case, scene, options, ctx)? } else { None };
    let legend = [
        ("scores", case.probability.is_some()),
        ("accepted", case.lesions.is_some()),
        ("below_size", case.below_size.is_some()),
        ("rejected", case.rejected.is_some()),
        ("truth", case.truth.is_some()),
    ];
    Ok(Pictures {
        mosaic,
        lesions,
        registered,
        mask: mask.transpose()?.unwrap_or_default(),
        solid: volumes.as_ref().filter(|_| options.view_3d).map(|_| Solid::pack()),
        volumes,
        histograms: histogram::histograms(case, scene),
        grid: grid.to_string(),
        legend: legend.into_iter().filter_map(|(name, drawn)| drawn.then_some(name)).collect(),
    })
}

sdk::export_plugin![CaseReport, cohort::tile::CaseTile; groups: cohort::CohortReport];
