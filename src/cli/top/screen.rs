//! The terminal.

use std::io::{self, Stdout, Write};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers, poll, read};
use crossterm::style::{Attribute, Print, SetAttribute};
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
    enable_raw_mode, size,
};
use crossterm::{execute, queue};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::report::Line;

/// The terminal, as a screen of its own. Dropping it gives back what was there before.
#[derive(Debug)]
pub(super) struct Screen {
    out: Stdout,
    /// A signal asks for the end.
    ends: Arc<AtomicBool>,
}

impl Screen {
    /// Takes the terminal of this process.
    pub(super) fn open() -> io::Result<Self> {
        let ends = Arc::new(AtomicBool::new(false));
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&ends))?;
        }
        enable_raw_mode()?;
        let mut screen = Self {
            out: io::stdout(),
            ends,
        };
        execute!(screen.out, EnterAlternateScreen, Hide)?;
        Ok(screen)
    }

    /// Shows `lines` for `time`, as many as fit. Breaks when the user has seen enough.
    pub(super) fn show(&mut self, lines: &[Line], time: Duration) -> io::Result<ControlFlow<()>> {
        let until = Instant::now() + time;
        self.draw(lines)?;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if self.ends.load(Ordering::Relaxed) {
                return Ok(ControlFlow::Break(()));
            }
            if poll(left.min(LONGEST_WAIT))? {
                match read()? {
                    Event::Key(key) if is_end(key) => return Ok(ControlFlow::Break(())),
                    Event::Resize(..) => self.draw(lines)?,
                    _ => {}
                }
            } else if left.is_zero() {
                return Ok(ControlFlow::Continue(()));
            }
        }
    }

    fn draw(&mut self, lines: &[Line]) -> io::Result<()> {
        // A terminal that does not know its size, as on a serial line, says 0.
        let (width, height) = match size()? {
            (0, _) | (_, 0) => USUAL_SIZE,
            size => size,
        };
        for (row, line) in (0..height).zip(lines) {
            let text: String = line.text().chars().take(width.into()).collect();
            queue!(self.out, MoveTo(0, row))?;
            match line {
                Line::Heading(_) => {
                    let rest = usize::from(width).saturating_sub(text.chars().count());
                    let reverse = SetAttribute(Attribute::Reverse);
                    let normal = SetAttribute(Attribute::Reset);
                    queue!(
                        self.out,
                        reverse,
                        Print(text),
                        Print(" ".repeat(rest)),
                        normal
                    )?;
                }
                Line::Text(_) => {
                    queue!(self.out, Print(text), Clear(ClearType::UntilNewLine))?;
                }
            }
        }
        if lines.len() < height.into() {
            let row = u16::try_from(lines.len()).unwrap_or(height);
            queue!(self.out, MoveTo(0, row), Clear(ClearType::FromCursorDown))?;
        }
        self.out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Whatever of this fails, there is nobody to be told.
        _ = execute!(self.out, Show, LeaveAlternateScreen);
        _ = disable_raw_mode();
    }
}

fn is_end(key: KeyEvent) -> bool {
    match key.code {
        KeyCode::Char('q' | 'Q') | KeyCode::Esc => true,
        KeyCode::Char('c') => key.modifiers.contains(KeyModifiers::CONTROL),
        _ => false,
    }
}

/// Columns and rows.
const USUAL_SIZE: (u16, u16) = (80, 24);

/// How long a signal may go unnoticed.
const LONGEST_WAIT: Duration = Duration::from_millis(200);
