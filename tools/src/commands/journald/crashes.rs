//! The policy for a recorder that has panicked: it is started again, each time after a longer
//! pause. If the panics go on, the daemon ends, so that its supervisor notices.

use std::time::{Duration, Instant};

/// A recorder that has panicked is started again this much later; twice as much each further time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// If one channel's recorder panics this often within [`WINDOW`], the daemon ends.
const CRASHES_MAX: usize = 4;
/// Panics longer ago than this do not count.
const WINDOW: Duration = Duration::from_secs(600);

/// The panics of one channel's recorder.
#[derive(Debug, Default)]
pub(crate) struct Crashes {
    times: Vec<Instant>,
}

impl Crashes {
    /// Counts a panic. Returns when to start the recorder again, or `None` when it panics too
    /// often.
    pub(crate) fn note(&mut self, now: Instant) -> Option<Instant> {
        self.times.retain(|&time| now.saturating_duration_since(time) < WINDOW);
        self.times.push(now);
        let count = self.times.len();
        (count < CRASHES_MAX).then(|| now + FIRST_PAUSE * (1 << (count - 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_until_it_is_too_often() {
        let (mut crashes, begin) = (Crashes::default(), Instant::now());
        assert_eq!(crashes.note(begin), Some(begin + FIRST_PAUSE));
        assert_eq!(crashes.note(begin), Some(begin + 2 * FIRST_PAUSE));
        assert_eq!(crashes.note(begin), Some(begin + 4 * FIRST_PAUSE));
        assert_eq!(crashes.note(begin), None);
        let later = begin + WINDOW;
        assert_eq!(crashes.note(later), Some(later + FIRST_PAUSE), "long ago is forgotten");
    }
}
