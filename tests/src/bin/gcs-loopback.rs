//! The server of [`reddb_tests::gcs`] as a program: `gcs-loopback DIR BUCKET`. Writes the key file of the only account that
//! may ask to `DIR/service-account.json`, says where it listens, and serves until it is killed.

use std::path::Path;
use std::process::ExitCode;

use reddb_tests::gcs::account::Account;
use reddb_tests::gcs::http::Server;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, bucket] = arguments.as_slice() else {
        eprintln!("usage: gcs-loopback DIR BUCKET");
        return ExitCode::from(3);
    };
    match serve(Path::new(directory), bucket).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gcs-loopback: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(directory: &Path, bucket: &str) -> std::io::Result<()> {
    let account = Account::new();
    std::fs::write(directory.join("service-account.json"), account.file().to_string())?;
    Server::new(bucket, account).serve(|address| println!("gcs-loopback listens on http://{address}")).await
}
