//! Measures derivation: microseconds for the key of one address from the seed, here and by `bitcoin`'s own. Prints one JSON
//! row {name, value, unit} a line. Run with `cargo run --release -p chancery-hd --example derive`; `--quick` takes fewer.
#![allow(clippy::print_stdout, reason = "figures go to standard output")]

use std::hint::black_box;
use std::time::Instant;

use bitcoin::NetworkKind;
use bitcoin::bip32::{DerivationPath, Xpriv};
use bitcoin::secp256k1::Secp256k1;
use chancery_hd::{Curve, Key, Path};
use chancery_secret::SecretBytes;

fn row(name: &str, rounds: u32, start: Instant) {
    let value = (start.elapsed().as_secs_f64() * 1e7 / f64::from(rounds)).round() / 10.0;
    println!("{}", serde_json::json!({ "name": name, "value": value, "unit": "us" }));
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rounds: u32 = if std::env::args().any(|argument| argument == "--quick") { 500 } else { 5_000 };
    let seed = SecretBytes::random(32)?;
    let account = Path::account(84, 0, 0);
    let start = Instant::now();
    for index in 0..rounds {
        black_box(Key::derive(Curve::Secp256k1, &seed, &account.then(&[0, index])?)?.public()?);
    }
    row("a derived key, from the seed", rounds, start);

    let secp = Secp256k1::new();
    let start = Instant::now();
    for index in 0..rounds {
        let path: DerivationPath = format!("m/84'/0'/0'/0/{index}").parse()?;
        let root = Xpriv::new_master(NetworkKind::Main, seed.expose())?;
        black_box(root.derive_priv(&secp, &path)?.private_key.public_key(&secp));
    }
    row("a derived key, from the seed, by `bitcoin` alone", rounds, start);
    Ok(())
}
