//! Names of files as BIDS writes them, and the rules that an input's file must fit.

use super::{CaseLabel, CohortError, Filters};
use crate::fault::{list, suggest};
use crate::plan::InputSpec;
use sdk::Kind;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Entities by the long names that other tools use in filter files.
const LONG_NAMES: [(&str, &str); 11] = [
    ("subject", "sub"),
    ("session", "ses"),
    ("acquisition", "acq"),
    ("ceagent", "ce"),
    ("reconstruction", "rec"),
    ("direction", "dir"),
    ("inversion", "inv"),
    ("tracer", "trc"),
    ("hemisphere", "hemi"),
    ("resolution", "res"),
    ("description", "desc"),
];

/// Folders in which files of a suffix lie, unless the rule names a `datatype`; all others lie in `anat`.
const FOLDERS: [(&str, &str); 9] = [
    ("dwi", "dwi"),
    ("bold", "func"),
    ("cbv", "func"),
    ("sbref", "func"),
    ("asl", "perf"),
    ("m0scan", "perf"),
    ("pet", "pet"),
    ("phasediff", "fmap"),
    ("epi", "fmap"),
];

/// A file's name in parts: `sub-01_acq-BRAVO_T1w.nii.gz`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name<'a> {
    /// `("acq", "BRAVO")`, in written order.
    pub(super) entities: Vec<(&'a str, &'a str)>,
    /// `T1w`; empty if there is none.
    pub(super) suffix: &'a str,
    /// `nii.gz`; empty if there is none.
    pub(super) extension: &'a str,
}

impl<'a> Name<'a> {
    /// Takes a name apart.
    pub(super) fn parse(name: &'a str) -> Self {
        let (stem, extension) = name.split_once('.').unwrap_or((name, ""));
        let mut entities = Vec::new();
        let mut suffix = "";
        for part in stem.split('_') {
            match part.split_once('-') {
                Some(entity) => entities.push(entity),
                None => suffix = part,
            }
        }
        Self { entities, suffix, extension }
    }

    /// The value of an entity.
    pub(super) fn entity(&self, key: &str) -> Option<&'a str> {
        self.entities.iter().find(|(k, _)| *k == key).map(|(_, value)| *value)
    }
}

/// What a rule asks of one entity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Want {
    /// Whether any value will do.
    any: bool,
    /// Whether its absence will do.
    none: bool,
    /// Values that will do.
    values: Vec<String>,
}

impl Want {
    /// From a workflow or filter: text, whole number, truth, null, or a list of these.
    fn from_json(value: &Json) -> Option<Self> {
        let mut want = Self::default();
        want.add(value).then_some(want)
    }

    fn add(&mut self, value: &Json) -> bool {
        match value {
            Json::Bool(true) => self.any = true,
            Json::Bool(false) | Json::Null => self.none = true,
            Json::String(text) if text == "*" || text == "Query.ANY" => self.any = true,
            Json::String(text) if text == "Query.NONE" => self.none = true,
            Json::String(text) => self.values.push(text.clone()),
            Json::Number(number) if !number.is_f64() => self.values.push(number.to_string()),
            Json::Array(items) => return items.iter().all(|item| !item.is_array() && self.add(item)),
            _ => return false,
        }
        true
    }

    fn fits(&self, value: Option<&str>) -> bool {
        match value {
            None => self.none,
            Some(value) => self.any || self.values.iter().any(|wanted| same(wanted, value)),
        }
    }

    /// Whether a sidecar's value fits: numbers by their size, a list by any of its elements. Nothing, `n/a` and `false` count as
    /// not said.
    fn fits_said(&self, said: Option<&Json>) -> bool {
        let said = said.filter(|said| {
            !matches!(said, Json::Null | Json::Bool(false))
                && said.as_str().is_none_or(|s| !s.is_empty() && s != "n/a")
        });
        let Some(said) = said else { return self.none };
        let equal = |wanted: &String| match said {
            Json::Number(number) => wanted.parse().ok() == number.as_f64(),
            Json::String(text) => same(wanted, text),
            _ => false,
        };
        let element = |items: &Vec<Json>| items.iter().any(|item| self.fits_said(Some(item)));
        self.any || self.values.iter().any(equal) || said.as_array().is_some_and(element)
    }

    /// What keeps a value from fitting, as in `has no acq-BRAVO`.
    fn differs(&self, key: &str, value: Option<&str>) -> Option<String> {
        if self.fits(value) {
            return None;
        }
        let wanted: Vec<String> = self.values.iter().map(|value| format!("{key}-{value}")).collect();
        let wanted = wanted.join(" or ");
        Some(match value {
            None if wanted.is_empty() => format!("has no {key}-"),
            None => format!("has no {wanted}"),
            Some(value) if wanted.is_empty() => format!("has {key}-{value}, but must have no {key}-"),
            Some(value) => format!("has {key}-{value}, not {wanted}"),
        })
    }
}

