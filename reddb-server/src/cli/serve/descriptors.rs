//! File descriptors: each client takes one, and the engine, the log and the archive take some.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::cli::settings::ServeSettings;

/// What everything but clients may take.
const OTHERS: u64 = 2048;
/// What the others get along with where there are few.
const OTHERS_MIN: u64 = 256;

/// Raises the process's own limit as far as it is needed and permitted; takes fewer clients where that is not enough.
pub(super) fn raise(settings: &mut ServeSettings) {
    let wanted = u64::from(settings.clients_max) + OTHERS;
    let limit = getrlimit(Resource::Nofile);
    let reachable = limit.maximum.map_or(wanted, |maximum| wanted.min(maximum));
    let mut permitted = limit.current.unwrap_or(u64::MAX);
    if permitted < reachable {
        let raised = Rlimit { current: Some(reachable), maximum: limit.maximum };
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => permitted = reachable,
            Err(error) => tracing::warn!(%error, "the limit of open files cannot be raised"),
        }
    }
    let clients = clients_within(settings.clients_max, permitted);
    if clients < settings.clients_max {
        tracing::warn!(
            permitted,
            "the system permits too few open files: {clients} clients instead of {}; raise `ulimit -n`",
            settings.clients_max
        );
        settings.clients_max = clients;
    }
}

/// How many clients fit into so many descriptors.
fn clients_within(wanted: u32, descriptors: u64) -> u32 {
    let others = if descriptors >= u64::from(wanted) + OTHERS { OTHERS } else { OTHERS_MIN };
    let room = descriptors.saturating_sub(others).max(1);
    wanted.min(u32::try_from(room).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_give_way_to_what_the_rest_needs() {
        for (wanted, descriptors, clients) in
            [(20_000, 1 << 20, 20_000), (20_000, 20_000, 19_744), (20_000, 1024, 768), (100, 1024, 100), (100, 10, 1)]
        {
            assert_eq!(clients_within(wanted, descriptors), clients, "{wanted} of {descriptors}");
        }
    }
}
