//! The role `probe`: one mistake each. A mistake that the type system rules out is `UNSUPPORTED`.

use std::time::Duration;

use railbus::{
    Bus, Channel, ChannelOptions, Kind, Overflow, SendOptions, Start, SubscribeOptions, WorkOptions,
};
use railbus_ring::members::peers::Side;

use crate::payload::payload;
use crate::send::Any;
use crate::{Arguments, Failed, WAIT, receive, say, table_probes, usage};

const ONE: &[u8] = b"12345678";
const SHORT: Duration = Duration::from_millis(20);

/// A probe's surroundings.
struct Probe {
    bus: Bus,
    name: String,
}

pub(crate) fn run(arguments: &Arguments, names: &[String]) -> Result<(), Failed> {
    let bus = Bus::open(&arguments.text("bus", ""))?;
    for name in names {
        let mut probe = Probe { bus: bus.clone(), name: name.clone() };
        let result = table_probes::run(&bus, name).unwrap_or_else(|| probe.run(name));
        let symbol = match result {
            Ok(()) => "OK",
            Err(Failed(symbol, _)) => symbol,
        };
        say(format_args!("probe {name} {symbol}"));
        // Many probes make no channel.
        let _ = bus.remove(&probe.name);
    }
    Ok(())
}

impl Probe {
    fn run(&mut self, probe: &str) -> Result<(), Failed> {
        let stream = SubscribeOptions::default;
        match probe {
            "name_empty" => self.attach(""),
            "name_slash" => self.attach("a/b"),
            "name_dot" => self.attach(".a"),
            "name_zero" => self.attach("a\0b"),
            "name_control" => self.attach("a\nb"),
            "name_long" => self.attach(&"x".repeat(101)),
            "name_100" => {
                self.name = "x".repeat(100);
                self.make(Kind::Stream).map(drop)
            }
            "name_unicode" => {
                self.name = "kanal ä 漢字 🚌".into();
                self.there_and_back(Kind::Stream, |_| 8)
            }
            "bus_name_zero" => Ok(Bus::open("a\0b").map(drop)?),
            "attach_missing" | "attach_timed_out" => self.attach_missing(probe),
            "remove_missing" => Ok(self.bus.remove(&self.name)?),
            "create_twice" => {
                self.make(Kind::Stream)?;
                self.make(Kind::Stream).map(drop)
            }
            "create_other_kind" => {
                self.make(Kind::Stream)?;
                Ok(self.bus.create_or_attach(&self.name, &small(Kind::Queue)).map(drop)?)
            }
            "capacity_odd" => self.create(&ChannelOptions::new(Kind::Stream).capacity_bytes(5000)),
            "slots_of_stream" => self.create(&small(Kind::Stream).slots(64)),
            "worker_of_stream" => Ok(self.make(Kind::Stream)?.worker(&WorkOptions::default()).map(drop)?),
            "second_publisher" => {
                let channel = self.make(Kind::Stream)?;
                let _first = Any::open(&channel)?;
                Any::open(&channel).map(drop)
            }
            "durable_without_name" => self.read(Kind::Stream, stream().durable(true)),
            "durable_in_use" => {
                let channel = self.make(Kind::Stream)?;
                let options = stream().durable(true).name("mine");
                let _first = channel.subscriber(&options)?;
                Ok(channel.subscriber(&options).map(drop)?)
            }
            "lossy_tap" => self.read(Kind::Queue, stream().lossy(true)),
            "manual_lossy" => self.read(Kind::Stream, stream().lossy(true).manual(true)),
            "acknowledge_beyond" | "acknowledge_not_manual" => {
                let channel = self.make(Kind::Stream)?;
                let is_manual = probe == "acknowledge_beyond";
                let mut reader = channel.subscriber(&stream().manual(is_manual))?;
                channel.publisher(&SendOptions::default())?.try_publish(ONE)?;
                let position = if is_manual { 8 } else { 0 };
                Ok(reader.acknowledge_to(position).map_err(railbus::Error::from)?)
            }
            "start_not_retained" => self.read(Kind::Stream, stream().start(Start::Position(1 << 40))),
            "payload_empty" => self.there_and_back(Kind::Topic, |_| 0),
            "payload_max" => self.there_and_back(Kind::Stream, |max| max),
            "too_long" => self.there_and_back(Kind::Stream, |max| max + 1),
            "claim_too_long" => {
                let mut sender = self.make(Kind::Topic)?.topic_publisher(&SendOptions::default())?;
                let bytes = sender.payload_max() + 1;
                Ok(sender.try_claim(bytes).map(drop)?)
            }
            "empty" | "timed_out" => {
                let mut reader = self.make(Kind::Stream)?.subscriber(&stream())?;
                if probe == "timed_out" {
                    return Ok(reader.recv_timeout(SHORT).map(drop)?);
                }
                reader.try_recv()?.map(drop).ok_or(Failed("EMPTY", String::new()))
            }
            "take_empty" => {
                let mut worker = self.make(Kind::Queue)?.worker(&WorkOptions::default())?;
                worker.take_ticket()?.map(drop).ok_or(Failed("EMPTY", String::new()))
            }
            "full" => {
                let channel = self.make(Kind::Stream)?;
                let (mut sender, _reader) =
                    (channel.publisher(&SendOptions::default())?, channel.subscriber(&stream())?);
                loop {
                    sender.try_publish(ONE)?;
                }
            }
            "full_timed_out" | "dropped" => {
                let is_dropping = probe == "dropped";
                let overflow = if is_dropping { Overflow::DropNewest } else { Overflow::Block };
                let channel = self.bus.create(&self.name, &small(Kind::Topic).overflow(overflow))?;
                let mut sender = channel.topic_publisher(&SendOptions::default())?;
                let _reader = channel.topic_subscriber(&stream())?;
                loop {
                    if is_dropping {
                        sender.publish(ONE)?
                    } else {
                        sender.publish_timeout(ONE, SHORT)?
                    };
                }
            }
            "no_worker" => {
                let channel = self.make(Kind::Queue)?;
                let mut sender = channel.producer(&SendOptions::default())?;
                drop(channel.worker(&WorkOptions::default())?);
                loop {
                    sender.try_publish(ONE)?;
                }
            }
            "lost" => {
                let channel = self.make(Kind::Stream)?;
                let mut sender = channel.publisher(&SendOptions::default())?;
                let mut reader = channel.subscriber(&stream().lossy(true))?;
                for _ in 0..1000 {
                    sender.try_publish(ONE)?;
                }
                Ok(reader.recv_timeout(WAIT).map(drop)?)
            }
            "closed" => {
                let channel = self.make(Kind::Stream)?;
                let mut sender = channel.publisher(&SendOptions::default())?;
                let mut reader = channel.subscriber(&stream().until_closed(true))?;
                sender.try_publish(ONE)?;
                drop(sender);
                reader.recv_timeout(WAIT)?;
                Ok(reader.recv_timeout(WAIT).map(drop)?)
            }
            "not_held" => {
                let channel = self.make(Kind::Queue)?;
                channel.producer(&SendOptions::default())?.try_publish(ONE)?;
                let mut worker = channel.worker(&WorkOptions::default())?;
                let ticket = worker.take_ticket_timeout(WAIT)?;
                let _ = worker.done(ticket);
                if worker.done(ticket) { Ok(()) } else { Err(Failed("NOT_HELD", String::new())) }
            }
            "evicted" => {
                let channel = self.make(Kind::Stream)?;
                let mut reader = channel.subscriber(&stream())?;
                let index = channel.info()?.participants.first().map_or(0, |one| one.index);
                channel.evict(Side::Consumers, index, Duration::ZERO)?;
                Ok(reader.try_recv().map(drop)?)
            }
            "removed_reader" | "removed_worker" | "removed_sender" => self.removed(&self.name),
            "forked" => self.fork(),
            "claim_open" | "closed_sender" | "closed_reader" | "closed_worker" | "closed_channel"
            | "closed_bus" | "closed_table" => Err(Failed("UNSUPPORTED", String::new())),
            other => usage(&format!("unknown probe {other}")),
        }
    }

