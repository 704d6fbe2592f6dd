//! A target for every parser that reads bytes from outside: what must hold of any bytes, beyond not crashing. The targets
//! are plain functions, so that an ordinary test replays the corpus, a plain loop mutates it, and libFuzzer drives them
//! with coverage. A property that fails panics, as a crash does.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a fuzz target tells of a broken property by a panic"
)]

mod mutate;
mod rlp;
mod target;

use std::collections::hash_map::DefaultHasher;
use std::fmt::{Debug, Display};
use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

pub use mutate::{Campaign, Ended};
pub use target::TARGETS;

/// One parser, what must hold of it, and where to begin.
pub struct Target {
    /// Its name, and that of its folder in the corpus.
    pub name: &'static str,
    /// Who sends these bytes, in a few words.
    pub from: &'static str,
    /// Puts the bytes to the parser and checks what came out.
    ///
    /// # Panics
    /// Where a property does not hold.
    pub check: fn(&[u8]) -> Seen,
    /// Inputs that get past the first checks; at least one is accepted.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// How an input came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Whether the parser took it.
    pub accepted: bool,
    /// Two inputs that came out alike have the same: the plain loop keeps one of each.
    pub kind: u64,
}

impl Seen {
    /// Of an answer.
    pub fn of<T, E: Display>(answer: &Result<T, E>) -> Self {
        match answer {
            Ok(_) => Self::accepted(&()),
            Err(error) => Self::refused(error),
        }
    }

    /// Accepted, as this.
    pub fn accepted(what: &impl Debug) -> Self {
        Self { accepted: true, kind: kind(&format!("{what:?}")) }
    }

    /// Refused, with this.
    pub fn refused(why: &impl Display) -> Self {
        // From the first quote on the text is the input's own.
        let text = why.to_string();
        Self { accepted: false, kind: kind(text.split(['`', '"']).next().unwrap_or_default()) }
    }
}

/// Numbers do not count: every offset would be news.
fn kind(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.chars().filter(|c| !c.is_ascii_digit()).for_each(|c| c.hash(&mut hasher));
    hasher.finish()
}

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// The kept inputs of a target: what once crashed it, and what seeds cannot make.
#[must_use]
pub fn corpus(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = corpus_folder(target);
    let mut kept: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| fs::read(entry.path()).ok().map(|bytes| (entry.path(), bytes)))
        .collect();
    kept.sort();
    kept
}

/// Where they are.
#[must_use]
pub fn corpus_folder(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name)
}
