//! The files that are shipped for systemd: the units, and the directories that tmpfiles makes. The
//! daemon is run as its unit requires, with the capabilities that the unit leaves it, by a
//! substitute for systemd.
//!
//! A pass does not prove the sandbox of the unit (`ProtectSystem=` and similar settings), which
//! only systemd sets up.

mod program;

use program::{Base, Running, eventually};
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A user who has no rights here.
const NOBODY: u32 = 65534;
/// The capabilities that the unit may name, by number.
const CAPABILITIES: [(&str, u32); 6] = [
    ("CAP_CHOWN", 0),
    ("CAP_DAC_OVERRIDE", 1),
    ("CAP_FOWNER", 3),
    ("CAP_SETGID", 6),
    ("CAP_SETUID", 7),
    ("CAP_SYS_PTRACE", 19),
];

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dist").join(name)
}

/// The settings of the service, each with its last value.
fn service() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(shipped("railbus-journald.service")).expect("it is shipped");
    let settings = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
    settings.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Runs a tool of systemd, which must succeed without a word; `false` if there is none.
fn accepts(tool: &str, arguments: &[&std::ffi::OsStr]) -> bool {
    let Ok(output) = Command::new(tool).args(arguments).output() else {
        println!("skipped: there is no {tool}");
        return false;
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.is_empty(), "{tool}: {}: {said}", output.status);
    true
}

#[test]
fn systemd_accepts_the_units_and_the_directories() {
    let place = tempfile::tempdir().expect("a directory");
    let unit = std::fs::read_to_string(shipped("railbus-journald.service")).expect("it is shipped");
    let unit = unit.replace("/usr/local/bin/railbus", env!("CARGO_BIN_EXE_railbus"));
    let (service, target) =
        (place.path().join("railbus-journald.service"), place.path().join("railbus.target"));
    std::fs::write(&service, unit).expect("a file");
    std::fs::copy(shipped("railbus.target"), &target).expect("a file");
    accepts("systemd-analyze", &["verify".as_ref(), "--man=no".as_ref(), service.as_ref(), target.as_ref()]);

    let root = place.path().join("root");
    std::fs::create_dir(&root).expect("a directory");
    let in_root = format!("--root={}", root.display());
    let lines = shipped("railbus.tmpfiles.conf");
    let is_root = nix::unistd::geteuid().is_root();
    if is_root && accepts("systemd-tmpfiles", &["--create".as_ref(), in_root.as_ref(), lines.as_ref()]) {
        let mode = |path: &str| std::fs::metadata(root.join(path)).expect("it was made").mode() & 0o7777;
        assert_eq!((mode("dev/shm/railbus"), mode("var/lib/railbus/journal")), (0o1777, 0o750));
    }
}

/// Does for the daemon, before it starts, all that the unit requires and that needs no systemd.
fn confine(command: &mut Command, service: &BTreeMap<String, String>) {
    let left = &service["CapabilityBoundingSet"];
    let number =
        |name: &str| CAPABILITIES.iter().find(|known| known.0 == name).expect("a known capability").1;
    let left: Vec<u32> = left.split_whitespace().map(number).collect();
    assert_eq!(service["NoNewPrivileges"], "yes");
    let descriptors = service["LimitNOFILE"].parse().expect("a number");
    let confined = move || {
        for capability in (0..64).filter(|capability| !left.contains(capability)) {
            // SAFETY: takes integers only. The kernel knows fewer capabilities and refuses others.
            unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0) };
        }
        // SAFETY: takes integers only.
        unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        let limit = libc::rlimit { rlim_cur: descriptors, rlim_max: descriptors };
        // SAFETY: a valid structure. A limit that may not be raised stays.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
        Ok(())
    };
    // SAFETY: the closure makes system calls only.
    unsafe { command.pre_exec(confined) };
}

/// The daemon as the unit starts it, and the socket on which it reports its state to systemd.
struct Unit {
    daemon: Running,
    socket: UnixDatagram,
}

