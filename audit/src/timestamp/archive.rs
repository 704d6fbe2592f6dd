//! Timestamps beside the log, for any server of static files: `timestamps/<n>.checkpoint`, the note as it was published,
//! `timestamps/<n>.tsr`, the authority's answer about just these bytes, and `timestamps/index`, which numbers there are.
//! Nothing here is trusted when it is read back; what is lost is a proof, never an entry.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use chancery_core::limit;

use super::{Timestamp, TimestampRoots};
use crate::AuditError;
use crate::checkpoint::{SignedCheckpoint, decimal};
use crate::files::Files;
use crate::note::NOTE_BYTES;
use crate::trust::Trust;

const FOLDER: &str = "timestamps";
pub(crate) const INDEX: &str = "timestamps/index";
const FIRST_LINE: &str = "chancery timestamps v1";
/// LIMIT: kept ones that are looked at for the last of an authority.
const LOOKED_AT: usize = 16;

/// The numbers of the timestamps that are kept, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Index(Vec<u64>);

impl Index {
    /// LIMIT: its file, in bytes: the numbers have 19 digits at most.
    pub(crate) const BYTES: usize = 64 + 20 * limit::TIMESTAMPS;

    /// Reads the file; `None` for any other form.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
        let mut lines = text.split('\n');
        lines.next().filter(|first| *first == FIRST_LINE)?;
        let numbers: Vec<u64> = lines.map(decimal).collect::<Option<_>>()?;
        (numbers.len() <= limit::TIMESTAMPS && numbers.is_sorted_by(|one, next| one < next))
            .then_some(Self(numbers))
    }

    pub(crate) fn numbers(&self) -> &[u64] {
        &self.0
    }

    pub(crate) fn text(&self) -> String {
        let mut text = format!("{FIRST_LINE}\n");
        for number in &self.0 {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{number}");
        }
        text
    }

    /// Of these numbers. Where there are too many, every second one of the older half goes: the past is proved less finely
    /// and never not at all, and the first stays for ever.
    fn of(mut numbers: Vec<u64>) -> Self {
        while numbers.len() > limit::TIMESTAMPS {
            let older = numbers.len() / 2;
            let mut at = 0..;
            numbers.retain(|_| at.next().is_none_or(|at| at >= older || at.is_multiple_of(2)));
        }
        Self(numbers)
    }
}

/// The files of a timestamp, by what follows the number.
pub(crate) const NOTE: &str = "checkpoint";
pub(crate) const RESPONSE: &str = "tsr";

/// The path of one of them.
pub(crate) fn path(number: u64, kind: &str) -> String {
    format!("{FOLDER}/{number}.{kind}")
}

/// The number and kind in the name of a file of a timestamp.
fn kept_name(name: &str) -> Option<(u64, &str)> {
    let (number, kind) = name.split_once('.')?;
    let written = kind.strip_suffix(".new").unwrap_or(kind);
    matches!(written, NOTE | RESPONSE).then_some((decimal(number)?, kind))
}

/// Whether a path is that of a file that is served.
pub(crate) fn is_served(path: &str) -> bool {
    let kept = path.strip_prefix(FOLDER).and_then(|name| name.strip_prefix('/')).and_then(kept_name);
    path == INDEX || kept.is_some_and(|(_, kind)| !kind.ends_with(".new"))
}

/// The timestamps of this appliance's log.
pub struct Archive {
    files: Files,
    trust: Trust,
    kept: Mutex<Index>,
}

impl Archive {
    /// Opens what is kept in the log's folder. The index says what stays, the folder what is whole: one that was lost is
    /// written again.
    ///
    /// # Errors
    /// [`AuditError::Io`].
    pub fn open(directory: &Path, trust: &Trust) -> Result<Self, AuditError> {
        let files = Files::existing(directory);
        let names = files.names(FOLDER)?;
        let of_kind = |wanted: &str| -> BTreeSet<u64> {
            let names = names.iter().filter_map(|name| kept_name(name));
            names.filter(|(_, kind)| *kind == wanted).map(|(number, _)| number).collect()
        };
        let mut whole = of_kind(NOTE);
        let answered = of_kind(RESPONSE);
        whole.retain(|number| answered.contains(number));
        let written = files.read_at_most(INDEX, Index::BYTES)?.as_deref().and_then(Index::parse);
        if let Some(Index(listed)) = &written {
            // Beyond the last are those whose index was not written any more.
            whole.retain(|number| listed.last() < Some(number) || listed.binary_search(number).is_ok());
        }
        let kept = Index::of(whole.into_iter().collect());
        if written.unwrap_or_default() != kept {
            files.write(&[(INDEX.to_owned(), kept.text().into_bytes())])?;
        }
        let archive = Self { files, trust: trust.without_quorum(), kept: Mutex::new(kept.clone()) };
        archive.sweep(&kept)?;
        Ok(archive)
    }

