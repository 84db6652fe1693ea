//! Shortages for which a journal waits: room on the disk, file descriptors, memory.
//!
//! A step that fails for such a reason has changed nothing that counts. It may succeed later, when
//! somebody makes room or closes files. So it is tried again, and the journal goes on. Every other
//! failure of a write stops the journal.

use std::io;

/// The resource that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shortage {
    /// The disk is full, or a quota is used up.
    Space,
    /// The process or the system has no more file descriptors.
    Descriptors,
    /// The kernel has no memory.
    Memory,
}

impl Shortage {
    /// Returns the resource that an error reports as missing; `None` for any other error.
    pub fn of(error: &io::Error) -> Option<Shortage> {
        match error.raw_os_error()? {
            libc::ENOSPC | libc::EDQUOT => Some(Shortage::Space),
            libc::EMFILE | libc::ENFILE => Some(Shortage::Descriptors),
            libc::ENOMEM | libc::ENOBUFS => Some(Shortage::Memory),
            _ => None,
        }
    }

    /// Returns one word, for scripts.
    pub fn as_str(self) -> &'static str {
        match self {
            Shortage::Space => "space",
            Shortage::Descriptors => "descriptors",
            Shortage::Memory => "memory",
        }
    }

    /// Returns what is wrong and what to do, for people. It is the end of "its journal waits: ...".
    pub fn advice(self) -> &'static str {
        match self {
            Shortage::Space => "the disk is full; make room (`railbus journal prune`, or remove other files)",
            Shortage::Descriptors => {
                "the journaller has no more file descriptors; raise its limit (ulimit -n, LimitNOFILE=)"
            }
            Shortage::Memory => "the kernel has no memory for the journaller",
        }
    }

    /// Returns the code in `NAME.journal`; 0 means none.
    pub fn code(shortage: Option<Shortage>) -> u64 {
        match shortage {
            None => 0,
            Some(Shortage::Space) => 1,
            Some(Shortage::Descriptors) => 2,
            Some(Shortage::Memory) => 3,
        }
    }

    /// Decodes a [`code`](Self::code).
    pub fn from_code(code: u64) -> Option<Shortage> {
        match code {
            0 => None,
            2 => Some(Shortage::Descriptors),
            3 => Some(Shortage::Memory),
            _ => Some(Shortage::Space),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_is_a_shortage_and_each_has_its_code() {
        let of = |errno| Shortage::of(&io::Error::from_raw_os_error(errno));
        assert_eq!(of(libc::EDQUOT), Some(Shortage::Space));
        assert_eq!(of(libc::ENFILE), Some(Shortage::Descriptors));
        for errno in [libc::EIO, libc::EROFS, libc::EFBIG, libc::EACCES] {
            assert_eq!(of(errno), None);
        }
        for errno in [libc::ENOSPC, libc::EMFILE, libc::ENOMEM] {
            assert_eq!(Shortage::from_code(Shortage::code(of(errno))), of(errno));
        }
        assert_eq!(Shortage::from_code(Shortage::code(None)), None);
    }
}
