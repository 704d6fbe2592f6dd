//! The appliance's own authority, whose key is elsewhere: what it signs is what was asked for and agreed to, and is believed
//! of its own tenant alone.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test support")]

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use chancery_core::{Serial, Subject, Tenant, UnixMillis, limit};
use chancery_identity::issue::{self, Issuer};
use chancery_identity::{Application, Authority, IdentityError};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::prelude::{FromDer, X509Certificate};

/// 2026-06-01T00:00:00Z.
const NOW: UnixMillis = UnixMillis(1_780_272_000_000);
const DAY_MS: i64 = 86_400_000;
const BACKEND: &str = "chancery://default/client/backend";

/// A key that signs digests alone, as a token does.
struct Token(KeyPair, EcdsaKeyPair);

impl Token {
    fn new() -> Self {
        let pair = KeyPair::generate().unwrap();
        let raw = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pair.serialized_der()).unwrap();
        Self(pair, raw)
    }

    fn sign(&self, draft: &issue::Draft) -> Vec<u8> {
        let digest = aws_lc_rs::digest::Digest::import_less_safe(&draft.digest(), &aws_lc_rs::digest::SHA256);
        let made = self.1.sign_digest(&digest.unwrap()).unwrap();
        draft.signed(made.as_ref().try_into().unwrap())
    }

    fn authority(&self) -> Issuer {
        let public_key = rcgen::PublicKeyData::subject_public_key_info(&self.0);
        assert_eq!(self.1.public_key().as_ref(), &public_key[26..]);
        let draft = issue::authority(&Tenant::default(), &public_key, NOW).unwrap();
        Issuer::open(Tenant::default(), self.sign(&draft)).unwrap()
    }
}

fn application(name: &str) -> Application {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(name.try_into().unwrap())];
    let request = params.serialize_request(&KeyPair::generate().unwrap()).unwrap();
    Application::read(&request.pem().unwrap()).unwrap()
}

fn known(issuer: &Issuer, list: Vec<u8>) -> Authority {
    let certificate = CertificateDer::from(issuer.certificate().to_vec());
    let list = CertificateRevocationListDer::from(list);
    Authority::of_tenant(issuer.tenant().clone(), certificate, list).unwrap()
}

/// Signatures are of different lengths in DER: many, so that each length is seen.
#[test]
fn what_is_issued_comes_in_until_it_is_on_the_list() {
    for round in 0..64_u8 {
        let token = Token::new();
        let issuer = token.authority();
        let application = application(BACKEND);
        let serial = Serial::of([round; 20]);
        let (draft, until) = issuer.certify(&application, serial, 30, NOW).unwrap();
        let der = CertificateDer::from(token.sign(&draft));
        let empty = known(&issuer, token.sign(&issuer.list(&[], NOW).unwrap()));
        empty.in_force(NOW).unwrap();
        let peer = empty.authenticate(std::slice::from_ref(&der), NOW).unwrap();
        assert_eq!(peer.to_string(), "default/client/backend");
        let late = until.plus_ms(1_000);
        assert!(empty.authenticate(std::slice::from_ref(&der), late).is_err(), "it outlives its end");

        let (_, seen) = X509Certificate::from_der(&der).unwrap();
        assert_eq!(seen.raw_serial(), serial.as_bytes());
        assert_eq!(seen.public_key().raw, application.public_key());
        assert_eq!(seen.validity().not_after.timestamp() * 1_000, NOW.0 + 30 * DAY_MS);
        assert!(!seen.is_ca() && seen.extended_key_usage().unwrap().unwrap().value.client_auth);
        assert!(!seen.extended_key_usage().unwrap().unwrap().value.server_auth);

        let revoked = [(serial, NOW), (Serial::of([0x55; 20]), NOW)];
        let list = known(&issuer, token.sign(&issuer.list(&revoked, NOW).unwrap()));
        assert!(list.authenticate(std::slice::from_ref(&der), NOW).is_err(), "it was taken back");
        let ended = NOW.plus_ms(limit::REVOCATION_LIST_MS + 1_000);
        assert!(empty.in_force(ended).is_err(), "an old list is no answer");
    }
}

#[test]
fn an_authority_names_its_own_tenant_and_outlives_what_it_issues() {
    let token = Token::new();
    let issuer = token.authority();
    let other = application("chancery://other/client/backend");
    let refused = issuer.certify(&other, Serial::of([1; 20]), 30, NOW).unwrap_err();
    assert!(matches!(refused, IdentityError::Application { .. }), "{refused}");
    let late = issuer.until().plus_ms(-30 * DAY_MS);
    assert!(issuer.certify(&application(BACKEND), Serial::of([1; 20]), 30, late).is_ok());
    assert!(issuer.certify(&application(BACKEND), Serial::of([1; 20]), 31, late).is_err());
}

/// Would catch an authority of one tenant, whose key is misused, that lets somebody in as another's.
#[test]
fn the_door_believes_an_authority_of_its_tenant_alone() {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let root = params.self_signed(&key).unwrap();
    let signer = rcgen::Issuer::new(params, key);
    let list = rcgen::CertificateRevocationListParams {
        this_update: time(NOW),
        next_update: time(NOW.plus_ms(DAY_MS)),
        crl_number: 1.into(),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    let list = list.signed_by(&signer).unwrap();
    let known = Authority::of_tenant(Tenant::default(), root.der().clone(), list.der().clone()).unwrap();
    for (name, comes_in) in [(BACKEND, true), ("chancery://other/client/backend", false)] {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(name.try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let leaf = params.signed_by(&KeyPair::generate().unwrap(), &signer).unwrap();
        let found = known.authenticate(std::slice::from_ref(leaf.der()), NOW);
        assert_eq!(found.is_ok(), comes_in, "{name}: {found:?}");
    }
}

/// Would catch lists that are asked of an authority which has none, or an authority that is let off its own.
#[test]
fn two_authorities_are_judged_apart() {
    let (token, outside) = (Token::new(), Token::new());
    let (issuer, other) = (token.authority(), outside.authority());
    let issued = |token: &Token, issuer: &Issuer| {
        let (draft, _) = issuer.certify(&application(BACKEND), Serial::of([9; 20]), 30, NOW).unwrap();
        CertificateDer::from(token.sign(&draft))
    };
    let (ours, theirs) = (issued(&token, &issuer), issued(&outside, &other));
    let never = Authority::new([CertificateDer::from(other.certificate().to_vec())]).unwrap();
    let revoked = [(Serial::of([9; 20]), NOW)];
    let both = known(&issuer, token.sign(&issuer.list(&revoked, NOW).unwrap())).and(never);
    assert!(both.authenticate(&[theirs], NOW).is_ok(), "its authority never takes anything back");
    assert!(both.authenticate(&[ours], NOW).is_err(), "taken back by its own");
}

#[test]
fn a_request_says_whom_it_is_for_and_shows_its_key() {
    let client: Subject = BACKEND.parse().unwrap();
    let asked = application(BACKEND);
    assert_eq!(asked.client(), &client);
    assert_eq!(Application::of(client.clone(), asked.public_key().to_vec()).unwrap(), asked);
    let compressed = [&asked.public_key()[..26], &[2], &asked.public_key()[27..59]].concat();
    for key in [Vec::new(), asked.public_key()[1..].to_vec(), compressed, [asked.public_key(), &[0]].concat()]
    {
        assert!(Application::of(client.clone(), key).is_err());
    }
}

fn time(at: UnixMillis) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(at.0 / 1_000).unwrap()
}
