//! Lesions: filters candidates out of a score map, measures what remains, and follows it over time.
//!
//! The methods are in [`filter`], [`review`], [`fit`], [`measure`] and [`matching`]; this file is only the plugin's face towards the engine.

pub mod filter;
pub mod fit;
pub mod matching;
pub mod measure;
pub mod review;

use filter::learned::LearnedRule;
use sdk::{
    Cases, Context, Document, Facts, GroupOperator, Inputs, Interface, NoSettings, Operator, OperatorError,
    OperatorInfo, Outputs, Place, Port, Value, Wiring,
};

/// Operator `filter_lesions`.
#[derive(Debug)]
pub struct FilterLesions {
    options: filter::Options,
    learned: Option<LearnedRule>,
}

impl Operator for FilterLesions {
    const INFO: OperatorInfo = OperatorInfo {
        name: "filter_lesions",
        role: Some("lesion_filter"),
        summary: "Turn a score map into lesions: threshold, connected components, size limit, rules against vessels.",
        inputs: &[
            Port::probability("probability").on("g").about("score of each voxel"),
            Port::mask("mask").on("g").optional().about("brain; lesions are sought inside"),
            Port::image("image").on("g").optional().about("T1 gradient echo after contrast: blood is bright"),
            Port::image("pre_contrast").on("g").optional().about("T1 before contrast"),
            Port::image("black_blood").on("g").optional().about("T1 spin echo after contrast: blood is dark"),
            Port::image("prior").on("g").optional().about("likelihood of sinus or skull base, or a mask"),
        ],
        outputs: &[
            Port::labels("labels").on("g").about("accepted lesions, 1 to n, largest first"),
            Port::labels("below_size")
                .on("g")
                .about("candidates below the size limit, n + 1 and up, largest first"),
            Port::labels("rejected").on("g").about("rejected candidates, numbers go on, largest first"),
            Port::table("candidates").about("every candidate with class, rule and value"),
        ],
        citation: filter::CITATION,
        ..OperatorInfo::CASE
    };
    type Settings = filter::Options;

    fn interface(options: &filter::Options, wiring: &Wiring) -> Result<Interface, OperatorError> {
        options.check()?;
        let mut interface = Interface::of(Self::INFO.inputs, Self::INFO.outputs);
        if options.rule_file.is_none() {
            for rule in &options.rules {
                // The prior is an extra: without one, nobody expects its rule.
                let lacks = rule.needs().iter().find(|port| !wiring.has(port) && **port != "prior");
                if let Some(port) = lacks {
                    interface = interface.note(format!("without `{port}` the rule `{}` is off", rule.name()));
                }
            }
        }
        Ok(interface)
    }

    fn open(options: filter::Options, _: &Place) -> Result<Self, OperatorError> {
        options.check()?;
        let learned = options.learned()?;
        Ok(Self { options, learned })
    }

    fn run(&mut self, inputs: &Inputs, ctx: &Context) -> Result<Outputs, OperatorError> {
        let mut facts = inputs.facts("probability");
        let (threshold, source) = filter::threshold(&self.options, &facts)?;
        let probability = inputs.probability("probability")?;
        let mask = inputs.optional_mask("mask")?;
        let [image, pre_contrast, black_blood, prior] =
            ["image", "pre_contrast", "black_blood", "prior"].map(|port| inputs.optional_image(port));
        let (image, pre_contrast, black_blood, prior) = (image?, pre_contrast?, black_blood?, prior?);
        let beside = filter::features::Beside {
            mask: mask.as_ref(),
            image: image.as_ref(),
            pre_contrast: pre_contrast.as_ref(),
            black_blood: black_blood.as_ref(),
            prior: prior.as_ref(),
        };
        let learned = self.learned.as_ref();
        let found = filter::lesions(&probability, &beside, threshold, &self.options, learned, ctx)?;
        facts.set("threshold", threshold);
        facts.set("threshold_source", source.name());
        facts.set("rules", found.rules);
        if found.non_finite > 0 {
            facts.warn(format!("{} scores are not finite and count as 0", found.non_finite));
        }
        let with_facts = |value: Value| value.facts(&facts);
        Ok(Outputs::new()
            .with("labels", with_facts(found.labels.into()))
            .with("below_size", with_facts(found.below_size.into()))
            .with("rejected", with_facts(found.rejected.into()))
            .with("candidates", with_facts(found.table.into())))
    }
}

