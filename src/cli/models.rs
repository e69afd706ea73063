//! `outcrop models`: what is known by name, what is here, and weights made up on the spot.

use std::{
    fs::{self, File},
    io::BufWriter,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::cli::{progress, report};
use crate::hub::{self, CatalogueModel, Hub, Selection, Source, Variant};
use crate::model::{ModelConfig, synthetic::Synthetic, weights::Quantization};

#[derive(Debug)]
pub(super) enum ModelsCommand {
    List { json: bool },
    Pull { selection: Selection },
    Show { selection: Selection, json: bool },
    Synthesize(SynthesizeOptions),
}

#[derive(Debug)]
pub(super) struct SynthesizeOptions {
    pub model: &'static CatalogueModel,
    pub quantization: Quantization,
    pub output: PathBuf,
    pub seed: u64,
    pub force: bool,
}

pub(super) fn run(command: ModelsCommand, hub: &Hub) -> anyhow::Result<()> {
    match command {
        ModelsCommand::List { json: true } => report::print(&pretty(&list_json(hub))),
        ModelsCommand::List { json: false } => report::print(&list_table(hub)),
        ModelsCommand::Pull { selection } => {
            let path = hub.pull(&selection).with_context(|| format!("cannot get {selection}"))?;
            report::print(&format!("{}\n", path.display()))
        }
        ModelsCommand::Show { selection, json: true } => {
            report::print(&pretty(&describe(&selection, hub)))
        }
        ModelsCommand::Show { selection, json: false } => report::print(&show(&selection, hub)?),
        ModelsCommand::Synthesize(options) => synthesize(&options),
    }
}

/// The configuration of a catalogue model, read as its own `config.json` would be.
pub(super) fn config_of(model: &CatalogueModel) -> anyhow::Result<ModelConfig> {
    ModelConfig::from_hf(model.config.to_string().as_bytes())
        .with_context(|| format!("the catalogue's configuration of {}", model.id))
}

fn selections(model: &'static CatalogueModel) -> impl Iterator<Item = Selection> {
    let select = move |(name, variant): (&'static String, &'static Variant)| Selection {
        model,
        variant_name: name.as_str(),
        variant,
    };
    model.variants.iter().map(select)
}

fn list_table(hub: &Hub) -> String {
    let header = ["MODEL", "PARAMETERS", "CONTEXT", "VARIANTS (GB)", "HERE"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for model in hub::models() {
        let mut variants: Vec<_> = selections(model).collect();
        variants.sort_by(|a, b| a.variant.gigabytes.total_cmp(&b.variant.gigabytes));
        let here: Vec<_> = variants
            .iter()
            .filter(|selection| hub.installed(selection).is_some())
            .map(|selection| selection.variant_name)
            .collect();
        let name = |selection: &Selection| {
            let mark = if selection.variant_name == model.default_variant { "*" } else { "" };
            format!("{}{mark} {}", selection.variant_name, selection.variant.gigabytes)
        };
        rows.push(vec![
            model.id.clone(),
            model.parameters.clone(),
            model.context_len.to_string(),
            variants.iter().map(name).collect::<Vec<_>>().join(", "),
            here.join(", "),
        ]);
    }
    let note = "\n* the default; another is named as MODEL:VARIANT\n";
    report::table(&rows, &[1, 2]) + note
}

fn list_json(hub: &Hub) -> Value {
    let of_model = |model: &'static CatalogueModel| {
        let variants: Vec<_> =
            selections(model).map(|selection| variant(&selection, hub)).collect();
        json!({
            "id": model.id,
            "name": model.name,
            "parameters": model.parameters,
            "context_len": model.context_len,
            "licence": model.licence,
            "default_variant": model.default_variant,
            "variants": variants,
        })
    };
    hub::models().iter().map(of_model).collect()
}

fn variant(selection: &Selection, hub: &Hub) -> Value {
    let source = match &selection.variant.source {
        Source::Gguf(source) => json!({ "repo": source.repo, "files": source.files }),
        Source::Safetensors(source) => json!({ "repo": source.repo }),
        Source::Wheel(source) => json!({
            "package": source.package,
            "version": source.version,
            "member": source.member,
            "bytes": source.bytes,
            "sha256": source.sha256,
        }),
    };
    json!({
        "name": selection.variant_name,
        "format": selection.variant.source.kind(),
        "gigabytes": selection.variant.gigabytes,
        "source": source,
        "path": hub.installed(selection),
    })
}

fn describe(selection: &Selection, hub: &Hub) -> Value {
    let model = selection.model;
    json!({
        "id": model.id,
        "name": model.name,
        "parameters": model.parameters,
        "context_len": model.context_len,
        "licence": model.licence,
        "sampling": {
            "temperature": rounded(model.sampling.temperature),
            "top_p": rounded(model.sampling.top_p),
        },
        "variant": variant(selection, hub),
        "config": model.config,
    })
}

/// An `f32` as it was written: 0.6 and not 0.6000000238418579.
fn rounded(value: f32) -> f64 {
    (f64::from(value) * 1e6).round() / 1e6
}

fn show(selection: &Selection, hub: &Hub) -> anyhow::Result<String> {
    let model = selection.model;
    let config = config_of(model)?;
    let heads = format!(
        "{} of {} ({} for keys and values)",
        config.num_attention_heads, config.head_dim, config.num_kv_heads
    );
    let sampling =
        format!("temperature {}, top_p {}", model.sampling.temperature, model.sampling.top_p);
    let source = match &selection.variant.source {
        Source::Gguf(source) => format!("{}: {}", source.repo, source.files.join(", ")),
        Source::Safetensors(source) => source.repo.clone(),
        Source::Wheel(source) => {
            format!("Python package {} {}: {}", source.package, source.version, source.member)
        }
    };
    let here = match hub.installed(selection) {
        Some(path) => path.display().to_string(),
        None => format!("not downloaded; `outcrop models pull {selection}` does it"),
    };
    let variants: Vec<_> = model.variants.keys().map(String::as_str).collect();
    let rows = [
        ("model", model.name.clone()),
        ("licence", model.licence.clone()),
        ("architecture", format!("{:?}", config.architecture)),
        ("parameters", model.parameters.clone()),
        ("layers", config.num_layers.to_string()),
        ("hidden size", config.hidden_size.to_string()),
        ("heads", heads),
        ("vocabulary", config.vocab_size.to_string()),
        ("context", format!("{} tokens", model.context_len)),
        ("sampling", sampling),
        ("variants", variants.join(", ")),
        (
            "variant",
            format!("{}, about {} GB", selection.variant_name, selection.variant.gigabytes),
        ),
        ("source", source),
        ("here", here),
    ];
    let rows: Vec<_> = rows.map(|(name, value)| vec![name.to_owned(), value]).to_vec();
    Ok(report::table(&rows, &[]))
}

fn synthesize(options: &SynthesizeOptions) -> anyhow::Result<()> {
    if options.output.exists() && !options.force {
        bail!("{} exists; --force replaces it", options.output.display());
    }
    let config = config_of(options.model)?;
    let synthetic = Synthetic::new(config, options.quantization, options.seed)?;
    let name = format!("{} (random weights, {})", options.model.name, options.quantization);
    let write = |partial: &Path| -> anyhow::Result<()> {
        let mut out = BufWriter::with_capacity(1 << 20, File::create(partial)?);
        let bar = progress::bytes("writing", synthetic.num_bytes());
        synthetic.write_gguf(&mut out, &name, &|done, _| bar.set_position(done))?;
        bar.finish_and_clear();
        out.into_inner()?.sync_all()?;
        fs::rename(partial, &options.output)?;
        Ok(())
    };
    let mut partial = options.output.clone().into_os_string();
    partial.push(".part");
    let partial = PathBuf::from(partial);
    write(&partial).or_else(|error| {
        // A file that is not whole is of no use; the error that made it so is what matters.
        let _ = fs::remove_file(&partial);
        Err(error).with_context(|| format!("cannot write {}", options.output.display()))
    })?;
    let size = report::bytes(fs::metadata(&options.output)?.len());
    report::print(&format!("{} ({size})\n", options.output.display()))
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::HubOptions;

    fn hub(folder: &Path) -> Hub {
        Hub::new(HubOptions {
            models_dir: folder.join("models"),
            hf_cache_dir: folder.join("hub"),
            endpoint: None,
            token: None,
            offline: true,
            python: "python3".into(),
        })
    }

    #[test]
    fn every_model_of_the_catalogue_has_a_valid_configuration() {
        for model in hub::models() {
            let config = config_of(model).expect("valid");
            assert_eq!(config.max_position_embeddings, model.context_len, "{}", model.id);
        }
    }

    /// A wrong size in the catalogue or a wrong shape in a configuration shows in the other.
    #[test]
    fn stated_sizes_are_those_of_the_shapes() {
        for model in hub::models() {
            for (name, variant) in &model.variants {
                let Ok(quantization) = name.parse::<Quantization>() else { continue };
                let synthetic = Synthetic::new(config_of(model).expect("valid"), quantization, 0)
                    .expect("fits");
                let bytes = synthetic.num_bytes() as f64;
                let stated = variant.gigabytes * 1e9;
                let off = (bytes - stated).abs() / stated;
                assert!(off < 0.03, "{}:{name}: {bytes} bytes, stated {stated}", model.id);
            }
        }
    }

    #[test]
    fn the_list_shows_every_model_and_what_is_here() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let hub = hub(folder.path());
        let table = list_table(&hub);
        for model in hub::models() {
            assert!(table.contains(&model.id), "{table}");
        }
        let at = folder.path().join("models/smollm2-135m");
        fs::create_dir_all(&at).expect("made");
        let file = File::create(at.join("SmolLM2-135M-Instruct.Q4_1.gguf")).expect("made");
        file.set_len(98_362_432).expect("sparse");
        let list = list_json(&hub);
        let variant = &list[0]["variants"][0];
        assert_eq!((&list[0]["id"], &variant["name"]), (&json!("smollm2-135m"), &json!("q4_1")));
        assert!(variant["path"].as_str().expect("here").ends_with("Q4_1.gguf"));
        assert_eq!(list[1]["variants"][0]["path"], Value::Null);
    }

    #[test]
    fn showing_names_source_licence_and_the_way_to_get_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let selection = hub::select("deepseek-r1-distill-llama-8b:q8_0").expect("known");
        let text = show(&selection, &hub(folder.path())).expect("described");
        for part in [
            "Llama 3.1 Community License",
            "DeepSeek-R1-Distill-Llama-8B-Q8_0.gguf",
            "outcrop models pull deepseek-r1-distill-llama-8b:q8_0",
            "temperature 0.6, top_p 0.95",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
