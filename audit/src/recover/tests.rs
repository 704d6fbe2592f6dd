//! Recovery by the shortcut over tiles, which a real log takes only after 2^18 leaves: it must find the same as reading
//! every leaf, and must not be fooled by a tile.

use std::ops::Range;
use std::sync::Mutex;

use super::*;
use crate::note::VerifierKey;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

struct Leaves {
    bodies: Vec<Vec<u8>>,
    read: Mutex<Vec<Range<u64>>>,
}

impl LeafSource for Leaves {
    fn size(&self) -> Result<u64, AuditError> {
        Ok(self.bodies.len() as u64)
    }

    fn bodies(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, AuditError> {
        self.read.lock().unwrap().push(range.clone());
        Ok(self.bodies[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()].to_vec())
    }
}

struct Setting {
    folder: tempfile::TempDir,
    files: Files,
    pair: Ed25519KeyPair,
    key: VerifierKey,
    trust: Trust,
    source: Leaves,
}

const HEAD: u64 = 131_072 + 300;
const TOTAL: u64 = HEAD + 700;

/// A log of `TOTAL` leaves whose head of `HEAD` leaves was signed and whose files are whole.
fn setting() -> Setting {
    let folder = tempfile::tempdir().unwrap();
    let files = Files::create(folder.path()).unwrap();
    let pair = Ed25519KeyPair::generate().unwrap();
    let public = pair.public_key().as_ref().try_into().unwrap();
    let key = VerifierKey::new("log.example", public).unwrap();
    let trust = Trust::in_key("log.example", public).unwrap();
    let bodies = (0..TOTAL).map(|n| n.to_string().into_bytes()).collect();
    let source = Leaves { bodies, read: Mutex::default() };
    let setting = Setting { folder, files, pair, key, trust, source };
    setting.remember(HEAD);
    // Nothing is on disk but the head: the first recovery makes every file.
    assert_eq!(setting.recover(0).unwrap().edge.size(), TOTAL);
    setting
}

impl Setting {
    fn root(&self, size: u64) -> Hash {
        let mut edge = Edge::default();
        let bodies = &self.source.bodies[..usize::try_from(size).unwrap()];
        source::hashes(bodies).for_each(|hash| edge.push(hash, |_| {}));
        root_of(&edge).unwrap()
    }

    fn remember(&self, size: u64) {
        let checkpoint = crate::Checkpoint { origin: "log.example".to_owned(), size, root: self.root(size) };
        let text = checkpoint.text();
        let signature = self.pair.sign(text.as_bytes());
        let note = format!("{text}\n{}", self.key.line(signature.as_ref()));
        self.files.write(&[(Files::CHECKPOINT.to_owned(), note.into_bytes())]).unwrap();
    }

    fn recover(&self, rechecked: u64) -> Result<Recovered, AuditError> {
        self.source.read.lock().unwrap().clear();
        recover(&self.source, &self.files, &self.trust, rechecked)
    }

    fn first_leaf_read(&self) -> u64 {
        self.source.read.lock().unwrap().iter().map(|range| range.start).min().unwrap()
    }
}

#[test]
fn the_shortcut_finds_what_reading_everything_finds() {
    let s = setting();
    for rechecked in [0, 1, 256, 400, 1_000, 66_000, HEAD - 1, HEAD, u64::MAX] {
        let recovered = s.recover(rechecked).unwrap();
        assert_eq!(root_of(&recovered.edge), Some(s.root(TOTAL)), "{rechecked}");
        let recent = HEAD.saturating_sub(rechecked) / WIDTH * WIDTH;
        assert_eq!(s.first_leaf_read(), recent, "{rechecked}: nothing older is read");
    }
}

#[test]
fn a_changed_old_leaf_is_caught_by_reading_it_and_a_changed_recent_one_always() {
    let mut s = setting();
    for (leaf, rechecked) in [(5, u64::MAX), (HEAD - 1, 1), (HEAD - 5_000, 6_000)] {
        let at = usize::try_from(leaf).unwrap();
        let body = std::mem::replace(&mut s.source.bodies[at], b"forged".to_vec());
        let refused = s.recover(rechecked).err();
        assert!(matches!(refused, Some(AuditError::Forked { size: HEAD })), "{leaf}: {refused:?}");
        s.source.bodies[at] = body;
    }
    s.recover(u64::MAX).unwrap();
}

#[test]
fn a_damaged_tile_costs_time_and_nothing_else() {
    let s = setting();
    let (edge, _) = edge_of(0, HEAD);
    for (level, number, width) in [(1, 2, 1), (2, 0, 2), (0, edge, 44), (0, 3, WIDTH), (1, 0, WIDTH)] {
        let path = Resource::Tile { level, number, width }.path();
        let whole = s.files.read(&path).unwrap().unwrap_or_else(|| panic!("{path} should be there"));
        for damaged in [None, Some(vec![]), Some(vec![9; whole.len() / 2])] {
            match &damaged {
                None => std::fs::remove_file(s.folder.path().join(&path)).unwrap(),
                Some(bytes) => std::fs::write(s.folder.path().join(&path), bytes).unwrap(),
            }
            let recovered = s.recover(400).unwrap();
            assert_eq!(root_of(&recovered.edge), Some(s.root(TOTAL)), "{path}");
            assert_eq!(s.files.read(&path).unwrap(), Some(whole.clone()), "{path} is made again");
        }
    }
}
