//! The vendor's module and one token's slot. One context for each process: two of them crash modules
//! (rust-cryptoki #260). Trusts the module with the PIN and nothing else.

use std::path::Path;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use chancery_secret::Pin;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::MechanismType;
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot as SlotId, TokenInfo};
use cryptoki::types::{AuthPin, RawAuthPin};

use super::catalogue::Catalogue;
use crate::wire::{Class, Fault, Token};

/// LIMIT: a token's label, in bytes (`CK_TOKEN_INFO.label`).
const LABEL_BYTES: usize = 32;

/// The initialised module.
pub(crate) struct Module {
    pkcs11: Pkcs11,
}

/// One token of the module.
pub(crate) struct Slot {
    pkcs11: Pkcs11,
    id: SlotId,
    token: Token,
    keys: Catalogue,
    /// Held shared by whoever uses objects, exclusively by whoever makes or destroys them: SoftHSM2 is known to crash when
    /// objects come and go under other threads (SoftHSMv2 #688). Not seen here in 4,000 keys without it, and kept: its
    /// price does not show in the rate of signing, and other modules are less well tried.
    objects: RwLock<()>,
}

impl Module {
    /// Loads the shared object and initialises it for use by many threads.
    pub(crate) fn load(path: &Path, init_argument: Option<&str>) -> Result<Self, Fault> {
        let pkcs11 = Pkcs11::new(path)?;
        let flags = CInitializeFlags::OS_LOCKING_OK;
        match init_argument {
            None => pkcs11.initialize(CInitializeArgs::new(flags))?,
            Some(text) => initialize_with(&pkcs11, flags, text)?,
        }
        Ok(Self { pkcs11 })
    }

    /// The slot of the one token with this label, and with this serial number where one is given.
    pub(crate) fn open(&self, label: &str, serial: Option<&str>) -> Result<Slot, Fault> {
        let mut found = Vec::new();
        for id in self.pkcs11.get_slots_with_token()? {
            let info = self.pkcs11.get_token_info(id)?;
            if info.label() == label {
                found.push((id, self.describe(&info)?, info));
            }
        }
        let others = found.len();
        found.retain(|(_, token, _)| serial.is_none_or(|serial| token.serial == serial));
        if found.len() > 1 {
            let what = format!("{} tokens are labelled `{label}`", found.len());
            return Err(Fault::new(Class::Refused, what));
        }
        let Some((id, token, info)) = found.pop() else {
            let what = match serial {
                Some(serial) if others > 0 => {
                    format!("token `{label}` is not the one with serial number `{serial}` that served before")
                }
                _ => format!("no token is labelled `{label}`"),
            };
            return Err(Fault::new(Class::Reinitialise, what));
        };
        if info.user_pin_locked() {
            return Err(Fault::new(Class::Fatal, "the token's user PIN is locked"));
        }
        if info.user_pin_final_try() {
            return Err(Fault::new(
                Class::Fatal,
                "the token's user PIN has one try left, which is left to an operator",
            ));
        }
        Ok(Slot {
            pkcs11: self.pkcs11.clone(),
            id,
            token,
            objects: RwLock::new(()),
            keys: Catalogue::default(),
        })
    }

    /// Makes a token with both PINs; see [`crate::init_token`].
    pub(crate) fn init_token(&self, label: &str, so_pin: &Pin, pin: &Pin) -> Result<Token, Fault> {
        if label.is_empty() || label.len() > LABEL_BYTES {
            return Err(Fault::new(Class::Refused, "a token's label is 1 to 32 bytes long"));
        }
        let mut free = None;
        let mut unfinished = None;
        for id in self.pkcs11.get_slots_with_token()? {
            let info = self.pkcs11.get_token_info(id)?;
            match (info.token_initialized() && info.label() == label, info.user_pin_initialized()) {
                (true, true) => {
                    return Err(Fault::new(Class::Refused, format!("a token is labelled `{label}` already")));
                }
                (true, false) => unfinished = Some(id),
                (false, _) if !info.token_initialized() => free = free.or(Some(id)),
                (false, _) => {}
            }
        }
        let so = auth(so_pin)?;
        let id = match (unfinished, free) {
            (Some(id), _) => id,
            (None, Some(id)) => {
                self.pkcs11.init_token(id, &so, label)?;
                // A module may give the new token another slot, as SoftHSM2 does.
                self.slot_of(label)?
            }
            (None, None) => {
                return Err(Fault::new(Class::Refused, "no slot holds a token that is not initialised"));
            }
        };
        let session = self.pkcs11.open_rw_session(id)?;
        // NSS softokn has no security officer's PIN until a user's is set, and takes none.
        if let Err(error) = session.login(UserType::So, Some(&so)) {
            session.login(UserType::So, Some(&AuthPin::from(String::new()))).map_err(|_| error)?;
        }
        session.init_pin(&auth(pin)?)?;
        session.logout()?;
        self.describe(&self.pkcs11.get_token_info(id)?)
    }

