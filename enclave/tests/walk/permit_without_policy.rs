//! A permit comes from `decide` alone, and one permit is for one use.

fn forge() -> chancery_policy::Permit {
    chancery_policy::Permit { signing_digest: [0; 32] }
}

fn twice(permit: &chancery_policy::Permit) -> chancery_policy::Permit {
    permit.clone()
}

fn main() {}
