//! Where keys are kept, what `outcrop keys` is asked, and how a duration is written.

use std::num::{NonZeroU32, NonZeroU64};
use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum, builder::BoolishValueParser};

use crate::api::{AccessOptions, TlsFiles};
use crate::cli::{
    args::{GlobalArgs, environment},
    keys::{KeysAction, KeysCommand},
    serve::EntranceOptions,
};
use crate::keys::{KeyKind, KeyLimits, KeyStore, LimitChanges, NewKey, Timestamp, UsageStore};

/// The file of keys and what opens it.
#[derive(Debug, Clone, Args)]
pub(super) struct KeyStoreArgs {
    /// The file of keys [default: keys.toml in the user's data folder]
    #[arg(
        long = "keys",
        global = true,
        env = "OUTCROP_KEYS",
        value_name = "FILE",
        help_heading = "Keys"
    )]
    keys: Option<PathBuf>,
    /// The file that seals and opens the secrets of access keys; made when it is first needed
    /// [default: keys.key in the user's data folder]
    #[arg(
        long,
        global = true,
        env = "OUTCROP_KEY_FILE",
        value_name = "FILE",
        help_heading = "Keys"
    )]
    key_file: Option<PathBuf>,
    /// The file in which servers write down how many tokens each key has used today
    /// [default: keys-usage.toml in the user's data folder]
    #[arg(
        long,
        global = true,
        env = "OUTCROP_KEY_USAGE",
        value_name = "FILE",
        help_heading = "Keys"
    )]
    key_usage: Option<PathBuf>,
}

impl KeyStoreArgs {
    fn into_stores(self, global: &GlobalArgs) -> Result<(KeyStore, UsageStore), clap::Error> {
        let home = environment::home(global)?;
        let path = |given: Option<PathBuf>, name| given.unwrap_or_else(|| home.join(name));
        let keys = KeyStore::new(path(self.keys, "keys.toml"), path(self.key_file, "keys.key"));
        Ok((keys, UsageStore::new(path(self.key_usage, "keys-usage.toml"))))
    }
}

