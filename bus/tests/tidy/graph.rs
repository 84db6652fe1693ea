//! Which file of a crate imports which, and the circles among them.
//!
//! A file stands for itself and for the modules in the folder of its name: they are one thing in several
//! parts. A path that a `mod.rs` or `lib.rs` re-exports leads to the file that defines it. Test modules
//! do not count.
//!
//! The graph misses one kind of use: a method called on a value whose type another file names.

use std::collections::{BTreeMap, BTreeSet};

/// The path of a module below `src`, by its names.
type Module = Vec<String>;

/// The files of one crate.
pub(crate) struct Graph {
    sources: BTreeMap<Module, String>,
    /// The names that a module re-exports, each with the path that it leads to.
    exports: BTreeMap<Module, BTreeMap<String, Module>>,
}

impl Graph {
    /// Of the sources below `prefix` (`bus/src/`), as pairs of path and text.
    pub(crate) fn of(prefix: &str, files: &[(String, String)]) -> Graph {
        let mut sources = BTreeMap::new();
        for (path, text) in files {
            let Some(rest) = path.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(".rs")) else {
                continue;
            };
            let mut module: Module = rest.split('/').map(str::to_owned).collect();
            if module.last().is_some_and(|last| last == "mod" || module.len() == 1 && last == "lib") {
                module.pop();
            }
            sources.insert(module, without_tests(text));
        }
        let mut exports = BTreeMap::new();
        for (module, text) in &sources {
            let mut names = BTreeMap::new();
            for statement in statements(text).filter(|statement| statement.is_public) {
                for path in statement.paths {
                    let name = path.last().cloned().unwrap_or_default();
                    names.extend(absolute(module, &path).map(|full| (name, full)));
                }
            }
            exports.insert(module.clone(), names);
        }
        Graph { sources, exports }
    }

    /// Files that import each other, directly or through others: each circle once, sorted.
    pub(crate) fn circles(&self) -> Vec<Vec<String>> {
        let edges = self.edges();
        let reach: BTreeMap<&String, BTreeSet<&String>> =
            edges.keys().map(|file| (file, reachable(&edges, file))).collect();
        let mut circles = BTreeSet::new();
        for (file, to) in &reach {
            let back = |other: &&String| {
                *other != *file && reach.get(*other).is_some_and(|from| from.contains(*file))
            };
            let mut circle: Vec<String> = to.iter().copied().filter(back).cloned().collect();
            if !circle.is_empty() {
                circle.push((*file).clone());
                circle.sort();
                circles.insert(circle);
            }
        }
        circles.into_iter().collect()
    }

    fn edges(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (module, text) in &self.sources {
            let from = self.file_of(module);
            for statement in statements(text).filter(|statement| !statement.is_public) {
                for path in statement.paths {
                    let Some(target) = absolute(module, &path).and_then(|full| self.resolve(&full, 0)) else {
                        continue;
                    };
                    let to = self.file_of(&target);
                    if to != from {
                        edges.entry(from.clone()).or_default().insert(to);
                    }
                }
            }
        }
        edges
    }

    /// The module in which a path ends.
    fn resolve(&self, path: &[String], depth: u32) -> Option<Module> {
        let module =
            (0..=path.len()).rev().map(|end| &path[..end]).find(|part| self.sources.contains_key(*part))?;
        let exported = path.get(module.len()).and_then(|name| self.exports.get(module)?.get(name));
        match exported {
            Some(elsewhere) if depth < 8 => self.resolve(elsewhere, depth + 1),
            _ => Some(module.to_vec()),
        }
    }

    /// The file that stands for a module: the outermost one that is not only a folder.
    fn file_of(&self, module: &Module) -> String {
        let is_folder = |part: &[String]| {
            self.sources
                .get(part)
                .is_none_or(|text| text.lines().any(|line| line.starts_with("pub") && line.contains(" mod ")))
        };
        let end = (1..module.len()).find(|end| !is_folder(&module[..*end])).unwrap_or(module.len());
        module[..end].join("/")
    }
}

