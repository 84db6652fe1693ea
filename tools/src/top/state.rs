//! The state of the display, and how the keys change it.

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::columns::{CHANNELS, PARTICIPANTS};
use crate::observe::{ChannelView, ParticipantView, Sampled, Wanted};

/// Looks that are remembered for the little chart of a channel.
const HISTORY: usize = 300;
/// The most lines by which the help scrolls.
const HELP_SCROLL_MAX: usize = 20;

/// The effect of a key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Go on.
    Stay,
    /// The program ends.
    Leave,
}

/// Which screen is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Screen {
    /// All channels.
    Channels,
    /// The participants of one.
    Participants(String),
}

/// How a table is sorted: by the column of this index among those that have a key; `None` by name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sort {
    /// The column's index in its table.
    pub(crate) column: Option<usize>,
    /// Whether the order is reversed.
    pub(crate) reversed: bool,
}

/// The state of the program.
#[derive(Debug)]
pub(crate) struct State {
    sampled: Sampled,
    /// Events per second of each channel, the newest last.
    history: BTreeMap<String, VecDeque<u64>>,
    screen: Screen,
    /// The name of the chosen channel: it stays chosen wherever it moves.
    chosen: Option<String>,
    /// The first participant that is shown.
    scroll: usize,
    sort_channels: Sort,
    sort_participants: Sort,
    filter: String,
    is_filtering: bool,
    is_paused: bool,
    /// The help is shown from this line on.
    help: Option<usize>,
}

impl State {
    /// Shows all channels; if only one is wanted, shows that one.
    pub(crate) fn new(wanted: Vec<Wanted>) -> State {
        let screen = match &wanted[..] {
            [Wanted::Channel(name)] => Screen::Participants(name.to_string()),
            _ => Screen::Channels,
        };
        State {
            sampled: Sampled::default(),
            history: BTreeMap::new(),
            screen,
            chosen: None,
            scroll: 0,
            sort_channels: Sort::default(),
            sort_participants: Sort::default(),
            filter: String::new(),
            is_filtering: false,
            is_paused: false,
            help: None,
        }
    }

    /// Takes over a new look.
    pub(crate) fn see(&mut self, sampled: Sampled) {
        self.history.retain(|name, _| sampled.channels.iter().any(|channel| channel.channel == *name));
        for channel in &sampled.channels {
            let history = self.history.entry(channel.channel.clone()).or_default();
            if let Some(rate) = channel.events_per_second {
                history.push_back(rate.round() as u64);
            }
            while history.len() > HISTORY {
                history.pop_front();
            }
        }
        self.sampled = sampled;
    }

    /// Whether looking is suspended.
    pub(crate) fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// The first line of the help, if it is shown.
    pub(crate) fn help(&self) -> Option<usize> {
        self.help
    }

    /// The screen.
    pub(crate) fn screen(&self) -> &Screen {
        &self.screen
    }

    /// The text that names must contain, and whether it is being typed.
    pub(crate) fn filter(&self) -> (&str, bool) {
        (&self.filter, self.is_filtering)
    }

    /// Why some channels are not shown.
    pub(crate) fn failures(&self) -> impl Iterator<Item = String> {
        self.sampled.failed.iter().map(|(name, why)| format!("{name}: {why}"))
    }

    /// How many channels there are, shown or not.
    pub(crate) fn all(&self) -> usize {
        self.sampled.channels.len()
    }

    /// Events per second of a channel, the newest last.
    pub(crate) fn history(&self, channel: &str) -> impl DoubleEndedIterator<Item = u64> {
        self.history.get(channel).into_iter().flatten().copied()
    }

    /// How the table on the screen is sorted.
    pub(crate) fn sort(&self) -> Sort {
        match self.screen {
            Screen::Channels => self.sort_channels,
            Screen::Participants(_) => self.sort_participants,
        }
    }

    /// The channels that are shown, in order.
    pub(crate) fn channels(&self) -> Vec<&ChannelView> {
        let mut shown: Vec<&ChannelView> =
            self.sampled.channels.iter().filter(|channel| channel.channel.contains(&self.filter)).collect();
        // The names are in order already, and sorting keeps the order of equals.
        if let Some(key) = self.sort_channels.column.and_then(|column| CHANNELS[column].key) {
            shown.sort_by(|one, other| descending(key(one), key(other)));
        }
        if self.sort_channels.reversed {
            shown.reverse();
        }
        shown
    }

    /// A channel by its name.
    pub(crate) fn channel(&self, name: &str) -> Option<&ChannelView> {
        self.sampled.channels.iter().find(|channel| channel.channel == name)
    }

