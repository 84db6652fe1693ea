//! Building the library and C programs against it.
//!
//! The library is not a dependency that cargo could build for an integration test (it is no rlib),
//! so this code runs cargo; nothing is left to do after a `cargo build`.

#![allow(dead_code)]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The directory of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("ffi is in the workspace").to_owned()
}

/// Where this build's artifacts are: `target/debug` or `target/release`.
pub(crate) fn artifacts() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its path");
    test.parent().and_then(Path::parent).expect("tests are in target/PROFILE/deps").to_owned()
}

/// The directory that has `librailbus.a` and `librailbus.so`, fresh.
pub(crate) fn library() -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--lib", "--package", "railbus-ffi"]).current_dir(root());
        if artifacts().ends_with("release") {
            cargo.arg("--release");
        }
        run(&mut cargo);
    });
    artifacts()
}

/// Flags under which all C and C++ must compile.
pub(crate) const STRICT: [&str; 4] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"];

/// How a C program is linked to the library.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Linked {
    /// The library is inside.
    Statically,
    /// It is found where it was built.
    Dynamically,
}

/// Compiles C sources to `program`, with more flags, and returns it.
pub(crate) fn compile(sources: &[PathBuf], program: &Path, flags: &[&str], linked: Linked) -> PathBuf {
    let library = library();
    let unfinished = program.with_extension(format!("{}.new", std::process::id()));
    let mut compiler = Command::new("cc");
    compiler.args(["-std=c99", "-g", "-O1"]).args(STRICT).args(flags);
    compiler.arg("-I").arg(root().join("ffi/include")).args(sources).arg("-o").arg(&unfinished);
    match linked {
        Linked::Statically => compiler.arg(library.join("librailbus.a")).args(["-lpthread", "-ldl", "-lm"]),
        Linked::Dynamically => {
            // The name inside the library is versioned; a link beside it replaces the installation.
            let versioned = library.join(soname(&library.join("librailbus.so")));
            if !versioned.exists() {
                // Another test may have made it already.
                let _ = std::os::unix::fs::symlink("librailbus.so", &versioned);
            }
            compiler.arg("-L").arg(&library).arg("-lrailbus").arg(format!("-Wl,-rpath,{}", library.display()))
        }
    };
    run(&mut compiler);
    std::fs::rename(&unfinished, program).expect("the program can be put in its place");
    program.to_owned()
}

/// The name by which programs find a shared library.
pub(crate) fn soname(library: &Path) -> String {
    let told = run(Command::new("objdump").arg("-p").arg(library));
    let name = told.lines().find_map(|line| line.trim().strip_prefix("SONAME"));
    name.expect("the library has a soname").trim().to_owned()
}

/// The C sources of a directory of the project.
pub(crate) fn sources(directory: &str) -> Vec<PathBuf> {
    let directory = root().join(directory);
    let files = std::fs::read_dir(&directory).expect("the directory is there").flatten();
    let mut sources: Vec<PathBuf> = files.map(|file| file.path()).collect();
    sources.retain(|path| path.extension() == Some(OsStr::new("c")));
    sources.sort();
    sources
}

/// Runs a command that must succeed, and returns what it printed.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    out.into_owned()
}

/// Where tests put their builds.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("railbus-ffi");
    std::fs::create_dir_all(&directory).expect("the scratch directory can be made");
    directory.join(name)
}

/// A directory of buses, removed when it is dropped.
pub(crate) fn base() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").expect("/dev/shm can be written")
}
