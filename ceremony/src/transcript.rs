//! The transcript: a file of COSE_Sign messages (RFC 9052), one after the other (RFC 8742), each naming the one before it by
//! its hash, and each signed by everybody whom the script lists. Written and synced before the ceremony goes on; a last
//! entry that a crash cut short is dropped. If this is wrong, what happened can be told differently afterwards.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use chancery_audit::{Digest, V1, VerifierKey, canonical};
use chancery_core::UnixMillis;
use coset::cbor::Value as Cbor;
use coset::iana::Algorithm;
use coset::{CoseSign, CoseSignBuilder, CoseSignatureBuilder, HeaderBuilder, TaggedCborSerializable};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::CeremonyError;
use crate::kind::Act;
use crate::script::Script;

/// LIMIT: a transcript, in bytes.
const TRANSCRIPT_BYTES: u64 = 4 * 1024 * 1024;
/// LIMIT: entries.
const ENTRIES: usize = 1_000;
/// What a payload is.
const CONTENT_TYPE: &str = "application/chancery-ceremony+json";

/// A private key that signs for its owner.
pub trait Hand {
    /// Whose.
    fn key(&self) -> &VerifierKey;
    /// Signs with Ed25519 (RFC 8032).
    fn sign(&self, message: &[u8]) -> Vec<u8>;
}

/// What an entry tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// Everybody is here and agrees with the script.
    Agreed,
    /// A step begins; twice where it was interrupted.
    Begun,
    /// A step is done, and everybody agrees with what was seen.
    Done,
    /// The ceremony is over.
    Closed,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The format: 1.
    pub v: V1,
    /// The script.
    pub script: Digest,
    /// Its number, from 0.
    pub n: u64,
    /// SHA-256 of the entry before it, as it stands in the file.
    pub previous: Option<Digest>,
    /// When, in milliseconds since 1970, by the clock of the machine.
    pub time_ms: UnixMillis,
    /// What it tells.
    pub event: Event,
    /// Which step, from 0.
    pub step: Option<usize>,
    /// Its act.
    pub act: Option<Act>,
    /// What was seen.
    pub facts: Value,
}

/// Where a ceremony stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stand {
    /// Nothing was written.
    Fresh,
    /// This step is next.
    Next(usize),
    /// This step was begun, and its end is not written.
    Within(usize),
    /// It is over.
    Closed,
}

/// A transcript that verifies.
pub struct Transcript {
    keys: Vec<VerifierKey>,
    script: Digest,
    acts: Vec<Act>,
    entries: Vec<Entry>,
    last: Option<Digest>,
    file: Option<(PathBuf, File)>,
}

fn bad<T>(what: impl Into<String>) -> Result<T, CeremonyError> {
    Err(CeremonyError::Transcript(what.into()))
}

impl Transcript {
    /// Reads and verifies a transcript, whole.
    ///
    /// # Errors
    /// [`CeremonyError::Transcript`] with the first thing that does not hold.
    pub fn read(script: &Script, bytes: &[u8]) -> Result<Self, CeremonyError> {
        let mut transcript = Self::of(script)?;
        let whole = transcript.take(bytes)?;
        if whole == bytes.len() { Ok(transcript) } else { bad("its last entry is cut short") }
    }

