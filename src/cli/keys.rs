//! `outcrop keys`: who may use a server, and how much.

use std::num::NonZeroU64;

use anyhow::Context;
use serde_json::{Map, Value, json};

use crate::cli::report;
use crate::keys::{
    DailyUsage, IssuedKey, Key, KeyKind, KeyLimits, KeyStatus, KeyStore, LimitChanges, NewKey,
    Timestamp, UsageStore,
};

#[derive(Debug)]
pub(super) struct KeysCommand {
    pub store: KeyStore,
    pub usage: UsageStore,
    pub action: KeysAction,
    pub json: bool,
}

/// `key` is an id, or the name of a key that is not revoked.
#[derive(Debug)]
pub(super) enum KeysAction {
    Create(NewKey),
    List,
    Revoke { key: String },
    Limit { key: String, changes: LimitChanges },
}

pub(super) fn run(command: KeysCommand) -> anyhow::Result<()> {
    let KeysCommand { store, usage, action, json } = command;
    let now = Timestamp::now();
    let text = match action {
        KeysAction::Create(new) => {
            let issued = store.create(new, now).context("cannot make the key")?;
            match json {
                true => pretty(&issued_json(&issued, now)),
                false => issued_text(&issued),
            }
        }
        KeysAction::List => {
            let keys = store.list().context("cannot list keys")?;
            let usage = usage.read(now.day()).context("cannot read what keys have used")?;
            match json {
                true => pretty(&keys.iter().map(|key| listed_json(key, &usage, now)).collect()),
                false => table(&keys, &usage, now),
            }
        }
        KeysAction::Revoke { key } => {
            let key = store.revoke(&key, now).context("cannot revoke the key")?;
            match json {
                true => pretty(&key_json(&key, now)),
                false => format!("Revoked {} ({}).\n", key.name, key.id),
            }
        }
        KeysAction::Limit { key, changes } => {
            let key = store.limit(&key, changes).context("cannot limit the key")?;
            match json {
                true => pretty(&key_json(&key, now)),
                false => format!("{} ({}): {}\n", key.name, key.id, limits_text(&key.limits)),
            }
        }
    };
    report::print(&text)
}

/// The names under which tools look for what is shown: lines that a shell can read.
fn variables(issued: &IssuedKey) -> Vec<(&'static str, &str)> {
    let secret = issued.secret.reveal();
    match issued.key.credential.kind() {
        KeyKind::Access => {
            vec![("AWS_ACCESS_KEY_ID", &*issued.key.id), ("AWS_SECRET_ACCESS_KEY", secret)]
        }
        KeyKind::Bearer => vec![("AWS_BEARER_TOKEN_BEDROCK", secret)],
    }
}

fn issued_text(issued: &IssuedKey) -> String {
    let key = &issued.key;
    let kind = key.credential.kind().name();
    let mut text = format!("Made the {kind} key {} ({}).\n\n", key.name, key.id);
    for (name, value) in variables(issued) {
        text.push_str(&format!("{name}={value}\n"));
    }
    text + "\nKeep it now: the secret is not shown again.\n"
}

fn issued_json(issued: &IssuedKey, now: Timestamp) -> Value {
    let mut object = key_json(&issued.key, now);
    let variables = variables(issued).into_iter().map(|(name, value)| (name, json!(value)));
    object["environment"] = variables.map(|(name, value)| (name.to_owned(), value)).collect();
    object
}

fn listed_json(key: &Key, usage: &DailyUsage, now: Timestamp) -> Value {
    let mut object = key_json(key, now);
    object["tokens_today"] = json!(usage.of(&key.id));
    object
}

fn key_json(key: &Key, now: Timestamp) -> Value {
    let mut object = Map::new();
    object.insert("id".to_owned(), json!(&*key.id));
    object.insert("name".to_owned(), json!(key.name));
    object.insert("kind".to_owned(), json!(key.credential.kind().name()));
    object.insert("status".to_owned(), json!(key.status(now).name()));
    object.insert("created".to_owned(), json!(key.created));
    object.insert("expires".to_owned(), json!(key.expires));
    object.insert("revoked".to_owned(), json!(key.revoked));
    object.insert("requests_per_minute".to_owned(), json!(key.limits.requests_per_minute));
    object.insert("tokens_per_minute".to_owned(), json!(key.limits.tokens_per_minute));
    object.insert("tokens_per_day".to_owned(), json!(key.limits.tokens_per_day));
    object.insert("max_concurrent".to_owned(), json!(key.limits.max_concurrent));
    object.insert("models".to_owned(), json!(key.limits.models));
    Value::Object(object)
}

fn table(keys: &[Key], usage: &DailyUsage, now: Timestamp) -> String {
    if keys.is_empty() {
        return "There are no keys: `outcrop keys create NAME` makes one.\n".to_owned();
    }
    let header = ["ID", "NAME", "KIND", "STATUS", "CREATED", "EXPIRES", "TOKENS TODAY", "LIMITS"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for key in keys {
        let expires = match (key.status(now), key.expires) {
            (KeyStatus::Revoked, _) | (_, None) => "-".to_owned(),
            (_, Some(expires)) => expires.to_string(),
        };
        rows.push(vec![
            key.id.to_string(),
            key.name.clone(),
            key.credential.kind().name().to_owned(),
            key.status(now).name().to_owned(),
            key.created.to_string(),
            expires,
            usage.of(&key.id).to_string(),
            limits_text(&key.limits),
        ]);
    }
    report::table(&rows, &[6])
}

fn limits_text(limits: &KeyLimits) -> String {
    let mut parts = Vec::new();
    for (limit, unit) in [
        (limits.requests_per_minute.map(NonZeroU64::from), "requests/min"),
        (limits.tokens_per_minute.map(NonZeroU64::from), "tokens/min"),
        (limits.tokens_per_day, "tokens/day"),
        (limits.max_concurrent.map(NonZeroU64::from), "at a time"),
    ] {
        parts.extend(limit.map(|limit| format!("{limit} {unit}")));
    }
    if !limits.models.is_empty() {
        parts.push(format!("only {}", limits.models.join(" ")));
    }
    match parts.is_empty() {
        true => "none".to_owned(),
        false => parts.join(", "),
    }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}
