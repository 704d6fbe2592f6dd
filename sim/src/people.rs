//! Who asks: two clients and an operator, whose certificates an authority of fixed keys and dates issues, so that they are
//! the same in every run.

use chancery_core::UnixMillis;
use chancery_identity::{Authority, Client, Operator, Peer};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType, SerialNumber,
};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;

use crate::SimError;
use crate::machine::BEGINNING_MS;

/// The head of an Ed25519 private key in PKCS#8 (RFC 8410, section 7); 32 bytes of seed follow.
const PKCS8_ED25519: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
const DAY_S: i64 = 86_400;

/// Everybody.
#[derive(Clone)]
pub struct People {
    /// Ask for signatures.
    pub clients: Vec<Client>,
    /// Makes wallets and applies policy.
    pub operator: Operator,
}

fn key(seed: u8) -> Result<KeyPair, SimError> {
    let bytes = [&PKCS8_ED25519[..], &[seed; 32]].concat();
    KeyPair::try_from(&PrivatePkcs8KeyDer::from(bytes)).map_err(SimError::certificate)
}

fn params(serial: u64) -> CertificateParams {
    let at = |s: i64| OffsetDateTime::from_unix_timestamp(s).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let mut params = CertificateParams::default();
    params.not_before = at(BEGINNING_MS / 1_000 - DAY_S);
    params.not_after = at(BEGINNING_MS / 1_000 + 365 * DAY_S);
    params.serial_number = Some(SerialNumber::from(serial));
    params
}

impl People {
    /// Issues everybody's certificate and has `identity` look at it.
    ///
    /// # Errors
    /// [`SimError::Certificate`].
    pub fn admitted() -> Result<Self, SimError> {
        let mut authority = params(1);
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let own = authority.self_signed(&key(1)?).map_err(SimError::certificate)?;
        let issuer = Issuer::new(authority, key(1)?);
        let door =
            Authority::new([CertificateDer::from(own.der().to_vec())]).map_err(SimError::certificate)?;
        let admit = |serial: u8, name: &str| {
            let mut asked = params(serial.into());
            let name = name.try_into().map_err(SimError::certificate)?;
            asked.subject_alt_names = vec![SanType::URI(name)];
            asked.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            asked.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            let issued = asked.signed_by(&key(serial)?, &issuer).map_err(SimError::certificate)?;
            let chain = [CertificateDer::from(issued.der().to_vec())];
            door.authenticate(&chain, UnixMillis(BEGINNING_MS)).map_err(SimError::certificate)
        };
        let mut clients = Vec::new();
        for (serial, name) in [(2, "chancery://default/client/a"), (3, "chancery://default/client/b")] {
            if let Peer::Client(client) = admit(serial, name)? {
                clients.push(client);
            }
        }
        match admit(4, "chancery://default/operator/o")? {
            Peer::Operator(operator) => Ok(Self { clients, operator }),
            _ => Err(SimError::Certificate("not an operator".into())),
        }
    }
}