    fn slot_of(&self, label: &str) -> Result<SlotId, Fault> {
        for id in self.pkcs11.get_slots_with_token()? {
            if self.pkcs11.get_token_info(id)?.label() == label {
                return Ok(id);
            }
        }
        Err(Fault::new(Class::Refused, format!("the new token `{label}` does not show")))
    }

    fn describe(&self, info: &TokenInfo) -> Result<Token, Fault> {
        let library = self.pkcs11.get_library_info()?;
        Ok(Token {
            label: info.label().to_owned(),
            serial: info.serial_number().to_owned(),
            manufacturer: info.manufacturer_id().to_owned(),
            model: info.model().to_owned(),
            firmware: info.firmware_version().to_string(),
            library: format!("{} {}", library.library_description(), library.library_version()),
        })
    }
}

impl Slot {
    /// Opens the first session and logs in. The login holds for every session of this process.
    pub(crate) fn login(&self, pin: &Pin) -> Result<Session, Fault> {
        let session = self.session()?;
        self.enter(&session, UserType::User, pin)?;
        Ok(session)
    }

    /// Logs in on a session, as the user or as the security officer.
    pub(super) fn enter(&self, session: &Session, who: UserType, pin: &Pin) -> Result<(), Fault> {
        Ok(session.login_with_raw(who, &RawAuthPin::new(Box::new(pin.expose().to_vec())))?)
    }

    /// Opens a session.
    pub(crate) fn session(&self) -> Result<Session, Fault> {
        Ok(self.pkcs11.open_rw_session(self.id)?)
    }

    pub(crate) fn token(&self) -> &Token {
        &self.token
    }

    /// Sees that the slot still holds the token it was opened for.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        let info = self.pkcs11.get_token_info(self.id)?;
        if info.label() == self.token.label && info.serial_number() == self.token.serial {
            return Ok(());
        }
        Err(Fault::new(Class::Reinitialise, "the slot holds another token"))
    }

    pub(crate) fn mechanisms(&self) -> Result<Vec<String>, Fault> {
        let mut names: Vec<_> = self.mechanism_types()?.iter().map(ToString::to_string).collect();
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    pub(crate) fn mechanism_types(&self) -> Result<Vec<MechanismType>, Fault> {
        Ok(self.pkcs11.get_mechanism_list(self.id)?)
    }

    /// Where keys are.
    pub(super) fn keys(&self) -> &Catalogue {
        &self.keys
    }

    /// To use objects.
    pub(crate) fn using(&self) -> RwLockReadGuard<'_, ()> {
        self.objects.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// To make or destroy objects.
    pub(crate) fn changing(&self) -> RwLockWriteGuard<'_, ()> {
        self.objects.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn auth(pin: &Pin) -> Result<AuthPin, Fault> {
    let text =
        std::str::from_utf8(pin.expose()).map_err(|_| Fault::new(Class::Refused, "the PIN is not UTF-8"))?;
    Ok(AuthPin::from(text.to_owned()))
}

/// `C_Initialize` with a string for `pReserved`, as NSS softokn wants it.
#[expect(
    unsafe_code,
    reason = "cryptoki takes pReserved as a raw pointer; this is the only unsafe outside `secret`"
)]
fn initialize_with(pkcs11: &Pkcs11, flags: CInitializeFlags, text: &str) -> Result<(), Fault> {
    use std::ffi::CString;
    use std::ptr::NonNull;
    let text =
        CString::new(text).map_err(|_| Fault::new(Class::Refused, "`hsm.init_argument` holds a NUL"))?;
    // Leaked on purpose: a module may keep the pointer as long as it is loaded, which is as long as this process lives.
    let text = Box::leak(Box::new(text));
    let reserved = NonNull::from(text.as_bytes_with_nul()).cast();
    // SAFETY: the pointer is to a NUL-terminated string that is never freed nor written.
    let arguments = unsafe { CInitializeArgs::new_with_reserved(flags, reserved) };
    Ok(pkcs11.initialize(arguments)?)
}
