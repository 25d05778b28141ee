//! Cases of folders that are no BIDS data set: two known layouts, and those that a site describes.

use super::cohort::check_asked;
use super::entities::{Name, Rules};
use super::pattern::{Bound, Pattern};
use super::slices::Slices;
use super::{CaseLabel, Cohort, CohortCase, CohortError, CohortKind, Filters, Given, NearMiss, Problem};
use crate::fault::{list, nearest};
use crate::plan::InputSpec;
use crate::site::{Layout, LayoutFile, Site};
use sdk::Kind;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A layout that is known by itself.
struct Known {
    kind: CohortKind,
    /// As in `[layouts.NAME]` of the site file.
    name: &'static str,
    /// The first that finds a file is taken.
    patterns: &'static [&'static str],
    /// What `{input}` may be, and the BIDS name that says what it is.
    files: &'static [(&'static str, &'static str)],
}

/// Layouts of public data sets.
const KNOWN: [Known; 2] = [
    Known {
        kind: CohortKind::BratsMets,
        name: "brats-mets",
        patterns: &[
            "BraTS-MET-{subject}-{session}/BraTS-MET-{subject}-{session}-{input}.nii.gz",
            "BraTS-MET-{subject}/BraTS-MET-{subject}-{input}.nii.gz",
        ],
        files: &[
            ("t1n", "T1w"),
            ("t1c", "ce-gad_T1w"),
            ("t2w", "T2w"),
            ("t2f", "FLAIR"),
            ("seg", "label-lesion_dseg"),
        ],
    },
    Known {
        kind: CohortKind::BrainMetShare,
        name: "brain-met-share",
        patterns: &[
            "Mets_{subject}/{input}/*.png",
            "mets_stanford_release*/Mets_{subject}/{input}/*.png",
            "{subject}/{input}/*.png",
            "mets_stanford_release*/{subject}/{input}/*.png",
        ],
        files: &[
            ("0", "acq-BRAVO_ce-gad_T1w"),
            ("1", "acq-CUBE_T1w"),
            ("2", "acq-CUBE_ce-gad_T1w"),
            ("3", "ce-gad_FLAIR"),
            ("seg", "label-lesion_mask"),
        ],
    },
];

/// A layout, and what it says of a workflow's inputs.
struct Reader<'a> {
    kind: CohortKind,
    name: &'a str,
    /// What `{input}` may be, and its BIDS name, if one is known.
    files: Vec<(&'a str, Option<&'a str>)>,
    site: Option<&'a Layout>,
}

/// What was found below a folder, by case.
#[derive(Debug, Default)]
struct Found {
    files: BTreeMap<CaseLabel, BTreeMap<String, Vec<PathBuf>>>,
    /// Names in a case's folder that fit nothing, with the name that `{input}` would give.
    strays: BTreeMap<CaseLabel, Vec<(String, Bound, usize)>>,
    labels: BTreeSet<CaseLabel>,
}

/// Finds the cases of a folder by the layouts of the site, then by the known ones; none if none fits.
pub(super) fn find(
    root: &Path,
    inputs: &[InputSpec],
    filters: &Filters,
    site: &Site,
) -> Result<Option<Cohort>, CohortError> {
    let mut fitting: Vec<(Reader<'_>, Pattern, Found)> = Vec::new();
    for (name, layout) in &site.layouts {
        let Some(text) = &layout.files else {
            check_known(name)?;
            continue;
        };
        let pattern = Pattern::parse(text).map_err(|message| CohortError::Layout {
            name: name.clone(),
            message: format!("`files = \"{text}\"`: {message}"),
            hint: "write it as in `files = \"{subject}/{session}/{input}.nii.gz\"`".to_owned(),
        })?;
        let reader = Reader::of_site(name, layout, inputs);
        let found = reader.walk(root, &pattern, filters)?;
        if !found.files.is_empty() {
            fitting.push((reader, pattern, found));
        }
    }
    if let [(first, ..), (second, ..), ..] = fitting.as_slice() {
        return Err(CohortError::Layout {
            name: first.name.to_owned(),
            message: format!("{} fits this layout and `{}` as well", root.display(), second.name),
            hint: "make the `files` of one of them narrower, or name a site file with one of them (`--site`)"
                .to_owned(),
        });
    }
    if fitting.is_empty() {
        fitting.extend(known(root, filters, site)?);
    }
    match fitting.pop() {
        Some((reader, pattern, found)) => reader.cohort(root, &pattern, found, inputs, filters).map(Some),
        None => Ok(None),
    }
}

/// A layout without `files` must be one that is known.
fn check_known(name: &str) -> Result<(), CohortError> {
    let names = KNOWN.each_ref().map(|known| known.name);
    if names.contains(&name) {
        return Ok(());
    }
    let near = nearest(name, names).map(|near| format!("did you mean `{near}`? "));
    Err(CohortError::Layout {
        name: name.to_owned(),
        message: "it has no `files`".to_owned(),
        hint: format!(
            "{}write where files are, as in `files = \"{{subject}}/{{input}}.nii.gz\"`",
            near.unwrap_or_default()
        ),
    })
}

fn known<'a>(
    root: &Path,
    filters: &Filters,
    site: &'a Site,
) -> Result<Option<(Reader<'a>, Pattern, Found)>, CohortError> {
    for known in &KNOWN {
        let files = known.files.iter().map(|(file, bids)| (*file, Some(*bids))).collect();
        let reader = Reader { kind: known.kind, name: known.name, files, site: site.layouts.get(known.name) };
        for text in known.patterns {
            let Ok(pattern) = Pattern::parse(text) else { continue };
            let found = reader.walk(root, &pattern, filters)?;
            let first = found.files.values().flat_map(BTreeMap::values).flatten().next();
            if first.is_some_and(|path| !pattern.slices || holds_png(path)) {
                return Ok(Some((reader, pattern, found)));
            }
        }
    }
    Ok(None)
}

