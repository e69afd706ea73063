//! The hub's protocol against a server of this process: as the hub answers, and as bad lines,
//! mirrors and attackers do.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::*;
use crate::hub::{Hub, Token, select};

const COMMIT: &str = "6602cadec947dbb53e64f3d8d6425320b2197247";

/// What the server does with one request for a file.
#[derive(Debug, Clone)]
enum Reply {
    /// Serve it, as the hub does: redirect large files, honour ranges.
    Serve,
    /// Send this many bytes of the body, then close the connection.
    CutAfter(usize),
    Status(u16),
    /// The whole file with 200, whatever range was asked for.
    IgnoreRange,
    /// A range that was not asked for.
    WrongRange,
}

#[derive(Debug, Clone)]
struct ServedFile {
    content: Vec<u8>,
    /// `None`: a small file, addressed by a Git object id.
    sha256: Option<String>,
    commit: String,
}

impl ServedFile {
    fn small(content: &str) -> Self {
        Self { content: content.into(), sha256: None, commit: COMMIT.to_owned() }
    }

    fn large(content: Vec<u8>) -> Self {
        let sha256 = store::hex(&Sha256::digest(&content));
        Self { content, sha256: Some(sha256), commit: COMMIT.to_owned() }
    }
}

#[derive(Debug, Default)]
struct State {
    files: HashMap<String, ServedFile>,
    /// Taken one by one by requests for content; `Serve` when there are none left.
    replies: HashMap<String, Vec<Reply>>,
    /// Path, range and authorization of every request.
    requests: Vec<(String, String, String)>,
}

struct StandIn {
    endpoint: String,
    state: Arc<Mutex<State>>,
    folder: TempDir,
}

impl StandIn {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                // A client that goes away ends its connection's thread.
                thread::spawn(move || drop(serve(&stream, &state)));
            }
        });
        Self { endpoint, state, folder: tempfile::tempdir().expect("a temporary folder") }
    }

    fn put(&self, path: &str, file: ServedFile) {
        self.state.lock().expect("no panic").files.insert(path.to_owned(), file);
    }

    fn script(&self, path: &str, replies: &[Reply]) {
        self.state.lock().expect("no panic").replies.insert(path.to_owned(), replies.to_vec());
    }

    fn requests(&self) -> Vec<(String, String, String)> {
        self.state.lock().expect("no panic").requests.clone()
    }

    fn options(&self) -> HubOptions {
        HubOptions {
            models_dir: self.folder.path().join("models"),
            hf_cache_dir: self.folder.path().join("hub"),
            endpoint: Some(self.endpoint.clone()),
            token: None,
            offline: false,
            python: "python3".into(),
        }
    }

    fn pull(&self, file: &str) -> Result<PathBuf, HubError> {
        HuggingFace::new(&self.options())?.pull_files("org/name", &[file.to_owned()])
    }

    /// Files of the cache whose names say that they are not finished.
    fn leftovers(&self) -> Vec<PathBuf> {
        let blobs = self.folder.path().join("hub/models--org--name/blobs");
        let entries = fs::read_dir(blobs).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.path())
            .filter(|path| path.to_string_lossy().ends_with("-part"))
            .collect()
    }
}

