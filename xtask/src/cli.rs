//! The command line of `cargo xtask`.

use std::path::PathBuf;

use clap::{Args as Group, Parser, Subcommand};

use crate::figures::{self, Options, Size};
use crate::tree::Profile;
use crate::{Stop, Tree, demo, gate, package, setup, talk, tidy};

/// The tasks of this repository. Data goes to stdout, talk to stderr.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    after_help = "Examples:\n  \
        cargo xtask demo                          the whole appliance at work, in half a minute\n  \
        cargo xtask demo --keep                   the same, and leave it running to try things\n  \
        cargo xtask test                          all that CI runs\n  \
        cargo xtask test --only lint --only test  two of its steps\n  \
        cargo xtask assurance --quick --json      the promises with their figures, as JSON\n  \
        cargo xtask assurance --only kill --runs 20000\n  \
        cargo xtask bench > figures.txt           the table alone; talk stays on the terminal\n\n\
        Exit codes: 0 done, 1 failed or a promise is not met, 2 something must be installed first."
)]
pub struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Install what is missing (apt, npm, cargo); as another user than root, print the command and stop
    Setup,
    /// Format, lint, build, test, tidy, deny, API description, assurance at its quick size
    Test {
        /// Run the other steps after a failure
        #[arg(long)]
        keep_going: bool,
        /// Run this step only; may be given several times
        #[arg(long, value_name = "STEP", value_parser = clap::builder::PossibleValuesParser::new(gate::names()))]
        only: Vec<String>,
    },
    /// Check dependency walls, the form of source files, links of documents
    Tidy,
    /// Show the promises: try to break each one and print how often that succeeded
    Assurance(Figures),
    /// Measure against the limits of the machine; a figure below its goal is shown, not failed
    Bench(Figures),
    /// Make the Debian packages of appliance and witness: programs, unit, man pages, completions
    Package {
        /// Of the debug build, to look at them
        #[arg(long)]
        debug: bool,
        /// Where they go [default: `package` in the target folder]
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Run the whole appliance: token, certificates, server, wallets, policy, a local chain, receipts
    Demo {
        /// Leave the server and the chain running, and say how to use them
        #[arg(long, conflicts_with = "ceremony")]
        keep: bool,
        /// Rehearse a node's keys from their making to a restore instead: five custodians, three of whom come back
        #[arg(long)]
        ceremony: bool,
        /// Answer the ceremonies' questions yourself
        #[arg(long, requires = "ceremony")]
        interactive: bool,
        /// Where the state goes; must be new or empty [default: a fresh folder below the target folder]
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

#[derive(Debug, Group)]
struct Figures {
    /// The size that fits a normal test run
    #[arg(long)]
    quick: bool,
    /// Print rows as JSON
    #[arg(long)]
    json: bool,
    /// Run this producer only; may be given several times
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// How many runs each producer makes, where it counts runs
    #[arg(long, value_name = "N")]
    runs: Option<u64>,
}

impl Figures {
    fn options(&self) -> Options {
        Options {
            size: if self.quick { Size::Quick } else { Size::Full },
            json: self.json,
            only: self.only.clone(),
            runs: self.runs,
        }
    }
}

/// Does the task.
pub fn dispatch(args: &Args) -> Result<(), Stop> {
    match &args.task {
        Task::Setup => setup::ensure(&Tree::find()?, setup::For::Test),
        Task::Test { keep_going, only } => gate::run(only, *keep_going),
        Task::Tidy => tidy::run(),
        Task::Assurance(figures) => {
            let tree = Tree::find()?;
            setup::ensure(&tree, setup::For::Figures)?;
            figures::assurance(&tree, &figures.options())
        }
        Task::Bench(figures) => {
            let tree = Tree::find()?;
            setup::ensure(&tree, setup::For::Figures)?;
            figures::bench(&tree, &figures.options())
        }
        Task::Package { debug, out } => {
            let profile = if *debug { Profile::Dev } else { Profile::Release };
            for made in package::run(&Tree::find()?, profile, out.as_deref())? {
                talk::data(&made.display().to_string());
            }
            Ok(())
        }
        Task::Demo { keep, ceremony, interactive, dir } => {
            let story = match (ceremony, interactive) {
                (true, interactive) => demo::Story::Ceremony { interactive: *interactive },
                (false, _) => demo::Story::Walk { keep: *keep },
            };
            demo::run(&Tree::find()?, dir.as_deref(), story)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn help_names_every_task() {
        let help = Args::command().render_long_help().to_string();
        for task in ["setup", "test", "tidy", "assurance", "bench", "package", "demo", "Examples"] {
            assert!(help.contains(task), "{task}");
        }
    }
}