/// Operator `apply_review`.
#[derive(Debug)]
pub struct ApplyReview;

impl Operator for ApplyReview {
    const INFO: OperatorInfo = OperatorInfo {
        name: "apply_review",
        summary: "Put what readers decided about candidates in the place of what the filter said.",
        inputs: &[
            Port::labels("labels").on("g").about("accepted lesions of the filter"),
            Port::labels("below_size").on("g").optional().about("its candidates below the size limit"),
            Port::labels("rejected").on("g").optional().about("its rejected candidates"),
            Port::table("candidates").about("its list of candidates"),
            Port::text("reviews").about("what readers decided, as `neuroloom review` gives it"),
        ],
        outputs: &[
            Port::labels("labels").on("g").about("lesions after review; numbers stay"),
            Port::labels("below_size")
                .on("g")
                .about("candidates below the size limit that nobody decided on"),
            Port::labels("rejected").on("g").about("rejected by a reader, or by the filter"),
            Port::table("candidates")
                .about("every candidate with class before and after, who decided and when"),
            Port::document("review").about("the reviews, and what of them holds"),
        ],
        ..OperatorInfo::CASE
    };
    type Settings = NoSettings;

    fn open(_: NoSettings, _: &Place) -> Result<Self, OperatorError> {
        Ok(Self)
    }

    fn run(&mut self, inputs: &Inputs, ctx: &Context) -> Result<Outputs, OperatorError> {
        let reviews = review::read(&inputs.text("reviews")?)?;
        let (labels, candidates) = (inputs.labels("labels")?, inputs.table("candidates")?);
        let (below_size, rejected) =
            (inputs.optional_labels("below_size")?, inputs.optional_labels("rejected")?);
        let found =
            review::Found { labels: &labels, below_size: below_size.as_ref(), rejected: rejected.as_ref() };
        let reviewed = review::apply(found, &candidates, &reviews, ctx)?;
        let mut facts = inputs.facts("labels");
        facts.set("reviews", reviewed.short);
        let record = Document::new("application/json", serde_json::to_vec_pretty(&reviewed.record)?);
        let with_facts = |value: Value| value.facts(&facts);
        Ok(Outputs::new()
            .with("labels", with_facts(reviewed.labels.into()))
            .with("below_size", with_facts(reviewed.below_size.into()))
            .with("rejected", with_facts(reviewed.rejected.into()))
            .with("candidates", with_facts(reviewed.table.into()))
            .with("review", with_facts(record.into())))
    }
}

/// Operator `measure_lesions`.
#[derive(Debug)]
pub struct MeasureLesions {
    options: measure::Options,
}

impl Operator for MeasureLesions {
    const INFO: OperatorInfo = OperatorInfo {
        name: "measure_lesions",
        summary: "Measure volume, place, diameters, scores and contrast of each lesion, and the burden of the case.",
        inputs: &[
            Port::labels("labels").on("g").about("each label is a lesion"),
            Port::image("image")
                .on("g")
                .optional()
                .about("intensities in which lesions enhance, for the contrast ratio"),
            Port::probability("probability").on("g").optional().about("scores the lesions were made from"),
            Port::mask("mask").on("g").optional().about("brain"),
        ],
        outputs: &[Port::table("table").about("a row for each lesion; its fact `burden` sums them up")],
        citation: measure::CITATION,
        ..OperatorInfo::CASE
    };
    type Settings = measure::Options;

    fn interface(options: &measure::Options, _: &Wiring) -> Result<Interface, OperatorError> {
        options.check()?;
        Ok(Interface::of(Self::INFO.inputs, Self::INFO.outputs))
    }

    fn open(options: measure::Options, _: &Place) -> Result<Self, OperatorError> {
        options.check()?;
        Ok(Self { options })
    }

