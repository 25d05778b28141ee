//! Which of a case's files is which input.

use super::cohort::natural;
use super::entities::{Name, Rule};
use super::{CaseLabel, CohortCase, Given, NearMiss, Problem, sidecar};
use crate::fault::list;
use crate::plan::{InputSpec, OnError, Pick};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// As many near misses as help.
const MOST_NEAR_MISSES: usize = 3;

/// A file of a case, as listed.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    /// Its name.
    pub(super) name: String,
    /// Whether it is a symbolic link, which may lead nowhere.
    pub(super) link: bool,
}

/// A folder of a case, as listed.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    /// Where it is.
    pub(super) path: PathBuf,
    /// Its name, `anat` for one; empty for the case's own folder.
    pub(super) datatype: String,
    /// Its files in the order of their names.
    pub(super) files: Vec<Listed>,
}

struct Candidate<'a> {
    folder: &'a Folder,
    file: &'a Listed,
    name: Name<'a>,
}

impl Candidate<'_> {
    fn path(&self) -> PathBuf {
        self.folder.path.join(&self.file.name)
    }

    /// With its folder, as a user would look for it.
    fn shown(&self) -> String {
        match self.folder.datatype.as_str() {
            "" => self.file.name.clone(),
            datatype => format!("{datatype}/{}", self.file.name),
        }
    }
}

/// Finds what each rule takes among the files of a case. `above` are the folders above the case, for their sidecars; the
/// first of `folders` is the case's own, the others lie in it.
pub(super) fn resolve(
    case: &mut CohortCase,
    rules: &[(&InputSpec, Rule)],
    above: &[&Folder],
    folders: &[Folder],
) {
    let candidates: Vec<Candidate<'_>> = folders
        .iter()
        .flat_map(|folder| folder.files.iter().map(move |file| (folder, file)))
        .map(|(folder, file)| Candidate { folder, file, name: Name::parse(&file.name) })
        .collect();
    let label = case.label.clone();
    let mut absent = Vec::new();
    let mut unlike = BTreeMap::new();
    for (spec, rule) in rules {
        let there = |candidate: &&Candidate<'_>| {
            rule.datatypes.contains(&candidate.folder.datatype) && rule.fits(&candidate.name, &label)
        };
        let mut matches: Vec<&Candidate<'_>> = candidates.iter().filter(there).collect();
        if rule.reads_sidecars() {
            match by_sidecars(rule, above, folders, &mut matches) {
                Ok(near) => drop(unlike.insert(&spec.name, near)),
                Err(message) => {
                    let hint = "correct or remove the sidecar: the input's rule asks for what it says";
                    case.problems.push(Problem::of(&spec.name, message, hint));
                    continue;
                }
            }
        }
        match choose(spec, &matches) {
            Ok(None) => absent.push((spec, rule)),
            Ok(Some(chosen)) => take(case, spec, chosen),
            Err(problem) => case.problems.push(problem),
        }
    }
    let taken: BTreeSet<PathBuf> = case.inputs.values().filter_map(Given::file).map(Path::to_owned).collect();
    for (spec, rule) in absent {
        let mut near = unlike.remove(&spec.name).unwrap_or_default();
        near.extend(near_misses(rule, &label, &candidates, &taken));
        near.retain(|miss| !miss.differs.is_empty());
        near.truncate(MOST_NEAR_MISSES);
        if !near.is_empty() {
            case.near_misses.insert(spec.name.clone(), near);
        }
    }
}

/// Leaves the files whose sidecars say what the rule asks for; the others are near misses.
fn by_sidecars(
    rule: &Rule,
    above: &[&Folder],
    folders: &[Folder],
    matches: &mut Vec<&Candidate<'_>>,
) -> Result<Vec<NearMiss>, String> {
    let mut near = Vec::new();
    let mut fitting = Vec::new();
    for candidate in matches.drain(..) {
        let mut chain: Vec<&Folder> = above.to_vec();
        chain.extend(folders.first());
        chain.extend((!candidate.folder.datatype.is_empty()).then_some(candidate.folder));
        let differs = rule.said_otherwise(&sidecar::merged(&chain, &candidate.name)?);
        if differs.is_empty() {
            fitting.push(candidate);
        } else {
            near.push(NearMiss { file: candidate.file.name.clone(), differs });
        }
    }
    *matches = fitting;
    Ok(near)
}

