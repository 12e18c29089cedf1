//! What a person sees when the server has started: where everything is, and what to type next.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::absolute;
use crate::cli::output::print_error;
use crate::cli::settings::{ADMIN_DEFAULT, ServeSettings};
use crate::cli::units::Size;
use crate::status::Status;

/// Writes the text to stderr.
pub(super) fn print(settings: &ServeSettings, status: &Status, data: SocketAddr, admin: SocketAddr) {
    print_error(&text(settings, status, data, admin));
}

fn text(settings: &ServeSettings, status: &Status, data: SocketAddr, admin: SocketAddr) -> String {
    let dir = &settings.database.dir;
    let mut out = format!("\nRedDB {} is ready.\n\n", env!("CARGO_PKG_VERSION"));
    let mut line = |name: &str, text: &str| {
        writeln!(out, "  {name:9} {text}").expect("writing to a String does not fail");
    };
    line("data", &format!("{} (timeline {}, LSN {})", absolute(dir), status.timeline, status.durable_lsn));
    line("archive", &status.archive.url);
    if on_the_same_disk(dir, &status.archive.url) {
        line("", "warning: the archive is on the same disk as the data: losing the disk loses both.");
        line("", "Put it elsewhere with --archive s3://bucket/prefix or --archive file:///other/disk");
    }
    if !status.archive.online {
        let reason = status.archive.last_error.as_deref().unwrap_or("it has not answered yet");
        line("", &format!("nothing is archived yet: {reason}"));
        if status.refusal.is_none() {
            let kept = Size(settings.database.wal_local_bytes_max);
            line("", &format!("writes go on and the log is kept, up to {kept}; it is archived when the store is back"));
        }
    }
    line("memory", &Size(settings.database.memory_bytes).to_string());
    line("clients", &format!("{data}, at most {}", settings.clients_max));
    line("admin", &format!("http://{admin}"));
    if settings.password.is_none() && !(data.ip().is_loopback() && admin.ip().is_loopback()) {
        line("", "warning: other machines may connect and no password is set: anyone can read and change everything.");
        line("", "Set REDDB_PASSWORD in the environment, or --password-file FILE");
    }
    if let Some((code, reason)) = &status.refusal {
        line("writes", &format!("are refused ({code}): {reason}"));
    }
    let admin_flag =
        if admin.to_string() == ADMIN_DEFAULT { String::new() } else { format!(" --admin http://{admin}") };
    let host = if data.ip().is_loopback() { String::new() } else { format!(" -h {}", data.ip()) };
    let password = if settings.password.is_some() { " --askpass" } else { "" };
    out.push_str("\nNext:\n");
    let mut next = |command: &str, text: &str| {
        writeln!(out, "  {command:48} # {text}").expect("writing to a String does not fail");
    };
    next(&format!("redis-cli{host} -p {}{password} set greeting hello", data.port()), "write");
    next(&format!("reddb mark before-lunch{admin_flag}"), "name this moment");
    next(&format!("reddb check{admin_flag}"), "see that the archive keeps up");
    next(&format!("reddb info --archive {}", status.archive.url), "see what can be restored");
    out.push_str("\nCtrl-C stops it in order.\n\n");
    out
}

/// Whether a local archive is on the data's file system. Where that cannot be found out, nothing is said.
fn on_the_same_disk(dir: &Path, url: &str) -> bool {
    let Ok(reddb_backup::store::ArchiveUrl::File(path)) = url.parse() else { return false };
    match (std::fs::metadata(dir), std::fs::metadata(path)) {
        (Ok(data), Ok(archive)) => data.dev() == archive.dev(),
        _ => false,
    }
}
