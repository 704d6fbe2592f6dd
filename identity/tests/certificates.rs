//! Every cell of the bad-certificate table, through the public door. Each case would let a stranger in if it passed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "test support")]

use chancery_core::{Code, UnixMillis};
use chancery_identity::{Authority, IdentityError, Peer, Role};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SanType, SerialNumber,
    date_time_ymd,
};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
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

/// A list of `ca` that takes these serial numbers back, from the first date to the second.
fn list(
    ca: &Ca,
    serials: &[&[u8]],
    from: (i32, u8),
    until: (i32, u8),
) -> CertificateRevocationListDer<'static> {
    let revoked = |serial: &&[u8]| RevokedCertParams {
        serial_number: SerialNumber::from_slice(serial),
        revocation_time: date_time_ymd(2026, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    CertificateRevocationListParams {
        this_update: date_time_ymd(from.0, from.1, 1),
        next_update: date_time_ymd(until.0, until.1, 1),
        crl_number: SerialNumber::from_slice(&[1]),
        issuing_distribution_point: None,
        revoked_certs: serials.iter().map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    }
    .signed_by(&ca.issuer)
    .unwrap()
    .into()
}

const IN_DATE: ((i32, u8), (i32, u8)) = ((2026, 5), (2026, 7));
const SERIAL: &[u8] = &[0x51, 2, 3];

fn good(ca: &Ca, serials: &[&[u8]]) -> CertificateRevocationListDer<'static> {
    list(ca, serials, IN_DATE.0, IN_DATE.1)
}

fn numbered(ca: &Ca, serial: &[u8]) -> CertificateDer<'static> {
    let mut params = leaf(vec![uri(GOOD)]);
    params.serial_number = Some(SerialNumber::from_slice(serial));
    ca.issue(&params)
}

