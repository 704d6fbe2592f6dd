//! Verifies a certificate chain for client authentication and reads who it names.
//!
//! Depends on nothing the TLS layer concluded: the chain is verified here again, so a misconfigured listener still
//! admits nobody. If this is wrong, a stranger becomes a client.

use std::fmt;
use std::time::Duration;

use chancery_core::{Subject, SubjectError, Tenant, UnixMillis};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, TrustAnchor, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::peer::Shown;
use crate::revocation::{self, List, Lists};
use crate::{Dates, IdentityError, Peer};

/// LIMIT: certificates a peer may send; path building is quadratic in them at worst.
const CHAIN_CERTIFICATES: usize = 8;

/// The certificate authorities whose word is taken for who somebody is, and what they took back.
pub struct Authority {
    anchors: Vec<Anchor>,
    /// Lists of authorities below ours.
    others: Vec<List>,
}

struct Anchor {
    trust: TrustAnchor<'static>,
    dates: Dates,
    /// Its own; `None` where it never takes anything back.
    lists: Option<Vec<List>>,
    /// The one tenant whose clients it may name, where it is bound to one.
    tenant: Option<Tenant>,
}

impl Authority {
    /// From the certificates of the authorities. Nothing is ever revoked.
    ///
    /// # Errors
    /// [`IdentityError::NoAuthority`] if there is none, [`IdentityError::Authority`] if one does not parse or is not a
    /// certificate authority.
    pub fn new<'a>(
        certificates: impl IntoIterator<Item = CertificateDer<'a>>,
    ) -> Result<Self, IdentityError> {
        let ders: Vec<_> = certificates.into_iter().collect();
        Ok(Self { anchors: anchors(&ders, &parse(&ders)?)?, others: Vec::new() })
    }

    /// From the certificates of the authorities and their revocation lists (RFC 5280 section 5).
    ///
    /// From then on no certificate is good unless a list that is in date says so: one whose issuer has no list, or only
    /// a list that has ended, is refused. A list in the name of nobody given here belongs to an intermediate authority.
    ///
    /// # Errors
    /// As [`Authority::new`], and [`IdentityError::List`].
    pub fn with_lists<'a>(
        certificates: impl IntoIterator<Item = CertificateDer<'a>>,
        lists: impl IntoIterator<Item = CertificateRevocationListDer<'a>>,
    ) -> Result<Self, IdentityError> {
        let ders: Vec<_> = certificates.into_iter().collect();
        let parsed = parse(&ders)?;
        let mut anchors = anchors(&ders, &parsed)?;
        let lists = Lists::sort(&parsed, lists)?;
        for (anchor, own) in anchors.iter_mut().zip(lists.of_authorities) {
            anchor.lists = Some(own);
        }
        Ok(Self { anchors, others: lists.of_others })
    }

    /// The authority that names one tenant's clients and nobody else, with its list.
    ///
    /// # Errors
    /// As [`Authority::with_lists`].
    pub fn of_tenant(
        tenant: Tenant,
        certificate: CertificateDer<'_>,
        list: CertificateRevocationListDer<'_>,
    ) -> Result<Self, IdentityError> {
        let mut authority = Self::with_lists([certificate], [list])?;
        for anchor in &mut authority.anchors {
            anchor.tenant = Some(tenant.clone());
        }
        Ok(authority)
    }

    /// Both: whoever one of them knows is known.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.anchors.extend(other.anchors);
        self.others.extend(other.others);
        self
    }

    /// The authorities' own dates, in the order they were given.
    pub fn authorities(&self) -> impl Iterator<Item = &Dates> {
        self.anchors.iter().map(|anchor| &anchor.dates)
    }

    /// The revocation lists' dates.
    pub fn lists(&self) -> impl Iterator<Item = &Dates> {
        let own = self.anchors.iter().flat_map(|anchor| &anchor.lists).flatten();
        own.chain(&self.others).map(|list| &list.dates)
    }

    /// Whether everybody who should be admitted at `now` can be. An authority that has ended is only idle, so that old
    /// and new may overlap; one that has not needs a list in date where lists are in use.
    ///
    /// # Errors
    /// [`IdentityError::AuthorityOutOfTime`] if no authority is in date, [`IdentityError::NoList`],
    /// [`IdentityError::ListOutOfTime`].
    pub fn in_force(&self, now: UnixMillis) -> Result<(), IdentityError> {
        let mut idle = true;
        for anchor in self.anchors.iter().filter(|anchor| anchor.dates.hold(now)) {
            idle = false;
            let Some(lists) = &anchor.lists else { continue };
            if lists.is_empty() {
                return Err(IdentityError::NoList { authority: anchor.dates.name.clone() });
            }
            in_date(lists, now)?;
        }
        if idle {
            return Err(IdentityError::AuthorityOutOfTime);
        }
        in_date(&self.others, now)
    }

    /// Says who showed this chain (leaf first), as of `now`.
    ///
    /// Possession of the private key is the TLS handshake's part; everything the chain itself can prove is proved here.
    ///
    /// # Errors
    /// Any doubt is an [`IdentityError`] whose code is `unauthenticated`.
    pub fn authenticate(&self, chain: &[CertificateDer<'_>], now: UnixMillis) -> Result<Peer, IdentityError> {
        let (leaf, intermediates) = chain.split_first().ok_or(IdentityError::NoCertificate)?;
        if chain.len() > CHAIN_CERTIFICATES {
            return Err(IdentityError::Chain(webpki::Error::MaximumPathDepthExceeded));
        }
        let anchor = self.verify(leaf, intermediates, now)?;
        let (rest, certificate) = X509Certificate::from_der(leaf).map_err(|_| IdentityError::Certificate)?;
        if !rest.is_empty() {
            return Err(IdentityError::Certificate);
        }
        require_client_auth(&certificate)?;
        let Subject { tenant, role, name } = subject_of(&certificate)?;
        if anchor.tenant.as_ref().is_some_and(|own| *own != tenant) {
            return Err(IdentityError::Tenant);
        }
        Ok(Peer::admit(role, tenant, name, Shown::new(leaf)))
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixMillis,
    ) -> Result<&Anchor, IdentityError> {
        let now_ms = u64::try_from(now.0).unwrap_or(0);
        let time = UnixTime::since_unix_epoch(Duration::from_millis(now_ms));
        let leaf = EndEntityCert::try_from(leaf).map_err(IdentityError::Chain)?;
        let mut refused = IdentityError::Chain(webpki::Error::UnknownIssuer);
        // Each authority apart: what one signed is judged by that one's lists, whatever the others are called.
        for anchor in &self.anchors {
            let lists = anchor.lists.as_ref().map(|own| own.iter().chain(&self.others).map(List::inner));
            let lists: Option<Vec<_>> = lists.map(Iterator::collect);
            let revocation = lists.as_deref().and_then(revocation::options);
            if revocation.is_none() && lists.is_some() {
                // webpki takes no list at all for a wish not to ask.
                refused = IdentityError::Chain(webpki::Error::UnknownRevocationStatus);
                continue;
            }
            let path = leaf.verify_for_usage(
                ALL_VERIFICATION_ALGS,
                std::slice::from_ref(&anchor.trust),
                intermediates,
                time,
                KeyUsage::client_auth(),
                revocation,
                None,
            );
            match path {
                // RFC 5280 leaves an anchor's own dates to the relying party, and webpki does not look at them.
                Ok(_) if anchor.dates.hold(now) => return Ok(anchor),
                Ok(_) => refused = IdentityError::AuthorityOutOfTime,
                // Not this authority's, or one of the same name.
                Err(webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey) => {}
                Err(error) => refused = IdentityError::Chain(error),
            }
        }
        Err(refused)
    }
}

