//! Shares of the backup key: the public list of who holds which, and each share in an age file (age-encryption.org/v1) that
//! only its holder opens. A share is checked against the list before it counts, and a bad one names its holder.
//! If this is wrong, a share is readable by others, or a restore fails and nobody knows whose share was at fault.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use age::secrecy::ExposeSecret as _;
use age::x25519::{Identity, Recipient};
use chancery_audit::{Digest, HexBytes, V1, canonical};
use chancery_core::KeyId;
use chancery_secret::SecretBytes;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::console::{Console, IDENTITY_BYTES};
use crate::error::CeremonyError;
use crate::script::Custodian;
use crate::{store, vss};

/// LIMIT: an age file with a share, in bytes.
const FILE_BYTES: usize = 4_096;
const FOLDER: &str = "shares";

/// Who holds which share. Public.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shares {
    /// The format: 1.
    pub v: V1,
    /// The ceremony that dealt them.
    pub ceremony: KeyId,
    /// The backup key that they join to.
    pub backup_key: KeyId,
    /// How many join.
    pub threshold: usize,
    /// Feldman's commitments on P-256, compressed; the first is the same for every deal of one backup key.
    pub commitments: Vec<HexBytes>,
    /// Who has them, in the order of their numbers from 1.
    pub holders: Vec<Holder>,
}

/// Who holds one share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    /// Who.
    pub name: String,
    /// The age recipient.
    pub recipient: String,
    /// SHA-256 of the age file.
    pub file: Digest,
}

/// A fresh age identity as a line of text, and its recipient.
#[must_use]
pub fn fresh_identity() -> (Zeroizing<String>, String) {
    let identity = Identity::generate();
    let line = format!("{}\n", identity.to_string().expose_secret());
    (Zeroizing::new(line), identity.to_public().to_string())
}

/// The age recipient that a text names.
pub(crate) fn recipient(text: &str) -> Result<Recipient, String> {
    Recipient::from_str(text).map_err(|what| format!("a recipient that is none of age's (X25519): {what}"))
}

fn path(folder: &Path, name: &str) -> PathBuf {
    folder.join(FOLDER).join(format!("{name}.age"))
}

/// What stands before the share in its file, so that no share is taken for one of another deal or holder.
fn heading(ceremony: KeyId, name: &str, index: u8) -> String {
    format!("chancery share v1\n{ceremony}\n{name}\n{index}\n")
}

impl Shares {
    /// Deals a secret: writes each share to an age file, and then the list.
    pub(crate) fn deal(
        folder: &Path,
        ceremony: KeyId,
        backup_key: KeyId,
        secret: &SecretBytes,
        threshold: usize,
        custodians: &[Custodian],
    ) -> Result<Self, CeremonyError> {
        let dealt = vss::deal(secret, threshold, custodians.len())?;
        let mut holders = Vec::new();
        for ((custodian, share), index) in custodians.iter().zip(&dealt.shares).zip(1_u8..) {
            holders.push(put(folder, custodian, &heading(ceremony, &custodian.name, index), share)?);
        }
        let commitments = dealt.commitments.into_iter().map(HexBytes::from).collect();
        let list = Self { v: V1, ceremony, backup_key, threshold, commitments, holders };
        store::write(&folder.join(store::SHARES), &list.bytes()?)?;
        Ok(list)
    }

    /// Reads the list of a folder.
    ///
    /// # Errors
    /// [`CeremonyError::Content`] for what is none.
    pub fn read(folder: &Path) -> Result<Self, CeremonyError> {
        let path = folder.join(store::SHARES);
        let bytes = store::read(&path)?;
        let list: Self = serde_json::from_slice(&bytes).map_err(|error| CeremonyError::Content {
            path: path.clone(),
            what: format!("is no list of shares: {error}"),
        })?;
        let count = list.holders.len();
        let sound = list.bytes()? == bytes
            && (2..=count).contains(&list.threshold)
            && list.commitments.len() == list.threshold
            && u8::try_from(count).is_ok();
        if sound {
            Ok(list)
        } else {
            Err(CeremonyError::Content { path, what: "is no list of shares".to_owned() })
        }
    }

    /// The list's hash.
    ///
    /// # Errors
    /// [`CeremonyError::Sharing`] where it does not encode.
    pub fn hash(&self) -> Result<Digest, CeremonyError> {
        Ok(Digest::of(&self.bytes()?))
    }

    fn bytes(&self) -> Result<Vec<u8>, CeremonyError> {
        let failed = |error: &dyn std::fmt::Display| CeremonyError::Sharing(error.to_string());
        let value = serde_json::to_value(self).map_err(|error| failed(&error))?;
        canonical(&value).map_err(|error| failed(&error))
    }

