//! The rules of `CONTRIBUTING.md` that a compiler does not hold: which layer may use which, how
//! long a file and a line may be, where `unsafe`, `anyhow` and the environment may appear.
//!
//! It reads the source as text. Comments and literals are blanked first, so that a rule about code
//! never trips over prose, and lines keep their numbers.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "tidy/lex.rs"]
mod lex;
#[path = "tidy/rules.rs"]
mod rules;

/// A layer, the layers it may use, and those that only its tests may use beside them.
struct Layer {
    name: &'static str,
    uses: &'static [&'static str],
    tests_use: &'static [&'static str],
}

/// The direction of dependencies. `limits` is usable by all and uses nothing; `cli` ties all
/// together. An edge that is not here is refused: a new one is a decision, to be written here and
/// in `ARCHITECTURE.md`.
const LAYERS: &[Layer] = &[
    Layer { name: "kernels", uses: &[], tests_use: &[] },
    Layer { name: "limits", uses: &[], tests_use: &[] },
    Layer { name: "format", uses: &[], tests_use: &[] },
    Layer { name: "ops", uses: &["kernels"], tests_use: &[] },
    Layer { name: "model", uses: &["ops", "format"], tests_use: &[] },
    Layer { name: "engine", uses: &["model"], tests_use: &[] },
    Layer { name: "chat", uses: &["format"], tests_use: &[] },
    Layer { name: "guardrail", uses: &[], tests_use: &[] },
    Layer { name: "embed", uses: &["guardrail"], tests_use: &[] },
    Layer {
        name: "pipeline",
        uses: &["engine", "chat", "guardrail", "model"],
        tests_use: &["format"],
    },
    Layer { name: "keys", uses: &[], tests_use: &[] },
    Layer {
        name: "api",
        uses: &["pipeline", "guardrail", "keys"],
        tests_use: &["engine", "chat", "model"],
    },
    Layer { name: "hub", uses: &["format"], tests_use: &[] },
    Layer {
        name: "cli",
        uses: &[
            "api",
            "pipeline",
            "guardrail",
            "embed",
            "keys",
            "hub",
            "chat",
            "engine",
            "model",
            "ops",
            "format",
            "kernels",
        ],
        tests_use: &[],
    },
];

/// Where code is read from; everything below them but [`SKIPPED`].
const ROOTS: &[&str] = &["src", "crates", "tests", "fuzz", "benches", "examples"];

/// Folders of data and of other people's code.
const SKIPPED: &[&str] = &["target", "golden", "node_modules", "corpus", "artifacts"];

/// One source file, its code with comments and literals blanked, and which lines are test code.
struct Source {
    path: String,
    text: String,
    code: String,
    is_test: Vec<bool>,
}

impl Source {
    fn new(path: &str, text: &str, is_test_file: bool) -> Self {
        let code = lex::blank_comments_and_literals(text);
        let is_test = match is_test_file {
            true => vec![true; text.lines().count()],
            false => lex::test_lines(&code),
        };
        Self { path: path.to_owned(), text: text.to_owned(), code, is_test }
    }

    /// The layer a file belongs to; `None` for `main.rs`, `lib.rs` and all that is not in `src`:
    /// what another package may use, its `Cargo.toml` says.
    fn layer(&self) -> Option<&'static Layer> {
        let name = self.path.strip_prefix("src/")?.split('/').next()?.trim_end_matches(".rs");
        LAYERS.iter().find(|layer| layer.name == name)
    }
}

#[test]
fn the_source_is_tidy() {
    let sources = read_sources(Path::new(env!("CARGO_MANIFEST_DIR")));
    assert!(sources.len() > 20, "found only {} source files", sources.len());

    let mut report = String::new();
    let findings: Vec<String> = sources.iter().flat_map(rules::check).collect();
    for finding in &findings {
        writeln!(report, "  {finding}").expect("writing to a String cannot fail");
    }
    assert!(findings.is_empty(), "{} findings:\n{report}", findings.len());
}

/// Every module in `src` is a layer of the table, so that a new one cannot stay outside it.
#[test]
fn every_module_is_a_layer() {
    let lib = include_str!("../src/lib.rs");
    let modules = lib
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'));
    for module in modules {
        assert!(LAYERS.iter().any(|layer| layer.name == module), "`{module}` is not in LAYERS");
    }
}

/// The table itself has a direction: no layer reaches itself through those it uses.
#[test]
fn layers_have_no_cycle() {
    fn reaches(from: &str, to: &str) -> bool {
        let layer = LAYERS.iter().find(|layer| layer.name == from);
        let layer = layer.unwrap_or_else(|| panic!("`{from}` is used but not in LAYERS"));
        layer.uses.iter().any(|used| *used == to || reaches(used, to))
    }
    for layer in LAYERS {
        assert!(!reaches(layer.name, layer.name), "`{}` reaches itself", layer.name);
    }
}

fn read_sources(root: &Path) -> Vec<Source> {
    let mut paths = Vec::new();
    for folder in ROOTS {
        collect_rust_files(&root.join(folder), &mut paths);
    }
    paths.sort();
    let texts: Vec<(String, String)> = paths
        .iter()
        .map(|path| {
            let text = fs::read_to_string(path).expect("a source file is readable UTF-8");
            let relative = path.strip_prefix(root).expect("files were found below the root");
            (relative.to_str().expect("source paths are UTF-8").to_owned(), text)
        })
        .collect();

    let is_test_file = |path: &str| {
        let in_program = path.starts_with("src/")
            || path.starts_with("crates/cuda/src/")
            || path.starts_with("crates/kernels/src/")
            || path.starts_with("crates/threads/src/");
        !in_program || path.contains("/tests/") || path.ends_with("tests.rs")
    };
    let declared_for_tests: Vec<String> =
        texts.iter().flat_map(|(path, text)| lex::test_only_files(path, text)).collect();
    let is_declared_for_tests =
        |path: &str| declared_for_tests.iter().any(|test| path.starts_with(test));
    let source = |(path, text): &(String, String)| {
        Source::new(path, text, is_test_file(path) || is_declared_for_tests(path))
    };
    texts.iter().map(source).collect()
}

fn collect_rust_files(folder: &Path, paths: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("a listed folder can be read").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && !SKIPPED.contains(&name) && !name.starts_with('.') {
            collect_rust_files(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}
