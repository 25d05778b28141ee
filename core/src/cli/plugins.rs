//! `neuroloom plugins`.

use super::{Common, Exit, Failure, Format, open_site, print, table};
use crate::registry::{LoadedPlugin, Registry};
use clap::{Args, Subcommand};
use sdk::export::OperatorDescription;
use sdk::port::PortSpec;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;

#[derive(Debug, Args)]
pub(super) struct PluginsArgs {
    #[command(subcommand)]
    command: PluginsCommand,
}

#[derive(Debug, Subcommand)]
enum PluginsCommand {
    /// List plugins and their operators, and the files that could not be used
    List {
        /// How the answer is written
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Show an operator's ports and settings, or all of a plugin's
    Inspect {
        /// An operator, `plugin:operator`, a plugin, or the file of one
        name: String,
        /// How the answer is written
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

pub(super) fn plugins(common: &Common, args: &PluginsArgs) -> Result<Exit, Failure> {
    match &args.command {
        PluginsCommand::List { format } => list(&open_site(common)?.1, *format),
        PluginsCommand::Inspect { name, format } => inspect(common, name, *format),
    }
}

fn list(registry: &Registry, format: Format) -> Result<Exit, Failure> {
    if format == Format::Json {
        let plugins: Vec<Value> = registry.plugins().iter().map(plugin_json).collect();
        let rejected =
            registry.rejected().iter().map(|r| json!({ "file": r.path, "reason": r.error.to_string() }));
        print(&format!("{:#}", json!({ "plugins": plugins, "rejected": rejected.collect::<Vec<_>>() })));
        return Ok(Exit::Fine);
    }
    if registry.plugins().is_empty() {
        return Err(Failure::new("no plugin was found\nhint: name their folder with --plugin-dir"));
    }
    let mut rows = table::plain(&["operator", "role", "plugin", "what it does"]);
    for plugin in registry.plugins() {
        for operator in &plugin.description.operators {
            let role = operator.role.clone().unwrap_or_default();
            rows.add_row([&operator.name, &role, &plugin.description.name, &operator.summary]);
        }
    }
    print(&rows.to_string());
    Ok(Exit::Fine)
}

fn plugin_json(plugin: &LoadedPlugin) -> Value {
    json!({
        "name": plugin.description.name,
        "version": plugin.description.version,
        "file": plugin.path,
        "tag": plugin.tag,
        "digest": plugin.digest(),
        "operators": plugin.description.operators,
    })
}

fn inspect(common: &Common, name: &str, format: Format) -> Result<Exit, Failure> {
    if Path::new(name).is_file() {
        let mut registry = Registry::default();
        let wrong = |error| Failure::new(format!("{name} {error}"));
        registry.add(Path::new(name)).map_err(wrong)?;
        show(registry.plugins(), &|_| true, format);
        return Ok(Exit::Fine);
    }
    let (_, registry) = open_site(common)?;
    let (plugin, operator) =
        name.split_once(':').map_or((None, name), |(plugin, operator)| (Some(plugin), operator));
    if let Some(plugin) = registry.plugin(name) {
        show(std::slice::from_ref(plugin), &|_| true, format);
        return Ok(Exit::Fine);
    }
    let offers = |p: &&LoadedPlugin| {
        plugin.is_none_or(|name| name == p.description.name)
            && p.description.operators.iter().any(|o| o.name == operator)
    };
    let found: Vec<&LoadedPlugin> = registry.plugins().iter().filter(offers).collect();
    if found.is_empty() {
        let plugins = registry.plugins().iter().map(|p| p.description.name.as_str());
        let operators =
            registry.plugins().iter().flat_map(|p| p.description.operators.iter().map(|o| o.name.as_str()));
        let names: Vec<&str> = plugins.chain(operators).collect();
        let hint = crate::fault::suggest(name, "there are", &names).unwrap_or_default();
        return Err(Failure::new(format!("no plugin or operator `{name}`\nhint: {hint}")));
    }
    for plugin in found {
        show(std::slice::from_ref(plugin), &|o| o.name == operator, format);
    }
    Ok(Exit::Fine)
}

fn show(plugins: &[LoadedPlugin], wanted: &dyn Fn(&OperatorDescription) -> bool, format: Format) {
    for plugin in plugins {
        if format == Format::Json {
            let mut content = plugin_json(plugin);
            let operators: Vec<_> = plugin.description.operators.iter().filter(|o| wanted(o)).collect();
            content["operators"] = json!(operators);
            print(&format!("{content:#}"));
            continue;
        }
        let description = &plugin.description;
        print(&format!(
            "plugin    {} {}\nfile      {}\nbuilt as  {}\ndigest    {}",
            description.name,
            description.version,
            plugin.path.display(),
            plugin.tag,
            plugin.digest()
        ));
        for operator in description.operators.iter().filter(|operator| wanted(operator)) {
            print(&format!("\n{}", operator_text(operator)));
        }
    }
}

fn operator_text(operator: &OperatorDescription) -> String {
    let role = operator.role.as_ref().map(|role| format!(" (role {role})")).unwrap_or_default();
    let mut text = format!("{}{role}\n  {}\n", operator.name, operator.summary);
    for (title, ports) in [("inputs", &operator.inputs), ("outputs", &operator.outputs)] {
        let _ = writeln!(text, "  {title}");
        for port in ports {
            let _ = writeln!(text, "    {:<18} {}", port.name, port_text(port));
        }
    }
    let settings = operator.settings.get("properties").and_then(Value::as_object);
    if let Some(settings) = settings.filter(|settings| !settings.is_empty()) {
        let _ = writeln!(text, "  settings");
        for (name, schema) in settings {
            let about =
                schema.get("description").and_then(Value::as_str).unwrap_or_default().replace('\n', " ");
            let default =
                schema.get("default").map(|value| format!(" [default: {value}]")).unwrap_or_default();
            let _ = writeln!(text, "    {name:<18} {about}{default}");
        }
    }
    if !operator.citation.is_empty() {
        let _ = writeln!(text, "  source\n    {}", operator.citation);
    }
    text
}

fn port_text(port: &PortSpec) -> String {
    let mut words = vec![port.kind.to_string()];
    if port.many {
        words.push("(a named set)".to_owned());
    }
    if port.optional {
        words.push("(optional)".to_owned());
    }
    if !port.about.is_empty() {
        words.push(format!("- {}", port.about));
    }
    words.join(" ")
}
