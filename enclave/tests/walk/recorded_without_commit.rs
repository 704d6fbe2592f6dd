//! `Appended` comes from what the store committed, not from a leaf inside a transaction that may still be rolled back.
//~ error[E0423]: cannot initialize a tuple struct which contains private fields
//~ error[E0308]: mismatched types

fn forge(leaf: chancery_audit::Leaf) -> chancery_audit::Appended {
    chancery_audit::Appended::from_committed(leaf)
}

fn claim(leaf: chancery_audit::Leaf) -> chancery_store::Committed<chancery_audit::Leaf> {
    chancery_store::Committed(leaf)
}

fn main() {}
