//! A Redis client of a page: what is needed to look at a server from outside.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context, Result, bail};

/// How long a server may take to answer a test.
const TIMEOUT: Duration = Duration::from_secs(10);

/// An answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reply {
    /// A status such as `OK`.
    Status(String),
    /// An error, with its code.
    Error(String),
    /// A number.
    Number(i64),
    /// A string of bytes.
    Bytes(Vec<u8>),
    /// Nothing.
    Nil,
    /// Several answers.
    Many(Vec<Reply>),
}

impl Reply {
    /// The string in it.
    ///
    /// # Errors
    ///
    /// If it is something else.
    pub fn text(self) -> Result<String> {
        match self {
            Self::Status(text) => Ok(text),
            Self::Bytes(bytes) => Ok(String::from_utf8(bytes)?),
            other => bail!("{other:?} is no text"),
        }
    }
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects on loopback.
    ///
    /// # Errors
    ///
    /// If nothing listens there.
    pub fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Sends a command and reads its answer.
    ///
    /// # Errors
    ///
    /// If the connection breaks; an error that the server answers is a [`Reply`].
    pub fn command<T: AsRef<[u8]>>(&mut self, arguments: &[T]) -> Result<Reply> {
        let mut command = format!("*{}\r\n", arguments.len()).into_bytes();
        for argument in arguments {
            let argument = argument.as_ref();
            command.extend(format!("${}\r\n", argument.len()).bytes());
            command.extend(argument);
            command.extend(b"\r\n");
        }
        self.stream.get_mut().write_all(&command)?;
        self.read()
    }

    fn read(&mut self) -> Result<Reply> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            bail!("the server closed the connection");
        }
        let line = line.trim_end();
        let rest = line.get(1..).context("an empty answer")?;
        Ok(match line.as_bytes().first() {
            Some(b'+') => Reply::Status(rest.into()),
            Some(b'-') => Reply::Error(rest.into()),
            Some(b':') => Reply::Number(rest.parse()?),
            Some(b'$' | b'*') if rest == "-1" => Reply::Nil,
            Some(b'$') => {
                let mut bytes = vec![0; rest.parse::<usize>()? + 2];
                self.stream.read_exact(&mut bytes)?;
                bytes.truncate(bytes.len() - 2);
                Reply::Bytes(bytes)
            }
            Some(b'*') => {
                let parts = (0..rest.parse::<usize>()?).map(|_| self.read());
                Reply::Many(parts.collect::<Result<_>>()?)
            }
            _ => bail!("an answer of no known kind"),
        })
    }
}
