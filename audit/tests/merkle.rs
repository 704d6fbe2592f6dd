//! The tree against the published vectors, against a second implementation (`tlog_tiles`) and against chance.
//! A slip in the arithmetic of proofs would show here and nowhere else: both sides of a wrong proof agree with
//! themselves.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may panic")]

use chancery_audit::merkle::{
    Hash, Nodes, empty_root, leaf_hash, node_hash, prove_consistency, prove_inclusion, root,
    verify_consistency, verify_inclusion,
};
use proptest::prelude::*;

/// Every complete subtree, by height.
struct Complete(Vec<Vec<Hash>>);

impl Complete {
    fn of(leaves: Vec<Hash>) -> Self {
        let mut rows = vec![leaves];
        while rows.last().unwrap().len() > 1 {
            let next =
                rows.last().unwrap().chunks_exact(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
            rows.push(next);
        }
        Self(rows)
    }
}

impl Nodes for Complete {
    type Error = std::convert::Infallible;

    fn node(&self, height: u32, index: u64) -> Result<Hash, Self::Error> {
        Ok(self.0[height as usize][usize::try_from(index).unwrap()])
    }
}

fn numbered(size: u64) -> Vec<Hash> {
    (0..size).map(|n| leaf_hash(&n.to_be_bytes())).collect()
}

fn hash(text: &str) -> Hash {
    hex::decode(text).unwrap().try_into().unwrap()
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
fn agrees_with_the_vectors_of_certificate_transparency() {
    let leaves: Vec<Hash> = LEAVES.iter().map(|leaf| leaf_hash(&hex::decode(leaf).unwrap())).collect();
    let tree = Complete::of(leaves.clone());
    assert_eq!(
        empty_root(),
        hash("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        "RFC 6962, 2.1: the hash of an empty list"
    );
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
        let root = root(&tree, size).unwrap();
        let at = usize::try_from(index).unwrap();
        assert!(verify_inclusion(&leaves[at], index, size, &path, &root));
    }
    let consistency: [(u64, u64, &[&str]); 4] =
        [(1, 1, &[]), (1, 8, &[A, B, C]), (6, 8, &[F, E, ROOTS[3]]), (2, 5, &[B, D])];
    for (old, new, path) in consistency {
        let path: Vec<_> = path.iter().map(|text| hash(text)).collect();
        assert_eq!(prove_consistency(&tree, old, new), Ok(path.clone()), "{old} to {new}");
        assert!(verify_consistency(old, new, &path, &root(&tree, old).unwrap(), &root(&tree, new).unwrap()));
    }
}

/// The second implementation's storage: every hash in its own order.
struct Stored(Vec<tlog_tiles::Hash>);

impl tlog_tiles::HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
        Ok(indexes.iter().map(|index| self.0[usize::try_from(*index).unwrap()]).collect())
    }
}

#[test]
fn agrees_with_a_second_implementation_at_every_size_to_2000() {
    const SIZES: u64 = 2_000;
    let tree = Complete::of(numbered(SIZES));
    let mut stored = Stored(Vec::new());
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for size in 1..=SIZES {
        let body = (size - 1).to_be_bytes();
        let hashes = tlog_tiles::stored_hashes(size - 1, &body, &stored).unwrap();
        stored.0.extend(hashes);
        let ours = root(&tree, size).unwrap();
        let theirs = tlog_tiles::tree_hash(size, &stored).unwrap();
        assert_eq!(ours, theirs.0, "root of {size}");
        for _ in 0..4 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let index = (random >> 33) % size;
            let path = prove_inclusion(&tree, index, size).unwrap();
            let their_path = tlog_tiles::prove_record(size, index, &stored).unwrap();
            assert_eq!(
                path,
                their_path.iter().map(|hash| hash.0).collect::<Vec<_>>(),
                "leaf {index} of {size}"
            );
            let leaf = tree.node(0, index).unwrap();
            let checked = tlog_tiles::check_record(&their_path, size, theirs, index, tlog_tiles::Hash(leaf));
            assert!(checked.is_ok() && verify_inclusion(&leaf, index, size, &path, &ours));

            let old = index + 1;
            let path = prove_consistency(&tree, old, size).unwrap();
            let their_path = tlog_tiles::prove_tree(size, old, &stored).unwrap();
            assert_eq!(path, their_path.iter().map(|hash| hash.0).collect::<Vec<_>>(), "{old} to {size}");
            let old_root = root(&tree, old).unwrap();
            assert!(verify_consistency(old, size, &path, &old_root, &ours));
        }
    }
}

