//! The live view: a list of stores, and one of them in full.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use ratatui::Frame;
use ratatui::crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph, Row, Sparkline, Table};

use super::view::{Trouble, View};
use super::{Look, bytes_per_second, count, percent, plain, time};

/// Looks that the curves go back.
const HISTORY: usize = 512;
/// Columns of the bar that tells how full a store is.
const BAR_COLUMNS: usize = 20;
/// Lines of the list of stores at most; the selected one is always among them.
const LISTED_MAX: usize = 6;

/// What is shown.
pub struct Screen {
    views: Vec<View>,
    /// Stores that did not answer.
    silent: usize,
    /// Bytes a second of gets and puts at the last looks, by process and store.
    history: BTreeMap<(u32, u64), Curves>,
    selected: usize,
    is_paused: bool,
    interval: Duration,
    has_colours: bool,
}

#[derive(Default)]
struct Curves {
    gets: VecDeque<u64>,
    puts: VecDeque<u64>,
}

/// What a key does.
pub enum Command {
    /// Ends the view.
    Quit,
    /// Nothing more.
    Nothing,
}

impl Screen {
    /// What a first look saw, of which nothing has a rate yet.
    pub fn new(first: Look, interval: Duration, has_colours: bool) -> Screen {
        let (history, selected, is_paused) = (BTreeMap::new(), 0, false);
        let Look { views, silent } = first;
        Screen { views, silent, history, selected, is_paused, interval, has_colours }
    }

    /// Time between two looks.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// Whether no looks are wanted.
    pub fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Takes what was seen.
    pub fn look(&mut self, look: Look) {
        let Look { views, silent } = look;
        self.silent = silent;
        self.history.retain(|of, _| views.iter().any(|view| (view.pid, view.store) == *of));
        for view in &views {
            let curves = self.history.entry((view.pid, view.store)).or_default();
            for (curve, rate) in [
                (&mut curves.gets, view.gets.bytes_per_second),
                (&mut curves.puts, view.puts.bytes_per_second),
            ] {
                curve.push_back(rate as u64);
                if curve.len() > HISTORY {
                    curve.pop_front();
                }
            }
        }
        self.selected = self.selected.min(views.len().saturating_sub(1));
        self.views = views;
    }

