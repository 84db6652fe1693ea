//! A reader that finds itself evicted.

use crate::ReadEnd;
use crate::error::RecvError;
use crate::handle::reader::Reader;

impl<R: ReadEnd> Reader<R> {
    /// Says that this reader was evicted, and that it looks at nothing any more: nothing borrowed outlives the
    /// call that came here.
    #[cold]
    pub(super) fn evicted(&mut self) -> RecvError {
        self.ring.take_back_lent();
        self.wake();
        RecvError::Evicted
    }
}
