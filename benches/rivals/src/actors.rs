//! Runs the actors of a measurement, each on a core: as forked processes, or as threads.

use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use crate::arena::Arena;
use crate::rival::{Result, Way};

/// A measurement that takes longer hangs.
const HANG: Duration = Duration::from_secs(60);

/// The processors that this process may use.
pub fn processors() -> Vec<usize> {
    let set = sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
    (0..CpuSet::count()).filter(|&cpu| set.is_set(cpu).unwrap_or(false)).collect()
}

fn pin(cpus: &[usize], actor: usize) {
    let mut set = CpuSet::new();
    if set.set(cpus[actor % cpus.len()]).is_ok() {
        // An actor that cannot be pinned is measured where it runs.
        let _ = sched_setaffinity(Pid::from_raw(0), &set);
    }
}

/// An actor's process.
pub struct Actor(pub Pid);

impl Actor {
    /// Forks an actor that runs `act` and ends. It does not run the destructors of this process.
    pub fn fork(arena: &'static Arena, index: usize, act: impl FnOnce() -> Result<()>) -> Result<Actor> {
        let cpus = processors();
        // SAFETY: this process has one thread.
        match unsafe { fork()? } {
            ForkResult::Parent { child } => Ok(Actor(child)),
            ForkResult::Child => {
                pin(&cpus, index);
                // SAFETY: asks the kernel to kill this process with its parent.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
                let code = match act() {
                    Ok(()) => 0,
                    Err(error) => {
                        eprintln!("actor {index}: {error}");
                        arena.fail(&error.to_string());
                        1
                    }
                };
                // SAFETY: ends the process at once.
                unsafe { libc::_exit(code) }
            }
        }
    }

    /// Kills the actor at once.
    pub fn kill(&self) {
        let _ = kill(self.0, Signal::SIGKILL);
    }

    /// Waits for the actor's end. An actor that hangs is killed, which is an error.
    pub fn wait(&self) -> Result<()> {
        let start = Instant::now();
        loop {
            match waitpid(self.0, Some(WaitPidFlag::WNOHANG))? {
                WaitStatus::Exited(_, 0) => return Ok(()),
                WaitStatus::StillAlive if start.elapsed() < HANG => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                WaitStatus::StillAlive => {
                    self.kill();
                    waitpid(self.0, None)?;
                    return Err("an actor hung".into());
                }
                other => return Err(format!("an actor ended with {other:?}").into()),
            }
        }
    }
}

/// Runs `act` once for each actor, and waits for all of them.
pub fn run(
    way: Way,
    arena: &'static Arena,
    actors: usize,
    act: impl Fn(usize) -> Result<()> + Sync,
) -> Result<()> {
    if way == Way::Threads {
        let cpus = processors();
        return std::thread::scope(|scope| {
            let threads: Vec<_> = (0..actors)
                .map(|index| {
                    let (act, cpus) = (&act, &cpus);
                    scope.spawn(move || {
                        pin(cpus, index);
                        act(index)
                    })
                })
                .collect();
            threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "an actor panicked")?)
        });
    }
    let forked: Vec<Actor> =
        (0..actors).map(|index| Actor::fork(arena, index, || act(index))).collect::<Result<_>>()?;
    let ends: Vec<Result<()>> = forked
        .iter()
        .map(|actor| {
            let end = actor.wait();
            if end.is_err() {
                forked.iter().for_each(Actor::kill);
            }
            end
        })
        .collect();
    ends.into_iter().collect()
}
