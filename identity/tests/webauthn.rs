//! WebAuthn assertions of a real client and authenticator (the `passkey` crates), and every way to spoil one. Would catch a
//! verification that reads the standard otherwise than others do, and a part of an assertion that nothing depends on.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chancery_identity::webauthn::{Assertion, Base64Url, CredentialKey, RelyingParty, WebauthnError, verify};
use passkey::authenticator::{Authenticator, UiHint, UserCheck, UserValidationMethod};
use passkey::client::{Client, DefaultClientData};
use passkey::crypto::iana::Algorithm;
use passkey::crypto::rust_crypto::RustCryptoBackend;
use passkey::types::Passkey;
use passkey::types::ctap2::{Aaguid, Ctap2Error};
use passkey::types::webauthn::{
    AttestationConveyancePreference, CredentialCreationOptions, CredentialRequestOptions,
    PublicKeyCredentialCreationOptions, PublicKeyCredentialParameters, PublicKeyCredentialRequestOptions,
    PublicKeyCredentialRpEntity, PublicKeyCredentialType, PublicKeyCredentialUserEntity,
    UserVerificationRequirement,
};
use url::Url;

const CHALLENGE: [u8; 32] = [7; 32];

/// A person who touches, and unlocks as long as asked to register, and to assert if so inclined.
struct Person {
    unlocks: Arc<AtomicBool>,
}

#[async_trait::async_trait]
impl UserValidationMethod for Person {
    type PasskeyItem = Passkey;

    async fn check_user<'a>(
        &self,
        _hint: UiHint<'a, Passkey>,
        _presence: bool,
        _verification: bool,
    ) -> Result<UserCheck, Ctap2Error> {
        Ok(UserCheck { presence: true, verification: self.unlocks.load(Ordering::Relaxed) })
    }

    fn is_verification_enabled(&self) -> Option<bool> {
        Some(true)
    }

    fn is_presence_enabled(&self) -> bool {
        true
    }
}

fn party() -> RelyingParty {
    RelyingParty { id: "chancery.example".to_owned(), origins: vec!["https://chancery.example".to_owned()] }
}

/// Registers, and answers the challenge.
async fn made(algorithm: Algorithm, unlocks: bool) -> (CredentialKey, Assertion) {
    let origin = Url::parse("https://chancery.example").unwrap();
    let store: Option<Passkey> = None;
    let unlocked = Arc::new(AtomicBool::new(true));
    let person = Person { unlocks: Arc::clone(&unlocked) };
    let authenticator = Authenticator::new(Aaguid::new_empty(), store, person, RustCryptoBackend);
    let mut client = Client::new(authenticator);
    let register = CredentialCreationOptions {
        public_key: PublicKeyCredentialCreationOptions {
            rp: PublicKeyCredentialRpEntity { id: None, name: "chancery.example".into() },
            user: PublicKeyCredentialUserEntity {
                id: vec![1; 16].into(),
                display_name: "Ann".into(),
                name: "ann".into(),
            },
            challenge: vec![9; 32].into(),
            pub_key_cred_params: vec![PublicKeyCredentialParameters {
                ty: PublicKeyCredentialType::PublicKey,
                alg: algorithm,
            }],
            timeout: None,
            exclude_credentials: None,
            authenticator_selection: None,
            hints: None,
            attestation: AttestationConveyancePreference::None,
            attestation_formats: None,
            extensions: None,
        },
    };
    let registered = client.register(&origin, register, DefaultClientData).await.unwrap();
    let key = CredentialKey::from_spki(&registered.response.public_key.unwrap()).unwrap();
    unlocked.store(unlocks, Ordering::Relaxed);
    let ask = CredentialRequestOptions {
        public_key: PublicKeyCredentialRequestOptions {
            challenge: CHALLENGE.to_vec().into(),
            timeout: None,
            rp_id: Some("chancery.example".into()),
            allow_credentials: None,
            user_verification: UserVerificationRequirement::Discouraged,
            hints: None,
            attestation: AttestationConveyancePreference::None,
            attestation_formats: None,
            extensions: None,
        },
    };
    let answered = client.authenticate(&origin, ask, DefaultClientData).await.unwrap();
    let bytes = |bytes: passkey::types::Bytes| Base64Url(bytes.into());
    let assertion = Assertion {
        credential: bytes(answered.raw_id),
        client_data: bytes(answered.response.client_data_json),
        authenticator_data: bytes(answered.response.authenticator_data),
        signature: bytes(answered.response.signature),
    };
    (key, assertion)
}

