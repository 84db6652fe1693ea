//! Drawing the screen.

use railbus_os::pages::bytes_text;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Sparkline, Table, TableState, Wrap};

use super::columns::{CHANNELS, Column, PARTICIPANTS, fitting};
use super::state::{Screen, Sort, State};
use crate::observe::text::{count_text, ns_text, rate_text};
use crate::observe::{ChannelView, LatencyView};

/// Colours, or none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Palette {
    is_coloured: bool,
}

impl Palette {
    /// The palette by NO_COLOR (<https://no-color.org>: set and not empty).
    pub(crate) fn of_environment() -> Palette {
        Palette { is_coloured: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) }
    }

    fn colour(self, colour: Color) -> Style {
        if self.is_coloured { Style::new().fg(colour) } else { Style::new() }
    }

    fn title(self) -> Style {
        self.colour(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    fn alarm(self) -> Style {
        self.colour(Color::Red).add_modifier(Modifier::BOLD)
    }

    fn dim(self) -> Style {
        self.colour(Color::DarkGray)
    }
}

/// Cells of the first column: the name of a channel, or of a participant.
const CHANNEL_WIDTH: u16 = 16;
const PARTICIPANT_WIDTH: u16 = 18;

/// Draws everything.
pub(crate) fn draw(frame: &mut Frame<'_>, state: &State, palette: Palette) {
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)])
            .areas(frame.area());
    frame.render_widget(headline(state, palette), head);
    if let Some(line) = state.help() {
        frame.render_widget(help(state, palette).scroll((line as u16, 0)), body);
    } else {
        match state.screen() {
            Screen::Channels => channels(frame, state, palette, body),
            Screen::Participants(name) => match state.channel(name) {
                Some(channel) => participants(frame, state, channel, palette, body),
                None => frame.render_widget(Paragraph::new(format!("{name} is not there any more")), body),
            },
        }
    }
    frame.render_widget(footline(state, palette), foot);
}

fn headline(state: &State, palette: Palette) -> Line<'static> {
    let place = match state.screen() {
        Screen::Channels => format!("{} of {} channels", state.channels().len(), state.all()),
        Screen::Participants(name) => name.clone(),
    };
    let mut spans = vec![Span::styled("railbus top  ", palette.title()), Span::raw(place)];
    if state.is_paused() {
        spans.push(Span::styled("  paused", palette.alarm()));
    }
    if let (filter, false) = state.filter()
        && !filter.is_empty()
    {
        spans.push(Span::raw(format!("  filter: {filter}")));
    }
    if let Some(failure) = state.failures().next() {
        spans.push(Span::styled(format!("  {failure}"), palette.alarm()));
    }
    Line::from(spans)
}

fn footline(state: &State, palette: Palette) -> Line<'static> {
    if let (filter, true) = state.filter() {
        return Line::from(format!("/{filter}_   Enter keeps it, Esc forgets it"));
    }
    let title = |column: Option<&'static str>| column.unwrap_or("name");
    let column = state.sort().column;
    let (sorted, keys) = match state.screen() {
        Screen::Channels => (title(column.map(|at| CHANNELS[at].title)), "Enter open  / filter"),
        Screen::Participants(_) => (title(column.map(|at| PARTICIPANTS[at].title)), "Esc back"),
    };
    let reversed = if state.sort().reversed { ", reversed" } else { "" };
    Line::styled(
        format!("q quit  ? help  {keys}  s sort ({sorted}{reversed})  r reverse  p pause"),
        palette.dim(),
    )
}

fn channels(frame: &mut Frame<'_>, state: &State, palette: Palette, area: Rect) {
    let shown = state.channels();
    if shown.is_empty() {
        let text = if state.all() == 0 { "no channels" } else { "no channel's name contains the filter" };
        frame.render_widget(Paragraph::new(text), area);
        return;
    }
    let columns = fitting(CHANNELS, CHANNEL_WIDTH, area.width);
    let rows = shown.iter().map(|channel| {
        let style = if channel.stuck > 0 { palette.alarm() } else { Style::new() };
        row(channel.channel.clone(), &columns, channel).style(style)
    });
    let table = table(rows, "CHANNEL", &columns, CHANNELS, state.sort(), palette)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut at = TableState::new().with_selected(state.chosen());
    frame.render_stateful_widget(table, area, &mut at);
}

