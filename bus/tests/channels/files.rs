//! Channels as files, with real processes, rights, mounts and kills.
//!
//! Tasks that need a process of their own (another uid, a private mount namespace, being killed)
//! run in this test program, started again with a task in its environment: see [`child`].

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use railbus::admin::{list_channels, prune, remove};
use railbus::internal::{Attached, Maps, Opened, Role, attach, create, create_or_attach, directory};
use railbus::{ChannelName, ChannelOptions, Error, Kind, Permissions, Result};
use railbus_os::mapping::page_bytes;
use railbus_os::pages::{Backing, Locked, Numa, Pages};
use railbus_ring::layout;
use railbus_ring::memory::{Edge, Memory};

type Outcome = std::result::Result<(), Box<dyn std::error::Error>>;

const TASK: &str = "RAILBUS_TEST_TASK";
const BASE: &str = "RAILBUS_TEST_BASE";

fn nothing(_: &Maps) -> Result<()> {
    Ok(())
}

fn base() -> std::io::Result<tempfile::TempDir> {
    let base = tempfile::Builder::new().prefix("railbus-files-").tempdir_in("/dev/shm")?;
    std::fs::set_permissions(base.path(), PermissionsExt::from_mode(0o755))?;
    Ok(base)
}

fn ticks() -> ChannelName {
    "demo/ticks".parse().expect("a good name")
}

