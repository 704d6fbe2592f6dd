//! The seed of a cold wallet, on a machine apart: in its folder under a password (age, scrypt), and as SLIP-39 shares, each in an
//! age file that only its custodian opens. It is opened into secret memory for one command, and printed by none.
//! If this is wrong, whoever finds the folder has the coins, or nobody has them when the machine is gone.

use std::io::Write;
use std::path::Path as File;

use age::scrypt;
use age::secrecy::SecretString;
use chancery_audit::{Digest, V1, canonical};
use chancery_hd::slip39::{self, Plan};
use chancery_hd::{Curve, Extended, Key, Path, SEED_BYTES, scrub_stack};
use chancery_secret::{Pin, SecretBytes};
use serde::{Deserialize, Serialize};

use crate::console::Console;
use crate::error::CeremonyError;
use crate::script::Custodian;
use crate::share::{Came, Holder, Sealed, gather, put, recipient};
use crate::store;

/// The encrypted seed, in a cold wallet's folder.
pub const SEED: &str = "seed.age";
/// Who holds which share, in a backup's folder.
const SHARES: &str = "shares.json";

/// LIMIT: the encrypted seed, in bytes.
const FILE_BYTES: usize = 4_096;
/// What stands before the seed in its file.
const HEADING: &str = "chancery cold seed v1\n";
/// The password is stretched by scrypt with N = 2^this: 256 MiB, about a second.
const WORK: u8 = 18;
/// LIMIT: the most work that a file may ask for.
const MOST_WORK: u8 = 20;

/// An opened seed.
pub struct ColdSeed(SecretBytes);

/// Who holds which share of a seed. Public.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    v: V1,
    /// SHA-256 of the seed's root public key: tells which seed, and nothing of it.
    seed: Digest,
    threshold: u8,
    holders: Vec<Holder>,
}

impl ColdSeed {
    /// A fresh one.
    ///
    /// # Errors
    /// No secret memory, no randomness.
    pub fn make() -> Result<Self, CeremonyError> {
        Ok(Self(SecretBytes::random(SEED_BYTES)?))
    }

    /// Writes it to a folder under a password; a folder that has one keeps it.
    ///
    /// # Errors
    /// [`CeremonyError::Occupied`], [`CeremonyError::File`].
    pub fn keep(&self, folder: &File, password: &Pin) -> Result<(), CeremonyError> {
        let path = folder.join(SEED);
        if path.exists() {
            return Err(CeremonyError::Occupied(format!("`{}` is there", path.display())));
        }
        store::make_folder(folder)?;
        let sealed = self.sealed(password).map_err(CeremonyError::file(&path))?;
        store::write(&path, &sealed)
    }

    fn sealed(&self, password: &Pin) -> std::io::Result<Vec<u8>> {
        let mut to = scrypt::Recipient::new(spelled(password));
        to.set_work_factor(WORK);
        let encryptor =
            age::Encryptor::with_recipients(std::iter::once(&to as _)).map_err(std::io::Error::other)?;
        let mut sealed = Vec::new();
        let mut writer = encryptor.wrap_output(&mut sealed)?;
        writer.write_all(HEADING.as_bytes())?;
        writer.write_all(self.0.expose())?;
        writer.finish()?;
        Ok(sealed)
    }

    /// Opens the one in a folder.
    ///
    /// # Errors
    /// [`CeremonyError::Locked`], [`CeremonyError::File`].
    pub fn open(folder: &File, password: &Pin) -> Result<Self, CeremonyError> {
        let path = folder.join(SEED);
        let sealed = store::read(&path)?;
        let locked = || CeremonyError::Locked(path.clone());
        if sealed.len() > FILE_BYTES {
            return Err(locked());
        }
        let mut identity = scrypt::Identity::new(spelled(password));
        identity.set_max_work_factor(MOST_WORK);
        let decryptor = age::Decryptor::new(&sealed[..]).map_err(|_| locked())?;
        let reader = decryptor.decrypt(std::iter::once(&identity as _)).map_err(|_| locked())?;
        let plain = SecretBytes::read_to_end(reader, FILE_BYTES).map_err(|_| locked())?;
        let seed = plain.expose().strip_prefix(HEADING.as_bytes()).ok_or_else(locked)?;
        if seed.len() != SEED_BYTES {
            return Err(locked());
        }
        Ok(Self(SecretBytes::read_exact(seed, seed.len())?))
    }

