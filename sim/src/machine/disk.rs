//! What a disk keeps. The files themselves stand for the page cache; beside them, this remembers of each what was synced and
//! what was written since. A power loss keeps, of each 512-byte sector, any version since the last sync, and of each name in
//! a folder, the synced or the present one. If this forgets too little, a missing sync is not found.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::dice::Dice;

/// What a disk writes whole or not at all. SQLite relies on it too (`SQLITE_POWERSAFE_OVERWRITE`).
const SECTOR: u64 = 512;

/// Something done to a file since it was synced.
enum Change {
    Write { at: u64, bytes: Vec<u8> },
    Length(u64),
}

#[derive(Default)]
struct Node {
    name: String,
    synced: Vec<u8>,
    since: Vec<Change>,
}

impl Node {
    /// The file as it is with those changes that `keep` keeps.
    fn with(&self, mut keep: impl FnMut() -> bool) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        for change in &self.since {
            match change {
                Change::Length(length) => {
                    if keep() {
                        bytes.resize(size(*length), 0);
                    }
                }
                Change::Write { at, bytes: new } => {
                    let mut done = 0;
                    while let Some(rest) = new.get(done..).filter(|rest| !rest.is_empty()) {
                        let start = at + done as u64;
                        let room = size(SECTOR - start % SECTOR).min(rest.len());
                        if keep() {
                            let (start, part) = (size(start), rest.get(..room).unwrap_or_default());
                            if bytes.len() < start + room {
                                bytes.resize(start + room, 0);
                            }
                            if let Some(place) = bytes.get_mut(start..start + room) {
                                place.copy_from_slice(part);
                            }
                        }
                        done += room;
                    }
                }
            }
        }
        bytes
    }

    fn length(&self) -> u64 {
        self.since.iter().fold(self.synced.len() as u64, |length, change| match change {
            Change::Length(length) => *length,
            Change::Write { at, bytes } => length.max(at + bytes.len() as u64),
        })
    }
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Entry {
    Folder,
    File(u64),
}

type Names = BTreeMap<OsString, Entry>;

/// What is below a folder: the bytes of each file, none for a folder.
pub type Content = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// A file's number on its device and its length, as the system tells them.
#[derive(Clone, Copy, Debug)]
pub struct File {
    /// The number.
    pub number: u64,
    /// The length.
    pub length: u64,
}

/// One disk, below one folder.
pub struct Disk {
    root: PathBuf,
    device: u64,
    nodes: BTreeMap<u64, Node>,
    /// The synced names of each folder.
    names: BTreeMap<PathBuf, Names>,
    retired: u64,
    /// A disk that says that it synced, and did not.
    lies: bool,
}

impl Disk {
    /// An empty disk below `root`, which must be empty.
    ///
    /// # Errors
    /// What the system says.
    pub fn below(root: &Path, lies: bool) -> io::Result<Self> {
        let root = root.canonicalize()?;
        let device = fs::metadata(&root)?.dev();
        Ok(Self { root, device, nodes: BTreeMap::new(), names: BTreeMap::new(), retired: 1 << 62, lies })
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Its device.
    pub fn device(&self) -> u64 {
        self.device
    }

    /// What a file is called, for the trace.
    pub fn called(&mut self, file: File, path: impl FnOnce() -> Option<PathBuf>) -> String {
        let root = &self.root;
        let node = self.nodes.entry(file.number).or_default();
        if node.name.is_empty() {
            let path = path().unwrap_or_default();
            node.name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        }
        node.name.clone()
    }

    /// `bytes` were written at `at`; `file` is as it was before.
    pub fn wrote(&mut self, file: File, at: u64, bytes: &[u8]) {
        let node = self.nodes.entry(file.number).or_default();
        // Shortened by an opening that truncates, which is not seen here.
        if file.length < node.length() {
            node.since.push(Change::Length(file.length));
        }
        node.since.push(Change::Write { at, bytes: bytes.to_vec() });
    }

    /// The file was given a length.
    pub fn resized(&mut self, file: File, length: u64) {
        self.nodes.entry(file.number).or_default().since.push(Change::Length(length));
    }

    /// The file was synced.
    pub fn synced(&mut self, file: File) {
        if self.lies {
            return;
        }
        let node = self.nodes.entry(file.number).or_default();
        if file.length < node.length() {
            node.since.push(Change::Length(file.length));
        }
        node.synced = node.with(|| true);
        node.since.clear();
    }

    /// A sync failed, and the pages count as written although they are not: no later sync brings them to the disk.
    pub fn dropped(&mut self, file: File) {
        let node = self.nodes.entry(file.number).or_default();
        node.since.clear();
    }

    /// The names of a folder were synced.
    pub fn synced_folder(&mut self, path: &Path) {
        if self.lies {
            return;
        }
        if let Ok(inside) = path.strip_prefix(&self.root) {
            let names = present(path);
            self.names.insert(inside.to_owned(), names);
        }
    }

    /// The last name of a file goes away; its number may be given to another.
    pub fn unlinked(&mut self, number: u64) {
        let Some(node) = self.nodes.remove(&number) else { return };
        self.retired += 1;
        self.nodes.insert(self.retired, node);
        for entry in self.names.values_mut().flat_map(BTreeMap::values_mut) {
            if *entry == Entry::File(number) {
                *entry = Entry::File(self.retired);
            }
        }
    }

    /// The power comes back: the files become what the disk kept.
    ///
    /// # Errors
    /// What the system says.
    pub fn lose_power(&mut self, dice: &mut Dice) -> io::Result<()> {
        // Nothing since the last sync, all of it, or some.
        let chance = [0, 100, 50, 50].get(size(dice.below(4))).copied().unwrap_or(50);
        let mut kept = Content::new();
        self.survivors(Path::new(""), chance, dice, &mut kept);
        self.hold(kept)
    }

    /// A copy of everything on it.
    ///
    /// # Errors
    /// What the system says.
    pub fn copy(&self) -> io::Result<Content> {
        let mut content = Content::new();
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(self.root.join(&folder))? {
                let entry = entry?;
                let path = folder.join(entry.file_name());
                let bytes = if entry.file_type()?.is_dir() {
                    folders.push(path.clone());
                    None
                } else {
                    Some(fs::read(entry.path())?)
                };
                content.insert(path, bytes);
            }
        }
        Ok(content)
    }