fn holds_png(folder: &Path) -> bool {
    let mut entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries.any(|entry| entry.file_name().to_string_lossy().ends_with(".png"))
}

impl<'a> Reader<'a> {
    fn of_site(name: &'a str, layout: &'a Layout, inputs: &'a [InputSpec]) -> Self {
        let named = layout.inputs.values().filter_map(|file| match file {
            LayoutFile::Named(file) => Some(file.as_str()),
            LayoutFile::Absent(_) => None,
        });
        let own = inputs.iter().map(|input| input.name.as_str());
        let own = own.filter(|name| !layout.inputs.contains_key(*name));
        let files: BTreeSet<&str> = named.chain(own).collect();
        let files = files.into_iter().map(|file| (file, None)).collect();
        Self { kind: CohortKind::Folders, name, files, site: Some(layout) }
    }

    /// Finds all files that fit a pattern, in folders of subjects that are asked for.
    fn walk(&self, root: &Path, pattern: &Pattern, filters: &Filters) -> Result<Found, CohortError> {
        let mut names: Vec<&str> = self.files.iter().map(|(file, _)| *file).collect();
        // The longest first: `t1gd` is not `t1` and something else.
        names.sort_by_key(|name| std::cmp::Reverse(name.len()));
        let mut found = Found::default();
        let mut open = vec![(root.to_owned(), 0, Bound::default())];
        while let Some((folder, depth, bound)) = open.pop() {
            let mut entries: Vec<String> = match std::fs::read_dir(&folder) {
                Ok(entries) => {
                    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
                }
                Err(_) if depth > 0 && !folder.is_dir() => continue,
                Err(source) => return Err(CohortError::unreadable(&folder, source)),
            };
            entries.sort_by(|a, b| b.cmp(a));
            for entry in entries.into_iter().filter(|entry| !entry.starts_with('.')) {
                let Some(next) = pattern.components[depth].bind(&entry, &bound, &names) else {
                    if let Some(label) = label(&bound) {
                        found.strays.entry(label).or_default().push((entry, bound.clone(), depth));
                    }
                    continue;
                };
                if let Some(label) = label(&next) {
                    found.labels.insert(label.clone());
                    let wanted = Filters { sessions: Vec::new(), ..filters.clone() };
                    let visit = next.session.is_some() || depth + 1 == pattern.components.len();
                    if !wanted.takes(&label) || (visit && !filters.takes(&label)) {
                        continue;
                    }
                }
                let path = folder.join(&entry);
                if depth + 1 < pattern.components.len() {
                    open.push((path, depth + 1, next));
                } else if let (Some(label), Some(input)) = (label(&next), next.input) {
                    found.files.entry(label).or_default().entry(input).or_default().push(path);
                }
            }
        }
        Ok(found)
    }

