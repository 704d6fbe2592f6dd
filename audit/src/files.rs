//! The log as static files (c2sp.org/tlog-tiles): `checkpoint`, `tile/<L>/<N>[.p/<W>]`, `tile/entries/<N>[.p/<W>]`, and
//! `head`, a second copy of the newest checkpoint. Each file appears whole or not at all: written beside, fsynced,
//! renamed, its folder fsynced. Nothing here is trusted when it is read back.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use crate::AuditError;
use crate::tile::WIDTH;

/// LIMIT: the longest resource: a full bundle of the longest entries.
const RESOURCE_BYTES: usize = 256 * (2 + 65_535);

/// One tile or entry bundle, full or as wide as it was at some size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Resource {
    /// Hashes of a level.
    Tile { level: u32, number: u64, width: u64 },
    /// Log entries.
    Entries { number: u64, width: u64 },
}

impl Resource {
    /// The path below the log's folder.
    pub(crate) fn path(self) -> String {
        let (level, number, width) = match self {
            Self::Tile { level, number, width } => (level.to_string(), number, width),
            Self::Entries { number, width } => ("entries".to_owned(), number, width),
        };
        let mut path = format!("tile/{level}/{}", number_path(number));
        if width < WIDTH {
            path.push_str(&format!(".p/{width}"));
        }
        path
    }

    /// How many hashes or entries it holds.
    pub(crate) fn width(self) -> u64 {
        let (Self::Tile { width, .. } | Self::Entries { width, .. }) = self;
        width
    }

    /// The same when it is full.
    pub(crate) fn full(self) -> Self {
        match self {
            Self::Tile { level, number, .. } => Self::Tile { level, number, width: WIDTH },
            Self::Entries { number, .. } => Self::Entries { number, width: WIDTH },
        }
    }

    /// Reads such a path; only the one spelling of each is known.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let (level, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => (number, width.parse().ok()?),
            None => (rest, WIDTH),
        };
        let mut value = 0_u64;
        for part in number.split('/') {
            let digits: u64 = part.strip_prefix('x').unwrap_or(part).parse().ok()?;
            value = value.checked_mul(1_000)?.checked_add(digits)?;
        }
        let resource = match level {
            "entries" => Self::Entries { number: value, width },
            level => Self::Tile { level: level.parse().ok()?, number: value, width },
        };
        ((1..=WIDTH).contains(&width) && resource.path() == path).then_some(resource)
    }
}

/// Three digits an element, all but the last with an `x` before them.
fn number_path(number: u64) -> String {
    let mut path = format!("{:03}", number % 1_000);
    let mut rest = number / 1_000;
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1_000);
        rest /= 1_000;
    }
    path
}

/// The log's folder.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    root: PathBuf,
}

impl Files {
    pub(crate) const CHECKPOINT: &'static str = "checkpoint";
    pub(crate) const HEAD: &'static str = "head";

    /// The folder, made if it is not there.
    pub(crate) fn create(root: &Path) -> Result<Self, AuditError> {
        if !root.is_dir() {
            fs::create_dir_all(root).map_err(|e| AuditError::io("create", root, e))?;
            let above = root.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let open = File::open(above).map_err(|e| AuditError::io("open", above, e))?;
            open.sync_all().map_err(|e| AuditError::io("sync", above, e))?;
        }
        Ok(Self { root: root.to_owned() })
    }

    /// The folder, only read.
    pub(crate) fn existing(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// A file's bytes; `None` where there is none.
    pub(crate) fn read(&self, path: &str) -> Result<Option<Vec<u8>>, AuditError> {
        self.read_at_most(path, RESOURCE_BYTES)
    }

    /// A file's first bytes, at most one more than `limit`; `None` where there is no file.
    pub(crate) fn read_at_most(&self, path: &str, limit: usize) -> Result<Option<Vec<u8>>, AuditError> {
        let full = self.root.join(path);
        let file = match File::open(&full) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(AuditError::io("open", &full, e)),
        };
        let mut bytes = Vec::new();
        file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(|e| AuditError::io("read", &full, e))?;
        Ok(Some(bytes))
    }

    /// The bytes of a tile or bundle of exactly this width; `None` where there is no such file.
    pub(crate) fn read_resource(&self, resource: Resource) -> Result<Option<Vec<u8>>, AuditError> {
        self.read(&resource.path())
    }

    /// A file's length; `None` where there is none.
    pub(crate) fn length(&self, resource: Resource) -> Option<u64> {
        fs::metadata(self.root.join(resource.path())).ok().map(|data| data.len())
    }

    /// Writes some files, all of them durable when this returns.
    ///
    /// ORDER: bytes, fsync, rename; then the folders. A crash leaves each file as it was or as it shall be, and at
    /// worst a `.new` file that the next write of that path replaces.
    pub(crate) fn write(&self, files: &[(String, Vec<u8>)]) -> Result<(), AuditError> {
        let mut folders = BTreeSet::new();
        for (path, bytes) in files {
            let path = self.root.join(path);
            let folder = path.parent().unwrap_or(&self.root).to_owned();
            self.make_folder(&folder, &mut folders)?;
            let new = path
                .with_file_name(format!("{}.new", path.file_name().unwrap_or_default().to_string_lossy()));
            let mut file = File::create(&new).map_err(|e| AuditError::io("create", &new, e))?;
            file.write_all(bytes).map_err(|e| AuditError::io("write", &new, e))?;
            file.sync_all().map_err(|e| AuditError::io("sync", &new, e))?;
            fs::rename(&new, &path).map_err(|e| AuditError::io("rename", &path, e))?;
            folders.insert(folder);
        }
        for folder in folders.iter().rev() {
            let open = File::open(folder).map_err(|e| AuditError::io("open", folder, e))?;
            open.sync_all().map_err(|e| AuditError::io("sync", folder, e))?;
        }
        Ok(())
    }

