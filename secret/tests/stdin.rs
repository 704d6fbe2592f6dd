//! A PIN from standard input, in a process of its own: the test replaces its own descriptor 0.

use std::io::Write;
use std::path::Path;

use chancery_core::config::SecretSource;
use chancery_secret::Pin;

/// Would catch a descriptor 0 left closed: the next file opened, the store's perhaps, would become standard input.
#[test]
fn descriptor_0_is_read_and_stays_taken() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"from stdin\n").unwrap();
    drop(writer);
    rustix::stdio::dup2_stdin(reader).unwrap();
    assert_eq!(Pin::read(&SecretSource::Fd(0)).unwrap().expose(), b"from stdin");
    assert_eq!(std::fs::read_link("/proc/self/fd/0").unwrap(), Path::new("/dev/null"));
}
