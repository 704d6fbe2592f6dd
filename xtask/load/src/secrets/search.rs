//! What is looked for, and where: bytes of files, and the memory of other processes as the kernel shows it. A secret is also looked for
//! by its parts, because what was freed is often overwritten in part.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use memchr::memmem::Finder;

use crate::Error;

/// Bytes read at once.
const PIECE: usize = 4 * 1024 * 1024;

/// What one search found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub bytes: u64,
    /// Mapped, and closed to us: secret memory.
    pub closed: u64,
    pub secrets: u64,
    pub canaries: u64,
}

impl Seen {
    /// Both together.
    pub fn add(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.closed += other.closed;
        self.secrets += other.secrets;
        self.canaries += other.canaries;
    }
}

/// What is looked for.
pub struct Wanted<'a> {
    secrets: Vec<Finder<'a>>,
    canary: Finder<'a>,
    overlap: usize,
}

impl<'a> Wanted<'a> {
    /// These secrets, and a canary that must be there.
    pub fn new(secrets: &[&'a [u8]], canary: &'a [u8]) -> Self {
        let longest = secrets.iter().chain([&canary]).map(|text| text.len()).max().unwrap_or(0);
        let secrets = secrets.iter().map(|secret| Finder::new(*secret)).collect();
        Self { secrets, canary: Finder::new(canary), overlap: longest.saturating_sub(1) }
    }

    /// How often they are in these bytes.
    pub fn count(&self, bytes: &[u8]) -> Seen {
        Seen {
            bytes: bytes.len() as u64,
            closed: 0,
            secrets: self.secrets.iter().map(|secret| secret.find_iter(bytes).count() as u64).sum(),
            canaries: self.canary.find_iter(bytes).count() as u64,
        }
    }
}

/// All readable memory of a process; `None` where this user may not read any.
///
/// # Errors
/// [`Error::File`].
pub fn memory(pid: u32, wanted: &Wanted<'_>) -> Result<Option<Seen>, Error> {
    let path = PathBuf::from(format!("/proc/{pid}/mem"));
    let mem = match File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return Ok(None),
        opened => opened.map_err(Error::file(&path))?,
    };
    let maps = PathBuf::from(format!("/proc/{pid}/maps"));
    let text = fs::read_to_string(&maps).map_err(Error::file(&maps))?;
    let mut seen = Seen::default();
    for (from, to) in text.lines().filter_map(mapped) {
        let mut at = from;
        let mut piece = vec![0; PIECE];
        while at < to {
            let most = usize::try_from(to - at).unwrap_or(PIECE).min(PIECE);
            match mem.read_at(piece.get_mut(..most).unwrap_or_default(), at) {
                Ok(read) if read > 0 => {
                    seen.add(wanted.count(piece.get(..read).unwrap_or_default()));
                    // What lies across two pieces is in the second as well.
                    let next = at + read as u64;
                    at = if next < to && read > wanted.overlap { next - wanted.overlap as u64 } else { next };
                }
                _ => {
                    seen.closed += to - at;
                    break;
                }
            }
        }
    }
    Ok(Some(seen))
}

/// A readable line of `/proc/<pid>/maps`, as addresses. The kernel's own pages are left out.
fn mapped(line: &str) -> Option<(u64, u64)> {
    let (range, rest) = line.split_once(' ')?;
    if !rest.starts_with('r')
        || rest.ends_with("[vvar]")
        || rest.ends_with("[vsyscall]")
        || rest.ends_with("[vvar_vclock]")
    {
        return None;
    }
    let (from, to) = range.split_once('-')?;
    Some((u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?))
}

/// A secret in parts, each too long to be there by chance: bytes by sixteen, words by six.
#[must_use]
pub fn parts(secret: &[u8]) -> Vec<Vec<u8>> {
    let words: Vec<&[u8]> = secret.split(|byte| *byte == b' ').collect();
    if words.len() < 20 {
        return secret.chunks_exact(16).map(<[u8]>::to_vec).collect();
    }
    // The first three tell the deal, the fourth the share.
    words.get(4..).unwrap_or_default().chunks_exact(6).map(|some| some.join(&b' ')).collect()
}

/// Whether a process may leave a core.
///
/// # Errors
/// [`Error::File`].
pub fn may_dump(pid: u32) -> Result<bool, Error> {
    let path = format!("/proc/{pid}/limits");
    let limits = fs::read_to_string(&path).map_err(Error::file(&path))?;
    let none = |line: &str| {
        let rest = line.strip_prefix("Max core file size");
        rest.is_some_and(|rest| rest.split_whitespace().take(2).all(|word| word == "0"))
    };
    Ok(!limits.lines().any(none))
}

/// Every file below a folder.
///
/// # Errors
/// [`Error::File`], or what `act` answers.
pub fn each_file(folder: &Path, act: &mut dyn FnMut(&Path) -> Result<(), Error>) -> Result<(), Error> {
    for entry in fs::read_dir(folder).map_err(Error::file(folder))? {
        let entry = entry.map_err(Error::file(folder))?;
        let kind = entry.file_type().map_err(Error::file(entry.path()))?;
        if kind.is_dir() {
            each_file(&entry.path(), act)?;
        } else if kind.is_file() {
            act(&entry.path())?;
        }
    }
    Ok(())
}

/// How many cores lie below a folder.
///
/// # Errors
/// [`Error::File`].
pub fn cores_in(folder: &Path) -> Result<u64, Error> {
    let mut left = 0;
    each_file(folder, &mut |path| {
        left += u64::from(path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("core")));
        Ok(())
    })?;
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_found_also_across_two_pieces() {
        // In this test's own memory, at the end of one piece and the beginning of the next.
        let mut held = vec![0_u8; 3 * PIECE];
        let secret = [b"PIN-of-", b"a-test-".as_slice()].concat();
        for page in held.chunks_exact_mut(8 * 1024) {
            page[4_090..4_090 + secret.len()].copy_from_slice(&secret);
        }
        let held = std::hint::black_box(held);
        let own = std::process::id();
        let seen = memory(own, &Wanted::new(&[&secret], b"\x00\x00\x00\x00")).unwrap().unwrap();
        assert!(seen.secrets >= (held.len() / (8 * 1024)) as u64, "{seen:?}");
    }

    #[test]
    fn a_secret_is_known_by_its_parts() {
        let words: Vec<String> = (0..33).map(|at| format!("word{at}")).collect();
        let parts = |secret: &[u8]| super::parts(secret).len();
        assert_eq!((parts(&[7; 32]), parts(words.join(" ").as_bytes())), (2, 4));
        assert!(super::parts(words.join(" ").as_bytes())[0].starts_with(b"word4 word5"));
    }

    #[test]
    fn a_readable_mapping_is_read() {
        assert_eq!(mapped("7f00-7fff rw-p 00000000 00:00 0 [heap]"), Some((0x7f00, 0x7fff)));
        assert_eq!(mapped("7f00-7fff ---p 00000000 00:00 0"), None);
        assert_eq!(mapped("7f00-7fff r--p 00000000 00:00 0 [vvar]"), None);
    }
}