/// One request per connection. `/org/name/resolve/main/FILE` answers small files and redirects
/// large ones to `/cdn/FILE`, as the hub does.
fn serve(mut stream: &TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().unwrap_or(Ok(String::new()))?;
    let mut headers = HashMap::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let range = headers.get("range").cloned().unwrap_or_default();
    let authorization = headers.get("authorization").cloned().unwrap_or_default();
    let name = path.rsplit("/main/").next().unwrap_or_default().replace("/cdn/", "");
    let (file, reply) = {
        let mut state = state.lock().expect("no panic");
        state.requests.push((path.clone(), range.clone(), authorization));
        let asks_for_facts = range == "bytes=0-0";
        let replies = state.replies.get_mut(&name).filter(|list| !list.is_empty());
        let reply = match replies {
            Some(list) if !asks_for_facts || matches!(list[0], Reply::Status(_)) => list.remove(0),
            _ => Reply::Serve,
        };
        (state.files.get(&name).cloned(), reply)
    };
    let close = "Connection: close\r\n";
    let Some(file) = file else {
        return write!(stream, "HTTP/1.1 404 Not Found\r\n{close}Content-Length: 0\r\n\r\n");
    };
    if let Reply::Status(status) = reply {
        return write!(
            stream,
            "HTTP/1.1 {status} No\r\n{close}Retry-After: 0\r\nContent-Length: 0\r\n\r\n"
        );
    }
    let etag = "5d2d8b8a4b3c1f0e9d8c7b6a5f4e3d2c1b0a9f8e";
    let mut facts = format!("X-Repo-Commit: {}\r\n", file.commit);
    match &file.sha256 {
        Some(sha256) => facts += &format!("X-Linked-Etag: \"{sha256}\"\r\nETag: \"other\"\r\n"),
        None => facts += &format!("ETag: \"{etag}\"\r\n"),
    }
    if file.sha256.is_some() && !path.starts_with("/cdn/") {
        let host = headers.get("host").cloned().unwrap_or_default();
        let size = file.content.len();
        return write!(
            stream,
            "HTTP/1.1 302 Found\r\n{close}{facts}X-Linked-Size: {size}\r\n\
             Location: http://{host}/cdn/{name}\r\nContent-Length: 0\r\n\r\n"
        );
    }
    send(stream, &file.content, &range, &reply, &format!("{close}{facts}"))
}

fn send(
    mut stream: &TcpStream,
    content: &[u8],
    range: &str,
    reply: &Reply,
    headers: &str,
) -> std::io::Result<()> {
    let len = content.len();
    let range = range.strip_prefix("bytes=").and_then(|range| range.split_once('-'));
    let (mut start, mut end) = (0, len);
    if let Some((first, last)) = range {
        start = first.parse().unwrap_or(0);
        end = last.parse().map_or(len, |last: usize| (last + 1).min(len));
    }
    match (reply, range) {
        (Reply::IgnoreRange, _) | (_, None) => {
            (start, end) = (0, len);
            write!(stream, "HTTP/1.1 200 OK\r\n{headers}Content-Length: {len}\r\n\r\n")?;
        }
        (Reply::WrongRange, _) => {
            write!(stream, "HTTP/1.1 206 Partial\r\n{headers}Content-Range: bytes 7-9/{len}\r\n")?;
            write!(stream, "Content-Length: 3\r\n\r\n")?;
            (start, end) = (7, 10);
        }
        _ => {
            let last = end - 1;
            write!(stream, "HTTP/1.1 206 Partial\r\n{headers}Content-Length: {}\r\n", end - start)?;
            write!(stream, "Content-Range: bytes {start}-{last}/{len}\r\n\r\n")?;
        }
    }
    let body = &content[start..end];
    match reply {
        Reply::CutAfter(bytes) => stream.write_all(&body[..(*bytes).min(body.len())]),
        _ => stream.write_all(body),
    }
}