    /// The root's public key, and what may be known of the account at `path`.
    ///
    /// # Errors
    /// [`CeremonyError::Seed`].
    pub fn account(&self, path: &Path) -> Result<([u8; 33], Extended), CeremonyError> {
        let root = self.root()?;
        let known = Key::extended(Curve::Secp256k1, &self.0, path);
        scrub_stack();
        Ok((root, known?))
    }

    fn root(&self) -> Result<[u8; 33], CeremonyError> {
        let root = Key::derive(Curve::Secp256k1, &self.0, &Path::default()).and_then(|key| key.public());
        scrub_stack();
        Ok(root?)
    }

    /// Signs a digest with the key at `path`, which must have this public key: ECDSA, RFC 6979, low-S, `r || s`.
    ///
    /// # Errors
    /// [`CeremonyError::Mismatch`] for another key, [`CeremonyError::Seed`].
    pub fn sign(&self, path: &Path, public: &[u8], digest: &[u8; 32]) -> Result<[u8; 64], CeremonyError> {
        let signed = (|| {
            let key = Key::derive(Curve::Secp256k1, &self.0, path)?;
            if key.public()? != *public {
                let detail = format!("the seed has another key at {path}");
                return Err(CeremonyError::Mismatch(detail));
            }
            Ok(key.sign(digest)?)
        })();
        scrub_stack();
        signed
    }

    /// Deals it to custodians, any `threshold` of whom give it back: writes each share to an age file in `folder`, and then the
    /// list.
    ///
    /// # Errors
    /// [`CeremonyError::Occupied`], [`CeremonyError::Seed`] for numbers that cannot be, [`CeremonyError::Script`] for a
    /// recipient that is none.
    pub fn back_up(
        &self,
        folder: &File,
        threshold: u8,
        custodians: &[Custodian],
    ) -> Result<(), CeremonyError> {
        let list = folder.join(SHARES);
        if list.exists() {
            return Err(CeremonyError::Occupied(format!("`{}` is there", list.display())));
        }
        let count = u8::try_from(custodians.len())
            .map_err(|_| CeremonyError::Sharing("too many custodians".to_owned()))?;
        if threshold < 2 {
            return Err(CeremonyError::Sharing("at least two custodians come together".to_owned()));
        }
        let mut names: Vec<_> = custodians.iter().map(|custodian| &custodian.name).collect();
        names.sort();
        names.dedup();
        if names.len() != custodians.len() || !names.iter().all(|name| plain(name)) {
            let detail = "custodians have names of their own, of a-z, 0-9, `-` and `_`";
            return Err(CeremonyError::Sharing(detail.to_owned()));
        }
        // Each is a recipient before anything is written.
        custodians
            .iter()
            .try_for_each(|custodian| recipient(&custodian.recipient).map(drop))
            .map_err(CeremonyError::Script)?;

        let none = SecretBytes::take(&mut [])?;
        let dealt = slip39::split(&self.0, &none, &Plan::any(threshold, count))?;
        let shares = dealt.into_iter().next().unwrap_or_default();
        // What was dealt is joined once before it is written: a backup that nobody can restore is none.
        let few = shares.iter().take(threshold.into()).map(copy).collect::<Result<Vec<_>, _>>()?;
        if slip39::combine(&few, &none)?.expose() != self.0.expose() {
            return Err(CeremonyError::Sharing("the shares do not join to the seed".to_owned()));
        }
        let seed = Digest::of(&self.root()?);
        store::make_folder(folder)?;
        let deal = |(custodian, share): (&Custodian, _)| {
            put(folder, custodian, &heading(&seed, &custodian.name), share)
        };
        let holders = custodians.iter().zip(&shares).map(deal).collect::<Result<_, _>>()?;
        store::write(&list, &List { v: V1, seed, threshold, holders }.bytes()?)
    }

    /// Joins the shares of a backup: asks its custodians for the identities that open them. Answers who came, too.
    ///
    /// # Errors
    /// [`CeremonyError::TooFew`] names who is missing and whose share is bad; [`CeremonyError::Mismatch`] where they join to
    /// another seed.
    pub fn restore(folder: &File, console: &mut Console) -> Result<(Self, Vec<String>), CeremonyError> {
        let list = List::read(folder)?;
        let share = |holder: &Holder, _, identity: &SecretBytes| {
            Sealed { folder, holder }.open(identity, &heading(&list.seed, &holder.name))
        };
        let Came { shares, came, .. } = gather(&list.holders, list.threshold.into(), console, share)?;
        let shares: Vec<_> = shares.into_iter().map(|(_, share)| share).collect();
        let seed = Self(slip39::combine(&shares, &SecretBytes::take(&mut [])?)?);
        if Digest::of(&seed.root()?) != list.seed {
            return Err(CeremonyError::Mismatch(
                "the shares are of another seed than the list names".to_owned(),
            ));
        }
        Ok((seed, came))
    }
}

