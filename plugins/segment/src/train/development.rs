//! What weights do on the development cases: as these are, and with sequences left out.

use super::cohort::{Member, Split};
use super::judge::{self, Figures, Tally};
use super::{Criterion, Options, Run};
use crate::backend::Session;
use crate::calibration::Calibration;
use crate::card::Card;
use crate::file::{Entry, Stored, encode};
use crate::segmentation::{self, CaseImages, Plan};
use crate::thresholds;
use sdk::{Grid, Inputs, Mask, OperatorError};

/// Most sequences that are left out together: a site that always lacks more trains a model of its own.
const MOST_ABSENT: usize = 2;

/// What weights do on development cases of one pattern of absence.
#[derive(Debug)]
pub(super) struct Judged {
    /// What lacks, as the card's `thresholds` name it.
    pub(super) pattern: String,
    /// Their figures, the threshold among them.
    pub(super) figures: Figures,
}

impl Run<'_> {
    /// What weights do on the development cases, with the sequences that these have.
    pub(super) fn figures(&self, weights: &[Entry]) -> Result<Figures, OperatorError> {
        Ok(judge::figures(&self.tallies(weights)?, self.options))
    }

    /// The line that makes probabilities of the scores on the development cases; `None` where larger scores are no likelier lesion.
    ///
    /// # Errors
    /// The backend's; the stage was asked to stop.
    pub(super) fn calibration(&self, weights: &[Entry]) -> Result<Option<Calibration>, OperatorError> {
        let counts = judge::counts(&self.tallies(weights)?);
        let line = Calibration::fit(&counts);
        if let Some(line) = line {
            let Calibration { slope, offset } = line;
            let [before, after] = [Calibration::NONE, line].map(|line| line.log_loss(&counts));
            tracing::info!(
                "calibrated: {slope:.4} times the logit {offset:+.4}; mean log loss of a voxel {before:.2e}, then {after:.2e}"
            );
        }
        Ok(line)
    }

    fn tallies(&self, weights: &[Entry]) -> Result<Vec<Tally>, OperatorError> {
        let session = self.session(weights)?;
        let mut tallies = Vec::new();
        for member in self.development() {
            let inputs = self.cases.inputs(member.index)?;
            tallies.push(self.tally(&session, &case_images(&inputs, self.options)?, &inputs)?);
        }
        Ok(tallies)
    }

    /// What weights do without each one and two of the sequences that may lack: on development cases that lack no other.
    ///
    /// A pattern without such cases, or without a lesion in them, is left out.
    pub(super) fn without(&self, weights: &[Entry]) -> Result<Vec<Judged>, OperatorError> {
        let card = &self.card;
        let patterns = card.needs().patterns().into_iter().map(|present| card.zeroed(&present));
        let patterns: Vec<Vec<&str>> =
            patterns.filter(|absent| (1..=MOST_ABSENT).contains(&absent.len())).collect();
        if patterns.is_empty() || self.options.criterion == Criterion::Fixed {
            return Ok(Vec::new());
        }
        let session = self.session(weights)?;
        let mut tallies: Vec<Vec<Tally>> = vec![Vec::new(); patterns.len()];
        for member in self.development() {
            let inputs = self.cases.inputs(member.index)?;
            let whole = case_images(&inputs, self.options)?;
            for (absent, tallies) in patterns.iter().zip(&mut tallies) {
                if let Some(case) = left_out(&whole, card, absent, self.options.judge_every) {
                    tallies.push(self.tally(&session, &case, &inputs)?);
                }
            }
        }
        let judged = patterns.iter().zip(&tallies).map(|(absent, tallies)| Judged {
            pattern: thresholds::name(absent),
            figures: judge::figures(tallies, self.options),
        });
        let judged: Vec<Judged> = judged.filter(|judged| judged.figures.dice.is_finite()).collect();
        for Judged { pattern, figures } in &judged {
            let Figures { auc, dice, threshold } = figures;
            tracing::info!(
                "without {pattern}: development AUC {auc:.4}, Dice {dice:.4} from {threshold:.4} on"
            );
        }
        Ok(judged)
    }

    /// The cases that tell when to stop, and the thresholds.
    pub(super) fn development(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.split == Split::Development)
    }

    fn session(&self, weights: &[Entry]) -> Result<Session, OperatorError> {
        let file = encode(&self.card.metadata(), weights, Stored::F32);
        Ok(self.backend.session(&file, self.place)?)
    }

    fn tally(&self, session: &Session, case: &CaseImages, inputs: &Inputs) -> Result<Tally, OperatorError> {
        let scorer =
            |stack: &[f32], shape: [usize; 4], logits: &mut [f32]| session.logits(stack, shape, logits);
        let plan = Plan { batch: 1, skip_empty: true };
        let scores = segmentation::scores(case, &self.card, plan, &scorer, self.ctx)?;
        let truth: Vec<bool> = inputs.labels("truth")?.voxels().iter().map(|v| *v != 0).collect();
        Ok(Tally::new(&scores, &truth, case.mask.as_ref()))
    }
}

