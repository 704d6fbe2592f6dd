//! Finds what a fresh Debian 12 with Rust lacks and installs it: system packages, cargo's components, the pinned
//! Ethereum node, the solver that proves policies, published vectors, the models of the face check. Looks at files only,
//! so that it costs nothing when all is there.

mod anvil;
mod apt;
pub mod faces;
pub mod promtool;
pub mod solver;
pub mod tool;
mod vectors;
mod weights;

use crate::{Stop, Tree, run::Cmd, talk};

/// What the caller is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// The whole test run.
    Test,
    /// The demonstration, which needs no linters.
    Demo,
    /// Measurements.
    Figures,
}

/// Installs what is missing.
///
/// # Errors
/// [`Stop::Missing`] with the exact command when only the user may install it; [`Stop::Failed`] when an install fails.
pub fn ensure(tree: &Tree, purpose: For) -> Result<(), Stop> {
    apt::ensure()?;
    if purpose == For::Test {
        components(tree)?;
        tool::DENY.ensure(tree)?;
        promtool::ensure(tree)?;
    }
    if purpose != For::Demo {
        vectors::ensure(tree)?;
        faces::ensure(tree)?;
    }
    if purpose != For::Figures {
        solver::ensure(tree)?;
        anvil::ensure(tree)?;
    }
    Ok(())
}

pub use anvil::binary as anvil;

fn components(tree: &Tree) -> Result<(), Stop> {
    let missing: Vec<&str> = [("fmt", "rustfmt"), ("clippy", "clippy")]
        .into_iter()
        .filter(|(command, _)| !tree.cargo(&[command, "--version"]).succeeds())
        .map(|(_, component)| component)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    talk::line(&format!("setup: adding {} to the toolchain", missing.join(" and ")));
    Cmd::new("rustup").args(["component", "add"]).args(missing).run()
}
