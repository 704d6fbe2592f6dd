//! A request's own signature, through the public door: one good request of each kind of key, and everything that must not
//! pass for it. Each case would let somebody else ask in the client's name.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test support"
)]

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use chancery_core::{Code, UnixMillis, limit};
use chancery_identity::{
    Algorithm, Authority, Client, Draft, Fields, Fingerprint, IdentityError, Message, Peer, Vouched,
    is_named_by, testimony,
};
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SanType,
};
use rustls_pki_types::CertificateDer;

/// 2026-06-01T00:00:00Z.
const NOW: UnixMillis = UnixMillis(1_780_272_000_000);
const NOW_S: i64 = NOW.0 / 1_000;
const NONCE: &str = "0123456789abcdef";
const BODY: &[u8] = br#"{"wallet":"treasury","payload":{"type":"ethereum.message","data":"0x00"}}"#;
const KINDS: [&rcgen::SignatureAlgorithm; 2] = [&PKCS_ECDSA_P256_SHA256, &PKCS_ED25519];

struct World {
    known: Authority,
    issuer: Issuer<'static, KeyPair>,
}

struct Person {
    client: Client,
    key: KeyPair,
}

fn world() -> World {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let root = params.self_signed(&key).unwrap();
    World { known: Authority::new([root.der().clone()]).unwrap(), issuer: Issuer::new(params, key) }
}

impl World {
    fn certificate(&self, role: &str, name: &str, key: &KeyPair) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        let uri = format!("chancery://default/{role}/{name}");
        params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.signed_by(key, &self.issuer).unwrap().der().clone()
    }

    fn person(&self, name: &str, kind: &'static rcgen::SignatureAlgorithm) -> Person {
        let key = KeyPair::generate_for(kind).unwrap();
        let chain = [self.certificate("client", name, &key)];
        let Peer::Client(client) = self.known.authenticate(&chain, NOW).unwrap() else { panic!("a client") };
        Person { client, key }
    }
}

impl Person {
    fn algorithm(&self) -> Algorithm {
        if self.key.is_compatible(&PKCS_ED25519) { Algorithm::Ed25519 } else { Algorithm::EcdsaP256Sha256 }
    }

    fn sign(&self, base: &[u8]) -> Vec<u8> {
        let der = self.key.serialize_der();
        match self.algorithm() {
            Algorithm::Ed25519 => Ed25519KeyPair::from_pkcs8(&der).unwrap().sign(base).as_ref().to_vec(),
            Algorithm::EcdsaP256Sha256 => {
                let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der).unwrap();
                key.sign(&SystemRandom::new(), base).unwrap().as_ref().to_vec()
            }
        }
    }

    /// A good request, just signed.
    fn asks(&self) -> Asked {
        self.asks_at(NOW_S)
    }

    fn asks_at(&self, created_s: i64) -> Asked {
        let draft =
            Draft::new(&message(), self.client.fingerprint(), self.algorithm(), created_s, NONCE).unwrap();
        let [(_, digest), (_, input), (_, signature)] = draft.fields(&self.sign(draft.base().as_bytes()));
        Asked { digest, input, signature, ..Asked::of(message()) }
    }

    /// A signature by this key over whatever is asked for: what a client could send if it wanted to.
    fn asks_with(&self, components: &[&str], parameters: &str) -> Asked {
        let listed: Vec<_> = components.iter().map(|name| format!("\"{name}\"")).collect();
        let parameters = format!("({}){parameters}", listed.join(" "));
        let signature = bytes(&self.sign(base_of(components, &parameters).as_bytes()));
        Asked { input: format!("sig={parameters}"), signature, ..Asked::of(message()) }
    }

    fn parameters(&self) -> String {
        let (certificate, alg) = (self.client.fingerprint(), self.algorithm().as_str());
        format!(";created={NOW_S};nonce=\"{NONCE}\";keyid=\"{certificate}\";alg=\"{alg}\";tag=\"chancery\"")
    }

    #[track_caller]
    fn refused(&self, asked: &Asked, why: &str) {
        let error = self.vouch(asked, NOW).expect_err(why);
        assert_eq!(error.code(), Code::RequestSignatureInvalid, "{why}: {error}");
    }

    fn vouch(&self, asked: &Asked, now: UnixMillis) -> Result<Vouched, IdentityError> {
        let fields = Fields {
            signature_input: &asked.input,
            signature: &asked.signature,
            content_digest: &asked.digest,
        };
        self.client.vouch(asked.message(), &fields, now)
    }
}