/// A slip that shows at one pair of sizes only is not met by chance.
#[test]
fn agrees_with_a_second_implementation_about_every_proof_up_to_300() {
    const SIZES: u64 = 300;
    let tree = Complete::of(numbered(SIZES));
    let mut stored = Stored(Vec::new());
    let (mut inclusion, mut consistency) = (0, 0);
    for size in 1..=SIZES {
        let hashes = tlog_tiles::stored_hashes(size - 1, &(size - 1).to_be_bytes(), &stored).unwrap();
        stored.0.extend(hashes);
        let whole = root(&tree, size).unwrap();
        let theirs = tlog_tiles::Hash(whole);
        let same =
            |ours: &[Hash], theirs: &[tlog_tiles::Hash]| ours.iter().eq(theirs.iter().map(|hash| &hash.0));
        for at in 0..size {
            let leaf = tree.node(0, at).unwrap();
            let path = prove_inclusion(&tree, at, size).unwrap();
            let their_path = tlog_tiles::prove_record(size, at, &stored).unwrap();
            assert!(same(&path, &their_path), "leaf {at} of {size}");
            assert!(verify_inclusion(&leaf, at, size, &path, &whole), "leaf {at} of {size}");
            tlog_tiles::check_record(&their_path, size, theirs, at, tlog_tiles::Hash(leaf)).unwrap();
            inclusion += 1;

            let old = at + 1;
            let old_root = root(&tree, old).unwrap();
            let path = prove_consistency(&tree, old, size).unwrap();
            let their_path = tlog_tiles::prove_tree(size, old, &stored).unwrap();
            assert!(same(&path, &their_path), "{old} to {size}");
            assert!(verify_consistency(old, size, &path, &old_root, &whole), "{old} to {size}");
            tlog_tiles::check_tree(&their_path, size, theirs, old, tlog_tiles::Hash(old_root)).unwrap();
            consistency += 1;
        }
    }
    assert_eq!((inclusion, consistency), (45_150, 45_150));
}

#[test]
fn verification_survives_the_largest_numbers() {
    let zero = [0; 32];
    for proof in [vec![], vec![zero], vec![zero; 64], vec![zero; 65]] {
        assert!(!verify_inclusion(&zero, u64::MAX - 1, u64::MAX, &proof, &zero));
        assert!(!verify_inclusion(&zero, u64::MAX, u64::MAX, &proof, &zero));
        assert!(!verify_inclusion(&zero, 0, 0, &proof, &zero));
        assert!(!verify_consistency(u64::MAX - 1, u64::MAX, &proof, &zero, &zero));
        assert!(!verify_consistency(1 << 63, u64::MAX, &proof, &zero, &zero));
        assert!(!verify_consistency(2, 1, &proof, &zero, &zero));
    }
    assert!(!verify_consistency(5, 5, &[], &zero, &[1; 32]), "one size has one root");
    assert!(!verify_consistency(0, 5, &[], &zero, &zero), "the empty tree has one root");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_proof_convinces_nobody(size in 1_u64..700, pick: u64, old in 1_u64..700, bit in 0_usize..256, at: usize) {
        let index = pick % size;
        let tree = Complete::of(numbered(size.max(old)));
        let whole = root(&tree, size).unwrap();
        let leaf = tree.node(0, index).unwrap();
        let path = prove_inclusion(&tree, index, size).unwrap();
        prop_assert!(verify_inclusion(&leaf, index, size, &path, &whole));
        prop_assert!(!verify_inclusion(&leaf, index + 1, size, &path, &whole), "the place is bound");
        let mut longer = path.clone();
        longer.push(whole);
        prop_assert!(!verify_inclusion(&leaf, index, size, &longer, &whole));
        if !path.is_empty() {
            prop_assert!(!verify_inclusion(&leaf, index, size, &path[1..], &whole));
            let mut flipped = path.clone();
            let at = at % flipped.len();
            flipped[at][bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!verify_inclusion(&leaf, index, size, &flipped, &whole));
        }
        let (old, new) = (old.min(size), old.max(size));
        let (old_root, new_root) = (root(&tree, old).unwrap(), root(&tree, new).unwrap());
        let path = prove_consistency(&tree, old, new).unwrap();
        prop_assert!(verify_consistency(old, new, &path, &old_root, &new_root));
        let mut other = new_root;
        other[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(!verify_consistency(old, new, &path, &old_root, &other));
        let mut other = old_root;
        other[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(!verify_consistency(old, new, &path, &other, &new_root));
        if !path.is_empty() {
            prop_assert!(!verify_consistency(old, new, &path[1..], &old_root, &new_root));
        }
    }
}
