//! The rules themselves: each reads one source file and says what breaks it, as `file:line: why`.

use crate::lex::line_index;
use crate::{LAYERS, Source};

const FILE_LINES_MAX: usize = 600;
const LINE_COLUMNS_MAX: usize = 100;

/// Where `unsafe` may appear: SIMD loads, work lent to threads, the weight files' mmap, CUDA.
const UNSAFE_HOMES: &[&str] =
    &["crates/cuda/", "crates/kernels/", "crates/threads/", "src/model/weights/", "src/ops/cuda"];

/// File names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["utils", "util", "helpers", "helper", "common", "misc"];

/// What the program's code may not contain, and why. Tests may.
const BANNED_IN_PROGRAM: &[(&str, &str)] = &[
    (".unwrap()", "use `?`, or `expect` with the reason why it holds"),
    ("todo!(", "unfinished code does not land"),
    ("unimplemented!(", "unfinished code does not land"),
];

/// What no code may contain, tests included.
const BANNED_EVERYWHERE: &[(&str, &str)] = &[
    ("dbg!(", "left over from debugging"),
    ("#[allow(", "use `#[expect(.., reason = \"..\")]`"),
    ("#![allow(", "use `#![expect(.., reason = \"..\")]`"),
];

/// Imports of the crate root, which would hide the edges from this test.
const HIDDEN_EDGES: &[&str] = &["use crate::{", "use crate::*", "use crate as"];

/// How the beginnings of commented-out statements look; prose does not begin like this and end
/// like one.
const STATEMENT_STARTS: &[&str] = &[
    "let ", "use ", "pub ", "fn ", "if ", "for ", "while ", "match ", "return ", "self.", "#[",
    "mod ", "impl ", "struct ", "enum ", "assert", "}",
];

/// Everything wrong with one file.
pub(crate) fn check(source: &Source) -> Vec<String> {
    let mut findings = Vec::new();
    check_size(source, &mut findings);
    check_name(source, &mut findings);
    check_module_docs(source, &mut findings);
    check_comments(source, &mut findings);
    check_banned(source, &mut findings);
    check_homes(source, &mut findings);
    check_edges(source, &mut findings);
    findings
}

/// Adds a finding; `line` counts from 0.
fn report(source: &Source, line: usize, why: &str, findings: &mut Vec<String>) {
    findings.push(format!("{}:{}: {why}", source.path, line + 1));
}

fn check_size(source: &Source, findings: &mut Vec<String>) {
    let lines = source.text.lines().count();
    if lines > FILE_LINES_MAX {
        let why = format!("{lines} lines, the limit is {FILE_LINES_MAX}");
        report(source, FILE_LINES_MAX, &why, findings);
    }
    for (line, text) in source.text.lines().enumerate() {
        let columns = text.chars().count();
        if columns > LINE_COLUMNS_MAX {
            let why = format!("{columns} columns, the limit is {LINE_COLUMNS_MAX}");
            report(source, line, &why, findings);
        }
    }
}

fn check_name(source: &Source, findings: &mut Vec<String>) {
    for part in source.path.trim_end_matches(".rs").split('/') {
        if EMPTY_NAMES.contains(&part) {
            report(source, 0, &format!("`{part}` says nothing of what is inside"), findings);
        }
    }
}

fn check_module_docs(source: &Source, findings: &mut Vec<String>) {
    let first = source.text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#!"));
    if !first.is_some_and(|line| line.starts_with("//!")) {
        report(source, 0, "no `//!`: what does this module own, what must it not know?", findings);
    }
}

/// Comments that are code put to sleep, or a note of work not done.
fn check_comments(source: &Source, findings: &mut Vec<String>) {
    for (line, (text, code)) in source.text.lines().zip(source.code.lines()).enumerate() {
        let Some((before, comment)) = text.split_once("//") else { continue };
        let is_comment = code.chars().count() <= before.chars().count()
            || code.chars().skip(before.chars().count()).all(char::is_whitespace);
        if !is_comment {
            continue;
        }
        let is_doc = comment.starts_with('/') || comment.starts_with('!');
        if !is_doc && is_statement(comment.trim()) {
            report(source, line, "commented-out code", findings);
        }
        if ["TODO", "FIXME", "XXX"].iter().any(|mark| comment.contains(mark)) {
            report(source, line, "a note of work not done belongs in the tracker", findings);
        }
    }
}

fn is_statement(comment: &str) -> bool {
    let starts = STATEMENT_STARTS.iter().any(|start| comment.starts_with(start));
    let is_block = ["{", "}", "},", "})", ")]", "]"].iter().any(|end| comment.ends_with(end));
    let is_line = comment.ends_with(';') && comment.contains(['=', '(', ':']);
    starts && (is_block || is_line)
}

fn check_banned(source: &Source, findings: &mut Vec<String>) {
    for (line, code) in source.code.lines().enumerate() {
        for (banned, why) in BANNED_EVERYWHERE {
            if code.contains(banned) {
                report(source, line, &format!("`{banned}`: {why}"), findings);
            }
        }
        if source.is_test[line] {
            continue;
        }
        for (banned, why) in BANNED_IN_PROGRAM {
            if code.contains(banned) {
                report(source, line, &format!("`{banned}`: {why}"), findings);
            }
        }
    }
}