    /// Opens the transcript of a ceremony for more entries, and drops a last entry that a crash cut short.
    pub(crate) fn open(script: &Script, path: &Path) -> Result<Self, CeremonyError> {
        let mut transcript = Self::of(script)?;
        let failed = |error| CeremonyError::file(path)(error);
        let mut options = File::options();
        let file = options.create(true).append(true).read(true).mode(0o644).open(path).map_err(failed)?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| failed(error.into()))?;
        if file.metadata().map_err(failed)?.len() > TRANSCRIPT_BYTES {
            return bad(format!("it is longer than {TRANSCRIPT_BYTES} bytes"));
        }
        let bytes = std::fs::read(path).map_err(failed)?;
        let whole = transcript.take(&bytes)?;
        if whole < bytes.len() {
            // ORDER: nothing that this entry tells was acted upon, because nobody goes on before it is synced.
            file.set_len(whole as u64).map_err(failed)?;
            file.sync_all().map_err(failed)?;
        }
        crate::store::sync_folder(path)?;
        transcript.file = Some((path.to_owned(), file));
        Ok(transcript)
    }

    fn of(script: &Script) -> Result<Self, CeremonyError> {
        Ok(Self {
            keys: script.signer_keys()?,
            script: script.hash()?,
            acts: script.steps.clone(),
            entries: Vec::new(),
            last: None,
            file: None,
        })
    }

    /// The entries.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The hash of the last entry, which by its chain stands for all.
    #[must_use]
    pub fn head(&self) -> Option<Digest> {
        self.last
    }

    /// What the step's last end tells.
    #[must_use]
    pub fn facts(&self, act: Act) -> Option<&Value> {
        let done = |entry: &&Entry| entry.event == Event::Done && entry.act == Some(act);
        self.entries.iter().rev().find(done).map(|entry| &entry.facts)
    }

    pub(crate) fn stand(&self) -> Stand {
        let Some(last) = self.entries.last() else { return Stand::Fresh };
        match (last.event, last.step) {
            (Event::Closed, _) => Stand::Closed,
            (Event::Begun, Some(step)) => Stand::Within(step),
            (Event::Done, Some(step)) => Stand::Next(step + 1),
            _ => Stand::Next(0),
        }
    }

    /// Adds an entry that everybody signs, and syncs it.
    pub(crate) fn append(
        &mut self,
        hands: &[Box<dyn Hand>],
        time_ms: UnixMillis,
        event: Event,
        step: Option<usize>,
        facts: Value,
    ) -> Result<(), CeremonyError> {
        let entry = Entry {
            v: V1,
            script: self.script,
            n: self.entries.len() as u64,
            previous: self.last,
            time_ms,
            event,
            step,
            act: step.and_then(|step| self.acts.get(step).copied()),
            facts,
        };
        let value =
            serde_json::to_value(&entry).map_err(|error| CeremonyError::Transcript(error.to_string()))?;
        let payload = canonical(&value).map_err(|error| CeremonyError::Transcript(error.to_string()))?;
        let protected = HeaderBuilder::new().content_type(CONTENT_TYPE.to_owned()).build();
        let mut sign = CoseSignBuilder::new().protected(protected).payload(payload);
        for key in &self.keys {
            let hand = hands.iter().find(|hand| hand.key() == key);
            let hand = hand.ok_or_else(|| CeremonyError::Absent(key.name().to_owned()))?;
            let header =
                HeaderBuilder::new().algorithm(Algorithm::EdDSA).key_id(key.to_string().into_bytes());
            let signature = CoseSignatureBuilder::new().protected(header.build()).build();
            sign = sign.add_created_signature(signature, &[], |message| hand.sign(message));
        }
        let bytes = sign
            .build()
            .to_tagged_vec()
            .map_err(|error| CeremonyError::Transcript(format!("it does not encode: {error}")))?;
        // What would be refused when it is read is not written.
        self.accept(&bytes)?;
        let Some((path, file)) = &mut self.file else { return bad("it is not open for writing") };
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(CeremonyError::file(path))
    }

    /// Takes whole entries off `bytes` and answers how many bytes they are.
    fn take(&mut self, bytes: &[u8]) -> Result<usize, CeremonyError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let before = rest;
            let parsed: Result<Cbor, _> = coset::cbor::from_reader(&mut rest);
            match parsed {
                Ok(_) => {}
                Err(coset::cbor::de::Error::Io(_)) => return Ok(bytes.len() - before.len()),
                Err(error) => return bad(format!("entry {}: {error}", self.entries.len())),
            }
            let entry = before.get(..before.len() - rest.len()).unwrap_or_default();
            self.accept(entry)?;
        }
        Ok(bytes.len())
    }

    /// Verifies one entry and takes it in.
    fn accept(&mut self, bytes: &[u8]) -> Result<(), CeremonyError> {
        let n = self.entries.len();
        let wrong = |what: &str| CeremonyError::Transcript(format!("entry {n}: {what}"));
        if n >= ENTRIES {
            return Err(wrong("there are too many"));
        }
        let sign = CoseSign::from_tagged_slice(bytes).map_err(|_| wrong("it is no COSE_Sign"))?;
        if sign.clone().to_tagged_vec().map_err(|_| wrong("it does not encode"))? != bytes {
            return Err(wrong("it is not in its one form"));
        }
        let payload = sign.payload.as_deref().ok_or_else(|| wrong("it has no payload"))?;
        if sign.signatures.len() != self.keys.len() {
            return Err(wrong("not everybody has signed"));
        }
        for (signature, key) in sign.signatures.iter().zip(&self.keys) {
            if signature.protected.header.key_id != key.to_string().into_bytes() {
                return Err(wrong(&format!("`{}` has not signed", key.name())));
            }
            if !key.verifies(&sign.tbs_data(&[], signature), &signature.signature) {
                return Err(wrong(&format!("the signature of `{}` does not verify", key.name())));
            }
        }
        let entry: Entry =
            serde_json::from_slice(payload).map_err(|_| wrong("its payload does not parse"))?;
        let value = serde_json::to_value(&entry).map_err(|_| wrong("its payload does not encode"))?;
        if canonical(&value).map_err(|_| wrong("its payload does not encode"))? != payload {
            return Err(wrong("its payload is not in canonical form"));
        }
        if entry.script != self.script {
            return Err(wrong("it is of another script"));
        }
        if entry.n != n as u64 || entry.previous != self.last {
            return Err(wrong("it does not follow the one before it"));
        }
        if self.entries.last().is_some_and(|last| last.time_ms > entry.time_ms) {
            return Err(wrong("it is older than the one before it"));
        }
        let follows = match (self.stand(), entry.event, entry.step) {
            (Stand::Fresh, Event::Agreed, None) => true,
            (Stand::Next(next), Event::Begun, Some(step)) => next == step && step < self.acts.len(),
            (Stand::Within(now), Event::Begun | Event::Done, Some(step)) => now == step,
            (Stand::Next(next), Event::Closed, None) => next == self.acts.len(),
            _ => false,
        };
        if !follows || entry.act != entry.step.and_then(|step| self.acts.get(step).copied()) {
            return Err(wrong("it tells what the script does not"));
        }
        self.last = Some(Digest::of(bytes));
        self.entries.push(entry);
        Ok(())
    }
}
