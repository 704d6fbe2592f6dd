//! What a failing disk means. After a failed fsync the kernel may have dropped the dirty pages and marked them clean,
//! so that a second fsync succeeds over lost data ("Can applications recover from fsync failures?", ATC 2020). The
//! process then ends; the next start reads from the disk what is really there. Wrong here: answers for lost rows.

use rusqlite::ffi;

/// Ends the process. It may only return in a test, and the writer then stops without another answer.
pub type Fatal = fn(reason: &str);

/// The default [`Fatal`]: says why, then aborts, so that nothing queued is answered on the way out.
pub fn abort(reason: &str) {
    tracing::error!(reason, "durability is unknown: the process ends");
    std::process::abort();
}

/// Where an error met the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Before COMMIT, or in a checkpoint: nothing that was answered hangs on it.
    Work,
    /// In COMMIT: the commit record may be on the disk or not.
    Commit,
}

/// What to do after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Roll back, answer the batch with an error, try again with the next one.
    RollBack,
    /// End the process.
    End,
}

/// The decision, by SQLite's extended result code.
pub(crate) fn verdict(phase: Phase, extended: i32) -> Verdict {
    let primary = extended & 0xff;
    let harmless = match phase {
        // A full disk stops COMMIT before its record is whole; the other two before anything is written. After any
        // other error the record may be whole and only the answer be missing.
        Phase::Commit => matches!(primary, ffi::SQLITE_FULL | ffi::SQLITE_BUSY | ffi::SQLITE_CONSTRAINT),
        // Errors of reading and locking lose nothing; every other I/O error counts as a write or an fsync.
        Phase::Work => {
            primary != ffi::SQLITE_IOERR
                || matches!(
                    extended,
                    ffi::SQLITE_IOERR_READ
                        | ffi::SQLITE_IOERR_SHORT_READ
                        | ffi::SQLITE_IOERR_FSTAT
                        | ffi::SQLITE_IOERR_ACCESS
                        | ffi::SQLITE_IOERR_LOCK
                        | ffi::SQLITE_IOERR_RDLOCK
                        | ffi::SQLITE_IOERR_UNLOCK
                        | ffi::SQLITE_IOERR_CHECKRESERVEDLOCK
                        | ffi::SQLITE_IOERR_NOMEM
                        | ffi::SQLITE_IOERR_SHMOPEN
                        | ffi::SQLITE_IOERR_SHMSIZE
                        | ffi::SQLITE_IOERR_SHMLOCK
                        | ffi::SQLITE_IOERR_SHMMAP
                )
        }
    };
    if harmless { Verdict::RollBack } else { Verdict::End }
}

/// The extended code of an error; errors of the binding itself, which never reached the disk, count as misuse.
pub(crate) fn extended(error: &rusqlite::Error) -> i32 {
    error.sqlite_error().map_or(ffi::SQLITE_MISUSE, |code| code.extended_code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_sync_or_write_ends_the_process_wherever_it_happens() {
        for code in [
            ffi::SQLITE_IOERR,
            ffi::SQLITE_IOERR_FSYNC,
            ffi::SQLITE_IOERR_DIR_FSYNC,
            ffi::SQLITE_IOERR_WRITE,
            ffi::SQLITE_IOERR_TRUNCATE,
            ffi::SQLITE_IOERR_CLOSE,
            ffi::SQLITE_IOERR_COMMIT_ATOMIC,
        ] {
            assert_eq!(verdict(Phase::Work, code), Verdict::End, "{code}");
            assert_eq!(verdict(Phase::Commit, code), Verdict::End, "{code}");
        }
    }

    #[test]
    fn a_full_disk_is_an_answer_not_an_end() {
        for phase in [Phase::Work, Phase::Commit] {
            assert_eq!(verdict(phase, ffi::SQLITE_FULL), Verdict::RollBack);
            assert_eq!(verdict(phase, ffi::SQLITE_BUSY), Verdict::RollBack);
            assert_eq!(verdict(phase, ffi::SQLITE_BUSY_SNAPSHOT), Verdict::RollBack);
        }
    }

    #[test]
    fn an_error_of_reading_ends_the_process_only_inside_commit() {
        for code in [ffi::SQLITE_IOERR_READ, ffi::SQLITE_IOERR_SHMMAP, ffi::SQLITE_NOMEM, ffi::SQLITE_CORRUPT]
        {
            assert_eq!(verdict(Phase::Work, code), Verdict::RollBack, "{code}");
            assert_eq!(verdict(Phase::Commit, code), Verdict::End, "{code}");
        }
    }
}
