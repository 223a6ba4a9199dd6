//! The command line: what it takes, and its exit codes.

use clap::{CommandFactory, Parser};
use mentor::config::Config;
use mentor::models::command::{ModelsArgs, run};

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    models: ModelsArgs,
}

fn code(words: &[&str]) -> i32 {
    let folder = tempfile::tempdir().expect("a folder");
    let program = Program::try_parse_from([&["mentor"][..], words].concat()).expect("valid words");
    let config = Config { models_dir: folder.path().to_owned(), ..Config::default() };
    run(&program.models, &config).expect("the output can be written")
}

#[test]
fn the_command_line_is_consistent_and_every_command_shows_an_example() {
    Program::command().debug_assert();
    for command in Program::command().get_subcommands() {
        let help = command.clone().render_long_help().to_string();
        assert!(help.contains(&format!("mentor models {}", command.get_name())), "{help}");
    }
}

#[test]
fn exit_codes_are_0_when_all_is_well_and_2_otherwise() {
    assert_eq!(code(&["list"]), 0);
    assert_eq!(code(&["list", "--json"]), 0);
    assert_eq!(code(&["verify"]), 2, "nothing is there");
    assert_eq!(code(&["verify", "--json", "onnxruntime"]), 2);
    assert_eq!(code(&["verify", "nosuch"]), 2);
    assert_eq!(code(&["path"]), 2);
    assert_eq!(code(&["convert"]), 2, "nothing is there");
    assert_eq!(code(&["convert", "--setup"]), 0, "set-up goes on with the file as shipped");
    assert_eq!(code(&["pull", "nosuch"]), 2);
}
