//! The membarrier, allowed and refused. A refusal is a real seccomp filter in a process of its own.

use railbus_os::membarrier;

use crate::children;
use crate::children::{Actor, say};

#[test]
#[ignore = "the other tests run it as a child process"]
fn child() {
    match children::role().as_ref().map(|(role, _)| role.as_str()) {
        None => {}
        Some("refused") => {
            assert!(!membarrier::registered());
            refuse_membarrier();
            assert!(!membarrier::register());
            assert!(!membarrier::registered());
            assert!(!membarrier::barrier());
            say(b"refused without harm");
        }
        Some("refused later") => {
            let before = (membarrier::register(), membarrier::barrier());
            refuse_membarrier();
            assert!(!membarrier::barrier(), "a refusal is seen each time");
            assert_eq!(membarrier::registered(), before.0, "a registration stays");
            say(b"refused without harm");
        }
        Some("forked") => {
            let parents = membarrier::register();
            // SAFETY: the child makes system calls and accesses to atomics only, and leaves by _exit.
            match unsafe { nix::unistd::fork() }.unwrap() {
                nix::unistd::ForkResult::Child => {
                    let wrong = membarrier::registered();
                    let right = membarrier::register() == parents && membarrier::registered() == parents;
                    // SAFETY: _exit has no preconditions.
                    unsafe { libc::_exit(i32::from(wrong || !right)) };
                }
                nix::unistd::ForkResult::Parent { child } => {
                    let status = nix::sys::wait::waitpid(child, None).unwrap();
                    assert_eq!(status, nix::sys::wait::WaitStatus::Exited(child, 0));
                }
            }
            say(b"registered anew");
        }
        Some(other) => panic!("no role {other:?}"),
    }
}

/// Installs a seccomp filter on this thread that answers `membarrier` with EPERM and allows the rest.
fn refuse_membarrier() {
    let load_number = libc::sock_filter {
        code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16,
        jt: 0,
        jf: 0,
        k: std::mem::offset_of!(libc::seccomp_data, nr) as u32,
    };
    let is_membarrier = libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        jt: 0,
        jf: 1,
        k: libc::SYS_membarrier as u32,
    };
    let answer = |k| libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k };
    let mut filter = [
        load_number,
        is_membarrier,
        answer(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        answer(libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: takes integers only; it forbids this thread to gain rights by exec.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: the program and its instructions are live during the call, which copies them.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

fn run(role: &str, says: &str) {
    let mut actor = Actor::start(role, std::path::Path::new("none"));
    actor.expect(says);
    assert!(actor.finish().success());
}

#[test]
fn a_refusal_is_an_answer() {
    run("refused", "refused without harm");
    run("refused later", "refused without harm");
}

#[test]
fn a_fork_child_registers_for_itself() {
    run("forked", "registered anew");
}

#[test]
fn registration_and_barrier_agree_with_the_kernel() {
    // MEMBARRIER_CMD_QUERY answers with the commands that this kernel knows, or an error.
    // SAFETY: takes integers only.
    let known = unsafe { libc::syscall(libc::SYS_membarrier, 0, 0, 0) };
    let expedited = known > 0 && known & 0b110 == 0b110;
    assert_eq!(membarrier::register(), expedited);
    assert_eq!(membarrier::registered(), expedited);
    assert_eq!(membarrier::barrier(), expedited);
}
