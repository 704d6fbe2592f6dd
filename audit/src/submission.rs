//! What a log sends to a witness (c2sp.org/tlog-witness, `add-checkpoint`): the size the witness saw last, the consistency
//! proof from there, and the checkpoint. Written and read here, so that both sides mean the same.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::checkpoint::{decimal, hash};
use crate::merkle::Hash;

/// LIMIT: lines of the proof (c2sp.org/tlog-witness).
const PROOF_LINES: usize = 63;

/// The body of `add-checkpoint`. Nothing in it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// The size of the witness's latest checkpoint of this log.
    pub old: u64,
    /// The consistency proof from there (RFC 9162, 2.1.4).
    pub proof: Vec<Hash>,
    /// The signed note.
    pub note: String,
}

impl Submission {
    /// Takes a body apart; `None` where it has not the form.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        let (head, note) = std::str::from_utf8(body).ok()?.split_once("\n\n")?;
        let mut lines = head.split('\n');
        let old = lines.next()?.strip_prefix("old ").and_then(decimal)?;
        let proof = lines.map(hash).collect::<Option<Vec<_>>>()?;
        (proof.len() <= PROOF_LINES).then(|| Self { old, proof, note: note.to_owned() })
    }

    /// The origin its checkpoint claims.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.note.split('\n').next().unwrap_or_default()
    }
}

impl fmt::Display for Submission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old)?;
        for hash in &self.proof {
            writeln!(f, "{}", STANDARD.encode(hash))?;
        }
        write!(f, "\n{}", self.note)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_read_as_it_was_written_and_in_no_other_form() {
        // Of the form of the example in c2sp.org/tlog-witness.
        let hash = "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=";
        let body = format!("old 20852014\n{hash}\n{hash}\n\nexample.com/log\n20852163\n{hash}\n\n— x y\n");
        let read = Submission::parse(body.as_bytes()).unwrap();
        assert_eq!((read.old, read.proof.len(), read.origin()), (20_852_014, 2, "example.com/log"));
        assert_eq!(read.to_string(), body);
        assert!(
            Submission::parse(format!("old 0\n{}\nx\n", format!("{hash}\n").repeat(63)).as_bytes()).is_some()
        );
        for bad in [
            "old 01\n\nx\n".to_owned(),
            "old -1\n\nx\n".to_owned(),
            "0\n\nx\n".to_owned(),
            "old 0\nx\n".to_owned(),
            format!("old 0\n{hash}=\n\nx\n"),
            format!("old 0\n{}\nx\n", format!("{hash}\n").repeat(64)),
        ] {
            assert_eq!(Submission::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
