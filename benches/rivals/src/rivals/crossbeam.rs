//! crossbeam-channel: a bounded channel between threads.

use std::path::Path;

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded};

use crate::rival::{Payload, Result, Rival, Rx, Tx, slots};

/// Channels of values.
pub struct Crossbeam<const BYTES: usize> {
    lanes: Vec<(Sender<Payload<BYTES>>, Receiver<Payload<BYTES>>)>,
}

impl<const BYTES: usize> Rival<BYTES> for Crossbeam<BYTES> {
    type Tx = Sender<Payload<BYTES>>;
    type Rx = Receiver<Payload<BYTES>>;

    fn prepare(_place: &Path, lanes: usize, _readers: usize) -> Result<Self> {
        Ok(Crossbeam { lanes: (0..lanes).map(|_| bounded(slots(BYTES))).collect() })
    }

    fn tx(&self, lane: usize) -> Result<Self::Tx> {
        Ok(self.lanes[lane].0.clone())
    }

    fn rx(&self, lane: usize, _reader: usize) -> Result<Self::Rx> {
        Ok(self.lanes[lane].1.clone())
    }
}

impl<const BYTES: usize> Tx for Sender<Payload<BYTES>> {
    #[inline(always)]
    fn try_send(&mut self, payload: &[u8]) -> Result<bool> {
        match Sender::try_send(self, Payload::of(payload)) {
            Ok(()) => Ok(true),
            Err(TrySendError::Full(_)) => Ok(false),
            Err(TrySendError::Disconnected(_)) => Err("the receiver is gone".into()),
        }
    }
}

impl<const BYTES: usize> Rx for Receiver<Payload<BYTES>> {
    #[inline(always)]
    fn poll(&mut self, each: &mut impl FnMut(&[u8])) -> Result<bool> {
        match self.try_recv() {
            Ok(payload) => {
                each(&payload.0);
                Ok(true)
            }
            Err(TryRecvError::Empty) => Ok(false),
            Err(TryRecvError::Disconnected) => Err("the sender is gone".into()),
        }
    }
}
