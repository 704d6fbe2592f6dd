//! Truncation and a flipped bit at every byte of the last 64 KiB of whatever a log is made of: what an auditor reads, what a
//! verification leaves for the next, and what the appliance starts over. Each is refused, or changes nothing.
//! A sample; every byte with `TAMPER_POSITIONS=65536`. Prints figures that `cargo xtask assurance --only log` reads.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests may panic"
)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chancery_audit::{
    Folder, Kept, Log, LogOptions, LogReport, Mirror, MirrorError, Start, Trust, feed, verify_log,
};
use chancery_store::Store;
use support::{Asked, House, Key, ORIGIN, note, tiles, verify_folder};

/// How far back from its end a file is tried.
const LAST: usize = 64 * 1024;

/// Positions of each file that a usual test run tries.
const SAMPLE: usize = 40;

/// What becomes of a file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Cut,
    Flip,
}

impl Damage {
    fn of(self, whole: &[u8], at: usize) -> Vec<u8> {
        match self {
            Self::Cut => whole[..at].to_vec(),
            Self::Flip => {
                let mut bytes = whole.to_vec();
                bytes[at] ^= 1 << (at % 8);
                bytes
            }
        }
    }
}

/// How a damage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Refused,
    Harmless,
    Different,
}

/// The positions of a file of this length that are tried, spread evenly over its last 64 KiB.
fn positions(length: usize) -> Vec<usize> {
    let asked = std::env::var("TAMPER_POSITIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(SAMPLE);
    let span = length.min(LAST);
    let count = span.min(asked);
    (0..count).map(|n| length - span + n * span / count).collect()
}

/// Tries every damage of every position of these files, prints the figure and panics where an answer was another.
fn try_all(what: &str, files: &BTreeMap<String, Vec<u8>>, ends: impl Fn(&str, Vec<u8>) -> End + Sync) {
    let mut cases = Vec::new();
    for (path, whole) in files {
        let at = positions(whole.len()).into_iter();
        cases.extend(at.flat_map(|at| [(path, at, Damage::Cut), (path, at, Damage::Flip)]));
    }
    let (next, tally) = (AtomicUsize::new(0), [(); 3].map(|()| AtomicUsize::new(0)));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((path, at, damage)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let end = ends(path, damage.of(&files[*path], *at));
                    tally[end as usize].fetch_add(1, Ordering::Relaxed);
                    if end == End::Different {
                        println!("{what}: {damage:?} of `{path}` at {at} gives another answer");
                    }
                }
            });
        }
    });
    let [refused, harmless, different] = tally.map(AtomicUsize::into_inner);
    let (files, runs) = (files.len(), cases.len());
    println!(
        "assurance log {what} files={files} runs={runs} refused={refused} harmless={harmless} different={different}"
    );
    assert_eq!(different, 0, "{what}");
    assert!(refused > 0 && refused + harmless == runs, "{what}: nothing was tried");
}

/// A log's files in memory, one of them damaged.
struct Copy<'a> {
    files: &'a BTreeMap<String, Vec<u8>>,
    damaged: (&'a str, Vec<u8>),
}

impl Mirror for Copy<'_> {
    fn read(&self, path: &str, _: usize) -> Result<Option<Vec<u8>>, MirrorError> {
        if path == self.damaged.0 {
            return Ok(Some(self.damaged.1.clone()));
        }
        Ok(self.files.get(path).cloned())
    }

    fn lanes(&self) -> usize {
        1
    }
}

fn read_all(root: &Path, below: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_all(root, &path, found);
        } else {
            found.insert(
                path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(),
                fs::read(&path).unwrap(),
            );
        }
    }
}

fn all(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    read_all(root, root, &mut found);
    found
}

fn same(one: &LogReport, other: &LogReport) -> bool {
    one.checkpoint.checkpoint() == other.checkpoint.checkpoint()
        && (one.counts, one.open) == (other.counts, other.open)
}

#[tokio::test]
async fn an_auditor_is_never_shown_another_log() {
    let (folder, key) = (tempfile::tempdir().unwrap(), Arc::new(Key::fresh()));
    let house = House::open(folder.path(), &key).unwrap();
    for n in 0..170 {
        let asked = Asked::transaction(n);
        let decision = house.append(chancery_audit::Record::Decision(asked.decision.clone())).await;
        let outcome = asked.ended(decision.index(), chancery_audit::End::Released, Some(b"s"), None);
        house.append(chancery_audit::Record::Outcome(outcome)).await;
    }
    house.fill(60).await;
    house.close().await;
    let (log, trust) = (tiles(folder.path()), key.trust());
    let good = verify_folder(&log, &trust).unwrap();
    let mut files = all(&log);
    // What was published meanwhile is not read any more.
    files.retain(|path, _| {
        path != "head" && (!path.contains(".p/") || path.ends_with("/144") || path.ends_with("/1"))
    });
    assert_eq!(
        files.len(),
        6,
        "checkpoint, two bundles, two tiles of level 0, one of level 1: {:?}",
        files.keys()
    );

    let ends = |path: &str, bytes: Vec<u8>, start: Start<'_>| match verify_log(
        &Copy { files: &files, damaged: (path, bytes) },
        &trust,
        start,
        &mut |_| Ok(()),
    ) {
        Err(error) if error.reason().is_some() => End::Refused,
        Ok(report) if same(&report, &good) => End::Harmless,
        _ => End::Different,
    };
    try_all("files", &files, |path, bytes| ends(path, bytes, Start::Afresh));

    // Gone on with from the first bundle: the files of the verified part are not read any more.
    let mut kept = Vec::new();
    verify_log(&Folder::at(&log), &trust, Start::Afresh, &mut |pass| {
        if pass.verified() == 256 {
            kept = pass.keep();
        }
        Ok(())
    })
    .unwrap();
    let parse = || Kept::parse(&kept, &trust).unwrap();
    try_all("resumed", &files, |path, bytes| ends(path, bytes, Start::From(Box::new(parse()))));
    try_all("state", &BTreeMap::from([("state".to_owned(), kept.clone())]), |_, bytes| {
        match Kept::parse(&bytes, &trust) {
            Err(_) => End::Refused,
            Ok(_) => End::Different,
        }
    });
}