#[track_caller]
fn refused_for(authority: &Authority, chain: &[CertificateDer<'_>], reason: webpki::Error) {
    let error = refused(authority, chain, NOW);
    assert!(
        matches!(&error, IdentityError::Chain(found) if std::mem::discriminant(found) == std::mem::discriminant(&reason)),
        "{error:?} instead of {reason:?}"
    );
}

#[test]
fn a_revoked_certificate_is_nobody_and_its_neighbour_is_somebody() {
    let ca = ca();
    let authority = Authority::with_lists([ca.der.clone()], [good(&ca, &[SERIAL])]).unwrap();
    authority.in_force(NOW).unwrap();
    refused_for(&authority, &[numbered(&ca, SERIAL)], webpki::Error::CertRevoked);
    assert!(authority.authenticate(&[numbered(&ca, &[0x51, 2, 4])], NOW).is_ok());
}

/// webpki ignores a list's end unless it is told not to: this would let in who was revoked since.
#[test]
fn a_list_that_has_ended_vouches_for_nobody() {
    let ca = ca();
    let authority = Authority::with_lists([ca.der.clone()], [list(&ca, &[], (2026, 4), (2026, 5))]).unwrap();
    let der = [numbered(&ca, SERIAL)];
    let expired = webpki::Error::CrlExpired { time: UnixTime::now(), next_update: UnixTime::now() };
    refused_for(&authority, &der, expired);
    assert!(matches!(authority.in_force(NOW), Err(IdentityError::ListOutOfTime { .. })));
    assert!(authority.authenticate(&der, NOW.plus_ms(-40 * 24 * 3_600 * 1_000)).is_ok(), "it did before");
    let ahead = Authority::with_lists([ca.der.clone()], [list(&ca, &[], (2026, 7), (2026, 8))]).unwrap();
    assert!(matches!(ahead.in_force(NOW), Err(IdentityError::ListOutOfTime { .. })), "dated ahead");
}

#[test]
fn where_lists_are_in_use_every_authority_needs_one() {
    let (old, new) = (ca_of(ca_params("old")), ca_of(ca_params("new")));
    let both = [old.der.clone(), new.der.clone()];
    let half = Authority::with_lists(both.clone(), [good(&old, &[])]).unwrap();
    assert!(matches!(half.in_force(NOW), Err(IdentityError::NoList { authority }) if authority == "CN=new"));
    refused_for(&half, &[numbered(&new, SERIAL)], webpki::Error::UnknownRevocationStatus);
    let none = Authority::with_lists(both.clone(), []).unwrap();
    refused_for(&none, &[numbered(&old, SERIAL)], webpki::Error::UnknownRevocationStatus);
    let whole = Authority::with_lists(both, [good(&new, &[]), good(&old, &[])]).unwrap();
    whole.in_force(NOW).unwrap();
    for ca in [&old, &new] {
        assert!(whole.authenticate(&[numbered(ca, SERIAL)], NOW).is_ok());
    }
}

/// A renewed authority often keeps its name. Matching lists by name alone would judge one by the other's.
#[test]
fn two_authorities_of_one_name_keep_their_lists_apart() {
    let (old, new) = (ca(), ca());
    for lists in [[good(&old, &[SERIAL]), good(&new, &[])], [good(&new, &[]), good(&old, &[SERIAL])]] {
        let authority = Authority::with_lists([old.der.clone(), new.der.clone()], lists).unwrap();
        refused_for(&authority, &[numbered(&old, SERIAL)], webpki::Error::CertRevoked);
        assert!(authority.authenticate(&[numbered(&new, SERIAL)], NOW).is_ok());
    }
}

#[test]
fn the_newer_of_two_lists_holds() {
    let ca = ca();
    let older = list(&ca, &[], (2026, 4), (2026, 8));
    for lists in [[older.clone(), good(&ca, &[SERIAL])], [good(&ca, &[SERIAL]), older]] {
        let authority = Authority::with_lists([ca.der.clone()], lists).unwrap();
        refused_for(&authority, &[numbered(&ca, SERIAL)], webpki::Error::CertRevoked);
    }
}

#[test]
fn an_intermediate_authority_can_be_revoked() {
    let root = ca();
    let mut params = ca_params("intermediate");
    params.serial_number = Some(SerialNumber::from_slice(&[0x33]));
    let below = root.below(params);
    let chain = [numbered(&below, SERIAL), below.der.clone()];
    let with = |lists: Vec<CertificateRevocationListDer<'static>>| {
        Authority::with_lists([root.der.clone()], lists).unwrap()
    };
    assert!(with(vec![good(&root, &[]), good(&below, &[])]).authenticate(&chain, NOW).is_ok());
    let revoked = webpki::Error::CertRevoked;
    refused_for(&with(vec![good(&root, &[&[0x33]]), good(&below, &[])]), &chain, revoked.clone());
    refused_for(&with(vec![good(&root, &[]), good(&below, &[SERIAL])]), &chain, revoked);
    refused_for(&with(vec![good(&root, &[])]), &chain, webpki::Error::UnknownRevocationStatus);
}

#[test]
fn a_list_must_be_an_authoritys_own() {
    let (ours, theirs) = (ca(), ca());
    let cut = good(&ours, &[]).to_vec();
    let mut flipped = cut.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let mut longer = cut.clone();
    longer.push(0);
    for (der, rule) in [
        (good(&theirs, &[]).to_vec(), "it must be signed by the authority it names"),
        (flipped, "it must be signed by the authority it names"),
        (cut[..cut.len() - 1].to_vec(), "it must be an X.509 revocation list"),
        (longer, "it must be one revocation list and nothing after it"),
        (ours.der.to_vec(), "it must be an X.509 revocation list"),
    ] {
        let error = Authority::with_lists([ours.der.clone()], [der.into()]).unwrap_err();
        assert_eq!(error.to_string(), format!("revocation list 0 cannot be used: {rule}"));
        assert_eq!(error.code(), Code::Internal);
    }
}

/// Old and new overlap until the old one ends; its end must not stop the appliance.
#[test]
fn an_authority_that_has_ended_is_only_idle() {
    let mut params = ca_params("old");
    params.not_after = date_time_ymd(2026, 5, 1);
    let (old, new) = (ca_of(params), ca_of(ca_params("new")));
    let both = Authority::with_lists([old.der.clone(), new.der.clone()], [good(&new, &[])]).unwrap();
    both.in_force(NOW).unwrap();
    assert!(both.authenticate(&[numbered(&new, SERIAL)], NOW).is_ok());
    refused(&both, &[numbered(&old, SERIAL)], NOW);
    let alone = Authority::new([old.der.clone()]).unwrap();
    assert!(matches!(alone.in_force(NOW), Err(IdentityError::AuthorityOutOfTime)));
}
