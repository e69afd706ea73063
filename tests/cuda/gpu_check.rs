//! The program as it is run on a machine with a GPU: `outcrop gpu-check`, but of little, and
//! chats.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use outcrop::model::ModelConfig;
use outcrop::model::config::Architecture;
use outcrop::model::synthetic::Synthetic;
use outcrop::model::weights::Quantization;
use serde_json::Value;

use super::{config, gpu};

/// Each row has what was reached, and what is to be had in the same run.
fn assert_measured(row: &Value) {
    let is_decode = row["test"] == "decode";
    for field in ["tokens", "batch", "operations", "operations_per_s", "matrix_operations_per_s"] {
        assert!(row[field].as_f64().unwrap() > 0.0, "{field} of {row:#}");
    }
    assert!(row["tokens_per_s"]["median"].as_f64().unwrap() > 0.0, "{row:#}");
    assert_eq!(row["seconds"].as_array().unwrap().len(), 2, "{row:#}");
    let [seconds, share] = ["roofline_s", "roofline_share"].map(|it| row[it].as_f64().unwrap());
    assert!(seconds > 0.0 && share > 0.0, "{row:#}");
    for field in ["step_bytes", "read_bytes_per_s", "memory_share"] {
        assert_eq!(row[field].as_f64().is_some_and(|x| x > 0.0), is_decode, "{field} of {row:#}");
    }
    assert_eq!(row["first_token_ms"].as_f64().is_some_and(|x| x > 0.0), !is_decode, "{row:#}");
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("outcrop-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn small_model(folder: &Path) -> PathBuf {
    let path = folder.join("small.gguf");
    let shape = ModelConfig { vocab_size: 512, ..config(Architecture::Llama) };
    let synthetic = Synthetic::new(shape, Quantization::F16, 3).unwrap();
    synthetic.write_gguf(File::create(&path).unwrap(), "small", &|_, _| {}).unwrap();
    path
}

/// With all of the GPU's memory, all that was made on it is given back, in an order and on threads
/// that the driver allows, before the program ends. And a kernel that goes wrong takes the GPU from
/// the program, which says so and ends as well.
#[test]
fn a_chat_gives_everything_back_and_a_lost_gpu_ends_it() {
    let Some((device, _turn)) = gpu() else { return };
    let is_stand_in = device.name().starts_with("stand-in");
    drop(device);
    let folder = folder("gpu-chat");
    let model = small_model(&folder);
    let chat = |fault_after: Option<&str>| -> Output {
        let mut chat = Command::new(env!("CARGO_BIN_EXE_outcrop"));
        chat.args(["chat", "--plain", "--device", "cuda", "--max-num-batched-tokens", "16"])
            .args(["--max-tokens", "12", "--gpu-memory-fraction", "1", "--model"])
            .arg(&model)
            .arg("a word");
        chat.envs(fault_after.map(|count| ("STAND_IN_FAULT_AFTER", count)));
        chat.output().unwrap()
    };
    let whole = chat(None);
    assert!(whole.status.success(), "{whole:?}");
    // In the warm-up, and in a step of the answer.
    for fault_after in if is_stand_in { &["20", "120"][..] } else { &[] } {
        let output = chat(Some(fault_after));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains("the GPU is lost to this process"), "{errors}");
    }
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_quick_check_compares_and_measures_every_figure() {
    let Some((device, _turn)) = gpu() else { return };
    drop(device);
    let folder = folder("gpu-check");
    let (model, json) = (small_model(&folder), folder.join("figures.json"));

    let output = Command::new(env!("CARGO_BIN_EXE_outcrop"))
        .args(["gpu-check", "--quick", "--prompts", "3", "--device", "cuda", "--model"])
        .arg(&model)
        .arg("--json")
        .arg(&json)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    let figures: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    fs::remove_dir_all(&folder).unwrap();

    let checks = figures["checks"].as_array().unwrap();
    // An architecture of three types in five ways, and three ways of the checkpoint.
    assert_eq!(checks.len(), 3 * 5 + 3, "{text}");
    assert_eq!(figures["texts"]["of_each_model"], 3);
    assert!(checks.iter().all(|check| check["passed"] == true), "{text}");
    assert!(checks.last().unwrap()["check"].as_str().unwrap().starts_with("small: "), "{text}");
    let measured = figures["measured"].as_array().unwrap();
    let types: Vec<_> = measured.iter().map(|it| it["quantization"].as_str().unwrap()).collect();
    assert_eq!(types, ["bf16", "q4_k_m"]);
    for shape in measured {
        assert!(shape["copy_bytes_per_s"].as_f64().unwrap() > 0.0);
        let rows = shape["rows"].as_array().unwrap();
        // Two prompts, and steps of two batches at two depths.
        assert_eq!(rows.len(), 2 + 2 * 2);
        rows.iter().for_each(assert_measured);
    }
    assert_eq!(text.matches("of the roofline").count(), 2 * 6, "{text}");
}