/// Who may use a server, and over what.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Access")]
pub(super) struct AccessArgs {
    #[command(flatten)]
    store: KeyStoreArgs,
    /// Let everyone use the server who can reach it, on whatever address it listens
    #[arg(long, env = "OUTCROP_INSECURE_NO_AUTH", value_parser = BoolishValueParser::new())]
    insecure_no_auth: bool,
    /// Let everyone read /metrics, where the rest asks for keys
    #[arg(long, env = "OUTCROP_METRICS_OPEN", value_parser = BoolishValueParser::new())]
    metrics_open: bool,
    /// The only region that signatures may be for [default: any]
    #[arg(long, env = "OUTCROP_REGION", value_name = "REGION")]
    region: Option<String>,
    /// Speak TLS with this certificate and its chain, in PEM; a renewed one is taken up as it comes
    #[arg(long, env = "OUTCROP_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key, in PEM
    #[arg(long, env = "OUTCROP_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

impl AccessArgs {
    pub(super) fn into_options(self, global: &GlobalArgs) -> Result<EntranceOptions, clap::Error> {
        let tls = self.tls_cert.zip(self.tls_key);
        let (keys, usage) = self.store.into_stores(global)?;
        Ok(EntranceOptions {
            keys,
            usage,
            insecure_no_auth: self.insecure_no_auth,
            access: AccessOptions { region: self.region, metrics_open: self.metrics_open },
            tls: tls.map(|(certificate, key)| TlsFiles { certificate, key }),
        })
    }
}

const KEYS_HELP: &str = "\
A server reads the file of keys and sees every change within a second. As long as there are no keys,
a server that listens on this machine only asks for none; with the first one, everybody needs one.

An access key signs requests: every AWS SDK and the AWS CLI do so by default, and it makes
short-term Bedrock keys. A bearer key is sent as it is, over TLS: as AWS_BEARER_TOKEN_BEDROCK by
AWS's tools, as the API key by OpenAI's.

Examples:
  outcrop keys create batch-jobs
  outcrop keys create notebook --kind bearer --expires 90d --tokens-per-minute 20000
  outcrop keys create team-a --tokens-per-day 2000000
  outcrop keys limit notebook --max-concurrent 2 --model deepseek-r1-distill-qwen-7b
  outcrop keys revoke notebook";

#[derive(Debug, Args)]
#[command(after_help = KEYS_HELP)]
pub(super) struct KeysArgs {
    #[command(flatten)]
    store: KeyStoreArgs,
    #[command(subcommand)]
    action: KeysActionArgs,
}

#[derive(Debug, Subcommand)]
enum KeysActionArgs {
    /// Make a key and show it: its secret is never shown again
    Create {
        /// What the key is for; unique among keys that are not revoked
        name: String,
        /// What proves that a request is the owner's
        #[arg(long, value_enum, default_value_t = KindArg::Access)]
        kind: KindArg,
        /// When it ends: after 90d, 12h or 30m, or at a time such as 2027-01-01T00:00:00Z
        /// [default: never]
        #[arg(long, value_name = "TIME", value_parser = expiry)]
        expires: Option<Expiry>,
        #[command(flatten)]
        limits: LimitArgs,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// List keys and what they have used today, revoked ones included, without their secrets
    List {
        /// One JSON array
        #[arg(long)]
        json: bool,
    },
    /// End a key at once and for ever
    Revoke {
        /// ID or NAME
        #[arg(value_name = "KEY")]
        key: String,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Change what a key may do; what is not named stays as it is
    Limit {
        /// ID or NAME
        #[arg(value_name = "KEY")]
        key: String,
        #[command(flatten)]
        limits: LimitArgs,
        /// Allow all models again
        #[arg(long, conflicts_with = "models")]
        any_model: bool,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum KindArg {
    /// An id and a secret, for signatures of AWS's version 4
    Access,
    /// One word that is sent with every request
    Bearer,
}

/// 0 takes a limit away.
#[derive(Debug, Clone, Args)]
struct LimitArgs {
    /// Requests a minute; 0 for no limit
    #[arg(long, value_name = "N")]
    requests_per_minute: Option<u32>,
    /// Tokens a minute, computed prompt and answer together; 0 for no limit
    #[arg(long, value_name = "N")]
    tokens_per_minute: Option<u32>,
    /// Tokens a day, from midnight to midnight UTC; 0 for no limit
    #[arg(long, value_name = "N")]
    tokens_per_day: Option<u64>,
    /// Requests at a time; 0 for no limit
    #[arg(long, value_name = "N")]
    max_concurrent: Option<u32>,
    /// A model that the key may use, by the id or an alias it is served under; can be repeated
    /// [default: all]
    #[arg(long = "model", value_name = "ID")]
    models: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expiry {
    After(Duration),
    At(Timestamp),
}

fn expiry(text: &str) -> Result<Expiry, String> {
    if let Some(time) = Timestamp::from_rfc3339(text) {
        return Ok(Expiry::At(time));
    }
    let wrong = || "must be such as 90d, 12h, 30m or 2027-01-01T00:00:00Z".to_owned();
    let seconds = match text.chars().last() {
        Some('d') => 24 * 60 * 60,
        Some('h') => 60 * 60,
        Some('m') => 60,
        _ => return Err(wrong()),
    };
    let count: u32 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    Ok(Expiry::After(Duration::from_secs(u64::from(count) * seconds)))
}

impl LimitArgs {
    fn into_limits(self) -> KeyLimits {
        let limit = |value: Option<u32>| value.and_then(NonZeroU32::new);
        KeyLimits {
            requests_per_minute: limit(self.requests_per_minute),
            tokens_per_minute: limit(self.tokens_per_minute),
            tokens_per_day: self.tokens_per_day.and_then(NonZeroU64::new),
            max_concurrent: limit(self.max_concurrent),
            models: self.models,
        }
    }

    fn into_changes(self, any_model: bool) -> LimitChanges {
        let change = |value: Option<u32>| value.map(NonZeroU32::new);
        LimitChanges {
            requests_per_minute: change(self.requests_per_minute),
            tokens_per_minute: change(self.tokens_per_minute),
            tokens_per_day: self.tokens_per_day.map(NonZeroU64::new),
            max_concurrent: change(self.max_concurrent),
            models: (any_model || !self.models.is_empty()).then_some(self.models),
        }
    }
}

impl KeysArgs {
    pub(super) fn into_command(self, global: &GlobalArgs) -> Result<KeysCommand, clap::Error> {
        let (store, usage) = self.store.into_stores(global)?;
        let (action, json) = match self.action {
            KeysActionArgs::Create { name, kind, expires, limits, json } => {
                let expires = match expires {
                    None => None,
                    Some(Expiry::At(time)) => Some(time),
                    Some(Expiry::After(duration)) => Timestamp::now().plus(duration),
                };
                let kind = match kind {
                    KindArg::Access => KeyKind::Access,
                    KindArg::Bearer => KeyKind::Bearer,
                };
                let new = NewKey { name, kind, expires, limits: limits.into_limits() };
                (KeysAction::Create(new), json)
            }
            KeysActionArgs::List { json } => (KeysAction::List, json),
            KeysActionArgs::Revoke { key, json } => (KeysAction::Revoke { key }, json),
            KeysActionArgs::Limit { key, limits, any_model, json } => {
                (KeysAction::Limit { key, changes: limits.into_changes(any_model) }, json)
            }
        };
        Ok(KeysCommand { store, usage, action, json })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_ends_after_a_while_or_at_a_time() {
        let days = |days: u64| Ok(Expiry::After(Duration::from_secs(days * 86_400)));
        assert_eq!(expiry("90d"), days(90));
        assert_eq!(expiry("48h"), days(2));
        assert_eq!(expiry("1440m"), days(1));
        let time = Timestamp::from_rfc3339("2027-01-01T00:00:00Z").unwrap();
        assert_eq!(expiry("2027-01-01T00:00:00Z"), Ok(Expiry::At(time)));
        for text in ["", "d", "1", "-1d", "1.5h", "1w", "2027-01-01", "9999999999d", "1é"] {
            assert!(expiry(text).is_err(), "{text}");
        }
    }
}