/// Equal as BIDS sees it: `run-1` is `run-01`.
fn same(a: &str, b: &str) -> bool {
    let number = |text: &str| {
        text.bytes().all(|b| b.is_ascii_digit()).then(|| text.trim_start_matches('0').to_owned())
    };
    a == b || (!a.is_empty() && !b.is_empty() && number(a).is_some() && number(a) == number(b))
}

/// What the file of an input must be named like, and where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    entities: BTreeMap<String, Want>,
    suffix: Option<Want>,
    extension: Option<Want>,
    /// What sidecars must say; such keys begin with a capital, as in `ContrastBolusIngredient`.
    metadata: BTreeMap<String, Want>,
    /// Folders to look in: `anat`, `perf` …
    pub(super) datatypes: Vec<String>,
    /// Whether the input is read from NIfTI files.
    volume: bool,
}

impl Rule {
    /// The rule of an input, single entities replaced by those of a filter; none if nothing is said.
    ///
    /// # Errors
    /// The key whose value means nothing.
    fn new(spec: &InputSpec, filter: Option<&serde_json::Map<String, Json>>) -> Result<Option<Self>, String> {
        let mut table = spec.bids.clone();
        for (key, value) in filter.into_iter().flatten() {
            table.insert(short(key).to_owned(), value.clone());
        }
        if table.is_empty() {
            return Ok(None);
        }
        let mut wants = BTreeMap::new();
        for (key, value) in table {
            let want = Want::from_json(&value).ok_or(key.clone())?;
            wants.insert(short(&key).to_owned(), want);
        }
        let capital = |key: &String| key.starts_with(|c: char| c.is_ascii_uppercase());
        let (metadata, mut wants): (BTreeMap<_, _>, BTreeMap<_, _>) =
            wants.into_iter().partition(|(key, _)| capital(key));
        let suffix = wants.remove("suffix");
        let extension = wants.remove("extension");
        let datatypes = wants.remove("datatype").map(|want| want.values).unwrap_or_default();
        let datatypes = if datatypes.is_empty() { folders(suffix.as_ref()) } else { datatypes };
        let volume = spec.kind.is_volume();
        Ok(Some(Self { entities: wants, suffix, extension, metadata, datatypes, volume }))
    }

    /// Whether a file of the case `label` fits.
    pub(super) fn fits(&self, name: &Name<'_>, label: &CaseLabel) -> bool {
        self.suffix.as_ref().is_none_or(|want| want.fits(Some(name.suffix)))
            && self.extension_fits(name.extension)
            && self.entities.iter().all(|(key, want)| want.fits(name.entity(key)))
            && owner(name, label).is_none()
    }

    /// Whether sidecars must be read to tell its files.
    pub(super) fn reads_sidecars(&self) -> bool {
        !self.metadata.is_empty()
    }

    /// What sidecars say that keeps a file from fitting; empty if all is well.
    pub(super) fn said_otherwise(&self, said: &serde_json::Map<String, Json>) -> Vec<String> {
        let told = |(key, want): (&String, &Want)| {
            let wanted = want.values.join(" or ");
            (!want.fits_said(said.get(key))).then(|| match said.get(key) {
                None if wanted.is_empty() => format!("its sidecar does not say {key}"),
                None => format!("its sidecar does not say {key}, which must be {wanted}"),
                Some(value) if wanted.is_empty() => format!("its sidecar says {key} {value}"),
                Some(value) => format!("its sidecar says {key} {value}, not {wanted}"),
            })
        };
        self.metadata.iter().filter_map(told).collect()
    }

    /// Whether it takes files of this sort, whosever they are and however they end.
    pub(super) fn fits_sort(&self, name: &Name<'_>) -> bool {
        self.suffix.as_ref().is_none_or(|want| want.fits(Some(name.suffix)))
            && self.entities.iter().all(|(key, want)| want.fits(name.entity(key)))
            && self.metadata.is_empty()
    }

    fn extension_fits(&self, extension: &str) -> bool {
        match &self.extension {
            Some(want) => {
                let dotted = format!(".{extension}");
                want.fits(Some(extension)) || want.fits(Some(&dotted))
            }
            None if self.volume => matches!(extension, "nii" | "nii.gz"),
            None => true,
        }
    }

