//! The live view at work: keys, signals, and looks on a thread of their own, as a store whose process is stopped keeps whoever asks
//! it waiting.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};

use nixl_store::sys::thread;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

use super::screen::{Command, Screen};
use super::{Look, Watch};
use crate::output::Failure;

/// Longest time until a signal, or what a look has seen, is heeded.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// Shows the stores until the user ends it, from what the first look saw on.
///
/// # Errors
/// If the terminal cannot be used.
pub fn show(watch: Watch, first: Look, interval: Duration, has_colours: bool) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::os("using the terminal", &error);
    let signal = Signal::new()?;
    let looks = Looks::begin(watch)?;
    let mut screen = Screen::new(first, interval, has_colours);
    let mut terminal = ratatui::try_init().map_err(failed)?;
    let shown = live(&mut terminal, &looks, &signal, &mut screen);
    // The terminal is given back whatever happened.
    let restored = ratatui::try_restore();
    signal.obey();
    restored.and(shown).map_err(failed)
}

fn live(
    terminal: &mut DefaultTerminal,
    looks: &Looks,
    signal: &Signal,
    screen: &mut Screen,
) -> io::Result<()> {
    let mut next_look = Instant::now() + screen.interval();
    let mut is_looking = false;
    terminal.draw(|frame| screen.draw(frame))?;
    loop {
        let now = Instant::now();
        if now >= next_look {
            next_look = now + screen.interval();
            if !is_looking && !screen.is_paused() {
                is_looking = looks.ask();
            }
        }
        let mut is_new = event::poll(WAIT_MAX.min(next_look.saturating_duration_since(now)))?;
        if is_new && matches!(screen.take(&event::read()?), Command::Quit) || signal.came() {
            return Ok(());
        }
        if let Some(look) = looks.seen()? {
            is_looking = false;
            if !screen.is_paused() {
                screen.look(look);
                is_new = true;
            }
        }
        if is_new {
            terminal.draw(|frame| screen.draw(frame))?;
        }
    }
}

/// The thread that looks, one look at a time. It ends with the process, as it may be waiting for a store.
struct Looks {
    wanted: Sender<()>,
    seen: Receiver<Look>,
}

impl Looks {
    fn begin(mut watch: Watch) -> Result<Looks, Failure> {
        let (wanted, is_wanted) = channel();
        let (see, seen) = channel();
        let look = move || {
            while is_wanted.recv().is_ok() && see.send(watch.look()).is_ok() {}
        };
        thread::spawn("looks", look).map_err(|error| Failure::os("starting a thread", &error))?;
        Ok(Looks { wanted, seen })
    }

    /// Asks for a look.
    fn ask(&self) -> bool {
        self.wanted.send(()).is_ok()
    }

    /// What was seen since the last call, if anything.
    fn seen(&self) -> io::Result<Option<Look>> {
        match self.seen.try_recv() {
            Ok(look) => Ok(Some(look)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(io::Error::other("the thread that looks has ended")),
        }
    }
}

/// The signal that ends the process, which waits until the terminal is as it was.
struct Signal(Arc<AtomicUsize>);

impl Signal {
    /// Takes the signals from now on.
    fn new() -> Result<Signal, Failure> {
        let came = Arc::new(AtomicUsize::new(0));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            flag::register_usize(signal, Arc::clone(&came), signal as usize)
                .map_err(|error| Failure::os("taking signals", &error))?;
        }
        Ok(Signal(came))
    }

    fn came(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// Ends the process as the signal does, if one came.
    fn obey(&self) {
        if self.came() {
            // Where that cannot be, the process ends in the ordinary way.
            let _ = low_level::emulate_default_handler(self.0.load(Ordering::Relaxed) as i32);
        }
    }
}
