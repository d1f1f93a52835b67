//! Lends a database to another program: `suite --with-database postgres cargo run …`.

use std::process::{Command, ExitCode};

use super::{Backend, TestDatabase};

const FLAG: &str = "--with-database";
const VARIABLE: &str = "STORE_URL";

/// Does so when the command line asks for it: runs the program with `STORE_URL` naming an empty database, which goes
/// when the program ends.
pub(crate) fn lend_main() -> Option<Result<ExitCode, String>> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != FLAG {
        return None;
    }
    let backend = args.next().and_then(|word| word.into_string().ok());
    let backend = backend.and_then(|word| Backend::ALL.into_iter().find(|backend| backend.name() == word));
    let (Some(backend), Some(program)) = (backend, args.next()) else {
        return Some(Err(format!("usage: {FLAG} sqlite|postgres PROGRAM [ARGUMENT]…")));
    };
    let mut command = Command::new(program);
    command.args(args);
    Some(lend(backend, command))
}

fn lend(backend: Backend, mut command: Command) -> Result<ExitCode, String> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let database = runtime.block_on(TestDatabase::create(backend, "lent", None))?;
    let status = command.env(VARIABLE, database.url()).status();
    runtime.block_on(database.delete())?;
    let status = status.map_err(|error| format!("{} does not run: {error}", command.get_program().display()))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