    fn run(&mut self, inputs: &Inputs, ctx: &Context) -> Result<Outputs, OperatorError> {
        let labels = inputs.labels("labels")?;
        let (image, probability) =
            (inputs.optional_image("image")?, inputs.optional_probability("probability")?);
        let mask = inputs.optional_mask("mask")?;
        let beside =
            measure::Beside { image: image.as_ref(), probability: probability.as_ref(), mask: mask.as_ref() };
        let measured = measure::measure(&labels, beside, &self.options, ctx)?;
        let mut facts = inputs.facts("labels");
        facts.set("burden", serde_json::to_value(measured.burden)?);
        if let Some(warning) = measured.warning {
            facts.warn(warning);
        }
        Ok(Outputs::new().with("table", Value::from(measured.table).facts(&facts)))
    }
}

/// Operator `match_lesions`.
#[derive(Debug)]
pub struct MatchLesions {
    options: matching::Options,
}

impl GroupOperator for MatchLesions {
    const INFO: OperatorInfo = OperatorInfo {
        name: "match_lesions",
        summary: "Follow a subject's lesions from session to session, with the imaging component of RANO-BM.",
        inputs: &[
            Port::labels("labels").on("g").about("lesions of the session"),
            Port::table("measures").about("their measures, of `measure_lesions`"),
            Port::transform("common_to_session")
                .maps("c", "g")
                .optional()
                .about("from a frame that all sessions share to that of the labels"),
        ],
        outputs: &[
            Port::table("lesions").about("a row for each lesion and session"),
            Port::table("sessions").about("a row for each session, with its response"),
        ],
        citation: measure::CITATION,
        ..OperatorInfo::SUBJECT
    };
    type Settings = matching::Options;

    fn interface(options: &matching::Options, _: &Wiring) -> Result<Interface, OperatorError> {
        options.check()?;
        Ok(Interface::of(Self::INFO.inputs, Self::INFO.outputs))
    }

    fn open(options: matching::Options, _: &Place) -> Result<Self, OperatorError> {
        options.check()?;
        Ok(Self { options })
    }

    fn run(&mut self, cases: &dyn Cases, ctx: &Context) -> Result<Outputs, OperatorError> {
        let followed = matching::follow(cases, &self.options, ctx)?;
        let mut facts = Facts::new();
        for warning in followed.warnings {
            facts.warn(warning);
        }
        Ok(Outputs::new()
            .with("lesions", Value::from(followed.lesions).facts(&facts))
            .with("sessions", Value::from(followed.sessions).facts(&facts)))
    }
}

/// Operator `fit_filter`.
#[derive(Debug)]
pub struct FitFilter {
    options: fit::Options,
}

impl GroupOperator for FitFilter {
    const INFO: OperatorInfo = OperatorInfo {
        name: "fit_filter",
        summary: "Learn a rule against false positives from cases with truth, and tell what every rule does.",
        inputs: &[
            Port::table("candidates").about("of `filter_lesions`"),
            Port::labels("labels").on("g").about("accepted lesions of the same"),
            Port::labels("rejected").on("g").optional().about("rejected candidates of the same"),
            Port::labels("truth").on("g").about("true lesions, each with its number"),
        ],
        outputs: &[
            Port::document("rule").about("the learned rule as JSON, for `rule_file` of `filter_lesions`"),
            Port::table("table").about("false positives and lesions found with each rule"),
        ],
        ..OperatorInfo::COHORT
    };
    type Settings = fit::Options;

    fn interface(options: &fit::Options, _: &Wiring) -> Result<Interface, OperatorError> {
        options.check()?;
        Ok(Interface::of(Self::INFO.inputs, Self::INFO.outputs))
    }

    fn open(options: fit::Options, _: &Place) -> Result<Self, OperatorError> {
        options.check()?;
        Ok(Self { options })
    }

    fn run(&mut self, cases: &dyn Cases, ctx: &Context) -> Result<Outputs, OperatorError> {
        let fitted = fit::fit(cases, &self.options, ctx)?;
        let mut facts = Facts::new();
        for warning in fitted.warnings {
            facts.warn(warning);
        }
        let rule = Document::new("application/json", serde_json::to_vec_pretty(&fitted.rule)?);
        Ok(Outputs::new()
            .with("rule", Value::from(rule).facts(&facts))
            .with("table", Value::from(fitted.table).facts(&facts)))
    }
}

sdk::export_plugin![FilterLesions, ApplyReview, MeasureLesions; groups: MatchLesions, FitFilter];