impl List {
    fn read(folder: &File) -> Result<Self, CeremonyError> {
        let path = folder.join(SHARES);
        let bytes = store::read(&path)?;
        let wrong = |what: String| CeremonyError::Content { path: path.clone(), what };
        let list: Self = serde_json::from_slice(&bytes)
            .map_err(|error| wrong(format!("is no list of shares: {error}")))?;
        let names = list.holders.iter().all(|holder| plain(&holder.name));
        let sound = names && (2..=list.holders.len()).contains(&list.threshold.into());
        if sound && list.bytes()? == bytes { Ok(list) } else { Err(wrong("is no list of shares".to_owned())) }
    }

    fn bytes(&self) -> Result<Vec<u8>, CeremonyError> {
        let failed = |error: &dyn std::fmt::Display| CeremonyError::Sharing(error.to_string());
        let value = serde_json::to_value(self).map_err(|error| failed(&error))?;
        canonical(&value).map_err(|error| failed(&error))
    }
}

/// Whether a name can be a file's.
fn plain(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    (1..=64).contains(&name.len()) && name.bytes().all(good)
}

/// What stands before a share in its file, so that none is taken for one of another seed or holder.
fn heading(seed: &Digest, name: &str) -> String {
    format!("chancery cold share v1\n{seed}\n{name}\n")
}

fn copy(secret: &SecretBytes) -> Result<SecretBytes, CeremonyError> {
    Ok(SecretBytes::read_exact(secret.expose(), secret.len())?)
}

/// The password as age takes it, which wipes it; a [`Pin`] is UTF-8.
fn spelled(password: &Pin) -> SecretString {
    SecretString::from(String::from_utf8_lossy(password.expose()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Pin {
        Pin::new(SecretBytes::take(&mut text.as_bytes().to_vec()).unwrap()).unwrap()
    }

    /// Would catch a seed that opens by any password, or that another one replaces.
    #[test]
    fn a_seed_opens_by_its_password_and_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let seed = ColdSeed::make().unwrap();
        seed.keep(folder.path(), &password("correct horse")).unwrap();
        let opened = ColdSeed::open(folder.path(), &password("correct horse")).unwrap();
        assert_eq!(opened.0.expose(), seed.0.expose());
        let wrong = ColdSeed::open(folder.path(), &password("correct  horse"));
        assert!(matches!(wrong, Err(CeremonyError::Locked(_))));
        let again = ColdSeed::make().unwrap().keep(folder.path(), &password("correct horse"));
        assert!(matches!(again, Err(CeremonyError::Occupied(_))));
        let path = folder.path().join(SEED);
        let whole = std::fs::read(&path).unwrap();
        assert!(!whole.windows(SEED_BYTES).any(|window| window == seed.0.expose()));
        let mut changed = whole;
        *changed.last_mut().unwrap() ^= 1;
        std::fs::write(&path, &changed).unwrap();
        assert!(ColdSeed::open(folder.path(), &password("correct horse")).is_err());
    }

    /// Would catch a signature by another key than the one that was asked for.
    #[test]
    fn it_signs_with_the_key_that_was_named() {
        let seed = ColdSeed::make().unwrap();
        let path: Path = "m/84'/0'/0'/0/5".parse().unwrap();
        let (_, known) = seed.account(&path).unwrap();
        seed.sign(&path, &known.public, &[7; 32]).unwrap();
        let next: Path = "m/84'/0'/0'/0/6".parse().unwrap();
        assert!(matches!(seed.sign(&next, &known.public, &[7; 32]), Err(CeremonyError::Mismatch(_))));
    }

    #[test]
    fn a_backup_has_custodians_of_their_own_and_more_than_one() {
        let folder = tempfile::tempdir().unwrap();
        let seed = ColdSeed::make().unwrap();
        let somebody = |name: &str| Custodian { name: name.to_owned(), recipient: crate::fresh_identity().1 };
        for (threshold, custodians) in [
            (1, vec![somebody("anna"), somebody("bo")]),
            (3, vec![somebody("anna"), somebody("bo")]),
            (2, vec![somebody("anna"), somebody("anna")]),
            (2, vec![somebody("anna"), somebody("../bo")]),
        ] {
            assert!(seed.back_up(folder.path(), threshold, &custodians).is_err(), "{threshold}");
            assert!(!folder.path().join(SHARES).exists());
        }
    }
}