fn some_content() -> Vec<u8> {
    (0..300_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

#[test]
fn a_large_file_is_downloaded_checked_and_kept_where_all_tools_look() {
    let hub = StandIn::start();
    let content = some_content();
    hub.put("model.gguf", ServedFile::large(content.clone()));
    let path = hub.pull("model.gguf").expect("served");
    assert_eq!(fs::read(&path).expect("readable"), content);
    let expected = format!("hub/models--org--name/snapshots/{COMMIT}/model.gguf");
    assert_eq!(path, hub.folder.path().join(expected));
    assert!(path.is_symlink(), "contents lie in blobs");
    assert!(hub.leftovers().is_empty());

    let before = hub.requests().len();
    assert_eq!(hub.pull("model.gguf").expect("cached"), path);
    assert_eq!(hub.requests().len(), before, "what is here is not asked for again");
}

#[test]
fn a_cut_connection_is_resumed_where_it_broke() {
    let hub = StandIn::start();
    let content = some_content();
    hub.put("model.gguf", ServedFile::large(content.clone()));
    hub.script("model.gguf", &[Reply::Serve, Reply::CutAfter(100_000)]);
    let path = hub.pull("model.gguf").expect("resumed");
    assert_eq!(fs::read(path).expect("readable"), content);
    let ranges: Vec<_> = hub.requests().into_iter().map(|(_, range, _)| range).collect();
    assert!(ranges.contains(&"bytes=0-".to_owned()), "{ranges:?}");
    let resumed = ranges.iter().any(|range| range.starts_with("bytes=1") && range.ends_with('-'));
    assert!(resumed, "{ranges:?}");
}

#[test]
fn a_later_process_goes_on_with_what_an_earlier_one_left() {
    let hub = StandIn::start();
    let content = some_content();
    let file = ServedFile::large(content.clone());
    let blob = hub.folder.path().join("hub/models--org--name/blobs");
    let sha256 = file.sha256.clone().expect("large");
    hub.put("model.gguf", file);
    fs::create_dir_all(&blob).expect("made");
    fs::write(blob.join(format!("{sha256}.outcrop-part")), &content[..777_777]).expect("written");
    let path = hub.pull("model.gguf").expect("resumed");
    assert_eq!(fs::read(path).expect("readable"), content);
    let resumed = hub.requests().iter().any(|(_, range, _)| range == "bytes=777777-");
    assert!(resumed, "{:?}", hub.requests());
}

#[test]
fn a_server_without_ranges_is_started_over() {
    let hub = StandIn::start();
    let content = some_content();
    hub.put("model.gguf", ServedFile::large(content.clone()));
    let replies = [Reply::Serve, Reply::CutAfter(50_000), Reply::Serve, Reply::IgnoreRange];
    hub.script("model.gguf", &replies);
    let path = hub.pull("model.gguf").expect("whole in the end");
    assert_eq!(fs::read(path).expect("readable"), content);
}

#[test]
fn wrong_content_is_refused_and_removed() {
    let hub = StandIn::start();
    let mut file = ServedFile::large(some_content());
    file.content[12_345] ^= 1;
    hub.put("model.gguf", file);
    let error = hub.pull("model.gguf").expect_err("it is not what its checksum says");
    assert!(matches!(error, HubError::Checksum { .. }), "{error}");
    assert!(hub.leftovers().is_empty(), "a bad file would be resumed for ever");
    let again = hub.pull("model.gguf").expect_err("nothing was kept");
    assert!(matches!(again, HubError::Checksum { .. }), "{again}");
}

#[test]
fn a_range_that_was_not_asked_for_is_refused() {
    let hub = StandIn::start();
    hub.put("model.gguf", ServedFile::large(some_content()));
    hub.script("model.gguf", &[Reply::Serve, Reply::WrongRange]);
    let error = hub.pull("model.gguf").expect_err("bytes of elsewhere").to_string();
    assert!(error.contains("Content-Range `bytes 7-9/1200000`"), "{error}");
}

#[test]
fn refusals_say_what_to_do() {
    for (status, hint) in
        [(401, "HF_TOKEN"), (403, "terms"), (404, "has no model.gguf in org/name")]
    {
        let hub = StandIn::start();
        hub.put("model.gguf", ServedFile::large(some_content()));
        hub.script("model.gguf", &[Reply::Status(status)]);
        let error = hub.pull("model.gguf").expect_err("refused").to_string();
        assert!(error.contains(hint), "{status}: {error}");
        assert_eq!(hub.requests().len(), 1, "{status}: trying again cannot help");
    }
}

#[test]
fn a_busy_hub_is_asked_again_and_a_dead_one_given_up() {
    let hub = StandIn::start();
    hub.put("config.json", ServedFile::small("{}"));
    hub.script("config.json", &[Reply::Status(429), Reply::Status(503)]);
    hub.pull("config.json").expect("the third answer is good");

    let hub = StandIn::start();
    hub.put("config.json", ServedFile::small("{}"));
    hub.script("config.json", &vec![Reply::Status(503); 50]);
    let error = hub.pull("config.json").expect_err("never good").to_string();
    assert!(error.contains("answers 503") && error.contains("HF_ENDPOINT"), "{error}");
    assert!(hub.requests().len() < 20, "{} requests", hub.requests().len());
}

#[test]
fn an_unreachable_hub_is_named_with_the_ways_out() {
    let hub = StandIn::start();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
    drop(listener);
    let options = HubOptions { endpoint: Some(endpoint.clone()), ..hub.options() };
    let error = HuggingFace::new(&options)
        .and_then(|hub| hub.pull_files("org/name", &["model.gguf".to_owned()]))
        .expect_err("nobody listens")
        .to_string();
    for part in [endpoint.as_str(), "HF_ENDPOINT names a mirror", "onnection refused"] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn names_from_the_server_cannot_leave_the_cache() {
    for commit in ["../../../etc", "/etc", "a/b", "", "a.b"] {
        let hub = StandIn::start();
        let mut file = ServedFile::small("{}");
        file.commit = commit.to_owned();
        hub.put("config.json", file);
        let error = hub.pull("config.json").expect_err("not a plain name");
        assert!(matches!(error, HubError::Protocol { .. }), "{commit}: {error}");
    }
    for etag in ["../x", "/etc/passwd", "", "a b", "..", "é"] {
        assert!(FileFacts::checked(COMMIT, etag, 1).is_err(), "{etag}");
    }
    assert!(FileFacts::checked(COMMIT, "W/5d2d8b8a", 1).is_ok());
}

#[test]
fn the_token_goes_to_the_hub_alone_with_every_question() {
    let hub = StandIn::start();
    hub.put("config.json", ServedFile::small("{}"));
    let options = HubOptions { token: Some(Token("hf_secret".to_owned())), ..hub.options() };
    HuggingFace::new(&options)
        .and_then(|hub| hub.pull_files("org/name", &["config.json".to_owned()]))
        .expect("served");
    assert!(hub.requests().iter().all(|(_, _, token)| token == "Bearer hf_secret"));
    assert!(!format!("{options:?}").contains("hf_secret"));
}

#[test]
fn a_safetensors_checkpoint_comes_with_its_texts_and_shards() {
    let hub = StandIn::start();
    hub.put("config.json", ServedFile::small("{}"));
    hub.put("tokenizer.json", ServedFile::large(b"[]".to_vec()));
    let index = r#"{"weight_map": {"a": "model-00001-of-000002.safetensors",
                                   "b": "model-00002-of-000002.safetensors"}}"#;
    // Contents of different sizes under the stand-in's one Git id would be one blob.
    hub.put(INDEX, ServedFile::large(index.as_bytes().to_vec()));
    for shard in 1..=2u8 {
        let name = format!("model-0000{shard}-of-000002.safetensors");
        hub.put(&name, ServedFile::large(vec![shard; 1000]));
    }
    let options = hub.options();
    let pulled = HuggingFace::new(&options).and_then(|hub| hub.pull_snapshot("org/name"));
    let folder = pulled.expect("optional files may be missing");
    assert_eq!(cached_snapshot(&options, "org/name"), Some(folder.clone()));
    let shard = folder.join("model-00002-of-000002.safetensors");
    assert_eq!(fs::read(&shard).expect("readable"), vec![2; 1000]);
    fs::remove_file(shard).expect("removed");
    assert_eq!(cached_snapshot(&options, "org/name"), None, "a shard is missing");
}

#[test]
fn offline_finds_what_is_here_and_asks_nobody() {
    let hub = StandIn::start();
    let name = "DeepSeek-R1-Distill-Qwen-1.5B-Q8_0.gguf";
    hub.put(name, ServedFile::large(some_content()));
    let selection = select("deepseek-r1-distill-qwen-1.5b:q8_0").expect("known");
    let offline = Hub::new(HubOptions { offline: true, ..hub.options() });
    let error = offline.pull(&selection).expect_err("not here");
    assert!(matches!(error, HubError::Offline { .. }), "{error}");
    assert!(hub.requests().is_empty());

    let online = Hub::new(hub.options());
    let path = online.pull(&selection).expect("served");
    assert_eq!(offline.pull(&selection).expect("here"), path);
}
