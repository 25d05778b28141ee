//! The command line. Data go to stdout, all else to stderr.

mod batch;
mod bench;
mod bids_app;
mod cache;
mod cancel;
mod check;
mod cohort;
mod compare;
mod completions;
mod doctor;
mod graph;
mod logging;
mod means;
mod model;
mod plan;
mod plugins;
mod progress;
mod provenance;
mod replay;
mod review;
mod run;
mod schedule;
mod schema;
mod slurm;
mod status;
mod stop;
mod submit;
mod table;
mod why;

use crate::fault::Faults;
use crate::plan::Graph;
use crate::registry::{Registry, search_path};
use crate::site::Site;
use crate::workflow::{self, Overrides};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A plugin-based workflow engine for neuroimaging.
#[derive(Debug, Parser)]
#[command(name = "neuroloom", version, max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

/// What every command takes.
#[derive(Debug, Args)]
struct Common {
    /// Look for plugins in this folder first (may be given several times)
    #[arg(long = "plugin-dir", value_name = "DIR", global = true, help_heading = "General")]
    plugin_dirs: Vec<PathBuf>,
    /// The site's configuration [default: neuroloom.toml here, then the user's, then /etc/neuroloom]
    #[arg(long, value_name = "FILE", global = true, help_heading = "General")]
    site: Option<PathBuf>,
    /// Say more: -v information, -vv debugging, -vvv everything
    #[arg(short, long, action = clap::ArgAction::Count, global = true, help_heading = "General")]
    verbose: u8,
    /// How log lines and events are written to stderr
    #[arg(long, value_enum, default_value_t, global = true, help_heading = "General")]
    log_format: LogFormat,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How answers are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs: stable keys.
    Json,
}

/// A workflow and what the command line changes in it.
#[derive(Debug, Args)]
struct WorkflowArgs {
    /// The workflow, a TOML file
    #[arg(value_name = "WORKFLOW")]
    workflow: PathBuf,
    #[command(flatten)]
    changes: ChangeArgs,
}

/// What the command line changes in a workflow.
#[derive(Debug, Args)]
struct ChangeArgs {
    /// Let a stage run another operator of the same role
    #[arg(long = "use", value_name = "STAGE=OPERATOR")]
    operators: Vec<String>,
    /// Set one setting or key of a stage, as in `segment.settings.batch=2` or `segment.device=cpu`
    #[arg(long, value_name = "STAGE.KEY=VALUE")]
    set: Vec<String>,
}

impl ChangeArgs {
    /// As the workflow's reader takes them.
    fn overrides(&self) -> Overrides {
        Overrides { operators: self.operators.clone(), settings: self.set.clone() }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a workflow on one case
    Run(run::RunArgs),
    /// Run a workflow on all cases of a cohort that need it
    Batch(batch::BatchArgs),
    /// Run a workflow as a BIDS App: level `participant`, then level `group`
    #[command(version)]
    BidsApp(bids_app::BidsAppArgs),
    /// Show how an output folder stands: what is done, what runs, what failed
    Status(status::StatusArgs),
    /// End what a batch has with Slurm; the same batch later goes on from there
    Cancel(cancel::CancelArgs),
    /// Tell why a case stands as it does
    Why(why::WhyArgs),
    /// Put two output folders side by side: lesions, Dice, volumes, tables
    Compare(compare::CompareArgs),
    /// Make a published result again from its record, and compare it voxel by voxel
    Replay(replay::ReplayArgs),
    /// Make labels, measures and page of a case again from what a reader decided on its page
    Review(review::ReviewArgs),
    /// Write a paragraph for a paper: what was done, to how many cases, by which versions
    Methods(provenance::MethodsArgs),
    /// Make a research object crate of an output folder
    Provenance(provenance::ProvenanceArgs),
    /// Run batches by themselves: by the clock, or when new cases have arrived
    Schedule(schedule::ScheduleArgs),
    /// Find all faults of a workflow, or tell what each missing input costs
    Check(check::CheckArgs),
    /// Tell which cases of a cohort can run, how, and why not
    Plan(plan::PlanArgs),
    /// Draw a workflow
    Graph(graph::GraphArgs),
    /// Show the plugins that were found
    Plugins(plugins::PluginsArgs),
    /// Tell what a model file holds and what it needs
    Model(model::ModelArgs),
    /// Print a JSON schema: of workflows, of schedules, or of an operator's settings
    Schema(schema::SchemaArgs),
    /// Look after the results that are kept for later runs
    Cache(cache::CacheArgs),
    /// Time an operator by the program that its plugin brings for that
    Bench(bench::BenchArgs),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
    /// Look whether this machine is ready
    Doctor,
    /// What jobs of Slurm's run: written into their scripts by `batch`
    #[command(hide = true)]
    Slurm(slurm::SlurmArgs),
}

/// How a command ended. The number is the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    /// All fine.
    Fine = 0,
    /// Some case failed.
    SomeFailed = 1,
    /// Nothing could be run: arguments, workflow or plugin wrong.
    Nothing = 2,
    /// Stopped by SIGTERM; may be run again.
    Interrupted = 75,
    /// Stopped by Ctrl-C.
    CtrlC = 130,
}