impl Unit {
    /// Starts it, and waits until it is ready.
    fn start(base: &Base, place: &Path) -> Unit {
        let service = service();
        let config = place.join("journald.toml");
        let words: Vec<&str> = service["ExecStart"].split_whitespace().collect();
        assert_eq!(words[..2], ["/usr/local/bin/railbus", "journald"]);
        assert_eq!(words[2..], ["--config", "/etc/railbus/journald.toml"]);
        assert_eq!(service["Environment"], "RAILBUS_DIR=/dev/shm/railbus");
        let text = format!("journal = \"{}\"\nchannels = [\"*/*\"]\n", place.join("journal").display());
        std::fs::write(&config, text).expect("a file");
        let path = place.join("notify");
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        let mut command = base.command(&format!("journald --config {}", config.display()));
        command.env("NOTIFY_SOCKET", &path).stdout(Stdio::piped()).stderr(Stdio::piped());
        confine(&mut command, &service);
        let unit = Unit { daemon: base.spawn(&mut command), socket };
        unit.hear("READY=1");
        unit
    }

    fn hear(&self, word: &str) {
        let mut bytes = [0; 4096];
        loop {
            let read =
                self.socket.recv(&mut bytes).unwrap_or_else(|error| panic!("never told {word}: {error}"));
            if String::from_utf8_lossy(&bytes[..read]).lines().any(|line| line.starts_with(word)) {
                return;
            }
        }
    }

    /// Ends it as systemd does.
    fn stop(mut self) {
        self.daemon.signal(libc::SIGTERM);
        self.hear("STOPPING=1");
        let (status, said) = self.daemon.end();
        assert!(status.success(), "{status}: {said}");
    }
}

/// A command of another user, who may run the program; `None` if he cannot.
fn as_nobody(base: &Base, line: &str) -> Option<Command> {
    let of_nobody = |line: &str| {
        let mut command = base.command(line);
        command.uid(NOBODY).gid(NOBODY);
        command
    };
    let can_run = of_nobody("--version").output().is_ok_and(|output| output.status.success());
    if !can_run {
        println!("skipped: another user cannot run the program in the target directory");
    }
    can_run.then(|| of_nobody(line))
}

#[test]
fn the_daemon_records_and_makes_again_other_users_channels_with_the_rights_of_its_unit() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root can act for two users");
        return;
    }
    let (base, place) =
        (Base::new(), tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory"));
    // As in the lines for tmpfiles.
    std::fs::set_permissions(base.path(), PermissionsExt::from_mode(0o1777)).expect("it is ours");
    std::fs::create_dir(place.path().join("journal")).expect("a directory");
    std::fs::set_permissions(place.path().join("journal"), PermissionsExt::from_mode(0o750))
        .expect("it is ours");
    let Some(mut create) = as_nobody(&base, "create bank/orders --capacity 64KiB") else { return };
    assert!(create.output().expect("it starts").status.success());

    let unit = Unit::start(&base, place.path());
    let publish = |text: &str| {
        let mut command = as_nobody(&base, "pub bank/orders -q").expect("it ran before");
        let mut child = command.stdin(Stdio::piped()).spawn().expect("it starts");
        std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), text.as_bytes())
            .expect("written");
        assert!(child.wait().expect("it ends").success());
    };
    publish("one\ntwo\n");
    unit.stop();
    std::fs::remove_dir_all(base.path().join("bank")).expect("its memory is lost");

    let unit = Unit::start(&base, place.path());
    let ring = base.path().join("bank/orders.ring");
    eventually("it was made again", || ring.exists());
    for path in [base.path().join("bank"), ring] {
        let about = std::fs::metadata(&path).expect("it is there");
        assert_eq!(about.uid(), NOBODY, "{}", path.display());
    }
    publish("three\n");
    unit.stop();
    let line = format!("replay {} --to-stdout lines -q", place.path().join("journal/bank/orders").display());
    assert_eq!(base.fine(&line), "one\ntwo\nthree\n");
}
