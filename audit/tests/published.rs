//! What others have published of Merkle trees and logs: roots, proofs, and the examples of the specifications. Every proof is
//! also put to a second implementation (`tlog_tiles`, `signed_note`), so that a vector which was copied wrongly shows.
//! Prints a line for each source, which `cargo xtask assurance --only vectors` counts.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of tests may panic"
)]

mod tree;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_audit::merkle::{
    Hash, Nodes as _, empty_root, leaf_hash, prove_consistency, prove_inclusion, root, verify_consistency,
    verify_inclusion,
};
use chancery_audit::{
    Checkpoint, Cosignature, CosignerKey, Note, NoteError, Submission, TlogProof, VerifierKey,
};
use serde::Deserialize;
use signed_note::{StandardVerifier, VerifierList};
use tree::Complete;

fn hash(text: &str) -> Hash {
    hex::decode(text).unwrap().try_into().unwrap()
}

/// A vector that does not hold ends its test before this.
fn tally(file: &str, by: &str, passed: usize, skipped: &[&str]) {
    let why: serde_json::Map<_, _> = skipped.iter().map(|why| ((*why).to_owned(), 1.into())).collect();
    let tally = serde_json::json!({"file": file, "by": by, "total": passed + skipped.len(), "passed": passed,
        "skipped": why, "failed": []});
    println!("\nassurance vectors {tally}");
}

/// An inclusion proof convinces here and there, and of nothing but its own leaf.
fn included(leaf: Hash, index: u64, size: u64, path: &[Hash], root: Hash) {
    let other = tlog_tiles::Hash;
    let theirs = path.iter().copied().map(other).collect();
    assert!(verify_inclusion(&leaf, index, size, path, &root), "leaf {index} of {size}");
    assert!(tlog_tiles::check_record(&theirs, size, other(root), index, other(leaf)).is_ok());
    let alone = path.is_empty();
    assert!(
        alone || !verify_inclusion(&root, index, size, path, &leaf),
        "leaf {index} of {size}, turned round"
    );
}

/// A consistency proof convinces here and there, and not of the way back.
fn consistent(old: u64, size: u64, path: &[Hash], old_root: Hash, root: Hash) {
    let other = tlog_tiles::Hash;
    let theirs = path.iter().copied().map(other).collect();
    assert!(verify_consistency(old, size, path, &old_root, &root), "{old} to {size}");
    assert!(tlog_tiles::check_tree(&theirs, size, other(root), old, other(old_root)).is_ok());
    assert!(
        old == size || !verify_consistency(old, size, path, &root, &old_root),
        "{old} to {size}, backwards"
    );
}

/// Source: google/certificate-transparency, cpp/merkletree/merkle_tree_test.cc: the leaves, the roots of their first n,
/// and the paths and proofs between them.
const LEAVES: [&str; 8] =
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
const ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];
const A: &str = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7";
const B: &str = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e";
const C: &str = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4";
const D: &str = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b";
const E: &str = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0";
const F: &str = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a";

#[test]
fn certificate_transparency_has_its_published_roots_and_proofs() {
    let leaves: Vec<Hash> = LEAVES.iter().map(|leaf| leaf_hash(&hex::decode(leaf).unwrap())).collect();
    let tree = Complete::of(leaves.clone());
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(empty_root(), hash(empty), "RFC 6962, 2.1: the hash of an empty list");
    for (size, expected) in (1..).zip(ROOTS) {
        assert_eq!(root(&tree, size), Ok(hash(expected)), "root of {size}");
    }
    let inclusion: [(u64, u64, &[&str]); 5] = [
        (0, 1, &[]),
        (0, 8, &[A, B, C]),
        (5, 8, &[D, E, ROOTS[3]]),
        (2, 3, &[ROOTS[1]]),
        (1, 5, &[ROOTS[0], B, D]),
    ];
    for (index, size, path) in inclusion {
        let path: Vec<_> = path.iter().map(|text| hash(text)).collect();
        assert_eq!(prove_inclusion(&tree, index, size), Ok(path.clone()), "leaf {index} of {size}");
        included(leaves[usize::try_from(index).unwrap()], index, size, &path, root(&tree, size).unwrap());
    }
    let consistency: [(u64, u64, &[&str]); 4] =
        [(1, 1, &[]), (1, 8, &[A, B, C]), (6, 8, &[F, E, ROOTS[3]]), (2, 5, &[B, D])];
    for (old, new, path) in consistency {
        let path: Vec<_> = path.iter().map(|text| hash(text)).collect();
        assert_eq!(prove_consistency(&tree, old, new), Ok(path.clone()), "{old} to {new}");
        consistent(old, new, &path, root(&tree, old).unwrap(), root(&tree, new).unwrap());
    }
    let vectors = 1 + ROOTS.len() + inclusion.len() + consistency.len();
    tally("RFC 6962, certificate-transparency", "Merkle trees", vectors, &[]);
}

