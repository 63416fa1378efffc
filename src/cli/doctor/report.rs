//! What was found: a line a step, and a remedy where something is wrong.

use std::fmt;
use std::io::{self, Write};

use serde::Serialize;

use crate::cli::exit::Failure;

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    /// As it should be.
    Ok,
    /// A mount works, but not as well as it could.
    Warn,
    /// A mount does not work, or not wholly.
    Fail,
    /// Not looked at, or nothing that could be wrong.
    Info,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Step {
    /// `clock`
    pub(super) name: &'static str,
    pub(super) status: Status,
    /// What was found.
    pub(super) text: String,
    /// What to change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remedy: Option<String>,
}

impl Step {
    pub(super) fn new(name: &'static str, status: Status, text: impl Into<String>) -> Self {
        Self {
            name,
            status,
            text: text.into(),
            remedy: None,
        }
    }

    pub(super) fn ok(name: &'static str, text: impl Into<String>) -> Self {
        Self::new(name, Status::Ok, text)
    }

    pub(super) fn warn(name: &'static str, text: impl Into<String>) -> Self {
        Self::new(name, Status::Warn, text)
    }

    pub(super) fn fail(name: &'static str, text: impl Into<String>) -> Self {
        Self::new(name, Status::Fail, text)
    }

    pub(super) fn info(name: &'static str, text: impl Into<String>) -> Self {
        Self::new(name, Status::Info, text)
    }

    /// Says what helps.
    pub(super) fn remedy(self, remedy: impl Into<String>) -> Self {
        Self {
            remedy: Some(remedy.into()),
            ..self
        }
    }

    /// Says what helps against the failure, if anything is known.
    pub(super) fn advised_by(self, failure: &Failure) -> Self {
        match failure.remedy() {
            Some(remedy) => self.remedy(remedy),
            None => self,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = match self.status {
            Status::Ok => "ok",
            Status::Warn => "warn",
            Status::Fail => "FAIL",
            Status::Info => "-",
        };
        // What a server says may have several lines.
        let text = self.text.replace('\n', " ");
        write!(f, "{status:<5}{:<14}{text}", self.name)?;
        if let Some(remedy) = &self.remedy {
            write!(f, "\n{:<19}to fix it: {remedy}", "")?;
        }
        Ok(())
    }
}

/// All that was found.
#[derive(Debug)]
pub(super) struct Report {
    steps: Vec<Step>,
    json: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    ok: bool,
    steps: &'a [Step],
}

impl Report {
    /// A report of lines, which are printed as they come, or of JSON, which is printed at the end.
    pub(super) fn new(json: bool) -> Self {
        Self {
            steps: Vec::new(),
            json,
        }
    }

    pub(super) fn add(&mut self, step: Step) {
        if !self.json {
            say(&step.to_string());
        }
        self.steps.push(step);
    }

    /// Prints what is left, and tells whether nothing has failed.
    pub(super) fn finish(&self) -> bool {
        let count = |status| {
            self.steps
                .iter()
                .filter(|step| step.status == status)
                .count()
        };
        let (failed, warned) = (count(Status::Fail), count(Status::Warn));
        if self.json {
            let document = Document {
                ok: failed == 0,
                steps: &self.steps,
            };
            match serde_json::to_string_pretty(&document) {
                Ok(text) => say(&text),
                Err(error) => log::error!("the report: {error}"),
            }
        } else {
            say(&match (failed, warned) {
                (0, 0) => "everything is as it should be".to_owned(),
                (0, warned) => format!("a mount works; warnings: {warned}"),
                (failed, warned) => format!("failed: {failed}, warnings: {warned}"),
            });
        }
        failed == 0
    }
}

fn say(line: &str) {
    // A caller who closed the pipe does not want to know.
    _ = writeln!(io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_is_a_line_and_a_remedy() {
        let step = Step::ok("dns", "two\nlines");
        assert_eq!(step.to_string(), "ok   dns           two lines");
        let step = Step::fail("clock", "wrong").remedy("set it");
        let text = "FAIL clock         wrong\n                   to fix it: set it";
        assert_eq!(step.to_string(), text);
    }

    #[test]
    fn report_fails_by_a_step_that_failed() {
        let mut report = Report::new(true);
        report.add(Step::ok("a", ""));
        report.add(Step::warn("b", ""));
        report.add(Step::info("c", ""));
        assert!(report.finish());
        report.add(Step::fail("d", ""));
        assert!(!report.finish());
    }
}
