//! The code base stays readable for a stranger: a program checks what a reviewer would have to
//! repeat.
//!
//! - Columns: comments and documents are not wider than the code.
//! - Sentences: documents and module heads are short on average, and no sentence is very long.
//! - Words: the private idiom listed in `tidy/words.rs` does not appear.
//! - Functions and files have a maximum length.
//! - Names: no type is defined twice in a crate, and none shadows a trait of the standard library.
//! - Layers: no files of a crate import each other in a circle.
//! - Dependencies: no package is declared and unused.
//!
//! `tidy/exceptions.txt` lists everything that exceeds a limit today. A test fails if an exception
//! is no longer needed, so the list can only shrink.
//!
//! A pass does not prove that a sentence is true, or that a reader understands it.

#[path = "tidy/dependencies.rs"]
mod dependencies;
#[path = "tidy/exceptions.rs"]
mod exceptions;
#[path = "tidy/files.rs"]
mod files;
#[path = "tidy/graph.rs"]
mod graph;
#[path = "tidy/prose.rs"]
mod prose;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/words.rs"]
mod words;

use std::collections::BTreeMap;

use exceptions::judge;
use files::{documents, rust_sources, text_of};

/// As wide as rustfmt lets the code be.
const COLUMNS_MAX: usize = 110;
/// Words of a sentence of a document or a file's comments, on average.
const MEAN_WORDS_MAX: f64 = 22.0;
/// Words of any one sentence.
const SENTENCE_WORDS_MAX: usize = 45;
const FUNCTION_LINES_MAX: usize = 80;
const FILE_LINES_MAX: usize = 600;

#[test]
fn comments_and_documents_are_no_wider_than_the_code() {
    let mut wide = BTreeMap::new();
    for path in rust_sources().into_iter().chain(documents()) {
        let text = text_of(&path);
        let is_document = path.ends_with(".md");
        let count = text
            .lines()
            .filter(|line| line.chars().count() > COLUMNS_MAX)
            .filter(|line| if is_document { prose::is_wrapped(line) } else { source::is_comment(line) })
            .count();
        wide.insert(path, count);
    }
    judge("columns", "lines wider than 110 columns", &wide);
}

#[test]
fn documents_have_short_sentences() {
    let mut long = BTreeMap::new();
    for path in documents() {
        let sentences = prose::of_markdown(&text_of(&path));
        long.insert(path, prose::too_long(&sentences, MEAN_WORDS_MAX, SENTENCE_WORDS_MAX));
    }
    judge("document-sentences", "sentences over 45 words, or a mean over 22", &long);
}

#[test]
fn comments_have_short_sentences() {
    let mut long = BTreeMap::new();
    for path in rust_sources() {
        let sentences = prose::of_comments(&text_of(&path));
        // The mean of a few sentences says little.
        let mean_max = if sentences.len() < 12 { f64::INFINITY } else { MEAN_WORDS_MAX };
        long.insert(path, prose::too_long(&sentences, mean_max, SENTENCE_WORDS_MAX));
    }
    judge("comment-sentences", "sentences over 45 words, or a mean over 22", &long);
}

#[test]
fn the_private_idiom_does_not_come_back() {
    let mut found = BTreeMap::new();
    for path in documents() {
        let count = words::count(&prose::of_markdown(&text_of(&path)));
        found.insert(path, count);
    }
    for path in rust_sources() {
        let count = words::count(&prose::of_comments(&text_of(&path)));
        found.insert(path, count);
    }
    judge("words", "words or fragments of tidy/words.rs", &found);
}

#[test]
fn functions_have_at_most_80_lines() {
    let mut long = BTreeMap::new();
    for path in rust_sources() {
        for (name, lines) in source::functions(&path, &text_of(&path)) {
            if lines > FUNCTION_LINES_MAX {
                long.insert(format!("{path}::{name}"), lines);
            }
        }
    }
    judge("function-lines", "lines of a function, at most 80", &long);
}

#[test]
fn files_have_at_most_600_lines() {
    let mut long = BTreeMap::new();
    for path in rust_sources() {
        let lines = text_of(&path).lines().count();
        if lines > FILE_LINES_MAX {
            long.insert(path, lines);
        }
    }
    judge("file-lines", "lines of a file, at most 600", &long);
}

#[test]
fn a_type_name_has_one_meaning_in_a_crate() {
    let mut defined: BTreeMap<String, usize> = BTreeMap::new();
    for path in rust_sources().into_iter().filter(|path| path.contains("/src/")) {
        let package = path.split("/src/").next().unwrap_or_default();
        for name in source::type_names(&path, &text_of(&path)) {
            let shadows =
                ["From", "Into", "Sync", "Write", "Read", "Send", "Iterator", "Drop"].contains(&&*name);
            *defined.entry(format!("{package}::{name}")).or_default() += if shadows { 2 } else { 1 };
        }
    }
    defined.retain(|_, times| *times > 1);
    judge("type-names", "definitions of one type name, or a name of the standard library", &defined);
}

/// The source folders of all crates.
const CRATES: [&str; 6] = ["bus/os", "bus/ring", "bus/log", "bus", "ffi", "tools"];

#[test]
fn no_files_import_each_other_in_a_circle() {
    let files: Vec<(String, String)> =
        rust_sources().into_iter().map(|path| (path.clone(), text_of(&path))).collect();
    for package in CRATES {
        let circles = graph::Graph::of(&format!("{package}/src/"), &files).circles();
        assert!(circles.is_empty(), "files of {package}/src import each other in a circle: {circles:?}");
    }
}

#[test]
fn every_declared_package_is_used() {
    let files: Vec<(String, String)> =
        rust_sources().into_iter().map(|path| (path.clone(), text_of(&path))).collect();
    for package in CRATES.into_iter().chain(["loom-tests", "benches"]) {
        let unused = dependencies::unused(package, &text_of(&format!("{package}/Cargo.toml")), &files);
        assert!(unused.is_empty(), "{package}/Cargo.toml declares packages that nothing uses: {unused:?}");
    }
    let workspace = text_of("Cargo.toml");
    let manifests: String = CRATES
        .iter()
        .chain(["loom-tests", "benches"].iter())
        .map(|one| text_of(&format!("{one}/Cargo.toml")))
        .collect();
    let unused: Vec<String> = dependencies::declared(&workspace, "[workspace.dependencies]")
        .into_iter()
        .filter(|name| !dependencies::declares(&manifests, name))
        .collect();
    assert!(unused.is_empty(), "Cargo.toml has packages for the workspace that no member uses: {unused:?}");
}
