//! A reader that finds itself evicted.

use crate::ReadEnd;
use crate::error::RecvError;
use crate::handle::reader::Reader;

impl<R: ReadEnd> Reader<R> {
    /// Reports that this reader was evicted and reads the ring no more. No borrowed event outlives
    /// the call that came here.
    #[cold]
    pub(super) fn evicted(&mut self) -> RecvError {
        self.ring.take_back_lent();
        self.wake();
        RecvError::Evicted
    }
}
