//! The program: everything is in the library; only `main` ends the process.

use std::process::ExitCode;

fn main() -> ExitCode {
    let exit = fleet_load::run(
        std::env::args_os(),
        &mut std::io::stdout().lock(),
        &mut std::io::stderr(),
    );
    ExitCode::from(exit.code())
}
