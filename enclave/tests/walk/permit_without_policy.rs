//! A permit comes from `decide` alone, and one permit is for one use.
//~ error: cannot construct `Permit` with struct literal syntax due to private fields
//~ error[E0308]: mismatched types

fn forge() -> chancery_policy::Permit {
    chancery_policy::Permit { signing_digest: [0; 32] }
}

fn twice(permit: &chancery_policy::Permit) -> chancery_policy::Permit {
    permit.clone()
}

fn main() {}
