//! The command line of `mount-s3 generate`, and what it generates: manual pages and completions, of
//! the same definitions as `--help`.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Command, CommandFactory, Parser, Subcommand};
use clap_complete::{Generator, Shell};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::args::{Args, VERSION};
use super::args_cache::CacheArgs;
use super::args_doctor::DoctorArgs;
use super::args_index::IndexArgs;
use super::args_manual::SECTIONS;
use super::args_prefetch::PrefetchArgs;
use super::args_staged::StagedArgs;
use super::args_subcommand as subcommand;
use super::args_top::TopArgs;

/// What to generate, for who makes a package.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "mount-s3 generate",
    bin_name = "mount-s3 generate",
    version = VERSION,
    about = "Writes the manual pages or the completions of this program into a directory",
    max_term_width = 100
)]
pub(super) struct GenerateArgs {
    #[command(subcommand)]
    pub(super) what: What,
}

#[derive(Debug, Clone, Subcommand)]
pub(super) enum What {
    /// Write mount-s3.1, and a page for each subcommand
    Man(Place),

    /// Write mount-s3.bash, _mount-s3 (zsh) and mount-s3.fish
    Completions(Place),
}

#[derive(Debug, Clone, ClapArgs)]
pub(super) struct Place {
    /// Where to write; made if it is not there
    #[arg(value_name = "DIRECTORY")]
    pub(super) directory: PathBuf,
}

/// Whether these are the words of `mount-s3 generate`, and not of a mount of a bucket of that name.
pub(super) fn is_meant(words: &[OsString]) -> bool {
    let is_what = |word: &OsString| word == "man" || word == "completions";
    let is_flag = |word: &OsString| word.as_encoded_bytes().starts_with(b"-");
    subcommand::is_meant(words, "generate", |rest| match rest {
        [what] => is_what(what),
        [what, place, ..] => is_what(what) && !is_flag(place),
        [] => false,
    })
}

/// A file to write, by its name.
#[derive(Debug)]
pub(super) struct Generated {
    pub(super) name: String,
    pub(super) content: Vec<u8>,
}

/// The manual pages in the format of man(7).
///
/// # Errors
/// Never in practice, as they are written to memory.
pub(super) fn manual() -> io::Result<Vec<Generated>> {
    let program = program();
    let mut pages = vec![main_page(&program)?];
    for command in program.get_subcommands() {
        let words = format!("{NAME} {}", command.get_name());
        add_pages(command.clone(), &words, &mut pages)?;
    }
    Ok(pages)
}

/// Completions for shells.
pub(super) fn completions() -> Vec<Generated> {
    let mut program = program();
    [Shell::Bash, Shell::Zsh, Shell::Fish]
        .into_iter()
        .map(|shell| {
            let mut content = Vec::new();
            clap_complete::generate(shell, &mut program, NAME, &mut content);
            Generated {
                name: shell.file_name(NAME),
                content,
            }
        })
        .collect()
}

/// All that the program understands, as one command.
fn program() -> Command {
    let program = Args::command()
        .after_help(None::<&str>)
        .subcommand_negates_reqs(true)
        .disable_help_subcommand(true);
    subcommands()
        .into_iter()
        .fold(program, |program, (name, command)| {
            program.subcommand(command.name(name).disable_help_subcommand(true))
        })
}

/// What the program does besides mounting, by its first word.
fn subcommands() -> Vec<(&'static str, Command)> {
    vec![
        ("staged", StagedArgs::command()),
        ("index", IndexArgs::command()),
        ("prefetch", PrefetchArgs::command()),
        ("cache", CacheArgs::command()),
        ("doctor", DoctorArgs::command()),
        ("top", TopArgs::command()),
    ]
}

