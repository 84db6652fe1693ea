//! The public API of `railbus`, as `bus/public-api.txt` lists it: one item a line.
//!
//! A change of the API changes that file, so that a reviewer sees it. The list has what a user of
//! the crate can name: the items of `railbus`, and those types of the inner crates that it
//! re-exports or that a signature mentions. It leaves out derived, automatic and blanket
//! implementations, and what is hidden from the documentation.
//!
//! rustdoc writes the API as JSON, which `public-api` renders. The format of that JSON is tied to
//! the compiler. With a compiler that writes another format, the test reports that and passes.
//!
//! `make api` (`RAILBUS_WRITE_API=1 cargo test --package railbus --test api`) writes the list again.
//!
//! A pass does not prove that the items behave as before.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The format of rustdoc's JSON that this version of `public-api` reads: that of Rust 1.95.
const FORMAT: &str = "\"format_version\":57";

/// The crates whose types `railbus` re-exports.
const INNER: [&str; 3] = ["railbus_log", "railbus_os", "railbus_ring"];

#[test]
fn the_public_api_is_the_one_that_was_written_down() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let documentation = document(&root);
    let json = |name: &str| documentation.join(format!("{name}.json"));
    let text = std::fs::read_to_string(json("railbus")).expect("what rustdoc wrote");
    if !text.contains(FORMAT) {
        eprintln!("SKIPPED: this compiler's rustdoc does not write {FORMAT}, the format of Rust 1.95");
        return;
    }
    let mut items = items_of(&json("railbus"));
    let mentioned: Vec<String> = INNER.iter().flat_map(|name| items_of(&json(name))).collect();
    items.extend(reachable(&items, &mentioned));
    let found = items.join("\n") + "\n";
    let file = root.join("bus/public-api.txt");
    if std::env::var_os("RAILBUS_WRITE_API").is_some() {
        std::fs::write(&file, found).expect("bus/public-api.txt");
        return;
    }
    let written = std::fs::read_to_string(&file).expect("bus/public-api.txt");
    let difference = difference(&written, &found);
    assert!(
        difference.is_empty() && written == found,
        "the public API differs from bus/public-api.txt. If that is meant, run `make api`, and say in CHANGELOG \
         what a user must do.\n{}",
        difference.join("\n")
    );
}

/// Lets rustdoc write the JSON of `railbus` and the inner crates. Returns the directory that has it.
/// It has a target directory of its own. The variable that lets a stable compiler write JSON would
/// make cargo build everything else again.
fn document(root: &Path) -> PathBuf {
    let target = root.join("target/api");
    let output = Command::new(env!("CARGO"))
        .current_dir(root)
        .args(["doc", "--quiet", "--frozen", "--no-deps", "--package", "railbus", "--target-dir"])
        .arg(&target)
        .args(INNER.iter().flat_map(|name| ["--package".into(), name.replace('_', "-")]))
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTDOCFLAGS", "-Z unstable-options --output-format json")
        .env_remove("RUSTFLAGS")
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    target.join("doc")
}

/// The items in one crate's JSON, one a line, in the order of their paths. Blocks of methods are left
/// out, because their number and order mean nothing to a user.
fn items_of(json: &Path) -> Vec<String> {
    let api = public_api::Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()
        .unwrap_or_else(|error| panic!("{}: {error}", json.display()));
    let is_block = |item: &str| item.starts_with("impl") && !item.contains(" for ");
    let items: Vec<String> = api.items().map(ToString::to_string).filter(|item| !is_block(item)).collect();
    sorted(items)
}

/// Sorts items by their paths, and leaves out those that come twice.
fn sorted(mut items: Vec<String>) -> Vec<String> {
    items.sort_by_cached_key(|item| (item[item.find("railbus").unwrap_or(0)..].to_owned(), item.clone()));
    items.dedup();
    items
}

/// Those of `candidates` that belong to a type which `items` mention, or which another such item
/// mentions.
fn reachable(items: &[String], candidates: &[String]) -> Vec<String> {
    let mut named: BTreeSet<&str> = items.iter().flat_map(|item| inner_paths(item)).collect();
    loop {
        let found: Vec<&String> = candidates.iter().filter(|item| belongs(item, &named)).collect();
        let before = named.len();
        named.extend(found.iter().flat_map(|item| inner_paths(item)));
        if named.len() == before {
            return found.into_iter().cloned().collect();
        }
    }
}

/// Whether the first path of an inner crate in `item` is one of those `named`, or lies in one.
fn belongs(item: &str, named: &BTreeSet<&str>) -> bool {
    let Some(path) = inner_paths(item).next() else { return false };
    let ends = path.match_indices("::").map(|(at, _)| at).chain([path.len()]);
    ends.map(|end| &path[..end]).any(|path| named.contains(path))
}

/// The paths into the inner crates in the text of an item.
fn inner_paths(item: &str) -> impl Iterator<Item = &str> {
    item.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
        .map(|path| path.trim_end_matches(':'))
        .filter(|path| {
            INNER.iter().any(|name| path.strip_prefix(name).is_some_and(|rest| rest.starts_with("::")))
        })
}

/// The lines that only one of two texts has, as a patch shows them.
fn difference(before: &str, after: &str) -> Vec<String> {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let (before, after) = (lines(before), lines(after));
    let gone = before.difference(&after).map(|line| format!("- {line}"));
    gone.chain(after.difference(&before).map(|line| format!("+ {line}"))).collect()
}