    /// Takes a key, or what else the terminal tells.
    pub fn take(&mut self, event: &Event) -> Command {
        let Event::Key(key) = event else { return Command::Nothing };
        if key.kind == KeyEventKind::Release {
            return Command::Nothing;
        }
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Command::Quit,
            KeyCode::Char('q') | KeyCode::Esc => return Command::Quit,
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Up | KeyCode::Char('k') => self.selected = self.selected.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') if self.selected + 1 < self.views.len() => self.selected += 1,
            _ => {}
        }
        Command::Nothing
    }

    fn style(&self, colour: Color) -> Style {
        if self.has_colours { Style::new().fg(colour) } else { Style::new() }
    }

    /// Draws all of it.
    pub fn draw(&self, frame: &mut Frame<'_>) {
        let listed = self.views.len().clamp(1, LISTED_MAX) as u16;
        let [head, list, detail, foot] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(listed),
            Constraint::Min(0),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        let paused = if self.is_paused { ", paused" } else { "" };
        let silent = match self.silent {
            0 => String::new(),
            1 => ", 1 does not answer".to_owned(),
            many => format!(", {many} do not answer"),
        };
        let seconds = self.interval.as_secs_f64();
        let stores =
            if self.views.len() == 1 { "1 store".to_owned() } else { format!("{} stores", self.views.len()) };
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let title = Line::from(vec![
            Span::styled("nixl-store top", bold),
            Span::raw(format!(": {stores}{silent}, every {seconds} s{paused}")),
        ]);
        frame.render_widget(title, head);
        self.draw_list(frame, list);
        match self.views.get(self.selected) {
            Some(view) => self.draw_store(frame, detail, view),
            None => {
                frame.render_widget(Line::raw("no store is open any more; one that opens is shown"), detail)
            }
        }
        let keys = "q quit   p pause   up, down another store";
        frame.render_widget(Line::styled(keys, Style::new().add_modifier(Modifier::DIM)), foot);
    }

    fn draw_list(&self, frame: &mut Frame<'_>, area: Rect) {
        let first = (self.selected + 1).saturating_sub(usize::from(area.height));
        let lines = self.views.iter().enumerate().skip(first).map(|(index, view)| {
            let is_selected = index == self.selected;
            let mark = if is_selected { ">" } else { " " };
            let text = format!(
                "{mark} pid {:<8} {:>10} in {:>10} out  hits {:>7}  {}",
                view.pid,
                bytes_per_second(view.puts.bytes_per_second),
                bytes_per_second(view.gets.bytes_per_second),
                percent(view.gets.hit_ratio),
                view.location_or_memory()
            );
            let style = if is_selected { Style::new().add_modifier(Modifier::BOLD) } else { Style::new() };
            Line::styled(text, style)
        });
        frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), area);
    }

    fn draw_store(&self, frame: &mut Frame<'_>, area: Rect, view: &View) {
        let block = Block::new().borders(Borders::TOP).title(format!(" {} ", plain::title(view)));
        let inside = block.inner(area);
        frame.render_widget(block, area);
        let trouble = view.trouble.words();
        let [place, fullness, gets, puts, rest, times, bad] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Length(3),
            Constraint::Length(3),
            Constraint::Length(1),
            Constraint::Min(0),
            Constraint::Length(u16::from(!trouble.is_empty())),
        ])
        .areas(inside);
        frame.render_widget(Line::raw(view.location_or_memory()), place);
        self.draw_fullness(frame, fullness, view);
        let curves = self.history.get(&(view.pid, view.store));
        let gets_text = format!(
            "gets {}/s, {}, hits {}",
            count(view.gets.per_second),
            bytes_per_second(view.gets.bytes_per_second),
            percent(view.gets.hit_ratio)
        );
        self.draw_curve(frame, gets, &gets_text, curves.map(|curves| &curves.gets), Color::Green);
        let puts_text = format!(
            "puts {}/s, {}, declined {}/s, evictions {}/s",
            count(view.puts.per_second),
            bytes_per_second(view.puts.bytes_per_second),
            count(view.puts.declined_per_second),
            count(view.evictions_per_second)
        );
        self.draw_curve(frame, puts, &puts_text, curves.map(|curves| &curves.puts), Color::Cyan);
        frame.render_widget(Line::raw(format!("in flight {}", count(view.items_in_flight))), rest);
        draw_times(frame, times, view);
        self.draw_trouble(frame, bad, &view.trouble, &trouble);
    }

    fn draw_fullness(&self, frame: &mut Frame<'_>, area: Rect, view: &View) {
        let text = format!("holds {}", plain::holds(&view.holds));
        let Some(ratio) = view.holds.fullness() else {
            frame.render_widget(Line::raw(text), area);
            return;
        };
        let filled = (ratio.clamp(0.0, 1.0) * BAR_COLUMNS as f64).round() as usize;
        let bar = "█".repeat(filled) + &"░".repeat(BAR_COLUMNS - filled);
        let line =
            Line::from(vec![Span::styled(bar, self.style(Color::Blue)), Span::raw(format!(" {text}"))]);
        frame.render_widget(line, area);
    }

    fn draw_curve(
        &self,
        frame: &mut Frame<'_>,
        area: Rect,
        text: &str,
        curve: Option<&VecDeque<u64>>,
        colour: Color,
    ) {
        let [words, line] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
        frame.render_widget(Line::raw(text), words);
        let shown = usize::from(line.width);
        let points: Vec<u64> = curve
            .map(|curve| curve.iter().skip(curve.len().saturating_sub(shown)).copied().collect())
            .unwrap_or_default();
        frame.render_widget(Sparkline::default().data(&points).style(self.style(colour)), line);
    }

    fn draw_trouble(&self, frame: &mut Frame<'_>, area: Rect, trouble: &Trouble, words: &[String]) {
        if words.is_empty() {
            return;
        }
        let colour =
            if trouble.is_poisoned || trouble.corruptions > 0.0 { Color::Red } else { Color::Yellow };
        frame.render_widget(
            Line::styled(format!("since open: {}", words.join(", ")), self.style(colour)),
            area,
        );
    }
}

fn draw_times(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let rows = view.latencies.iter().filter(|latency| latency.per_second > 0.0).map(|latency| {
        Row::new([
            latency.direction.clone(),
            latency.size.clone(),
            format!("{}/s", count(latency.per_second)),
            format!("<= {}", time(latency.p50_seconds)),
            format!("<= {}", time(latency.p99_seconds)),
        ])
    });
    let widths = [5, 9, 10, 14, 14].map(Constraint::Length);
    let header = Row::new(["", "up to", "items", "half took", "99 % took"])
        .style(Style::new().add_modifier(Modifier::DIM));
    frame.render_widget(Table::new(rows, widths).header(header), area);
}

