//! What the serving process keeps once it has started. Everything is of the configuration: what that does not name cannot be read,
//! written or called any more.

use std::path::{Path, PathBuf};

use chancery_core::config::{Config, SecretSource};
use chancery_sandbox::Keeps;

/// Where DNS is asked when an answer is long.
const DNS: u16 = 53;

/// What this configuration says that the process goes on to need.
pub(crate) fn keeps(config: &Config) -> Keeps {
    let system = [
        "/etc",
        "/usr",
        "/lib",
        "/lib64",
        "/proc",
        "/sys/fs/cgroup",
        "/sys/devices/system/cpu",
        "/dev/urandom",
    ];
    let mut read: Vec<PathBuf> = system.map(PathBuf::from).into();
    read.extend(std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from));
    // Certificates are renewed by renaming others over them, so it is their folders that are read.
    let renewed = [&config.tls.certificate, &config.tls.key]
        .into_iter()
        .chain(&config.tls.client_ca)
        .chain(&config.tls.crl);
    for path in renewed {
        // Where it is a link, also the folder of what it leads to.
        let there = path.canonicalize().ok();
        read.extend(
            [Some(path.as_path()), there.as_deref()]
                .into_iter()
                .flatten()
                .filter_map(Path::parent)
                .map(Path::to_owned),
        );
    }
    let others = config.webhook.iter().filter_map(|webhook| webhook.ca.as_ref());
    let others = others.chain(config.log.timestamp.iter().map(|authority| &authority.ca));
    let others = others.chain(config.mpc.iter().flat_map(|mpc| &mpc.peer).map(|peer| &peer.identity));
    let secrets = config.webhook.iter().filter_map(|webhook| match &webhook.secret {
        SecretSource::File(path) => Some(path),
        SecretSource::Credential(_) | SecretSource::Fd(_) => None,
    });
    read.extend(others.chain(secrets).cloned());

    let listened =
        [config.listen.api, config.listen.ops].into_iter().chain(config.mpc.iter().map(|mpc| mpc.listen));
    let listened: Vec<u16> = listened.map(|address| address.port()).collect();
    let write = vec![config.store.directory.clone(), config.log.directory.clone()];
    Keeps {
        read,
        // A new folder's name is synced in its parent.
        list: write.iter().filter_map(|folder| folder.parent()).map(Path::to_owned).collect(),
        write,
        devices: Vec::new(),
        connect: Some(called(config)),
        // Port 0 is any port.
        listen: Some(listened).filter(|ports| !ports.contains(&0)),
    }
}

/// The ports of everybody whom the configuration names, and of DNS.
fn called(config: &Config) -> Vec<u16> {
    let urls = config.webhook.iter().map(|webhook| &webhook.url);
    let urls = urls.chain(config.log.witness.iter().map(|witness| &witness.url));
    let urls = urls.chain(config.log.timestamp.iter().map(|authority| &authority.url));
    let urls = urls.chain(config.mpc.iter().flat_map(|mpc| &mpc.peer).map(|peer| &peer.url));
    let port = |url: &String| {
        let uri: http::Uri = url.parse().ok()?;
        uri.port_u16().or_else(|| Some(if uri.scheme_str() == Some("http") { 80 } else { 443 }))
    };
    let ports: Vec<u16> = urls.filter_map(port).collect();
    if ports.is_empty() { ports } else { [ports, vec![DNS]].concat() }
}
