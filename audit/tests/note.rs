//! Signed notes, verifier keys, checkpoints and trust files: the examples of the specifications, a second
//! implementation (`signed_note`), and everything that must not parse.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests may panic")]

mod support;

use chancery_audit::{
    Checkpoint, MlDsaKey, Note, NoteError, SignedCheckpoint, TlogProof, Trust, TrustError, VerifierKey,
};
use signed_note::{Note as OtherNote, StandardVerifier, VerifierList};
use support::{Key, ORIGIN};

/// Source: golang.org/x/mod/sumdb/note, package documentation.
const VKEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const NOTE: &str = "If you think cryptography is the answer to your problem,\n\
    then you don't know what your problem is.\n\
    \n\
    — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

#[test]
fn the_example_note_verifies_and_nothing_near_it_does() {
    let key: VerifierKey = VKEY.parse().unwrap();
    assert_eq!(key.to_string(), VKEY);
    let text = Note::parse(NOTE.as_bytes()).unwrap().verify(&[key]).unwrap();
    assert!(text.ends_with("problem is.\n"), "the text ends before the blank line");

    let verifies = |note: &[u8]| {
        let key: VerifierKey = VKEY.parse().unwrap();
        Note::parse(note).is_ok_and(|note| note.verify(&[key]).is_ok())
    };
    for position in 0..NOTE.len() {
        for bit in 0..8 {
            let mut bytes = NOTE.as_bytes().to_vec();
            bytes[position] ^= 1 << bit;
            assert!(!verifies(&bytes), "bit {bit} of byte {position}");
        }
    }
    let line = NOTE.lines().last().unwrap();
    for (bad, why) in [
        (NOTE.replace("answer", "key"), "other text"),
        (NOTE.replace("PeterNeumann", "PeterNewman"), "unknown key"),
        (NOTE.trim_end().to_owned(), "no last newline"),
        (NOTE.replace("\n\n", "\n"), "no blank line"),
        (NOTE.replace('I', "\u{1}"), "a control character"),
        (NOTE.replace("\n\u{2014} ", "\n- "), "a dash that is none"),
        (format!("{NOTE}{line}\n"), "a key that signed twice"),
        (NOTE.replace("nAM=\n", "nAM\n"), "base64 without padding"),
        (NOTE.replace("nAM=\n", "nAN=\n"), "base64 with loose bits"),
        (format!("{NOTE}{}", "— other AAAAAAA=\n".repeat(40)), "too many signatures"),
        (format!("{}{NOTE}", "x".repeat(70_000)), "too long"),
    ] {
        assert!(!verifies(bad.as_bytes()), "{why}");
    }
}

#[test]
fn signatures_of_unknown_keys_are_ignored() {
    let key: VerifierKey = VKEY.parse().unwrap();
    let cosigned = format!("{NOTE}— witness.example AAAAAAAAAAAA\n");
    assert!(Note::parse(cosigned.as_bytes()).unwrap().verify(&[key]).is_ok());
    let other = VerifierKey::new("PeterNeumann", [7; 32]).unwrap();
    assert_eq!(Note::parse(NOTE.as_bytes()).unwrap().verify(&[other]), Err(NoteError::Unsigned));
}

/// The bounds are written as numbers here: a constant that changed unseen would change them in both places.
#[test]
fn notes_are_bounded_exactly() {
    let key: VerifierKey = VKEY.parse().unwrap();
    let cosigned = |lines| format!("{NOTE}{}", "\u{2014} other AAAAAAA=\n".repeat(lines));
    assert!(Note::parse(cosigned(31).as_bytes()).unwrap().verify(&[key]).is_ok(), "32 signatures");
    for lines in [32, 33, 100] {
        assert_eq!(
            Note::parse(cosigned(lines).as_bytes()).err(),
            Some(NoteError::Malformed("too many signatures"))
        );
    }
    let padded = |bytes: usize| format!("{}{NOTE}", "x".repeat(bytes - NOTE.len()));
    assert!(Note::parse(padded(65_536).as_bytes()).is_ok());
    for bytes in [65_537, 70_000] {
        assert_eq!(Note::parse(padded(bytes).as_bytes()).err(), Some(NoteError::TooLong), "{bytes}");
    }
}