#[cfg(test)]
mod tests {
    use nixl_store::status::Socket;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::KeyEvent;

    use super::super::sample::Sample;
    use super::*;

    /// What a store says after so many gets of 1 MiB, of which three quarters hit.
    fn sample(gets: u64, location: &str) -> Sample {
        let (hits, bytes) = (gets * 3 / 4, gets << 20);
        Sample::parse(&format!(
            "nixl_store_info{{location=\"{location}\",backend=\"POSIX\",layout=\"static\",path=\"io_uring\",worker=\"3\"}} 1\n\
             nixl_store_gets_total{{outcome=\"hit\"}} {hits}\n\
             nixl_store_gets_total{{outcome=\"miss\"}} {}\n\
             nixl_store_payload_bytes_total{{direction=\"get\"}} {bytes}\n\
             nixl_store_latency_seconds_bucket{{direction=\"get\",size=\"1MiB\",le=\"0.000512\"}} {hits}\n\
             nixl_store_latency_seconds_bucket{{direction=\"get\",size=\"1MiB\",le=\"+Inf\"}} {hits}\n\
             nixl_store_slots 400\nnixl_store_free_slots 100\nnixl_store_keys 300\n\
             nixl_store_stored_bytes 314572800\nnixl_store_capacity_bytes 419430400\n\
             nixl_store_corruptions_total 2\n# EOF\n",
            gets - hits
        ))
    }

    fn screen(has_colours: bool) -> Screen {
        let socket = |pid| Socket { pid, store: 1, path: "/x".into() };
        let (earlier, mut now) = (sample(0, "/mnt/a"), sample(4000, "/mnt/a"));
        now.at = earlier.at + Duration::from_secs(2);
        let views = vec![
            View::between(&socket(71), Some(&earlier), &now),
            View::between(&socket(72), None, &sample(0, "/mnt/b")),
        ];
        let none = Look { views: Vec::new(), silent: 0 };
        let mut screen = Screen::new(none, Duration::from_secs(1), has_colours);
        screen.look(Look { views, silent: 1 });
        screen
    }

    fn drawn(screen: &Screen, columns: u16, lines: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(columns, lines)).unwrap();
        terminal.draw(|frame| screen.draw(frame)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn a_terminal_of_80_columns_shows_all() {
        let text = drawn(&screen(true), 80, 24);
        for part in [
            "nixl-store top: 2 stores, 1 does not answer, every 1 s",
            "> pid 71 ",
            "2.1 GB/s out  hits  75.0 %  /mnt/a",
            "  pid 72 ",
            "pid 71, store 1, worker 3: POSIX, static, io_uring",
            "holds 300.0 MiB of 400.0 MiB (75.0 %), 300 keys",
            "gets 2.0k/s, 2.1 GB/s, hits 75.0 %",
            "get   1MiB      1.5k/s",
            "<= 512 us",
            "since open: 2 reads not proven right",
            "q quit",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    }

    #[test]
    fn no_size_of_a_terminal_is_too_small() {
        for (columns, lines) in [(1, 1), (10, 3), (40, 10), (300, 100)] {
            drawn(&screen(false), columns, lines);
        }
        let mut empty = screen(true);
        empty.look(Look { views: Vec::new(), silent: 0 });
        assert!(drawn(&empty, 80, 24).contains("no store is open any more"));
    }

    #[test]
    fn without_colours_there_are_none() {
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        for (has_colours, is_coloured) in [(true, true), (false, false)] {
            terminal.draw(|frame| screen(has_colours).draw(frame)).unwrap();
            let cells = &terminal.backend().buffer().content;
            let coloured = cells.iter().any(|cell| (cell.fg, cell.bg) != (Color::Reset, Color::Reset));
            assert_eq!(coloured, is_coloured);
        }
    }

    #[test]
    fn keys_do_what_the_last_line_says() {
        let mut screen = screen(true);
        let press =
            |screen: &mut Screen, code| screen.take(&Event::Key(KeyEvent::new(code, KeyModifiers::NONE)));
        for code in [KeyCode::Down, KeyCode::Down] {
            press(&mut screen, code);
        }
        assert_eq!(screen.selected, 1);
        press(&mut screen, KeyCode::Up);
        press(&mut screen, KeyCode::Char('p'));
        assert_eq!((screen.selected, screen.is_paused), (0, true));
        assert!(matches!(press(&mut screen, KeyCode::Char('q')), Command::Quit));
        let interrupt = Event::Key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
        assert!(matches!(screen.take(&interrupt), Command::Quit));
    }
}