/// A request as it arrives.
#[derive(Clone, Debug)]
struct Asked {
    method: String,
    authority: String,
    path: String,
    key: String,
    body: Vec<u8>,
    digest: String,
    input: String,
    signature: String,
}

fn message() -> Message<'static> {
    Message {
        method: "POST",
        authority: "chancery.example:8443",
        path: "/v1/sign",
        idempotency_key: "order-42",
        body: BODY,
    }
}

/// The signature base of the good message over these components, written by hand.
fn base_of(components: &[&str], parameters: &str) -> String {
    let good = Asked::of(message());
    let mut base = String::new();
    for name in components {
        let value = match name.trim_start_matches('@') {
            "method" => &good.method,
            "authority" => &good.authority,
            "path" => &good.path,
            "idempotency-key" => &good.key,
            _ => &good.digest,
        };
        base += &format!("\"{name}\": {value}\n");
    }
    base + &format!("\"@signature-params\": {parameters}")
}

fn bytes(signature: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    format!("sig=:{}:", STANDARD.encode(signature))
}

impl Asked {
    fn of(message: Message<'_>) -> Self {
        let draft = Draft::new(&message, &Fingerprint::of(b""), Algorithm::Ed25519, 0, NONCE).unwrap();
        let [(_, digest), ..] = draft.fields(&[]);
        Self {
            method: message.method.to_owned(),
            authority: message.authority.to_owned(),
            path: message.path.to_owned(),
            key: message.idempotency_key.to_owned(),
            body: message.body.to_owned(),
            digest,
            input: String::new(),
            signature: String::new(),
        }
    }

    fn message(&self) -> Message<'_> {
        Message {
            method: &self.method,
            authority: &self.authority,
            path: &self.path,
            idempotency_key: &self.key,
            body: &self.body,
        }
    }

    fn digest_of(body: &[u8]) -> String {
        Self::of(Message { body, ..message() }).digest
    }
}

#[test]
fn what_a_client_signed_itself_is_vouched_for() {
    let world = world();
    for kind in KINDS {
        let person = world.person("backend", kind);
        let asked = person.asks();
        let vouched = person.vouch(&asked, NOW).unwrap();
        assert_eq!(vouched.client(), &person.client);
        assert_eq!((vouched.idempotency_key(), vouched.body(), vouched.nonce()), ("order-42", BODY, NONCE));
        let shown = testimony(
            person.client.certificate(),
            &asked.message(),
            vouched.parameters(),
            vouched.signature(),
        )
        .unwrap();
        assert_eq!((shown.client.as_str(), shown.created), ("backend", NOW));
        // Another order of the parameters and another label are another spelling of nothing that counts.
        let (_, rest) =
            person.parameters().split_once(";nonce").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        let turned = format!(";nonce{rest};created={NOW_S}");
        let asked = person.asks_with(&COMPONENTS, &turned);
        person.vouch(&asked, NOW).unwrap();
        let renamed = Asked {
            input: asked.input.replacen("sig", "a.1", 1),
            signature: asked.signature.replacen("sig", "a.1", 1),
            ..asked
        };
        person.vouch(&renamed, NOW).unwrap();
    }
}

const COMPONENTS: [&str; 5] = ["@method", "@authority", "@path", "content-digest", "idempotency-key"];

/// Would catch a request that somebody on its way changed.
#[test]
fn nothing_that_is_covered_can_change() {
    let world = world();
    for kind in KINDS {
        let person = world.person("backend", kind);
        let good = person.asks();
        let other = br#"{"wallet":"treasury","payload":{"type":"ethereum.message","data":"0x01"}}"#;
        for (changed, why) in [
            (Asked { method: "PUT".into(), ..good.clone() }, "another method"),
            (Asked { path: "/v1/preview".into(), ..good.clone() }, "another path"),
            (Asked { authority: "other.example:8443".into(), ..good.clone() }, "another appliance"),
            (Asked { authority: "chancery.example".into(), ..good.clone() }, "another port"),
            (Asked { key: "order-43".into(), ..good.clone() }, "another key"),
            (Asked { body: other.to_vec(), ..good.clone() }, "another body"),
            (
                Asked { body: other.to_vec(), digest: Asked::digest_of(other), ..good.clone() },
                "and its digest",
            ),
            (Asked { body: Vec::new(), ..good.clone() }, "no body"),
            (Asked { digest: Asked::digest_of(other), ..good.clone() }, "another digest"),
        ] {
            person.refused(&changed, why);
        }
        person.vouch(&good, NOW).unwrap();
    }
}

