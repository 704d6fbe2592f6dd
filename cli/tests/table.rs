//! The table of commands: every command is documented where people look, and every example of the help is one that
//! the program accepts.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may panic and explain themselves")]

mod support;

use chancery_cli::{Cli, Exit};
use clap::CommandFactory;
use support::chancery;

fn leaves() -> Vec<(String, clap::Command)> {
    fn walk(path: &str, command: &clap::Command, leaves: &mut Vec<(String, clap::Command)>) {
        if command.get_subcommands().next().is_none() {
            leaves.push((path.to_owned(), command.clone()));
        }
        for below in command.get_subcommands() {
            walk(&format!("{path} {}", below.get_name()), below, leaves);
        }
    }
    let mut leaves = Vec::new();
    walk("chancery", &Cli::command(), &mut leaves);
    assert!(leaves.len() >= 24, "the table lost commands");
    leaves
}

fn examples(command: &clap::Command) -> Vec<String> {
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let Some((_, examples)) = help.split_once("Examples:\n") else { return Vec::new() };
    examples.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

#[test]
fn the_table_holds_together() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_has_an_example_that_it_accepts() {
    for (path, command) in leaves() {
        let examples = examples(&command);
        assert!(!examples.is_empty(), "`{path}` has no example");
        for example in examples {
            assert!(
                example.starts_with(&path),
                "the example `{example}` is of another command than `{path}`"
            );
            let words = example.split_whitespace().take_while(|word| *word != ">");
            if let Err(error) = Cli::command().try_get_matches_from(words) {
                panic!("`{example}` is refused: {error}");
            }
        }
    }
}

#[test]
fn the_page_in_docs_names_every_command_and_exit_code() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/cli.md")).unwrap();
    for (path, _) in leaves() {
        assert!(page.contains(&format!("`{path}`")), "docs/cli.md does not name `{path}`");
    }
    for exit in Exit::ALL {
        let row = format!("| {} | {} |", exit.code(), exit.meaning());
        assert!(page.contains(&row), "docs/cli.md lacks `{row}`");
    }
}

#[test]
fn help_and_man_pages_tell_the_exit_codes() {
    let help = chancery(&["--help"]).ends(0).stdout;
    let folder = tempfile::tempdir().unwrap();
    chancery(&["man", "--out", support::text(folder.path())]).ends(0);
    let page = std::fs::read_to_string(folder.path().join("chancery.1")).unwrap();
    for exit in Exit::ALL {
        assert!(help.contains(exit.meaning()), "`--help` lacks exit {}", exit.code());
        assert!(page.contains(exit.meaning()), "chancery.1 lacks exit {}", exit.code());
    }
    for (path, _) in leaves() {
        let page = folder.path().join(format!("{}.1", path.replace(' ', "-")));
        let text = std::fs::read_to_string(&page).unwrap_or_else(|_| panic!("no man page for `{path}`"));
        assert!(text.contains("Examples:"), "the man page of `{path}` has no example");
    }
}

#[test]
fn completions_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = chancery(&["completions", shell]).ends(0).stdout;
        for word in ["receipt", "serve-config", "simulate", "--idempotency-key"] {
            assert!(script.contains(word.trim_start_matches('-')), "{shell} does not complete `{word}`");
        }
    }
}

#[test]
fn a_wrong_command_line_is_exit_2_and_nothing_else() {
    for arguments in [
        &["frobnicate"][..],
        &["sign"],
        &["sign", "--wallet", "w"],
        &["sign", "--wallet", "../x", "--message", "m"],
        &["sign", "--wallet", "w", "--message", "m", "--transaction", "0x02"],
        &["wallet", "create", "w"],
        &["receipt", "verify", "r.json"],
        &["audit", "list", "--from", "yesterday"],
        &["client", "issue", "n", "--role", "root", "--dir", "d"],
        &["client", "issue", "n", "--role", "client", "--dir", "d", "--days", "0"],
        &["policy", "simulate", "d", "--client-name", "c"],
        &["policy", "simulate", "d", "--client-name", "c", "--wallet", "w"],
        &["policy", "simulate", "d", "--client-name", "c", "--request", "r", "--message", "m"],
        &["init", "--dir", "d"],
        &["init", "--dir", "d", "--softhsm", "--production"],
        &["init", "--dir", "d", "--softhsm", "--token", "t", "--module", "m"],
        &["--timeout", "soon", "wallet", "list"],
        // What clap cannot see.
        &["wallet", "list"],
        &["sign", "--wallet", "w", "--transaction", "xyz"],
    ] {
        let ran = chancery(arguments).ends(2);
        assert!(ran.stdout.is_empty(), "an error went to standard output: {ran:?}");
        let mut json = arguments.to_vec();
        json.push("--json");
        let error = chancery(&json).ends(2).error();
        assert_eq!(error["code"], "usage", "{arguments:?}");
        assert_eq!(error["exit"], 2, "{arguments:?}");
    }
}