#[test]
fn names_of_keys_are_bounded_and_plain() {
    let long = |bytes| "n".repeat(bytes);
    assert!(VerifierKey::new(&long(256), [7; 32]).is_ok() && VerifierKey::new(&long(257), [7; 32]).is_err());
    assert!(MlDsaKey::new(&long(255), [7; 1312]).is_ok(), "one byte holds its length");
    assert!(MlDsaKey::new(&long(256), [7; 1312]).is_err() && MlDsaKey::new("a+b", [7; 1312]).is_err());
    for bad in ["", "a+b", "a b", "a\u{a0}b", "a\u{7f}b"] {
        assert!(VerifierKey::new(bad, [7; 32]).is_err(), "{bad:?}");
    }
    // Nor does a line of a note whose name could be none, or which signs nothing.
    for line in ["a+b AAAAAAA=", "a AAAAAA=="] {
        let note = format!("{NOTE}\u{2014} {line}\n");
        assert_eq!(
            Note::parse(note.as_bytes()).err(),
            Some(NoteError::Malformed("a signature line")),
            "{line}"
        );
    }
}

#[test]
fn keys_have_one_spelling() {
    for bad in [
        "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a3+Ahpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10",
        "Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann",
        "",
    ] {
        assert!(bad.parse::<VerifierKey>().is_err(), "{bad}");
    }
}

#[test]
fn a_second_implementation_reads_what_is_signed_here() {
    let key = Key::fresh();
    let vkey = key.verifier().to_string();
    let note = key.checkpoint(3, [9; 32]);
    let verifiers = VerifierList::new(vec![Box::new(StandardVerifier::new(&vkey).unwrap())]);
    let other = OtherNote::from_bytes(note.as_bytes()).unwrap();
    let (verified, rest) = other.verify(&verifiers).unwrap();
    assert_eq!((verified.len(), rest.len()), (1, 0));
    let checkpoint = tlog_tiles::Checkpoint::from_bytes(other.text()).unwrap();
    assert_eq!((checkpoint.origin(), checkpoint.size(), checkpoint.hash().0), (ORIGIN, 3, [9; 32]));
}

