//! Completions for bash, zsh and fish: the flags of both programs, and bypassctl's words as its table has them.

use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate};
use control::args::Cli;
use control::ctl::CtlArgs;
use control::grammar::Expected;
use control::words;

/// A script.
pub(crate) struct Script {
    /// Of the shell.
    pub(crate) folder: &'static str,
    /// As the shell looks for it.
    pub(crate) file: String,
    pub(crate) text: String,
}

/// Words behind which nothing is completed any more: what can be said is not longer, values apart.
const DEPTH: usize = 4;

/// All scripts.
pub(crate) fn all() -> Vec<Script> {
    let shells = [(Shell::Bash, "bash"), (Shell::Zsh, "zsh"), (Shell::Fish, "fish")];
    let programs = [("bypassd", Cli::command()), ("bypassctl", bypassctl())];
    let scripts = shells.iter().flat_map(|shell| programs.iter().map(move |program| (shell, program)));
    scripts.map(|((shell, folder), (name, command))| script(*shell, folder, name, command)).collect()
}

fn script(shell: Shell, folder: &'static str, name: &str, command: &Command) -> Script {
    let mut text = Vec::new();
    generate(shell, &mut command.clone(), name, &mut text);
    let file = match shell {
        Shell::Zsh => format!("_{name}"),
        Shell::Fish => format!("{name}.fish"),
        _ => name.to_owned(),
    };
    Script { folder, file, text: String::from_utf8_lossy(&text).into_owned() }
}

/// The command line with its words as subcommands, which they are not: they are read by another parser.
fn bypassctl() -> Command {
    let said: &mut Vec<String> = &mut Vec::new();
    CtlArgs::command().mut_arg("words", |arg| arg.hide(true)).disable_help_subcommand(true).subcommands(following(said))
}

fn following(said: &mut Vec<String>) -> Vec<Command> {
    if said.len() == DEPTH {
        return Vec::new();
    }
    let mut commands = Vec::new();
    for expected in words::expected(said) {
        if let Expected::Word(word) = expected {
            said.push(word.to_owned());
            let command = Command::new(word).disable_help_flag(true).disable_help_subcommand(true);
            commands.push(command.subcommands(following(said)));
            said.pop();
        }
    }
    commands
}
