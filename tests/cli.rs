//! The program as it is run: arguments, pipes, exit codes. A real model answers where there is one.

use std::{
    io::Write,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

fn outcrop(arguments: &[&str], input: &str) -> Output {
    let home = tempfile::tempdir().expect("a temporary folder");
    let mut child = Command::new(env!("CARGO_BIN_EXE_outcrop"))
        .args(arguments)
        .env("OUTCROP_HOME", home.path())
        .env("HF_HOME", home.path())
        .env("HF_HUB_OFFLINE", "1")
        .env_remove("OUTCROP_MODEL")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("piped");
    // A program that failed early may be gone before it has read.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("the program ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

fn real_model() -> Option<String> {
    let folder = std::env::var_os("OUTCROP_TEST_MODELS").map(PathBuf::from).or_else(|| {
        Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/outcrop-test-models"))
    })?;
    let path = folder.join("smollm2-135m-instruct-q4_1.gguf");
    if !path.exists() {
        eprintln!("skipped: needs smollm2-135m-instruct-q4_1.gguf in OUTCROP_TEST_MODELS");
        return None;
    }
    Some(path.into_os_string().into_string().expect("UTF-8"))
}

#[test]
fn a_failure_is_one_line_and_a_wrong_call_names_the_flag() {
    let output = outcrop(&["models", "pull", "smollm2-135m"], "");
    assert_eq!(output.status.code(), Some(1));
    let words = text(&output.stderr);
    assert_eq!(words.lines().count(), 1, "{words}");
    assert!(words.starts_with("outcrop: cannot get smollm2-135m:q4_1: "), "{words}");

    let output = outcrop(&["chat", "--model", "smollm2-135m", "--tempersture", "1"], "");
    assert_eq!(output.status.code(), Some(2));
    let words = text(&output.stderr);
    assert!(words.contains("'--tempersture'") && words.contains("'--temperature'"), "{words}");
}

#[test]
fn the_catalogue_is_listed_for_programs() {
    let output = outcrop(&["models", "list", "--json"], "");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let list: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(list.as_array().expect("an array").len(), 8);
}

#[test]
fn synthetic_weights_are_written_whole_and_never_over_a_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("random.gguf");
    let path = path.to_str().expect("UTF-8");
    let arguments = ["models", "synthesize", "smollm2-135m", "--quantize", "q4_0", "-o", path];
    let output = outcrop(&arguments, "");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let first = std::fs::read(path).expect("written");
    assert!(first.starts_with(b"GGUF"));
    let output = outcrop(&arguments, "");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("--force"), "{}", text(&output.stderr));
    let forced = [&arguments[..], &["--force"]].concat();
    assert!(outcrop(&forced, "").status.success());
    assert!(std::fs::read(path).expect("written") == first, "the same seed, the same file");
}

#[test]
fn a_piped_prompt_is_answered_for_people_and_for_programs() {
    let Some(model) = real_model() else { return };
    let common = ["--model", &model, "--seed", "1", "--max-tokens", "12"];
    let question = "Count from one to five.";
    let output = outcrop(&[&["chat"], &common[..]].concat(), &format!("{question}\n"));
    let (answer, notes) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{notes}");
    assert!(!answer.trim().is_empty() && answer.ends_with('\n'), "{answer}");
    assert_eq!(notes.lines().count(), 1, "{notes}");
    assert!(notes.contains("tokens/s; "), "{notes}");
    assert!(!answer.contains('\x1b') && !notes.contains('\x1b'), "no styles in a pipe");

    let output = outcrop(&[&["chat", question, "--json"], &common[..]].concat(), "");
    let lines: Vec<Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("a JSON object a line"))
        .collect();
    let (last, deltas) = lines.split_last().expect("an answer");
    let pieces: String = deltas.iter().map(|line| line["text"].as_str().expect("text")).collect();
    assert_eq!(pieces.trim(), answer.trim(), "the same question and seed, the same answer");
    assert_eq!(last["type"], "finished");
    assert!(last["usage"]["generated_tokens"].as_u64().expect("counted") <= 12);
}

