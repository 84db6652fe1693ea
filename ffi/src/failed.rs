//! The answers of a reader that returns no event, from the ring or from the journal.

use railbus::RecvError;

use crate::result::{Failure, RAILBUS_TIMED_OUT, railbus_error, receive_failed};

/// The failure of a reader that returns no event.
pub(crate) trait Failed {
    /// Reports it to the caller now.
    fn answer(self, error: *mut railbus_error) -> i32;
    /// Keeps it, to be reported by a later call.
    fn keep(self) -> Failure;
}

impl Failed for RecvError {
    #[inline(always)]
    fn answer(self, error: *mut railbus_error) -> i32 {
        receive_failed(self, error)
    }

    fn keep(self) -> Failure {
        self.into()
    }
}

impl Failed for Failure {
    fn answer(self, error: *mut railbus_error) -> i32 {
        // An ordinary time-out leaves the error struct alone.
        if self.code == RAILBUS_TIMED_OUT { self.code } else { self.tell(error) }
    }

    fn keep(self) -> Failure {
        self
    }
}
