//! `railbus watch`: a small daemon that finds stuck participants, repairs what dead ones left, and
//! reports it.
//!
//! At each interval it looks at the channels ([`crate::observe`]) and compares with the last look
//! ([`alarms`]). It acts by the channel's [`policy`], and reports each happening once: a line on
//! standard output, and the command that `--exec` names. It is never necessary, because a
//! participant that waits repairs what is in its way. It serves channels that nobody uses at the
//! moment, and operators who want to be called.

mod alarms;
mod happening;
mod policy;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use alarms::Alarms;
use happening::{Hand, Happening, What};
use policy::{ChannelPolicy, Policy};
use railbus::admin::Evicted;
use railbus::info::Participant;
use railbus::{Bus, Channel, ChannelName, Error, admin as directory};
use railbus_ring::members::peers::Side;

use crate::commands::prune::holding;
use crate::failure::{Failure, Outcome, note};
use crate::observe::{ChannelView, ParticipantView, Sampled, Sampler, Wanted};
use crate::output::print;
use crate::units::parse_time;
use crate::{interrupt, open};

const EXAMPLES: &str = "\
Examples:
  railbus watch                                    every channel: tell who is stuck, repair what the dead left
  railbus watch demo --policy evict                evict who is stuck, too
  railbus watch --for demo/ticks=skip-to-live --for demo/jobs=evict
  railbus watch --exec 'logger \"$RAILBUS_TEXT\"'    a command for each thing that happens
  railbus watch --once                             look once: exit code 9 if somebody is stuck, 6 if a journal's disk is full
  railbus watch --prune-after 1h                   remove channels that nobody has used for an hour

Stuck is who lives, holds others up, and has not moved for longer than the channel's stuck-after: a fact about the \
ring, not a verdict. Policies: alarm tells it; evict tells a reader or worker that it is out (a worker's events are handed \
to others, and its done is refused), and KILLS the process of a producer; skip-to-live evicts readers, which lose what they have not read and \
come back live, and nobody else. Durable subscriptions are never evicted.

The command gets RAILBUS_EVENT (stuck, moves, evicted, repaired, pruned, journal-waits, journal-goes-on, failed), RAILBUS_TEXT, RAILBUS_CHANNEL, \
RAILBUS_WHO, RAILBUS_PID and RAILBUS_STUCK_NS.";

/// How long an eviction waits for a killed process to go; it is tried again at the next look.
const EVICTION_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the actions at one look may take for the buses of one user. The rest waits for the next
/// look.
const ACTING_MAX: Duration = Duration::from_secs(2);
/// How long `--once` watches at most a participant that seems to be stuck, and how often.
const ONCE_MAX: Duration = Duration::from_secs(60);
const ONCE_EVERY: Duration = Duration::from_millis(100);
/// How long the lock of a bus is waited for.
const LOCK_WAIT: Duration = Duration::from_millis(250);
/// The exit code of `--once` when somebody is stuck.
const STUCK: u8 = 9;
/// The exit code of `--once` when a journal waits for room, descriptors or memory.
const NO_SPACE: u8 = 6;

/// Watch for stuck participants, repair what dead ones left, alarm or evict
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct WatchArgs {
    /// Buses and channels, as BUS or BUS/CHANNEL [default: all]
    wanted: Vec<Wanted>,
    /// How often to look
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = parse_time)]
    interval: Duration,
    /// Look once, act, and end with exit code 9 if somebody is stuck, 6 if a journal waits (its
    /// disk is full)
    #[arg(long)]
    once: bool,
    /// Action on a stuck participant: alarm, evict or skip-to-live
    #[arg(long, default_value = "alarm", value_name = "POLICY")]
    policy: Policy,
    /// The policy of one channel, as BUS/CHANNEL=POLICY; may be given again
    #[arg(long = "for", value_name = "CHANNEL=POLICY")]
    policies: Vec<ChannelPolicy>,
    /// Act only when somebody has been stuck for this long [default: the channel's stuck-after]
    #[arg(long, default_value = "0s", hide_default_value = true, value_name = "TIME", value_parser = parse_time)]
    patience: Duration,
    /// Do not repair what dead participants left
    #[arg(long)]
    no_repair: bool,
    /// Remove channels that nobody has used for this long, unless they hold something
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    prune_after: Option<Duration>,
    /// A command for the shell, run for each thing that happens
    #[arg(long, value_name = "COMMAND")]
    exec: Option<String>,
    /// Print a JSON object on a line for each thing that happens
    #[arg(long)]
    json: bool,
}

