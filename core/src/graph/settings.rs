//! Settings against the JSON schema of their operator, every fault at its key or value.

use crate::fault::{Fault, Sources, Span, list, nearest};
use crate::workflow::tree::{Branch, Tree};
use jsonschema::error::{TypeKind, ValidationErrorKind};
use serde_json::{Map, Value as Json};
use std::path::{Path, PathBuf};

/// Settings as the operator gets them.
#[derive(Clone, Debug, Default)]
pub(super) struct Checked {
    /// With absolute paths.
    pub(super) json: Json,
    /// The files that are named, absolute.
    pub(super) files: Vec<PathBuf>,
    /// Whether they are valid.
    pub(super) valid: bool,
}

/// Checks `settings` of a stage against `schema`, and finds the files they name.
pub(super) fn check(
    settings: Option<&Tree>,
    schema: &Json,
    sources: &Sources,
    operator: &str,
    faults: &mut Vec<Fault>,
) -> Checked {
    let empty = || Checked { json: Json::Object(Map::new()), files: Vec::new(), valid: true };
    let Some(tree) = settings else { return empty() };
    let before = faults.len();
    let mut json = tree.to_json();
    match jsonschema::validator_for(schema) {
        Ok(validator) => {
            for error in validator.iter_errors(&json) {
                faults.extend(explain(&error, tree, schema, operator));
            }
        }
        Err(error) => {
            let message = format!("the settings' schema of operator `{operator}` is invalid: {error}");
            faults.push(Fault::at(tree.span, message).hint("this is a fault of the plugin"));
        }
    }
    let mut files = Files { root: schema, sources, found: Vec::new(), faults };
    files.resolve(tree, &mut json, schema);
    let found = std::mem::take(&mut files.found);
    Checked { json, files: found, valid: faults.len() == before }
}

/// With the defaults of the schema filled in, so that settings that mean the same are the same.
pub(super) fn with_defaults(settings: &Json, schema: &Json) -> Json {
    let mut full = settings.as_object().cloned().unwrap_or_default();
    if let Some(properties) = schema.get("properties").and_then(Json::as_object) {
        for (name, property) in properties {
            if let (Some(default), false) = (property.get("default"), full.contains_key(name)) {
                full.insert(name.clone(), default.clone());
            }
        }
    }
    Json::Object(full)
}

/// One error of the validator as faults: one for each unknown key.
fn explain(
    error: &jsonschema::ValidationError<'_>,
    tree: &Tree,
    schema: &Json,
    operator: &str,
) -> Vec<Fault> {
    let path = error.instance_path().to_string();
    let steps: Vec<&str> = path.split('/').skip(1).collect();
    let place = tree.at(steps.iter().copied());
    let name =
        if steps.is_empty() { "settings".to_owned() } else { format!("setting `{}`", steps.join(".")) };
    let found = || written(place);
    let fault = |message: String| {
        let about = about(schema, &steps).map(|text| format!("`{}`: {text}", steps.join(".")));
        vec![Fault::at(place.span, message).maybe_hint(about)]
    };
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            unexpected.iter().map(|key| unknown(key, place, schema, operator, steps.is_empty())).collect()
        }
        ValidationErrorKind::Type { kind } => {
            fault(format!("{name} of operator `{operator}` is {}, not {}", found(), expected(kind)))
        }
        ValidationErrorKind::Enum { options } => {
            let options: Vec<String> = options.as_array().into_iter().flatten().map(plain).collect();
            let hint = choices(place, &options);
            let message = format!("{name} of operator `{operator}` cannot be {}", found());
            vec![Fault::at(place.span, message).hint(hint)]
        }
        ValidationErrorKind::Minimum { limit } => {
            fault(format!("{name} of operator `{operator}` is {}, below {limit}", found()))
        }
        ValidationErrorKind::ExclusiveMinimum { limit } => {
            fault(format!("{name} of operator `{operator}` is {}, not above {limit}", found()))
        }
        ValidationErrorKind::Maximum { limit } => {
            fault(format!("{name} of operator `{operator}` is {}, above {limit}", found()))
        }
        ValidationErrorKind::ExclusiveMaximum { limit } => {
            fault(format!("{name} of operator `{operator}` is {}, not below {limit}", found()))
        }
        ValidationErrorKind::Required { property } => {
            fault(format!("{name} of operator `{operator}` lacks `{}`", plain(property)))
        }
        ValidationErrorKind::AnyOf { .. } | ValidationErrorKind::OneOfNotValid { .. } => {
            let options = options_at(schema, error.schema_path().as_str());
            let fault =
                Fault::at(place.span, format!("{name} of operator `{operator}` cannot be {}", found()));
            vec![if options.is_empty() { fault } else { fault.hint(choices(place, &options)) }]
        }
        _ => fault(format!("{name} of operator `{operator}`: {error}")),
    }
}

fn unknown(key: &str, place: &Tree, schema: &Json, operator: &str, top: bool) -> Fault {
    let span = place.as_table().and_then(|table| table.get(key)).map_or(place.span, |entry| entry.key_span);
    let properties = schema.get("properties").and_then(Json::as_object).filter(|_| top);
    let names: Vec<&str> = properties.into_iter().flat_map(Map::keys).map(String::as_str).collect();
    let fault = Fault::at(span, format!("operator `{operator}` has no setting `{key}`"));
    match nearest(key, names.iter().copied()) {
        Some(near) => fault.hint(format!("did you mean `{near}`?")),
        None if top && names.is_empty() => fault.hint("it has no settings"),
        None if top => fault.hint(format!("it has {}", list(&names))),
        None => fault,
    }
}

