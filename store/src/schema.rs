//! The format of the database: its mark, its version, its making and the check at start. A newer format is refused,
//! never guessed at; each later format adds its migration here.

use std::path::Path;

use rusqlite::ErrorCode;

use crate::StoreError;
use crate::link::Link;

/// SQLite's `application_id` of this appliance's stores: `Chan`.
const MARK: i64 = 0x4368_616e;
/// The format that this release writes.
pub const FORMAT: i64 = 7;
const FORMAT_1: &str = include_str!("schema.sql");
const FORMAT_2: &str = include_str!("schema_2.sql");
const FORMAT_3: &str = include_str!("schema_3.sql");
const FORMAT_4: &str = include_str!("schema_4.sql");
const FORMAT_5: &str = include_str!("schema_5.sql");
const FORMAT_6: &str = include_str!("schema_6.sql");
const FORMAT_7: &str = include_str!("schema_7.sql");
/// What each format adds to the one before it.
const STEPS: [&str; 7] = [FORMAT_1, FORMAT_2, FORMAT_3, FORMAT_4, FORMAT_5, FORMAT_6, FORMAT_7];

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing yet.
    Empty,
    /// A store of an older format: what takes it to the present one.
    Older(String),
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
        (MARK, found, _) if found > 0 => {
            let older = usize::try_from(found).unwrap_or_default();
            Ok(Found::Older(STEPS.get(older..).unwrap_or_default().concat()))
        }
        _ => Err(foreign()),
    }
}

/// Makes the present format in an empty file, in one transaction.
pub(crate) fn create(link: &Link) -> Result<(), StoreError> {
    let steps = STEPS.concat();
    link.script(&format!(
        "BEGIN IMMEDIATE; {steps} PRAGMA application_id = {MARK}; PRAGMA user_version = {FORMAT}; COMMIT;"
    ))
}

/// Brings an older store to the present format, in one transaction: a crash leaves the one or the other.
pub(crate) fn migrate(link: &Link, steps: &str) -> Result<(), StoreError> {
    link.script(&format!("BEGIN IMMEDIATE; {steps} PRAGMA user_version = {FORMAT}; COMMIT;"))
}

/// Looks at the database before it is used: all of it up to `whole_bytes`, which takes a moment; of a larger one where the
/// log ends. The rest is for whoever reads it again while serving, and says so by `Store::condemn`.
pub(crate) fn check(link: &Link, whole_bytes: i64) -> Result<(), StoreError> {
    let bytes =
        link.one("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size", [], |row| {
            Ok(row.get::<_, i64>(0)?)
        })?;
    let whole = bytes.is_some_and(|bytes| bytes <= whole_bytes);
    if whole {
        let finding: Option<String> = link.one("PRAGMA quick_check(1)", [], |row| Ok(row.get(0)?))?;
        if finding.as_deref() != Some("ok") {
            return Err(StoreError::Damaged { finding: finding.unwrap_or("no answer".to_owned()) });
        }
    }
    let dense = link.one(if whole { DENSE } else { DENSE_AT_ITS_END }, [], |row| Ok(row.get(0)?))?;
    if dense == Some(true) {
        return Ok(());
    }
    Err(StoreError::Damaged { finding: "the log has a hole".to_owned() })
}

const DENSE: &str = "SELECT count(*) = coalesce(max(idx) + 1, 0) FROM leaf";
const DENSE_AT_ITS_END: &str = "SELECT count(*) = coalesce(max(idx) - min(idx) + 1, 0) \
     FROM (SELECT idx FROM leaf ORDER BY idx DESC LIMIT 1000)";

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a large store that is used although its log breaks off before its end.
    #[test]
    fn of_a_large_store_the_end_of_the_log_is_checked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.sqlite");
        std::fs::File::create(&path).unwrap();
        let link = Link::writer(&path).unwrap();
        create(&link).unwrap();
        check(&link, 0).unwrap();
        link.script(
            "WITH RECURSIVE n (i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n WHERE i < 1999)
             INSERT INTO leaf SELECT i, zeroblob(32), x'00' FROM n",
        )
        .unwrap();
        check(&link, 0).unwrap();
        link.script("DROP TRIGGER leaf_stays; DELETE FROM leaf WHERE idx = 1500").unwrap();
        for whole_bytes in [0, i64::MAX] {
            assert!(matches!(check(&link, whole_bytes), Err(StoreError::Damaged { .. })), "{whole_bytes}");
        }
    }
}
