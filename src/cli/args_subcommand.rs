//! What the command lines of subcommands have in common.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

/// Whether these are the words of `mount-s3 NAME`, and not of a mount of a bucket of that name: as
/// what comes after it says, unless that is nothing or asks for help.
pub(super) fn is_meant(
    words: &[OsString],
    name: &str,
    is_its: impl FnOnce(&[OsString]) -> bool,
) -> bool {
    let [_program, first, rest @ ..] = words else {
        return false;
    };
    let is_help = |word: &OsString| ["help", "-h", "--help"].iter().any(|help| word == help);
    first == name && (rest.first().is_none_or(is_help) || is_its(rest))
}

/// Reads the words of a subcommand, does what they ask for, and gives the exit status.
pub(super) fn run<T: Parser>(words: &[OsString], main: impl FnOnce(T) -> ExitCode) -> ExitCode {
    match parse(words) {
        Ok(args) => main(args),
        Err(status) => status,
    }
}

/// Reads the words of a subcommand.
///
/// # Errors
/// The exit status, after help, or what is wrong, was printed.
pub(super) fn parse<T: Parser>(words: &[OsString]) -> Result<T, ExitCode> {
    T::try_parse_from(words.iter().skip(1)).map_err(|error| {
        // Nobody is left to be told that printing failed.
        _ = error.print();
        ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
    })
}

/// The words of a command line without quotes.
#[cfg(test)]
pub(super) fn words(text: &str) -> Vec<OsString> {
    text.split(' ').map(OsString::from).collect()
}
