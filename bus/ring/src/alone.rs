//! Memory for tests that measure the cost of a protocol: words of one thread, with a count of its
//! loads.

use std::cell::Cell;
use std::rc::Rc;

use crate::memory::{Edge, Memory};

/// Words of one thread, zero at first, and the number of loads.
#[derive(Debug, Clone)]
pub(crate) struct Alone(Rc<Vec<Cell<u64>>>, Rc<Cell<u64>>);

impl Alone {
    pub(crate) fn new(bytes: u64) -> Alone {
        Alone(Rc::new(vec![Cell::new(0); bytes as usize / 8]), Rc::default())
    }

    /// The number of loads so far.
    pub(crate) fn loads(&self) -> u64 {
        self.1.get()
    }
}

impl Memory for Alone {
    fn load(&self, at: usize, _: Edge) -> u64 {
        self.1.set(self.1.get() + 1);
        self.0[at / 8].get()
    }

    fn store(&self, at: usize, value: u64, _: Edge) {
        self.0[at / 8].set(value);
    }

    fn compare_exchange(&self, at: usize, current: u64, new: u64, _: Edge) -> Result<u64, u64> {
        let found = self.0[at / 8].get();
        if found == current {
            self.0[at / 8].set(new);
        }
        if found == current { Ok(found) } else { Err(found) }
    }

    fn fetch_add(&self, at: usize, value: u64, _: Edge) -> u64 {
        self.0[at / 8].replace(self.0[at / 8].get() + value)
    }

    fn store_if(&self, _: usize, _: u64, _: Edge, _: &Self, _: usize, _: isize) -> bool {
        unreachable!("nothing here stores behind a guard")
    }

    fn fence(&self, _: Edge) {}

    fn light_fence(&self, _: Edge) {}
}
