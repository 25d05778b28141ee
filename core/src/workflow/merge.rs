//! One workflow out of several texts: a file, those it extends, and the overrides of the command line.
//!
//! A later text changes an earlier one key by key. What stands in braces is given anew: a set, `inputs`, `settings`, an input,
//! an output (a stage never: its new keys go to the old ones). Dotted keys and sections change, and `false` drops a member or a wire. `remove = true` drops a stage, input, value or output. A new operator keeps the inputs of its stage if it has
//! the old one's role, and always drops the settings.

use super::tree::{Branch, Entry, Table, Tree};
use crate::catalogue::Catalogue;

/// Lays `over` onto `base`. `[cohort]` and `[review]` hold stages and outputs as the whole does.
pub(crate) fn workflows(mut base: Table, over: Table, catalogue: &dyn Catalogue) -> Table {
    for entry in over.entries {
        let section = entry.key.clone();
        let old = base.get_mut(&section).map(|old| &mut old.value.value);
        match (section.as_str(), old, entry.value.value) {
            ("inputs" | "values" | "outputs" | "stages", Some(Branch::Table(old)), Branch::Table(new)) => {
                for item in new.entries {
                    merge_item(old, item, &section, catalogue);
                }
            }
            ("cohort" | "review", Some(Branch::Table(old)), Branch::Table(new)) => {
                *old = workflows(std::mem::take(old), new, catalogue);
            }
            (_, _, value) => base.put(Entry { value: Tree { value, ..entry.value }, ..entry }),
        }
    }
    base
}

/// Lays one stage, input, value or output onto its namesake.
fn merge_item(section: &mut Table, item: Entry, name: &str, catalogue: &dyn Catalogue) {
    let removes = |tree: &Tree| {
        tree.as_table().and_then(|table| table.get("remove")).is_some_and(|entry| entry.value.is(true))
    };
    if let Some(old) = section.get_mut(&item.key)
        && !removes(&item.value)
        && !removes(&old.value)
        && let (Branch::Table(base), Branch::Table(over)) = (&mut old.value.value, &item.value.value)
    {
        match name {
            "stages" => merge_stage(base, over.clone(), catalogue),
            _ if over.inline => *base = over.clone(),
            _ => over.entries.iter().for_each(|entry| base.put(entry.clone())),
        }
        return;
    }
    section.put(item);
}

fn merge_stage(base: &mut Table, over: Table, catalogue: &dyn Catalogue) {
    let name =
        |table: &Table| table.get("operator").and_then(|entry| entry.value.as_text()).map(str::to_owned);
    if let (Some(old), Some(new)) = (name(base), name(&over))
        && old != new
    {
        base.remove("settings");
        if !share_a_role(&old, &new, catalogue) {
            base.remove("inputs");
            base.remove("each");
        }
    }
    for entry in over.entries {
        match entry.key.as_str() {
            "inputs" | "each" => {
                let (here, other) = if entry.key == "each" { ("each", "inputs") } else { ("inputs", "each") };
                merge_wires(base, here, other, entry);
            }
            "settings" => merge_settings(base, entry),
            _ => base.put(entry),
        }
    }
}

/// Whether both are known and of one role. A name that is unknown is a fault later; until then it counts as alike.
fn share_a_role(old: &str, new: &str, catalogue: &dyn Catalogue) -> bool {
    let role = |name: &str| catalogue.find(name).map(|found| found.description.role.clone());
    match (role(old), role(new)) {
        (Ok(old), Ok(new)) => old.is_some() && old == new,
        _ => true,
    }
}

/// Lays `inputs` or `each` onto `base`; what is wired in one is no longer wired in the other.
fn merge_wires(base: &mut Table, here: &str, other: &str, entry: Entry) {
    let Branch::Table(ports) = &entry.value.value else { return base.put(entry) };
    if let Some(Entry { value: Tree { value: Branch::Table(others), .. }, .. }) = base.get_mut(other) {
        ports.entries.iter().for_each(|port| others.remove(&port.key));
    }
    if ports.inline {
        return base.put(entry);
    }
    let Some(Entry { value: Tree { value: Branch::Table(old), .. }, .. }) = base.get_mut(here) else {
        return base.put(entry);
    };
    for port in &ports.entries {
        match (old.get_mut(&port.key), &port.value.value) {
            (Some(known), Branch::Table(members)) if !members.inline => {
                let mut set = as_set(&known.value);
                members.entries.iter().for_each(|member| set.put(member.clone()));
                known.value.value = Branch::Table(set);
            }
            _ => old.put(port.clone()),
        }
    }
}

/// A port's wires as a set, so that members can be changed: a name stands for all members of the set it names.
fn as_set(wires: &Tree) -> Table {
    let entry =
        |key: &str, tree: &Tree| Entry { key: key.to_owned(), key_span: tree.span, value: tree.clone() };
    let entries = match &wires.value {
        Branch::Table(table) => return table.clone(),
        Branch::Array(items) => {
            let last =
                |item: &Tree| item.as_text().and_then(|text| text.rsplit('.').next()).map(str::to_owned);
            items.iter().map(|item| entry(&last(item).unwrap_or_default(), item)).collect()
        }
        _ => vec![entry("*", wires)],
    };
    Table { entries, inline: false }
}

fn merge_settings(base: &mut Table, entry: Entry) {
    if let Some(Entry { value: Tree { value: Branch::Table(old), .. }, .. }) = base.get_mut("settings")
        && let Branch::Table(new) = entry.value.value.clone()
        && !new.inline
    {
        deepen(old, new);
    } else {
        base.put(entry);
    }
}

/// Key by key; a table in braces replaces.
fn deepen(base: &mut Table, over: Table) {
    for entry in over.entries {
        let old = base.get_mut(&entry.key).map(|old| &mut old.value.value);
        match (old, entry.value.value) {
            (Some(Branch::Table(old)), Branch::Table(new)) if !new.inline => deepen(old, new),
            (_, value) => base.put(Entry { value: Tree { value, ..entry.value }, ..entry }),
        }
    }
}
