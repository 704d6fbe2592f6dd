//! A client comes from a verified certificate alone; another's evidence does not lend itself to a new name.
//~ error[E0451]: fields `tenant`, `id` and `shown` of struct `chancery_identity::Client` are private

fn rename(other: chancery_identity::Client, id: chancery_core::ClientId) -> chancery_identity::Client {
    chancery_identity::Client { id, ..other }
}

fn main() {}
