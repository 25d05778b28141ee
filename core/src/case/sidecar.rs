//! What JSON sidecars say of a file, by the principle of inheritance.
//!
//! Source: BIDS specification, "Common principles", "The Inheritance Principle".

use super::entities::Name;
use super::resolve::Folder;
use serde_json::{Map, Value as Json};

/// All that is said of the file `name`: by each folder from the data set down to its own, and in a folder by sidecars with
/// more and more of its entities; what is nearer to the file replaces what is further away.
///
/// # Errors
/// The sidecar that cannot be read, and why.
pub(super) fn merged(folders: &[&Folder], name: &Name<'_>) -> Result<Map<String, Json>, String> {
    let mut merged = Map::new();
    for folder in folders {
        let named = folder.files.iter().map(|file| (Name::parse(&file.name), &file.name));
        let mut sidecars: Vec<(Name<'_>, &String)> =
            named.filter(|(sidecar, _)| applies(sidecar, name)).collect();
        sidecars.sort_by_key(|(sidecar, _)| sidecar.entities.len());
        for (_, file) in sidecars {
            let path = folder.path.join(file);
            let wrong = |reason: String| format!("sidecar {}: {reason}", path.display());
            let text = std::fs::read_to_string(&path).map_err(|error| wrong(error.to_string()))?;
            let content: Map<String, Json> =
                serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
            merged.extend(content);
        }
    }
    Ok(merged)
}

/// Whether a sidecar speaks of a file: the same suffix, and no entity that the file does not have.
fn applies(sidecar: &Name<'_>, file: &Name<'_>) -> bool {
    sidecar.extension == "json"
        && sidecar.suffix == file.suffix
        && sidecar.entities.iter().all(|(key, value)| file.entity(key) == Some(value))
}