fn parse<'a>(ders: &'a [CertificateDer<'_>]) -> Result<Vec<X509Certificate<'a>>, IdentityError> {
    let parse_one = |(index, der): (usize, &'a CertificateDer<'_>)| {
        let broken = |rule| IdentityError::Authority { index, rule };
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|_| broken("it must be an X.509 certificate"))?;
        if !rest.is_empty() || !certificate.is_ca() {
            return Err(broken("it must be marked as a certificate authority"));
        }
        Ok(certificate)
    };
    let parsed: Vec<_> = ders.iter().enumerate().map(parse_one).collect::<Result<_, _>>()?;
    if parsed.is_empty() { Err(IdentityError::NoAuthority) } else { Ok(parsed) }
}

fn anchors(
    ders: &[CertificateDer<'_>],
    parsed: &[X509Certificate<'_>],
) -> Result<Vec<Anchor>, IdentityError> {
    let anchor = |(index, (der, certificate)): (usize, (&CertificateDer<'_>, &X509Certificate<'_>))| {
        let trust = webpki::anchor_from_trusted_cert(der)
            .map_err(|_| IdentityError::Authority { index, rule: "it must be an X.509 v3 certificate" })?
            .to_owned();
        Ok(Anchor { trust, dates: Dates::of(certificate), lists: None, tenant: None })
    };
    ders.iter().zip(parsed).enumerate().map(anchor).collect()
}

fn in_date(lists: &[List], now: UnixMillis) -> Result<(), IdentityError> {
    let ended = lists.iter().find(|list| !list.dates.hold(now));
    ended.map_or(Ok(()), |list| Err(IdentityError::ListOutOfTime { issuer: list.dates.name.clone() }))
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("anchors", &self.anchors.len())
            .field("lists", &self.lists().count())
            .finish()
    }
}

/// webpki takes a certificate without any extended key usage for every use; a client's must say `clientAuth`.
pub(crate) fn require_client_auth(certificate: &X509Certificate<'_>) -> Result<(), IdentityError> {
    match certificate.extended_key_usage().map_err(IdentityError::Extensions)? {
        Some(usage) if usage.value.client_auth => Ok(()),
        _ => Err(IdentityError::NotForClients),
    }
}

/// Whom the one subject alternative name names. Any second name, of any kind, makes the certificate ambiguous.
pub(crate) fn subject_of(certificate: &X509Certificate<'_>) -> Result<Subject, IdentityError> {
    let names = certificate
        .subject_alternative_name()
        .map_err(IdentityError::Extensions)?
        .map_or(&[][..], |extension| extension.value.general_names.as_slice());
    match names {
        [GeneralName::URI(uri)] => {
            uri.parse().map_err(|error: SubjectError| IdentityError::Name { rule: error.0 })
        }
        [_] => Err(IdentityError::Name { rule: "it is a URI" }),
        _ => Err(IdentityError::Names { count: names.len() }),
    }
}
