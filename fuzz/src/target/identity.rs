//! Certificates of peers, authorities with their revocation lists as files hold them, and requests' own signatures.

use std::sync::LazyLock;

use chancery_core::UnixMillis;
use chancery_identity::{Algorithm, Application, Authority, Client, Draft, Fields, Message, Peer, testimony};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, PKCS_ED25519, RevokedCertParams, SanType, SerialNumber,
    SigningKey as _, date_time_ymd,
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
    /// Certificate requests, each by a key of its own.
    requests: Vec<Vec<u8>>,
    files: String,
    client: Client,
    /// Its one good signature: `Signature-Input`, `Signature` and `Content-Digest`, a line each.
    signature: String,
}

const MESSAGE: Message<'static> = Message {
    method: "POST",
    authority: "chancery.example",
    path: "/v1/sign",
    idempotency_key: "order-42",
    body: b"{}",
};

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2030, 1, 1));
    let key = KeyPair::generate().unwrap();
    let root = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let leaf = |name: &str, key: &KeyPair| {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(name.try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2027, 1, 1));
        params.signed_by(key, &issuer).unwrap().der().to_vec()
    };
    let authority = Authority::new([root.der().clone()]).unwrap();
    let own = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let Peer::Client(client) =
        authority.authenticate(&[CertificateDer::from(leaf(NAMES[0], &own))], NOW).unwrap()
    else {
        panic!("a client")
    };
    let draft =
        Draft::new(&MESSAGE, client.fingerprint(), Algorithm::Ed25519, NOW.0 / 1_000, "0123456789abcdef")
            .unwrap();
    let [(_, digest), (_, input), (_, signature)] = draft.fields(&own.sign(draft.base().as_bytes()).unwrap());
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
        authority,
        requests: NAMES
            .map(|name| {
                let mut params = CertificateParams::default();
                params.subject_alt_names = vec![SanType::URI(name.try_into().unwrap())];
                params.serialize_request(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
            })
            .into(),
        leaves: NAMES.map(|name| leaf(name, &KeyPair::generate().unwrap())).into(),
        files: format!("{}{list}", root.pem()),
        client,
        signature: format!("{input}\n{signature}\n{digest}"),
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

/// A certificate request in DER. A key and a name that are believed are those of a request that its key signed.
pub(super) fn application(input: &[u8]) -> Seen {
    match Application::from_der(input) {
        Err(error) => Seen::refused(&error),
        Ok(application) => {
            let made = WORLD.requests.iter().map(|request| Application::from_der(request).unwrap());
            assert!(made.into_iter().any(|made| made == application), "nobody asked for this");
            Seen::accepted(application.client())
        }
    }
}

pub(super) fn applications() -> Vec<Vec<u8>> {
    WORLD.requests.clone()
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

/// A request's own signature, in three lines. The one that holds is the one that was made: only its label can be another.
pub(super) fn request_signature(input: &[u8]) -> Seen {
    let Ok(text) = std::str::from_utf8(input) else { return Seen::refused(&"not text") };
    let mut lines = text.split('\n');
    let (Some(signature_input), Some(signature), Some(content_digest), None) =
        (lines.next(), lines.next(), lines.next(), lines.next())
    else {
        return Seen::refused(&"not three lines");
    };
    let fields = Fields { signature_input, signature, content_digest };
    match WORLD.client.vouch(MESSAGE, &fields, NOW) {
        Err(error) => Seen::refused(&error),
        Ok(vouched) => {
            let (good_input, good_signature) = WORLD.signature.split_once('\n').unwrap();
            assert_eq!(signature_input.split_once('=').unwrap().1, good_input.split_once('=').unwrap().1);
            let (_, good_signature) = good_signature.split_once('\n').unwrap().0.split_once('=').unwrap();
            assert_eq!(signature.split_once('=').unwrap().1, good_signature);
            // Whoever keeps it can show it.
            let certificate = WORLD.client.certificate();
            testimony(certificate, &MESSAGE, vouched.parameters(), vouched.signature()).unwrap();
            Seen::accepted(&"signed")
        }
    }
}

pub(super) fn request_signatures() -> Vec<Vec<u8>> {
    // Read to the end, and refused there: the shapes that structured fields can have.
    let others = [
        "a=(b c;d \"e\";f=?0);g=:AA==:;h=@1\nsig=:AA==:;i=1.5\nsha-256=::",
        "a=1, b;c, d=(), e=%\"x\"\na=?1\n",
    ];
    let all = std::iter::once(WORLD.signature.as_str()).chain(others);
    all.map(|text| text.as_bytes().to_vec()).collect()
}
