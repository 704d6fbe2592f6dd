//! `Appended` comes from what the store committed, not from a leaf inside a transaction that may still be rolled back.

fn forge(leaf: chancery_audit::Leaf) -> chancery_audit::Appended {
    chancery_audit::Appended::from_committed(leaf)
}

fn claim(leaf: chancery_audit::Leaf) -> chancery_store::Committed<chancery_audit::Leaf> {
    chancery_store::Committed(leaf)
}

fn main() {}
