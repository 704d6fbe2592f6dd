//! Exit codes: what a script may rely on. A code never changes its meaning; help, man pages and docs/cli.md are
//! printed from this table or tested against it.

use std::process::ExitCode;

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// Done, and whatever was checked holds.
    Ok = 0,
    /// A check failed: a receipt, a log, a policy test, a configuration.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The request waits for its obligations.
    Pending = 3,
    /// Policy denied the request.
    Denied = 4,
    /// The server refused: any other 4xx.
    Refused = 5,
    /// No usable answer: 5xx, 429, no connection, no answer in time.
    Unavailable = 6,
    /// A local file is missing, unreadable or not what it should be.
    Local = 7,
}

impl Exit {
    /// Every exit, in the order of its code.
    pub const ALL: &[Self] = &[
        Self::Ok,
        Self::Failed,
        Self::Usage,
        Self::Pending,
        Self::Denied,
        Self::Refused,
        Self::Unavailable,
        Self::Local,
    ];

    /// The process's exit status.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// One line of the table in help and man pages.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "done, and whatever was checked holds",
            Self::Failed => "a check failed: a receipt, a log, a policy test, a configuration",
            Self::Usage => "the command line is wrong",
            Self::Pending => "the request waits for its obligations",
            Self::Denied => "policy denied the request",
            Self::Refused => "the server refused the request (any other 4xx)",
            Self::Unavailable => "no usable answer (5xx, 429, no connection, no answer in time)",
            Self::Local => "a local file is missing, unreadable or not what it should be",
        }
    }

    /// The table as help prints it.
    #[must_use]
    pub fn table() -> String {
        let rows: Vec<String> =
            Self::ALL.iter().map(|exit| format!("  {}  {}", exit.code(), exit.meaning())).collect();
        format!("Exit codes:\n{}", rows.join("\n"))
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
