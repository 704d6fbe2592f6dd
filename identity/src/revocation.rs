//! Certificate revocation lists (RFC 5280 section 5): each belongs to the authority whose key signed it.
//!
//! webpki asks the first list that fits a certificate's issuer by name, so here the lists of two authorities of one name
//! are kept apart by signature, and a newer list stands before an older. If this is wrong, a revoked client comes in.

use std::cmp::Reverse;

use rustls_pki_types::CertificateRevocationListDer;
use webpki::{
    CertRevocationList, ExpirationPolicy, OwnedCertRevocationList, RevocationCheckDepth, RevocationOptions,
    RevocationOptionsBuilder, UnknownStatusPolicy,
};
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use crate::{Dates, IdentityError};

/// One list and its dates.
pub(crate) struct List {
    pub(crate) dates: Dates,
    list: CertRevocationList<'static>,
}

/// What is to be believed of a certificate below one authority.
pub(crate) fn options<'a>(lists: &'a [&'a CertRevocationList<'a>]) -> Option<RevocationOptions<'a>> {
    // Every one of these but the depth and the status is webpki's default turned round; they are said all the same.
    Some(
        RevocationOptionsBuilder::new(lists)
            .ok()?
            .with_depth(RevocationCheckDepth::Chain)
            .with_status_policy(UnknownStatusPolicy::Deny)
            .with_expiration_policy(ExpirationPolicy::Enforce)
            .build(),
    )
}

impl List {
    pub(crate) fn inner(&self) -> &CertRevocationList<'static> {
        &self.list
    }
}

/// All lists, each with the authority it belongs to.
#[derive(Default)]
pub(crate) struct Lists {
    /// One entry for each authority, in their order.
    pub(crate) of_authorities: Vec<Vec<List>>,
    /// Issued by somebody below an authority; webpki verifies these on the way down.
    pub(crate) of_others: Vec<List>,
}

impl Lists {
    /// Gives each list to the authority that signed it.
    ///
    /// # Errors
    /// [`IdentityError::List`] when one does not parse, has no end, or carries an authority's name but no signature of
    /// an authority of that name.
    pub(crate) fn sort<'a>(
        authorities: &[X509Certificate<'_>],
        ders: impl IntoIterator<Item = CertificateRevocationListDer<'a>>,
    ) -> Result<Self, IdentityError> {
        let mut lists =
            Self { of_authorities: authorities.iter().map(|_| Vec::new()).collect(), of_others: Vec::new() };
        for (index, der) in ders.into_iter().enumerate() {
            let broken = |rule| IdentityError::List { index, rule };
            let (rest, parsed) = CertificateRevocationList::from_der(&der)
                .map_err(|_| broken("it must be an X.509 revocation list"))?;
            if !rest.is_empty() {
                return Err(broken("it must be one revocation list and nothing after it"));
            }
            let next = parsed.next_update().ok_or_else(|| broken("it must say when the next one comes"))?;
            let dates =
                Dates::new(parsed.issuer().to_string(), parsed.last_update().timestamp(), next.timestamp());
            let list = OwnedCertRevocationList::from_der(&der)
                .map_err(|_| broken("it must be a complete, direct version 2 list"))?
                .into();
            let named: Vec<_> = authorities
                .iter()
                .zip(&mut lists.of_authorities)
                .filter(|(authority, _)| authority.subject().as_raw() == parsed.issuer().as_raw())
                .collect();
            let found = if named.is_empty() {
                Some(&mut lists.of_others)
            } else {
                named
                    .into_iter()
                    .find(|(authority, _)| parsed.verify_signature(authority.public_key()).is_ok())
                    .map(|(_, own)| own)
            };
            found
                .ok_or_else(|| broken("it must be signed by the authority it names"))?
                .push(List { dates, list });
        }
        for own in lists.of_authorities.iter_mut().chain([&mut lists.of_others]) {
            own.sort_by_key(|list| Reverse(list.dates.from));
        }
        Ok(lists)
    }
}
