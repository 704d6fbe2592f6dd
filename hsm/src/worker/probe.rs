//! The honesty probe: attempts that an honest token refuses, made with throw-away session keys so that nothing is left
//! behind. A token that only claims `CKA_SENSITIVE` and `CKA_EXTRACTABLE` is found out here, before it signs anything.

use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::session::Session;

use super::fault::{name, value};
use super::keys::session_aes;
use super::module::Slot;
use crate::finding::{Finding, Probe, Verdict};
use crate::wire::{Class, Fault};

/// Puts every probe to the token.
pub(crate) fn ask(slot: &Slot, session: &Session) -> Result<Vec<Finding>, Fault> {
    let offered = slot.mechanism_types()?;
    let _changing = slot.changing();
    let mut findings = Vec::new();
    for probe in Probe::ALL {
        let mut bench = Bench { session, offered: &offered, made: Vec::new() };
        let (verdict, detail) = match bench.ask(probe) {
            Ok(found) => found,
            Err(error) => {
                let fault = Fault::from(error);
                if !matches!(fault.class, Class::Refused) {
                    return Err(fault);
                }
                (Verdict::NotSupported, fault.what)
            }
        };
        findings.push(Finding { probe, verdict, detail });
    }
    Ok(findings)
}

struct Bench<'a> {
    session: &'a Session,
    offered: &'a [MechanismType],
    made: Vec<ObjectHandle>,
}

type Answer = Result<(Verdict, String), Error>;

