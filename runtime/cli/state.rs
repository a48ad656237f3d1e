//! Where a server's state lies, for the commands that read it.

use std::path::PathBuf;

use serde_json::Value;

use crate::{diagnostic::Diagnostic, status::read_journal};

#[derive(clap::Args)]
pub struct StateDir {
    /// The server's state directory [default: ROOT/.wasmhost].
    #[arg(long, value_name = "DIR", conflicts_with = "root")]
    state_dir: Option<PathBuf>,
    /// The folder of components that the server serves.
    #[arg(long, value_name = "ROOT", default_value = "./components")]
    root: PathBuf,
}

impl StateDir {
    pub fn path(&self) -> PathBuf {
        let default = || self.root.join(".wasmhost");
        self.state_dir.clone().unwrap_or_else(default)
    }

    /// Every record of the journal, oldest first. Errors: there is none.
    pub fn journal(&self) -> Result<Vec<Value>, Vec<Diagnostic>> {
        let folder = self.path();
        match read_journal(&folder) {
            Ok(Some(records)) => Ok(records),
            Ok(None) => {
                let message = format!("there is no journal in {}", folder.display());
                let help = "`wasmhost serve` writes it: name its state directory with --state-dir DIR, \
                            or the folder that it serves with --root ROOT";
                Err(vec![
                    Diagnostic::new("journal-missing", message)
                        .file(folder)
                        .help(help),
                ])
            }
            Err(error) => Err(vec![Diagnostic::io(
                "journal-unreadable",
                "read the journal in",
                folder,
                &error,
            )]),
        }
    }
}
