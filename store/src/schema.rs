//! The format of the database: its mark, its version, its making and the check at start. A newer format is refused,
//! never guessed at; each later format adds its migration here.

use std::path::Path;

use rusqlite::ErrorCode;

use crate::StoreError;
use crate::link::Link;

/// SQLite's `application_id` of this appliance's stores: `Chan`.
const MARK: i64 = 0x4368_616e;
/// The format that this release writes.
pub const FORMAT: i64 = 1;
const FORMAT_1: &str = include_str!("schema.sql");

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing yet.
    Empty,
    /// A store of the present format.
    Present,
}

/// Looks at the file and changes nothing.
pub(crate) fn look(link: &Link, path: &Path) -> Result<Found, StoreError> {
    let foreign = || StoreError::Foreign { path: path.to_owned() };
    let (mark, version, objects) = link
        .one(
            "SELECT (SELECT application_id FROM pragma_application_id), \
             (SELECT user_version FROM pragma_user_version), (SELECT count(*) FROM sqlite_schema)",
            [],
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)),
        )
        .map_err(|error| match &error {
            StoreError::Statement { source }
                if source.sqlite_error_code() == Some(ErrorCode::NotADatabase) =>
            {
                foreign()
            }
            _ => error,
        })?
        .ok_or_else(foreign)?;
    match (mark, version, objects) {
        (0, 0, 0) => Ok(Found::Empty),
        (MARK, FORMAT, _) => Ok(Found::Present),
        (MARK, found, _) if found > FORMAT => Err(StoreError::FormatNewer { found, known: FORMAT }),
        _ => Err(foreign()),
    }
}

/// Makes the present format in an empty file, in one transaction.
pub(crate) fn create(link: &Link) -> Result<(), StoreError> {
    link.script(&format!(
        "BEGIN IMMEDIATE; {FORMAT_1} PRAGMA application_id = {MARK}; PRAGMA user_version = {FORMAT}; COMMIT;"
    ))
}

/// Reads the whole database once: its pages and cells hold together, and the log has no hole.
pub(crate) fn check(link: &Link) -> Result<(), StoreError> {
    let finding: Option<String> = link.one("PRAGMA quick_check(1)", [], |row| Ok(row.get(0)?))?;
    let dense =
        link.one("SELECT count(*) = coalesce(max(idx) + 1, 0) FROM leaf", [], |row| Ok(row.get(0)?))?;
    match (finding.as_deref(), dense) {
        (Some("ok"), Some(true)) => Ok(()),
        (Some("ok"), _) => Err(StoreError::Damaged { finding: "the log has a hole".to_owned() }),
        (finding, _) => Err(StoreError::Damaged { finding: finding.unwrap_or("no answer").to_owned() }),
    }
}