fn participants(frame: &mut Frame<'_>, state: &State, channel: &ChannelView, palette: Palette, area: Rect) {
    let facts = facts(channel, palette);
    let chart = if area.height >= 16 { 3 } else { 0 };
    let [head, middle, body] = Layout::vertical([
        Constraint::Length(facts.len() as u16 + 1),
        Constraint::Length(chart),
        Constraint::Min(0),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(facts), head);
    // The newest look is at the right edge.
    let rates: Vec<u64> = state.history(&channel.channel).rev().take(middle.width as usize).collect();
    let rates: Vec<u64> = rates.into_iter().rev().collect();
    frame.render_widget(Sparkline::default().data(&rates).style(palette.colour(Color::Green)), middle);
    let columns = fitting(PARTICIPANTS, PARTICIPANT_WIDTH, body.width);
    let shown = state.participants(channel);
    let rows = shown.iter().skip(state.scroll()).map(|one| {
        let name = if one.name.is_empty() { one.who.clone() } else { format!("{} {}", one.who, one.name) };
        let style = match (one.stuck_ns, one.state) {
            (Some(_), _) => palette.alarm(),
            (None, "live") => Style::new(),
            _ => palette.dim(),
        };
        row(name, &columns, *one).style(style)
    });
    frame.render_widget(table(rows, "WHO", &columns, PARTICIPANTS, state.sort(), palette), body);
}

/// The facts about a channel, in a few lines of 80 cells.
fn facts(channel: &ChannelView, palette: Palette) -> Vec<Line<'static>> {
    let amount = |value: u64| if channel.kind == "stream" { bytes_text(value) } else { value.to_string() };
    let mut facts = vec![
        format!(
            "{}, {} in {} pages ({}), {} events/s, {} B/s, {}",
            channel.kind,
            amount(channel.capacity),
            bytes_text(channel.page_bytes),
            channel.backing,
            rate_text(channel.events_per_second),
            rate_text(channel.bytes_per_second),
            match channel.progress_age_ns {
                Some(age) => format!("published {} ago", ns_text(age)),
                None => "nothing published yet".to_owned(),
            },
        ),
        format!(
            "depth {}{} ({:.1}%), high water {}, full {}, dropped {}, lost {}{}{}",
            amount(channel.depth),
            match (channel.waiting, channel.in_hand) {
                (Some(waiting), Some(in_hand)) => format!(": {waiting} waiting, {in_hand} in hand"),
                _ => String::new(),
            },
            channel.depth_percent,
            amount(channel.high_water),
            count_text(channel.full as f64),
            count_text(channel.dropped as f64),
            count_text(channel.lost as f64),
            if channel.diverted > 0 {
                format!(", diverted {}", count_text(channel.diverted as f64))
            } else {
                String::new()
            },
            if channel.under_pressure == Some(true) { ", UNDER PRESSURE" } else { "" },
        ),
    ];
    if ["queue", "service"].contains(&channel.kind.as_str()) {
        facts.push(format!(
            "redelivered {}, dead letters {}, expired {}, not due {}",
            count_text(channel.redelivered as f64),
            count_text(channel.dead_lettered as f64),
            count_text(channel.expired as f64),
            count_text(channel.not_due.unwrap_or(0) as f64)
        ));
    }
    if let (Some(written), Some(durable)) = (channel.written_lag, channel.durable_lag) {
        facts.push(format!(
            "journal: written {} behind, durable {} behind",
            amount(written),
            amount(durable)
        ));
    }
    facts.push(match &channel.latency_ns {
        Some(latency) => format!("latency   {}", percentiles(latency)),
        None if channel.stamp => "latency   nothing measured in the last five minutes".to_owned(),
        None => "latency   not measured: created without --stamp".to_owned(),
    });
    if let Some(done) = &channel.done_ns {
        facts.push(format!("to done   {}", percentiles(done)));
    }
    let mut lines: Vec<Line<'static>> = facts.into_iter().map(Line::from).collect();
    if let Some(trouble) = channel.journal_trouble() {
        let why = channel.journal_error.as_ref().map_or_else(String::new, |why| format!(": {why}"));
        lines.push(Line::styled(format!("{trouble}{why}"), palette.alarm()));
    }
    if channel.stuck > 0 {
        lines.push(Line::styled(format!("{} stuck", channel.stuck), palette.alarm()));
    }
    lines
}

fn percentiles(latency: &LatencyView) -> String {
    format!(
        "p50 {} p95 {} p99 {} p99.9 {} p99.99 {} max {}",
        ns_text(latency.p50),
        ns_text(latency.p95),
        ns_text(latency.p99),
        ns_text(latency.p999),
        ns_text(latency.p9999),
        ns_text(latency.max)
    )
}

fn row<T>(first: String, columns: &[&'static Column<T>], of: &T) -> Row<'static> {
    let cells = columns.iter().map(|column| {
        // Numbers are aligned by their right ends.
        Cell::from(format!("{:>width$}", (column.cell)(of), width = column.width as usize))
    });
    Row::new(std::iter::once(Cell::from(first)).chain(cells))
}

fn table<'a, T>(
    rows: impl Iterator<Item = Row<'a>>,
    first: &'static str,
    columns: &[&'static Column<T>],
    all: &'static [Column<T>],
    sort: Sort,
    palette: Palette,
) -> Table<'a> {
    let sorted = sort.column.map(|at| all[at].title);
    let titles = columns.iter().map(|column| {
        let style = if Some(column.title) == sorted { Modifier::REVERSED } else { Modifier::empty() };
        Cell::from(format!("{:>width$}", column.title, width = column.width as usize))
            .style(Style::new().add_modifier(style))
    });
    let heads = Row::new(std::iter::once(Cell::from(first)).chain(titles)).style(palette.title());
    let widths = std::iter::once(Constraint::Fill(1))
        .chain(columns.iter().map(|column| Constraint::Length(column.width)));
    Table::new(rows, widths).header(heads).column_spacing(1)
}

fn help(state: &State, palette: Palette) -> Paragraph<'static> {
    let mut lines = vec![
        Line::styled("Keys", palette.title()),
        Line::from("  up down PgUp PgDn Home End (also j k)   choose a channel, or scroll"),
        Line::from("  Enter open   Esc back, or forget the filter   / filter by name   q leave"),
        Line::from(
            "  s sort by the next column   r the other way   p pause   up down: more   any other key: back",
        ),
        Line::styled("Columns (narrow terminals show the more important)", palette.title()),
    ];
    let about = |title: &str, about: &str| Line::from(format!("  {title:<7} {about}"));
    match state.screen() {
        Screen::Channels => lines.extend(CHANNELS.iter().map(|column| about(column.title, column.about))),
        Screen::Participants(_) => {
            lines.extend(PARTICIPANTS.iter().map(|column| about(column.title, column.about)))
        }
    }
    Paragraph::new(lines).wrap(Wrap { trim: false })
}
