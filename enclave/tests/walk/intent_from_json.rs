//! Evidence cannot be read from a file or the wire.
//~ error[E0277]: the trait bound `Intent: serde::Deserialize<'de>` is not satisfied

fn main() {
    let _: chancery_intent::Intent = serde_json::from_str("{}").unwrap();
}
