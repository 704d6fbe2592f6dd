//! Completions and man pages, printed from the table of commands.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use serde_json::json;

use crate::{Cli, Error, Exit, Output, file};

/// `chancery completions`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  chancery completions bash > /etc/bash_completion.d/chancery\n  \
    chancery completions zsh > _chancery")]
pub struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub fn run(&self, output: &Output) -> Result<Exit, Error> {
        let mut bytes = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "chancery", &mut bytes);
        output.bytes(&bytes)?;
        Ok(Exit::Ok)
    }
}

/// `chancery man`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  chancery man --out man/man1")]
pub struct Man {
    /// The folder to write them to, one page for each command
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

impl Man {
    pub fn run(&self, output: &Output) -> Result<Exit, Error> {
        std::fs::create_dir_all(&self.out).map_err(Error::file("make the folder", &self.out))?;
        let mut table = Cli::command();
        table.build();
        let mut pages = Vec::new();
        self.write(&table, &mut pages)?;
        if output.is_json() {
            output.document(&json!({ "pages": pages }))?;
        } else {
            output.say(&format!("{} pages in `{}`", pages.len(), self.out.display()));
        }
        Ok(Exit::Ok)
    }

    fn write(&self, command: &clap::Command, pages: &mut Vec<String>) -> Result<(), Error> {
        for below in command.get_subcommands().filter(|command| !command.is_hide_set()) {
            self.write(below, pages)?;
        }
        let page = clap_mangen::Man::new(command.clone());
        let path = self.out.join(page.get_filename());
        let mut bytes = Vec::new();
        page.render(&mut bytes).map_err(Error::file("write", &path))?;
        if command.get_name() != "chancery" {
            bytes.extend_from_slice(b".SH EXIT STATUS\nSee \\fBchancery\\fR(1).\n");
        }
        file::write_result(&path, &bytes)?;
        pages.push(page.get_filename());
        Ok(())
    }
}
