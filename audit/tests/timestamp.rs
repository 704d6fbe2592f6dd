//! RFC 3161 timestamps against a second implementation, OpenSSL: what it signs is believed, and nothing that it would not
//! sign for this message, by this signer, at this time.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

mod support;
#[path = "support/tsa.rs"]
mod tsa;

use chancery_audit::{Archive, RootsError, Timestamp, TimestampError, TimestampQuery, TimestampRoots};
use sha2::{Digest as _, Sha256};
use tsa::{ALWAYS, P256, P384, RSA, STAMPING, Tsa};

const MESSAGE: &[u8] = b"chancery.example/log\n3\nAAAA\n";

fn query(message: &[u8]) -> TimestampQuery<'_> {
    TimestampQuery::new(message, [0x91, 2, 3, 4, 5, 6, 7, 8]).unwrap()
}

fn roots(tsa: &Tsa) -> TimestampRoots {
    TimestampRoots::from_pem(&tsa.root()).unwrap()
}

/// An honest answer about [`MESSAGE`].
fn honest(tsa: &Tsa) -> Vec<u8> {
    tsa.answer("tsa", query(MESSAGE).der())
}

fn refused(tsa: &Tsa, answer: &[u8]) -> String {
    Timestamp::verify(MESSAGE, answer, &roots(tsa)).unwrap_err().to_string()
}

#[test]
fn what_openssl_signs_is_believed_with_every_kind_of_key() {
    let tsa = Tsa::new();
    tsa.issue("p384", P384, STAMPING, ALWAYS);
    tsa.issue("rsa", RSA, STAMPING, ALWAYS);
    std::fs::write(tsa.at("message"), MESSAGE).unwrap();
    let (query, roots) = (query(MESSAGE), roots(&tsa));
    for signer in ["tsa", "p384", "rsa"] {
        let before = now_ms() / 1_000 * 1_000;
        let answer = tsa.answer(signer, query.der());
        let timestamp = query.answered(&answer, &roots).unwrap();
        assert!((before..=now_ms()).contains(&timestamp.time().0), "{timestamp:?}");
        assert_eq!(timestamp.authority(), format!("CN=Test TSA {signer}"));
        assert_eq!(Timestamp::verify(MESSAGE, &answer, &roots).unwrap(), timestamp);
        std::fs::write(tsa.at("kept.tsr"), answer).unwrap();
        assert!(tsa.openssl_verifies(&tsa.at("message"), &tsa.at("kept.tsr")), "{signer}: OpenSSL agrees");
    }
    // RSASSA-PSS, and hashes beyond SHA-256, which `openssl ts` does not sign with by itself.
    let pss = ["-keyopt", "rsa_padding_mode:pss", "-keyopt", "rsa_pss_saltlen:digest"];
    for (signer, options) in [("rsa", &pss[..]), ("p384", &["-md", "sha384"]), ("rsa", &["-md", "sha512"])] {
        let answer = tsa.forge(signer, &tsa.answer(signer, query.der()), true, options);
        query.answered(&answer, &roots).unwrap_or_else(|error| panic!("{signer} {options:?}: {error}"));
    }
}

fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_millis()).unwrap()
}

/// Would catch an answer that is taken for one to another question: replayed, or of another checkpoint.
#[test]
fn an_answer_to_another_question_is_none() {
    let tsa = Tsa::new();
    let (roots, asked) = (roots(&tsa), query(MESSAGE));
    let other = TimestampQuery::new(MESSAGE, [7; 8]).unwrap();
    let replayed = tsa.answer("tsa", other.der());
    assert!(matches!(asked.answered(&replayed, &roots), Err(TimestampError::Nonce)));
    assert!(Timestamp::verify(MESSAGE, &replayed, &roots).is_ok(), "as a kept one it is as good as any");

    let elsewhere = tsa.answer("tsa", query(b"another checkpoint\n").der());
    assert!(matches!(asked.answered(&elsewhere, &roots), Err(TimestampError::Imprint)));
    assert!(matches!(Timestamp::verify(MESSAGE, &elsewhere, &roots), Err(TimestampError::Imprint)));

    tsa.digests("sha512");
    match asked.answered(&honest(&tsa), &roots) {
        Err(TimestampError::Refused { status: 2, text }) => assert!(text.contains("digest"), "{text}"),
        other => panic!("{other:?}"),
    }
    let long = vec![0; 16 * 1024 + 1];
    assert!(matches!(asked.answered(&long, &roots), Err(TimestampError::TooLong)));
    assert!(matches!(asked.answered(b"", &roots), Err(TimestampError::Der(_))));
}