impl Bench<'_> {
    fn ask(&mut self, probe: Probe) -> Answer {
        match probe {
            Probe::WrapUnextractable => self.wrap_unextractable(),
            Probe::RelaxAttributes => self.relax_attributes(),
            Probe::RelaxByCopy => self.relax_by_copy(),
            Probe::AllowedMechanisms => self.allowed_mechanisms(),
            Probe::ReadSensitive => self.read_sensitive(),
            Probe::WrapWithTrusted => self.wrap_with_trusted(),
        }
    }

    fn aes(&mut self, extra: &[Attribute]) -> Result<ObjectHandle, Error> {
        let key = self.session.generate_key(&Mechanism::AesKeyGen, &session_aes(extra))?;
        self.made.push(key);
        Ok(key)
    }

    fn guarded(&mut self, extra: &[Attribute]) -> Result<ObjectHandle, Error> {
        self.aes(&[&[Attribute::Sensitive(true), Attribute::Extractable(false)], extra].concat())
    }

    fn wrap_unextractable(&mut self) -> Answer {
        let target = self.guarded(&[])?;
        self.wrap(target)
    }

    fn wrap_with_trusted(&mut self) -> Answer {
        let target = self.aes(&[
            Attribute::Sensitive(true),
            Attribute::Extractable(true),
            Attribute::WrapWithTrusted(true),
        ])?;
        self.wrap(target)
    }

    /// Tries to wrap `target` under a fresh key, after a control shows that the wrapping itself works.
    fn wrap(&mut self, target: ObjectHandle) -> Answer {
        let wrapping = self.aes(&[Attribute::Wrap(true), Attribute::Unwrap(true)])?;
        let control = self.aes(&[Attribute::Sensitive(false), Attribute::Extractable(true)])?;
        let mut tried = 0;
        let mut detail = String::from("it offers no mechanism that wraps");
        for (mechanism, kind) in [
            (Mechanism::AesKeyWrap, MechanismType::AES_KEY_WRAP),
            (Mechanism::AesKeyWrapPad, MechanismType::AES_KEY_WRAP_PAD),
            (Mechanism::AesCbcPad([0; 16]), MechanismType::AES_CBC_PAD),
            (Mechanism::AesEcb, MechanismType::AES_ECB),
        ] {
            if !self.offered.contains(&kind) || self.session.wrap_key(&mechanism, wrapping, control).is_err()
            {
                continue;
            }
            tried += 1;
            match self.session.wrap_key(&mechanism, wrapping, target) {
                Ok(_) => return Ok((Verdict::Lie, format!("{kind} wrapped it"))),
                Err(error) => detail = name(&error),
            }
        }
        Ok((if tried == 0 { Verdict::NotSupported } else { Verdict::Honest }, detail))
    }

    fn relax_attributes(&mut self) -> Answer {
        let mut detail = String::new();
        for relaxed in [Attribute::Sensitive(false), Attribute::Extractable(true)] {
            let key = self.guarded(&[])?;
            match self.session.update_attributes(key, std::slice::from_ref(&relaxed)) {
                Ok(()) if self.reads(key, &relaxed)? => {
                    return Ok((Verdict::Lie, format!("it took {relaxed:?}")));
                }
                Ok(()) => detail = "it said yes and did nothing".to_owned(),
                Err(error) => detail = name(&error),
            }
        }
        Ok((Verdict::Honest, detail))
    }

    fn relax_by_copy(&mut self) -> Answer {
        let mut detail = String::new();
        for relaxed in [Attribute::Sensitive(false), Attribute::Extractable(true)] {
            let key = self.guarded(&[])?;
            match self.session.copy_object(key, std::slice::from_ref(&relaxed)) {
                Ok(copy) => {
                    self.made.push(copy);
                    if self.reads(copy, &relaxed)? {
                        return Ok((Verdict::Lie, format!("it copied with {relaxed:?}")));
                    }
                    detail = "the copy is as guarded as the key".to_owned();
                }
                Err(error) if value(&error) == Some(RvError::FunctionNotSupported) => {
                    return Ok((Verdict::NotSupported, name(&error)));
                }
                Err(error) => detail = name(&error),
            }
        }
        Ok((Verdict::Honest, detail))
    }

    fn reads(&self, key: ObjectHandle, wanted: &Attribute) -> Result<bool, Error> {
        Ok(self.session.get_attributes(key, &[wanted.attribute_type()])?.contains(wanted))
    }

    fn allowed_mechanisms(&mut self) -> Answer {
        let usable = [Attribute::Encrypt(true), Attribute::Decrypt(true)];
        let control = self.guarded(&usable)?;
        let block = [7; 16];
        let (allowed, forbidden) = (Mechanism::AesCbc([0; 16]), Mechanism::AesEcb);
        if let Err(error) = self.session.encrypt(&forbidden, control, &block) {
            return Ok((Verdict::NotSupported, name(&error)));
        }
        let bound = Attribute::AllowedMechanisms(vec![MechanismType::AES_CBC]);
        let key = match self.guarded(&[&usable[..], &[bound]].concat()) {
            Ok(key) => key,
            Err(error) => return Ok((Verdict::NotSupported, name(&error))),
        };
        if let Err(error) = self.session.encrypt(&allowed, key, &block) {
            return Ok((Verdict::NotSupported, name(&error)));
        }
        Ok(match self.session.encrypt(&forbidden, key, &block) {
            Ok(_) => (Verdict::Lie, "CKM_AES_ECB worked where only CKM_AES_CBC is allowed".to_owned()),
            Err(error) => (Verdict::Honest, name(&error)),
        })
    }

    fn read_sensitive(&mut self) -> Answer {
        let key = self.guarded(&[])?;
        let shown = self.session.get_attributes(key, &[AttributeType::Value])?;
        Ok(
            match shown
                .iter()
                .any(|attribute| matches!(attribute, Attribute::Value(value) if !value.is_empty()))
            {
                true => (Verdict::Lie, "CKA_VALUE was read".to_owned()),
                false => (Verdict::Honest, "CKA_VALUE is withheld".to_owned()),
            },
        )
    }
}

impl Drop for Bench<'_> {
    fn drop(&mut self) {
        for key in self.made.drain(..) {
            let _ = self.session.destroy_object(key);
        }
    }
}
