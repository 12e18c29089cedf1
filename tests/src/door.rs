//! A door on loopback in front of a store: shut, whoever comes is hung up on; open, it leads to the store.

use std::io::{Result, copy};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// See the module. It stands until the process ends.
#[derive(Debug)]
pub struct Door {
    address: SocketAddr,
    leads_to: Arc<Mutex<Option<SocketAddr>>>,
}

impl Door {
    /// A door that is shut.
    ///
    /// # Panics
    /// Where loopback has no port left.
    #[must_use]
    pub fn shut() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
        let address = listener.local_addr().expect("a listener has an address");
        let leads_to = Arc::<Mutex<Option<SocketAddr>>>::default();
        let way = Arc::clone(&leads_to);
        thread::spawn(move || {
            for visitor in listener.incoming().flatten() {
                let target = *way.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(target) = target {
                    // Whatever breaks between the two, both see their connection end.
                    thread::spawn(move || drop(lead(&visitor, target)));
                }
            }
        });
        Self { address, leads_to }
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens it.
    pub fn open(&self, to: SocketAddr) {
        *self.leads_to.lock().unwrap_or_else(PoisonError::into_inner) = Some(to);
    }
}

fn lead(visitor: &TcpStream, target: SocketAddr) -> Result<()> {
    let store = TcpStream::connect(target)?;
    thread::scope(|scope| {
        scope.spawn(|| pour(&store, visitor));
        pour(visitor, &store);
    });
    Ok(())
}

fn pour(mut from: &TcpStream, mut to: &TcpStream) {
    drop(copy(&mut from, &mut to));
    drop(to.shutdown(Shutdown::Write));
}