fn reachable<'a>(edges: &'a BTreeMap<String, BTreeSet<String>>, from: &String) -> BTreeSet<&'a String> {
    let mut seen = BTreeSet::new();
    let mut next: Vec<&String> = edges.get(from).into_iter().flatten().collect();
    while let Some(file) = next.pop() {
        if seen.insert(file) {
            next.extend(edges.get(file).into_iter().flatten());
        }
    }
    seen
}

/// A `use` statement: the paths that it names.
struct Statement {
    is_public: bool,
    paths: Vec<Module>,
}

fn statements(text: &str) -> impl Iterator<Item = Statement> {
    let code: String =
        text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    let mut rest = code.as_str();
    while let Some(at) = rest.find("use ") {
        let begins = rest[..at].rsplit('\n').next().unwrap_or("").trim();
        let body = &rest[at + 4..];
        let end = body.find(';').unwrap_or(body.len());
        if begins.is_empty() || begins.starts_with("pub") {
            let paths = expand(&body[..end].split_whitespace().collect::<Vec<_>>().join(" "));
            found.push(Statement { is_public: !begins.is_empty(), paths });
        }
        rest = &body[end.min(body.len())..];
    }
    found.into_iter()
}

/// `a::{b, c as d}` is `a::b` and `a::c`.
fn expand(tree: &str) -> Vec<Module> {
    let Some(open) = tree.find('{') else {
        let path = tree.split(" as ").next().unwrap_or("").trim();
        return vec![
            path.split("::").filter(|part| *part != "self" && !part.is_empty()).map(str::to_owned).collect(),
        ];
    };
    let prefix = &tree[..open];
    let inner = tree[open + 1..].trim_end().trim_end_matches('}');
    let mut parts = vec![String::new()];
    let mut depth = 0;
    for letter in inner.chars() {
        depth += i32::from(letter == '{') - i32::from(letter == '}');
        match letter {
            ',' if depth == 0 => parts.push(String::new()),
            _ => parts.last_mut().expect("never empty").push(letter),
        }
    }
    let inner = parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty());
    inner.flat_map(|part| expand(&format!("{prefix}{part}"))).collect()
}

/// A path from the root of the crate; `None` for other crates.
fn absolute(module: &[String], path: &[String]) -> Option<Module> {
    match path.first()?.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "super" => {
            let ups = path.iter().take_while(|part| *part == "super").count();
            let base = module.len().checked_sub(ups)?;
            Some([&module[..base], &path[ups..]].concat())
        }
        first if first.starts_with("railbus") || ["std", "core", "libc", "nix"].contains(&first) => None,
        _ => Some([module, path].concat()),
    }
}

fn without_tests(text: &str) -> String {
    let mut code = text;
    for mark in ["#[cfg(test)]\nmod ", "#[cfg(test)]\npub(crate) mod "] {
        code = code.split(mark).next().unwrap_or(code);
    }
    code.to_owned()
}

#[test]
fn a_circle_is_found_and_a_line_is_none() {
    let file = |path: &str, text: &str| (format!("x/src/{path}.rs"), text.to_owned());
    let line = [file("a", "use crate::b::B;\n"), file("b", "use super::c::{C, D as E};\n"), file("c", "")];
    assert!(Graph::of("x/src/", &line).circles().is_empty());
    let circle = [&line[..2], &[file("c", "use std::fmt;\nuse crate::a;\n")]].concat();
    assert_eq!(Graph::of("x/src/", &circle).circles(), [["a", "b", "c"]]);
    // Through a re-export, and from a part of a file.
    let parts = [
        file("lib", "pub mod d;\npub use d::A;\n"),
        file("d/mod", "pub mod e;\npub use e::A;\n"),
        file("d/e", "mod part;\nuse crate::f::F;\n"),
        file("d/e/part", "// use crate::f;\n"),
        file("f", "use crate::d::A;\n"),
    ];
    assert_eq!(Graph::of("x/src/", &parts).circles(), [["d/e", "f"]]);
}
