//! rtrb: a ring between two threads.

use std::path::Path;
use std::sync::Mutex;

use rtrb::{Consumer, Producer, RingBuffer};

use crate::rival::{Payload, Result, Rival, Rx, Tx, slots};

/// Both ends of a lane, until they are taken.
type LaneEnds<const BYTES: usize> = (Option<Producer<Payload<BYTES>>>, Option<Consumer<Payload<BYTES>>>);

/// Rings of values.
pub struct Rtrb<const BYTES: usize> {
    lanes: Vec<Mutex<LaneEnds<BYTES>>>,
}

impl<const BYTES: usize> Rival<BYTES> for Rtrb<BYTES> {
    type Tx = Producer<Payload<BYTES>>;
    type Rx = Consumer<Payload<BYTES>>;

    fn prepare(_place: &Path, lanes: usize, _readers: usize) -> Result<Self> {
        let ring = || {
            let (producer, consumer) = RingBuffer::new(slots(BYTES));
            Mutex::new((Some(producer), Some(consumer)))
        };
        Ok(Rtrb { lanes: (0..lanes).map(|_| ring()).collect() })
    }

    fn tx(&self, lane: usize) -> Result<Self::Tx> {
        self.lanes[lane].lock().expect("no panic").0.take().ok_or_else(|| "taken".into())
    }

    fn rx(&self, lane: usize, _reader: usize) -> Result<Self::Rx> {
        self.lanes[lane].lock().expect("no panic").1.take().ok_or_else(|| "taken".into())
    }
}

impl<const BYTES: usize> Tx for Producer<Payload<BYTES>> {
    #[inline(always)]
    fn try_send(&mut self, payload: &[u8]) -> Result<bool> {
        Ok(self.push(Payload::of(payload)).is_ok())
    }
}

impl<const BYTES: usize> Rx for Consumer<Payload<BYTES>> {
    #[inline(always)]
    fn poll(&mut self, each: &mut impl FnMut(&[u8])) -> Result<bool> {
        // In place, which is faster than `pop` for large values.
        let Ok(chunk) = self.read_chunk(1) else { return Ok(false) };
        each(&chunk.as_slices().0[0].0);
        chunk.commit_all();
        Ok(true)
    }
}
