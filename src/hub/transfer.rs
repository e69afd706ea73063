//! One file over HTTP into a partial file, resumed where an earlier attempt or process stopped.
//!
//! hf-hub supplies client, addresses, token and metadata. Its own download is not used: it keeps
//! detached tasks writing after an error, checks no checksum and takes the server's ETag for a file
//! name.

use std::{
    error::Error,
    fs::File,
    io::{Seek, SeekFrom, Write},
    path::Path,
    time::Duration,
};

use hf_hub::api::tokio::Api;
use indicatif::ProgressBar;
use tokio::time::{sleep, timeout};

use crate::hub::HubError;
use crate::limits::{HUB_ATTEMPTS_MAX, HUB_RETRY_PAUSE_MS, HUB_RETRY_PAUSE_MS_MAX, HUB_STALL_MS};

/// Which file of which repository, for requests and for the errors about it.
#[derive(Debug, Clone)]
pub(super) struct RemoteFile {
    pub endpoint: String,
    pub repo: String,
    pub file: String,
    pub url: String,
}

/// Why an attempt failed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Trying again cannot help.
    Final(HubError),
    /// The line or the server; `pause` is what the server asked for.
    Passing { reason: String, pause: Option<Duration> },
}

impl From<HubError> for Trouble {
    fn from(error: HubError) -> Self {
        Self::Final(error)
    }
}

impl Trouble {
    pub(super) fn passing(error: &dyn Error) -> Self {
        Self::Passing { reason: with_causes(error), pause: None }
    }
}

/// Counts attempts that brought nothing and says how long to wait before the next.
#[derive(Debug)]
pub(super) struct Patience {
    first_pause: Duration,
    failures: u32,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self { first_pause: Duration::from_millis(HUB_RETRY_PAUSE_MS), failures: 0 }
    }

    pub(super) fn progressed(&mut self) {
        self.failures = 0;
    }

    /// Waits after a passing trouble, or turns it into an error when patience is at its end.
    pub(super) async fn wait(
        &mut self,
        trouble: Trouble,
        remote: &RemoteFile,
    ) -> Result<(), HubError> {
        let (reason, asked) = match trouble {
            Trouble::Final(error) => return Err(error),
            Trouble::Passing { reason, pause } => (reason, pause),
        };
        self.failures += 1;
        if self.failures >= HUB_ATTEMPTS_MAX {
            let (endpoint, file) = (remote.endpoint.clone(), remote.file.clone());
            return Err(HubError::Unreachable { endpoint, file, reason });
        }
        let own = self.first_pause * 2u32.pow(self.failures - 1);
        let pause = asked.unwrap_or(own).min(Duration::from_millis(HUB_RETRY_PAUSE_MS_MAX));
        tracing::debug!("{}: {reason}; again in {pause:?}", remote.file);
        sleep(pause).await;
        Ok(())
    }
}

impl RemoteFile {
    /// What an answer's status means when it is not a success.
    pub(super) fn trouble(&self, status: u16, pause: Option<Duration>) -> Trouble {
        let (endpoint, repo, file) = (self.endpoint.clone(), self.repo.clone(), self.file.clone());
        match status {
            401 => Trouble::Final(HubError::Refused {
                repo,
                file,
                hint: "set HF_TOKEN if the repository is private or gated; \
                       the hub also answers so when there is no such repository",
            }),
            403 => Trouble::Final(HubError::Refused {
                repo,
                file,
                hint: "the token in HF_TOKEN may not read it; a gated repository's terms \
                       are accepted on its page",
            }),
            404 => Trouble::Final(HubError::NotFound { endpoint, repo, file }),
            408 | 425 | 429 | 500..=599 => {
                Trouble::Passing { reason: format!("the server answers {status}"), pause }
            }
            _ => Trouble::Final(HubError::Status { endpoint, status, file }),
        }
    }

    pub(super) fn protocol(&self, reason: impl Into<String>) -> HubError {
        let (endpoint, file) = (self.endpoint.clone(), self.file.clone());
        HubError::Protocol { endpoint, file, reason: reason.into() }
    }
}

