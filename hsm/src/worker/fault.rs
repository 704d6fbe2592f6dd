//! What each PKCS#11 return value asks for. If this is wrong, a dead session is used for ever or a PIN is tried until
//! the token locks.

use cryptoki::error::{Error, RvError};

use crate::wire::{Class, Fault};

impl Fault {
    pub(crate) fn new(class: Class, what: impl Into<String>) -> Self {
        Self { class, what: what.into() }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self { class: class(&error), what: name(&error) }
    }
}

/// The function and the CKR name, such as `C_Sign: KeyHandleInvalid`; what an operator must put right is said in words too.
pub(crate) fn name(error: &Error) -> String {
    let Error::Pkcs11(value, function) = error else { return error.to_string() };
    let name = format!("C_{function:?}: {value:?}");
    let words = match value {
        RvError::PinIncorrect => "the PIN is wrong; it is not tried again",
        RvError::PinInvalid | RvError::PinLenRange => "the PIN is none that this token takes",
        RvError::PinExpired => "the PIN has expired",
        RvError::PinLocked => "the PIN is locked",
        RvError::UserPinNotInitialized => "the token has no user PIN yet",
        _ => return name,
    };
    format!("{words} ({name})")
}

/// The return value, when there is one.
pub(crate) fn value(error: &Error) -> Option<RvError> {
    match error {
        Error::Pkcs11(value, _) => Some(*value),
        _ => None,
    }
}

pub(crate) fn class(error: &Error) -> Class {
    let Error::Pkcs11(value, _) = error else {
        // The module cannot be loaded or answers with what cannot be understood: a new process may find it mended.
        return Class::Reinitialise;
    };
    match value {
        RvError::HostMemory
        | RvError::DeviceMemory
        | RvError::SessionCount
        | RvError::CantLock
        | RvError::FunctionCanceled
        | RvError::Cancel => Class::Retry,

        // A vague failure is cured by a new session or by nothing less than a new process.
        RvError::SessionHandleInvalid
        | RvError::SessionClosed
        | RvError::KeyHandleInvalid
        | RvError::ObjectHandleInvalid
        | RvError::OperationActive
        | RvError::OperationNotInitialized
        | RvError::GeneralError
        | RvError::FunctionFailed => Class::NewSession,

        RvError::TokenNotPresent
        | RvError::TokenNotRecognized
        | RvError::DeviceRemoved
        | RvError::DeviceError
        | RvError::SlotIdInvalid
        | RvError::CryptokiNotInitialized
        | RvError::CryptokiAlreadyInitialized
        | RvError::UserNotLoggedIn
        | RvError::MutexBad
        | RvError::MutexNotLocked
        | RvError::FipsSelfTestFailed => Class::Reinitialise,

        RvError::PinIncorrect
        | RvError::PinInvalid
        | RvError::PinLenRange
        | RvError::PinExpired
        | RvError::PinLocked
        | RvError::UserPinNotInitialized => Class::Fatal,

        _ => Class::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cryptoki::context::Function;

    /// Would catch a PIN failure that is tried again, and a dead handle that is not.
    #[test]
    fn return_values_ask_for_the_right_thing() {
        for (value, wanted) in [
            (RvError::PinIncorrect, Class::Fatal),
            (RvError::PinLocked, Class::Fatal),
            (RvError::SessionHandleInvalid, Class::NewSession),
            (RvError::KeyHandleInvalid, Class::NewSession),
            (RvError::TokenNotPresent, Class::Reinitialise),
            (RvError::DeviceError, Class::Reinitialise),
            (RvError::CryptokiNotInitialized, Class::Reinitialise),
            (RvError::MechanismInvalid, Class::Refused),
            (RvError::DeviceMemory, Class::Retry),
        ] {
            assert_eq!(class(&Error::Pkcs11(value, Function::Sign)), wanted, "{value:?}");
        }
    }
}
