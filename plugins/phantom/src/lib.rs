//! Phantom: synthetic cases with known truth.
//!
//! [`case::make`] is the method, in the order of the modules below; this file is only the plugin's face towards the engine.
//! Phantoms judge the plumbing (registration, masks, statistics, learning), never clinical performance.

pub mod anatomy;
pub mod case;
pub mod contrast;
pub mod lesions;
pub mod protocol;
pub mod random;
pub mod render;
pub mod subject;
pub mod template;
pub mod vessels;

use anatomy::Anatomy;
use case::{Case, Options};
use sdk::{
    Context, Facts, Inputs, Interface, Operator, OperatorError, OperatorInfo, Outputs, Place, Port, Value,
    Wiring,
};

/// Operator `phantom`.
#[derive(Debug)]
pub struct Phantom {
    options: Options,
    anatomy: Anatomy,
}

impl Operator for Phantom {
    const INFO: OperatorInfo = OperatorInfo {
        name: "phantom",
        summary: "Make a synthetic case of four sequences with enhancing lesions, and its truth.",
        inputs: &[Port::number("seed").optional().about("whole number; another seed is another person")],
        outputs: &[
            Port::image("bravo").fresh("b").about("T1-weighted gradient echo after contrast, axial"),
            Port::image("t1_pre").fresh("p").about("T1-weighted CUBE before contrast, sagittal"),
            Port::image("t1_post").fresh("c").about("T1-weighted CUBE after contrast, sagittal"),
            Port::image("flair").fresh("f").about("FLAIR, sagittal"),
            Port::labels("lesions").on("b").about("whole lesions, each with its number"),
            Port::mask("brain_mask").on("b").about("the brain"),
            Port::transform("bravo_to_t1_pre").maps("b", "p").about("true rigid motion"),
            Port::transform("bravo_to_t1_post").maps("b", "c").about("true rigid motion"),
            Port::transform("bravo_to_flair").maps("b", "f").about("true rigid motion"),
            Port::table("lesion_table").about("centroid, diameter, volume and kind of each lesion"),
        ],
        citation: "C. J. Holmes et al., J. Comput. Assist. Tomogr. 22(2), 1998 (Colin27 anatomy)",
        ..OperatorInfo::CASE
    };
    type Settings = Options;

    fn interface(options: &Options, _: &Wiring) -> Result<Interface, OperatorError> {
        options.check()?;
        Ok(Interface::of(Self::INFO.inputs, Self::INFO.outputs))
    }

    fn open(options: Options, _: &Place) -> Result<Self, OperatorError> {
        options.check()?;
        Ok(Self { options, anatomy: Anatomy::load() })
    }

    fn run(&mut self, inputs: &Inputs, ctx: &Context) -> Result<Outputs, OperatorError> {
        let seed = match inputs.optional_number("seed")? {
            Some(number) => case::seed_from(number)?,
            None => self.options.seed,
        };
        let case = case::make(&self.anatomy, &self.options, seed, ctx)?;
        Ok(outputs(case, seed))
    }
}

fn outputs(case: Case, seed: u64) -> Outputs {
    let mut facts = Facts::new();
    facts.set("sources", vec![format!("phantom of seed {seed}")]);
    facts.warn("synthetic phantom, not a patient");
    let with_facts = |value: Value| value.facts(&facts);
    let [bravo, t1_pre, t1_post, flair] = case.images.map(|image| with_facts(image.into()));
    let [_, to_t1_pre, to_t1_post, to_flair] = case.bravo_to_image;
    Outputs::new()
        .with("bravo", bravo)
        .with("t1_pre", t1_pre)
        .with("t1_post", t1_post)
        .with("flair", flair)
        .with("lesions", with_facts(case.lesions.into()))
        .with("brain_mask", with_facts(case.brain_mask.into()))
        .with("bravo_to_t1_pre", to_t1_pre)
        .with("bravo_to_t1_post", to_t1_post)
        .with("bravo_to_flair", to_flair)
        .with("lesion_table", with_facts(case.lesion_table.into()))
}

pub use template::HeadTemplate;

sdk::export_plugin![Phantom, HeadTemplate];
