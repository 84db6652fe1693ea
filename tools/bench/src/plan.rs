//! The supervisor's plan for each process of a run: one JSON argument, written and read by the same
//! program.

use serde::{Deserialize, Serialize};

use super::args::{HandOver, Kind, WaitKind};
use super::clock::Clock;

/// The role of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Leads a latency run: sends, and measures when the answer is there.
    Ping,
    /// Answers.
    Pong,
    /// Sends in a throughput run; the first one leads.
    Producer,
    /// Receives in a throughput run.
    Consumer,
    /// Watches its core in a jitter run.
    Watcher,
    /// Attaches again and again.
    Attacher,
    /// Waits for events that do not come.
    Idler,
}

/// The plan of one process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// Its role.
    pub role: Role,
    /// Its index among the processes of its role, from 0.
    pub index: usize,
    /// Its line in the arena.
    pub worker: usize,
    /// How many workers the run has.
    pub workers: usize,
    /// The core it runs on.
    pub core: usize,
    /// Whether it shares its core with another worker, so that it must give the core away when it
    /// waits.
    pub yields: bool,
    /// Process id of the supervisor: a worker does not outlive it.
    pub supervisor: u32,
    /// The clock, calibrated once for the whole run.
    pub clock: Clock,
    /// How long to measure, in seconds.
    pub seconds: f64,
    /// Length of a block in ns.
    pub block_ns: f64,
    /// The kind of channel.
    pub kind: Kind,
    /// The path of the bus, for kinds that have one.
    pub channel: String,
    /// How the handles wait.
    pub wait: WaitKind,
    /// How events get into the ring.
    pub hand_over: HandOver,
    /// Whether the limit of round trips is a futex ping-pong, rather than one of bare words.
    pub futex_limit: bool,
    /// Bytes per event.
    pub payload_bytes: usize,
    /// Events per second of the open loop.
    pub rate: Option<f64>,
    /// Producing processes.
    pub producers: usize,
    /// Consuming processes.
    pub consumers: usize,
    /// Events per call.
    pub batch: usize,
    /// Pauses after an empty receive.
    pub slip: u32,
    /// Copy lanes in the arena.
    pub copy_lanes: usize,
    /// Bytes of the buffer of the copy limit: the ring's size.
    pub copy_bytes: usize,
    /// Shortest gap that counts, in ns.
    pub threshold_ns: u64,
}

impl Plan {
    /// For messages: `pong on core 1`.
    pub fn name(&self) -> String {
        let role = match self.role {
            Role::Ping => "ping".to_string(),
            Role::Pong => "pong".to_string(),
            Role::Producer => format!("producer {}", self.index),
            Role::Consumer => format!("consumer {}", self.index),
            Role::Watcher => "watcher".to_string(),
            Role::Attacher => "attacher".to_string(),
            Role::Idler => "idler".to_string(),
        };
        format!("{role} on core {}", self.core)
    }
}
