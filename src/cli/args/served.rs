//! Which models a server serves, under which names, and how it treats their requests.

use std::time::Duration;

use clap::Args;

use crate::api::{Alias, AppOptions, Models};
use crate::cli::{
    args::{model::model_source, values},
    load::{ModelOptions, ModelSource},
};
use crate::limits;
use crate::model::weights::Quantization;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Models")]
pub(super) struct ServedArgs {
    /// The model: a catalogue id (see `outcrop models list`), a .gguf file, or a directory; can be
    /// repeated, and then the models share the memory for keys and values evenly
    #[arg(long = "model", short, env = "OUTCROP_MODEL", value_name = "MODEL", required = true)]
    models: Vec<String>,
    /// Quantize weights that the files hold as floats: q8_0, q6_k, q4_k_m or q4_0
    #[arg(long, value_name = "Q")]
    quantize: Option<Quantization>,
    /// The id that clients use [default: the catalogue's id, or the file's name]; repeated as often
    /// as --model, in the same order
    #[arg(long = "model-id", env = "OUTCROP_MODEL_ID", value_name = "ID")]
    ids: Vec<String>,
    /// A further id or ARN that means a model, or `PREFIX*` for all that begin so; `=MODEL_ID` may
    /// be left out where one model is served; can be repeated
    #[arg(long = "alias", value_name = "NAME=MODEL_ID")]
    aliases: Vec<String>,
    /// Seconds that requests wait for a model that is still loading
    #[arg(long, env = "OUTCROP_MODEL_LOAD_WAIT", value_name = "SECONDS",
          default_value_t = limits::MODEL_LOAD_WAIT_DEFAULT.as_secs())]
    model_load_wait: u64,
    /// Seconds after which an answer that is not finished is given up [default: no limit]
    #[arg(long, env = "OUTCROP_REQUEST_TIMEOUT", value_name = "SECONDS",
          value_parser = values::count)]
    request_timeout: Option<usize>,
    /// Refuse reasoning in a conversation's history, as Bedrock does for DeepSeek-R1, instead of
    /// dropping it
    #[arg(long, env = "OUTCROP_STRICT_REASONING")]
    strict_reasoning: bool,
}

/// The models in the order of their flags.
#[derive(Debug)]
pub(super) struct ServedOptions {
    pub ids: Vec<String>,
    pub aliases: Vec<Alias>,
    pub models: Vec<ModelOptions>,
    pub app: AppOptions,
}

impl ServedArgs {
    pub(super) fn into_options(self) -> Result<ServedOptions, clap::Error> {
        let mut models = Vec::new();
        for model in &self.models {
            let source = model_source("--model", model)?;
            models.push(ModelOptions { source, quantize: self.quantize });
        }
        let ids = match self.ids.len() {
            0 => models.iter().map(|model| served_id(&model.source)).collect(),
            given if given == models.len() => self.ids,
            given => {
                let reason = format!("{given} ids for {} models", models.len());
                return Err(values::invalid("--model-id", &self.ids.join(" "), &reason));
            }
        };
        let aliases: Vec<_> = self.aliases.iter().map(|text| alias(text)).collect();
        // Only what the names mean together can tell whether they are right.
        Models::new(&ids, &aliases).map_err(|error| {
            let flag = if self.aliases.is_empty() { "--model" } else { "--alias" };
            let given = if self.aliases.is_empty() { &self.models } else { &self.aliases };
            values::invalid(flag, &given.join(" "), &error.to_string())
        })?;
        let app = AppOptions {
            model_load_wait: Duration::from_secs(self.model_load_wait),
            request_timeout: self.request_timeout.map(|it| Duration::from_secs(it as u64)),
            strict_reasoning: self.strict_reasoning,
            ..AppOptions::default()
        };
        Ok(ServedOptions { ids, aliases, models, app })
    }
}

/// An id, without the variant: clients should not have to know how the weights are stored.
fn served_id(source: &ModelSource) -> String {
    match source {
        ModelSource::Catalogue(selection) => selection.model.id.clone(),
        ModelSource::Path(_) => source.name(),
    }
}

fn alias(text: &str) -> Alias {
    match text.split_once('=') {
        Some((name, id)) => Alias { name: name.to_owned(), model_id: Some(id.to_owned()) },
        None => Alias { name: text.to_owned(), model_id: None },
    }
}