/// Brings `partial` to exactly `size` bytes of `remote`.
pub(super) async fn fetch(
    api: &Api,
    remote: &RemoteFile,
    partial: &Path,
    size: u64,
    bar: &ProgressBar,
) -> Result<(), HubError> {
    let io = |action| move |error| HubError::io(action, partial, error);
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(partial)
        .map_err(io("create"))?;
    let mut have = file.metadata().map_err(io("read the size of"))?.len();
    if have > size {
        file.set_len(0).map_err(io("empty"))?;
        have = 0;
    }
    let mut patience = Patience::new();
    while have < size {
        bar.set_position(have);
        let before = have;
        let outcome =
            attempt(api, remote, &mut Partial { file: &mut file, have: &mut have, size, bar })
                .await;
        if have > before {
            patience.progressed();
        }
        match outcome {
            Ok(()) => {}
            Err(Trouble::Final(HubError::Io { action, source, .. })) => {
                return Err(HubError::io(action, partial, source));
            }
            Err(trouble) => patience.wait(trouble, remote).await?,
        }
    }
    bar.set_position(size);
    Ok(())
}

struct Partial<'a> {
    file: &'a mut File,
    have: &'a mut u64,
    size: u64,
    bar: &'a ProgressBar,
}

/// Asks for the rest and writes what comes.
async fn attempt(api: &Api, remote: &RemoteFile, partial: &mut Partial<'_>) -> Result<(), Trouble> {
    let stall = Duration::from_millis(HUB_STALL_MS);
    let stalled = |_| Trouble::Passing { reason: "nothing came".to_owned(), pause: None };
    let request = api.client().get(&remote.url).header("range", format!("bytes={}-", partial.have));
    let mut response = timeout(stall, request.send())
        .await
        .map_err(stalled)?
        .map_err(|error| Trouble::passing(&error))?;
    match response.status().as_u16() {
        206 => {
            let range = response.headers().get("content-range").and_then(|v| v.to_str().ok());
            check_range(range, *partial.have, partial.size)
                .map_err(|reason| remote.protocol(reason))?;
        }
        // The whole file: a server without ranges.
        200 => *partial.have = 0,
        status => {
            let after = response.headers().get("retry-after").and_then(|v| v.to_str().ok());
            let pause = after.and_then(|text| text.parse().ok()).map(Duration::from_secs);
            return Err(remote.trouble(status, pause));
        }
    }
    seek(partial)?;
    while *partial.have < partial.size {
        let chunk = timeout(stall, response.chunk()).await.map_err(stalled)?;
        let Some(bytes) = chunk.map_err(|error| Trouble::passing(&error))? else {
            let reason = "the connection closed early".to_owned();
            return Err(Trouble::Passing { reason, pause: None });
        };
        write(partial, &bytes, remote)?;
    }
    Ok(())
}

fn seek(partial: &mut Partial<'_>) -> Result<(), HubError> {
    partial
        .file
        .set_len(*partial.have)
        .and_then(|()| partial.file.seek(SeekFrom::Start(*partial.have)))
        .map_err(|error| HubError::io("truncate", Path::new(""), error))?;
    Ok(())
}

fn write(partial: &mut Partial<'_>, bytes: &[u8], remote: &RemoteFile) -> Result<(), HubError> {
    let len = bytes.len() as u64;
    if *partial.have + len > partial.size {
        return Err(remote.protocol(format!("more than the announced {} bytes", partial.size)));
    }
    partial.file.write_all(bytes).map_err(|error| HubError::io("write", Path::new(""), error))?;
    *partial.have += len;
    partial.bar.inc(len);
    Ok(())
}

/// `bytes START-END/TOTAL` (RFC 9110, section 14.4) must be the range that was asked for.
fn check_range(header: Option<&str>, start: u64, size: u64) -> Result<(), String> {
    let Some(header) = header else { return Err("no Content-Range".to_owned()) };
    let parsed = header.strip_prefix("bytes ").and_then(|rest| {
        let (range, total) = rest.split_once('/')?;
        let (first, _) = range.split_once('-')?;
        Some((first.parse::<u64>().ok()?, total.parse::<u64>().ok()?))
    });
    match parsed {
        Some(found) if found == (start, size) => Ok(()),
        _ => Err(format!("Content-Range `{header}` where bytes {start}- of {size} were asked for")),
    }
}

/// An error and its causes in one line; HTTP clients keep the telling part in the causes.
pub(super) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let further = error.to_string();
        if !text.contains(&further) {
            text = format!("{text}: {further}");
        }
        cause = error.source();
    }
    text
}