/// Would catch a signature of somebody else, or of the client's for somebody else.
#[test]
fn only_the_client_s_own_key_counts() {
    let world = world();
    let [ann, bob] = ["ann", "bob"].map(|name| world.person(name, &PKCS_ED25519));
    bob.refused(&ann.asks(), "another client's request");
    // Bob's key, and Ann's certificate named.
    let stolen = bob.asks_with(&COMPONENTS, &ann.parameters());
    ann.refused(&stolen, "signed by another key");
    bob.refused(&stolen, "for another certificate");
    // One key under two names: the signature says which of them asked.
    let twice = Person {
        client: match world.known.authenticate(&[world.certificate("client", "ann-too", &ann.key)], NOW) {
            Ok(Peer::Client(client)) => client,
            other => panic!("{other:?}"),
        },
        key: KeyPair::try_from(ann.key.serialize_der()).unwrap(),
    };
    twice.refused(&ann.asks(), "the same key, another name");
    let p384 = world.person("backend", &PKCS_ECDSA_P384_SHA384);
    p384.refused(&ann.asks_with(&COMPONENTS, &ann.parameters()), "a key of another kind");
    // The other algorithm's name with this key.
    let alg = ann.parameters().replace("ed25519", "ecdsa-p256-sha256");
    ann.refused(&ann.asks_with(&COMPONENTS, &alg), "another algorithm than the key's");
    // Of operators there is no testimony.
    let operator = world.certificate("operator", "op", &ann.key);
    let parameters = ann
        .parameters()
        .replace(&ann.client.fingerprint().to_string(), &Fingerprint::of(&operator).to_string());
    let asked = ann.asks_with(&COMPONENTS, &parameters);
    let signature = base64_of(&asked.signature);
    let shown = testimony(&operator, &asked.message(), asked.input.trim_start_matches("sig="), &signature);
    assert!(shown.is_err(), "{shown:?}");
}

fn base64_of(field: &str) -> Vec<u8> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    STANDARD.decode(field.trim_start_matches("sig=:").trim_end_matches(':')).unwrap()
}

/// Would catch a captured request that is good for ever, or one that is dated ahead to be used later.
#[test]
fn it_was_made_just_now() {
    let world = world();
    let person = world.person("backend", &PKCS_ED25519);
    let window_s = limit::SIGNATURE_MS / 1_000;
    for (created_s, good) in [
        (NOW_S - window_s, true),
        (NOW_S - window_s - 1, false),
        (NOW_S + window_s, true),
        (NOW_S + window_s + 1, false),
        (0, false),
        (-1, false),
        (999_999_999_999_999, false),
        (-999_999_999_999_999, false),
    ] {
        let asked = person.asks_at(created_s);
        assert_eq!(person.vouch(&asked, NOW).is_ok(), good, "{} s away", created_s - NOW_S);
    }
    assert!(person.vouch(&person.asks(), UnixMillis(i64::MAX)).is_err());
    assert!(person.vouch(&person.asks(), UnixMillis(i64::MIN)).is_err());
}