/// Starts store and log as the appliance does, and answers the entries that it goes on from, which hash to the remembered
/// head; with `publish` it also serves until its files are written.
async fn start(folder: &Path, key: &Arc<Key>, publish: bool) -> Option<Vec<Vec<u8>>> {
    let (observer, feed) = feed();
    let store = Store::open(&folder.join("store"), Box::new(observer)).ok()?;
    let options = LogOptions {
        origin: ORIGIN.to_owned(),
        directory: tiles(folder),
        retired: Vec::new(),
        witnesses: Vec::new(),
        quorum: 0,
        ml_dsa: None,
    };
    let log = Log::open(Arc::new(store.clone()), &feed, options, Arc::<Key>::clone(key));
    let mut entries = None;
    if let Ok(log) = log {
        let size = log.standing().size;
        let bodies = store.read(|rows| Ok(rows.leaves(0..size)?.into_iter().map(|leaf| leaf.body).collect()));
        entries = bodies.ok();
        if publish {
            log.start().stop().await.unwrap();
        }
    }
    store.close().await;
    entries
}

/// In memory where there is such a place: hundreds of thousands of starts sync thousands of files.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn lay_out(files: &BTreeMap<String, Vec<u8>>, damaged: Option<(&str, &[u8])>) -> tempfile::TempDir {
    let folder = scratch();
    for (path, bytes) in files {
        let to: PathBuf = folder.path().join(path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        let bytes = damaged.filter(|(known, _)| known == path).map_or(bytes.as_slice(), |(_, bytes)| bytes);
        fs::write(to, bytes).unwrap();
    }
    folder
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// An appliance that was killed: entries in the database and, later ones, in its write-ahead log; all under a remembered head.
async fn killed(key: &Arc<Key>) -> BTreeMap<String, Vec<u8>> {
    let folder = scratch();
    let house = House::open(folder.path(), key).unwrap();
    house.fill(150).await;
    house.close().await;
    let house = House::open(folder.path(), key).unwrap();
    for n in 0..130 {
        house.append(note(n)).await;
    }
    while house.log.standing().published < 280 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    // The publisher writes `checkpoint` after `head`; until it has, a copy would be of two moments.
    let checkpoint = || fs::read(tiles(folder.path()).join("checkpoint")).unwrap_or_default();
    while checkpoint() != fs::read(tiles(folder.path()).join("head")).unwrap() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let mut files = all(folder.path());
    files.retain(|path, _| !path.ends_with("-shm") && !path.ends_with("lock"));
    house.close().await;
    files
}

#[test]
fn an_appliance_never_starts_over_another_log() {
    let key = Arc::new(Key::fresh());
    let files = runtime().block_on(killed(&key));
    assert!(files["store/store.sqlite-wal"].len() > LAST && files["store/store.sqlite"].len() > LAST);
    let good = runtime().block_on(start(lay_out(&files, None).path(), &key, true)).unwrap();
    assert_eq!(good.len(), 280);

    try_all("start", &files, |path, bytes| {
        let folder = lay_out(&files, Some((path, &bytes)));
        let published = path.starts_with("log/");
        match runtime().block_on(start(folder.path(), &key, published)) {
            None => End::Refused,
            // What can be made again from the store was: an auditor sees the same log.
            Some(entries) if entries == good && (!published || whole(folder.path(), &key.trust())) => {
                End::Harmless
            }
            Some(_) => End::Different,
        }
    });
}

fn whole(folder: &Path, trust: &Trust) -> bool {
    verify_folder(&tiles(folder), trust).is_ok_and(|report| report.checkpoint.size() == 280)
}

#[test]
fn an_older_store_under_a_newer_head_does_not_start() {
    let (folder, key) = (scratch(), Arc::new(Key::fresh()));
    let mut older = Vec::new();
    for _ in 0..16 {
        runtime().block_on(async {
            let house = House::open(folder.path(), &key).unwrap();
            house.fill(30).await;
            house.close().await;
        });
        older.push(all(folder.path()));
    }
    let newest = older.pop().unwrap();
    let (mut refused, copies) = (0, older.len());
    for copy in older {
        let mixed: BTreeMap<_, _> = newest
            .iter()
            .filter(|(path, _)| path.starts_with("log/"))
            .chain(copy.iter().filter(|(path, _)| path.starts_with("store/")))
            .map(|(path, bytes)| (path.clone(), bytes.clone()))
            .collect();
        refused +=
            usize::from(runtime().block_on(start(lay_out(&mixed, None).path(), &key, false)).is_none());
    }
    println!(
        "assurance log older files=1 runs={copies} refused={refused} harmless=0 different={}",
        copies - refused
    );
    assert_eq!(refused, copies);
}
