//! A reader that finds itself evicted.

use crate::error::RecvError;
use crate::inlet::Inlet;
use crate::reader::Reader;

impl<R: Inlet> Reader<R> {
    /// Says that this reader was evicted, and that it looks at nothing any more: nothing borrowed outlives the
    /// call that came here.
    #[cold]
    pub(super) fn evicted(&mut self) -> RecvError {
        self.ring.take_back_lent();
        self.wake();
        RecvError::Evicted
    }
}