#[test]
fn checkpoints_have_three_lines_and_exact_numbers() {
    // Source: c2sp.org/tlog-checkpoint.
    let text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    let checkpoint = Checkpoint::parse(text).unwrap();
    assert_eq!((checkpoint.origin.as_str(), checkpoint.size), ("example.com/behind-the-sofa", 20_852_163));
    assert_eq!(checkpoint.text(), text);
    for bad in [
        text.replace("20852163", "020852163"),
        text.replace("20852163", "+20852163"),
        text.replace("20852163", "9223372036854775808"),
        text.replace("20852163", ""),
        text.replace("20852163", "-1"),
        text.replace("q2I=", "q2J="),
        text.replace("q2I=", "q2I"),
        text.replace("CsUY", "CsUYCsUY"),
        text.replace("example.com/behind-the-sofa", ""),
        format!("{text}extension\n"),
        format!("{text}\n"),
        text.trim_end().to_owned(),
        String::new(),
    ] {
        assert!(Checkpoint::parse(&bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_checkpoint_counts_only_under_the_trusted_key_and_origin() {
    let key = Key::fresh();
    let note = key.checkpoint(3, [9; 32]);
    assert_eq!(SignedCheckpoint::open(note.as_bytes(), &key.trust()).unwrap().size(), 3);
    let stranger = Key::fresh();
    assert_eq!(SignedCheckpoint::open(note.as_bytes(), &stranger.trust()), Err(NoteError::Unsigned));
    let elsewhere = Trust::in_key("elsewhere.example/log", key.public()).unwrap();
    assert_eq!(SignedCheckpoint::open(note.as_bytes(), &elsewhere), Err(NoteError::Unsigned));
    // The right key, and its own name, over another log's checkpoint.
    let foreign =
        key.note(&Checkpoint { origin: "elsewhere.example/log".into(), size: 3, root: [9; 32] }.text());
    assert!(matches!(
        SignedCheckpoint::open(foreign.as_bytes(), &key.trust()),
        Err(NoteError::Origin { .. })
    ));
    for position in 0..note.len() {
        for bit in 0..8 {
            let mut bytes = note.as_bytes().to_vec();
            bytes[position] ^= 1 << bit;
            assert!(SignedCheckpoint::open(&bytes, &key.trust()).is_err(), "bit {bit} of byte {position}");
        }
    }
}

#[test]
fn trust_files_are_strict() {
    let key = Key::fresh();
    let text = key.trust().to_json();
    assert_eq!(Trust::parse(text.as_bytes()).unwrap(), key.trust());
    let vkey = key.verifier().to_string();
    for bad in [
        text.replace("\"v\": 1", "\"v\": 2"),
        text.replace("\"v\": 1", "\"v\": 1, \"extra\": 0"),
        text.replace("\"v\": 1", "\"v\": 1, \"v\": 1"),
        text.replace(&format!("\"origin\": \"{ORIGIN}\""), "\"origin\": \"other.example\""),
        text.replace(&format!("\"origin\": \"{ORIGIN}\""), "\"origin\": \"\""),
        text.replace(&format!("\"{vkey}\""), ""),
        text.replace(&vkey, &vkey.replace("+A", "+B")),
        format!("{text}{text}"),
        format!("{text}{}", " ".repeat(70_000)),
    ] {
        assert!(bad != text && Trust::parse(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn trust_files_are_bounded_exactly() {
    let key = Key::fresh();
    let text = key.trust().to_json();
    let padded = |bytes: usize| format!("{text}{}", " ".repeat(bytes - text.len()));
    assert!(Trust::parse(padded(65_536).as_bytes()).is_ok());
    for bytes in [65_537, 70_000] {
        assert!(matches!(Trust::parse(padded(bytes).as_bytes()), Err(TrustError::TooLong)), "{bytes}");
    }
    let vkey = format!("\"{}\"", key.verifier());
    let keys = |count| text.replace(&vkey, &vec![vkey.as_str(); count].join(","));
    assert_eq!(Trust::parse(keys(16).as_bytes()).unwrap().log_keys().len(), 16);
    assert!(Trust::parse(keys(17).as_bytes()).is_err());
}

#[test]
fn proofs_are_strict() {
    let key = Key::fresh();
    let leaf = chancery_audit::merkle::leaf_hash(b"leaf");
    let sibling = [7; 32];
    let root = chancery_audit::merkle::node_hash(&sibling, &leaf);
    let note = key.checkpoint(2, root);
    let hash = support::base64(&sibling);
    let text = format!("c2sp.org/tlog-proof@v1\nindex 1\n{hash}\n\n{note}");
    let proof = TlogProof::parse(&text).unwrap();
    assert_eq!(proof.to_string(), text);
    assert!(proof.verify(&leaf, &key.trust()).is_ok());
    for bad in [
        text.replace("@v1", "@v2"),
        text.replace("index 1", "index 01"),
        text.replace("index 1", "index 0"),
        text.replace("index 1", "index 2"),
        text.replace("index 1", "extra AAAA\nindex 1"),
        text.replace("index 1\n", ""),
        text.replace(&hash, &format!("{hash}\n{hash}")),
        text.replace(&format!("{hash}\n"), ""),
        text.replace(&hash, &hash[..43]),
        text.replace(&format!("{hash}\n"), &format!("{hash}\n").repeat(65)),
        text.replace('\n', "\r\n"),
        String::new(),
    ] {
        let convinced = TlogProof::parse(&bad).is_ok_and(|proof| proof.verify(&leaf, &key.trust()).is_ok());
        assert!(!convinced, "{bad:?}");
    }
}