    fn attach(&self, name: &str) -> Result<(), Failed> {
        Ok(self.bus.attach(name).map(drop)?)
    }

    fn attach_missing(&self, name: &str) -> Result<(), Failed> {
        match name {
            "attach_timed_out" => {
                Ok(self.bus.attach_timeout(&self.name, Duration::from_millis(20)).map(drop)?)
            }
            _ => self.attach(&self.name),
        }
    }

    fn create(&self, options: &ChannelOptions) -> Result<(), Failed> {
        Ok(self.bus.create(&self.name, options).map(drop)?)
    }

    fn make(&self, kind: Kind) -> Result<Channel, Failed> {
        Ok(self.bus.create(&self.name, &small(kind))?)
    }

    fn read(&self, kind: Kind, options: SubscribeOptions) -> Result<(), Failed> {
        receive::Any::open(&self.make(kind)?, &options).map(drop)
    }

    fn there_and_back(&self, kind: Kind, bytes: impl Fn(usize) -> usize) -> Result<(), Failed> {
        let channel = self.make(kind)?;
        let mut sender = Any::open(&channel)?;
        let mut reader = receive::Any::open(&channel, &SubscribeOptions::default())?;
        let payload = payload(bytes(sender.payload_max()), 1, 0);
        sender.publish(&payload)?;
        let event = reader.receive()?;
        if *event == *payload { Ok(()) } else { Err(Failed("CORRUPT", "another payload".into())) }
    }

