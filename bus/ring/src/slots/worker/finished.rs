//! Whether every event of the queue is done, by any worker.
//!
//! A done event stays done. So a worker remembers up to which ticket it has found everything done,
//! and reads each done word once. A worker that waits for others to finish reads the first word
//! that does not say DONE again and again, and no other.

use super::SlotWorker;
use crate::layout;
use crate::memory::{Edge, Memory};
use crate::slots::word::done;

impl<M: Memory> SlotWorker<M> {
    /// Whether every ticket that producers have won is done. It costs a few loads, and one more for
    /// each ticket that was done since the last call.
    pub fn is_finished(&mut self) -> bool {
        // TAIL, HEAD: these are hints. A ticket that no worker has taken is not done.
        let tail = self.view.ring.load(layout::TAIL, Edge::Tail);
        if self.view.acks.load(layout::HEAD, Edge::Head) != tail {
            return false;
        }
        // The ticket of a whole ring ago was done when its slot was won again.
        let mut until = self.done_until.max(tail.saturating_sub(self.view.slots.count));
        // DONE: a caller that finds everything done sees what the workers did before that.
        while until < tail
            && self.view.done.load(self.view.slots.done_offset(until), Edge::Done)
                == self.view.slots.state(until, done::DONE)
        {
            until += 1;
        }
        self.done_until = until;
        // A slot of the next lap looks unfinished, and its ticket is.
        until >= tail && self.view.ring.load(layout::TAIL, Edge::Tail) == tail
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alone::Alone;
    use crate::slots::view::SlotView;
    use crate::slots::word::Slots;

    #[test]
    fn to_ask_whether_all_is_done_does_not_cost_more_in_a_larger_ring() {
        for count in [64, 1 << 12, 1 << 20] {
            let slots = Slots::new(count, 64);
            let (ring, acks) = (Alone::new(layout::entry(1) as u64), Alone::new(layout::entry(1) as u64));
            let done = Alone::new(layout::done_bytes(count));
            let view = SlotView {
                ring: ring.clone(),
                acks: acks.clone(),
                data: Alone::new(64),
                done: done.clone(),
                slots,
                producers: 1,
                consumers: 1,
            };
            let mut worker = SlotWorker::new(view, 0);
            assert!(worker.is_finished(), "nothing was published");
            // Three laps and a half: all is done but the tenth ticket from the end, which a worker holds.
            let tail = 3 * count + count / 2;
            let last = tail - 10;
            ring.store(layout::TAIL, tail, Edge::Tail);
            (tail - count..tail)
                .filter(|&t| t != last)
                .for_each(|t| done.store(slots.done_offset(t), slots.state(t, done::DONE), Edge::Done));
            done.store(slots.done_offset(last), slots.held(last, done::TAKEN, 0, 0), Edge::Done);
            acks.store(layout::HEAD, tail - 1, Edge::Head);
            let before = done.loads();
            assert!(!worker.is_finished());
            assert_eq!(done.loads(), before, "one is not even taken: no done word is looked at");
            acks.store(layout::HEAD, tail, Edge::Head);
            assert!(!worker.is_finished(), "each is looked at once");
            let before = done.loads();
            for _ in 0..100 {
                assert!(!worker.is_finished());
            }
            assert!(done.loads() - before <= 100, "{} loads of {count} slots", done.loads() - before);
            done.store(slots.done_offset(last), slots.state(last, done::DONE), Edge::Done);
            assert!(worker.is_finished());
            // The next event is of the same lap as none of these.
            ring.store(layout::TAIL, tail + 1, Edge::Tail);
            assert!(!worker.is_finished());
            acks.store(layout::HEAD, tail + 1, Edge::Head);
            assert!(!worker.is_finished());
            let next = slots.state(tail, done::DONE);
            done.store(slots.done_offset(tail), next, Edge::Done);
            assert!(worker.is_finished());
        }
    }
}