fn small() -> ChannelOptions {
    ChannelOptions::new(Kind::Stream).capacity_bytes(64 << 10)
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// This program again, in a process of its own that runs one task.
fn child(task: &str, base: &Path) -> std::io::Result<Child> {
    command(task, base).spawn()
}

fn command(task: &str, base: &Path) -> Command {
    let mut command = crate::children::again("task");
    command.env(TASK, task).env(BASE, base).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn succeed(task: &str, base: &Path) -> Outcome {
    finished(task, child(task, base)?)
}

fn finished(task: &str, child: Child) -> Outcome {
    let output = child.wait_with_output()?;
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    for line in text.lines().filter(|line| line.contains("skipped:") || line.contains("pages (")) {
        eprintln!("{task}: {line}");
    }
    assert!(output.status.success(), "{task}: {text}");
    Ok(())
}

#[test]
#[ignore = "the other tests run it, in processes of their own"]
fn task() -> Outcome {
    let (Ok(task), Some(base)) = (std::env::var(TASK), std::env::var_os(BASE)) else { return Ok(()) };
    let base = PathBuf::from(base);
    match task.as_str() {
        "race" => race(&base),
        "create in a loop" => create_in_a_loop(&base),
        "small tmpfs" => small_tmpfs(&base),
        "hugetlbfs" => on_hugetlbfs(&base),
        "another user" => another_user(&base),
        "write as a consumer" => write_as_a_consumer(&base),
        "attach huge" => attach_huge(&base),
        "file limit" => file_limit(&base),
        "no memory lock" => no_memory_lock(&base),
        other => panic!("unknown task {other:?}"),
    }
}

#[test]
fn every_kind_is_created_attached_and_mapped() -> Outcome {
    let base = base()?;
    for kind in [Kind::Stream, Kind::Queue, Kind::Topic] {
        let name = ChannelName::new("demo", kind.to_string())?;
        let created = create(base.path(), &name, &ChannelOptions::new(kind).stamp(true), &nothing)?;
        let attached = attach(base.path(), &name)?;
        assert_eq!(created.attached.header, attached.header);
        let header = &attached.header;
        assert_eq!(header.kind, kind);
        assert!(header.stamp && header.created_ns > 0 && header.creator_pid == std::process::id());
        let producer = attached.map(Role::Producer)?;
        let consumer = attached.map(Role::Consumer)?;
        let observer = attached.map(Role::Observer)?;
        for (maps, ring, acks) in
            [(&producer, true, false), (&consumer, false, true), (&observer, false, false)]
        {
            assert_eq!((maps.ring.writable(), maps.data.writable()), (ring, ring));
            assert_eq!((maps.acks.writable(), maps.done.writable()), (acks, acks && kind == Kind::Queue));
            assert_eq!(
                maps.ring.bytes(),
                layout::ring_end(header.producers_max as usize) - layout::HEADER_BYTES
            );
            assert_eq!(maps.acks.bytes(), layout::entry(header.consumers_max as usize));
            assert_eq!(maps.data.bytes() as u64, header.data_bytes);
            let done = if kind == Kind::Queue { layout::done_bytes(header.slots) } else { 0 };
            assert_eq!(maps.done.bytes() as u64, done);
        }
        let last = producer.data.bytes() - 8;
        // SAFETY: the maps live to the end of this block, and each is written only where it is
        // writable.
        let (written, seen) = unsafe { (producer.data.memory(false), observer.data.memory(false)) };
        written.store(last, 7, Edge::Commit);
        assert_eq!(seen.load(last, Edge::Commit), 7);
        // SAFETY: as above.
        let (written, seen) = unsafe { (consumer.acks.memory(false), producer.acks.memory(false)) };
        written.store(layout::entry(63) + layout::CURSOR, 9, Edge::Cursor);
        assert_eq!(seen.load(layout::entry(63) + layout::CURSOR, Edge::Cursor), 9);
        println!("{name}: {}", created.pages);
    }
    let found: Vec<String> = list_channels(base.path(), "demo")?.iter().map(ToString::to_string).collect();
    assert_eq!(found, ["demo/queue", "demo/stream", "demo/topic"]);
    let error =
        create(base.path(), &found[0].parse()?, &ChannelOptions::new(Kind::Queue), &nothing).map(|_| ());
    assert!(matches!(error, Err(Error::Exists { .. })), "{error:?}");
    for name in found {
        remove(base.path(), &name.parse()?)?;
    }
    assert!(matches!(remove(base.path(), &ticks()), Err(Error::NotFound { .. })));
    assert!(matches!(attach(base.path(), &ticks()), Err(Error::NotFound { .. })));
    Ok(())
}

#[test]
fn what_init_writes_is_there_and_its_error_undoes_everything() -> Outcome {
    let base = base()?;
    let options = ChannelOptions::new(Kind::Queue).first_position(u64::MAX - 3);
    let refused = create(base.path(), &ticks(), &options, &|_| Err(Error::Forked)).map(|_| ());
    assert!(matches!(refused, Err(Error::Forked)));
    assert!(!base.path().join("demo").exists(), "what was refused leaves nothing behind");
    create(base.path(), &ticks(), &options, &|maps| {
        assert!(attach(base.path(), &ticks()).is_err(), "nobody sees it yet");
        for region in [&maps.ring, &maps.data, &maps.acks, &maps.done] {
            assert!(region.writable());
            // SAFETY: the region lives during this call and is writable.
            let memory = unsafe { region.memory(false) };
            memory.store(region.bytes() - 8, region.bytes() as u64, Edge::Plain);
        }
        Ok(())
    })?;
    let attached = attach(base.path(), &ticks())?;
    assert_eq!(attached.header.first_position, u64::MAX - 3);
    let maps = attached.map(Role::Observer)?;
    for region in [&maps.ring, &maps.data, &maps.acks, &maps.done] {
        // SAFETY: the region lives during this loop and is only read.
        let memory = unsafe { region.memory(false) };
        assert_eq!(memory.load(region.bytes() - 8, Edge::Plain), region.bytes() as u64);
    }
    Ok(())
}

#[test]
fn ordinary_pages_when_asked() -> Outcome {
    let base = base()?;
    let options = ChannelOptions::new(Kind::Stream).pages(Pages::Ordinary).lock_memory(false);
    let pages = create(base.path(), &ticks(), &options, &nothing)?.pages;
    assert_eq!(pages.asked, Some(Pages::Ordinary));
    assert_eq!(pages.locked, Locked::NotAsked);
    let setting =
        std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/shmem_enabled").unwrap_or_default();
    if setting.contains("[never]") {
        assert_eq!((pages.got, pages.page_bytes), (Backing::Ordinary, page_bytes() as u64));
        assert!(pages.to_string().starts_with("4 MiB in 4 KiB pages (tmpfs)"), "{pages}");
    }
    Ok(())
}

/// Whether this kernel can collapse pages of tmpfs, determined without the code under test.
fn can_collapse(base: &Path) -> std::io::Result<bool> {
    const HUGE: usize = 2 << 20;
    let file = tempfile::tempfile_in(base)?;
    file.set_len(HUGE as u64)?;
    let mapping = railbus_os::mapping::Mapping::of_file(&file, 0, HUGE, true, HUGE)?;
    mapping.populate(true)?;
    // SAFETY: the range is a mapping that lives; collapsing keeps its contents.
    Ok(unsafe { libc::madvise(mapping.base().as_ptr().cast(), HUGE, libc::MADV_COLLAPSE) } == 0)
}

#[test]
fn tmpfs_pages_are_collapsed_and_other_processes_get_them_too() -> Outcome {
    let base = base()?;
    if !can_collapse(base.path())? {
        eprintln!("skipped: MADV_COLLAPSE does not work here");
        return Ok(());
    }
    let options = ChannelOptions::new(Kind::Stream).capacity_bytes(8 << 20).require_huge(true);
    let created = create(base.path(), &ticks(), &options, &nothing)?;
    if created.pages.got == Backing::Hugetlb {
        eprintln!("skipped: this machine has pages of hugetlbfs to spare");
        return Ok(());
    }
    assert_eq!(created.pages.got, Backing::ShmHuge, "{}", created.pages);
    assert_eq!(created.pages.huge_bytes_seen, 8 << 20);
    assert!(
        created.pages.missed.iter().any(|missed| missed.rung == "2 MiB hugetlbfs"),
        "{:?}",
        created.pages
    );
    assert_eq!(created.attached.header.backing, Backing::ShmHuge);
    succeed("attach huge", base.path())
}

fn attach_huge(base: &Path) -> Outcome {
    let started = std::time::Instant::now();
    let maps = attach(base, &ticks())?.map(Role::Consumer)?;
    let took = started.elapsed();
    assert_eq!(maps.pages()?.got, Backing::ShmHuge, "{}", maps.pages()?);
    println!("attached in {took:?}: {}", maps.pages()?);
    Ok(())
}

#[test]
fn required_huge_pages_that_cannot_be_had_are_an_error_that_lists_the_rungs() -> Outcome {
    let base = base()?;
    let options = ChannelOptions::new(Kind::Queue).require_huge(true).pages(Pages::Auto);
    let text = match create(base.path(), &ticks(), &options, &nothing) {
        Err(Error::NoHugePages { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    assert!(text.contains("2 MiB tmpfs pages: only 256 KiB"), "{text}");
    assert!(!base.path().join("demo").exists(), "what was refused leaves nothing behind");
    Ok(())
}

#[test]
fn a_numa_node_is_bound_and_verified_or_refused() -> Outcome {
    let base = base()?;
    let missing = create(base.path(), &ticks(), &small().numa_node(Some(1000)), &nothing).map(|_| ());
    assert!(matches!(missing, Err(Error::Invalid { .. })), "{missing:?}");
    if !Path::new("/sys/devices/system/node/node0").exists() {
        eprintln!("skipped: this kernel shows no NUMA node 0");
        return Ok(());
    }
    let created = match create(base.path(), &ticks(), &small().numa_node(Some(0)), &nothing) {
        Err(Error::NotAllowed { why, .. }) => {
            eprintln!("skipped: {why}");
            return Ok(());
        }
        result => result?,
    };
    let is_there = match created.pages.numa {
        Numa::Seen { node, sampled, there } => node == 0 && sampled == there && sampled > 0,
        _ => false,
    };
    assert!(is_there || matches!(created.pages.numa, Numa::Unverified(0, _)), "{:?}", created.pages.numa);
    assert_eq!(attach(base.path(), &ticks())?.map(Role::Observer)?.pages()?.numa, Numa::Bound(0));
    Ok(())
}

/// Serialises tests that reserve huge pages, across test programs, and restores the number that was
/// there before.
struct HugePages {
    before: String,
    _lock: nix::fcntl::Flock<File>,
}

const NR_HUGEPAGES: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";

impl HugePages {
    fn reserve(more: u64) -> std::result::Result<HugePages, Box<dyn std::error::Error>> {
        let path = std::env::temp_dir().join("railbus-test-hugepages.lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        let lock =
            nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusive).map_err(|(_, error)| error)?;
        let before = std::fs::read_to_string(NR_HUGEPAGES)?.trim().to_owned();
        let guard = HugePages { before, _lock: lock };
        std::fs::write(NR_HUGEPAGES, (guard.before.parse::<u64>()? + more).to_string())?;
        Ok(guard)
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        let _ = std::fs::write(NR_HUGEPAGES, &self.before);
        let _ = std::fs::remove_file(std::env::temp_dir().join("railbus-test-hugepages.lock"));
    }
}

#[test]
fn hugetlbfs_holds_the_data_when_pages_are_set_aside() -> Outcome {
    if !is_root() {
        eprintln!("skipped: only root sets huge pages aside");
        return Ok(());
    }
    let base = base()?;
    let Ok(_pages) = HugePages::reserve(6) else {
        eprintln!("skipped: this kernel has no 2 MiB pages to set aside");
        return Ok(());
    };
    if railbus_os::hugetlb::available_pages(2 << 20) < 6 {
        eprintln!("skipped: the kernel could not set 6 huge pages aside");
        return Ok(());
    }
    succeed_with_private_mounts("hugetlbfs", base.path())
}

/// Runs a task in a private mount namespace, as root or as root of a new user namespace; skips it
/// if neither is allowed.
fn succeed_with_private_mounts(task: &str, base: &Path) -> Outcome {
    use nix::sched::{CloneFlags, unshare};
    let identities = [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {} 1", nix::unistd::getuid())),
        ("/proc/self/gid_map", format!("0 {} 1", nix::unistd::getgid())),
    ];
    let alone = if is_root() { CloneFlags::empty() } else { CloneFlags::CLONE_NEWUSER };
    let enter = move || -> std::io::Result<()> {
        unshare(alone | CloneFlags::CLONE_NEWNS)?;
        if !alone.is_empty() {
            identities.iter().try_for_each(|(path, text)| std::fs::write(path, text))?;
        }
        mount("none", Path::new("/"), "none", libc::MS_REC | libc::MS_PRIVATE, "")
    };
    let mut command = command(task, base);
    // SAFETY: between fork and exec this makes system calls, and allocates a few bytes, which glibc
    // allows there.
    unsafe { std::os::unix::process::CommandExt::pre_exec(&mut command, enter) };
    match command.spawn() {
        Ok(child) => finished(task, child),
        Err(error) if !is_root() || error.kind() == std::io::ErrorKind::PermissionDenied => {
            eprintln!("skipped: no private mounts here ({error})");
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

fn mount(source: &str, at: &Path, kind: &str, flags: libc::c_ulong, data: &str) -> std::io::Result<()> {
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt;
    let (source, kind, data) = (CString::new(source)?, CString::new(kind)?, CString::new(data)?);
    let at = CString::new(at.as_os_str().as_bytes())?;
    // SAFETY: all strings end in NUL and live during the call; the namespace is this process's own.
    let result =
        unsafe { libc::mount(source.as_ptr(), at.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast()) };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

fn on_hugetlbfs(base: &Path) -> Outcome {
    let mounted = base.join("huge pages");
    std::fs::create_dir(&mounted)?;
    let files = || std::fs::read_dir(&mounted).map(Iterator::count);
    let base = &base.join("buses");
    let options = ChannelOptions::new(Kind::Stream).capacity_bytes(4 << 20).require_huge(true);
    mount("none", &mounted, "hugetlbfs", 0, "pagesize=2M")?;
    let created = create(base, &ticks(), &options.clone().pages(Pages::Huge1G), &nothing)?;
    println!("{}", created.pages);
    assert_eq!(created.pages.got, Backing::Hugetlb, "{:?}", created.pages);
    assert_eq!((created.pages.huge_bytes_seen, created.pages.page_bytes), (4 << 20, 2 << 20));
    assert_eq!(created.pages.missed[0].rung, "1 GiB hugetlbfs");
    let attached = attach(base, &ticks())?;
    let (producer, consumer) = (attached.map(Role::Producer)?, attached.map(Role::Consumer)?);
    assert_eq!(consumer.pages()?.got, Backing::Hugetlb);
    assert!(producer.data.writable() && !consumer.data.writable());
    // SAFETY: both maps live to the end of this function; only the producer's is written.
    let (written, seen) = unsafe { (producer.data.memory(false), consumer.data.memory(false)) };
    written.store(4 << 20 >> 1, 5, Edge::Commit);
    assert_eq!(seen.load(4 << 20 >> 1, Edge::Commit), 5);
    assert_eq!(files()?, 1);
    // A creator, or a remover, that died with only `.ring` missing: the next creation removes its
    // data file.
    drop((producer, consumer, attached, created));
    std::fs::remove_file(ticks().paths(base).ring)?;
    let created = create(base, &ticks(), &options, &nothing)?;
    assert_eq!((created.pages.got, files()?), (Backing::Hugetlb, 1));
    drop(created);
    std::fs::remove_file(ticks().paths(base).ring)?;
    assert_eq!(prune(base, "demo", |_| false)?.removed, [ticks()]);
    assert_eq!(files()?, 0);
    // Small data take a page of hugetlbfs only on request; beyond the available pages the next rung
    // is used.
    let queue: ChannelName = "demo/queue".parse()?;
    let options = ChannelOptions::new(Kind::Queue);
    assert_eq!(create(base, &queue, &options, &nothing)?.pages.got, Backing::Ordinary);
    remove(base, &queue)?;
    let huge = create(base, &queue, &options.clone().pages(Pages::Huge2M).numa_node(Some(0)), &nothing)?;
    assert_eq!((huge.pages.got, huge.pages.data_bytes), (Backing::Hugetlb, 2 << 20));
    assert_eq!(huge.attached.map(Role::Producer)?.data.bytes(), 2 << 20);
    remove(base, &queue)?;
    assert_eq!(files()?, 0);
    let large =
        create(base, &ticks(), &ChannelOptions::new(Kind::Stream).capacity_bytes(64 << 20), &nothing)?;
    assert_ne!(large.pages.got, Backing::Hugetlb);
    assert!(large.pages.missed[0].why.contains("of 32 pages free"), "{:?}", large.pages);
    Ok(())
}

#[test]
fn a_full_file_system_is_an_error_with_advice_and_leaves_nothing() -> Outcome {
    let base = base()?;
    succeed_with_private_mounts("small tmpfs", base.path())
}

fn small_tmpfs(base: &Path) -> Outcome {
    mount("none", base, "tmpfs", 0, "size=3M")?;
    let free = || nix::sys::statvfs::statvfs(base).map(|found| found.blocks_available());
    directory::make_bus(base, "demo")?;
    let before = free()?;
    let names: Vec<ChannelName> =
        (0..4).map(|n| ChannelName::new("demo", n.to_string())).collect::<Result<_>>()?;
    for capacity in [1 << 40, 4 << 20] {
        match create(base, &names[0], &ChannelOptions::new(Kind::Stream).capacity_bytes(capacity), &nothing) {
            Err(error @ Error::NoSpace { .. }) => {
                let text = error.to_string();
                assert!(text.contains("--shm-size") && text.contains("MiB free"), "{text}");
                assert_eq!(error.exit_code(), 6);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((free()?, list_channels(base, "demo")?.len()), (before, 0));
    let options = ChannelOptions::new(Kind::Queue).slots(1024).slot_bytes(1024);
    let made: Vec<bool> = names.iter().map(|name| create(base, name, &options, &nothing).is_ok()).collect();
    assert_eq!(made, [true, true, false, false]);
    let bus = railbus::Bus::at(base, "demo")?;
    let stamped = bus.create("stamped", &small().stamp(true))?;
    // Fill the remaining room: existing channels go on working, because nothing is allocated late.
    let filler = File::create(base.join("filler"))?;
    let zeros = [0u8; 4096];
    let mut at = 0;
    while filler.write_all_at(&zeros, at).is_ok() {
        at += 4096;
    }
    for name in &names[..2] {
        let attached = attach(base, name)?;
        let (producer, consumer) = (attached.map(Role::Producer)?, attached.map(Role::Consumer)?);
        for (region, writable) in [(&producer.ring, true), (&producer.data, true), (&consumer.done, true)] {
            assert_eq!(region.writable(), writable);
            // SAFETY: the maps live in this block, and these regions are writable.
            let memory = unsafe { region.memory(false) };
            (0..region.bytes()).step_by(512).for_each(|at| memory.store(at, 1, Edge::Plain));
        }
    }
    assert!(matches!(create(base, &names[2], &small(), &nothing), Err(Error::NoSpace { .. })));
    // Nor does a histogram that finds no room: its consumer works without, and reports that.
    let mut subscriber = stamped.subscriber(&Default::default())?;
    stamped.publisher(&Default::default())?.publish(b"event")?;
    assert_eq!(&*subscriber.recv()?, b"event");
    let measures = stamped.info()?.participants.last().map(|one| one.measures);
    assert_eq!(measures, Some(railbus::latency::Measures::NoSpace));
    assert_eq!(stamped.latencies()?.map(|all| all.consumers.len()), Some(0));
    drop(subscriber);
    remove(base, &names[0])?;
    create(base, &names[2], &small(), &nothing)?;
    Ok(())
}

#[test]
fn a_limit_for_file_sizes_is_an_error_and_no_signal() -> Outcome {
    let base = base()?;
    succeed("file limit", base.path())
}

fn file_limit(base: &Path) -> Outcome {
    use nix::sys::resource::{Resource, setrlimit};
    setrlimit(Resource::RLIMIT_FSIZE, 1 << 20, 1 << 20)?;
    let error = create(base, &ticks(), &ChannelOptions::new(Kind::Stream), &nothing).map(|_| ());
    assert!(matches!(&error, Err(Error::NoSpace { why, .. }) if why.contains("ulimit -f")), "{error:?}");
    create(base, &ticks(), &small(), &nothing)?;
    Ok(())
}

#[test]
fn memory_that_may_not_be_locked_is_reported() -> Outcome {
    let base = base()?;
    succeed("no memory lock", base.path())
}

fn no_memory_lock(base: &Path) -> Outcome {
    use nix::sys::resource::{Resource, setrlimit};
    setrlimit(Resource::RLIMIT_MEMLOCK, 4096, 4096)?;
    if is_root() {
        nix::unistd::chown(base, Some(65534.into()), None)?;
        nix::unistd::setuid(65534.into())?;
    }
    let created = create(base, &ticks(), &small(), &nothing)?;
    assert!(matches!(&created.pages.locked, Locked::No(why) if why.contains("4 KiB")), "{}", created.pages);
    let text = created.attached.map(Role::Observer)?.pages()?.to_string();
    assert!(text.contains("not mlocked") && !text.contains('\n'), "{text}");
    Ok(())
}

#[test]
fn file_modes_decide_who_may_do_what() -> Outcome {
    if !is_root() {
        eprintln!("skipped: only root can become another user");
        return Ok(());
    }
    let base = base()?;
    let with = |ring_mode, acks_mode| Permissions { ring_mode, acks_mode, ..Permissions::default() };
    let group =
        Permissions { ring_group: Some(65534), ring_mode: 0o660, acks_group: Some(65534), ..with(0, 0o640) };
    let owned = Permissions { owner: Some(65534), ..Permissions::default() };
    let channels = [
        ("private", with(0o600, 0o600)),
        ("watched", with(0o644, 0o644)),
        ("consumed", with(0o644, 0o666)),
        ("hidden", with(0o666, 0o600)),
        ("produced", group),
        ("owned", owned),
    ];
    for (name, permissions) in channels {
        create(base.path(), &ChannelName::new("demo", name)?, &small().permissions(permissions), &nothing)?;
    }
    succeed("another user", base.path())
}

fn another_user(base: &Path) -> Outcome {
    nix::unistd::setgroups(&[])?;
    nix::unistd::setgid(65534.into())?;
    nix::unistd::setuid(65534.into())?;
    let open = |name: &str| -> Result<Attached> { attach(base, &ChannelName::new("demo", name)?) };
    for (name, file, mode) in [("private", "private.ring", "0o600"), ("hidden", "hidden.acks", "0o600")] {
        match open(name) {
            Err(error @ Error::NotAllowed { .. }) => {
                let text = error.to_string();
                let says = [file, mode, "belongs to uid 0", "uid 65534"];
                assert!(says.iter().all(|part| text.contains(part)), "{text}");
                assert_eq!(error.exit_code(), 4);
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    let roles = [
        ("watched", [false, false, true]),
        ("consumed", [false, true, true]),
        ("produced", [true, false, true]),
        ("owned", [true, true, true]),
    ];
    for (name, allowed) in roles {
        let attached = open(name)?;
        for (role, allowed) in [Role::Producer, Role::Consumer, Role::Observer].into_iter().zip(allowed) {
            let mapped = attached.map(role);
            let refused = matches!(mapped, Err(Error::NotAllowed { .. }));
            assert_eq!((mapped.is_ok(), refused), (allowed, !allowed), "{name} as {role:?}");
        }
    }
    let made = create(base, &"demo/mine".parse()?, &small(), &nothing).map(|_| ());
    assert!(matches!(made, Err(Error::NotAllowed { .. })), "{made:?}");
    let removed = remove(base, &"demo/watched".parse()?);
    assert!(matches!(removed, Err(Error::NotAllowed { .. })), "{removed:?}");
    Ok(())
}

#[test]
fn a_consumer_that_runs_wild_cannot_write_events() -> Outcome {
    let base = base()?;
    create(base.path(), &ticks(), &small(), &nothing)?;
    let output = child("write as a consumer", base.path())?.wait_with_output()?;
    assert_eq!(output.status.signal(), Some(libc::SIGSEGV), "{output:?}");
    Ok(())
}

fn write_as_a_consumer(base: &Path) -> Outcome {
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0)?;
    let maps = attach(base, &ticks())?.map(Role::Consumer)?;
    // SAFETY: breaks the contract on purpose, to be killed for it.
    unsafe { maps.data.memory(false) }.store(0, 1, Edge::Plain);
    Ok(())
}

#[test]
fn harmed_files_are_refused_each_for_its_reason() -> Outcome {
    let base = base()?;
    let paths = ticks().paths(base.path());
    let refused = |expected: &str| {
        let error = attach(base.path(), &ticks()).map(|_| ());
        let text = error.as_ref().err().map(ToString::to_string).unwrap_or_default();
        assert!(text.contains(expected), "{error:?} does not say {expected:?}");
        assert_eq!(error.err().map(|error| error.exit_code()), Some(5));
    };
    let fresh = || -> Outcome {
        let _ = remove(base.path(), &ticks());
        create(base.path(), &ticks(), &small(), &nothing)?;
        Ok(())
    };
    let open = |path: &Path| OpenOptions::new().read(true).write(true).open(path);
    for path in [&paths.ring, &paths.acks] {
        for length in [0, 100, 4095] {
            fresh()?;
            open(path)?.set_len(length)?;
            refused("truncated");
        }
        fresh()?;
        let length = open(path)?.metadata()?.len();
        open(path)?.set_len(length - 4096)?;
        refused("truncated");
        open(path)?.set_len(length + 4096)?;
        refused("too long");
        fresh()?;
        open(path)?.write_all_at(&[0; 8], 0)?;
        refused("never finished");
        open(path)?.write_all_at(b"#!/bin/s", 0)?;
        refused("not a railbus file");
        fresh()?;
        open(path)?.write_all_at(&[0xab; 8], layout::LAYOUT_FINGERPRINT as u64)?;
        refused("0xabababababababab");
        fresh()?;
        open(path)?.write_all_at(&[0xab; 8], layout::DATA_OFFSET as u64)?;
        refused("checksum");
        fresh()?;
        std::fs::remove_file(path)?;
        std::os::unix::fs::symlink("/etc/passwd", path)?;
        assert!(attach(base.path(), &ticks()).is_err());
        std::fs::remove_file(path)?;
        nix::unistd::mkfifo(path.as_path(), nix::sys::stat::Mode::S_IRWXU)?;
        refused("not a regular file");
    }
    fresh()?;
    std::fs::remove_file(&paths.acks)?;
    refused("ticks.acks is missing");
    fresh()?;
    let other: ChannelName = "demo/other".parse()?;
    create(base.path(), &other, &small(), &nothing)?;
    std::fs::copy(other.paths(base.path()).ring, &paths.ring)?;
    refused("cannot be renamed");
    fresh()?;
    let keep = std::fs::read(&paths.acks)?;
    fresh()?;
    std::fs::write(&paths.acks, keep)?;
    refused("different channels");
    // Whatever state it is in, a channel can be removed, and made again.
    remove(base.path(), &ticks())?;
    fresh()?;
    attach(base.path(), &ticks())?.map(Role::Producer)?;
    Ok(())
}

#[test]
fn acks_of_a_dead_creator_are_replaced() -> Outcome {
    let base = base()?;
    create(base.path(), &ticks(), &small(), &nothing)?;
    let paths = ticks().paths(base.path());
    std::fs::remove_file(&paths.ring)?;
    assert!(matches!(attach(base.path(), &ticks()), Err(Error::NotFound { .. })));
    let created = create(base.path(), &ticks(), &small(), &nothing)?;
    assert_eq!(attach(base.path(), &ticks())?.header, created.attached.header);
    std::fs::remove_file(&paths.ring)?;
    std::fs::write(&paths.acks, "anything")?;
    create(base.path(), &ticks(), &small(), &nothing)?;
    Ok(())
}

#[test]
fn what_is_asked_for_must_match_what_is_there() -> Outcome {
    let base = base()?;
    let queue = ChannelOptions::new(Kind::Queue).slots(128).slot_bytes(64);
    let opened = create_or_attach(base.path(), &ticks(), &queue, &nothing)?;
    assert!(matches!(opened, Opened::Created(_)));
    let id = opened.into_attached().header.channel_id;
    for same in [queue.clone(), ChannelOptions::new(Kind::Queue)] {
        let found = create_or_attach(base.path(), &ticks(), &same, &nothing)?;
        assert!(matches!(&found, Opened::Found(found) if found.header.channel_id == id));
    }
    let others = [
        (ChannelOptions::new(Kind::Topic), "kind queue instead of topic"),
        (queue.clone().slots(256), "slots 128 instead of 256"),
        (queue.clone().slot_bytes(128), "slot-bytes 64 B instead of 128 B"),
        (queue.clone().consumers_max(3), "consumers-max 64 instead of 3"),
    ];
    for (options, expected) in others {
        let error = create_or_attach(base.path(), &ticks(), &options, &nothing).map(|_| ());
        let text = error.as_ref().err().map(ToString::to_string).unwrap_or_default();
        assert!(matches!(error, Err(Error::Exists { .. })) && text.contains(expected), "{text:?}");
    }
    Ok(())
}

/// Channels that the racing processes make, one after the other.
const RACES: usize = 50;

#[test]
fn of_eight_processes_one_creates_and_all_share() -> Outcome {
    let base = base()?;
    let children = (0..8).map(|_| child("race", base.path())).collect::<std::io::Result<Vec<_>>>()?;
    std::thread::sleep(Duration::from_millis(50));
    File::create(base.path().join("go"))?;
    let mut results = vec![(0, Vec::new()); RACES];
    for child in children {
        let output = child.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{output:?}");
        let lines = text.lines().filter_map(|line| line.split_once("outcome: "));
        let words: Vec<Vec<&str>> = lines.map(|(_, result)| result.split(' ').collect()).collect();
        assert_eq!(words.len(), RACES, "{text}");
        for ((created, identities), words) in results.iter_mut().zip(words) {
            *created += usize::from(words[0] == "created");
            identities.push(words[1].to_owned());
        }
    }
    for (race, (created, identities)) in results.iter().enumerate() {
        assert_eq!(*created, 1, "race {race}");
        let header = attach(base.path(), &ChannelName::new("demo", race.to_string())?)?.header;
        let identity = railbus_os::random::hex(&header.channel_id);
        assert!(identities.iter().all(|other| *other == identity), "race {race}: {identities:?}");
    }
    Ok(())
}

fn race(base: &Path) -> Outcome {
    while !base.join("go").exists() {
        std::hint::spin_loop();
    }
    for race in 0..RACES {
        let name = ChannelName::new("demo", race.to_string())?;
        let opened = create_or_attach(base, &name, &small(), &nothing)?;
        let word = if matches!(opened, Opened::Created(_)) { "created" } else { "found" };
        let attached = opened.into_attached();
        attached.map(Role::Consumer)?;
        println!("outcome: {word} {}", railbus_os::random::hex(&attached.header.channel_id));
    }
    Ok(())
}

/// Processes that make and remove a channel until they are dropped, which kills them.
struct Makers(Vec<Child>);

impl Makers {
    fn start(count: usize, base: &Path) -> std::io::Result<Makers> {
        let mut makers = Makers(Vec::new());
        for _ in 0..count {
            makers.0.push(child("create in a loop", base)?);
        }
        Ok(makers)
    }
}

impl Drop for Makers {
    fn drop(&mut self) {
        for maker in &mut self.0 {
            let _ = maker.kill();
            let _ = maker.wait();
        }
    }
}

#[test]
fn creators_killed_at_any_moment_leave_a_usable_bus() -> Outcome {
    let base = base()?;
    for round in 0..30u64 {
        let victims = Makers::start(2, base.path())?;
        // Spread over the start-up of the process and many of its rounds; the test needs no luck to
        // pass.
        std::thread::sleep(Duration::from_micros(4_000 + round * 1_777 % 30_000));
        drop(victims);
        let options = small();
        let attached = create_or_attach(base.path(), &ticks(), &options, &nothing)?.into_attached();
        attached.map(Role::Producer)?;
        remove(base.path(), &ticks())?;
        let left = std::fs::read_dir(base.path().join("demo"))?.map(|entry| Ok(entry?.file_name()));
        let left = left.collect::<std::io::Result<Vec<_>>>()?;
        assert_eq!(left, [".lock"], "round {round}");
        assert!(attached.is_removed()?);
    }
    let about = nix::sys::stat::stat(base.path())?;
    assert_eq!(about.st_nlink, 3, "no other directory is left beside the bus");
    Ok(())
}

#[test]
fn a_channel_that_comes_and_goes_is_there_or_not_and_never_half() -> Outcome {
    let base = base()?;
    let mut makers = Makers::start(3, base.path())?;
    let (mut found, mut missing) = (0, 0);
    let outcome = loop {
        // The bus itself comes and goes, too.
        if (found + missing) % 4 == 0 {
            match prune(base.path(), "demo", |_| false) {
                Ok(pruned) if pruned.failed.is_empty() => {}
                Ok(pruned) => panic!("{pruned:?}"),
                Err(Error::NotFound { .. }) => {}
                Err(error) => break Err(error),
            }
        }
        match attach(base.path(), &ticks()).and_then(|attached| attached.map(Role::Observer)) {
            Ok(_) => found += 1,
            Err(Error::NotFound { .. }) => missing += 1,
            Err(error) => break Err(error),
        }
        if (found > 20 && missing > 20) || makers.0[0].try_wait()?.is_some() {
            break Ok(());
        }
    };
    for maker in &mut makers.0 {
        let ended = maker.try_wait()?;
        let mut said = String::new();
        if ended.is_some() {
            maker.stderr.take().ok_or("no pipe")?.read_to_string(&mut said)?;
        }
        assert!(ended.is_none(), "a maker has failed: {said}");
    }
    Ok(outcome?)
}

fn create_in_a_loop(base: &Path) -> Outcome {
    loop {
        match create(base, &ticks(), &small(), &nothing) {
            Ok(_) | Err(Error::Exists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        match remove(base, &ticks()) {
            Ok(()) | Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[test]
fn prune_removes_what_nobody_uses() -> Outcome {
    let base = base()?;
    let names: Vec<ChannelName> = ["alive", "dead", "half", "vetoed"]
        .iter()
        .map(|name| ChannelName::new("demo", *name))
        .collect::<Result<_>>()?;
    for name in &names {
        create(base.path(), name, &small(), &nothing)?;
    }
    std::fs::remove_file(names[2].paths(base.path()).ring)?;
    let alive = attach(base.path(), &names[0])?;
    let life = alive.reopen(railbus::internal::FileRole::Acks, true)?;
    let mut lock = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: (layout::LIFE_LOCK + 7) as libc::off_t,
        l_len: 1,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open and the structure lives during the call.
    assert_eq!(unsafe { libc::fcntl(life.as_raw_fd(), libc::F_OFD_SETLK, &lock) }, 0);
    let vetoed = names[3].paths(base.path()).acks;
    let pruned = prune(base.path(), "demo", |path| path == vetoed)?;
    assert_eq!(pruned.removed, names[1..3]);
    assert_eq!(pruned.in_use, [names[0].clone(), names[3].clone()]);
    assert!(pruned.failed.is_empty() && !pruned.bus_removed);
    // Unlocked, not only closed: a child that another test forks at this moment has a copy of the
    // descriptor.
    lock.l_type = libc::F_UNLCK as libc::c_short;
    // SAFETY: the descriptor is open and the structure lives during the call.
    assert_eq!(unsafe { libc::fcntl(life.as_raw_fd(), libc::F_OFD_SETLK, &lock) }, 0);
    assert!(prune(base.path(), "demo", |_| false)?.bus_removed);
    assert!(alive.is_removed()?);
    assert!(matches!(prune(base.path(), "demo", |_| false), Err(Error::NotFound { .. })));
    Ok(())
}

#[test]
fn the_layout_document_is_fresh() -> Outcome {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/LAYOUT.md");
    let text = std::fs::read_to_string(path)?;
    assert!(text == layout::to_markdown(), "run: cargo run -p railbus --example layout > docs/LAYOUT.md");
    Ok(())
}