    /// The newest checkpoint that strangers can see, as it is on disk.
    ///
    /// # Errors
    /// [`AuditError::Io`], or [`AuditError::Head`] for one that is not to be believed.
    pub fn published(&self) -> Result<Option<SignedCheckpoint>, AuditError> {
        let Some(note) = self.files.read_at_most(Files::CHECKPOINT, NOTE_BYTES)? else { return Ok(None) };
        let damaged = |source| AuditError::Head { path: Files::CHECKPOINT.to_owned(), source };
        SignedCheckpoint::open(&note, &self.trust).map(Some).map_err(damaged)
    }

    /// The last timestamp under these roots, and how many entries it is of, among the newest few.
    ///
    /// # Errors
    /// [`AuditError::Io`].
    pub fn last_under(&self, roots: &TimestampRoots) -> Result<Option<(u64, Timestamp)>, AuditError> {
        let kept = self.lock().clone();
        for number in kept.numbers().iter().rev().take(LOOKED_AT) {
            let note = self.files.read_at_most(&path(*number, NOTE), NOTE_BYTES)?.unwrap_or_default();
            let response = self.files.read_at_most(&path(*number, RESPONSE), limit::TIMESTAMP_BYTES)?;
            let checkpoint = SignedCheckpoint::open(&note, &self.trust);
            let timestamp = Timestamp::verify(&note, &response.unwrap_or_default(), roots);
            if let (Ok(checkpoint), Ok(timestamp)) = (checkpoint, timestamp) {
                return Ok(Some((checkpoint.size(), timestamp)));
            }
        }
        Ok(None)
    }

    /// Keeps an answer about a published checkpoint, which must have been verified. Durable when this returns.
    ///
    /// # Errors
    /// [`AuditError::Io`].
    pub fn keep(&self, checkpoint: &SignedCheckpoint, response: Vec<u8>) -> Result<(), AuditError> {
        let mut kept = self.lock();
        let number = kept.numbers().last().map_or(1, |last| last + 1);
        let next = Index::of(kept.0.iter().copied().chain([number]).collect());
        if next.0.len() <= kept.0.len() {
            // What went from the index the time before is asked for by no reader any more.
            self.sweep(&kept)?;
        }
        // ORDER: note, answer, index. A crash before the index leaves two whole files that the next start lists, or one that
        // it removes.
        self.files.write(&[
            (path(number, NOTE), checkpoint.note().as_bytes().to_vec()),
            (path(number, RESPONSE), response),
        ])?;
        self.files.write(&[(INDEX.to_owned(), next.text().into_bytes())])?;
        *kept = next;
        Ok(())
    }

    /// How many are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().0.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes files that are of no listed timestamp.
    fn sweep(&self, kept: &Index) -> Result<(), AuditError> {
        for name in self.files.names(FOLDER)? {
            if let Some((number, kind)) = kept_name(&name)
                && (kind.ends_with(".new") || kept.0.binary_search(&number).is_err())
            {
                self.files.remove(&format!("{FOLDER}/{name}"))?;
            }
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Index> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_has_one_form_and_a_bound() {
        let index = Index(vec![1, 2, 40]);
        assert_eq!(index.text(), "chancery timestamps v1\n1\n2\n40\n");
        assert_eq!(Index::parse(index.text().as_bytes()), Some(index));
        assert_eq!(Index::parse(b"chancery timestamps v1\n"), Some(Index::default()));
        let long: String = (1..=4_097).map(|number| format!("{number}\n")).collect();
        for bad in ["2\n1\n", "1\n1\n", "01\n", "1\n\n", "1", "-1\n", &long] {
            assert!(Index::parse(format!("{FIRST_LINE}\n{bad}").as_bytes()).is_none(), "{bad}");
        }
        for headless in ["", "1\n", FIRST_LINE, "chancery timestamps v2\n1\n"] {
            assert!(Index::parse(headless.as_bytes()).is_none(), "{headless}");
        }
    }

    #[test]
    fn the_past_is_thinned_and_its_first_and_its_newest_half_stay() {
        let mut index = Index::default();
        for number in 1..=20_000 {
            index = Index::of(index.0.iter().copied().chain([number]).collect());
            assert!(index.0.len() <= limit::TIMESTAMPS);
        }
        assert_eq!((index.0.first(), index.0.last()), (Some(&1), Some(&20_000)));
        let newest = index.0.iter().rev().zip((1..=20_000).rev()).take_while(|(a, b)| **a == *b).count();
        assert!(newest >= 1_024, "{newest}");
        let gaps: Vec<u64> = index.0.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.is_sorted_by(|older, newer| older >= newer), "older ones are no closer than newer ones");
    }

    #[test]
    fn only_files_of_timestamps_are_served() {
        for good in ["timestamps/index", "timestamps/1.tsr", "timestamps/40.checkpoint"] {
            assert!(is_served(good), "{good}");
        }
        for bad in [
            "timestamps",
            "timestamps/",
            "timestamps/01.tsr",
            "timestamps/1.tsr.new",
            "timestamps/../head",
            "timestamps/1",
            "timestamps/x/1.tsr",
            "timestamps1.tsr",
            "head",
        ] {
            assert!(!is_served(bad), "{bad}");
        }
    }
}
