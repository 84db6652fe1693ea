//! A process in a pseudo-terminal of its own.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use nix::pty::{Winsize, openpty};

/// Starts a command in a terminal of that many rows and columns. Returns the terminal's other end,
/// where its output is read and keys are written. The end of the last process in the terminal is an
/// error there (EIO).
pub(crate) fn start(mut command: Command, (rows, columns): (u16, u16)) -> (Child, File) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = openpty(&size, None).expect("a pseudo-terminal");
    let again = || pty.slave.try_clone().expect("a descriptor");
    command.stdin(again()).stdout(again()).stderr(again()).env("TERM", "xterm-256color");
    let fd = pty.slave.as_raw_fd();
    let own = move || {
        nix::unistd::setsid()?;
        // SAFETY: the descriptor is the terminal that this process was given; it becomes its own.
        if unsafe { libc::ioctl(fd, libc::TIOCSCTTY, 0) } < 0 {
            return Err(std::io::Error::last_os_error());
        }
        Ok(())
    };
    // SAFETY: between fork and exec there are two system calls, and nothing is allocated.
    unsafe { command.pre_exec(own) };
    let child = command.spawn().expect("the program starts");
    (child, File::from(pty.master))
}
