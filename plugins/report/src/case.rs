//! What the page is made of: all inputs of a case, as far as they are there.

use crate::documents::{Outcome, Plan, Provenance};
use crate::form::Record;
use sdk::serde::de::DeserializeOwned;
use sdk::{Facts, Image, Inputs, Labels, Mask, OperatorError, Probability, Table};

/// The inputs of a case. Every one may be absent.
#[derive(Debug, Default)]
pub struct Case {
    /// Its label.
    pub label: String,
    /// The image that pictures are drawn on.
    pub reference: Option<Image>,
    /// Registered images by name.
    pub images: Vec<(String, Image)>,
    /// Normalised images by name.
    pub normalised: Vec<(String, Image)>,
    /// Network score.
    pub probability: Option<Probability>,
    /// Accepted lesions.
    pub lesions: Option<Labels>,
    /// Lesions below the size limit.
    pub below_size: Option<Labels>,
    /// Candidates that another rule rejected.
    pub rejected: Option<Labels>,
    /// True lesions.
    pub truth: Option<Labels>,
    /// Brain mask.
    pub mask: Option<Mask>,
    /// Measures of the accepted lesions.
    pub table: Option<Table>,
    /// All candidates of the filter.
    pub candidates: Option<Table>,
    /// What readers decided, where the candidates are those after review.
    pub review: Option<Record>,
    /// Quality of registration by image.
    pub quality: Vec<(String, Table)>,
    /// How the case went.
    pub outcome: Option<Outcome>,
    /// What was to be done.
    pub plan: Option<Plan>,
    /// Where the results come from.
    pub provenance: Option<Provenance>,
    /// Facts of the inputs, by `port` or `port.member`.
    pub facts: Vec<(String, Facts)>,
    /// What could not be read.
    pub notes: Vec<String>,
}

impl Case {
    /// Reads the inputs of `case_report`.
    ///
    /// A document that cannot be read becomes a note: the rest of the page must still appear.
    ///
    /// # Errors
    /// When a port holds another kind than declared.
    pub fn read(inputs: &Inputs, label: &str) -> Result<Self, OperatorError> {
        let mut case = Self {
            reference: inputs.optional_image("reference")?,
            images: inputs.images("images")?,
            normalised: inputs.images("normalised")?,
            probability: inputs.optional_probability("probability")?,
            lesions: inputs.optional_labels("lesions")?,
            below_size: inputs.optional_labels("below_size")?,
            rejected: inputs.optional_labels("rejected")?,
            truth: inputs.optional_labels("truth")?,
            mask: inputs.optional_mask("mask")?,
            table: inputs.optional_table("table")?,
            candidates: inputs.optional_table("candidates")?,
            quality: inputs.tables("quality")?,
            ..Self::default()
        };
        case.outcome = case.document(inputs, "outcome")?;
        case.plan = case.document(inputs, "plan")?;
        case.review = case.document::<Record>(inputs, "review")?.map(Record::counted);
        case.provenance = case.document(inputs, "provenance")?;
        for (port, member, value) in inputs.iter().filter(|(_, _, value)| !value.facts.is_empty()) {
            let name = if member.is_empty() { port.to_owned() } else { format!("{port}.{member}") };
            case.facts.push((name, value.facts.clone()));
        }
        let own_label = case.outcome.as_ref().and_then(|outcome| outcome.case.clone());
        case.label = own_label.unwrap_or_else(|| label.to_owned());
        Ok(case)
    }

    fn document<T: DeserializeOwned>(
        &mut self,
        inputs: &Inputs,
        port: &str,
    ) -> Result<Option<T>, OperatorError> {
        let Some(document) = inputs.optional_document(port)? else { return Ok(None) };
        match serde_json::from_slice(&document.bytes) {
            Ok(read) => Ok(Some(read)),
            Err(error) => {
                self.notes.push(format!("the {port} could not be read: {error}"));
                Ok(None)
            }
        }
    }

    /// The image that pictures are drawn on: the reference, else the first of the registered images.
    pub fn backdrop(&self) -> Option<&Image> {
        self.reference.as_ref().or_else(|| self.images.first().map(|(_, image)| image))
    }

    /// What the image that pictures are drawn on is called: as among the images if it is one of them, else by the name that
    /// only the normalised images know.
    pub fn backdrop_name(&self) -> &str {
        let same = self.images.iter().find(|(_, image)| self.is_backdrop(image)).map(|(name, _)| name);
        let known = |name: &String| self.images.iter().any(|(image, _)| image == name);
        let own = || self.normalised.iter().map(|(name, _)| name).find(|name| !known(name));
        same.or_else(own).map_or("reference", String::as_str)
    }

    /// Whether an image is the one that pictures are drawn on.
    pub fn is_backdrop(&self, image: &Image) -> bool {
        self.backdrop().is_some_and(|reference| {
            image.grid().matches(reference.grid())
                && (std::ptr::eq(image.voxels(), reference.voxels()) || image.voxels() == reference.voxels())
        })
    }

    /// A fact of the results: of the score if it is there, else of what was made from it.
    pub fn result_fact(&self, name: &str) -> Option<&serde_json::Value> {
        let of = |port: &str| {
            let facts = self.facts.iter().find(|(owner, _)| owner == port);
            facts.and_then(|(_, facts)| facts.get(name))
        };
        ["probability", "lesions", "below_size", "rejected", "table", "candidates"].into_iter().find_map(of)
    }

    /// Whether any result of a network is there.
    pub fn has_results(&self) -> bool {
        self.probability.is_some() || self.lesions.is_some() || self.table.is_some()
    }
}
