//! A node, its archive and room for restored directories, all below one temporary folder.

use std::path::PathBuf;

use crate::cli::{Outcome, reddb};
use crate::digest::receipt;
use crate::node::{Node, Options};
use crate::wait;

/// Where everything of one test is.
#[derive(Debug)]
pub struct Scene {
    folder: tempfile::TempDir,
    archive: String,
}

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}

impl Scene {
    /// An empty scene whose archive is a directory.
    ///
    /// # Panics
    /// Where there is no room for temporary files.
    #[must_use]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("there is room for temporary files");
        let archive = format!("file://{}", folder.path().join("archive").display());
        Self { folder, archive }
    }

    /// An empty scene whose archive is at a fresh prefix below `url`. Where the store is and how to use it, the programs
    /// find in their environment.
    ///
    /// # Panics
    /// Where there is no room for temporary files.
    #[must_use]
    pub fn below(url: &str) -> Self {
        let scene = Self::new();
        let name = scene.folder.path().file_name().and_then(|name| name.to_str()).expect("temporary names are text");
        let archive = format!("{url}/{}", name.trim_start_matches('.'));
        Self { archive, ..scene }
    }

    /// The archive's URL.
    #[must_use]
    pub fn archive(&self) -> &str {
        &self.archive
    }

    /// The archive's directory.
    #[must_use]
    pub fn archive_dir(&self) -> PathBuf {
        self.path("archive")
    }

    /// A path of this scene.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// How servers of this scene are started: archiving to its archive, often.
    #[must_use]
    pub fn options(&self) -> Options {
        Options::new().archive(&self.archive).flag("--archive-interval", "50ms")
    }

    /// Starts a server on the directory of that name.
    ///
    /// # Panics
    /// Where it does not come up.
    #[must_use]
    #[track_caller]
    pub fn start(&self, name: &str) -> Node {
        Node::start(&self.path(name), &self.options())
    }

    /// Starts a server on the directory of that name and waits until its archive has its first snapshot: where the disk is slow,
    /// a server answers before.
    ///
    /// # Panics
    /// Where it does not come up, or the archive gets none.
    #[must_use]
    #[track_caller]
    pub fn start_with_snapshot(&self, name: &str) -> Node {
        let node = self.start(name);
        wait_for_snapshot(&node);
        node
    }

    /// Runs `reddb restore` from the archive into the directory of that name.
    #[must_use]
    pub fn restore(&self, into: &str, more: &[&str]) -> Outcome {
        let into = self.path(into);
        let mut arguments = vec!["restore", "--archive", &self.archive, "--memory", "64mb", "--into"];
        arguments.push(into.to_str().expect("temporary paths are text"));
        arguments.extend(more);
        reddb(&arguments)
    }

    /// Runs `reddb verify` on the archive.
    #[must_use]
    pub fn verify(&self) -> Outcome {
        reddb(&["verify", "--archive", &self.archive])
    }
}

/// Waits until the archive has a snapshot.
///
/// # Panics
/// Where it gets none.
pub fn wait_for_snapshot(node: &Node) {
    wait::until("the first snapshot", || {
        let status = node.get("/admin/status").expect("the admin port answers").json();
        status["archive"]["snapshot_lsn"].as_u64()
    });
}

/// Waits until the archive has everything that the server has made durable by now; returns that LSN.
///
/// # Panics
/// Where it does not get there.
pub fn wait_until_archived(node: &Node) -> u64 {
    let durable = receipt(&mut node.client()).lsn;
    wait::until("the archive has everything", || (node.archived_lsn() >= durable).then_some(durable))
}
