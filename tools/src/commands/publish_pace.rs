//! `railbus pub --rate`: when the next event is due.
//!
//! Events have a schedule: one each 1/rate seconds from the beginning. A publisher that waited for
//! room is behind it. With catching up, all events that became due go at once, and the average rate
//! holds. Without, the schedule is moved so that little more than [`SLACK`] of it is left to make
//! up.

/// How much of the schedule may be made up without catching up, in seconds: on a busy machine,
/// sleeps end late.
const SLACK: f64 = 0.02;

/// The schedule.
#[derive(Debug)]
pub(crate) struct PublishPace {
    rate: f64,
    catches_up: bool,
    /// Events of the schedule that were given up.
    given_up: f64,
}

impl PublishPace {
    pub(crate) fn new(rate: f64, catches_up: bool) -> PublishPace {
        PublishPace { rate, catches_up, given_up: 0.0 }
    }

    /// How many events may go now, `elapsed` seconds after the beginning and after `events` of
    /// them. If none may, the error is the number of seconds until the next is due.
    pub(crate) fn due(&mut self, elapsed: f64, events: u64) -> Result<usize, f64> {
        let mut due = elapsed * self.rate - self.given_up - events as f64;
        let most = self.rate * SLACK + 1.0;
        if !self.catches_up && due > most {
            self.given_up += due - most;
            due = most;
        }
        if due < 1.0 { Err((1.0 - due) / self.rate) } else { Ok(due as usize) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_due_one_after_the_other() {
        let mut pace = PublishPace::new(100.0, true);
        assert!(pace.due(0.0, 0).is_err_and(|seconds| (seconds - 0.01).abs() < 1e-9));
        assert_eq!(pace.due(0.011, 0), Ok(1));
        assert!(pace.due(0.011, 1).is_err());
        assert_eq!(pace.due(0.051, 1), Ok(4));
    }

    #[test]
    fn after_a_wait_what_was_due_goes_at_once_or_is_given_up() {
        let mut catching_up = PublishPace::new(1e6, true);
        assert_eq!(catching_up.due(10.0, 100), Ok(9_999_900));
        let mut steady = PublishPace::new(1e6, false);
        assert_eq!(steady.due(10.0, 100), Ok(20_001));
        assert!(steady.due(10.0, 100 + 20_001).is_err(), "the rest of the schedule is given up");
        assert_eq!(steady.due(10.001, 100 + 20_001), Ok(1000), "it goes on at the rate");
    }
}