/// Would catch a signer that is believed because some authority issued it something.
#[test]
fn only_an_authority_for_time_stamping_in_date_is_believed() {
    let tsa = Tsa::new();
    let honest = honest(&tsa);
    let also = "extendedKeyUsage=critical,timeStamping,codeSigning";
    for (name, extensions, dates, why) in [
        ("good", STAMPING, ALWAYS, ""),
        ("none", "keyUsage=digitalSignature", ALWAYS, "is not for time-stamping"),
        ("other", "extendedKeyUsage=critical,codeSigning", ALWAYS, "is not for time-stamping alone"),
        ("also", also, ALWAYS, "is not for time-stamping alone"),
        ("meek", "extendedKeyUsage=timeStamping", ALWAYS, "does not insist"),
        ("sealed", &format!("{STAMPING}\nkeyUsage=keyEncipherment"), ALWAYS, "is not for signatures"),
        ("ended", STAMPING, ["20200101000000Z", "20210101000000Z"], "CertExpired"),
        ("early", STAMPING, ["20480101000000Z", "20490101000000Z"], "CertNotValidYet"),
        ("ca", &format!("{STAMPING}\nbasicConstraints=critical,CA:TRUE"), ALWAYS, "CaUsedAsEndEntity"),
    ] {
        tsa.issue(name, P256, extensions, dates);
        let forged = tsa.forge(name, &honest, true, &[]);
        match Timestamp::verify(MESSAGE, &forged, &roots(&tsa)) {
            Ok(_) => assert_eq!(why, "", "{name} is believed"),
            Err(error) => {
                let error = error.to_string();
                assert!(!why.is_empty() && error.contains(why), "{name}: {error}");
            }
        }
    }
    // The same names under a root of somebody else.
    let other = Tsa::new();
    assert!(matches!(Timestamp::verify(MESSAGE, &honest, &roots(&other)), Err(TimestampError::Chain(_))));
    let both = TimestampRoots::from_pem(&[other.root(), tsa.root()].concat()).unwrap();
    assert!(Timestamp::verify(MESSAGE, &honest, &both).is_ok(), "each root for itself");
}

/// Would catch a signature whose signer can be exchanged, or that covers less than it must.
#[test]
fn the_signature_names_its_certificate() {
    let tsa = Tsa::new();
    let honest = honest(&tsa);
    assert!(refused(&tsa, &tsa.forge("tsa", &honest, false, &[])).contains("an attribute that it must sign"));
    assert!(refused(&tsa, &tsa.forge("tsa", &honest, false, &["-noattr"])).contains("no attributes"));
    assert!(refused(&tsa, &tsa.forge("tsa", &honest, true, &["-nocerts"])).contains("not in the token"));
    assert!(refused(&tsa, &tsa.forge("tsa", &honest, true, &["-md", "sha1"])).contains("signature"));
    assert!(Timestamp::verify(MESSAGE, &tsa.forge("tsa", &honest, true, &["-keyid"]), &roots(&tsa)).is_ok());
    // A second certificate of the same key takes the place of the first: only what is signed tells them apart.
    std::fs::copy(tsa.at("tsa-key.pem"), tsa.at("twin-key.pem")).unwrap();
    tsa.certify("twin", STAMPING, ALWAYS);
    let exchanged = tsa.forge("tsa", &honest, true, &["-keyid", "-nocerts", "-certfile", "twin.pem"]);
    assert!(refused(&tsa, &exchanged).contains("another certificate"), "{}", refused(&tsa, &exchanged));
}