    /// The participants of a channel, in order.
    pub(crate) fn participants<'a>(&self, channel: &'a ChannelView) -> Vec<&'a ParticipantView> {
        let mut shown: Vec<&ParticipantView> = channel.participants.iter().collect();
        if let Some(key) = self.sort_participants.column.and_then(|column| PARTICIPANTS[column].key) {
            shown.sort_by(|one, other| descending(key(one), key(other)));
        }
        if self.sort_participants.reversed {
            shown.reverse();
        }
        shown
    }

    /// Which of the channels that are shown is chosen.
    pub(crate) fn chosen(&self) -> Option<usize> {
        let shown = self.channels();
        let at =
            self.chosen.as_ref().and_then(|name| shown.iter().position(|channel| channel.channel == *name));
        at.or((!shown.is_empty()).then_some(0))
    }

    /// The first participant to be shown, of those that fit.
    pub(crate) fn scroll(&self) -> usize {
        self.scroll
    }

    /// A key was pressed.
    pub(crate) fn press(&mut self, key: KeyEvent) -> Then {
        if key.kind == KeyEventKind::Release {
            return Then::Stay;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return if key.code == KeyCode::Char('c') { Then::Leave } else { Then::Stay };
        }
        if self.is_filtering {
            self.type_filter(key.code);
            return Then::Stay;
        }
        if let Some(line) = self.help {
            match key.code {
                KeyCode::Char('q') => return Then::Leave,
                KeyCode::Down | KeyCode::Char('j') => self.help = Some((line + 1).min(HELP_SCROLL_MAX)),
                KeyCode::Up | KeyCode::Char('k') => self.help = Some(line.saturating_sub(1)),
                _ => self.help = None,
            }
            return Then::Stay;
        }
        match key.code {
            KeyCode::Char('q') => return Then::Leave,
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.help = Some(0),
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Char('/') => {
                self.is_filtering = true;
                self.screen = Screen::Channels;
            }
            KeyCode::Char('s') => self.sort_by_next(),
            KeyCode::Char('r') => {
                let sort = self.sort_mut();
                sort.reversed = !sort.reversed;
            }
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::PageUp => self.step(-10),
            KeyCode::PageDown => self.step(10),
            KeyCode::Home => self.step(isize::MIN / 2),
            KeyCode::End => self.step(isize::MAX / 2),
            KeyCode::Enter | KeyCode::Right if self.screen == Screen::Channels => {
                let chosen = self.chosen().map(|at| self.channels()[at].channel.clone());
                if let Some(name) = chosen {
                    self.chosen = Some(name.clone());
                    self.scroll = 0;
                    self.screen = Screen::Participants(name);
                }
            }
            KeyCode::Esc | KeyCode::Left | KeyCode::Backspace => match &self.screen {
                Screen::Participants(_) => self.screen = Screen::Channels,
                Screen::Channels => self.filter.clear(),
            },
            _ => {}
        }
        Then::Stay
    }

    fn type_filter(&mut self, key: KeyCode) {
        match key {
            KeyCode::Enter => self.is_filtering = false,
            KeyCode::Esc => {
                self.is_filtering = false;
                self.filter.clear();
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(letter) => self.filter.push(letter),
            _ => {}
        }
    }

    fn sort_mut(&mut self) -> &mut Sort {
        match self.screen {
            Screen::Channels => &mut self.sort_channels,
            Screen::Participants(_) => &mut self.sort_participants,
        }
    }

    fn sort_by_next(&mut self) {
        let has_key: Vec<bool> = match self.screen {
            Screen::Channels => CHANNELS.iter().map(|column| column.key.is_some()).collect(),
            Screen::Participants(_) => PARTICIPANTS.iter().map(|column| column.key.is_some()).collect(),
        };
        let sort = self.sort_mut();
        let after = sort.column.map_or(0, |column| column + 1);
        sort.column = (after..has_key.len()).find(|&column| has_key[column]);
    }

    fn step(&mut self, by: isize) {
        if let Screen::Participants(name) = &self.screen {
            let count = self.channel(name).map_or(0, |channel| channel.participants.len());
            self.scroll = self.scroll.saturating_add_signed(by).min(count.saturating_sub(1));
            return;
        }
        let Some(at) = self.chosen() else { return };
        let shown = self.channels();
        let to = at.saturating_add_signed(by).min(shown.len() - 1);
        self.chosen = Some(shown[to].channel.clone());
    }
}

/// The largest first.
fn descending(one: f64, other: f64) -> Ordering {
    other.total_cmp(&one)
}
