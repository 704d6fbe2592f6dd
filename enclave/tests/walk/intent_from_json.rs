//! Evidence cannot be read from a file or the wire.

fn main() {
    let _: chancery_intent::Intent = serde_json::from_str("{}").unwrap();
}
