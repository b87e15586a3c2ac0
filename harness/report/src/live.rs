//! The live view of a run on stderr: one line a board on a terminal, plain lines elsewhere.
//!
//! Its own thread redraws, so that the times go on while nothing happens and no task of the
//! runner is needed for it. Plain ANSI; the terminal is clean when the view is dropped.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hil_core::event::{Doing, Event, Sink};
use hil_core::mask::Masker;

use crate::live_view::View;
use crate::mask::fit_to_store;

const REDRAW: Duration = Duration::from_millis(250);
/// Progress comes in thousands of small steps; the eye needs few.
const QUICKEST: Duration = Duration::from_millis(60);
/// In a log, a line of progress a board this often.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// How to draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Lines only, each written once.
    Plain { colour: bool },
    /// Lines above, and below them one line a board that is redrawn.
    Redrawn { colour: bool },
}

impl Mode {
    /// What suits an output, by whether it is a terminal and by `TERM` and `NO_COLOR`.
    pub fn of(is_terminal: bool, term: Option<&str>, no_color: Option<&str>) -> Mode {
        let able = is_terminal && !matches!(term, Some("dumb" | "") | None);
        let colour = able && no_color.is_none_or(str::is_empty);
        if able { Mode::Redrawn { colour } } else { Mode::Plain { colour } }
    }

    fn from_env(is_terminal: bool) -> Mode {
        let var = |name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        Mode::of(is_terminal, var("TERM").as_deref(), var("NO_COLOR").as_deref())
    }

    fn colour(self) -> bool {
        let (Mode::Plain { colour } | Mode::Redrawn { colour }) = self;
        colour
    }
}

/// Whether to colour what goes to stdout, the final table say.
pub fn colour_on_stdout() -> bool {
    Mode::from_env(io::stdout().is_terminal()).colour()
}

/// A sink that shows what happens. One serves all boards of a run.
pub struct Live {
    shared: Arc<Shared>,
    masker: Masker,
    redrawer: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    over: Condvar,
}

struct State {
    view: View,
    out: Box<dyn Write + Send>,
    mode: Mode,
    size: fn() -> (usize, usize),
    /// Lines of the block at the bottom, which the next drawing replaces.
    drawn: usize,
    drawn_at: Option<Instant>,
    plain_every: Duration,
    ended: bool,
}

impl Live {
    /// The view on stderr, in the mode that suits it. Secrets of `masker` are not shown.
    pub fn stderr(masker: Masker) -> Live {
        let mode = Mode::from_env(io::stderr().is_terminal());
        Live::to(Box::new(io::stderr()), mode, masker, stderr_size, PLAIN_EVERY)
    }

    /// The view on any output; `size` gives its columns and rows, `plain_every` how often plain
    /// mode tells of progress.
    pub fn to(
        out: Box<dyn Write + Send>,
        mode: Mode,
        masker: Masker,
        size: fn() -> (usize, usize),
        plain_every: Duration,
    ) -> Live {
        let state = State {
            view: View::default(),
            out,
            mode,
            size,
            drawn: 0,
            drawn_at: None,
            plain_every,
            ended: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), over: Condvar::new() });
        let redrawn = matches!(mode, Mode::Redrawn { .. });
        // Without the thread only the clock in the line stands still, so a host that refuses one
        // is no reason to stop.
        let redrawer = if redrawn { start_redrawing(&shared) } else { None };
        Live { shared, masker, redrawer }
    }

    /// Puts a line of hil's own above the boards, unharmed by their redrawing.
    pub fn print(&self, line: &str) {
        self.shared.lock().draw(&[line.to_string()]);
    }
}

impl Sink for Live {
    fn event(&self, board: &str, event: &Event) {
        let event = fit_to_store(event, &self.masker);
        let mut state = self.shared.lock();
        let (plain, colour) = (matches!(state.mode, Mode::Plain { .. }), state.mode.colour());
        let lines = state.view.event(&self.masker.text(board), &event, plain, colour);
        state.draw(&lines);
    }

    fn doing(&self, doing: &Doing) {
        let what = self.masker.text(&doing.what).into_owned();
        let doing =
            Doing { board: self.masker.text(&doing.board).into_owned(), what, of: doing.of };
        let mut state = self.shared.lock();
        state.view.doing(&doing);
        match state.mode {
            Mode::Plain { .. } => {
                let every = state.plain_every;
                let line = state.view.doing_line(&doing.board, every);
                state.draw(line.as_slice());
            }
            Mode::Redrawn { .. } => {
                if state.drawn_at.is_none_or(|at| at.elapsed() >= QUICKEST) {
                    state.draw(&[]);
                }
            }
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        {
            let mut state = self.shared.lock();
            state.ended = true;
            state.draw(&[]);
        }
        self.shared.over.notify_all();
        if let Some(redrawer) = self.redrawer.take() {
            // It only waits for the above; a panic of its own has told itself.
            let _ = redrawer.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Writes `lines` for good and the boards' lines below them, in one write.
    fn draw(&mut self, lines: &[String]) {
        let mut text = String::new();
        let redrawn = matches!(self.mode, Mode::Redrawn { .. });
        if redrawn && self.drawn > 0 {
            let _ = write!(text, "\x1b[{}A\r\x1b[J", self.drawn);
        }
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
        self.drawn = 0;
        if redrawn && !self.ended {
            let (columns, rows) = (self.size)();
            let block = self.view.lines(columns.saturating_sub(1).max(20), rows.max(4) - 2);
            self.drawn = block.len();
            self.drawn_at = Some(Instant::now());
            // Without wrapping a line stays one line, however wide the terminal takes a sign.
            for line in block {
                let _ = writeln!(text, "\x1b[?7l{line}\x1b[?7h");
            }
        }
        if !text.is_empty() {
            // A view that nobody can see any more must not end the run.
            let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        }
    }
}

fn start_redrawing(shared: &Arc<Shared>) -> Option<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    let redraw = move || {
        let mut state = shared.lock();
        while !state.ended {
            let waited = shared.over.wait_timeout(state, REDRAW);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if state.drawn > 0 {
                state.draw(&[]);
            }
        }
    };
    std::thread::Builder::new().name("live view".into()).stack_size(128 << 10).spawn(redraw).ok()
}

/// Columns and rows of the terminal at stderr; the usual ones where it does not say.
fn stderr_size() -> (usize, usize) {
    let size = rustix::termios::tcgetwinsize(io::stderr()).ok();
    match size.map(|size| (usize::from(size.ws_col), usize::from(size.ws_row))) {
        Some((columns, rows)) if columns > 0 && rows > 0 => (columns, rows),
        _ => (80, 24),
    }
}