/// Would catch a signature that covers less than it must, whoever made it; each of these is by the right key.
#[test]
fn the_covered_components_are_fixed() {
    let world = world();
    let person = world.person("backend", &PKCS_ED25519);
    let parameters = person.parameters();
    person.vouch(&person.asks_with(&COMPONENTS, &parameters), NOW).unwrap();
    person.refused(&person.asks_with(&[], &parameters), "nothing");
    for left_out in COMPONENTS {
        let less: Vec<_> = COMPONENTS.into_iter().filter(|name| *name != left_out).collect();
        person.refused(&person.asks_with(&less, &parameters), left_out);
    }
    for (components, why) in [
        (vec!["@method", "@authority", "@path", "content-digest", "idempotency-key", "date"], "one more"),
        (vec!["@method", "@authority", "@path", "content-digest", "idempotency-key", "@path"], "one twice"),
        (vec!["@authority", "@method", "@path", "content-digest", "idempotency-key"], "another order"),
        (vec!["@method", "@authority", "@target-uri", "content-digest", "idempotency-key"], "another one"),
        (vec!["@method", "@authority", "@path", "Content-Digest", "idempotency-key"], "upper case"),
    ] {
        person.refused(&person.asks_with(&components, &parameters), why);
    }
    // All of it is signed, and the list says less: other readers of the list would believe it.
    let listed: Vec<_> = COMPONENTS[..4].iter().map(|name| format!("\"{name}\"")).collect();
    let shorter = format!("({}){parameters}", listed.join(" "));
    let whole = person.asks_with(&COMPONENTS, &parameters);
    let base = base_of(&COMPONENTS, &shorter);
    let signature = bytes(&person.sign(base.as_bytes()));
    person.refused(&Asked { input: format!("sig={shorter}"), signature, ..whole }, "a list that says less");
    // A component with a parameter is another component (RFC 9421 section 2.1).
    for parameter in [";sf", ";req", ";bs", ";tr", ";key=\"sha-256\""] {
        let asked = person.asks();
        let input = asked.input.replacen("\"content-digest\"", &format!("\"content-digest\"{parameter}"), 1);
        person.refused(&Asked { input, ..asked }, parameter);
    }
}

/// Would catch a parameter that is missing, there twice, or says something nobody here understands.
#[test]
fn the_parameters_are_fixed() {
    let world = world();
    let person = world.person("backend", &PKCS_ED25519);
    let parameters = person.parameters();
    let parts: Vec<&str> = parameters.split_inclusive(';').collect();
    assert_eq!(parts.len(), 6);
    let all: Vec<&str> = parameters.trim_start_matches(';').split(';').collect();
    for left_out in 0..all.len() {
        let mut less = all.clone();
        let name = less.remove(left_out);
        person.refused(&person.asks_with(&COMPONENTS, &format!(";{}", less.join(";"))), name);
        let twice = format!("{parameters};{}", all[left_out]);
        person.refused(&person.asks_with(&COMPONENTS, &twice), all[left_out]);
    }
    for (from, to) in [
        ("tag=\"chancery\"", "tag=\"chancery\";expires=1880272000"),
        ("tag=\"chancery\"", "tag=\"chancery\";extra"),
        ("tag=\"chancery\"", "tag=\"other\""),
        ("tag=\"chancery\"", "tag=chancery"),
        ("alg=\"ed25519\"", "alg=\"rsa-pss-sha512\""),
        ("alg=\"ed25519\"", "alg=ed25519"),
        ("alg=\"ed25519\"", "alg=\"Ed25519\""),
        ("nonce=\"0123456789abcdef\"", "nonce=\"0123456789abcde\""),
        ("nonce=\"0123456789abcdef\"", "nonce=:MDEyMzQ1Njc4OWFiY2RlZg==:"),
        ("nonce=\"0123456789abcdef\"", "nonce=\"0123456789 abcdef\""),
        ("nonce=\"0123456789abcdef\"", "nonce=\"0123456789\\\\abcdef\""),
        ("created=1780272000", "created=\"1780272000\""),
        ("created=1780272000", "created=1780272000.0"),
        ("created=1780272000", "created=@1780272000"),
        ("created=1780272000", "created"),
    ] {
        assert!(parameters.contains(from), "{from}");
        person.refused(&person.asks_with(&COMPONENTS, &parameters.replace(from, to)), to);
    }
    let long = "n".repeat(65);
    person.refused(&person.asks_with(&COMPONENTS, &parameters.replace(NONCE, &long)), "a long nonce");
    let upper = person.client.fingerprint().to_string();
    let upper = parameters.replace(&upper, &upper.to_uppercase());
    person.refused(&person.asks_with(&COMPONENTS, &upper), "a keyid in upper case");
}

