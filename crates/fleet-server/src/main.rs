//! Parses the command and calls it; the only place that ends the process.

use std::process::ExitCode;

use fleet_server::{
    cli::{Cli, code_of, dispatch, tell, usage_code},
    signals,
};

/// Idle polls are many small blocks that live long: jemalloc keeps them dense and gives memory back.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // Before anything else: until handlers are there, a signal would end a server as if it had failed.
    signals::hold();
    let cli = match Cli::from_words(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            // Nowhere is left to report a closed output to. Help is not an error.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(usage_code(std::env::args_os()))
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match dispatch(&cli, &mut std::io::stdout().lock()) {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(error) => {
            tell(&error, &mut std::io::stderr());
            ExitCode::from(code_of(&error))
        }
    }
}
