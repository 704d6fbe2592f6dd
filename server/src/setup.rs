//! What the commands of `chanceryd` share: the configuration file, this program's own path, and how a failure is told.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use chancery_core::causes;
use chancery_core::config::Config;
use chancery_core::config::SecretSource;
use chancery_secret::Pin;

/// Why a command failed: told once, at its end.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// Exit code 1 and one line on standard error for a failure.
pub(crate) fn report(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("chanceryd: {}", causes(&*error)));
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "the one place where a command says why it failed")]
fn tell(line: &str) {
    eprintln!("{line}");
}

pub(crate) fn read_config(path: &Path) -> Result<Config, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        format!("`{}` cannot be read: {error}; `chancery init` makes one", path.display())
    })?;
    let base = std::path::absolute(path)?.parent().map(Path::to_path_buf).unwrap_or_default();
    Ok(Config::parse(&text, &base).map_err(|error| format!("`{}`: {error}", path.display()))?)
}

pub(crate) fn read_pin(source: &SecretSource) -> Result<Pin, Failure> {
    Pin::read(source).map_err(|error| format!("no PIN: {}", causes(&error)).into())
}

/// The executable that also runs the HSM worker.
pub(crate) fn own_program() -> Result<PathBuf, Failure> {
    Ok(std::env::current_exe().map_err(|error| format!("this program's own path is not known: {error}"))?)
}

/// `chanceryd hsm-init`: makes the configured token and sets its PINs.
#[must_use]
pub fn init_token(config: &Path, so_pin_file: &Path) -> ExitCode {
    report(make_token(config, so_pin_file))
}

fn make_token(path: &Path, so_pin_file: &Path) -> Result<(), Failure> {
    let config = read_config(path)?;
    let pin = read_pin(&config.hsm.pin)?;
    let so_pin = read_pin(&SecretSource::File(so_pin_file.to_path_buf()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let token = runtime.block_on(chancery_enclave::init_token(&config, own_program()?, &so_pin, &pin))?;
    tell(&format!("token `{}` is ready, serial {}", token.label, token.serial));
    Ok(())
}

/// `chanceryd openapi`: the API's document.
#[must_use]
#[expect(clippy::print_stdout, reason = "the document is this command's output")]
pub fn print_openapi() -> ExitCode {
    use utoipa::OpenApi;
    report(
        crate::routes::Document::openapi()
            .to_pretty_json()
            .map(|text| println!("{text}"))
            .map_err(Into::into),
    )
}
