//! A socket that any runtime can use.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::runtime::{Handle, Id};

/// An idle connection is probed after this long: before most firewalls forget it.
const IDLE: Duration = Duration::from_secs(60);

/// Time between two probes.
const INTERVAL: Duration = Duration::from_secs(10);

/// Probes without an answer before the connection counts as broken.
const RETRIES: u32 = 3;

/// What was sent and is not acknowledged for this long breaks the connection.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// A connected socket, TCP or Unix.
///
/// It registers itself with the runtime that polls it: a connection opened in one runtime works in another, also after
/// the first has ended or while nobody drives it.
#[derive(Debug)]
pub struct Socket {
    stream: Stream,
    /// Where the stream is registered.
    runtime: Id,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
    /// It could not be taken over to another runtime.
    Lost,
}

impl Socket {
    /// Connects to a host name, an address, or the socket in a directory (begins with a slash). Several addresses of one
    /// name are tried in turn.
    pub(super) async fn connect(host: &str, port: u16) -> io::Result<Self> {
        #[cfg(unix)]
        if host.starts_with('/') {
            let stream = UnixStream::connect(format!("{host}/.s.PGSQL.{port}")).await?;
            return Self::here(Stream::Unix(stream));
        }
        let mut last = None;
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    keep_alive(&stream)?;
                    return Self::here(Stream::Tcp(stream));
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address")))
    }

    /// The same connection once more, which stays open until both are gone.
    pub(super) fn again(&self) -> io::Result<Self> {
        Self::here(match &self.stream {
            Stream::Tcp(stream) => Stream::Tcp(TcpStream::from_std(SockRef::from(stream).try_clone()?.into())?),
            #[cfg(unix)]
            Stream::Unix(stream) => Stream::Unix(UnixStream::from_std(SockRef::from(stream).try_clone()?.into())?),
            Stream::Lost => Stream::Lost,
        })
    }

    /// Waits until the other side has closed the connection, whatever it says before.
    pub(super) async fn ended(mut self) {
        let mut bytes = [0; 256];
        loop {
            let read = std::future::poll_fn(|cx| {
                let mut buffer = ReadBuf::new(&mut bytes);
                let read = Pin::new(&mut self).poll_read(cx, &mut buffer);
                read.map_ok(|()| buffer.filled().len())
            });
            if matches!(read.await, Ok(0) | Err(_)) {
                return;
            }
        }
    }

    fn here(stream: Stream) -> io::Result<Self> {
        let runtime = Handle::try_current().map_err(io::Error::other)?.id();
        Ok(Self { stream, runtime })
    }

    /// The stream, registered with the runtime that asks.
    fn stream(&mut self) -> io::Result<&mut Stream> {
        let runtime = Handle::try_current().map_err(io::Error::other)?.id();
        if runtime != self.runtime {
            self.stream = match std::mem::replace(&mut self.stream, Stream::Lost) {
                Stream::Tcp(stream) => Stream::Tcp(TcpStream::from_std(stream.into_std()?)?),
                #[cfg(unix)]
                Stream::Unix(stream) => Stream::Unix(UnixStream::from_std(stream.into_std()?)?),
                Stream::Lost => Stream::Lost,
            };
            self.runtime = runtime;
        }
        Ok(&mut self.stream)
    }
}

fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(IDLE);
    #[cfg(any(target_os = "linux", target_os = "macos", target_os = "freebsd", windows))]
    let keepalive = keepalive.with_interval(INTERVAL).with_retries(RETRIES);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    Ok(())
}

fn lost() -> io::Error {
    io::Error::new(
        io::ErrorKind::NotConnected,
        "the socket could not be taken over to another runtime",
    )
}

/// Hands a call on to the stream, whichever it is.
macro_rules! on_stream {
    ($socket:expr, $stream:ident => $call:expr) => {
        match $socket.get_mut().stream() {
            Ok(Stream::Tcp($stream)) => {
                let $stream = Pin::new($stream);
                $call
            }
            #[cfg(unix)]
            Ok(Stream::Unix($stream)) => {
                let $stream = Pin::new($stream);
                $call
            }
            Ok(Stream::Lost) => Poll::Ready(Err(lost())),
            Err(error) => Poll::Ready(Err(error)),
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        on_stream!(self, stream => stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_stream!(self, stream => stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => stream.poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_peer_that_goes_silent_is_noticed() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let Stream::Tcp(stream) = Socket::connect("127.0.0.1", port).await.unwrap().stream else {
            panic!("not TCP");
        };
        let socket = SockRef::from(&stream);
        assert!(stream.nodelay().unwrap() && socket.keepalive().unwrap());
        #[cfg(target_os = "linux")]
        {
            assert_eq!(socket.tcp_keepalive_time().unwrap(), IDLE);
            assert_eq!(socket.tcp_keepalive_interval().unwrap(), INTERVAL);
            assert_eq!(socket.tcp_keepalive_retries().unwrap(), RETRIES);
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(UNACKNOWLEDGED));
        }
    }
}