fn case_images(inputs: &Inputs, options: &Options) -> Result<CaseImages, OperatorError> {
    let images = inputs.images("channels")?;
    let image =
        |name: &String| images.iter().find(|(member, _)| member == name).map(|(_, image)| image.clone());
    let channels = options.channels.iter().map(image).collect();
    Ok(CaseImages { channels, mask: inputs.optional_mask("mask")? })
}

/// A case without `absent`, of which each `every`-th slice counts; `None` if it lacks something else.
fn left_out(whole: &CaseImages, card: &Card, absent: &[&str], every: usize) -> Option<CaseImages> {
    let mut case = whole.clone();
    for (channel, image) in card.channels.iter().zip(&mut case.channels) {
        if absent.contains(&channel.name.as_str()) {
            *image = None;
        } else if image.is_none() {
            return None;
        }
    }
    let grid = *case.channels.iter().flatten().next()?.grid();
    case.mask = thinned(grid, case.mask, every);
    Some(case)
}

/// The mask in the middle one of each `every` slices; without a mask, all of these slices.
fn thinned(grid: Grid, mask: Option<Mask>, every: usize) -> Option<Mask> {
    if every <= 1 {
        return mask;
    }
    let slice_len = grid.shape[0] * grid.shape[1];
    let counts = |place: usize| place / slice_len % every == every / 2;
    let inside = |place: usize| mask.as_ref().is_none_or(|mask| mask.voxels()[place] != 0);
    let voxels = (0..grid.len()).map(|place| u8::from(counts(place) && inside(place))).collect::<Vec<_>>();
    Mask::new(grid, voxels).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sdk::Image;

    fn images(present: [bool; 4]) -> CaseImages {
        let grid = Grid::axis_aligned([2, 2, 6], [1.0; 3]);
        let image = |present: bool| present.then(|| Image::new(grid, vec![0.5; grid.len()]).unwrap());
        CaseImages { channels: present.map(image).to_vec(), mask: None }
    }

    #[test]
    fn a_case_is_judged_without_what_is_left_out_and_only_if_it_lacks_nothing_else() {
        let card = Options { dropout: 0.5, ..Options::default() }.card();
        let there = |case: CaseImages| case.channels.iter().map(Option::is_some).collect::<Vec<_>>();
        // In the order of the card: t1_pre, t1_post, bravo, flair.
        let whole = images([true; 4]);
        let case = left_out(&whole, &card, &["t1_post", "flair"], 1).unwrap();
        assert!(case.mask.is_none());
        assert_eq!(there(case), [true, false, true, false]);
        let lacks_flair = images([true, true, true, false]);
        assert_eq!(there(left_out(&lacks_flair, &card, &["flair"], 1).unwrap()), [true, true, true, false]);
        assert!(left_out(&lacks_flair, &card, &["t1_post"], 1).is_none());
    }

    #[test]
    fn of_each_three_slices_the_middle_one_counts() {
        let whole = images([true; 4]);
        let grid = *whole.channels[0].as_ref().unwrap().grid();
        let slices = |mask: &Mask| {
            mask.voxels()
                .chunks(4)
                .map(|slice| slice.iter().map(|v| usize::from(*v)).sum())
                .collect::<Vec<usize>>()
        };
        assert_eq!(slices(&thinned(grid, None, 3).unwrap()), [0, 4, 0, 0, 4, 0]);
        let half = Mask::new(grid, [1, 0].repeat(12)).unwrap();
        assert_eq!(slices(&thinned(grid, Some(half), 3).unwrap()), [0, 2, 0, 0, 2, 0]);
        assert!(thinned(grid, None, 1).is_none());
    }
}