/// Takes a file, unless it is a link that leads nowhere.
fn take(case: &mut CohortCase, spec: &InputSpec, chosen: &Candidate<'_>) {
    let path = chosen.path();
    if chosen.file.link && !path.exists() {
        let differs = "is a symbolic link that leads nowhere".to_owned();
        if spec.on_error == OnError::Absent {
            let miss = NearMiss { file: chosen.file.name.clone(), differs: vec![differs] };
            case.near_misses.entry(spec.name.clone()).or_default().push(miss);
        } else {
            let message = format!("{} {differs}", path.display());
            let hint = "fetch its content (`datalad get`, `git annex get`) or restore its target";
            case.problems.push(Problem::of(&spec.name, message, hint));
        }
        return;
    }
    case.inputs.insert(spec.name.clone(), Given::File(path));
}

/// The one file that is meant; none if nothing matches.
fn choose<'a, 'c>(
    spec: &InputSpec,
    matches: &[&'a Candidate<'c>],
) -> Result<Option<&'a Candidate<'c>>, Problem> {
    match matches {
        [] => return Ok(None),
        [only] => return Ok(Some(only)),
        _ => {}
    }
    let differ = differing(matches);
    if spec.pick != Pick::Only && differ == ["run"] {
        let run = |candidate: &&&Candidate<'_>| candidate.name.entity("run").unwrap_or_default().to_owned();
        let mut runs: Vec<_> = matches.iter().collect();
        runs.sort_by(|a, b| natural(&run(a), &run(b)));
        let chosen = if spec.pick == Pick::First { runs.first() } else { runs.last() };
        return Ok(chosen.map(|chosen| **chosen));
    }
    let how = if differ.is_empty() { String::new() } else { format!("; they differ in {}", list(&differ)) };
    let picks = if spec.pick == Pick::Only { "" } else { ", and `pick` chooses among runs only" };
    let mut hint = vec![
        format!(
            "narrow its `bids` rule in the workflow (`bids.{}`)",
            differ.first().map_or("acq", |key| key)
        ),
        "give `--bids-filter FILE`".to_owned(),
    ];
    if differ == ["run"] {
        hint.insert(0, "take one of the runs with `pick = \"first\"` or `pick = \"last\"`".to_owned());
    }
    Err(Problem {
        input: Some(spec.name.clone()),
        message: format!("{} files match{how}{picks}", matches.len()),
        candidates: matches.iter().map(|candidate| candidate.shown()).collect(),
        hint: Some(hint.join(", or ")),
    })
}

/// The entities, or `suffix`, `datatype` and `extension`, in which files differ.
fn differing(matches: &[&Candidate<'_>]) -> Vec<String> {
    let keys: BTreeSet<&str> =
        matches.iter().flat_map(|candidate| candidate.name.entities.iter().map(|(key, _)| *key)).collect();
    let varies = |value: &dyn Fn(&Candidate<'_>) -> Option<String>| {
        matches.iter().map(|candidate| value(candidate)).collect::<BTreeSet<_>>().len() > 1
    };
    let mut differ: Vec<String> = keys
        .into_iter()
        .filter(|key| varies(&|candidate| candidate.name.entity(key).map(str::to_owned)))
        .map(str::to_owned)
        .collect();
    differ.extend(varies(&|c| Some(c.name.suffix.to_owned())).then(|| "suffix".to_owned()));
    differ.extend(varies(&|c| Some(c.folder.datatype.clone())).then(|| "datatype".to_owned()));
    differ.extend(varies(&|c| Some(c.name.extension.to_owned())).then(|| "extension".to_owned()));
    differ
}

/// The files that came closest to a rule, the closest first; not those that other inputs take.
fn near_misses(
    rule: &Rule,
    label: &CaseLabel,
    candidates: &[Candidate<'_>],
    taken: &BTreeSet<PathBuf>,
) -> Vec<NearMiss> {
    let mut near = Vec::new();
    for candidate in candidates {
        let Some(mut differs) = rule.differs(&candidate.name, label) else { continue };
        if !rule.datatypes.contains(&candidate.folder.datatype) {
            let place = match candidate.folder.datatype.as_str() {
                "" => "lies beside".to_owned(),
                folder => format!("lies in `{folder}/`, not in"),
            };
            differs.push(format!("{place} `{}/`", rule.datatypes.join("/` or `")));
        }
        if !taken.contains(&candidate.path()) {
            near.push(NearMiss { file: candidate.file.name.clone(), differs });
        }
    }
    near.sort_by_key(|miss| miss.differs.len());
    near
}
