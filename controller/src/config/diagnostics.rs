//! What is wrong with a config file, told with line, column, excerpt and a way out.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode,
};

use super::tree::Fault;

/// Why a config file cannot be used: one or several faults, in the order of the file.
///
/// Displays as one line; [`Report::render`] is for people.
#[derive(Clone, Debug)]
pub struct Report {
    path: PathBuf,
    /// `None` when the fault is in none of its lines: it could not even be read, say.
    text: Option<String>,
    faults: Vec<Fault>,
}

impl Report {
    pub(super) fn new(path: &Path, text: &str, mut faults: Vec<Fault>) -> Self {
        faults.sort_by_key(|fault| fault.at.start);
        Self { path: path.to_owned(), text: Some(text.to_owned()), faults }
    }

    pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Self {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => "give the path with --config FILE",
            io::ErrorKind::PermissionDenied => {
                "the file must be readable by the user that runs Cutover"
            }
            _ => "the config is one TOML file",
        };
        Self::of_file(path, format!("cannot be read: {error}"), hint)
    }

    /// For a file that has lost all that it said while there are services.
    pub(super) fn emptied(path: &Path) -> Self {
        let hint =
            "a file that is to have no services any more says so: [services]; or stop Cutover";
        Self::of_file(path, "is empty: the running config is kept".to_owned(), hint)
    }

    /// What is wrong is nowhere in the file.
    fn of_file(path: &Path, message: String, hint: &str) -> Self {
        let hint = Some(hint.to_owned());
        let fault = Fault { key: String::new(), at: 0..0, message, hint };
        Self { path: path.to_owned(), text: None, faults: vec![fault] }
    }

    /// Every fault with `file:line:col`, cause, source excerpt and hint; ends with a line break.
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = String::new();
        for fault in &self.faults {
            out.push_str(&format!("error: {}\n", self.line(fault)));
            out.push_str(&self.excerpt(fault));
            if let Some(hint) = &fault.hint {
                out.push_str(&format!("hint: {}\n", plain(hint)));
            }
        }
        out
    }

    /// How many faults there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.faults.len()
    }

    fn line(&self, fault: &Fault) -> String {
        match &self.text {
            Some(text) => {
                let (line, column) = position(text, fault.at.start);
                format!("{}:{line}:{column}: {}", self.path.display(), plain(&fault.message))
            }
            None => format!("{}: {}", self.path.display(), plain(&fault.message)),
        }
    }

    fn excerpt(&self, fault: &Fault) -> String {
        let Some(text) = &self.text else {
            return String::new();
        };
        let excerpt = Excerpt {
            source: NamedSource::new(self.path.display().to_string(), text.clone()),
            at: fault.at.clone(),
        };
        let mut out = String::new();
        let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor())
            .with_context_lines(1)
            .without_cause_chain();
        // The excerpt is an extra: without it the line above still says everything.
        if handler.render_report(&mut out, &excerpt).is_err() {
            return String::new();
        }
        let lines = out.lines().filter(|line| !line.trim().is_empty() && line.trim() != "×");
        lines.map(|line| format!("{}\n", plain(line))).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.faults.first() else {
            return write!(f, "{}: not usable", self.path.display());
        };
        f.write_str(&self.line(first))?;
        if let Some(hint) = &first.hint {
            write!(f, " ({})", plain(hint))?;
        }
        match self.faults.len() {
            1 => Ok(()),
            n => write!(f, " and {} more", n - 1),
        }
    }
}

impl std::error::Error for Report {}

/// Only the source and the marks: the words around it are ours.
#[derive(Debug)]
struct Excerpt {
    source: NamedSource<String>,
    at: Range<usize>,
}

impl fmt::Display for Excerpt {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

impl std::error::Error for Excerpt {}

impl Diagnostic for Excerpt {
    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let length = self.at.len().max(1);
        Some(Box::new(std::iter::once(LabeledSpan::underline((self.at.start, length)))))
    }
}

/// Line and column, from 1, of a byte; columns count characters.
pub(super) fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

/// The text without what could move a terminal's cursor.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}
