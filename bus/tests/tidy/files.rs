//! Which files are checked.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All Rust sources of the project, as paths below its root.
pub(crate) fn rust_sources() -> Vec<String> {
    found("rs")
}

/// All documents but generated ones and licences.
pub(crate) fn documents() -> Vec<String> {
    found("md").into_iter().filter(|path| path != "docs/LAYOUT.md").collect()
}

pub(crate) fn text_of(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn found(extension: &str) -> Vec<String> {
    let mut paths = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root().join(&folder)).expect("a folder of the project").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = folder.join(&name);
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder && !is_left_out(&name) {
                folders.push(path);
            } else if !is_folder && path.extension().is_some_and(|found| found == extension) {
                paths.push(path.to_string_lossy().into_owned());
            }
        }
    }
    paths.sort();
    assert!(!paths.is_empty(), "no .{extension} file: has the layout of the project changed?");
    paths
}

/// Build output, virtual environments and version control.
fn is_left_out(folder: &str) -> bool {
    folder.starts_with('.') && folder != ".github"
        || ["target", "node_modules", "build", "dist", "__pycache__"].contains(&folder)
        || folder.ends_with(".egg-info")
}
