//! The parsers of the log's static files alone, for fuzzing: from outside they are reached through a whole log.
//! Each answers with what it would write for what it read.

use crate::files::{Resource, bundle, entries};
use crate::tile::{Tile, WIDTH};
use crate::timestamp::archive::Index;

/// A path such as `tile/0/000.p/3`.
#[must_use]
pub fn path(text: &str) -> Option<String> {
    Resource::parse(text).map(Resource::path)
}

/// An entry bundle of so many entries.
#[must_use]
pub fn entry_bundle(bytes: &[u8], width: u64) -> Option<Vec<u8>> {
    let entries = entries(bytes, width)?;
    bundle(&entries.into_iter().map(<[u8]>::to_vec).collect::<Vec<_>>())
}

/// A tile of so many hashes.
#[must_use]
pub fn tile(bytes: &[u8], width: u64) -> Option<Vec<u8>> {
    (width <= WIDTH).then(|| Tile::from_bytes(bytes, width))?.map(|tile| tile.bytes(width))
}

/// A list of timestamps.
#[must_use]
pub fn timestamp_index(bytes: &[u8]) -> Option<Vec<u8>> {
    Index::parse(bytes).map(|index| index.text().into_bytes())
}
