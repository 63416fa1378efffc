//! How the command fails: what it tells, and its exit status.

use std::error::Error as StdError;
use std::fmt;

/// Why the command ends with exit status 1: what it could not do, why not, and what helps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    message: String,
    causes: Vec<String>,
    remedy: Option<String>,
}

impl Failure {
    /// A failure whose message says everything.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            causes: Vec::new(),
            remedy: None,
        }
    }

    /// Adds the next cause, in the command's own words.
    pub(super) fn because(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    /// Adds an error, and all that caused it, as the next causes.
    pub(super) fn caused_by(mut self, error: &dyn StdError) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            // Some errors repeat their cause in their own text.
            if self.causes.last().is_none_or(|last| !last.ends_with(&text)) {
                self.causes.push(text);
            }
            next = error.source();
        }
        self
    }

    /// What the user can do about it.
    pub(super) fn remedy(&self) -> Option<&str> {
        self.remedy.as_deref()
    }

    /// Says what the user can do about it.
    pub(super) fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match self.causes.as_slice() {
            [] => {}
            [cause] => write!(f, "\n\nCaused by:\n    {cause}")?,
            causes => {
                f.write_str("\n\nCaused by:")?;
                for (number, cause) in causes.iter().enumerate() {
                    write!(f, "\n    {number}: {cause}")?;
                }
            }
        }
        if let Some(remedy) = &self.remedy {
            write!(f, "\n\nTo fix it: {remedy}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn display_of_a_bare_failure_is_one_line() {
        assert_eq!(Failure::new("no").to_string(), "no");
    }

    #[test]
    fn display_lists_causes_and_the_remedy() {
        let inner = io::Error::new(io::ErrorKind::NotFound, "no such file");
        let failure = Failure::new("Failed to start")
            .because("the log cannot be opened")
            .caused_by(&inner)
            .with_remedy("use --no-log");
        assert_eq!(
            failure.to_string(),
            "Failed to start\n\nCaused by:\n    0: the log cannot be opened\n    \
             1: no such file\n\nTo fix it: use --no-log"
        );
    }

    #[test]
    fn caused_by_skips_a_repeated_cause() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer: {0}")]
        struct Outer(#[source] io::Error);
        let failure = Failure::new("no").caused_by(&Outer(io::Error::other("inner")));
        assert_eq!(failure.to_string(), "no\n\nCaused by:\n    outer: inner");
    }
}
