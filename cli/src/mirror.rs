//! A log's static files over HTTP: from the appliance, with the client's certificate, or from any server of static files,
//! with none. Nothing that is fetched is believed, so the way needs no trust: `chancery_audit::verify_log` reads these
//! files as it reads any other.

use std::time::Duration;

use chancery_audit::{Mirror, MirrorError};
use reqwest::{StatusCode, Url};
use tokio::time::Instant;

use crate::connection::Connection;
use crate::http;
use crate::problem::Problem;
use crate::{Error, Output};

/// LIMIT: files asked for at once.
const LANES: usize = 8;

/// A web server with a log's static files.
pub struct Web {
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
    /// The log's folder: ends with `/`.
    base: Url,
    timeout: Duration,
}

impl Web {
    /// The appliance that the client directory names.
    ///
    /// # Errors
    /// As [`Connection::prepare`].
    pub fn appliance(connection: &Connection, output: &Output) -> Result<Self, Error> {
        let prepared = connection.prepare(output)?;
        let base = prepared.url.join("v1/log/").map_err(|error| address(prepared.url.as_str(), &error))?;
        let client = http::client(prepared.tls).map_err(Error::web)?;
        Self::open(client, base, connection.timeout)
    }

    /// Any server of static files.
    ///
    /// # Errors
    /// [`Error::Usage`] for what is no `http` or `https` address of a folder.
    pub fn public(url: &str, timeout: Duration) -> Result<Self, Error> {
        let parsed = Url::parse(url).map_err(|error| address(url, &error))?;
        let plain = parsed.query().is_none() && parsed.fragment().is_none();
        let tls = match parsed.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(address(url, &"neither `http` nor `https`")),
        };
        if !plain || !parsed.has_host() {
            return Err(address(url, &"it names no folder"));
        }
        let base = Url::parse(&format!("{}/", parsed.as_str().trim_end_matches('/')))
            .map_err(|error| address(url, &error))?;
        let client = if tls { http::client_of_anybody() } else { http::client_without_tls() };
        Self::open(client.map_err(Error::web)?, base, timeout)
    }

    fn open(client: reqwest::Client, base: Url, timeout: Duration) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Ok(Self { runtime: runtime.map_err(Error::web)?, client, base, timeout })
    }

    async fn fetch(&self, path: &str, limit: usize) -> Result<Option<Vec<u8>>, Error> {
        let url = self.base.join(path).map_err(|error| address(path, &error))?;
        let deadline = Instant::now() + self.timeout;
        loop {
            let tried = tokio::time::timeout_at(deadline, self.once(url.clone(), limit)).await;
            let error = match tried {
                Ok(Ok(bytes)) => return Ok(bytes),
                Ok(Err(error)) => error,
                Err(_) => return Err(Error::Timeout { url: self.base.to_string(), limit: self.timeout }),
            };
            let Some(pause) = http::pause(&error).filter(|pause| Instant::now() + *pause < deadline) else {
                return Err(error);
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn once(&self, url: Url, limit: usize) -> Result<Option<Vec<u8>>, Error> {
        let unreachable = |error: reqwest::Error| Error::Unreachable {
            url: self.base.to_string(),
            source: error.without_url(),
        };
        let call = format!("GET {}", url.path());
        let mut response = self.client.get(url).send().await.map_err(unreachable)?;
        let mut bytes = Vec::new();
        while bytes.len() <= limit
            && let Some(chunk) = response.chunk().await.map_err(unreachable)?
        {
            bytes.extend_from_slice(&chunk);
        }
        match response.status() {
            StatusCode::OK => Ok(Some(bytes)),
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(None),
            status if status.is_client_error() || status.is_server_error() => {
                Err(Error::Problem(Box::new(Problem::read(status, response.headers(), &bytes))))
            }
            status => Err(Error::Answer { call, what: format!("is {status}, which is no file") }),
        }
    }
}

impl Mirror for Web {
    fn read(&self, path: &str, limit: usize) -> Result<Option<Vec<u8>>, MirrorError> {
        Ok(self.runtime.block_on(self.fetch(path, limit))?)
    }

    fn lanes(&self) -> usize {
        LANES
    }
}

fn address(text: &str, why: &dyn std::fmt::Display) -> Error {
    Error::Usage {
        detail: format!("`{text}` is not the address of a log's files: {why}"),
        hint: "a mirror is `https://HOST/PATH` or `http://HOST/PATH`; `checkpoint` and `tile/` are below it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_is_a_folder_on_a_web_server() {
        let base = |url: &str| Web::public(url, Duration::from_secs(1)).map(|web| web.base.to_string());
        for (url, folder) in [
            ("http://log.example", "http://log.example/"),
            ("http://log.example/a/b", "http://log.example/a/b/"),
            ("http://log.example/a/b/", "http://log.example/a/b/"),
        ] {
            assert_eq!(base(url).unwrap(), folder);
        }
        for url in
            ["log.example", "ftp://log.example/", "file:///log", "http://log.example/?a", "http://h/#x"]
        {
            assert!(matches!(base(url), Err(Error::Usage { .. })), "{url}");
        }
    }
}
