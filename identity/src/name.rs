//! The name a certificate gives its holder: `chancery://<tenant>/<role>/<name>`, in one spelling only.
//! If this is lenient, one certificate could be read as two people.

use chancery_core::{ClientId, Tenant};

use crate::{IdentityError, Role};

const SCHEME: &str = "chancery://";

/// Reads the one URI of a certificate.
///
/// # Errors
/// [`IdentityError::Name`]: no percent-encoding, no port, no query, no empty segment, no other spelling is accepted.
pub(crate) fn parse(uri: &str) -> Result<(Tenant, Role, ClientId), IdentityError> {
    let broken = |rule| IdentityError::Name { rule };
    let path = uri.strip_prefix(SCHEME).ok_or_else(|| broken("it starts with `chancery://`"))?;
    let mut segments = path.split('/');
    let (Some(tenant), Some(role), Some(name), None) =
        (segments.next(), segments.next(), segments.next(), segments.next())
    else {
        return Err(broken("it has three segments: tenant, role, name"));
    };
    let tenant = tenant.parse().map_err(|_| broken("the tenant keeps to its alphabet"))?;
    let role = match role {
        "client" => Role::Client,
        "auditor" => Role::Auditor,
        "operator" => Role::Operator,
        "officer" => Role::Officer,
        _ => return Err(broken("the role is `client`, `auditor`, `operator` or `officer`")),
    };
    let name = name.parse().map_err(|_| broken("the name keeps to its alphabet"))?;
    Ok((tenant, role, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_spelling() {
        let (tenant, role, name) = parse("chancery://default/client/backend-1").unwrap();
        assert_eq!((tenant.as_str(), role, name.as_str()), ("default", Role::Client, "backend-1"));
        for bad in [
            "",
            "chancery://",
            "chancery://default/client",
            "chancery://default/client/",
            "chancery://default/client/a/",
            "chancery://default/client/a/b",
            "chancery:///client/a",
            "chancery://default//a",
            "chancery://default/admin/a",
            "chancery://default/Client/a",
            "Chancery://default/client/a",
            "CHANCERY://default/client/a",
            "https://default/client/a",
            "chancery://default:1/client/a",
            "chancery://user@default/client/a",
            "chancery://default/client/a?b",
            "chancery://default/client/a#b",
            "chancery://default/client/%61",
            "chancery://default/client/a%2fb",
            "chancery://default/client/A",
            "chancery://default/client/..",
            "chancery://default/client/a\0",
            " chancery://default/client/a",
            "chancery://default/client/a ",
        ] {
            assert!(parse(bad).is_err(), "{bad:?} was read as a name");
        }
    }
}