fn main_page(program: &Command) -> io::Result<Generated> {
    let mut usage = vec![format!("{NAME} [OPTIONS] <BUCKET_NAME|S3_URI> <DIRECTORY>")];
    let mut mentioned = vec![bold("mount"), roman("(8), "), bold("fstab"), roman("(5)")];
    for command in program.get_subcommands() {
        let name = command.get_name();
        usage.push(format!("{NAME} {name} ..."));
        mentioned.push(roman(", "));
        mentioned.push(bold(format!("{NAME}-{name}")));
        mentioned.push(roman("(1)"));
    }
    let man = Man::new(program.clone().override_usage(usage.join("\n"))).source(source());
    let mut content = Vec::new();
    man.render_title(&mut content)?;
    man.render_name_section(&mut content)?;
    man.render_synopsis_section(&mut content)?;
    man.render_options_section(&mut content)?;
    let mut roff = Roff::new();
    for (heading, entries) in SECTIONS {
        roff.control("SH", [*heading]);
        for (term, text) in *entries {
            if term.is_empty() {
                roff.control("PP", []);
            } else {
                roff.control("TP", []);
                roff.text([bold(*term)]);
            }
            roff.text([roman(*text)]);
        }
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text(mentioned);
    roff.to_writer(&mut content)?;
    Ok(Generated {
        name: format!("{NAME}.1"),
        content,
    })
}

/// The page of a subcommand, and those of what it can do. `words` are those that call it.
fn add_pages(command: Command, words: &str, pages: &mut Vec<Generated>) -> io::Result<()> {
    let below: Vec<_> = command.get_subcommands().cloned().collect();
    let name = words.replace(' ', "-");
    let command = command.display_name(name.clone()).bin_name(words);
    let mut content = Vec::new();
    Man::new(command)
        .title(name.clone())
        .source(source())
        .render(&mut content)?;
    pages.push(Generated {
        name: format!("{name}.1"),
        content,
    });
    for command in below {
        let words = format!("{words} {}", command.get_name());
        add_pages(command, &words, pages)?;
    }
    Ok(())
}

fn source() -> String {
    format!("{NAME} {VERSION}")
}

const NAME: &str = "mount-s3";

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::args_subcommand::words;
    use super::*;

    fn text(file: &Generated) -> &str {
        std::str::from_utf8(&file.content).expect("text")
    }

    #[test]
    fn bucket_of_that_name_can_be_mounted() {
        for text in [
            "mount-s3 generate",
            "mount-s3 generate --help",
            "mount-s3 generate man",
            "mount-s3 generate man d",
            "mount-s3 generate completions d",
        ] {
            assert!(is_meant(&words(text)), "{text}");
        }
        for text in [
            "mount-s3 generate /mnt",
            "mount-s3 generate man --read-only",
            "mount-s3 s3://generate man",
        ] {
            assert!(!is_meant(&words(text)), "{text}");
        }
    }

    #[test]
    fn program_is_well_formed() {
        program().debug_assert();
    }

    /// Each subcommand names itself where its arguments are defined.
    #[test]
    fn every_subcommand_is_generated() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli");
        let mut named: Vec<String> = fs::read_dir(directory)
            .expect("the sources")
            .map(|file| fs::read_to_string(file.expect("a file").path()).unwrap_or_default())
            .flat_map(|source| {
                let names = source.split("bin_name = \"mount-s3 ").skip(1);
                let names = names.map(|rest| rest.split('"').next().unwrap_or_default().to_owned());
                names.collect::<Vec<_>>()
            })
            .filter(|name| name != "generate" && !name.is_empty())
            .collect();
        named.sort();
        let mut generated: Vec<_> = subcommands().into_iter().map(|(name, _)| name).collect();
        generated.sort_unstable();
        assert_eq!(named, generated);
    }

    #[test]
    fn manual_has_every_flag_and_a_page_for_every_subcommand() {
        let pages = manual().expect("written");
        let names: Vec<_> = pages.iter().map(|page| page.name.as_str()).collect();
        for name in ["mount-s3.1", "mount-s3-staged.1", "mount-s3-staged-list.1"] {
            assert!(names.contains(&name), "{names:?}");
        }
        let main = text(&pages[0]);
        for flag in Args::command().get_arguments() {
            if let Some(name) = flag.get_long() {
                let shown = format!("\\-\\-{}", name.replace('-', "\\-"));
                assert!(main.contains(&shown), "--{name}");
            }
        }
        for heading in [
            "NAME",
            "SYNOPSIS",
            "BUCKET OPTIONS",
            "ENVIRONMENT",
            "SEE ALSO",
        ] {
            assert!(
                main.contains(&format!(".SH \"{heading}\""))
                    || main.contains(&format!(".SH {heading}\n")),
                "{heading}: {main}"
            );
        }
    }

    #[test]
    fn completions_know_flags_and_subcommands() {
        for file in completions() {
            for word in ["metadata-ttl", "staged", "recover", "from-inventory"] {
                assert!(text(&file).contains(word), "{}: {word}", file.name);
            }
        }
    }
}
