//! Every cell of the bad-certificate table, through the public door. Each case would let a stranger in if it passed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "test support")]

use chancery_core::{Code, UnixMillis};
use chancery_identity::{Authority, IdentityError, Peer, Role};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, SanType, date_time_ymd,
};
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};

/// 2026-06-01T00:00:00Z; leaves are valid through 2026, authorities from 2020 to 2030.
const NOW: UnixMillis = UnixMillis(1_780_272_000_000);
const GOOD: &str = "chancery://default/client/backend";

struct Ca {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2030, 1, 1);
    params
}

fn ca_of(params: CertificateParams) -> Ca {
    let key = KeyPair::generate().unwrap();
    let der = params.self_signed(&key).unwrap().der().clone();
    Ca { issuer: Issuer::new(params, key), der }
}

fn ca() -> Ca {
    ca_of(ca_params("authority"))
}

impl Ca {
    fn authority(&self) -> Authority {
        Authority::new([self.der.clone()]).unwrap()
    }

    fn issue(&self, params: &CertificateParams) -> CertificateDer<'static> {
        params.signed_by(&KeyPair::generate().unwrap(), &self.issuer).unwrap().der().clone()
    }

    fn below(&self, params: CertificateParams) -> Ca {
        let key = KeyPair::generate().unwrap();
        let der = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Ca { issuer: Issuer::new(params, key), der }
    }
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn leaf(names: Vec<SanType>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = names;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    params
}

