//! Programs that a benchmark starts, and that never outlive it.
//!
//! Invariants: every program is in a process group of its own and in the list below while it runs; dropping it kills the
//! group. An interrupt kills every group in the list and removes the run's directory before this process ends.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::process::shown;

/// What an interrupted process ends with, by custom.
const INTERRUPTED: i32 = 130;

/// How long a server may take to end after it was asked to.
const STOP_MAX: Duration = Duration::from_secs(120);

static RUNNING: Mutex<Vec<u32>> = Mutex::new(Vec::new());

fn running() -> MutexGuard<'static, Vec<u32>> {
    // A list of numbers is whole after a panic, too.
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From here on an interrupt ends everything that was started and removes `directory`.
///
/// # Errors
/// The system refuses to hand out signals.
pub(crate) fn clean_up_when_interrupted(directory: PathBuf) -> Result<(), String> {
    let mut signals =
        Signals::new([SIGINT, SIGTERM]).map_err(|error| format!("cannot listen for interrupts: {error}"))?;
    std::thread::spawn(move || {
        if signals.forever().next().is_none() {
            return;
        }
        // Held to the end, so that nothing new is started.
        let running = running();
        for pid in running.iter() {
            signal(*pid, Signal::KILL);
        }
        eprintln!("bench: interrupted; nothing is left running");
        if let Err(error) = std::fs::remove_dir_all(&directory) {
            eprintln!("bench: cannot remove {}: {error}", directory.display());
        }
        std::process::exit(INTERRUPTED);
    });
    Ok(())
}

/// Also where the program is in this process's group: one that was adopted.
fn signal(program: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(program).ok().and_then(Pid::from_raw) {
        // One that has ended by itself is not there to be told.
        let _ = kill_process_group(pid, signal).or_else(|_| kill_process(pid, signal));
    }
}

/// A running program. Dropping it kills it and whatever it started.
#[derive(Debug)]
pub(crate) struct Guarded {
    child: Child,
    line: String,
    log: PathBuf,
}

impl Guarded {
    /// Starts a program; what it prints goes to `log`, appended.
    ///
    /// # Errors
    /// The program or the log cannot be opened.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Self, String> {
        let file = File::options().create(true).append(true).open(log);
        let file = file.map_err(|error| format!("cannot open {}: {error}", log.display()))?;
        let copy = file.try_clone().map_err(|error| format!("cannot open {} twice: {error}", log.display()))?;
        let child = spawn(command.stdin(Stdio::null()).stdout(copy).stderr(file))?;
        Ok(Self { child, line: shown(command), log: log.to_owned() })
    }

    /// The process's id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether it has ended, and ended well.
    ///
    /// # Errors
    /// It failed: its command line and its last words.
    pub(crate) fn has_ended(&mut self) -> Result<bool, String> {
        match self.child.try_wait() {
            Ok(None) => Ok(false),
            Ok(Some(status)) if status.success() => Ok(true),
            Ok(Some(status)) => Err(self.fault(&format!("ended with {status}"))),
            Err(error) => Err(self.fault(&format!("cannot be waited for: {error}"))),
        }
    }

    /// An error where it has ended already.
    ///
    /// # Errors
    /// It has ended: its command line and its last words.
    pub(crate) fn still_runs(&mut self) -> Result<(), String> {
        if self.has_ended()? { Err(self.fault("ended by itself")) } else { Ok(()) }
    }

    /// Asks it to end, waits until it has, and says how long that took.
    ///
    /// # Errors
    /// It did not end in time, or did not end well.
    pub(crate) fn stop(mut self, with: Signal) -> Result<Duration, String> {
        let started = Instant::now();
        signal(self.pid(), with);
        while started.elapsed() < STOP_MAX {
            if self.has_ended()? {
                return Ok(started.elapsed());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Err(self.fault(&format!("did not end within {} s", STOP_MAX.as_secs())))
    }

    fn fault(&self, what: &str) -> String {
        let log = self.log();
        let tail: Vec<&str> = log.lines().rev().take(20).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        format!("{} {what}\n{}", self.line, tail.join("\n"))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        signal(self.pid(), Signal::KILL);
        // It was killed: how it ended is no news.
        drop(self.child.wait());
        forget(self.pid());
    }
}

/// A program that somebody else started and ends: an interrupt kills it like the others until this is dropped.
#[derive(Debug)]
pub(crate) struct Adopted(u32);

impl Adopted {
    /// From here on.
    pub(crate) fn new(pid: u32) -> Self {
        running().push(pid);
        Self(pid)
    }
}

impl Drop for Adopted {
    fn drop(&mut self) {
        forget(self.0);
    }
}

/// Runs a program to its end and returns what it printed.
///
/// # Errors
/// It cannot be started, or failed: the text holds its command line and its output.
pub(crate) fn capture(command: &mut Command) -> Result<String, String> {
    let Output { status, stdout, stderr } = output(command)?;
    let stdout = String::from_utf8_lossy(&stdout).into_owned();
    if status.success() {
        return Ok(stdout);
    }
    Err(format!("{} ended with {status}\n{stdout}{}", shown(command), String::from_utf8_lossy(&stderr)))
}

fn output(command: &mut Command) -> Result<Output, String> {
    let child = spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))?;
    let pid = child.id();
    let output = child.wait_with_output();
    forget(pid);
    output.map_err(|error| format!("cannot wait for {}: {error}", shown(command)))
}

fn spawn(command: &mut Command) -> Result<Child, String> {
    let mut running = running();
    let child = command.process_group(0).spawn();
    let child = child.map_err(|error| format!("cannot start {}: {error}", shown(command)))?;
    running.push(child.id());
    Ok(child)
}

fn forget(pid: u32) {
    running().retain(|running| *running != pid);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_program_is_killed_with_what_it_started() {
        let directory = tempfile::tempdir().unwrap();
        let pid = directory.path().join("pid");
        let script = format!("sleep 600 & echo $! > {0}.new; mv {0}.new {0}; wait", pid.display());
        let guarded = Guarded::start(Command::new("sh").args(["-c", &script]), &directory.path().join("log")).unwrap();
        while !pid.exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let grandchild = std::fs::read_to_string(&pid).unwrap();
        drop(guarded);
        let state = Path::new("/proc").join(grandchild.trim()).join("stat");
        // A killed process stays a zombie until its new parent takes note.
        while let Ok(text) = std::fs::read_to_string(&state) {
            if text.contains(") Z ") {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(!running().contains(&grandchild.trim().parse().unwrap()));
    }

    #[test]
    fn a_program_that_ended_says_its_last_words() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let mut guarded = Guarded::start(Command::new("sh").args(["-c", "echo no room >&2; exit 3"]), &log).unwrap();
        while guarded.still_runs().is_ok() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let error = guarded.still_runs().unwrap_err();
        assert!(error.contains("exit status: 3") && error.contains("no room"), "{error}");
    }
}
