//! A copy of the log's static files, fetched through the API, for verification on this machine. Nothing that is fetched
//! is believed: `chancery_audit::verify_log` reads the copy as it reads any other.

use std::path::Path;
use std::time::{Duration, Instant};

use chancery_audit::{SignedCheckpoint, Trust};

use crate::http::{Api, Call};
use crate::{Error, Output, file};

/// Hashes of one full tile, entries of one full bundle (c2sp.org/tlog-tiles).
const WIDTH: u64 = 256;

/// Fetches the checkpoint and every tile and entry bundle it covers into `directory`.
///
/// # Errors
/// [`Error::Failed`] when the checkpoint is not to be believed: its size says how much is fetched.
pub fn fetch(api: &Api<'_>, trust: &Trust, directory: &Path, output: &Output) -> Result<(), Error> {
    let note = api.call(&Call::get(&["log", "checkpoint"]))?.bytes;
    let checkpoint = SignedCheckpoint::open(&note, trust)
        .map_err(|error| Error::Failed(format!("the checkpoint is not to be believed: {error}")))?;
    write(directory, "checkpoint", &note)?;
    let resources = resources(checkpoint.size());
    let mut progress = Progress::start(output, "fetched", resources.len() as u64);
    for (done, resource) in resources.iter().enumerate() {
        progress.at(done as u64);
        for path in [Some(resource.path(resource.width)), resource.grown()].into_iter().flatten() {
            let segments: Vec<&str> = std::iter::once("log").chain(path.split('/')).collect();
            match api.call(&Call::get(&segments)) {
                Ok(answer) => {
                    write(directory, &path, &answer.bytes)?;
                    break;
                }
                // The log may have grown past the partial tile; what stays missing is found by the verification.
                Err(Error::Problem(problem)) if problem.status == 404 => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

fn write(directory: &Path, path: &str, bytes: &[u8]) -> Result<(), Error> {
    let path = directory.join(path);
    if let Some(parent) = path.parent() {
        file::make_directory(parent)?;
    }
    std::fs::write(&path, bytes).map_err(Error::file("write", &path))
}

/// One tile or entry bundle of a log of some size.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Resource {
    level: String,
    number: u64,
    width: u64,
}

impl Resource {
    fn path(&self, width: u64) -> String {
        let mut path = format!("{:03}", self.number % 1_000);
        let mut rest = self.number / 1_000;
        while rest > 0 {
            path = format!("x{:03}/{path}", rest % 1_000);
            rest /= 1_000;
        }
        if width < WIDTH {
            path = format!("{path}.p/{width}");
        }
        format!("tile/{}/{path}", self.level)
    }

    /// The full tile that stands in the place of a partial one once the log has grown.
    fn grown(&self) -> Option<String> {
        (self.width < WIDTH).then(|| self.path(WIDTH))
    }
}

/// Every resource of a log of `size` entries: bundles first, then tiles from the lowest level up.
fn resources(size: u64) -> Vec<Resource> {
    let mut resources = Vec::new();
    let mut row = |level: &str, hashes: u64| {
        let widths = (0..hashes.div_ceil(WIDTH)).map(|number| WIDTH.min(hashes - number * WIDTH));
        for (number, width) in (0..).zip(widths) {
            resources.push(Resource { level: level.to_owned(), number, width });
        }
    };
    row("entries", size);
    let (mut level, mut hashes) = (0_u32, size);
    while hashes > 0 {
        row(&level.to_string(), hashes);
        hashes /= WIDTH;
        level += 1;
    }
    resources
}

/// Talk about long work, at most once a second.
pub struct Progress<'o> {
    output: &'o Output,
    verb: &'static str,
    total: u64,
    told: Instant,
}

impl<'o> Progress<'o> {
    /// Work of `total` steps begins.
    pub fn start(output: &'o Output, verb: &'static str, total: u64) -> Self {
        Self { output, verb, total, told: Instant::now() }
    }

    /// `done` steps are done.
    pub fn at(&mut self, done: u64) {
        self.of(done, self.total);
    }

    /// `done` steps of `total` are done.
    pub fn of(&mut self, done: u64, total: u64) {
        if self.told.elapsed() >= Duration::from_secs(1) {
            self.output.say(&format!("{} {done} of {total}", self.verb));
            self.told = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_of_each_size_names_its_files() {
        let paths = |size| resources(size).iter().map(|r| r.path(r.width)).collect::<Vec<_>>();
        assert!(paths(0).is_empty());
        assert_eq!(paths(1), ["tile/entries/000.p/1", "tile/0/000.p/1"]);
        assert_eq!(paths(256), ["tile/entries/000", "tile/0/000", "tile/1/000.p/1"]);
        assert_eq!(
            paths(300),
            ["tile/entries/000", "tile/entries/001.p/44", "tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1"]
        );
        // The example of c2sp.org/tlog-tiles: a tree of 70,000 has 273 full level 0 tiles and one of 112.
        let large = paths(70_000);
        for path in ["tile/0/272", "tile/0/273.p/112", "tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1"] {
            assert!(large.iter().any(|known| known == path), "{path}");
        }
        assert!(paths(256 * 1_235).iter().any(|path| path == "tile/0/x001/234"));
    }
}
