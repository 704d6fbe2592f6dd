//! Whom a request is for: a signature made for one appliance is none at another that knows the same client.

use rustls_pki_types::{CertificateDer, ServerName};
use webpki::EndEntityCert;

/// Host and port of an `https` server in their one spelling (RFC 9421 section 2.2.3): lower case, the port only where it is
/// not 443. `None` for anything else than that.
#[must_use]
pub fn authority_of(text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    let text = text.strip_suffix(":443").unwrap_or(&text);
    let (host, port) = split(text);
    let named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let is_host = match in_brackets(host) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(named),
    };
    let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|number| number.to_string() == port));
    (is_host && is_port).then(|| text.to_owned())
}

/// Whether the host of this authority is one that a server's certificate names.
#[must_use]
pub fn is_named_by(certificate: &CertificateDer<'_>, authority: &str) -> bool {
    let (host, _) = split(authority);
    let name = ServerName::try_from(in_brackets(host).unwrap_or(host));
    let certificate = EndEntityCert::try_from(certificate);
    name.ok()
        .zip(certificate.ok())
        .is_some_and(|(name, certificate)| certificate.verify_is_valid_for_subject_name(&name).is_ok())
}

fn split(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

fn in_brackets(host: &str) -> Option<&str> {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']'))
}
