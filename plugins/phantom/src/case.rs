//! One case from one seed: the same bytes for any number of threads.

use crate::anatomy::Anatomy;
use crate::lesions::{Lesion, draw_lesions};
use crate::protocol::{Grids, View, draw_views};
use crate::render::{self, Scene};
use crate::subject::Subject;
use crate::vessels::Vessels;
use sdk::{Affine, Cell, Column, Context, Image, JsonSchema, Labels, Mask, OperatorError, Table};
use serde::{Deserialize, Serialize};

/// Most lesions a case may have.
const MOST_LESIONS: usize = 200;

/// Largest seed that every number in JSON and TOML holds exactly.
const LARGEST_SEED: u64 = (1 << 53) - 1;

/// What a workflow can set.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(crate = "sdk::schemars")]
pub struct Options {
    /// What the case is made from, unless the input `seed` has a value; another seed is another person.
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_u64))]
    pub seed: u64,
    /// Size of the grids: `paper`, `paper_512` or `small`.
    pub grids: Grids,
    /// Number of lesions.
    #[schemars(range(min = 0, max = 200))]
    pub lesions: usize,
    /// Least and most diameter of a lesion (of the ball with its volume), mm; 2 to 42.
    pub diameter_mm: [f64; 2],
    /// White matter's signal over the noise's standard deviation.
    #[schemars(range(min = 2.0, max = 1000.0))]
    pub snr: f64,
    /// Largest coil bias, as the logarithm of the factor: 0.16 is about 16 %.
    #[schemars(range(min = 0.0, max = 0.5))]
    pub bias: f64,
    /// Largest turn of the head about each axis between sequences, degrees.
    #[schemars(range(min = 0.0, max = 30.0))]
    pub motion_deg: f64,
    /// Largest shift of the head along each axis between sequences, mm.
    #[schemars(range(min = 0.0, max = 30.0))]
    pub motion_mm: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            grids: Grids::Paper,
            lesions: 5,
            diameter_mm: [4.0, 25.0],
            snr: 30.0,
            bias: 0.16,
            motion_deg: 4.0,
            motion_mm: 5.0,
        }
    }
}

/// Why no case could be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PhantomError {
    /// A setting is out of its range.
    #[error("setting `{setting}` is {found} instead of {low} to {high}\nhint: the default is {default}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// What was set.
        found: f64,
        /// Least.
        low: f64,
        /// Most.
        high: f64,
        /// What it is unless set.
        default: f64,
    },
    /// The diameters are out of range or in the wrong order.
    #[error(
        "setting `diameter_mm` is [{}, {}] instead of two numbers in order from 2 to 42\nhint: the default is [4, 25]",
        found[0], found[1]
    )]
    Diameters {
        /// What was set.
        found: [f64; 2],
    },
    /// A seed that is no whole number.
    #[error("seed {found} instead of a whole number from 0 to {LARGEST_SEED}\nhint: number cases 1, 2, 3 …")]
    Seed {
        /// What was given.
        found: f64,
    },
    /// There is no room for so many lesions.
    #[error(
        "{placed} of {asked} lesions found a place in the brain\nhint: lower `lesions` or the larger number of `diameter_mm`"
    )]
    Crowded {
        /// How many fit.
        placed: usize,
        /// How many were asked for.
        asked: usize,
    },
}

impl Options {
    /// Whether every setting is in its range.
    ///
    /// # Errors
    /// [`PhantomError`] with the first that is not.
    pub fn check(&self) -> Result<(), PhantomError> {
        let default = Self::default();
        let ranges = [
            ("seed", self.seed as f64, 0.0, LARGEST_SEED as f64, default.seed as f64),
            ("lesions", self.lesions as f64, 0.0, MOST_LESIONS as f64, default.lesions as f64),
            ("snr", self.snr, 2.0, 1000.0, default.snr),
            ("bias", self.bias, 0.0, 0.5, default.bias),
            ("motion_deg", self.motion_deg, 0.0, 30.0, default.motion_deg),
            ("motion_mm", self.motion_mm, 0.0, 30.0, default.motion_mm),
        ];
        for (setting, found, low, high, default) in ranges {
            if !(low..=high).contains(&found) {
                return Err(PhantomError::Setting { setting, found, low, high, default });
            }
        }
        let [least, most] = self.diameter_mm;
        if !(least >= 2.0 && least <= most && most <= 42.0) {
            return Err(PhantomError::Diameters { found: self.diameter_mm });
        }
        Ok(())
    }
}

