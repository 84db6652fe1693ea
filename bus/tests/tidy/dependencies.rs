//! Packages that a manifest declares and no source uses.

/// The names that a table of a manifest declares.
pub(crate) fn declared(manifest: &str, table: &str) -> Vec<String> {
    let lines = manifest.lines().skip_while(|line| line.trim() != table).skip(1);
    let own = lines.take_while(|line| !line.starts_with('['));
    let names =
        own.filter(|line| !line.starts_with('#')).filter_map(|line| line.split(['=', '.', ' ']).next());
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Whether one of these manifests declares the package.
pub(crate) fn declares(manifests: &str, name: &str) -> bool {
    manifests
        .lines()
        .any(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['.', ' ', '='])))
}

/// Packages that no source names. `proc-macro2` is declared for its feature, which gives the tests of this
/// folder the lines of what `syn` parses.
const DECLARED_FOR_A_FEATURE: [&str; 1] = ["proc-macro2"];

/// Sources outside the folder of a package that it compiles: the conformance program of Rust.
const ELSEWHERE: [(&str, &str); 1] = [("ffi", "conformance/rust")];

/// The dependencies of a package's manifest that none of its Rust files names.
pub(crate) fn unused(package: &str, manifest: &str, files: &[(String, String)]) -> Vec<String> {
    let is_below =
        |path: &str, folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    let is_own = |path: &str| {
        is_below(path, package)
            || ELSEWHERE.iter().any(|&(of, folder)| of == package && is_below(path, folder))
    };
    let own: Vec<&String> = files.iter().filter(|(path, _)| is_own(path)).map(|(_, text)| text).collect();
    let tables = ["[dependencies]", "[dev-dependencies]", "[build-dependencies]"];
    let names = tables.iter().flat_map(|table| declared(manifest, table));
    let names = names.filter(|name| !DECLARED_FOR_A_FEATURE.contains(&&**name));
    names.filter(|name| !own.iter().any(|text| names_crate(text, &name.replace('-', "_")))).collect()
}

fn names_crate(text: &str, name: &str) -> bool {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = &text[at + name.len()..];
        !before.is_some_and(is_word)
            && (after.starts_with("::") || after.starts_with([';', ' ', '!', ',', '}']))
    })
}

#[test]
fn what_is_declared_and_not_named_is_found() {
    let manifest = "[dependencies]\na-b.workspace = true\nc = \"1\"\n# d = 1\n[dev-dependencies]\ne = { version = \"1\" }\n";
    let files = [
        ("x/src/lib.rs".to_owned(), "use a_b::T;\n".to_owned()),
        ("y/src/lib.rs".to_owned(), "use c::D;".to_owned()),
    ];
    assert_eq!(unused("x", manifest, &files), ["c", "e"]);
    assert!(declares(manifest, "c") && !declares(manifest, "d"));
}