    /// It holds this, and all of it is synced.
    ///
    /// # Errors
    /// What the system says.
    pub fn hold(&mut self, content: Content) -> io::Result<()> {
        for entry in fs::read_dir(&self.root)? {
            let path = entry?.path();
            if path.is_dir() { fs::remove_dir_all(&path)? } else { fs::remove_file(&path)? }
        }
        self.nodes.clear();
        self.names.clear();
        let mut folders = BTreeSet::from([PathBuf::new()]);
        for (path, bytes) in content {
            let full = self.root.join(&path);
            match bytes {
                None => {
                    fs::create_dir(&full)?;
                    folders.insert(path);
                }
                Some(bytes) => {
                    fs::write(&full, &bytes)?;
                    let name = path.to_string_lossy().into_owned();
                    self.nodes
                        .insert(fs::metadata(&full)?.ino(), Node { name, synced: bytes, since: Vec::new() });
                }
            }
        }
        for folder in folders {
            let names = present(&self.root.join(&folder));
            self.names.insert(folder, names);
        }
        Ok(())
    }

    fn survivors(&self, folder: &Path, chance: u64, dice: &mut Dice, kept: &mut Content) {
        let before = self.names.get(folder).cloned().unwrap_or_default();
        let now = present(&self.root.join(folder));
        let all: BTreeSet<&OsString> = before.keys().chain(now.keys()).collect();
        for name in all {
            let (before, now) = (before.get(name), now.get(name));
            let entry = if before == now || !dice.percent(chance) { before } else { now };
            let path = folder.join(name);
            match entry {
                None => {}
                Some(Entry::Folder) => {
                    kept.insert(path.clone(), None);
                    self.survivors(&path, chance, dice, kept);
                }
                Some(Entry::File(number)) => {
                    let node = self.nodes.get(number);
                    let bytes = node.map(|node| node.with(|| dice.percent(chance))).unwrap_or_default();
                    kept.insert(path, Some(bytes));
                }
            }
        }
    }
}

fn present(folder: &Path) -> Names {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let one = |entry: fs::DirEntry| {
        let data = entry.metadata().ok()?;
        let kind = if data.is_dir() { Entry::Folder } else { Entry::File(data.ino()) };
        Some((entry.file_name(), kind))
    };
    entries.filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(since: Vec<Change>) -> Node {
        Node { name: String::new(), synced: vec![1; 1_024], since }
    }

    /// Would catch a disk that is kinder than disks are: one that keeps a write whole, or in order.
    #[test]
    fn what_was_not_synced_is_kept_by_the_sector() {
        let node = node(vec![
            Change::Write { at: 0, bytes: vec![2; 1_024] },
            Change::Write { at: 1_024, bytes: vec![3; 512] },
        ]);
        let kept = |keep: &[bool]| {
            let mut keep = keep.iter();
            node.with(|| *keep.next().unwrap())
        };
        assert_eq!(kept(&[false, false, false]), vec![1; 1_024]);
        assert_eq!(kept(&[false, true, false]), [vec![1; 512], vec![2; 512]].concat());
        assert_eq!(kept(&[false, false, true]), [vec![1; 1_024], vec![3; 512]].concat());
    }

    #[test]
    fn a_sync_keeps_everything_and_a_failed_one_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (path, mut dice) = (folder.path().join("file"), Dice::of(1, "test"));
        let mut disk = Disk::below(folder.path(), false).unwrap();
        let write = |disk: &mut Disk, byte: u8| {
            let before = fs::metadata(&path).map_or(0, |data| data.len());
            let mut all = fs::read(&path).unwrap_or_default();
            all.push(byte);
            fs::write(&path, &all).unwrap();
            let number = fs::metadata(&path).unwrap().ino();
            disk.wrote(File { number, length: before }, before, &[byte]);
            File { number, length: before + 1 }
        };
        let file = write(&mut disk, 1);
        disk.synced(file);
        let file = write(&mut disk, 2);
        disk.dropped(file);
        disk.synced(file);
        disk.synced_folder(folder.path());
        disk.lose_power(&mut dice).unwrap();
        assert_eq!(fs::read(&path).unwrap()[0], 1);
        assert_ne!(
            fs::read(&path).unwrap().get(1),
            Some(&2),
            "a sync after a failed one brought the page back"
        );
    }
}
