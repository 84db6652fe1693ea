//! The core on which a participant's thread last ran, as the kernel reports it.

use railbus::info::{Life, Participant};
use railbus_os::process::start_time_ticks;

/// The core; `None` for a participant that is gone, or lives in another PID namespace.
pub(crate) fn core_of(one: &Participant) -> Option<u32> {
    if one.life != Life::Live || start_time_ticks(one.pid).ok()? != one.start_time {
        return None;
    }
    // The thread that made the handle may have ended; then any thread of the process is used.
    let of_thread = std::fs::read(format!("/proc/{}/task/{}/stat", one.pid, one.tid));
    let text = of_thread.or_else(|_| std::fs::read(format!("/proc/{}/stat", one.pid))).ok()?;
    // The name of a process is arbitrary bytes of its choice.
    let text = String::from_utf8_lossy(&text);
    last_core(&text)
}

/// Field 39 of a stat file. The name, field 2, is in parentheses and may hold anything.
fn last_core(text: &str) -> Option<u32> {
    let (_, after_name) = text.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(36)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_is_found_behind_a_hostile_name() {
        let fields: Vec<String> = (3..=52).map(|field| field.to_string()).collect();
        assert_eq!(last_core(&format!("7 (a) 1 (b ) 9) {}", fields.join(" "))), Some(39));
        assert_eq!(last_core("7 (short) S 1"), None);
        assert_eq!(last_core(""), None);
    }

    #[test]
    fn this_thread_runs_on_a_core_of_this_machine() {
        let text = std::fs::read_to_string("/proc/thread-self/stat").expect("readable");
        let core = last_core(&text).expect("a core") as usize;
        assert!(railbus_os::process::allowed_cpus().expect("allowed").contains(&core));
    }
}