/// Watches until SIGINT or SIGTERM, or once.
pub(crate) fn run(args: &WatchArgs) -> Outcome {
    if args.interval < Duration::from_millis(10) || args.interval > Duration::from_secs(86_400) {
        return Err(Failure::usage("--interval: must be 10ms to 24h"));
    }
    if args.once && args.prune_after.is_some() {
        return Err(Failure::usage("--once sees nobody for no time at all: use `railbus prune`"));
    }
    interrupt::catch();
    directory::limit_lock_wait(LOCK_WAIT);
    let base = open::base_to_look_at()?;
    let mut watcher = Watcher {
        args,
        sampler: Sampler::new(&base, &args.wanted),
        base,
        alarms: Alarms::default(),
        failing: BTreeSet::new(),
        failing_now: BTreeSet::new(),
        unused_since: BTreeMap::new(),
        waiting_journals: BTreeMap::new(),
        hand: Hand::new(args.exec.clone()),
        spent: BTreeMap::new(),
    };
    let mut next = Instant::now();
    loop {
        let stuck = watcher.look()?;
        if args.once {
            watcher.hand.finish();
            let waiting = watcher.waiting_journals.len();
            return match stuck {
                0 if waiting > 0 => {
                    Err(Failure::Told { text: format!("{waiting} journals wait"), code: NO_SPACE })
                }
                0 => Ok(()),
                count => Err(Failure::Told { text: format!("{count} stuck"), code: STUCK }),
            };
        }
        next = (next + args.interval).max(Instant::now());
        if !interrupt::sleep_until(next) {
            watcher.hand.finish();
            return Ok(());
        }
    }
}

struct Watcher<'a> {
    args: &'a WatchArgs,
    base: PathBuf,
    sampler: Sampler,
    alarms: Alarms,
    /// Channels whose look or action failed, at the last look and at this one: a failure that stays
    /// is reported once.
    failing: BTreeSet<String>,
    failing_now: BTreeSet<String>,
    /// The time since which nobody uses a channel.
    unused_since: BTreeMap<String, Instant>,
    /// The resources that journals wait for, by channel.
    waiting_journals: BTreeMap<String, &'static str>,
    hand: Hand,
    /// How long acting at this look has taken, by the owner of the bus.
    spent: BTreeMap<u32, Duration>,
}

