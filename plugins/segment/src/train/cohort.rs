//! The cases to learn from, and who of them is learned from, who tells when to stop, and who is kept apart.

use super::{Options, TrainError};
use sdk::{Cases, Context, Inputs, OperatorError};
use std::collections::{BTreeMap, BTreeSet};

/// Largest intensity in the cache; equalised intensities of 0..=1 are rounded to 1 part in 255 of it.
pub(super) const FULL: f32 = 255.0;
/// Bounds of the groups of lesion counts in the paper: 1 to 3, 4 to 10, more.
const GROUPS: [usize; 2] = [3, 10];
/// Test cases that the paper takes from each group.
const TEST_PER_GROUP: usize = 17;
/// Cases of the paper: smaller cohorts give a test of the same share.
const COHORT: usize = 156;
/// Cases that the paper learns from for each one that tells when to stop.
const TRAINING_PER_DEVELOPMENT: usize = 20;

/// What a case is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Split {
    /// Learned from.
    Train,
    /// Tells when to stop, and the threshold.
    Development,
    /// Kept apart.
    Test,
}

impl Split {
    /// As the column `split` says it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Development => "dev",
            Self::Test => "test",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Train, Self::Development, Self::Test].into_iter().find(|split| split.name() == text)
    }
}

/// A case that can be used.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// Its place among the group's cases.
    pub(super) index: usize,
    pub(super) label: String,
    pub(super) subject: String,
    pub(super) split: Split,
    /// True lesions.
    pub(super) lesions: usize,
    /// Digests of its files, where the engine told.
    pub(super) digests: Vec<String>,
    /// Whether it is a phantom.
    pub(super) synthetic: bool,
}

/// A case to learn from, as small as it gets.
#[derive(Debug)]
pub(super) struct Cached {
    /// Voxels along `i`, `j` and `k`.
    pub(super) shape: [usize; 3],
    /// For each sequence of the model: intensities times [`FULL`]; `None` where the case lacks it.
    pub(super) voxels: Vec<Option<Vec<u8>>>,
    /// 1 in a lesion.
    pub(super) truth: Vec<u8>,
    /// Slices with brain.
    pub(super) slices: Vec<usize>,
    /// Those of them with a lesion.
    pub(super) with_lesion: Vec<usize>,
}

/// All cases that did not fail, each with what it is for.
///
/// # Errors
/// [`TrainError::Split`]; a value that cannot be read.
pub(super) fn members(
    cases: &dyn Cases,
    options: &Options,
    ctx: &Context,
) -> Result<Vec<Member>, OperatorError> {
    let (mut members, mut said) = (Vec::new(), BTreeMap::new());
    for index in 0..cases.len() {
        ctx.check_cancelled()?;
        let entry = cases.entry(index)?;
        if entry.failure.is_some() {
            tracing::warn!("case {} failed and takes no part", entry.label);
            continue;
        }
        let inputs = cases.inputs(index)?;
        let truth = inputs.labels("truth")?;
        let lesions: BTreeSet<u32> = truth.voxels().iter().copied().filter(|label| *label != 0).collect();
        if let Some(text) = entry.columns.get("split") {
            let split = Split::parse(text)
                .ok_or_else(|| TrainError::Split { case: entry.label.clone(), found: text.clone() })?;
            said.insert(members.len(), split);
        }
        let phantom = |warning: &&str| warning.contains("phantom");
        members.push(Member {
            index,
            label: entry.label,
            subject: entry.subject,
            split: Split::Train,
            lesions: lesions.len(),
            digests: digests(&inputs)?,
            synthetic: inputs.facts("truth").warnings().iter().any(phantom),
        });
    }
    if said.is_empty() {
        deal(&mut members, options.seed);
    } else if let Some(place) = (0..members.len()).find(|place| !said.contains_key(place)) {
        let case = members[place].label.clone();
        return Err(TrainError::Split { case, found: String::new() }.into());
    }
    for (place, split) in said {
        members[place].split = split;
    }
    one_split_each(&members)?;
    Ok(members)
}

fn digests(inputs: &Inputs) -> Result<Vec<String>, OperatorError> {
    let Some(document) = inputs.optional_document("provenance")? else { return Ok(Vec::new()) };
    let content: serde_json::Value = serde_json::from_slice(&document.bytes)?;
    let files = content["inputs"].as_array().into_iter().flatten();
    Ok(files.filter_map(|file| Some(file["digest"].as_str()?.to_owned())).collect())
}

/// A subject is on one side only, whatever the table says.
fn one_split_each(members: &[Member]) -> Result<(), TrainError> {
    let mut of: BTreeMap<&str, &Member> = BTreeMap::new();
    for member in members {
        let first = of.entry(&member.subject).or_insert(member);
        if first.split != member.split {
            let (subject, splits) = (member.subject.clone(), [first.split.name(), member.split.name()]);
            return Err(TrainError::Straddles { subject, splits });
        }
    }
    Ok(())
}

