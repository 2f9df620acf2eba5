//! One connection to one server.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Cmd, Pipeline, RedisConnectionInfo, RedisError, Value,
    aio::MultiplexedConnection,
};
use secrecy::ExposeSecret;
use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader},
    net::TcpStream,
    sync::Mutex,
    task::JoinSet,
    time,
};
use tokio_rustls::TlsConnector;

use super::{
    error::{self, Failure},
    gather::Gather,
    life::Life,
    server::{SECTIONS, Server},
    settings::{Address, Credentials},
    tls,
};
use crate::{Error, ErrorKind, Result};

/// How many commands are gathered for one write at most. Those who have more wait, so that the
/// server works on the first ones meanwhile.
const GATHERED_COMMANDS: usize = 16;

/// How much is written, and read, at a time: many small commands, or a few large values.
const CHUNK_BYTES: usize = 64 * 1024;

/// How to connect.
#[derive(Clone)]
pub(super) struct Dialer {
    pub(super) life: Arc<Life>,
    pub(super) tls: Option<TlsConnector>,
    pub(super) connect_timeout: Duration,
    pub(super) response_timeout: Duration,
}

/// Many tasks send over it at once, and it does not reconnect: what was sent over it went to one
/// server, and so `WAIT` counts what it should.
pub(super) struct Connection {
    address: Address,
    raw: MultiplexedConnection,
    /// Reads and writes; ends with the connection.
    _driver: JoinSet<()>,
    closed: Arc<AtomicBool>,
    /// How many writes were answered.
    written: AtomicU64,
    confirmed: Mutex<Confirmed>,
}

/// What the last `WAIT` said.
#[derive(Debug, Default)]
struct Confirmed {
    /// It spoke of the writes before this one.
    before: u64,
    replicas: i64,
}

impl Dialer {
    /// Connects and logs in.
    pub(super) async fn dial(
        &self,
        address: &Address,
        credentials: Option<&Credentials>,
        database: u32,
    ) -> Result<Connection> {
        self.within(address, self.dial_unbounded(address, credentials, database)).await
    }

    /// Gives up what belongs to connecting after the time for it.
    pub(super) async fn within<T>(
        &self,
        address: &Address,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        time::timeout(self.connect_timeout, work).await.unwrap_or_else(|_| {
            Err(unreachable(address).with_hint("it did not answer within the connect_timeout"))
        })
    }

    async fn dial_unbounded(
        &self,
        address: &Address,
        credentials: Option<&Credentials>,
        database: u32,
    ) -> Result<Connection> {
        let failed = |error: std::io::Error| unreachable(address).with_source(error);
        let stream =
            TcpStream::connect((address.host.as_str(), address.port)).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let connection = match &self.tls {
            None => self.start(address, stream).await,
            Some(connector) => {
                let stream = tls::connect(connector, address, stream).await.map_err(|error| {
                    unreachable(address)
                        .with_hint(&format!("the TLS handshake failed: {error}"))
                        .with_source(error)
                })?;
                self.start(address, stream).await
            }
        }?;
        if let Some(credentials) = credentials {
            let mut auth = redis::cmd("AUTH");
            auth.arg(credentials.user.as_deref()).arg(credentials.password.expose_secret());
            connection.ask(&auth, "AUTH").await?;
        }
        if database != 0 {
            connection.ask(redis::cmd("SELECT").arg(database), "SELECT").await?;
        }
        Ok(connection)
    }

    async fn start(
        &self,
        address: &Address,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<Connection> {
        let sign = self.life.sign()?;
        let stream = Gather::new(BufReader::with_capacity(CHUNK_BYTES, stream));
        let info = RedisConnectionInfo::default().set_skip_set_lib_name();
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(Some(self.response_timeout))
            .set_pipeline_buffer_size(GATHERED_COMMANDS)
            .set_write_backpressure_boundary(CHUNK_BYTES);
        let (raw, driver) = MultiplexedConnection::new_with_config(&info, stream, config)
            .await
            .map_err(|error| unreachable(address).with_source(error))?;
        let closed = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&closed);
        let mut task = JoinSet::new();
        task.spawn(async move {
            driver.await;
            ended.store(true, Ordering::Release);
            drop(sign);
        });
        Ok(Connection {
            address: address.clone(),
            raw,
            _driver: task,
            closed,
            written: AtomicU64::new(0),
            confirmed: Mutex::default(),
        })
    }
}

