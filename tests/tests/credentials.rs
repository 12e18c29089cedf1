//! An archive in a provider's store for which nobody gave credentials: the error says what to set, and nothing is guessed.
//!
//! The machine's own role is asked then. Here that service is a port of loopback on which nobody listens.

use std::net::SocketAddr;
use std::process::Command;

use reddb_tests::cli::{Outcome, binary, run};
use socket2::{Domain, Socket, Type};

/// `reddb info` in an environment that holds nothing but these variables, and where no role can be had.
fn info(archive: &str, variables: &[(&str, &str)]) -> Outcome {
    let home = tempfile::tempdir().unwrap();
    // Bound, so that nobody else gets the port meanwhile, and not listening.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let closed = socket.local_addr().unwrap().as_socket().unwrap().to_string();
    let service = format!("http://{closed}");
    let mut command = Command::new(binary());
    command.args(["info", "--archive", archive]).env_clear().env("HOME", home.path());
    command.env("AWS_METADATA_ENDPOINT", &service).env("IDENTITY_ENDPOINT", &service);
    command.env("GCE_METADATA_HOST", &closed).env("GCE_METADATA_IP", &closed);
    for name in ["AWS_ENDPOINT_URL", "AZURE_STORAGE_ENDPOINT", "GOOGLE_BASE_URL"] {
        command.env(name, &service);
    }
    command.env("REDDB_ARCHIVE_ALLOW_HTTP", "true").envs(variables.iter().copied());
    run(&mut command)
}

fn expect_names(outcome: Outcome, code: i32, names: &[&str]) {
    let said = outcome.expect_code(code).stderr;
    for name in names {
        assert!(said.contains(name), "{name} is not in: {said}");
    }
}

const NONE_GIVEN: &str = "no credentials were given";
const ACCOUNT: (&str, &str) = ("AZURE_STORAGE_ACCOUNT_NAME", "account");

#[test]
fn missing_credentials_are_named_for_every_provider() {
    let s3 = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "--archive-credentials-file", NONE_GIVEN];
    expect_names(info("s3://bucket/prefix", &[]), 4, &s3);
    let google = ["GOOGLE_SERVICE_ACCOUNT", "GOOGLE_APPLICATION_CREDENTIALS", NONE_GIVEN];
    expect_names(info("gs://bucket/prefix", &[]), 4, &google);
    expect_names(info("az://container/prefix", &[ACCOUNT]), 4, &["AZURE_STORAGE_ACCOUNT_KEY", NONE_GIVEN]);
    expect_names(info("az://container/prefix", &[]), 3, &["AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY"]);
}

#[test]
fn credentials_that_were_given_are_not_called_missing() {
    let s3 = [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "secret")];
    let azure = [ACCOUNT, ("AZURE_STORAGE_ACCOUNT_KEY", "c2VjcmV0")];
    let google = [("GOOGLE_BEARER_TOKEN", "secret")];
    let given: [(&str, &[(&str, &str)]); 3] = [("s3://b", &s3), ("az://c", &azure), ("gs://b", &google)];
    for (archive, variables) in given {
        let said = info(archive, variables).expect_code(4).stderr;
        assert!(!said.contains(NONE_GIVEN) && !said.contains("secret"), "{archive}: {said}");
    }
}

#[test]
fn a_key_file_that_is_not_there_is_named() {
    let file = "/nonexistent/service-account.json";
    expect_names(info("gs://bucket/prefix", &[("GOOGLE_SERVICE_ACCOUNT", file)]), 3, &[file]);
    let file = "/nonexistent/credentials";
    expect_names(info("s3://bucket/prefix", &[("AWS_SHARED_CREDENTIALS_FILE", file)]), 3, &[file]);
}

#[test]
fn an_endpoint_that_the_environment_names_must_be_encrypted_too() {
    let no_http = ("REDDB_ARCHIVE_ALLOW_HTTP", "false");
    for archive in ["s3://bucket/prefix", "gs://bucket/prefix", "az://container/prefix"] {
        expect_names(info(archive, &[no_http, ACCOUNT]), 3, &["not encrypted", "--archive-allow-http"]);
    }
}
