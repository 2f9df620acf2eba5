//! What stands in front of the replicas: whoever connects is sent to one of them.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// A balancer of connections, in turns. Gone when dropped, with all that goes through it.
pub(crate) struct Front {
    address: SocketAddr,
    choice: Arc<Mutex<Vec<SocketAddr>>>,
    _accepting: JoinSet<()>,
}

impl Front {
    /// On a port of its own, in front of nobody.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let choice = Arc::<Mutex<Vec<SocketAddr>>>::default();
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, Arc::clone(&choice)));
        Ok(Self { address, choice, _accepting: accepting })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on whoever connects is sent to one of these: the next one, or whoever is there.
    pub(crate) fn lead_to(&self, places: impl IntoIterator<Item = SocketAddr>) {
        *self.choice.lock().unwrap_or_else(PoisonError::into_inner) = places.into_iter().collect();
    }
}

async fn accept(listener: TcpListener, choice: Arc<Mutex<Vec<SocketAddr>>>) {
    let turn = AtomicUsize::new(0);
    let mut connections = JoinSet::new();
    while let Ok((connection, _)) = listener.accept().await {
        let mut places = choice.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let first = turn.fetch_add(1, Ordering::Relaxed) % places.len().max(1);
        places.rotate_left(first);
        connections.spawn(relay(connection, places));
        while connections.try_join_next().is_some() {}
    }
}

async fn relay(mut connection: TcpStream, places: Vec<SocketAddr>) {
    for place in places {
        if let Ok(mut replica) = TcpStream::connect(place).await {
            // Whoever breaks off is noticed by the other.
            let _ = copy_bidirectional(&mut connection, &mut replica).await;
            return;
        }
    }
}