/// Deals subjects as the paper did: test cases from each group of lesion counts alike, of the others one in 21 for development,
/// at least one. Small cohorts give the same share to the test, of a group at most half. Subjects without lesions are learned from.
fn deal(members: &mut [Member], seed: u64) {
    let mut most: BTreeMap<String, usize> = BTreeMap::new();
    for member in members.iter() {
        let lesions = most.entry(member.subject.clone()).or_default();
        *lesions = member.lesions.max(*lesions);
    }
    let mut order: Vec<(u64, &String)> =
        most.keys().map(|subject| (super::lessons::hash(seed, subject), subject)).collect();
    order.sort_unstable();
    let group = |subject: &str| match most[subject] {
        0 => None,
        lesions => Some(GROUPS.iter().filter(|bound| lesions > **bound).count()),
    };
    let mut split: BTreeMap<&str, Split> = BTreeMap::new();
    let scaled = (TEST_PER_GROUP * order.len() + COHORT / 2) / COHORT;
    for wanted in 0..=GROUPS.len() {
        let own: Vec<&str> =
            order.iter().map(|(_, s)| s.as_str()).filter(|s| group(s) == Some(wanted)).collect();
        let test = TEST_PER_GROUP.min(scaled).min(own.len() / 2);
        split.extend(own[..test].iter().map(|subject| (*subject, Split::Test)));
    }
    let rest: Vec<&str> = order.iter().map(|(_, s)| s.as_str()).filter(|s| !split.contains_key(s)).collect();
    let with_lesions: Vec<&str> = rest.iter().copied().filter(|subject| group(subject).is_some()).collect();
    let share = (rest.len() / (TRAINING_PER_DEVELOPMENT + 1)).max(1);
    // A single subject is learned from.
    let share = share.min(with_lesions.len().saturating_sub(1));
    split.extend(with_lesions[..share].iter().map(|subject| (*subject, Split::Development)));
    let split: BTreeMap<String, Split> = split.into_iter().map(|(s, split)| (s.to_owned(), split)).collect();
    for member in members {
        member.split = split.get(&member.subject).copied().unwrap_or(Split::Train);
    }
}

/// Reads a case to learn from.
///
/// # Errors
/// [`TrainError`]: grids that differ, intensities that were not equalised.
pub(super) fn cache(inputs: &Inputs, label: &str, options: &Options) -> Result<Cached, OperatorError> {
    let images = inputs.images("channels")?;
    let truth = inputs.labels("truth")?;
    let mask = inputs.optional_mask("mask")?;
    let shape = truth.grid().shape;
    let mut voxels = Vec::new();
    for channel in &options.channels {
        let image = images.iter().find(|(name, _)| name == channel).map(|(_, image)| image);
        if let Some(image) = image {
            let outside = image.voxels().iter().filter(|voxel| !(-1e-3..=1.001).contains(*voxel)).count();
            if outside > 0 {
                let (case, channel) = (label.to_owned(), channel.clone());
                return Err(TrainError::NotEqualised { case, channel, outside }.into());
            }
        }
        voxels.push(image.map(|image| image.voxels().iter().map(|v| (v * FULL).round() as u8).collect()));
    }
    let voxels: Vec<Option<Vec<u8>>> = voxels;
    let slice_len = shape[0] * shape[1];
    let slice = |k: usize| k * slice_len..(k + 1) * slice_len;
    let has_brain = |k: &usize| match &mask {
        Some(mask) => mask.voxels()[slice(*k)].iter().any(|voxel| *voxel != 0),
        None => voxels.iter().flatten().any(|voxels| voxels[slice(*k)].iter().any(|voxel| *voxel != 0)),
    };
    let slices: Vec<usize> = (0..shape[2]).filter(has_brain).collect();
    let truth: Vec<u8> = truth.voxels().iter().map(|label| u8::from(*label != 0)).collect();
    let with_lesion = slices.iter().copied().filter(|k| truth[slice(*k)].contains(&1)).collect();
    Ok(Cached { shape, voxels, truth, slices, with_lesion })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(subject: usize, lesions: usize) -> Member {
        Member {
            index: subject,
            label: format!("sub-{subject:03}"),
            subject: format!("{subject:03}"),
            split: Split::Train,
            lesions,
            digests: Vec::new(),
            synthetic: false,
        }
    }

    fn count(members: &[Member], split: Split) -> usize {
        members.iter().filter(|member| member.split == split).count()
    }

    /// 64 with 1 to 3 lesions, 47 with 4 to 10, 45 with more: 156 as in the paper.
    #[test]
    fn a_cohort_of_the_paper_s_size_is_dealt_as_in_the_paper() {
        let lesions = |subject: usize| {
            if subject < 64 {
                2
            } else if subject < 111 {
                7
            } else {
                20
            }
        };
        let mut members: Vec<Member> = (0..156).map(|subject| member(subject, lesions(subject))).collect();
        deal(&mut members, 1);
        let counts = [Split::Train, Split::Development, Split::Test].map(|split| count(&members, split));
        assert_eq!(counts, [100, 5, 51]);
        for range in [0..64, 64..111, 111..156] {
            assert_eq!(count(&members[range], Split::Test), 17);
        }
        let first: Vec<Split> = members.iter().map(|member| member.split).collect();
        deal(&mut members, 1);
        assert_eq!(members.iter().map(|member| member.split).collect::<Vec<_>>(), first);
        deal(&mut members, 2);
        assert_ne!(members.iter().map(|member| member.split).collect::<Vec<_>>(), first);
    }

    #[test]
    fn sessions_of_a_subject_stay_together_and_one_subject_is_learned_from() {
        let mut members: Vec<Member> = (0..40).map(|place| member(place / 2, 1 + place % 2 * 9)).collect();
        deal(&mut members, 3);
        assert!(one_split_each(&members).is_ok());
        let mut alone = vec![member(0, 3)];
        deal(&mut alone, 1);
        assert_eq!(alone[0].split, Split::Train);
        let error = one_split_each(&[member(1, 1), Member { split: Split::Test, ..member(1, 1) }]);
        assert!(error.unwrap_err().to_string().contains("subject 001 is in `train` and in `test`"));
    }
}