/// Which of the named choices was meant, or all of them.
fn choices(place: &Tree, options: &[String]) -> String {
    let near = nearest(&plain(&place.to_json()), options.iter().map(String::as_str));
    near.map_or_else(|| format!("it is one of {}", list(options)), |near| format!("did you mean `{near}`?"))
}

/// What the schema says of a setting: its description and its default, or else what it takes.
fn about(schema: &Json, steps: &[&str]) -> Option<String> {
    let property = schema.get("properties")?.get(steps.first()?)?;
    let text = property.get("description").and_then(Json::as_str);
    let text = text.and_then(|text| text.split("\n\n").next()).map(|text| text.replace('\n', " "));
    let default = property.get("default").filter(|default| !default.is_null());
    let default = default.map(|default| format!("its default is {default}"));
    let parts: Vec<_> =
        text.map(|text| text.trim_end_matches('.').to_owned()).into_iter().chain(default).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// The named choices of an enum whose variants have documentation of their own.
fn options_at(schema: &Json, path: &str) -> Vec<String> {
    let here = path.split('/').skip(1).try_fold(schema, |here, step| match here {
        Json::Array(items) => items.get(step.parse::<usize>().ok()?),
        other => other.get(step),
    });
    let choice = |option: &Json| option.get("const").map(plain);
    let several = |option: &Json| option.get("enum").and_then(Json::as_array).cloned().unwrap_or_default();
    let options = here.and_then(Json::as_array).cloned().unwrap_or_default();
    options
        .iter()
        .flat_map(|option| {
            choice(option).into_iter().chain(several(option).iter().map(plain).collect::<Vec<_>>())
        })
        .collect()
}

/// As the user wrote it, in words.
fn written(tree: &Tree) -> String {
    match &tree.value {
        Branch::Text(text) => format!("the text `{text}`"),
        Branch::Integer(_) | Branch::Float(_) | Branch::Boolean(_) => format!("{}", tree.to_json()),
        _ => tree.kind().to_owned(),
    }
}

fn plain(json: &Json) -> String {
    json.as_str().map_or_else(|| json.to_string(), str::to_owned)
}

fn expected(kind: &TypeKind) -> String {
    let word = |json_type: jsonschema::JsonType| match json_type.to_string().as_str() {
        "integer" => "a whole number",
        "number" => "a number",
        "string" => "text",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a table",
        _ => "nothing",
    };
    match kind {
        TypeKind::Single(one) => word(*one).to_owned(),
        TypeKind::Multiple(set) => {
            let words: Vec<_> = set.iter().map(word).filter(|word| *word != "nothing").collect();
            words.join(" or ")
        }
    }
}

/// Walks settings and schema together to find the files that settings name.
struct Files<'a> {
    root: &'a Json,
    sources: &'a Sources,
    found: Vec<PathBuf>,
    faults: &'a mut Vec<Fault>,
}

impl Files<'_> {
    fn resolve(&mut self, tree: &Tree, json: &mut Json, schema: &Json) {
        let schema = self.followed(schema);
        if schema.get("format").and_then(Json::as_str) == Some("file") {
            if let Some(name) = tree.as_text() {
                *json = Json::from(self.file(name, tree.span));
            }
            return;
        }
        for option in ["anyOf", "oneOf", "allOf"] {
            for choice in schema.get(option).and_then(Json::as_array).into_iter().flatten() {
                self.resolve(tree, json, choice);
            }
        }
        match (&tree.value, &mut *json) {
            (Branch::Array(items), Json::Array(values)) => {
                if let Some(inner) = schema.get("items") {
                    items.iter().zip(values).for_each(|(item, value)| self.resolve(item, value, inner));
                }
            }
            (Branch::Table(table), Json::Object(values)) => {
                for entry in &table.entries {
                    let named = schema.get("properties").and_then(|all| all.get(&entry.key));
                    let inner = named.or_else(|| schema.get("additionalProperties"));
                    if let (Some(inner), Some(value)) = (inner, values.get_mut(&entry.key)) {
                        self.resolve(&entry.value, value, inner);
                    }
                }
            }
            _ => {}
        }
    }

    /// What a `$ref` refers to.
    fn followed<'s>(&'s self, schema: &'s Json) -> Json {
        let pointer = schema.get("$ref").and_then(Json::as_str).and_then(|path| path.strip_prefix('#'));
        pointer.and_then(|pointer| self.root.pointer(pointer)).unwrap_or(schema).clone()
    }

    /// The absolute path of a file named at `span`: relative to the folder of the file that names it. It must be there.
    fn file(&mut self, name: &str, span: Span) -> String {
        let writer = self.sources.path(span);
        let folder = writer.parent().unwrap_or(Path::new(""));
        let path = folder.join(name);
        let path = path.canonicalize().or_else(|_| std::path::absolute(&path)).unwrap_or(path);
        if !path.is_file() {
            let message = format!("there is no file `{name}` in `{}`", shown(folder));
            let hint = "paths are relative to the workflow that names them";
            self.faults.push(Fault::at(span, message).hint(hint));
        }
        if !self.found.contains(&path) {
            self.found.push(path.clone());
        }
        path.to_string_lossy().into_owned()
    }
}

fn shown(folder: &Path) -> String {
    if folder.as_os_str().is_empty() { ".".to_owned() } else { folder.display().to_string() }
}