/// What has one home only: `unsafe`, `anyhow`, and the reading of the environment.
fn check_homes(source: &Source, findings: &mut Vec<String>) {
    let path = source.path.as_str();
    let is_layer = |name: &str| source.layer().is_some_and(|layer| layer.name == name);
    for (line, code) in source.code.lines().enumerate() {
        let is_program = path.starts_with("src/") && !source.is_test[line];
        if has_word(code, "unsafe") && is_program && !under_any(path, UNSAFE_HOMES) {
            report(source, line, &format!("`unsafe` lives in {UNSAFE_HOMES:?}"), findings);
        }
        if has_word(code, "anyhow") && is_program && !is_layer("cli") {
            report(source, line, "`anyhow` is for `cli`; a layer has its error type", findings);
        }
        let reads_environment = code.contains("env::var") || code.contains("env::args");
        if reads_environment && is_program && !path.starts_with("src/cli/args") {
            report(source, line, "only `cli::args` reads flags and the environment", findings);
        }
    }
}

fn under_any(path: &str, homes: &[&str]) -> bool {
    homes.iter().any(|home| path.starts_with(home))
}

fn has_word(code: &str, word: &str) -> bool {
    let is_part = |char: char| char.is_alphanumeric() || char == '_';
    code.match_indices(word).any(|(at, _)| {
        !code[..at].ends_with(is_part) && !code[at + word.len()..].starts_with(is_part)
    })
}

/// Paths into other layers, against the table. A path that climbs out by `super` is found too.
fn check_edges(source: &Source, findings: &mut Vec<String>) {
    let Some(layer) = source.layer() else { return };
    for (line, code) in source.code.lines().enumerate() {
        if HIDDEN_EDGES.iter().any(|hidden| code.contains(hidden)) {
            report(source, line, "one `use crate::<module>::..` for each module", findings);
        }
    }
    let is_layer_root = source.path.matches('/').count() == 1 || source.path.ends_with("/mod.rs");
    for (position, prefix) in path_starts(&source.code) {
        let rest = &source.code[position + prefix.len()..];
        let target = match prefix {
            "kernels::" => "kernels",
            _ => {
                rest.split(|char: char| !char.is_alphanumeric() && char != '_').next().unwrap_or("")
            }
        };
        if prefix == "super::" && !is_layer_root {
            continue;
        }
        let climbs = prefix.starts_with("super");
        let is_layer = LAYERS.iter().any(|layer| layer.name == target);
        let line = line_index(&source.code, position);
        if climbs && is_layer && target != layer.name {
            report(source, line, &format!("write `crate::{target}`, not `super`"), findings);
        }
        let is_edge = is_layer && target != layer.name && target != "limits";
        let is_used = layer.uses.contains(&target)
            || (source.is_test[line] && layer.tests_use.contains(&target));
        if is_edge && !climbs && !is_used {
            let why =
                format!("`{}` may not use `{target}`; it may use {:?}", layer.name, layer.uses);
            report(source, line, &why, findings);
        }
    }
}