/// Would catch a signature that nobody verifies: every hash in the token is right, and the time is another.
#[test]
fn another_time_needs_another_signature() {
    let tsa = Tsa::new();
    let mut answer = honest(&tsa);
    let content = tsa.content(&answer);
    let mut changed = content.clone();
    let year = changed.windows(2).position(|two| two == b"20").unwrap();
    changed[year + 3] ^= 1;
    for (from, to) in [(&content[..], &changed[..]), (&Sha256::digest(&content), &Sha256::digest(&changed))] {
        let at = answer.windows(from.len()).position(|window| window == from).unwrap();
        answer[at..at + from.len()].copy_from_slice(to);
    }
    assert!(refused(&tsa, &answer).contains("does not verify under the signer's key"));
}

/// Would catch a byte that nobody looks at and that changes what is believed.
#[test]
fn no_flipped_byte_changes_what_is_believed() {
    let tsa = Tsa::new();
    let (honest, roots) = (honest(&tsa), roots(&tsa));
    let believed = Timestamp::verify(MESSAGE, &honest, &roots).unwrap();
    let mut harmless = Vec::new();
    for at in 0..honest.len() {
        for bit in [0x01, 0x80] {
            let mut flipped = honest.clone();
            flipped[at] ^= bit;
            if let Ok(timestamp) = Timestamp::verify(MESSAGE, &flipped, &roots) {
                assert_eq!(timestamp, believed, "byte {at} of {}", honest.len());
                harmless.push(at);
            }
        }
    }
    println!("{} bytes, flipped twice each; harmless where {harmless:?}", honest.len());
    for cut in 0..honest.len() {
        assert!(Timestamp::verify(MESSAGE, &honest[..cut], &roots).is_err(), "cut at {cut}");
    }
    assert!(Timestamp::verify(MESSAGE, &[&honest[..], &[0]].concat(), &roots).is_err(), "something follows");
}

/// Would catch an answer whose parsing takes the square of its length.
#[test]
fn a_crowd_is_refused_before_it_is_sorted() {
    let der = |tag: u8, content: &[u8]| {
        let [.., high, low] = content.len().to_be_bytes();
        [&[tag, 0x82, high, low], content].concat()
    };
    let roots = roots(&Tsa::new());
    let refusal = |algorithms: &[u8]| {
        let answer = der(0x30, &[&[0x30, 3, 2, 1, 0], &der(0x31, algorithms)[..]].concat());
        Timestamp::verify(MESSAGE, &answer, &roots).unwrap_err().to_string()
    };
    let crowd: Vec<u8> = (0..65).rev().flat_map(|n| [0x30, 5, 6, 3, 0x2a, 3, n]).collect();
    assert!(refusal(&crowd).contains("more than 64 values"), "{}", refusal(&crowd));
    assert!(refusal(&crowd[7..]).contains("does not parse"), "so many are read: {}", refusal(&crowd[7..]));
}

#[test]
fn a_root_is_an_authority_in_pem() {
    let tsa = Tsa::new();
    let leaf = std::fs::read(tsa.at("tsa.pem")).unwrap();
    assert!(matches!(TimestampRoots::from_pem(&leaf), Err(RootsError::Certificate { index: 0, .. })));
    assert!(matches!(TimestampRoots::from_pem(b""), Err(RootsError::Number(0))));
    assert!(matches!(TimestampRoots::from_pem(&tsa.root().repeat(17)), Err(RootsError::Number(17))));
    let torn = String::from_utf8(tsa.root()).unwrap().replace("-----END", "END");
    assert!(matches!(TimestampRoots::from_pem(torn.as_bytes()), Err(RootsError::Pem(_))));
}