/// The seed a number stands for.
///
/// # Errors
/// [`PhantomError::Seed`] unless it is a whole number that f64 holds exactly.
pub fn seed_from(number: f64) -> Result<u64, PhantomError> {
    if number.fract() == 0.0 && (0.0..=LARGEST_SEED as f64).contains(&number) {
        Ok(number as u64)
    } else {
        Err(PhantomError::Seed { found: number })
    }
}

/// A case and all that is true about it.
#[derive(Debug)]
pub struct Case {
    /// The four images, in the order of [`crate::contrast::Sequence::ALL`], each on its native grid.
    pub images: [Image; 4],
    /// For each image, where in its world a point of the BRAVO world lies.
    pub bravo_to_image: [Affine; 4],
    /// Whole lesions on the BRAVO grid, 1 for the first.
    pub lesions: Labels,
    /// The brain on the BRAVO grid.
    pub brain_mask: Mask,
    /// One row for each lesion: `lesion`, `x_mm`, `y_mm`, `z_mm`, `diameter_mm`, `volume_mm3`, `kind`.
    pub lesion_table: Table,
}

/// Makes the case of a seed; `options.seed` plays no part.
///
/// # Errors
/// [`PhantomError::Crowded`]; no memory; the stage was asked to stop.
pub fn make(anatomy: &Anatomy, options: &Options, seed: u64, ctx: &Context) -> Result<Case, OperatorError> {
    let subject = Subject::draw(seed);
    let lesions = draw_lesions(anatomy, &subject, seed, options.lesions, options.diameter_mm)
        .map_err(|placed| PhantomError::Crowded { placed, asked: options.lesions })?;
    let views = draw_views(&subject, seed, options.grids, options.motion_deg, options.motion_mm);
    let vessels = Vessels::draw(anatomy, seed);
    let scene = Scene { subject, vessels, lesions, seed, snr: options.snr, bias: options.bias };
    let image = |view: &View| {
        ctx.check_cancelled()?;
        ctx.progress(0.25 * f64::from(view.sequence as u8), view.sequence.name());
        let signal = view.sequence.contrast().signal(anatomy, &scene.vessels, ctx);
        render::image(&scene, view, anatomy, &signal, ctx)
    };
    let [bravo, t1_pre, t1_post, flair] = &views;
    let grid = bravo.grid;
    Ok(Case {
        images: [image(bravo)?, image(t1_pre)?, image(t1_post)?, image(flair)?],
        bravo_to_image: views.map(|view| view.bravo_to_view),
        lesions: render::lesion_labels(&scene, grid, ctx)?,
        brain_mask: render::brain_mask(&scene, grid, anatomy, ctx)?,
        lesion_table: lesion_table(&scene.lesions),
    })
}

fn lesion_table(lesions: &[Lesion]) -> Table {
    let mut table = Table::new(vec![
        Column::new("lesion", "", "label of the lesion"),
        Column::new("x_mm", "mm", "centroid, to the right"),
        Column::new("y_mm", "mm", "centroid, to the front"),
        Column::new("z_mm", "mm", "centroid, up"),
        Column::new("diameter_mm", "mm", "diameter of the ball with the lesion's volume"),
        Column::new("volume_mm3", "mm^3", "volume, core included"),
        Column::new("kind", "", "solid, or ring around a necrotic core"),
    ]);
    table.rows = lesions
        .iter()
        .enumerate()
        .map(|(n, lesion)| {
            let [x, y, z] = lesion.centroid().map(Cell::from);
            let (diameter, volume) = (lesion.diameter_mm.into(), lesion.volume_mm3().into());
            vec![(n + 1).into(), x, y, z, diameter, volume, lesion.kind.name().into()]
        })
        .collect();
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_out_of_range_is_named_with_its_limits() {
        let refused = |options: Options| options.check().unwrap_err().to_string();
        let text = refused(Options { snr: f64::NAN, ..Options::default() });
        assert_eq!(text, "setting `snr` is NaN instead of 2 to 1000\nhint: the default is 30");
        let text = refused(Options { lesions: 201, ..Options::default() });
        assert!(text.starts_with("setting `lesions` is 201 instead of 0 to 200"), "{text}");
        let text = refused(Options { diameter_mm: [9.0, 4.0], ..Options::default() });
        assert!(text.starts_with("setting `diameter_mm` is [9, 4] instead of"), "{text}");
        Options::default().check().unwrap();
    }

    #[test]
    fn a_seed_is_a_whole_number() {
        assert_eq!(seed_from(42.0).unwrap(), 42);
        for wrong in [-1.0, 0.5, f64::NAN, f64::INFINITY, 1e17] {
            assert!(seed_from(wrong).unwrap_err().to_string().contains("whole number"), "{wrong}");
        }
    }
}