/// Source: RFC 9162, section 2.1.5, and with the same letters RFC 6962, section 2.1.3: a tree of seven, its nodes named.
#[test]
fn rfc_9162_has_its_published_example() {
    let leaves: Vec<Hash> = (0..7_u8).map(|n| leaf_hash(&[n])).collect();
    let tree = Complete::of(leaves.clone());
    let place = |letter: char| match letter {
        'a'..='f' => (0, u64::from(letter) - u64::from('a')),
        'j' => (0, 6),
        'g'..='i' => (1, u64::from(letter) - u64::from('g')),
        _ => (2, 0),
    };
    let whole = root(&tree, 7).unwrap();
    let node = |letter: char| match letter {
        // What the RFC draws above `i` and the last leaf: no complete subtree.
        'l' => chancery_audit::merkle::node_hash(&tree.node(1, 2).unwrap(), &tree.node(0, 6).unwrap()),
        letter => {
            let (height, index) = place(letter);
            tree.node(height, index).unwrap()
        }
    };
    let path = |letters: &str| letters.chars().map(node).collect::<Vec<_>>();
    let inclusion = [(0, "bhl"), (3, "cgl"), (4, "fjk"), (6, "ik")];
    for (index, letters) in inclusion {
        assert_eq!(prove_inclusion(&tree, index, 7), Ok(path(letters)), "d{index}");
        included(leaves[usize::try_from(index).unwrap()], index, 7, &path(letters), whole);
    }
    let consistency = [(3, "cdgl"), (4, "l"), (6, "ijk")];
    for (old, letters) in consistency {
        assert_eq!(prove_consistency(&tree, old, 7), Ok(path(letters)), "PROOF({old}, D[7])");
        consistent(old, 7, &path(letters), root(&tree, old).unwrap(), whole);
    }
    tally("RFC 9162, 2.1.5", "Merkle trees", inclusion.len() + consistency.len(), &[]);
}

#[derive(Deserialize)]
struct Argon {
    tree_size: u64,
    root: String,
    leaf_index: u64,
    leaf: String,
    leaf_hash: String,
    audit_path: Vec<String>,
    old_size: u64,
    old_root: String,
    consistency: Vec<String>,
}

/// Two answers of a log that others run: a certificate among 961,984,011, and the growth from 3,654,490.
#[test]
fn a_log_of_google_has_its_published_proofs() {
    let argon: Argon = serde_json::from_str(include_str!("vectors/argon2020.json")).unwrap();
    let read = |text: &String| -> Hash { STANDARD.decode(text).unwrap().try_into().unwrap() };
    let leaf = leaf_hash(&STANDARD.decode(&argon.leaf).unwrap());
    assert_eq!(leaf, read(&argon.leaf_hash));
    let path: Vec<Hash> = argon.audit_path.iter().map(read).collect();
    included(leaf, argon.leaf_index, argon.tree_size, &path, read(&argon.root));
    let path: Vec<Hash> = argon.consistency.iter().map(read).collect();
    consistent(argon.old_size, argon.tree_size, &path, read(&argon.old_root), read(&argon.root));
    tally("Google's argon2020", "Merkle trees", 2, &[]);
}

/// Source: the package documentation of golang.org/x/mod/sumdb/note.
const GO_KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const GO_NOTE: &str = "If you think cryptography is the answer to your problem,\n\
    then you don't know what your problem is.\n\
    \n\
    \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

/// Source: c2sp.org/signed-note. Its key is not published: the note can be read, and is believed by nobody.
const POEM: &str = "Ognuno sta solo sul cuor della terra\n\
    trafitto da un raggio di sole:\n\
    \n\
    ed \u{e8} subito sera.\n\
    \n\
    \u{2014} quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n";

