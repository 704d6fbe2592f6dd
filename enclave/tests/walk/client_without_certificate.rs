//! A client comes from a verified certificate alone.

fn forge(tenant: chancery_core::Tenant, id: chancery_core::ClientId) -> chancery_identity::Client {
    chancery_identity::Client { tenant, id, fingerprint: todo!() }
}

fn main() {}