/// Rows of one step have the bits that they have alone, so verifying guesses cannot change a draw.
/// The sampler's filters and its seed see the same logits as without.
#[test]
fn guessing_tokens_does_not_change_the_answer() {
    let Some(model) = real_model() else { return };
    let question = "Write the words red, green, blue in this order, again and again.";
    let answer = |speculate: &str, temperature: &str| {
        let line = format!("--max-tokens 48 --seed 7 --speculate {speculate}");
        let output = outcrop(
            &["chat", question, "--model", &model, "--temperature", temperature]
                .into_iter()
                .chain(line.split(' '))
                .collect::<Vec<_>>(),
            "",
        );
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    for temperature in ["0", "0.7"] {
        let plain = answer("off", temperature);
        for speculate in ["auto", "4"] {
            assert_eq!(answer(speculate, temperature), plain, "{speculate} at {temperature}");
        }
    }
}

#[test]
fn threads_can_be_chosen_and_the_figures_say_so() {
    let Some(model) = real_model() else { return };
    let line = "--prompt-tokens 8 --generate 2 --repeats 1 --threads 1 --json";
    let arguments: Vec<&str> =
        ["bench", "--model", &model].into_iter().chain(line.split(' ')).collect();
    let output = outcrop(&arguments, "");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["threads"], 1);
    let tests: Vec<_> =
        report["rows"].as_array().expect("rows").iter().map(|r| &r["test"]).collect();
    assert_eq!(tests, ["prefill", "decode"]);
    assert!(report["rows"][1]["memory_share"].as_f64().expect("measured") > 0.0);
    assert!(report["peak_memory_bytes"].as_u64().expect("known") > 98_000_000);
}

/// Made, listed, limited and revoked by separate runs of the program, as an operator does it.
#[test]
fn keys_live_in_their_file_and_show_their_secret_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let (file, key_file) = (path("folder/keys.toml"), path("seal.key"));
    let usage = path("usage.toml");
    let run = |arguments: &[&str]| {
        let place = ["--keys", &file, "--key-file", &key_file, "--key-usage", &usage];
        outcrop(&[&["keys"], arguments, &place].concat(), "")
    };
    let json = |arguments: &[&str]| -> Value {
        let output = run(&[arguments, &["--json"]].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let issued = json(&["create", "batch", "--tokens-per-minute", "500", "--model", "toy"]);
    let secret = issued["environment"]["AWS_SECRET_ACCESS_KEY"].as_str().expect("shown once");
    assert_eq!(issued["environment"]["AWS_ACCESS_KEY_ID"], issued["id"]);
    assert_eq!(secret.len(), 40);
    let output = run(&["create", "app", "--kind", "bearer", "--expires", "90d"]);
    let shown = text(&output.stdout);
    assert!(shown.contains("\nAWS_BEARER_TOKEN_BEDROCK=outcrop-key-"), "{shown}");

    let limited = json(&["limit", "batch", "--tokens-per-minute", "0", "--max-concurrent", "2"]);
    assert_eq!(
        (&limited["tokens_per_minute"], &limited["max_concurrent"]),
        (&Value::Null, &2.into())
    );
    assert_eq!(limited["models"][0], "toy");
    assert_eq!(json(&["limit", "app", "--tokens-per-day", "900"])["tokens_per_day"], 900);
    assert_eq!(json(&["revoke", "batch"])["status"], "revoked");
    let listed = json(&["list"]);
    let status = |index: usize| (&listed[index]["name"], &listed[index]["status"]);
    assert_eq!(status(0), (&"batch".into(), &"revoked".into()));
    assert_eq!(status(1), (&"app".into(), &"active".into()));
    assert_eq!(listed[1]["tokens_today"], 0);
    assert!(!text(&run(&["list"]).stdout).contains(secret));

    let again = run(&["revoke", "batch"]);
    assert!(!again.status.success());
    assert!(text(&again.stderr).contains("the key `batch` is revoked"));
    std::fs::write(&file, "version = 1\nnonsense = 1\n").expect("writable");
    let broken = text(&run(&["list"]).stderr);
    assert!(broken.contains("keys.toml` is not a file of keys: line 2"), "{broken}");
}