    /// Removes the channel while a participant is attached.
    fn removed(&self, who: &str) -> Result<(), Failed> {
        let long = Duration::from_secs(60);
        let channel = self.make(Kind::Queue)?;
        let remove = || self.bus.remove(&self.name);
        match who {
            "removed_reader" => {
                let mut reader = channel.tap(&SubscribeOptions::default())?;
                remove()?;
                Ok(reader.recv_timeout(long).map(drop)?)
            }
            "removed_worker" => {
                let mut worker = channel.worker(&WorkOptions::default())?;
                remove()?;
                Ok(worker.take_timeout(long).map(drop)?)
            }
            _ => {
                let mut sender = channel.producer(&SendOptions::default())?;
                remove()?;
                // One may be on its way.
                let _ = sender.try_publish(ONE);
                Ok(sender.try_publish(ONE).map(drop)?)
            }
        }
    }

    fn fork(&self) -> Result<(), Failed> {
        use nix::sys::wait::{WaitStatus, waitpid};
        use nix::unistd::{ForkResult, fork};
        let mut sender = self.make(Kind::Stream)?.publisher(&SendOptions::default())?;
        // SAFETY: this program has one thread; the child publishes, which allocates nothing, and
        // leaves by _exit.
        let forked = unsafe { fork() };
        match forked {
            Ok(ForkResult::Child) => {
                let is_told = sender.try_publish(ONE) == Err(railbus::SendError::Forked);
                // SAFETY: _exit has no preconditions.
                unsafe { libc::_exit(if is_told { 7 } else { 1 }) }
            }
            Ok(ForkResult::Parent { child }) => match waitpid(child, None) {
                Ok(WaitStatus::Exited(_, 7)) => Err(Failed("FORKED", String::new())),
                _ => Ok(()),
            },
            Err(error) => Err(Failed("IO", error.to_string())),
        }
    }
}

fn small(kind: Kind) -> ChannelOptions {
    match kind {
        Kind::Stream => ChannelOptions::new(kind).capacity_bytes(4096),
        Kind::Queue | Kind::Topic => ChannelOptions::new(kind).slots(64).slot_bytes(64),
        Kind::Table => ChannelOptions::new(kind).keys(64).value_bytes(64),
    }
}