    fn make_folder(&self, folder: &Path, touched: &mut BTreeSet<PathBuf>) -> Result<(), AuditError> {
        if folder.is_dir() {
            return Ok(());
        }
        fs::create_dir_all(folder).map_err(|e| AuditError::io("create", folder, e))?;
        // A new folder is durable only when its parents are.
        let parents = folder.ancestors().take_while(|parent| parent.starts_with(&self.root));
        touched.extend(parents.map(Path::to_owned));
        Ok(())
    }

    /// The names in a folder; none where there is no such folder.
    pub(crate) fn names(&self, folder: &str) -> Result<Vec<String>, AuditError> {
        let full = self.root.join(folder);
        let broken = |error| AuditError::io("list", &full, error);
        let entries = match fs::read_dir(&full) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(broken(error)),
        };
        // A name that is no text is none of ours.
        let name = |entry: std::io::Result<fs::DirEntry>| {
            entry.map(|entry| entry.file_name().into_string().ok()).transpose()
        };
        entries.filter_map(name).collect::<Result<_, _>>().map_err(broken)
    }

    /// Removes a file, which may be gone already.
    pub(crate) fn remove(&self, path: &str) -> Result<(), AuditError> {
        let full = self.root.join(path);
        match fs::remove_file(&full) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(AuditError::io("remove", &full, error)),
            _ => Ok(()),
        }
    }

    /// Removes the partial files of a tile that is now there in full. Failing is harmless: they are only in the way.
    pub(crate) fn remove_partial(&self, full: Resource) {
        let folder = self.root.join(format!("{}.p", full.path()));
        if let Err(error) = fs::remove_dir_all(&folder)
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(%error, folder = %folder.display(), "partial tiles remain");
        }
    }
}

/// An entry bundle: each entry after its length in two bytes, big-endian. `None` where one is longer than that allows.
pub(crate) fn bundle<'a>(bodies: impl IntoIterator<Item = &'a Vec<u8>>) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for body in bodies {
        bytes.extend(u16::try_from(body.len()).ok()?.to_be_bytes());
        bytes.extend(body);
    }
    Some(bytes)
}

/// Takes a bundle of exactly `width` entries apart.
pub(crate) fn entries(mut bytes: &[u8], width: u64) -> Option<Vec<&[u8]>> {
    let mut entries = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
        let (entry, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        entries.push(entry);
        bytes = rest;
    }
    (bytes.is_empty() && entries.len() as u64 == width).then_some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tile::{edge_of, levels};

    #[test]
    #[allow(clippy::print_stdout, reason = "counted by `cargo xtask assurance --only vectors`")]
    fn paths_and_tiles_are_those_of_the_published_specification() {
        for (resource, path) in [
            (Resource::Tile { level: 0, number: 0, width: 256 }, "tile/0/000"),
            (Resource::Tile { level: 1, number: 1_234_067, width: 256 }, "tile/1/x001/x234/067"),
            (Resource::Tile { level: 0, number: 273, width: 112 }, "tile/0/273.p/112"),
            (Resource::Entries { number: 1_000, width: 1 }, "tile/entries/x001/000.p/1"),
        ] {
            assert_eq!(resource.path(), path);
            assert_eq!(Resource::parse(path), Some(resource));
        }
        for path in [
            "tile/0/0",
            "tile/00/000",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/x000/000",
            "tile/0/x001/x234/067/",
            "tile/-1/000",
            "tile/0/+00",
            "tile/0/001/000",
            "checkpoint",
            "tile/0/../000",
        ] {
            assert_eq!(Resource::parse(path), None, "{path}");
        }
        // Number of full tiles and width of the partial one, by level: the examples of c2sp.org/tlog-tiles.
        for (size, expected) in [(70_000, &[(273, 112), (1, 17), (0, 1)][..]), (256, &[(1, 0), (0, 1)])] {
            let tiles: Vec<_> = levels(size).map(|level| edge_of(level, size)).collect();
            assert_eq!(tiles, expected, "a tree of {size}");
        }
        println!(
            "\nassurance vectors {}",
            r#"{"file":"tlog-tiles","by":"C2SP formats","total":3,"passed":3,"skipped":{},"failed":[]}"#
        );
    }

    #[test]
    fn a_file_is_read_whole_or_seen_to_be_too_long() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::create(&folder.path().join("log")).unwrap();
        let longest = bundle(&vec![vec![7; 65_535]; 256]).unwrap();
        files
            .write(&[
                ("whole".to_owned(), longest.clone()),
                ("longer".to_owned(), [longest.as_slice(), b"xx"].concat()),
            ])
            .unwrap();
        assert!(files.read("whole").unwrap().unwrap() == longest, "the longest bundle there can be");
        assert_eq!(
            files.read("longer").unwrap().unwrap().len(),
            longest.len() + 1,
            "one byte more tells, two are not read"
        );
        assert_eq!(files.read("none").unwrap(), None);
        assert!(files.read("whole/below").is_err(), "what cannot be read is not taken for missing");
    }

    #[test]
    fn bundles_come_apart_as_they_were_put_together() {
        let bodies = vec![b"one".to_vec(), vec![], vec![7; 65_535]];
        let bytes = bundle(&bodies).unwrap();
        assert_eq!(entries(&bytes, 3).unwrap(), bodies);
        assert!(entries(&bytes, 2).is_none() && entries(&bytes, 4).is_none());
        assert!(entries(&bytes[..bytes.len() - 1], 3).is_none(), "a torn bundle must not parse");
        assert!(bundle(&[vec![0; 65_536]]).is_none());
    }
}
