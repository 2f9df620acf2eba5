//! A client and a backend to hold in one's hand, and a front with the forwarder in it.

use std::{future::Future, net::SocketAddr, time::Duration};

use forwarder::Forwarder;
use http::{Extensions, Request};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};
use tower::{Service, service_fn};

/// Waits for what must come, but not for ever.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("nothing came for 10 s")
}

/// One end of a connection, spoken by hand.
pub(crate) struct Wire {
    reading: BufReader<OwnedReadHalf>,
    /// `None` after [`Wire::take_writing`].
    writing: Option<OwnedWriteHalf>,
}

impl Wire {
    pub(crate) async fn connect(to: SocketAddr) -> Self {
        Self::new(TcpStream::connect(to).await.unwrap())
    }

    fn new(stream: TcpStream) -> Self {
        let (reading, writing) = stream.into_split();
        Self { reading: BufReader::new(reading), writing: Some(writing) }
    }

    pub(crate) async fn send(&mut self, text: &str) {
        let writing = self.writing.as_mut().expect("the writing half");
        within(writing.write_all(text.as_bytes())).await.unwrap();
    }

    /// Sends one chunk of a chunked body; the empty one is the last.
    pub(crate) async fn send_chunk(&mut self, text: &str) {
        self.send(&format!("{:x}\r\n{text}\r\n", text.len())).await;
    }

    /// Reads a message's head, lower-cased for comparison.
    pub(crate) async fn head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = within(self.reading.read_line(&mut head)).await.unwrap();
            assert!(read > 0, "the connection ended in a head: {head:?}");
        }
        head.to_ascii_lowercase()
    }

    /// Reads a message's head as it is.
    pub(crate) async fn raw_line(&mut self) -> String {
        let mut line = String::new();
        within(self.reading.read_line(&mut line)).await.unwrap();
        line.trim_end().to_owned()
    }

    /// Reads one chunk of a chunked body; empty for the last one.
    pub(crate) async fn chunk(&mut self) -> String {
        let mut size = String::new();
        within(self.reading.read_line(&mut size)).await.unwrap();
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or_else(|_| panic!("{size:?}"));
        let chunk = self.take(size).await;
        assert_eq!(self.take(2).await, "\r\n");
        chunk
    }

    pub(crate) async fn take(&mut self, size: usize) -> String {
        let mut bytes = vec![0; size];
        within(self.reading.read_exact(&mut bytes)).await.unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// Reads everything up to the end of the connection, a reset included.
    pub(crate) async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        let _reset_or_end = within(self.reading.read_to_end(&mut bytes)).await;
        String::from_utf8(bytes).unwrap()
    }

    /// The whole answer: its head, and its body of known length.
    pub(crate) async fn answer(&mut self) -> (String, String) {
        let head = self.head().await;
        let length = header(&head, "content-length").expect("a length").parse().unwrap();
        (head, self.take(length).await)
    }

    /// The writing half, to write while this reads.
    pub(crate) fn take_writing(&mut self) -> OwnedWriteHalf {
        self.writing.take().expect("the writing half")
    }
}

/// The value of a header in a lower-cased head.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let line = head.lines().find(|line| line.starts_with(&format!("{name}: ")))?;
    Some(&line[name.len() + 2..])
}

/// A backend whose connections the test accepts and answers itself.
pub(crate) struct Backend(TcpListener);

impl Backend {
    pub(crate) async fn listen() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/mcp", self.address())
    }

    pub(crate) async fn accept(&self) -> Wire {
        let (stream, _) = within(self.0.accept()).await.unwrap();
        Wire::new(stream)
    }

    pub(crate) fn into_listener(self) -> TcpListener {
        self.0
    }
}

/// A client, a front that forwards, and the backend behind it, not yet connected.
pub(crate) async fn client_and_backend() -> (Wire, Backend) {
    client_and_backend_with(Extensions::new()).await
}

pub(crate) async fn client_and_backend_with(extensions: Extensions) -> (Wire, Backend) {
    let backend = Backend::listen().await;
    let forwarder = Forwarder::builder(&backend.url()).build().unwrap();
    (Wire::connect(front(forwarder, extensions).await).await, backend)
}

/// Serves `forwarder` over HTTP/1.1 and h2c, with `extensions` in each request.
pub(crate) async fn front(forwarder: Forwarder, extensions: Extensions) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().extend(extensions.clone());
        forwarder.clone().call(request)
    });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                let builder = auto::Builder::new(TokioExecutor::new());
                // How a connection ends is what the tests look at from its other end.
                let _ended = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}