impl Watcher<'_> {
    /// Looks at all channels and acts. Returns how many are stuck.
    fn look(&mut self) -> Result<usize, Failure> {
        // A bus that comes later is watched from then on.
        let sampled =
            if self.args.once { self.sample_once()? } else { self.sampler.sample_what_is_there()? };
        for (name, why) in &sampled.failed {
            self.fail(&name.to_string(), why)?;
        }
        let seen = self.alarms.see(&sampled.channels, self.args.patience);
        for moving in &seen.moving {
            self.tell(Happening::of(What::Moves, moving))?;
        }
        self.look_at_journals(&sampled.channels)?;
        let mut stuck = 0;
        for channel in &sampled.channels {
            for one in channel.participants.iter().filter(|one| Alarms::is_stuck(one, self.args.patience)) {
                stuck += 1;
                if seen.is_new(channel, one) {
                    self.tell(Happening::stuck(channel, one))?;
                }
                self.within_budget(channel, |this| this.act(channel, one))?;
            }
            if !self.args.no_repair && channel.participants.iter().any(|one| one.state == "dead") {
                self.within_budget(channel, |this| this.repair(channel))?;
            }
        }
        self.spent.clear();
        if let Some(after) = self.args.prune_after {
            self.prune(&sampled, after)?;
        }
        self.failing = std::mem::take(&mut self.failing_now);
        Ok(stuck)
    }

    /// Looks until it is known of every participant whether it is stuck.
    fn sample_once(&mut self) -> Result<Sampled, Failure> {
        let until = Instant::now() + ONCE_MAX;
        loop {
            let sampled = self.sampler.sample()?;
            let Some(left) = sampled.undecided else { return Ok(sampled) };
            let next = until.min(Instant::now() + left.min(ONCE_EVERY));
            if next >= until || !interrupt::sleep_until(next) {
                return Ok(sampled);
            }
        }
    }

    /// Acts on a channel, unless the buses of its owner have taken enough time at this look. So the
    /// channels of one user delay no other user's.
    fn within_budget(&mut self, channel: &ChannelView, act: impl FnOnce(&mut Self) -> Outcome) -> Outcome {
        use std::os::unix::fs::MetadataExt;
        let bus = channel.channel.split('/').next().unwrap_or_default();
        let owner = std::fs::metadata(self.base.join(bus)).map_or(0, |about| about.uid());
        if self.spent.get(&owner).is_some_and(|spent| *spent >= ACTING_MAX) {
            return Ok(());
        }
        let started = Instant::now();
        let outcome = act(self);
        *self.spent.entry(owner).or_default() += started.elapsed();
        outcome
    }

    /// Reports each journal that waits for something once, and once more when it goes on.
    fn look_at_journals(&mut self, channels: &[ChannelView]) -> Outcome {
        let mut waiting = BTreeMap::new();
        for channel in channels {
            let before = self.waiting_journals.remove(&channel.channel);
            match (channel.journal_waits_for, before) {
                (Some(what), before) => {
                    if before != Some(what) {
                        let text = format!(
                            "its journal waits for {what}{}",
                            if what == "space" { ": the disk is full" } else { "" }
                        );
                        self.tell(Happening::plain(What::Waits, &channel.channel, text))?;
                    }
                    waiting.insert(channel.channel.clone(), what);
                }
                (None, Some(what)) => {
                    let text = format!("its journal does not wait for {what} any more");
                    self.tell(Happening::plain(What::GoesOn, &channel.channel, text))?;
                }
                (None, None) => {}
            }
        }
        self.waiting_journals = waiting;
        Ok(())
    }

    fn policy(&self, channel: &str) -> Policy {
        let own = self.args.policies.iter().rev().find(|policy| policy.channel.to_string() == channel);
        own.map_or(self.args.policy, |own| own.policy)
    }

    /// Evicts a stuck participant, if the policy requires it.
    fn act(&mut self, channel: &ChannelView, one: &ParticipantView) -> Outcome {
        let policy = self.policy(&channel.channel);
        if one.durable || !policy.evicts(one.role) {
            return Ok(());
        }
        let name = &channel.channel;
        match self.evict(name, one) {
            Ok(None) => Ok(()),
            Ok(Some(evicted)) => self.tell(Happening::evicted(channel, one, evicted)),
            Err(why) => self.fail(name, &why),
        }
    }

    /// Evicts it, unless it has moved, or has left, since the look.
    fn evict(&self, channel: &str, one: &ParticipantView) -> Result<Option<Evicted>, Error> {
        let name: ChannelName = channel.parse()?;
        let channel = self.attach(channel)?;
        let side = if one.side == "producer" { Side::Producers } else { Side::Consumers };
        let is_it =
            |now: &&Participant| (now.side, now.index, now.generation) == (side, one.index, one.generation);
        // The eviction uses the observer that has seen it not move all the time.
        let Some(info) = self.sampler.look_again(&name).transpose()? else { return Ok(None) };
        let Some(now) = info.participants.iter().find(is_it).filter(|now| now.stuck_ns.is_some()) else {
            return Ok(None);
        };
        channel.evict_exactly(now, EVICTION_TIMEOUT).map(Some)
    }

    fn repair(&mut self, view: &ChannelView) -> Outcome {
        let repaired = match self.attach(&view.channel).and_then(|channel| channel.repair()) {
            Ok(repaired) => repaired,
            Err(Error::NotFound { .. }) => return Ok(()),
            Err(why) => return self.fail(&view.channel, &why),
        };
        for (_, why) in &repaired.skipped {
            self.fail(&view.channel, why)?;
        }
        // An unsettled entry is found again at the next look.
        if repaired.buried.is_empty() {
            return Ok(());
        }
        let mut text = format!("{} dead buried", repaired.buried.len());
        if repaired.redone > 0 {
            text.push_str(&format!(", {} events handed back", repaired.redone));
        }
        if repaired.aborted > 0 {
            text.push_str(&format!(", {} unpublished events marked", repaired.aborted));
        }
        self.tell(Happening::plain(What::Repaired, &view.channel, text))
    }

    /// Removes channels that nobody has used for long enough.
    fn prune(&mut self, sampled: &Sampled, after: Duration) -> Outcome {
        let now = Instant::now();
        let is_used = |channel: &ChannelView| channel.participants.iter().any(|one| one.state != "dead");
        let unused: BTreeSet<&str> = sampled
            .channels
            .iter()
            .filter(|channel| !is_used(channel))
            .map(|channel| channel.channel.as_str())
            .collect();
        self.unused_since.retain(|name, _| unused.contains(name.as_str()));
        for &name in &unused {
            self.unused_since.entry(name.to_owned()).or_insert(now);
        }
        let due: Vec<ChannelName> = self
            .unused_since
            .iter()
            .filter(|(_, since)| now.duration_since(**since) >= after)
            .filter_map(|(name, _)| name.parse().ok())
            .collect();
        let buses: BTreeSet<&str> = due.iter().map(ChannelName::bus).collect();
        for bus in buses {
            let paths: BTreeSet<PathBuf> =
                due.iter().filter(|name| name.bus() == bus).map(|name| name.paths(&self.base).ring).collect();
            let holding = match holding(&self.base, bus) {
                Err(why) => {
                    self.fail(bus, &why)?;
                    continue;
                }
                Ok(holding) => holding,
            };
            let is_kept = |path: &Path| {
                let ring = path.with_extension("ring");
                holding.contains(&ring) || !paths.contains(&ring)
            };
            let pruned = match directory::prune(&self.base, bus, is_kept) {
                Err(Error::NotFound { .. }) => continue,
                Err(why) => {
                    self.fail(bus, &why)?;
                    continue;
                }
                Ok(pruned) => pruned,
            };
            for name in &pruned.removed {
                let text = format!("removed: nobody used it for {} s", after.as_secs());
                self.tell(Happening::plain(What::Pruned, &name.to_string(), text))?;
            }
            for (name, why) in pruned.failed.iter().filter(|(name, _)| due.contains(name)) {
                self.fail(&name.to_string(), why)?;
            }
        }
        Ok(())
    }

    fn attach(&self, channel: &str) -> Result<Channel, Error> {
        let name: ChannelName = channel.parse()?;
        Bus::at(&self.base, name.bus())?.attach(name.channel())
    }

    /// Reports a failure, unless it was there at the last look.
    fn fail(&mut self, name: &str, why: &Error) -> Outcome {
        if self.failing_now.insert(name.to_owned()) && !self.failing.contains(name) {
            self.tell(Happening::plain(What::Failed, name, why.to_string()))?;
        }
        Ok(())
    }

    fn tell(&mut self, happening: Happening) -> Outcome {
        print(&if self.args.json { happening.json() } else { happening.line() })?;
        if let Err(why) = self.hand.run(&happening) {
            note(&format!("--exec: {why}"));
        }
        Ok(())
    }
}