#[test]
fn notes_are_those_of_the_published_examples() {
    let key: VerifierKey = GO_KEY.parse().unwrap();
    assert_eq!(key.to_string(), GO_KEY, "its id is the one of its name and bytes");
    let text =
        Note::parse(GO_NOTE.as_bytes()).unwrap().verify(std::slice::from_ref(&key)).unwrap().to_owned();
    let verifiers = VerifierList::new(vec![Box::new(StandardVerifier::new(GO_KEY).unwrap())]);
    let other = signed_note::Note::from_bytes(GO_NOTE.as_bytes()).unwrap();
    assert!(other.verify(&verifiers).is_ok());
    assert_eq!(other.text(), text.as_bytes());

    let note = Note::parse(POEM.as_bytes()).unwrap();
    assert_eq!(note.verify(&[key]), Err(NoteError::Unsigned));
    assert!(signed_note::Note::from_bytes(POEM.as_bytes()).unwrap().text().ends_with("sera.\n".as_bytes()));
    tally("signed-note", "C2SP formats", 2, &[]);
}

/// Source: c2sp.org/tlog-checkpoint and c2sp.org/tlog-cosignature. The keys are not published.
const CHECKPOINT: &str =
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
const COSIGNATURE: &str = "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==";

#[test]
fn checkpoints_and_cosignatures_are_those_of_the_published_examples() {
    let checkpoint = Checkpoint::parse(CHECKPOINT).unwrap();
    assert_eq!((checkpoint.origin.as_str(), checkpoint.size), ("example.com/behind-the-sofa", 20_852_163));
    assert_eq!(checkpoint.text(), CHECKPOINT);
    let theirs = tlog_tiles::Checkpoint::from_bytes(CHECKPOINT.as_bytes()).unwrap();
    assert_eq!((theirs.size(), theirs.hash().0), (checkpoint.size, checkpoint.root));

    // What is signed is the text of the specification; the line is laid out as its example.
    let key = CosignerKey::new("witness.example.com/w1", [9; 32]).unwrap();
    let expected = format!("cosignature/v1\ntime 1679315147\n{CHECKPOINT}");
    let published = STANDARD.decode(COSIGNATURE).unwrap();
    let ed25519: [u8; 64] = published[12..].try_into().unwrap();
    let made = Cosignature::make(&key, CHECKPOINT, 1_679_315_147, |message| {
        assert_eq!(std::str::from_utf8(message), Ok(expected.as_str()));
        ed25519
    });
    let (start, blob) = made.line().trim_end().rsplit_once(' ').unwrap();
    assert_eq!(start, "\u{2014} witness.example.com/w1");
    assert_eq!(STANDARD.decode(blob).unwrap()[4..], published[4..], "all but the id of the key");
    tally("tlog-checkpoint, tlog-cosignature", "C2SP formats", 3, &[]);
}

/// Source: c2sp.org/tlog-witness, the example of a request's body.
const SUBMISSION: &str = "old 20852014\n\
    PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n\
    jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n\
    5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=\n\
    /6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=\n\
    \n\
    example.com/behind-the-sofa\n\
    20852163\n\
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\
    \n\
    \u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
    \u{2014} example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=\n";

/// Source: c2sp.org/tlog-proof, whose example leaves out the middle of its signatures.
const PROOF: &str = "c2sp.org/tlog-proof@v1\n\
    extra YWdlLXYxLjIuMS1kYXJ3aW4tYXJtNjQudGFyLmd6kYXJ3aW4tYXJ\n\
    index 73894\n\
    gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=\n\
    B95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=\n\
    EKNzoDWG8LGC0Yp9o+sv3qllpMP9uHQ9B20KNL+Q1zs=\n\
    RoopEkOdqkYqMB4MJXrbt/hMjOxsVn0IrWjpz1ZMMes=\n\
    AHCioX9nLjsrse6YhjRRmk1WUEirVOLLRoOQ6vfO5vk=\n\
    \n\
    example.com/fancylog\n\
    109482\n\
    sFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=\n\
    \n\
    \u{2014} example.com/fancylog hI2DJw[...]1roloI=\n";

#[test]
fn submissions_and_proofs_are_those_of_the_published_examples() {
    let read = Submission::parse(SUBMISSION.as_bytes()).unwrap();
    assert_eq!((read.old, read.proof.len(), read.origin()), (20_852_014, 4, "example.com/behind-the-sofa"));
    assert_eq!(read.to_string(), SUBMISSION, "it is written as it was read");
    assert!(Note::parse(read.note.as_bytes()).is_ok());

    assert!(TlogProof::parse(PROOF).is_err(), "an `extra` line is in no signature");
    let extra = PROOF.lines().nth(1).unwrap();
    let without = PROOF.replace(&format!("{extra}\n"), "");
    let proof = TlogProof::parse(&without).unwrap();
    assert_eq!((proof.index(), proof.to_string()), (73_894, without));
    tally("tlog-witness, tlog-proof", "C2SP formats", 1, &["an `extra` line, which nothing authenticates"]);
}
