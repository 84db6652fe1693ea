//! What a reader of either sort answers when it gives out nothing.

use railbus::RecvError;

use crate::result::{Failure, RAILBUS_TIMED_OUT, railbus_error, receive_failed};

/// What a reader of either sort answers when it gives out nothing.
pub(crate) trait Failed {
    /// Tells the caller.
    fn answer(self, error: *mut railbus_error) -> i32;
    /// To be told later.
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
