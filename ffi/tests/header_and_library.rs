//! The parts for a C programmer: a header that every compiler takes, a library with exactly the
//! functions of the header, and an installation that programs find.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use support::{STRICT, root, run, scratch};

/// The functions that the header declares.
fn declared() -> Vec<String> {
    let header =
        std::fs::read_to_string(root().join("ffi/include/railbus.h")).expect("the header is committed");
    let is_declaration =
        |line: &&str| line.contains("railbus_") && line.contains('(') && !line.starts_with(['#', ' ']);
    let declarations =
        header.lines().filter(is_declaration).filter(|line| !line.starts_with("RAILBUS_ASSERT"));
    let name = |line: &str| {
        let before = line.split('(').next().unwrap_or_default();
        before.rsplit([' ', '*']).next().unwrap_or_default().to_owned()
    };
    let mut names: Vec<String> = declarations.map(name).collect();
    names.sort();
    names
}

/// The functions of the library whose names begin with `railbus_`, as `nm` lists them.
fn defined(library: &Path, flags: &[&str]) -> Vec<String> {
    let told = run(Command::new("nm").args(flags).args(["--defined-only", "--format=posix"]).arg(library));
    let names = told.lines().filter_map(|line| line.split_once(" T ")).map(|(name, _)| name.to_owned());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn the_functions_are_those_of_the_golden_list() {
    let golden =
        std::fs::read_to_string(root().join("ffi/tests/symbols.txt")).expect("the list is committed");
    let golden: Vec<&str> = golden.lines().collect();
    assert_eq!(
        declared(),
        golden,
        "a function came or went: is that meant? then change ffi/tests/symbols.txt, too"
    );
    assert!(golden.len() <= 120, "{} functions are too many", golden.len());
    let library = support::library();
    // The shared library offers nothing else to the programs that load it.
    assert_eq!(defined(&library.join("librailbus.so"), &["--dynamic"]), golden);
    let mut in_archive = defined(&library.join("librailbus.a"), &[]);
    in_archive.retain(|name| name.starts_with("railbus_"));
    assert_eq!(in_archive, golden);
}

#[test]
fn the_header_is_clean_c99_and_later_and_clean_cpp17() {
    let program = scratch("header.c");
    let text = "#include <railbus.h>\n#include <railbus.h>\n\
        int main(void) {\n    railbus_bus_options a = RAILBUS_BUS_OPTIONS_INIT;\n    railbus_channel_options b = \
        RAILBUS_CHANNEL_OPTIONS_INIT;\n    railbus_sender_options c = RAILBUS_SENDER_OPTIONS_INIT;\n    \
        railbus_reader_options d = RAILBUS_READER_OPTIONS_INIT;\n    railbus_worker_options e = \
        RAILBUS_WORKER_OPTIONS_INIT;\n    railbus_attributes f = RAILBUS_ATTRIBUTES_INIT;\n    railbus_strided g = \
        RAILBUS_STRIDED_INIT;\n    railbus_channel_info h = RAILBUS_CHANNEL_INFO_INIT;\n    (void)a, (void)b, (void)c, \
        (void)d, (void)e, (void)f, (void)g, (void)h;\n    return RAILBUS_OK;\n}\n";
    std::fs::write(&program, text).expect("scratch can be written");
    for (language, standards) in [("c", ["c99", "c11", "c17"]), ("c++", ["c++17", "c++20", "gnu++20"])] {
        let compiler = if language == "c" { "cc" } else { "c++" };
        if Command::new(compiler).arg("--version").output().is_err() {
            println!("SKIPPED: {language}, because there is no {compiler} and it could not be installed");
            continue;
        }
        for standard in standards {
            let mut command = Command::new(compiler);
            command.args(STRICT).args(["-Wconversion", "-Wshadow", "-fsyntax-only", "-x", language]);
            command.arg(format!("-std={standard}")).arg("-I").arg(root().join("ffi/include")).arg(&program);
            run(&mut command);
        }
    }
}

#[test]
fn the_shared_library_has_a_versioned_name() {
    let expected = match (env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR")) {
        ("0", minor) => format!("librailbus.so.0.{minor}"),
        (major, _) => format!("librailbus.so.{major}"),
    };
    assert_eq!(support::soname(&support::library().join("librailbus.so")), expected);
}

#[test]
fn make_install_puts_library_header_and_pkg_config_file_in_place() {
    if Command::new("pkg-config").arg("--version").output().is_err() {
        println!("SKIPPED: there is no pkg-config and it could not be installed");
        return;
    }
    support::library();
    let prefix = tempfile::tempdir().expect("there is a place for temporary files");
    let is_release = support::artifacts().ends_with("release");
    let mut make = Command::new("make");
    make.current_dir(root()).args(["--silent", "install-library"]).arg(format!("CARGO={}", env!("CARGO")));
    make.arg(format!("PREFIX={}", prefix.path().display()));
    make.arg(format!("PROFILE={}", if is_release { "release" } else { "debug" }));
    run(&mut make);

    let library = prefix.path().join("lib");
    let version = env!("CARGO_PKG_VERSION");
    let whole = format!("librailbus.so.{version}");
    assert_eq!(std::fs::read_link(library.join("librailbus.so")).expect("a link"), PathBuf::from(&whole));
    let soname = support::soname(&library.join(&whole));
    assert_eq!(std::fs::read_link(library.join(soname)).expect("a link"), PathBuf::from(&whole));

    let config = |args: &[&str]| {
        let mut command = Command::new("pkg-config");
        command.env("PKG_CONFIG_PATH", library.join("pkgconfig")).args(args);
        run(&mut command).split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(config(&["--modversion", "railbus", "railbus-static"]), [version, version]);
    let example = root().join("bindings/c/examples/worker.c");
    for package in ["railbus", "railbus-static"] {
        let base = support::base();
        let program = base.path().join("program");
        let mut compiler = Command::new("cc");
        compiler.arg("-std=c99").args(STRICT).args(config(&["--cflags", package])).arg(&example);
        compiler.arg("-o").arg(&program).args(config(&["--libs", package]));
        run(&mut compiler);
        let mut worker = Command::new(&program);
        worker.args(["bus", "jobs", "one"]).env("RAILBUS_DIR", base.path().join("buses"));
        if package == "railbus" {
            worker.env("LD_LIBRARY_PATH", &library);
        }
        // Buses must be on tmpfs, and are here: the base directory is in /dev/shm.
        assert_eq!(run(&mut worker), "done one (attempt 1)\n");
    }
}
