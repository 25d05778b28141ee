//! The text of batch scripts.

use super::classes::Class;
use super::site::SlurmSite;
use std::fmt::Write as _;
use std::path::Path;

/// Why no script can be written.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// A text would end its line.
    #[error("{what} holds a line break: {text:?}\nhint: scripts for Slurm are lines; choose another name")]
    LineBreak {
        /// What it is.
        what: &'static str,
        /// The text.
        text: String,
    },
}

/// A batch script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script(String);

/// What is the same in all scripts of a run.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// What the site asks for.
    pub site: &'a SlurmSite,
    /// The jobs' name.
    pub name: &'a str,
    /// The folder that the command was given in.
    pub folder: &'a Path,
    /// Where logs go.
    pub logs: &'a Path,
    /// What is asked for beside processors and memory: `gpu:1`.
    pub gres: Option<&'a str>,
}

impl Script {
    /// The script of an array of `tasks` tasks of a class, of which `throttle` may run at a time.
    ///
    /// # Errors
    /// [`ScriptError`].
    pub fn array(
        frame: &Frame<'_>,
        class: Class,
        tasks: usize,
        throttle: Option<usize>,
        program: &[String],
    ) -> Result<Self, ScriptError> {
        let (memory, minutes) = frame.site.request(class);
        let at_a_time = throttle.map(|most| format!("%{most}")).unwrap_or_default();
        let mut options = vec![
            format!("--array=0-{}{at_a_time}", tasks.saturating_sub(1)),
            format!("--output={}", quoted(&format!("{}/%A_%a.log", escaped(frame.logs)))),
        ];
        // A task that is warned later than it begins would be warned at once.
        let warning = u64::from(frame.site.warn_seconds).min(minutes * 60 / 2);
        options.push(format!("--signal=B:USR1@{warning}"));
        options.extend(request(frame.site.cpus, memory, minutes));
        options.extend(frame.gres.map(|gres| format!("--gres={gres}")));
        Self::new(frame, options, program)
    }

    /// The script of the job that follows arrays.
    ///
    /// # Errors
    /// [`ScriptError`].
    pub fn follow(frame: &Frame<'_>, program: &[String]) -> Result<Self, ScriptError> {
        let (cpus, memory, minutes) = frame.site.group_request();
        let mut options = vec![format!("--output={}", quoted(&format!("{}/%j.log", escaped(frame.logs))))];
        options.extend(request(cpus, memory, minutes));
        Self::new(frame, options, program)
    }

    fn new(frame: &Frame<'_>, options: Vec<String>, program: &[String]) -> Result<Self, ScriptError> {
        let site = frame.site;
        let mut all = vec![format!("--job-name={}", frame.name)];
        all.extend(options);
        all.extend(["--open-mode=append".to_owned(), "--requeue".to_owned()]);
        all.push(format!("--chdir={}", quoted(&frame.folder.to_string_lossy())));
        all.extend(site.partition.iter().map(|name| format!("--partition={name}")));
        all.extend(site.account.iter().map(|name| format!("--account={name}")));
        all.extend(site.extra.iter().cloned());
        let mut text = "#!/bin/bash\n".to_owned();
        for option in all {
            let _ = writeln!(text, "#SBATCH {}", one_line("an option for sbatch", &option)?);
        }
        for line in &site.header {
            let _ = writeln!(text, "{}", one_line("a line of `[slurm] header`", line)?);
        }
        // Slurm's signals go to the shell of the script: the program takes its place.
        let words: Vec<String> = program.iter().map(|word| shell(word)).collect();
        let _ = writeln!(text, "exec {}", one_line("the command", &words.join(" "))?);
        Ok(Self(text))
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.0
    }
}

fn request(cpus: u32, memory_mib: u64, minutes: u64) -> [String; 3] {
    [format!("--cpus-per-task={}", cpus.max(1)), format!("--mem={memory_mib}M"), format!("--time={minutes}")]
}

fn one_line<'a>(what: &'static str, text: &'a str) -> Result<&'a str, ScriptError> {
    if text.contains(['\n', '\r']) {
        return Err(ScriptError::LineBreak { what, text: text.to_owned() });
    }
    Ok(text)
}

/// A path in a name of a log, where `%` begins a field.
fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace('%', "%%")
}

/// A value on a line of options: sbatch takes quotes off.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%~".contains(c);
    if text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

/// A word that a shell reads as it is.
fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(site: &SlurmSite) -> Frame<'_> {
        Frame {
            site,
            name: "nl-lesions-0007",
            folder: Path::new("/study"),
            logs: Path::new("/data/out 1/logs"),
            gres: Some("gpu:1"),
        }
    }

    #[test]
    fn a_script_says_what_the_site_says() {
        let site = SlurmSite {
            partition: Some("long".to_owned()),
            extra: vec!["--qos=night".to_owned()],
            header: vec!["module load neuroloom".to_owned()],
            ..SlurmSite::default()
        };
        let program: Vec<String> = ["neuroloom", "slurm", "it's"].iter().map(ToString::to_string).collect();
        let script =
            Script::array(&frame(&site), Class { memory: 1, time: 0 }, 60, Some(20), &program).unwrap();
        assert_eq!(
            script.text(),
            "#!/bin/bash\n\
             #SBATCH --job-name=nl-lesions-0007\n\
             #SBATCH --array=0-59%20\n\
             #SBATCH --output=\"/data/out 1/logs/%A_%a.log\"\n\
             #SBATCH --signal=B:USR1@120\n\
             #SBATCH --cpus-per-task=2\n\
             #SBATCH --mem=8192M\n\
             #SBATCH --time=60\n\
             #SBATCH --gres=gpu:1\n\
             #SBATCH --open-mode=append\n\
             #SBATCH --requeue\n\
             #SBATCH --chdir=/study\n\
             #SBATCH --partition=long\n\
             #SBATCH --qos=night\n\
             module load neuroloom\n\
             exec neuroloom slurm 'it'\\''s'\n"
        );
        let follow = Script::follow(&frame(&site), &program).unwrap();
        assert!(!follow.text().contains("--array") && !follow.text().contains("--gres"), "{}", follow.text());
        assert!(follow.text().contains("#SBATCH --mem=2048M\n"), "{}", follow.text());
    }

    #[test]
    fn nothing_can_add_a_line() {
        let site = SlurmSite { partition: Some("a\n#SBATCH --uid=0".to_owned()), ..SlurmSite::default() };
        assert!(matches!(
            Script::follow(&frame(&site), &[]),
            Err(ScriptError::LineBreak { what: "an option for sbatch", .. })
        ));
    }
}