/// Where a path begins that may lead to another layer, and its first part.
fn path_starts(code: &str) -> impl Iterator<Item = (usize, &'static str)> {
    let longest_first = ["super::super::", "super::", "crate::", "kernels::"];
    longest_first.into_iter().flat_map(move |prefix| {
        code.match_indices(prefix).filter_map(move |(at, _)| {
            let begins = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            let is_inner = code[..at].ends_with("::") && prefix != "super::";
            (begins && !is_inner).then_some((at, prefix))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::Source;

    fn findings(path: &str, code: &str) -> Vec<String> {
        check(&Source::new(path, &format!("//! Owns an example.\n{code}\n"), false))
    }

    /// Each bad snippet breaks exactly one rule, on its last line or where it says.
    fn assert_refused(path: &str, code: &str, why: &str) {
        let findings = findings(path, code);
        assert_eq!(findings.len(), 1, "{code:?} gave {findings:?}");
        assert!(findings[0].contains(why), "{code:?} gave {findings:?}");
        let place = format!("{path}:");
        assert!(findings[0].starts_with(&place), "{findings:?} does not name the place");
    }

    fn assert_tidy(path: &str, code: &str) {
        assert_eq!(findings(path, code), Vec::<String>::new(), "{code:?}");
    }

    #[test]
    fn refuses_an_edge_against_the_table() {
        assert_refused("src/engine/core.rs", "use crate::chat::Role;", "may not use `chat`");
        assert_refused("src/model/mod.rs", "fn f(_: crate::engine::Stats) {}", "`engine`");
        assert_refused("src/api/mod.rs", "use kernels::KernelTable;", "may not use `kernels`");
        assert_refused("src/limits.rs", "use crate::model::ModelConfig;", "may not use `model`");
        assert_refused("src/pipeline/a.rs", "use super::super::hub::Cache;", "not `super`");
        assert_refused("src/chat/mod.rs", "use super::engine::Engine;", "not `super`");
    }

    #[test]
    fn allows_an_edge_of_the_table() {
        assert_tidy("src/engine/core.rs", "use crate::engine::a::B;\nuse crate::model::CausalLm;");
        assert_tidy("src/chat/stop.rs", "use crate::limits::STOP_BYTES_MAX;\nuse super::Role;");
        assert_tidy("src/cli/serve.rs", "use crate::api::serve;");
        assert_tidy("src/main.rs", "fn main() { outcrop::cli::run() }");
        assert_tidy("src/ops/linear.rs", "/// Like `crate::engine::core`.\nuse kernels::Table;");
    }

    #[test]
    fn tests_may_use_what_the_table_gives_to_tests() {
        let test = "#[cfg(test)]\nmod tests {\n    use crate::model::ToyLm;\n}";
        assert_tidy("src/api/mod.rs", test);
        assert_refused("src/chat/mod.rs", test, "may not use `model`");
        assert_refused("src/api/mod.rs", "use crate::model::ToyLm;", "may not use `model`");
    }

    #[test]
    fn refuses_grouped_imports() {
        assert_refused("src/cli/mod.rs", "use crate::{api, hub};", "use crate::<module>");
        assert_refused("src/cli/mod.rs", "use crate as root;", "use crate::<module>");
    }

    #[test]
    fn refuses_long_files_and_lines() {
        assert_refused("src/chat/mod.rs", &"\n".repeat(599), "601 lines");
        assert_tidy("src/chat/mod.rs", &"\n".repeat(598));
        assert_refused("src/chat/mod.rs", &format!("// {}", "长".repeat(98)), "101 columns");
        assert_tidy("src/chat/mod.rs", &format!("// {}", "长".repeat(97)));
    }

    #[test]
    fn refuses_a_module_without_docs() {
        let source = Source::new("src/chat/mod.rs", "use std::fmt;\n", false);
        assert!(check(&source)[0].contains("no `//!`"), "{:?}", check(&source));
    }

    #[test]
    fn refuses_names_that_say_nothing() {
        assert_refused("src/chat/utils.rs", "", "says nothing");
        assert_refused("src/common/stop.rs", "", "says nothing");
    }

    #[test]
    fn refuses_code_put_to_sleep_but_not_prose() {
        assert_refused("src/chat/mod.rs", "// let x = 1;", "commented-out");
        assert_refused("src/chat/mod.rs", "fn f() {} // self.x();", "commented-out");
        assert_refused("src/chat/mod.rs", "// Later: TODO", "not done");
        assert_tidy("src/chat/mod.rs", "// for all blocks a slot is free;\n// it stays so.");
        assert_tidy("src/chat/mod.rs", "/// if x {\nconst X: &str = \"// let x = 1;\";");
    }

    #[test]
    fn refuses_unfinished_and_careless_code_outside_tests() {
        for banned in ["x.unwrap()", "todo!()", "unimplemented!()"] {
            let function = format!("fn f() {{ {banned} }}");
            assert_refused("src/chat/mod.rs", &function, banned.trim_matches(['x', ')']));
            assert_tidy("src/chat/mod.rs", &format!("#[cfg(test)]\nmod tests {{\n{function}\n}}"));
            assert_tidy("src/chat/mod.rs", &format!("#[test]\n{function}"));
        }
        assert_refused("src/chat/mod.rs", "#[test]\nfn f() { dbg!(1); }", "dbg!(");
        assert_refused("src/chat/mod.rs", "#[allow(dead_code)]\nfn f() {}", "expect");
        let after = "#[test]\nfn t() { x.unwrap(); }\nfn f() { x.unwrap(); }";
        assert_refused("src/chat/mod.rs", after, "mod.rs:4:");
    }

    #[test]
    fn literals_are_not_code() {
        let code = "const A: char = '\"';\nconst B: &str = r#\"x.unwrap() \" // \"#;\n\
                    const C: &[u8] = br\"todo!()\";\nfn f<'a>(_: &'a str) -> char { '\\'' }\n\
                    /* x.unwrap() /* nested */ todo!() */";
        assert_tidy("src/chat/mod.rs", code);
        assert_refused("src/chat/mod.rs", &format!("{code}\nfn g() {{ x.unwrap() }}"), "rs:7:");
    }

    #[test]
    fn keeps_unsafe_anyhow_and_the_environment_at_home() {
        let block = "fn f() { unsafe { g() } }";
        assert_refused("src/engine/core.rs", block, "`unsafe` lives in");
        assert_tidy("src/model/weights/mmap.rs", block);
        assert_tidy("crates/kernels/src/avx2.rs", block);
        assert_refused("src/hub/mod.rs", "use anyhow::Result;", "`anyhow` is for `cli`");
        assert_tidy("src/cli/chat.rs", "use anyhow::Result;");
        assert_refused("src/hub/mod.rs", "fn f() { std::env::var(\"X\"); }", "only `cli::args`");
        assert_tidy("src/cli/args.rs", "fn f() { std::env::var(\"X\"); }");
    }
}