/// Why a command did nothing: text for the user, hints included.
#[derive(Debug)]
struct Failure(String);

impl Failure {
    fn new(message: impl std::fmt::Display) -> Self {
        Self(format!("error: {message}"))
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(error)
    }
}

/// Parses the arguments, runs the command, and turns its end into an exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::install(&cli.common);
    let result = match cli.command {
        Command::Run(args) => run::run(&cli.common, &args),
        Command::Batch(args) => batch::batch(&cli.common, &args),
        Command::BidsApp(args) => bids_app::bids_app(&cli.common, args),
        Command::Status(args) => status::status(&args),
        Command::Cancel(args) => cancel::cancel(&args),
        Command::Why(args) => why::why(&args),
        Command::Compare(args) => compare::compare(&args),
        Command::Replay(args) => replay::replay(&cli.common, &args),
        Command::Review(args) => review::review(&cli.common, &args),
        Command::Methods(args) => provenance::methods(&args),
        Command::Provenance(args) => provenance::provenance(&args),
        Command::Schedule(args) => schedule::schedule(&cli.common, &args),
        Command::Check(args) => check::check(&cli.common, &args),
        Command::Plan(args) => plan::plan(&cli.common, &args),
        Command::Graph(args) => graph::graph(&cli.common, &args),
        Command::Plugins(args) => plugins::plugins(&cli.common, &args),
        Command::Model(args) => model::model(&cli.common, &args),
        Command::Schema(args) => schema::schema(&cli.common, &args),
        Command::Cache(args) => cache::cache(&cli.common, &args),
        Command::Bench(args) => bench::bench(&cli.common, &args),
        Command::Completions(args) => Ok(completions::completions(&args)),
        Command::Doctor => doctor::doctor(&cli.common),
        Command::Slurm(args) => slurm::slurm(&args),
    };
    let exit = result.unwrap_or_else(|Failure(text)| {
        say(&text);
        Exit::Nothing
    });
    ExitCode::from(exit as u8)
}

/// Says something on stderr: as it is to people, as a log line to programs.
fn say(text: &str) {
    let text = text.trim();
    match text.split(':').next() {
        Some("error") => tracing::error!(target: logging::TOLD, "{text}"),
        Some("warning") => tracing::warn!(target: logging::TOLD, "{text}"),
        _ => tracing::info!(target: logging::TOLD, "{text}"),
    }
    if !logging::is_json() {
        use std::io::Write as _;
        // A terminal that went away is no reason to stop.
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }
}

/// Writes a line to stdout; a reader that went away is no error.
fn print(text: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{}", text.trim_end());
}

/// Whether people see colours on stderr.
fn colour() -> bool {
    use std::io::IsTerminal as _;
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && std::io::stderr().is_terminal()
}

/// The site's configuration and the plugins of this run.
fn open_site(common: &Common) -> Result<(Site, Registry), Failure> {
    let site = Site::find(common.site.as_deref())?;
    let missing = common.plugin_dirs.iter().find(|folder| !folder.is_dir());
    if let Some(folder) = missing {
        return Err(Failure::new(format!(
            "--plugin-dir {}: no such folder\nhint: name the folder that holds the plugin libraries",
            folder.display()
        )));
    }
    let registry = Registry::discover(&search_path(&common.plugin_dirs, &site.plugins.folders));
    for rejected in registry.rejected() {
        say(&format!("warning: plugin {} {}", rejected.path.display(), rejected.error));
    }
    Ok((site, registry))
}

/// Loads and checks a workflow; its faults are the failure's text.
fn load(args: &WorkflowArgs, registry: &Registry) -> Result<Graph, Failure> {
    load_or_faults(args, registry)?.map_err(|faults| {
        let count = faults.len();
        let plural = if count == 1 { "" } else { "s" };
        let path = args.workflow.display();
        Failure(format!(
            "{}\nerror: {count} fault{plural} in {path}; nothing was run",
            faults.render(colour())
        ))
    })
}

/// The hint that names a file of a similar name in the same folder, if there is one.
fn near_miss(path: &Path) -> String {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let files = entries.filter(|entry| entry.path().is_file());
    let names: Vec<String> = files.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let wanted = path.file_name().unwrap_or_default().to_string_lossy();
    match crate::fault::nearest(&wanted, names.iter().map(String::as_str)) {
        Some(near) => format!("\nhint: did you mean `{}`?", path.with_file_name(near).display()),
        None => String::new(),
    }
}

fn load_or_faults(args: &WorkflowArgs, registry: &Registry) -> Result<Result<Graph, Faults>, Failure> {
    if !Path::new(&args.workflow).is_file() {
        let near = near_miss(&args.workflow);
        return Err(Failure::new(format!("{}: no such workflow file{near}", args.workflow.display())));
    }
    Ok(workflow::load(&args.workflow, &args.changes.overrides(), registry))
}