    fn points(&self) -> Vec<Vec<u8>> {
        self.commitments.iter().map(|point| point.as_bytes().to_vec()).collect()
    }

    /// Joins as many shares as are needed. Answers the secret, who came, and who brought a share that is not what was dealt.
    pub(crate) fn gather(&self, folder: &Path, console: &mut Console) -> Result<Gathered, CeremonyError> {
        let share =
            |holder: &Holder, index, identity: &SecretBytes| self.share(folder, holder, index, identity);
        let Came { shares, came, bad } = gather(&self.holders, self.threshold, console, share)?;
        Ok(Gathered { secret: vss::join(&self.points(), &shares)?, came, bad })
    }

    /// One share, opened and checked.
    fn share(
        &self,
        folder: &Path,
        holder: &Holder,
        index: u8,
        identity: &SecretBytes,
    ) -> Result<SecretBytes, String> {
        let heading = heading(self.ceremony, &holder.name, index);
        let share = Sealed { folder, holder }.open(identity, &heading)?;
        if share.len() == vss::SCALAR_BYTES && vss::fits(&self.points(), index, share.expose()) {
            return Ok(share);
        }
        Err("it does not fit the commitments of its deal".to_owned())
    }
}

/// Joined shares.
pub(crate) struct Gathered {
    pub secret: SecretBytes,
    pub came: Vec<String>,
    pub bad: Vec<String>,
}

/// Shares that were brought, with their numbers.
pub(crate) struct Came {
    pub shares: Vec<(u8, SecretBytes)>,
    pub came: Vec<String>,
    pub bad: Vec<String>,
}

/// Asks one holder after the other for the identity that opens their share, until there are enough.
pub(crate) fn gather(
    holders: &[Holder],
    threshold: usize,
    console: &mut Console,
    open: impl Fn(&Holder, u8, &SecretBytes) -> Result<SecretBytes, String>,
) -> Result<Came, CeremonyError> {
    console.say(&format!(
        "{threshold} of {} shares are needed. Whoever is not here answers with an empty line.",
        holders.len()
    ))?;
    let (mut shares, mut came, mut bad) = (Vec::new(), Vec::new(), Vec::new());
    for (holder, index) in holders.iter().zip(1_u8..) {
        if shares.len() == threshold {
            break;
        }
        let asked = format!("{}: your age identity (it is not shown)", holder.name);
        let identity = console.secret(&asked, IDENTITY_BYTES)?;
        if identity.is_empty() {
            continue;
        }
        match open(holder, index, &identity) {
            Ok(share) => {
                console.say(&format!("the share of `{}` is good", holder.name))?;
                came.push(holder.name.clone());
                shares.push((index, share));
            }
            Err(what) => {
                console.say(&format!("the share of `{}` is bad: {what}", holder.name))?;
                bad.push(holder.name.clone());
            }
        }
    }
    if shares.len() == threshold {
        return Ok(Came { shares, came, bad });
    }
    let absent = holders.iter().map(|holder| &holder.name);
    let absent: Vec<_> = absent.filter(|name| !came.contains(name) && !bad.contains(name)).cloned().collect();
    let told =
        |what: &str, names: &[String]| (!names.is_empty()).then(|| format!("{what} {}", names.join(", ")));
    let missing: Vec<_> = [told("absent", &absent), told("bad", &bad)].into_iter().flatten().collect();
    Err(CeremonyError::TooFew { have: shares.len(), need: threshold, missing: missing.join("; ") })
}

/// Writes a share to the age file of its holder.
pub(crate) fn put(
    folder: &Path,
    custodian: &Custodian,
    heading: &str,
    share: &SecretBytes,
) -> Result<Holder, CeremonyError> {
    let Custodian { name, recipient: text } = custodian.clone();
    let to = recipient(&text).map_err(CeremonyError::Script)?;
    let sealed = seal(&to, heading, share).map_err(|error| CeremonyError::Sharing(error.to_string()))?;
    store::make_folder(&folder.join(FOLDER))?;
    store::write(&path(folder, &name), &sealed)?;
    Ok(Holder { name, recipient: text, file: Digest::of(&sealed) })
}

/// Checks that each share's file is the one that was written.
pub(crate) fn files(holders: &[Holder], folder: &Path) -> Result<(), CeremonyError> {
    for holder in holders {
        let path = path(folder, &holder.name);
        if Digest::of(&store::read(&path)?) != holder.file {
            let what = format!("is not the share that `{}` was dealt", holder.name);
            return Err(CeremonyError::Content { path, what });
        }
    }
    Ok(())
}

/// The file of a holder's share.
pub(crate) struct Sealed<'a> {
    pub folder: &'a Path,
    pub holder: &'a Holder,
}

