//! An authority of nobody's, and a certificate of it for `localhost`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::tools;

/// A folder with both, and with the key of the certificate, until this is dropped.
#[derive(Debug)]
pub struct Certificates {
    folder: TempDir,
}

impl Certificates {
    /// New ones, which are valid for two days.
    ///
    /// # Panics
    ///
    /// If there is no folder for them, or `openssl` does not make them.
    #[expect(clippy::new_without_default, reason = "it runs a program")]
    pub fn new() -> Self {
        tools::require(&["openssl"], "it makes certificates");
        let folder = tempfile::tempdir().expect("a folder can be made");
        fs::write(folder.path().join("names"), "subjectAltName=DNS:localhost\n").expect("the folder is ours");
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        for arguments in [
            format!("req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=nobody"),
            format!("req {key} -keyout server.key -out server.csr -subj /CN=server"),
            "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 2 -extfile names"
                .to_owned(),
        ] {
            let mut command = Command::new("openssl");
            command.current_dir(folder.path()).args(arguments.split(' '));
            tools::run(command, "it makes certificates");
        }
        Self { folder }
    }

    /// Where `server.pem` and `server.key` are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The certificate of the authority.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }
}