impl Connection {
    /// Whether something can be sent still.
    pub(super) fn is_open(&self) -> bool {
        !self.closed.load(Ordering::Acquire)
    }

    /// Lets nobody send over it any more; what is under way may end.
    pub(super) fn retire(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Sends one command. What gets no answer retires the connection.
    pub(super) async fn send(&self, command: &Cmd) -> Result<Value, Failure> {
        match self.raw.clone().send_packed_command(command).await {
            Ok(Value::ServerError(error)) => Err(RedisError::from(error).into()),
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Sends several commands, one behind the other; the answers may be errors.
    pub(super) async fn send_all(&self, commands: &Pipeline) -> Result<Vec<Value>, Failure> {
        let count = commands.len();
        let answers = self.raw.clone().send_packed_commands(commands, 0, count).await;
        answers.map_err(|error| self.failed(error))
    }

    /// Sends a command that changes nothing, and that is not expected to fail.
    pub(super) async fn ask(&self, command: &Cmd, name: &str) -> Result<Value> {
        self.send(command).await.map_err(|failure| match failure {
            Failure::Refused(refusal) => refusal.into_error(&self.address, name),
            Failure::Lost(error) => error::lost_read(&self.address, error),
        })
    }

    /// Asks the server about itself.
    pub(super) async fn inspect(&self) -> Result<Server> {
        let mut server = Server::default();
        for section in SECTIONS {
            match self.ask(redis::cmd("INFO").arg(section), "INFO").await? {
                Value::BulkString(bytes) => server.read(&String::from_utf8_lossy(&bytes)),
                _ => return Err(error::odd_answer("INFO")),
            }
        }
        Ok(server)
    }

    /// Waits until `replicas` have the writes that were answered so far.
    ///
    /// While one `WAIT` is under way, the server leaves what comes behind it on the connection
    /// alone. So there is one at a time, and it speaks for all that were answered before it.
    pub(super) async fn confirm(&self, replicas: u32, timeout: Duration) -> Result<()> {
        let mine = self.written.fetch_add(1, Ordering::AcqRel);
        let mut confirmed = self.confirmed.lock().await;
        if mine >= confirmed.before {
            let before = self.written.load(Ordering::Acquire);
            let mut wait = redis::cmd("WAIT");
            wait.arg(replicas).arg(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
            let answer = self.send(&wait).await.map_err(|failure| match failure {
                Failure::Lost(error) => error::lost_write(&self.address, error),
                Failure::Refused(refusal) => {
                    self.unconfirmed(&format!("WAIT was refused ({})", refusal.code))
                }
            })?;
            *confirmed = Confirmed { before, replicas: error::integer("WAIT", &answer)? };
        }
        if confirmed.replicas >= i64::from(replicas) {
            return Ok(());
        }
        let reason = format!(
            "{} of the {replicas} replicas that wait_replicas asks for have it within the \
             wait_timeout",
            confirmed.replicas
        );
        Err(self.unconfirmed(&reason))
    }

    fn unconfirmed(&self, reason: &str) -> Error {
        Error::new(
            ErrorKind::OutcomeUnknown,
            format!(
                "redis at {} has written, but a failover may take it back: {reason}",
                self.address
            ),
        )
    }

    fn failed(&self, error: RedisError) -> Failure {
        let failure = Failure::from(error);
        if matches!(failure, Failure::Lost(_)) {
            self.retire();
        }
        failure
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("address", &self.address)
            .field("open", &self.is_open())
            .finish_non_exhaustive()
    }
}

fn unreachable(address: &Address) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!(
            "redis at {address} cannot be reached: is it running, and is this its address? The \
             storage URL (`--storage` of the server) names it, or one that names it"
        ),
    )
}