impl Sealed<'_> {
    /// What is behind the heading, where the file is the one that was written and the identity its holder's.
    pub fn open(&self, identity: &SecretBytes, heading: &str) -> Result<SecretBytes, String> {
        let Self { folder, holder } = self;
        let sealed = store::read(&path(folder, &holder.name)).map_err(|error| error.to_string())?;
        let text = std::str::from_utf8(identity.expose()).map_err(|_| "that is no age identity")?;
        let identity = Identity::from_str(text.trim()).map_err(|_| "that is no age identity")?;
        if identity.to_public().to_string() != holder.recipient {
            return Err("that is not the identity it was encrypted to".to_owned());
        }
        if sealed.len() > FILE_BYTES || Digest::of(&sealed) != holder.file {
            return Err("its file is not the one that was written".to_owned());
        }
        open(&identity, heading, &sealed)
    }
}

fn seal(to: &Recipient, heading: &str, share: &SecretBytes) -> std::io::Result<Vec<u8>> {
    let mut sealed = Vec::new();
    let encryptor =
        age::Encryptor::with_recipients(std::iter::once(to as _)).map_err(std::io::Error::other)?;
    let mut writer = encryptor.wrap_output(&mut sealed)?;
    writer.write_all(heading.as_bytes())?;
    writer.write_all(share.expose())?;
    writer.finish()?;
    Ok(sealed)
}

fn open(identity: &Identity, heading: &str, sealed: &[u8]) -> Result<SecretBytes, String> {
    let closed = "its file does not open";
    let decryptor = age::Decryptor::new(sealed).map_err(|_| closed)?;
    let reader = decryptor.decrypt(std::iter::once(identity as _)).map_err(|_| closed)?;
    let plain = SecretBytes::read_to_end(reader, FILE_BYTES).map_err(|_| closed)?;
    let share =
        plain.expose().strip_prefix(heading.as_bytes()).ok_or("it is a share of another holder or deal")?;
    SecretBytes::read_exact(share, share.len()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dealt(folder: &Path) -> (Shares, Vec<Identity>, SecretBytes) {
        let identities: Vec<_> = (0..3).map(|_| Identity::generate()).collect();
        let custodians: Vec<_> = identities
            .iter()
            .zip(["anna", "bo", "cy"])
            .map(|(identity, name)| Custodian {
                name: name.to_owned(),
                recipient: identity.to_public().to_string(),
            })
            .collect();
        let secret = vss::fresh().unwrap();
        let ids = (KeyId::fresh(), KeyId::fresh());
        let shares = Shares::deal(folder, ids.0, ids.1, &secret, 2, &custodians).unwrap();
        (shares, identities, secret)
    }

    fn told(identity: &Identity) -> SecretBytes {
        let mut text = identity.to_string().expose_secret().to_owned().into_bytes();
        SecretBytes::take(&mut text).unwrap()
    }

    /// Would catch a share that counts although it was swapped, changed, or brought by somebody else.
    #[test]
    fn a_share_is_its_holders_and_whole_or_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let (mut shares, identities, _) = dealt(folder.path());
        assert_eq!(Shares::read(folder.path()).unwrap(), shares);
        let ask = |shares: &Shares, at: usize, identity: &Identity| {
            let index = u8::try_from(at + 1).unwrap();
            shares.share(folder.path(), &shares.holders[at], index, &told(identity))
        };
        for (at, identity) in identities.iter().enumerate() {
            ask(&shares, at, identity).unwrap();
        }
        assert_eq!(
            ask(&shares, 0, &identities[1]).unwrap_err(),
            "that is not the identity it was encrypted to"
        );

        let bo = path(folder.path(), "bo");
        let whole = std::fs::read(&bo).unwrap();
        let mut changed = whole.clone();
        *changed.last_mut().unwrap() ^= 1;
        std::fs::write(&bo, &changed).unwrap();
        assert_eq!(ask(&shares, 1, &identities[1]).unwrap_err(), "its file is not the one that was written");
        shares.holders[1].file = Digest::of(&changed);
        assert_eq!(ask(&shares, 1, &identities[1]).unwrap_err(), "its file does not open");

        // Well sealed, and another number than was dealt: what a dealer's slip or a custodian's trick would give.
        let other = vss::fresh().unwrap();
        for (heading, what) in [
            (heading(shares.ceremony, "bo", 2), "it does not fit the commitments of its deal"),
            (heading(shares.ceremony, "cy", 3), "it is a share of another holder or deal"),
            (heading(KeyId::fresh(), "bo", 2), "it is a share of another holder or deal"),
        ] {
            let sealed = seal(&identities[1].to_public(), &heading, &other).unwrap();
            std::fs::write(&bo, &sealed).unwrap();
            shares.holders[1].file = Digest::of(&sealed);
            assert_eq!(ask(&shares, 1, &identities[1]).unwrap_err(), what);
        }
    }
}