    /// What keeps a file from fitting; none if it is of another kind altogether.
    pub(super) fn differs(&self, name: &Name<'_>, label: &CaseLabel) -> Option<Vec<String>> {
        let mut differs = Vec::new();
        if let Some(want) = self.suffix.as_ref().filter(|want| !want.fits(Some(name.suffix))) {
            let close = want.values.iter().find(|wanted| alike(wanted, name.suffix))?;
            differs.push(format!("its suffix is {}, not {close}", name.suffix));
        }
        if !self.extension_fits(name.extension) {
            if name.extension == "json" || name.extension == "tsv" {
                return None;
            }
            differs.push(format!("ends in `.{}`, not in `.nii` or `.nii.gz`", name.extension));
        }
        differs.extend(self.entities.iter().filter_map(|(key, want)| want.differs(key, name.entity(key))));
        differs.extend(owner(name, label));
        Some(differs)
    }

    /// The rule in words: `acq-BRAVO, any ce-, T1w`.
    pub(super) fn words(&self) -> String {
        let mut parts = Vec::new();
        for (key, want) in &self.entities {
            let mut ways: Vec<String> = want.values.iter().map(|value| format!("{key}-{value}")).collect();
            ways.extend(want.any.then(|| format!("any {key}-")));
            ways.extend(want.none.then(|| format!("no {key}-")));
            parts.push(ways.join(" or "));
        }
        for (key, want) in &self.metadata {
            let mut ways: Vec<String> = want.values.iter().map(|value| format!("{key} {value}")).collect();
            ways.extend(want.any.then(|| format!("any {key}")));
            ways.extend(want.none.then(|| format!("no {key}")));
            parts.push(ways.join(" or "));
        }
        parts.extend(self.suffix.iter().map(|want| want.values.join(" or ")));
        parts.join(", ")
    }
}

/// What is wrong with the name's subject and session, if anything.
fn owner(name: &Name<'_>, label: &CaseLabel) -> Option<String> {
    match name.entity("sub") {
        Some(subject) if subject != label.subject => {
            return Some(format!("is of sub-{subject}, but lies in the folder of sub-{}", label.subject));
        }
        None => return Some("its name has no sub-".to_owned()),
        Some(_) => {}
    }
    match (name.entity("ses"), label.session.as_deref()) {
        (Some(named), Some(session)) if named != session => {
            Some(format!("is of ses-{named}, but lies in the folder of ses-{session}"))
        }
        (None, Some(_)) => Some("its name has no ses-".to_owned()),
        (Some(named), None) => Some(format!("has ses-{named}, but lies in no folder ses-{named}")),
        _ => None,
    }
}

/// Whether a suffix may be a slip: other case, or one within the other, as in `T1` or `T2FLAIR`.
fn alike(wanted: &str, found: &str) -> bool {
    let (wanted, found) = (wanted.to_lowercase(), found.to_lowercase());
    found.len() > 1 && (wanted.contains(&found) || found.contains(&wanted))
}

fn short(key: &str) -> &str {
    LONG_NAMES.iter().find(|(long, _)| *long == key).map_or(key, |(_, short)| short)
}

fn folders(suffix: Option<&Want>) -> Vec<String> {
    let of = |suffix: &String| {
        FOLDERS.iter().find(|(known, _)| known == suffix).map_or("anat", |(_, folder)| *folder).to_owned()
    };
    let folders: BTreeSet<String> =
        suffix.map(|want| want.values.iter().map(of).collect()).unwrap_or_default();
    if folders.is_empty() { vec!["anat".to_owned()] } else { folders.into_iter().collect() }
}

/// The rules of all inputs, and those that a filter declares to be absent.
#[derive(Debug)]
pub(super) struct Rules<'a> {
    /// Inputs with a rule.
    pub(super) rules: Vec<(&'a InputSpec, Rule)>,
    /// Inputs that the filter sets to null.
    pub(super) declared_absent: BTreeSet<String>,
}

impl<'a> Rules<'a> {
    /// Reads the rules of a workflow's inputs and of a filter file.
    ///
    /// # Errors
    /// [`CohortError`] if the filter cannot be used, or an input that is a file has no rule.
    pub(super) fn read(inputs: &'a [InputSpec], filters: &Filters) -> Result<Self, CohortError> {
        let filter = filters.bids_filter.as_deref().map(|path| read_filter(path, inputs)).transpose()?;
        let mut found = Self { rules: Vec::new(), declared_absent: BTreeSet::new() };
        for spec in inputs {
            let own = filter.as_ref().and_then(|filter| filter.get(&spec.name));
            if own.is_some_and(Json::is_null) {
                found.declared_absent.insert(spec.name.clone());
                continue;
            }
            let rule = Rule::new(spec, own.and_then(Json::as_object)).map_err(|key| CohortError::NoRule {
                input: spec.name.clone(),
                hint: format!(
                    "`{key}` of its rule must be text, a whole number, true or false, or a list of texts"
                ),
            })?;
            match rule {
                Some(rule) => found.rules.push((spec, rule)),
                None if matches!(spec.kind, Kind::Text | Kind::Number) => {}
                None => return Err(no_rule(&spec.name)),
            }
        }
        Ok(found)
    }
}