    fn cohort(
        &self,
        root: &Path,
        pattern: &Pattern,
        found: Found,
        inputs: &[InputSpec],
        filters: &Filters,
    ) -> Result<Cohort, CohortError> {
        let labels: Vec<CaseLabel> = found.labels.into_iter().collect();
        check_asked(root, filters, &labels)?;
        let (sought, declared_absent) = self.assign(inputs, filters)?;
        let assumed = if pattern.slices { Some(self.assumed()?) } else { None };
        let mut cases = Vec::new();
        for (label, files) in found.files {
            let strays = found.strays.get(&label).map_or(&[][..], Vec::as_slice);
            let mut case = CohortCase::new(label);
            for (input, file) in &sought {
                match files.get(file).map(Vec::as_slice) {
                    None => {
                        let near = near(pattern, strays, file);
                        case.near_misses.extend((!near.is_empty()).then(|| (input.clone(), near)));
                    }
                    Some([path]) => {
                        let given = match &assumed {
                            Some(assumed) => {
                                Given::Slices(Slices { folder: path.clone(), ..assumed.clone() })
                            }
                            None => Given::File(path.clone()),
                        };
                        case.assumed.extend(assumed.iter().map(|slices| (input.clone(), slices.assumed())));
                        case.inputs.insert(input.clone(), given);
                    }
                    Some(several) => case.problems.push(Problem {
                        input: Some(input.clone()),
                        message: format!("{} files match", several.len()),
                        candidates: several.iter().map(|path| path.display().to_string()).collect(),
                        hint: Some("make the `files` of the layout narrower".to_owned()),
                    }),
                }
            }
            cases.push(case);
        }
        let (kind, root) = (self.kind, root.to_owned());
        Ok(Cohort { kind, root, narrowed: false, cases, sought, declared_absent, notes: Vec::new() })
    }

    /// For each input the name of its file; and the inputs that the cohort is said not to have.
    fn assign(
        &self,
        inputs: &[InputSpec],
        filters: &Filters,
    ) -> Result<(BTreeMap<String, String>, BTreeSet<String>), CohortError> {
        let with_rule: Vec<InputSpec> =
            inputs.iter().filter(|input| !input.bids.is_empty()).cloned().collect();
        let rules = Rules::read(&with_rule, filters)?;
        let (mut sought, mut declared_absent) = (BTreeMap::new(), rules.declared_absent.clone());
        let mut unknown = Vec::new();
        for input in inputs.iter().filter(|input| !rules.declared_absent.contains(&input.name)) {
            match self.site.and_then(|layout| layout.inputs.get(&input.name)) {
                Some(LayoutFile::Named(file)) => drop(sought.insert(input.name.clone(), file.clone())),
                Some(LayoutFile::Absent(_)) => drop(declared_absent.insert(input.name.clone())),
                None if matches!(input.kind, Kind::Text | Kind::Number) => {}
                None => {
                    let rule = rules.rules.iter().find(|(spec, _)| spec.name == input.name);
                    let fits = |(file, bids): &&(&str, Option<&str>)| {
                        let like =
                            |bids: &str| rule.is_some_and(|(_, rule)| rule.fits_sort(&Name::parse(bids)));
                        *file == input.name || bids.is_some_and(like)
                    };
                    let fitting: Vec<&(&str, Option<&str>)> = self.files.iter().filter(fits).collect();
                    match fitting.as_slice() {
                        [(file, _)] => drop(sought.insert(input.name.clone(), (*file).to_owned())),
                        _ => unknown.push(input.name.clone()),
                    }
                }
            }
        }
        if unknown.is_empty() {
            return Ok((sought, declared_absent));
        }
        let files: Vec<&str> = self.files.iter().map(|(file, _)| *file).collect();
        let example: Vec<String> = unknown.iter().map(|input| format!("{input} = \"…\"")).collect();
        Err(CohortError::NoRule {
            input: unknown.join("`, `"),
            hint: format!(
                "its files are {}; say which is which in the site file, `[layouts.{}]` with `inputs = {{ {} }}`, or \
                 `= false` where the cohort has none",
                list(&files),
                self.name,
                example.join(", ")
            ),
        })
    }

    /// What the site says of slices.
    fn assumed(&self) -> Result<Slices, CohortError> {
        let said = self.site.and_then(|layout| Some((layout.spacing_mm?, layout.orientation?)));
        let Some((spacing_mm, orientation)) =
            said.filter(|(spacing, _)| spacing.iter().all(|mm| mm.is_finite() && *mm > 0.0))
        else {
            return Err(CohortError::Layout {
                name: self.name.to_owned(),
                message: "PNG slices say neither spacing nor orientation".to_owned(),
                hint: "say them in the site file, as in `spacing_mm = [0.94, 0.94, 1.0]` and `orientation = \"LPS\"` (where \
                       columns, rows and slices run to); they are recorded as assumed"
                    .to_owned(),
            });
        };
        Ok(Slices { folder: PathBuf::new(), spacing_mm, orientation })
    }
}

/// The label, as soon as the subject is known.
fn label(bound: &Bound) -> Option<CaseLabel> {
    Some(CaseLabel { subject: bound.subject.clone()?, session: bound.session.clone() })
}

/// The stray whose name is nearest to that of an input's file.
fn near(pattern: &Pattern, strays: &[(String, Bound, usize)], file: &str) -> Vec<NearMiss> {
    let close = strays.iter().find_map(|(stray, bound, depth)| {
        let expected = pattern.components[*depth].name(bound, file);
        nearest(&expected, [stray.as_str()])?;
        Some(NearMiss { file: stray.clone(), differs: vec![format!("is not called `{expected}`")] })
    });
    close.into_iter().collect()
}