#[tokio::test]
async fn a_real_authenticators_word_holds() {
    let (key, assertion) = made(Algorithm::ES256, true).await;
    verify(&assertion, &key, &party(), &CHALLENGE).unwrap();
    let text = serde_json::to_string(&assertion).unwrap();
    assert_eq!(serde_json::from_str::<Assertion>(&text).unwrap(), assertion);
    assert_eq!(key.to_string().parse::<CredentialKey>().unwrap(), key);
}

#[tokio::test]
async fn who_did_not_unlock_did_not_say_it() {
    let (key, assertion) = made(Algorithm::ES256, false).await;
    assert_eq!(verify(&assertion, &key, &party(), &CHALLENGE), Err(WebauthnError::NotVerified));
}

#[tokio::test]
async fn every_part_counts() {
    let (key, assertion) = made(Algorithm::ES256, true).await;
    let (other, _) = made(Algorithm::ES256, true).await;
    assert_eq!(verify(&assertion, &other, &party(), &CHALLENGE), Err(WebauthnError::Signature));
    assert_eq!(verify(&assertion, &key, &party(), &[8; 32]), Err(WebauthnError::Challenge));
    let elsewhere = RelyingParty { id: "other.example".to_owned(), ..party() };
    assert_eq!(verify(&assertion, &key, &elsewhere, &CHALLENGE), Err(WebauthnError::RelyingParty));
    let page = RelyingParty { origins: vec!["https://evil.example".to_owned()], ..party() };
    assert_eq!(verify(&assertion, &key, &page, &CHALLENGE), Err(WebauthnError::Origin));
    // A flipped bit anywhere in what was signed, or in the signature.
    let mut flipped = 0;
    for part in 0..3 {
        let length = match part {
            0 => assertion.client_data.0.len(),
            1 => assertion.authenticator_data.0.len(),
            _ => assertion.signature.0.len(),
        };
        for bit in 0..length * 8 {
            let mut spoiled = assertion.clone();
            let bytes = match part {
                0 => &mut spoiled.client_data.0,
                1 => &mut spoiled.authenticator_data.0,
                _ => &mut spoiled.signature.0,
            };
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(verify(&spoiled, &key, &party(), &CHALLENGE).is_err(), "part {part}, bit {bit}");
            flipped += 1;
        }
    }
    assert!(flipped > 1_000);
}

/// Would catch client data that is read by its beginning, and the type of a registration taken for an assertion's.
#[tokio::test]
async fn client_data_is_what_it_must_be() {
    let (key, assertion) = made(Algorithm::ES256, true).await;
    let challenge = URL_SAFE_NO_PAD.encode(CHALLENGE);
    let said = |text: String| {
        let client_data = Base64Url(text.into_bytes());
        verify(&Assertion { client_data, ..assertion.clone() }, &key, &party(), &CHALLENGE)
    };
    let origin = "https://chancery.example";
    for (text, error) in [
        (
            format!(r#"{{"type":"webauthn.create","challenge":"{challenge}","origin":"{origin}"}}"#),
            WebauthnError::Type,
        ),
        (
            format!(r#"{{"type":"webauthn.get","challenge":"{challenge}=","origin":"{origin}"}}"#),
            WebauthnError::Challenge,
        ),
        (
            format!(r#"{{"type":"webauthn.get","challenge":"{challenge}","origin":"{origin}.evil"}}"#),
            WebauthnError::Origin,
        ),
        (
            format!(
                r#"{{"type":"webauthn.get","challenge":"{challenge}","origin":"{origin}","crossOrigin":true}}"#
            ),
            WebauthnError::Origin,
        ),
        (
            format!(r#"{{"type":"webauthn.get","challenge":"{challenge}","origin":"{origin}"}} "#),
            WebauthnError::Signature,
        ),
        (
            format!(r#"{{"type":"webauthn.get","challenge":"{challenge}","origin":"{origin}"}}x"#),
            WebauthnError::ClientData,
        ),
        ("{}".to_owned(), WebauthnError::ClientData),
        (" ".repeat(5_000), WebauthnError::TooLong),
    ] {
        assert_eq!(said(text.clone()), Err(error), "{text}");
    }
}

#[test]
fn keys_have_one_spelling() {
    let point = format!("04{}", "ab".repeat(64));
    assert!(format!("es256:{point}").parse::<CredentialKey>().is_ok());
    for bad in [
        format!("es256:{}", point.to_uppercase()),
        format!("ES256:{point}"),
        format!("es256:02{}", "ab".repeat(64)),
        format!("es256:{}", &point[2..]),
        format!("ed25519:{point}"),
        point,
        String::new(),
    ] {
        assert!(bad.parse::<CredentialKey>().is_err(), "{bad}");
    }
    assert!(CredentialKey::from_spki(b"").is_err());
}
