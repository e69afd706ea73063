//! The files of keys: made, changed side by side, and refused when something is wrong with them.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::keys::{KeyRefusal, KeyRing, KeyStatus};

fn store(folder: &TempDir) -> KeyStore {
    KeyStore::new(folder.path().join("keys.toml"), folder.path().join("keys.key"))
}

fn new_key(name: &str, kind: KeyKind) -> NewKey {
    NewKey { name: name.to_owned(), kind, expires: None, limits: KeyLimits::default() }
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn keys_are_found_again_by_what_their_owners_send() {
    let folder = TempDir::new().unwrap();
    let store = store(&folder);
    let now = Timestamp::now();
    assert!(store.load().unwrap().is_empty());
    let access = store.create(new_key("signer", KeyKind::Access), now).unwrap();
    let mut short_lived = new_key("reader", KeyKind::Bearer);
    short_lived.expires = now.plus(Duration::from_secs(60));
    short_lived.limits.models = vec!["deepseek.r1-v1:0".to_owned()];
    let bearer = store.create(short_lived, now).unwrap();

    let ring = KeyRing::new(store.load().unwrap());
    let (key, secret) = ring.access_key(&access.key.id, now).unwrap();
    assert_eq!((key.as_ref(), secret), (&access.key, &access.secret));
    let token = bearer.secret.reveal();
    assert_eq!(ring.bearer_key(token, now).unwrap().as_ref(), &bearer.key);
    let later = now.plus(Duration::from_secs(60)).unwrap();
    assert_eq!(ring.bearer_key(token, later), Err(KeyRefusal::Expired));
    assert_eq!(ring.bearer_key(&token[..token.len() - 1], now), Err(KeyRefusal::Unknown));
    assert_eq!(ring.bearer_key(&format!("{token} "), now), Err(KeyRefusal::Unknown));
    // An id is public, so neither kind may open the other's door.
    assert_eq!(ring.bearer_key(&access.key.id, now), Err(KeyRefusal::Unknown));
    assert!(ring.access_key(&bearer.key.id, now).is_err());

    store.revoke("signer", now).unwrap();
    let ring = KeyRing::new(store.load().unwrap());
    assert_eq!(ring.access_key(&access.key.id, now).unwrap_err(), KeyRefusal::Unknown);
    assert!(!ring.is_empty());
    let listed = store.list().unwrap();
    let status: Vec<_> = listed.iter().map(|key| key.status(later)).collect();
    assert_eq!(status, [KeyStatus::Revoked, KeyStatus::Expired]);
    assert!(matches!(store.revoke("signer", now), Err(KeysError::Revoked(_))));
    assert!(matches!(store.revoke(&access.key.id, now), Err(KeysError::Revoked(_))));
    assert!(matches!(store.revoke("nobody", now), Err(KeysError::Unknown(_))));
    // The name is free again.
    store.create(new_key("signer", KeyKind::Access), now).unwrap();
    let again = store.create(new_key("signer", KeyKind::Bearer), now).unwrap_err();
    assert_eq!(again.to_string(), "name: there is a key `signer` already");
}

#[test]
fn files_are_private_and_hold_no_secret() {
    let folder = TempDir::new().unwrap();
    let store = store(&folder);
    let now = Timestamp::now();
    let access = store.create(new_key("a", KeyKind::Access), now).unwrap();
    let bearer = store.create(new_key("b", KeyKind::Bearer), now).unwrap();
    for path in [&store.path, &store.key_file] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let text = fs::read_to_string(&store.path).unwrap();
    for issued in [&access, &bearer] {
        assert!(!text.contains(issued.secret.reveal()));
        assert!(!format!("{issued:?}").contains(issued.secret.reveal()));
    }
    assert_ne!(access.secret, store.create(new_key("c", KeyKind::Access), now).unwrap().secret);

    // A sealed secret opens only with its key file, and only under its id.
    let swapped = text.replace(&*access.key.id, "OCAKOTHER");
    write(&store.path, &swapped, 0o600);
    let error = store.load().unwrap_err().to_string();
    assert!(error.contains("OCAKOTHER") && error.contains("not sealed with"), "{error}");
    write(&store.path, &text, 0o600);
    write(&store.key_file, &format!("{}\n", "0".repeat(64)), 0o600);
    assert!(store.load().is_err());
    fs::remove_file(&store.key_file).unwrap();
    let error = store.load().unwrap_err().to_string();
    assert!(error.contains("keys.key` does not exist"), "{error}");
    assert_eq!(store.list().unwrap().len(), 2);

    write(&store.path, &text, 0o644);
    let error = store.list().unwrap_err().to_string();
    assert!(error.contains("mode 644") && error.contains("chmod o="), "{error}");
}

#[test]
fn limits_change_one_at_a_time() {
    let folder = TempDir::new().unwrap();
    let store = store(&folder);
    let key = store.create(new_key("a", KeyKind::Bearer), Timestamp::now()).unwrap().key;
    let sixty = NonZeroU32::new(60);
    let changes = LimitChanges { requests_per_minute: Some(sixty), ..Default::default() };
    store.limit("a", changes).unwrap();
    let models = Some(vec!["m".to_owned()]);
    store.limit(&key.id, LimitChanges { models, ..Default::default() }).unwrap();
    let limits = store.load().unwrap().remove(0).limits;
    assert_eq!((limits.requests_per_minute, limits.tokens_per_minute), (sixty, None));
    assert!(limits.allow_model(["x", "m"].into_iter()));
    assert!(!limits.allow_model(["x"].into_iter()));
    let changes = LimitChanges { requests_per_minute: Some(None), ..Default::default() };
    assert_eq!(store.limit("a", changes).unwrap().limits.requests_per_minute, None);
}

#[test]
fn commands_at_the_same_time_lose_nothing() {
    let folder = TempDir::new().unwrap();
    let store = store(&folder);
    std::thread::scope(|scope| {
        for number in 0..8 {
            let store = &store;
            scope.spawn(move || {
                let name = format!("key {number}");
                store.create(new_key(&name, KeyKind::Access), Timestamp::now()).unwrap();
            });
        }
    });
    assert_eq!(store.load().unwrap().len(), 8);
}

#[test]
fn a_change_is_seen_from_outside() {
    let folder = TempDir::new().unwrap();
    let store = store(&folder);
    let absent = store.version();
    store.create(new_key("a", KeyKind::Bearer), Timestamp::now()).unwrap();
    let made = store.version();
    assert_ne!(absent, made);
    assert_eq!(made, store.version());
    store.limit("a", LimitChanges::default()).unwrap();
    assert_ne!(made, store.version());
}

/// Files that somebody else wrote: each is refused with words that name what is wrong, and none of
/// them with what the file keeps.
#[test]
fn hostile_files_are_refused_by_name() {
    let folder = TempDir::new().unwrap();
    let store = store(&folder);
    let key = |members: &str| {
        format!(
            "version = 1\n[[key]]\nid = \"K\"\nname = \"n\"\ncreated = \"2026-01-01T00:00:00Z\"\n\
             {members}\n"
        )
    };
    let digest = "ab".repeat(32);
    let bearer = format!("kind = \"bearer\"\ndigest = \"{digest}\"\n");
    write(&store.path, &key(&bearer), 0o600);
    assert_eq!(store.load().unwrap().len(), 1);
    let secret = "kind = \"access\"\nsecret = \"CANARY";
    let twice = format!("{0}{1}", key(&bearer), &key(&bearer)["version = 1\n".len()..]);
    let cases = [
        (String::new(), "version"),
        ("version = 2".to_owned(), "version 2"),
        ("version = \"1\"".to_owned(), "line 1"),
        ("version = 1\nextra = 1".to_owned(), "extra"),
        ("version = 1\nkey = 1".to_owned(), "line 2"),
        (key(""), "kind"),
        (key("kind = \"root\""), "root"),
        (key("kind = \"bearer\""), "`digest`"),
        (key("kind = \"bearer\"\ndigest = \"ab\""), "64 hexadecimal digits"),
        (key(&format!("kind = \"bearer\"\ndigest = \"{}\"", "AB".repeat(32))), "hexadecimal"),
        (key(&format!("kind = \"access\"\ndigest = \"{digest}\"")), "`secret`"),
        (key(&format!("{bearer}revoked = \"2026-01-01T00:00:00Z\"")), "until it is revoked"),
        (key(&format!("{bearer}expires = \"tomorrow\"")), "tomorrow"),
        (key(&format!("{bearer}requests_per_minute = 0")), "nonzero"),
        (key(&format!("{bearer}tokens_per_minute = 4294967296")), "line"),
        (key(&format!("{bearer}max_concurrent = -1")), "line"),
        (key(&format!("{bearer}models = [\"\"]")), "model"),
        (key(&format!("{bearer}admin = true")), "admin"),
        (key(&bearer).replace("\"n\"", "\"\""), "name"),
        (key(&bearer).replace("\"n\"", "\"a\\u001bb\""), "printable"),
        (key(&bearer).replace("\"K\"", "\"../K\""), "the id"),
        (key(&bearer).replace("2026-01", "2026-13"), "2026-13"),
        (twice, "occurs twice"),
        (key(secret), "line 7"),
        (key(&format!("{secret}\"\nsecret = \"CANARY\"")), "line"),
        (key(&format!("{secret}\"")), "keys.key` does not exist"),
        ("[".repeat(100_000), "line 1"),
    ];
    for (text, named) in cases {
        write(&store.path, &text, 0o600);
        let error = store.load().unwrap_err().to_string();
        assert!(error.contains(named), "`{error}` does not name `{named}`");
        assert!(!error.contains("CANARY"), "{error}");
    }
    let long = " ".repeat(limits::KEYS_FILE_BYTES_MAX as usize + 1);
    write(&store.path, &long, 0o600);
    assert!(matches!(store.load(), Err(KeysError::TooLong { .. })));
    fs::remove_file(&store.path).unwrap();
    fs::create_dir(&store.path).unwrap();
    fs::set_permissions(&store.path, fs::Permissions::from_mode(0o700)).unwrap();
    assert!(store.load().unwrap_err().to_string().contains("not a regular file"));
}
