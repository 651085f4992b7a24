//! The command line: what can be typed, and which module answers it.
//!
//! Every verb but `run` and its roles, `check` and `demo` is a client of the control socket.

mod check;
mod client;
mod events;
mod failure;
mod flip;
mod history;
mod options;
mod plan;
mod progress;
mod rollout;
mod run;
mod status;
mod text;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use self::client::Client;
use self::failure::{Failure, code};
use self::options::{Cli, Verb};
use cutover_demo as demo;

/// Does what the arguments say; the exit code is the contract's.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Where even the message cannot be written, the exit code still says it.
            error.print().ok();
            return ExitCode::from(if error.use_stderr() { code::USAGE } else { code::DONE });
        }
    };
    let result = match cli.verb {
        Verb::Run { config } => run::supervisor(config.as_deref()),
        Verb::Proxy(options) => run::proxy(options),
        Verb::Controller(options) => run::controller(options),
        Verb::Check { config } => check::check(config.as_deref()),
        Verb::Demo(arguments) => return demonstrate(demo::run(arguments)),
        Verb::DemoApp(arguments) => return demonstrate(demo::run_app(arguments)),
        verb => client(verb, Client::new(cli.socket, cli.json)).inspect_err(|failure| {
            if cli.json {
                // The one document on stdout; the same in words goes to stderr.
                let document = serde_json::to_string(&failure.document()).unwrap_or_default();
                writeln!(std::io::stdout().lock(), "{document}").ok();
            }
        }),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => fail(&failure),
    }
}

fn demonstrate(result: anyhow::Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| fail(&Failure::other(format!("{error:#}"))))
}

fn fail(failure: &Failure) -> ExitCode {
    // Where stderr is closed, the exit code still says it.
    write!(std::io::stderr().lock(), "{failure}").ok();
    ExitCode::from(failure.code())
}

/// Runs a verb that talks to a Cutover.
fn client(verb: Verb, client: Client) -> Result<u8, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::other)?;
    runtime.block_on(async {
        match verb {
            Verb::Status { service, watch } => {
                status::status(&client, service.as_deref(), watch).await
            }
            Verb::Flip { service, to, force } => flip::flip(&client, &service, to, force).await,
            Verb::Weight { service, shares } => flip::weight(&client, &service, &shares).await,
            Verb::Pause(options) => flip::pause(&client, &options).await,
            Verb::Resume { service } => flip::resume(&client, &service).await,
            Verb::Deploy(options) => rollout::deploy(&client, &options).await,
            Verb::Rollback(options) => rollout::rollback(&client, &options).await,
            Verb::Abort { service } => flip::abort(&client, &service).await,
            Verb::Plan(options) => plan::plan(&client, &options).await,
            Verb::History { service } => history::history(&client, &service).await,
            Verb::Events { follow } => events::events(&client, follow).await,
            Verb::Reload => flip::reload(&client).await,
            // Answered before a client was made.
            Verb::Run { .. }
            | Verb::Proxy(_)
            | Verb::Controller(_)
            | Verb::Check { .. }
            | Verb::Demo(_)
            | Verb::DemoApp(_) => Ok(code::DONE),
        }
    })
}
