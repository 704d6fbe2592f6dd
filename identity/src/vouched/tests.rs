//! The published vectors, through the parts that a request's signature is verified with.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;

use super::audience::authority_of;
use super::base::{base, content_digest};
use super::fields::Parameters;
use super::key::{Algorithm, Key};

#[derive(Deserialize)]
struct Vectors {
    keys: BTreeMap<String, Published>,
    vectors: Vec<Vector>,
    skipped: Vec<Skipped>,
}

#[derive(Deserialize)]
struct Published {
    algorithm: String,
    bytes: String,
}

#[derive(Deserialize)]
struct Vector {
    section: String,
    case: String,
    key: String,
    base: Vec<(String, String)>,
    parameters: String,
    signature: String,
    holds: bool,
}

#[derive(Deserialize)]
struct Skipped {
    count: usize,
    reason: String,
}

/// Would catch a signature base that other implementations do not write, and a signature in another encoding.
#[test]
fn agree_with_the_vectors_of_rfc_9421() {
    let Vectors { keys, vectors, skipped } =
        serde_json::from_str(include_str!("../../tests/vectors/rfc9421.json")).unwrap();
    let mut failed = Vec::new();
    for vector in &vectors {
        let Published { algorithm, bytes } = &keys[&vector.key];
        let bytes: Vec<u8> = (0..bytes.len() / 2)
            .map(|at| u8::from_str_radix(&bytes[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        let key = Key::raw(Algorithm::named(algorithm).unwrap(), &bytes);
        let signed = base(&vector.base, &vector.parameters);
        let signature = STANDARD.decode(&vector.signature).unwrap();
        if key.signed(signed.as_bytes(), &signature) != vector.holds {
            failed.push(format!("{}, {}", vector.section, vector.case));
        }
        // None of them covers what a request here must cover.
        assert!(Parameters::parse(&vector.parameters).is_err(), "{}: taken", vector.section);
    }
    let left: BTreeMap<_, _> = skipped.iter().map(|one| (&one.reason, one.count)).collect();
    let total = vectors.len() + left.values().sum::<usize>();
    assert_eq!(total, 13, "messages in B.2, B.3 and B.4");
    println!(
        "\nassurance vectors {}",
        serde_json::json!({"file": "rfc9421", "by": "requests", "total": total, "passed": vectors.len() - failed.len(),
            "skipped": left, "failed": failed})
    );
    assert!(failed.is_empty(), "{failed:?}");
}

/// Would catch a digest in another alphabet, of another hash or without its colons. RFC 9530, Appendix B.1 and D.
#[test]
fn agree_with_the_vectors_of_rfc_9530() {
    let vectors = [
        ("{\"hello\": \"world\"}\n", "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"),
        ("", "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"),
        ("{\"hello\": \"world\"}", "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"),
    ];
    let right = vectors.iter().filter(|(body, digest)| content_digest(body.as_bytes()) == *digest).count();
    println!(
        "\nassurance vectors {}",
        serde_json::json!({"file": "rfc9530", "by": "requests", "total": vectors.len(), "passed": right,
            "skipped": {}, "failed": vec!["rfc9530"; vectors.len() - right]})
    );
    assert_eq!(right, vectors.len());
}

#[test]
fn an_authority_has_one_spelling() {
    for (sent, read) in [
        ("example.org", "example.org"),
        ("Example.ORG:443", "example.org"),
        ("localhost:8443", "localhost:8443"),
        ("127.0.0.1:1", "127.0.0.1:1"),
        ("[::1]:8443", "[::1]:8443"),
        ("[::1]", "[::1]"),
    ] {
        assert_eq!(authority_of(sent).as_deref(), Some(read));
    }
    for bad in [
        "", ":1", "a b", "a:", "a:0x1", "a:08443", "a:70000", "[::1", "[a]:1", "a:1:2", "u@a", "a/b",
        "\u{e9}", "a\n",
    ] {
        assert_eq!(authority_of(bad), None, "{bad:?}");
    }
}
