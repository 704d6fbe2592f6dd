//! From a trust file of before a rotation to the keys of after it: each entry that puts keys in force carries the word of the
//! keys before. What is found here is believed only when the whole log verifies with it.

use std::thread;

use super::lane::{Lanes, Reading, Step};
use crate::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::note::{Note, NoteError};
use crate::rotation::Turn;
use crate::tile::WIDTH;
use crate::trust::Trust;

/// The newest checkpoint under the keys that those of `trust` vouched for, and the trust file that this comes to.
///
/// # Errors
/// `error` where they did not.
pub(super) fn followed(
    reading: Reading<'_>,
    trust: &Trust,
    note: &[u8],
    error: NoteError,
) -> Result<(SignedCheckpoint, Trust), NoteError> {
    if !matches!(error, NoteError::Unsigned | NoteError::NoMlDsa) {
        return Err(error);
    }
    let claimed = Checkpoint::parse(Note::parse(note)?.unverified_text())?;
    let turns = turns(Reading { size: claimed.size, ..reading }, trust);
    let Some(after) = trust.clone().after(&turns).ok().filter(|_| !turns.is_empty()) else {
        return Err(error);
    };
    SignedCheckpoint::open(note, &after).map(|checkpoint| (checkpoint, after))
}

/// The rotations in these files, as far as one vouches for the next, from one that a trusted key vouches for.
fn turns(reading: Reading<'_>, trust: &Trust) -> Vec<Turn> {
    let (own, mut turns) = (trust.without_quorum(), Vec::<Turn>::new());
    thread::scope(|scope| {
        let lanes = Lanes::start(scope, reading, &(0..reading.size.div_ceil(WIDTH)));
        let mut leaf = 0;
        for bundle in lanes.in_order() {
            let Ok(bundle) = bundle else { return turns };
            for step in bundle.steps {
                if let Step::Rotation(rotation) = step
                    && let Some(vouched) = &rotation.vouched
                {
                    let by_last = |last: &Turn| last.after == rotation.before;
                    let trusted = || {
                        own.log_keys().contains(&rotation.before.key)
                            && SignedCheckpoint::open(vouched.checkpoint.as_bytes(), &own).is_ok()
                    };
                    let before = rotation.before.open(trust.origin(), &vouched.checkpoint).is_ok();
                    if before && turns.last().map_or_else(trusted, by_last) {
                        turns.push(Turn { leaf, before: rotation.before, after: rotation.after });
                    }
                }
                leaf += 1;
            }
        }
        turns
    })
}