/// Would catch two readings of one header: what one parser takes and another passes over.
#[test]
fn the_fields_have_one_spelling() {
    let world = world();
    let person = world.person("backend", &PKCS_ED25519);
    let good = person.asks();
    let (input, signature) = (&good.input, &good.signature);
    let list = input.trim_start_matches("sig=");
    for (changed, why) in [
        (format!("{input}, other={list}"), "two inputs"),
        (format!("{input}, {input}"), "one input twice"),
        (format!("other={list}, {input}"), "two inputs, the good one last"),
        (format!(" {input}"), "a space before"),
        (format!("{input} "), "a space after"),
        (input.replacen("\" \"", "\"  \"", 1), "two spaces"),
        (input.replacen(";nonce", "; nonce", 1), "a space in a parameter"),
        (input.replacen("sig=", "Sig=", 1), "a label in upper case"),
        (input.replacen("sig=", "other=", 1), "another label"),
        (list.to_owned(), "no label"),
        ("sig".to_owned(), "no list"),
        ("sig=1".to_owned(), "a number"),
        (String::new(), "nothing"),
    ] {
        person.refused(&Asked { input: changed, ..good.clone() }, why);
    }
    for (changed, why) in [
        (format!("{signature}, other=:AA==:"), "two signatures"),
        (format!("{signature}, {signature}"), "one signature twice"),
        (format!("sig=:AA==:, {signature}"), "two of one label, the good one last"),
        (format!("{signature};a=1"), "a signature with a parameter"),
        (format!("{signature} "), "a space after"),
        (signature.replacen("sig=", "other=", 1), "another label"),
        (signature.replace("==:", ":"), "no padding"),
        (signature.replace(':', "\""), "a text"),
        ("sig=:AA==:".to_owned(), "a short signature"),
        ("sig=::".to_owned(), "an empty signature"),
        (String::new(), "nothing"),
    ] {
        person.refused(&Asked { signature: changed, ..good.clone() }, why);
    }
    for (changed, why) in [
        (format!("{},{}", good.digest, good.digest), "two digests"),
        (good.digest.replace("sha-256", "SHA-256"), "upper case"),
        (good.digest.replace("sha-256", "sha-512"), "another hash"),
        (String::new(), "nothing"),
    ] {
        person.refused(&Asked { digest: changed, ..good.clone() }, why);
    }
    person.vouch(&good, NOW).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2_000, ..ProptestConfig::default() })]

    /// No bit of what is signed, of the signature or of the fields around them can be another.
    #[test]
    fn no_bit_can_flip(which in 0..8_usize, at in any::<prop::sample::Index>(), bit in 0..8_u8, ed in any::<bool>()) {
        let person = &PEOPLE[usize::from(ed)];
        let good = person.asks();
        let mut parts = [
            good.method.into_bytes(), good.authority.into_bytes(), good.path.into_bytes(), good.key.into_bytes(),
            good.body, good.digest.into_bytes(), good.input.into_bytes(), good.signature.into_bytes(),
        ];
        let at = at.index(parts[which].len());
        parts[which][at] ^= 1 << bit;
        let [method, authority, path, key, body, digest, input, signature] = parts;
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).ok();
        // What is no text is no header.
        if let (Some(method), Some(authority), Some(path), Some(key), Some(digest), Some(input), Some(signature)) =
            (text(method), text(authority), text(path), text(key), text(digest), text(input), text(signature))
        {
            let changed = Asked { method, authority, path, key, body, digest, input, signature };
            prop_assert!(person.vouch(&changed, NOW).is_err(), "{changed:?}");
        }
    }
}

static PEOPLE: std::sync::LazyLock<[Person; 2]> = std::sync::LazyLock::new(|| {
    let world = world();
    KINDS.map(|kind| world.person("backend", kind))
});

/// Would catch a request for one appliance that another, which knows the same client, takes for its own.
#[test]
fn a_request_is_for_the_server_that_its_certificate_names() {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![
        SanType::DnsName("chancery.example".try_into().unwrap()),
        SanType::IpAddress([127, 0, 0, 1].into()),
        SanType::IpAddress(std::net::Ipv6Addr::LOCALHOST.into()),
    ];
    let server = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    for (authority, named) in [
        ("chancery.example", true),
        ("chancery.example:8443", true),
        ("127.0.0.1:1", true),
        ("[::1]:1", true),
        ("other.example", false),
        ("x.chancery.example", false),
        ("127.0.0.2", false),
        ("", false),
    ] {
        assert_eq!(is_named_by(server.der(), authority), named, "{authority}");
    }
    assert!(!is_named_by(&CertificateDer::from(&b"none"[..]), "chancery.example"));
}