/// A log's folder with a published checkpoint, and its archive.
fn archive(folder: &std::path::Path, key: &support::Key) -> Archive {
    Archive::open(folder, &key.trust()).unwrap()
}

fn listed(folder: &std::path::Path) -> String {
    let index = std::fs::read_to_string(folder.join("timestamps/index")).unwrap();
    index.strip_prefix("chancery timestamps v1\n").unwrap().replace('\n', " ")
}

fn names(folder: &std::path::Path) -> Vec<String> {
    let names = std::fs::read_dir(folder.join("timestamps")).unwrap();
    let mut names: Vec<_> = names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Would catch a start after a crash between any two writes that lists half a timestamp, or forgets a whole one.
#[test]
fn whatever_a_crash_leaves_the_next_start_makes_whole() {
    let (folder, key, tsa) = (tempfile::tempdir().unwrap(), support::Key::fresh(), Tsa::new());
    let at = |name: &str| folder.path().join("timestamps").join(name);
    let note = key.checkpoint(3, [1; 32]);
    std::fs::write(folder.path().join("checkpoint"), &note).unwrap();
    let kept = archive(folder.path(), &key);
    assert!(kept.is_empty() && !at("index").exists(), "an archive that holds nothing writes nothing");
    let answer = tsa.answer("tsa", query(note.as_bytes()).der());
    let published = kept.published().unwrap().unwrap();
    for _ in 0..2 {
        kept.keep(&published, answer.clone()).unwrap();
    }
    let whole = ["1.checkpoint", "1.tsr", "2.checkpoint", "2.tsr", "index"];
    assert_eq!(
        (listed(folder.path()).as_str(), names(folder.path())),
        ("1 2 ", whole.map(String::from).to_vec())
    );
    let (size, last) = archive(folder.path(), &key).last_under(&roots(&tsa)).unwrap().unwrap();
    assert_eq!((size, last), (3, Timestamp::verify(note.as_bytes(), &answer, &roots(&tsa)).unwrap()));
    assert_eq!(archive(folder.path(), &key).last_under(&roots(&Tsa::new())).unwrap(), None);

    // Each write of a third, and the process gone after it.
    let index = std::fs::read(at("index")).unwrap();
    for (left, then) in [
        (&["3.checkpoint.new"][..], "1 2 "),
        (&["3.checkpoint"], "1 2 "),
        (&["3.checkpoint", "3.tsr.new"], "1 2 "),
        (&["3.checkpoint", "3.tsr"], "1 2 3 "),
        (&["3.checkpoint", "3.tsr", "index.new"], "1 2 3 "),
    ] {
        std::fs::write(at("index"), &index).unwrap();
        left.iter().for_each(|name| std::fs::write(at(name), "x").unwrap());
        assert_eq!(archive(folder.path(), &key).len(), then.split_whitespace().count());
        assert_eq!(listed(folder.path()), then, "{left:?}");
        let of_the_third = names(folder.path()).iter().filter(|name| name.starts_with('3')).count();
        assert_eq!(of_the_third, if then.contains('3') { 2 } else { 0 }, "{left:?}");
        for kind in ["checkpoint", "tsr"] {
            let _ = std::fs::remove_file(at(&format!("3.{kind}")));
        }
    }
    // The index is gone, torn, or names what is not there.
    for index in ["", "chancery timestamps v1\n1\n2", "chancery timestamps v1\n1\n2\n9\n"] {
        std::fs::write(at("index"), index).unwrap();
        assert_eq!(
            (archive(folder.path(), &key).len(), listed(folder.path()).as_str()),
            (2, "1 2 "),
            "{index}"
        );
    }
    // What was thinned out stays out.
    std::fs::write(at("index"), "chancery timestamps v1\n2\n").unwrap();
    assert_eq!(archive(folder.path(), &key).len(), 1);
    assert_eq!(names(folder.path()), ["2.checkpoint", "2.tsr", "index"]);
}