fn no_rule(input: &str) -> CohortError {
    CohortError::NoRule {
        input: input.to_owned(),
        hint: format!(
            "say it in the workflow, `[inputs] {input} = {{ type = …, bids = {{ suffix = \"T1w\" }} }}`, in a \
             `--bids-filter` file, `{{\"{input}\": {{\"suffix\": \"T1w\"}}}}`, or name a table with a column `{input}`"
        ),
    }
}

fn read_filter(path: &Path, inputs: &[InputSpec]) -> Result<serde_json::Map<String, Json>, CohortError> {
    let wrong = |message: String, hint: String| CohortError::Filter { path: path.to_owned(), message, hint };
    let text = std::fs::read_to_string(path).map_err(|source| CohortError::unreadable(path, source))?;
    let example =
        || "for one, `{\"t1_pre\": {\"suffix\": \"T1w\", \"ceagent\": null}, \"flair\": null}`".to_owned();
    let json: Json =
        serde_json::from_str(&text).map_err(|error| wrong(format!("no JSON: {error}"), example()))?;
    let Json::Object(table) = json else { return Err(wrong("not a JSON object".to_owned(), example())) };
    let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
    for (key, value) in &table {
        if !names.contains(&key.as_str()) {
            let hint = suggest(key, "it has", &names).unwrap_or_else(|| format!("it has {}", list(&names)));
            return Err(wrong(format!("the workflow has no input `{key}`"), hint));
        }
        if !value.is_object() && !value.is_null() {
            return Err(wrong(format!("`{key}` is neither a table of entities nor null"), example()));
        }
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(bids: &Json) -> InputSpec {
        crate::case::cohort::tests::spec("a", Kind::Image, bids)
    }

    fn fits(bids: &Json, file: &str) -> bool {
        let rule = Rule::new(&spec(bids), None).unwrap().unwrap();
        rule.fits(&Name::parse(file), &CaseLabel::parse("sub-01").unwrap())
    }

    #[test]
    fn a_rule_takes_what_it_says_and_nothing_else() {
        let paper = serde_json::json!({ "suffix": "T1w", "acq": "BRAVO", "ce": true });
        assert!(fits(&paper, "sub-01_acq-BRAVO_ce-gad_T1w.nii.gz"));
        assert!(fits(&paper, "sub-01_acq-BRAVO_ce-gad_run-2_T1w.nii"));
        for file in [
            "sub-01_acq-BRAVO_T1w.nii.gz",
            "sub-01_ce-gad_T1w.nii.gz",
            "sub-02_acq-BRAVO_ce-gad_T1w.nii.gz",
            "sub-01_acq-BRAVO_ce-gad_T1w.json",
            "sub-01_acq-BRAVO_ce-gad_T2w.nii.gz",
            "sub-01_ses-1_acq-BRAVO_ce-gad_T1w.nii.gz",
        ] {
            assert!(!fits(&paper, file), "{file}");
        }
        let several = serde_json::json!({ "suffix": ["T2w", "FLAIR"], "ce": false, "run": 2 });
        assert!(fits(&several, "sub-01_run-02_FLAIR.nii.gz") && fits(&several, "sub-01_run-2_T2w.nii.gz"));
        assert!(!fits(&several, "sub-01_run-22_T2w.nii.gz") && !fits(&several, "sub-01_ce-x_run-2_T2w.nii"));
    }

    #[test]
    fn what_keeps_a_file_from_fitting_is_said_in_its_own_words() {
        let rule = |bids| Rule::new(&spec(&bids), None).unwrap().unwrap();
        let paper = rule(serde_json::json!({ "suffix": "T1w", "acq": "BRAVO", "ce": true }));
        let plain = rule(serde_json::json!({ "suffix": "T1w", "ce": false }));
        let label = CaseLabel::parse("sub-01").unwrap();
        let told = |rule: &Rule, file| rule.differs(&Name::parse(file), &label).map(|d| d.join("; "));
        assert_eq!(told(&paper, "sub-01_ce-gd_T1w.nii.gz").unwrap(), "has no acq-BRAVO");
        assert_eq!(
            told(&paper, "sub-01_acq-CUBE_T1w.nii").unwrap(),
            "has acq-CUBE, not acq-BRAVO; has no ce-"
        );
        assert_eq!(told(&plain, "sub-01_ce-gd_T1w.nii").unwrap(), "has ce-gd, but must have no ce-");
        assert_eq!(told(&plain, "T1W.nii.gz").unwrap(), "its suffix is T1W, not T1w; its name has no sub-");
        assert_eq!(told(&plain, "sub-01_T1w.mgz").unwrap(), "ends in `.mgz`, not in `.nii` or `.nii.gz`");
        assert_eq!(told(&plain, "sub-01_FLAIR.nii"), None);
    }
}
