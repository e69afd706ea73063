//! Holds `deny.toml` against the locked dependencies: licences, banned crates, sources.
//!
//! The same file drives `cargo deny`; this test needs nothing but Cargo, so that no one lands a
//! dependency unseen because a tool was not installed.

use std::collections::HashMap;
use std::process::Command;

use serde::Deserialize;

#[derive(Deserialize)]
struct Policy {
    graph: Graph,
    licenses: Licenses,
    bans: Bans,
}

#[derive(Deserialize)]
struct Graph {
    targets: Vec<String>,
}

#[derive(Deserialize)]
struct Licenses {
    allow: Vec<String>,
    exceptions: Vec<Exception>,
}

#[derive(Deserialize)]
struct Exception {
    #[serde(rename = "crate")]
    name: String,
    allow: Vec<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    /// `None` for the packages of this workspace.
    source: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    dependencies: Vec<String>,
}

#[test]
fn every_dependency_is_allowed() {
    let policy: Policy = toml::from_str(include_str!("../deny.toml")).expect("deny.toml parses");
    let metadata = locked_dependencies(&policy.graph.targets);
    assert!(metadata.packages.len() > 100, "{} packages are too few", metadata.packages.len());

    let findings = findings(&policy, &metadata);
    assert!(findings.is_empty(), "{} findings:\n  {}", findings.len(), findings.join("\n  "));
}

fn locked_dependencies(targets: &[String]) -> Metadata {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version", "1", "--locked", "--manifest-path"]);
    cargo.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
    for target in targets {
        cargo.args(["--filter-platform", target]);
    }
    let output = cargo.output().expect("cargo runs, since it runs this test");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata failed:\n{errors}");
    serde_json::from_slice(&output.stdout).expect("cargo metadata prints its documented JSON")
}

fn findings(policy: &Policy, metadata: &Metadata) -> Vec<String> {
    let names: HashMap<&str, &str> =
        metadata.packages.iter().map(|p| (p.id.as_str(), p.name.as_str())).collect();
    // One registry, whichever it is; no Git repository and no second registry.
    let sources = || metadata.packages.iter().filter_map(|package| package.source.as_ref());
    let registry = sources().find(|it| it.starts_with("registry+") || it.starts_with("sparse+"));
    let mut findings = Vec::new();
    for package in &metadata.packages {
        let Some(source) = &package.source else { continue };
        let label = format!("{} {}", package.name, package.version);

        if Some(source) != registry {
            findings.push(format!("{label}: source `{source}` is not the registry of the others"));
        }
        let license = package.license.as_deref().unwrap_or("");
        let exceptions = policy.licenses.exceptions.iter().filter(|e| e.name == package.name);
        let extra: Vec<&String> = exceptions.flat_map(|exception| &exception.allow).collect();
        let is_allowed = |name: &str| {
            policy.licenses.allow.iter().chain(extra.iter().copied()).any(|a| a == name)
        };
        if !satisfies(license, is_allowed) {
            findings.push(format!("{label}: licence `{license}` is not in licenses.allow"));
        }
        if policy.bans.deny.iter().any(|ban| ban.name == package.name) {
            let users =
                metadata.resolve.nodes.iter().filter(|n| n.dependencies.contains(&package.id));
            for user in users.map(|node| names[node.id.as_str()]) {
                findings.push(format!("{label}: banned by bans.deny, but `{user}` depends on it"));
            }
        }
    }
    findings
}

/// Whether the licences of an SPDX expression that must be accepted together can be; `/` is the
/// old spelling of `OR`. No licence at all satisfies nothing.
fn satisfies(expression: &str, is_allowed: impl Fn(&str) -> bool) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser { words: &words, at: 0, is_allowed: &is_allowed };
    let satisfied = parser.any();
    satisfied && parser.at == words.len()
}

struct Parser<'a> {
    words: &'a [&'a str],
    at: usize,
    is_allowed: &'a dyn Fn(&str) -> bool,
}

impl Parser<'_> {
    fn takes(&mut self, word: &str) -> bool {
        let is_next = self.words.get(self.at) == Some(&word);
        self.at += usize::from(is_next);
        is_next
    }

    fn any(&mut self) -> bool {
        let mut satisfied = self.all();
        while self.takes("OR") {
            satisfied |= self.all();
        }
        satisfied
    }

    fn all(&mut self) -> bool {
        let mut satisfied = self.one();
        while self.takes("AND") {
            satisfied &= self.one();
        }
        satisfied
    }

    fn one(&mut self) -> bool {
        if self.takes("(") {
            let satisfied = self.any();
            return self.takes(")") && satisfied;
        }
        let Some(name) = self.words.get(self.at) else { return false };
        self.at += 1;
        if self.takes("WITH") {
            let exception = self.words.get(self.at).copied().unwrap_or_default();
            self.at += 1;
            return (self.is_allowed)(&format!("{name} WITH {exception}"));
        }
        (self.is_allowed)(name)
    }
}

#[test]
fn licence_expressions_are_read_as_spdx() {
    let is_allowed = |name: &str| ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].contains(&name);
    for allowed in ["MIT", "MIT OR GPL-3.0", "GPL-3.0/MIT", "MIT AND (GPL-3.0 OR ISC)"] {
        assert!(satisfies(allowed, is_allowed), "{allowed}");
    }
    assert!(satisfies("Apache-2.0 WITH LLVM-exception", is_allowed));
    for refused in ["", "GPL-3.0", "MIT AND GPL-3.0", "Apache-2.0", "(MIT", "MIT ISC"] {
        assert!(!satisfies(refused, is_allowed), "{refused}");
    }
}

#[test]
fn a_foreign_licence_source_or_crate_is_found() {
    let policy: Policy = toml::from_str(include_str!("../deny.toml")).expect("deny.toml parses");
    let package = |name: &str, license: &str, source: &str| Package {
        id: name.to_owned(),
        name: name.to_owned(),
        version: "1.0.0".to_owned(),
        license: Some(license.to_owned()),
        source: Some(source.to_owned()),
    };
    let registry = "registry+https://example.com/index";
    let node = Node { id: "user".to_owned(), dependencies: vec!["openssl-sys".to_owned()] };
    let metadata = Metadata {
        packages: vec![
            package("user", "MIT", registry),
            package("copyleft", "GPL-3.0-only", registry),
            package("fork", "MIT", "git+https://example.com/fork"),
            package("openssl-sys", "MIT", registry),
        ],
        resolve: Resolve { nodes: vec![node] },
    };
    let findings = findings(&policy, &metadata);
    assert_eq!(findings.len(), 3, "{findings:?}");
    assert!(findings[0].contains("copyleft 1.0.0: licence `GPL-3.0-only`"), "{findings:?}");
    assert!(findings[1].contains("fork 1.0.0: source `git+"), "{findings:?}");
    assert!(findings[2].contains("openssl-sys 1.0.0: banned"), "{findings:?}");
}
