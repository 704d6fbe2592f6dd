//! An older copy of the store, put back between two lives while what the log remembers of itself stays: a restored backup. The
//! house must not open on fewer entries than it has signed for. The copies are made, and the head is read, from outside.

use std::path::Path;

use crate::SimError;
use crate::life::{self, Life};
use crate::machine::dice::Dice;
use crate::machine::{self, Content, Death};

/// What the log remembers of itself, in its folder.
const HEADS: [&str; 2] = ["log/head", "log/checkpoint"];

/// Copies of the disk, each from between two lives.
#[derive(Default)]
pub struct Copies(Vec<Content>);

impl Copies {
    /// Makes another copy and, by chance, tries what becomes of the house on an older store; the disk is then as before.
    ///
    /// # Errors
    /// What keeps the simulation from going on.
    pub fn keep(&mut self, life: &Life<'_>, dice: &mut Dice, forgets: bool) -> Result<(), SimError> {
        let now = machine::copy()?;
        if !self.0.is_empty() && dice.percent(50) {
            let number = usize::try_from(dice.below(self.0.len() as u64)).unwrap_or(0);
            if let Some(older) = self.0.get(number) {
                set_back(life, older, &now, forgets)?;
                machine::put_back(now.clone())?;
            }
        }
        // Before the first head there is nothing to fall behind.
        if remembered(&now) > 0 {
            self.0.push(now);
        }
        Ok(())
    }
}

fn set_back(life: &Life<'_>, older: &Content, now: &Content, forgets: bool) -> Result<(), SimError> {
    let heads = now.iter().filter(|(path, _)| !forgets && is_head(path));
    let rest = older.iter().filter(|(path, _)| !is_head(path));
    let size = remembered(now);
    machine::note(format!("the store is set back; the log remembers {size} entries"));
    machine::put_back(rest.chain(heads).map(|(path, bytes)| (path.clone(), bytes.clone())).collect())?;
    let runtime = life::runtime()?;
    match runtime.block_on(life.open()) {
        Ok(Some(enclave)) => {
            let found = enclave.figures().log.size;
            machine::note(format!("the house opens on {found} entries"));
            if found < size {
                life.world.seen(|account| {
                    account.breaks(format!("the house opens on {found} entries, and {size} were signed"));
                });
            }
        }
        Ok(None) => {}
        Err(why) => machine::note(format!("the house does not open: {why}")),
    }
    machine::die(Death::Killed);
    drop(runtime);
    Ok(machine::restart()?)
}

fn is_head(path: &Path) -> bool {
    HEADS.iter().any(|head| path == Path::new(head))
}

/// The entries under the newest head: its second line (C2SP tlog-checkpoint).
fn remembered(content: &Content) -> u64 {
    let size = |head: &str| {
        let note = std::str::from_utf8(content.get(Path::new(head))?.as_deref()?).ok()?;
        note.lines().nth(1)?.parse().ok()
    };
    HEADS.iter().filter_map(|head| size(head)).max().unwrap_or(0)
}
