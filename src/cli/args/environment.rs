//! The environment variables that belong to others: the Hugging Face tools', the system's.

use std::{env, path::PathBuf};

use crate::cli::args::{GlobalArgs, Threads, values};
use crate::hub::{HubOptions, Token};

/// Candle's pool and rayon's take their sizes from here and from nowhere else.
pub(in crate::cli) const THREAD_VARIABLES: [&str; 2] = ["CANDLE_NUM_THREADS", "RAYON_NUM_THREADS"];

pub(super) fn hub_options(global: &GlobalArgs) -> Result<HubOptions, clap::Error> {
    Ok(HubOptions {
        models_dir: home(global)?.join("models"),
        hf_cache_dir: hf_cache_dir()?,
        endpoint: text("HF_ENDPOINT"),
        token: text("HF_TOKEN").map(Token),
        offline: global.offline || flag("HF_HUB_OFFLINE")?,
        python: global.python.clone(),
    })
}

/// The folder for what is ours.
pub(super) fn home(global: &GlobalArgs) -> Result<PathBuf, clap::Error> {
    match &global.home {
        Some(home) => Ok(home.clone()),
        None => data_folder(),
    }
}

/// The XDG base directory specification's place for data.
fn data_folder() -> Result<PathBuf, clap::Error> {
    match path("XDG_DATA_HOME").filter(|folder| folder.is_absolute()) {
        Some(folder) => Ok(folder.join("outcrop")),
        None => Ok(user_folder("--home")?.join(".local/share/outcrop")),
    }
}

/// As the Hugging Face tools choose it.
fn hf_cache_dir() -> Result<PathBuf, clap::Error> {
    if let Some(cache) = path("HF_HUB_CACHE") {
        return Ok(cache);
    }
    if let Some(home) = path("HF_HOME") {
        return Ok(home.join("hub"));
    }
    match path("XDG_CACHE_HOME").filter(|folder| folder.is_absolute()) {
        Some(cache) => Ok(cache.join("huggingface/hub")),
        None => Ok(user_folder("HF_HOME")?.join(".cache/huggingface/hub")),
    }
}

fn user_folder(instead: &str) -> Result<PathBuf, clap::Error> {
    path("HOME").ok_or_else(|| values::invalid("HOME", "", &format!("set it, or {instead}")))
}

pub(super) fn threads(wanted: Option<usize>) -> Threads {
    match wanted {
        Some(count) if !started_with(count) => Threads::Restart { count },
        _ => Threads::AsStarted,
    }
}

fn started_with(count: usize) -> bool {
    let count = count.to_string();
    THREAD_VARIABLES.iter().all(|name| text(name).as_ref() == Some(&count))
}

/// <https://no-color.org>: any value but the empty one.
pub(in crate::cli) fn no_color() -> bool {
    text("NO_COLOR").is_some() || text("TERM").is_some_and(|terminal| terminal == "dumb")
}

/// The truth values of the Hugging Face tools.
fn flag(name: &str) -> Result<bool, clap::Error> {
    let Some(value) = text(name) else { return Ok(false) };
    match value.to_ascii_uppercase().as_str() {
        "1" | "ON" | "YES" | "TRUE" => Ok(true),
        "0" | "OFF" | "NO" | "FALSE" => Ok(false),
        _ => Err(values::invalid(name, &value, "must be 1 or 0")),
    }
}

fn text(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn path(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
