//! Certificates of peers, and authorities with their revocation lists as files hold them.

use std::sync::LazyLock;

use chancery_core::UnixMillis;
use chancery_identity::{Authority, Peer};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};

use crate::Seen;

/// 2026-06-01T00:00:00Z.
const NOW: UnixMillis = UnixMillis(1_780_272_000_000);
const NAMES: [&str; 3] = [
    "chancery://default/client/backend",
    "chancery://default/operator/alice",
    "chancery://default/auditor/eve",
];

struct World {
    authority: Authority,
    leaves: Vec<Vec<u8>>,
    files: String,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2030, 1, 1));
    let key = KeyPair::generate().unwrap();
    let root = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let leaf = |name: &str| {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(name.try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2027, 1, 1));
        params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap().der().to_vec()
    };
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2026, 5, 1),
        next_update: date_time_ymd(2026, 7, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: vec![RevokedCertParams {
            serial_number: SerialNumber::from(9),
            revocation_time: date_time_ymd(2026, 5, 1),
            reason_code: None,
            invalidity_date: None,
        }],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = list.signed_by(&issuer).unwrap().pem().unwrap();
    World {
        authority: Authority::new([root.der().clone()]).unwrap(),
        leaves: NAMES.map(leaf).into(),
        files: format!("{}{list}", root.pem()),
    }
});

/// A peer's certificate in DER. A name that is believed was given out.
pub(super) fn certificate(input: &[u8]) -> Seen {
    let chain = [CertificateDer::from(input)];
    match WORLD.authority.authenticate(&chain, NOW) {
        Err(error) => Seen::refused(&error),
        Ok(peer) => {
            let (role, id) = match &peer {
                Peer::Client(client) => ("client", client.id().to_string()),
                other => (other.role().as_str(), other.id().to_string()),
            };
            let name = format!("chancery://default/{role}/{id}");
            assert!(NAMES.contains(&name.as_str()), "{name} was never given out");
            Seen::accepted(&role)
        }
    }
}

pub(super) fn certificates() -> Vec<Vec<u8>> {
    WORLD.leaves.clone()
}

/// Authorities and lists in PEM, as the door reads them.
pub(super) fn revocation(input: &[u8]) -> Seen {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(input).collect();
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(input).collect();
    let (Ok(certificates), Ok(lists)) = (certificates, lists) else { return Seen::refused(&"not PEM") };
    let (of_lists, given) = (lists.len(), certificates.len());
    match Authority::with_lists(certificates, lists) {
        Err(error) => Seen::refused(&error),
        Ok(authority) => {
            assert_eq!(authority.authorities().count(), given);
            assert_eq!(authority.lists().count(), of_lists);
            for leaf in &WORLD.leaves {
                // Whoever is admitted is under an authority in date.
                if authority.authenticate(&[CertificateDer::from(leaf.as_slice())], NOW).is_ok() {
                    assert!(authority.lists().count() > 0);
                }
            }
            Seen::accepted(&(given.min(3), of_lists.min(3), authority.in_force(NOW).is_ok()))
        }
    }
}

pub(super) fn revocations() -> Vec<Vec<u8>> {
    vec![WORLD.files.clone().into(), WORLD.files.repeat(2).into()]
}
