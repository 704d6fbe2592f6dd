//! The file system and the network, closed by Landlock but for what is named. Nothing that is named can be executed.

use std::path::PathBuf;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetStatus, Scope, make_bitflags, path_beneath_rules,
};

use crate::{SandboxError, Standing};

/// The newest rules that are asked for (Linux 6.12); an older kernel holds those it knows.
const RULES: ABI = ABI::V6;

/// What a process keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keeps {
    /// Files and folders that it may read, as far as they are there.
    pub read: Vec<PathBuf>,
    /// Folders whose names it may read, but no file.
    pub list: Vec<PathBuf>,
    /// Folders that it may read and write. They must be there.
    pub write: Vec<PathBuf>,
    /// Folders of devices that it may use, and of memory shared by name.
    pub devices: Vec<PathBuf>,
    /// TCP ports that it may connect to; any without.
    pub connect: Option<Vec<u16>>,
    /// TCP ports that it may listen on; any without.
    pub listen: Option<Vec<u16>>,
}

/// Closes the file system for this thread and those it starts.
pub(crate) fn close(keeps: &Keeps) -> Result<Standing, SandboxError> {
    let read = make_bitflags!(AccessFs::{ReadFile | ReadDir});
    let made = make_bitflags!(AccessFs::{MakeChar | MakeBlock | MakeFifo | MakeSock | MakeSym | IoctlDev});
    let write = AccessFs::from_all(RULES) & !(made | AccessFs::Execute);
    let used = make_bitflags!(AccessFs::{ReadFile | ReadDir | WriteFile | IoctlDev | MakeReg | RemoveFile | Truncate});
    let ports = [(AccessNet::ConnectTcp, &keeps.connect), (AccessNet::BindTcp, &keeps.listen)];
    let closed = ports.iter().filter(|(_, kept)| kept.is_some());
    let net: BitFlags<AccessNet> = closed.map(|(rule, _)| BitFlags::from(*rule)).collect();
    let mut rules =
        Ruleset::default().handle_access(AccessFs::from_all(RULES))?.scope(Scope::from_all(RULES))?;
    if !net.is_empty() {
        rules = rules.handle_access(net)?;
    }
    let mut rules = rules.create()?.add_rules(path_beneath_rules(&keeps.read, read))?;
    rules = rules.add_rules(path_beneath_rules(&keeps.list, AccessFs::ReadDir))?;
    for folder in &keeps.write {
        rules = rules.add_rule(PathBeneath::new(PathFd::new(folder)?, write))?;
    }
    rules = rules.add_rules(path_beneath_rules(&keeps.devices, used))?;
    for (rule, kept) in ports {
        for port in kept.iter().flatten() {
            rules = rules.add_rule(NetPort::new(*port, rule))?;
        }
    }
    Ok(match rules.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => Standing::Whole,
        RulesetStatus::PartiallyEnforced => Standing::Partial,
        RulesetStatus::NotEnforced => Standing::WithoutFiles,
    })
}