#[track_caller]
fn refused(authority: &Authority, chain: &[CertificateDer<'_>], now: UnixMillis) -> IdentityError {
    let error = authority.authenticate(chain, now).expect_err("this chain must be refused");
    assert_eq!(error.code(), Code::Unauthenticated, "all refusals look the same outside: {error}");
    error
}

#[test]
fn a_verified_chain_says_who_it_is() {
    let ca = ca();
    for (text, role) in [
        (GOOD, Role::Client),
        ("chancery://acme/auditor/reader-1", Role::Auditor),
        ("chancery://acme/operator/ops", Role::Operator),
    ] {
        let der = ca.issue(&leaf(vec![uri(text)]));
        let peer = ca.authority().authenticate(std::slice::from_ref(&der), NOW).unwrap();
        assert_eq!(format!("chancery://{peer}"), text);
        assert_eq!(peer.role(), role);
        assert_eq!(peer.fingerprint().as_bytes()[..], Sha256::digest(&der)[..]);
        assert_eq!(matches!(peer, Peer::Client(_)), role == Role::Client, "evidence follows the role");
    }
}

#[test]
fn an_intermediate_authority_may_stand_between() {
    let ca = ca();
    let below = ca.below(ca_params("intermediate"));
    let der = below.issue(&leaf(vec![uri(GOOD)]));
    assert!(ca.authority().authenticate(&[der.clone(), below.der.clone()], NOW).is_ok());
    refused(&ca.authority(), &[der], NOW);
}

#[test]
fn no_certificate_is_nobody() {
    assert!(matches!(refused(&ca().authority(), &[], NOW), IdentityError::NoCertificate));
}

#[test]
fn another_authority_of_the_same_name_is_a_stranger() {
    let der = ca().issue(&leaf(vec![uri(GOOD)]));
    assert!(matches!(refused(&ca().authority(), &[der], NOW), IdentityError::Chain(_)));
}

#[test]
fn a_self_signed_leaf_is_a_stranger() {
    let params = leaf(vec![uri(GOOD)]);
    let der = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone();
    refused(&ca().authority(), &[der], NOW);
}

#[test]
fn time_is_judged_at_the_callers_now() {
    let ca = ca();
    let der = [ca.issue(&leaf(vec![uri(GOOD)]))];
    let year_ms = 366 * 24 * 3_600 * 1_000;
    for now in
        [NOW.plus_ms(year_ms), NOW.plus_ms(-year_ms), UnixMillis(0), UnixMillis(-1), UnixMillis(i64::MAX)]
    {
        assert!(matches!(refused(&ca.authority(), &der, now), IdentityError::Chain(_)), "{now}");
    }
}

#[test]
fn an_expired_authority_vouches_for_nobody() {
    let mut params = ca_params("authority");
    params.not_after = date_time_ymd(2026, 5, 1);
    let ca = ca_of(params);
    let der = [ca.issue(&leaf(vec![uri(GOOD)]))];
    assert!(matches!(refused(&ca.authority(), &der, NOW), IdentityError::AuthorityOutOfTime));
    assert!(
        ca.authority().authenticate(&der, NOW.plus_ms(-60 * 24 * 3_600 * 1_000)).is_ok(),
        "it did before"
    );
}

#[test]
fn a_certificate_must_be_for_tls_clients() {
    let ca = ca();
    for usages in [
        vec![ExtendedKeyUsagePurpose::ServerAuth],
        vec![ExtendedKeyUsagePurpose::CodeSigning],
        vec![ExtendedKeyUsagePurpose::Any],
        vec![],
    ] {
        let mut params = leaf(vec![uri(GOOD)]);
        params.extended_key_usages = usages.clone();
        let error = refused(&ca.authority(), &[ca.issue(&params)], NOW);
        assert!(
            matches!(error, IdentityError::Chain(_) | IdentityError::NotForClients),
            "{usages:?}: {error}"
        );
    }
}

#[test]
fn an_authority_is_not_a_client() {
    let ca = ca();
    refused(&ca.authority(), std::slice::from_ref(&ca.der), NOW);
    let mut params = leaf(vec![uri(GOOD)]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    refused(&ca.authority(), &[ca.issue(&params)], NOW);
}

#[test]
fn a_client_is_not_an_authority() {
    let ca = ca();
    let client = ca.below(leaf(vec![uri(GOOD)]));
    let forged = client.issue(&leaf(vec![uri("chancery://default/operator/root")]));
    refused(&ca.authority(), &[forged, client.der.clone()], NOW);
}

#[test]
fn exactly_one_name_and_it_is_a_uri() {
    let ca = ca();
    let dns = || SanType::DnsName("localhost".try_into().unwrap());
    let email = || SanType::Rfc822Name("a@example.com".try_into().unwrap());
    for names in [
        vec![],
        vec![dns()],
        vec![email()],
        vec![uri(GOOD), uri("chancery://default/client/other")],
        vec![uri(GOOD), uri(GOOD)],
        vec![uri(GOOD), dns()],
        vec![dns(), uri(GOOD)],
        vec![uri(GOOD), SanType::IpAddress([127, 0, 0, 1].into())],
    ] {
        let error = refused(&ca.authority(), &[ca.issue(&leaf(names.clone()))], NOW);
        assert!(
            matches!(error, IdentityError::Names { .. } | IdentityError::Name { .. }),
            "{names:?}: {error}"
        );
    }
}

#[test]
fn a_malformed_name_is_nobody() {
    let ca = ca();
    for text in
        ["chancery://default/admin/a", "https://default/client/a", "chancery://default/client/a/b", ""]
    {
        let error = refused(&ca.authority(), &[ca.issue(&leaf(vec![uri(text)]))], NOW);
        assert!(matches!(error, IdentityError::Name { .. }), "{text}: {error}");
    }
}

#[test]
fn no_flipped_bit_and_no_cut_is_accepted() {
    let ca = ca();
    let authority = ca.authority();
    let der = ca.issue(&leaf(vec![uri(GOOD)]));
    for at in 0..der.len() {
        let mut flipped = der.to_vec();
        flipped[at] ^= 1;
        refused(&authority, &[CertificateDer::from(flipped)], NOW);
        refused(&authority, &[CertificateDer::from(der[..at].to_vec())], NOW);
    }
    let mut longer = der.to_vec();
    longer.push(0);
    refused(&authority, &[CertificateDer::from(longer)], NOW);
}

#[test]
fn a_long_chain_is_refused_before_work_is_done() {
    let ca = ca();
    let mut chain = vec![ca.issue(&leaf(vec![uri(GOOD)]))];
    chain.extend(std::iter::repeat_n(ca.der.clone(), 8));
    refused(&ca.authority(), &chain, NOW);
}

#[test]
fn authorities_must_be_authorities() {
    let ca = ca();
    let client = ca.issue(&leaf(vec![uri(GOOD)]));
    for (ders, expected) in [
        (vec![], "no certificate authority was given"),
        (
            vec![ca.der.clone(), client],
            "certificate authority 1 cannot be used: it must be marked as a certificate authority",
        ),
        (
            vec![CertificateDer::from(vec![1, 2, 3])],
            "certificate authority 0 cannot be used: it must be an X.509 certificate",
        ),
    ] {
        let error = Authority::new(ders).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert_eq!(error.code(), Code::Internal, "an operator's mistake is not a peer's");
    }
}
