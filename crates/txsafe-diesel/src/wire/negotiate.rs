//! Connectors that stand in the place of TLS, so that a stream without it can be observed, too.
//!
//! The driver hands its stream to a connector only for TLS. With `sslmode=require` and `sslnegotiation=direct` it does so
//! without a word to the server; what is said then is up to the connector.

use std::{
    error::Error,
    future::{Ready, ready},
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_postgres::{
    NoTls,
    tls::{ChannelBinding, MakeTlsConnect, NoTlsStream, TlsConnect, TlsStream},
};

/// For connections without TLS: hands the stream through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plain;

impl<S: AsyncRead + AsyncWrite + Unpin> MakeTlsConnect<S> for Plain {
    type Stream = MaybeTls<S, NoTlsStream>;
    type TlsConnect = Self;
    type Error = io::Error;

    fn make_tls_connect(&mut self, _domain: &str) -> io::Result<Self> {
        Ok(*self)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsConnect<S> for Plain {
    type Stream = MaybeTls<S, NoTlsStream>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Stream>>;

    fn connect(self, stream: S) -> Self::Future {
        ready(Ok(MaybeTls::Plain(stream)))
    }
}

/// For `sslmode=prefer`: asks the server for TLS, and hands the stream through if it has none.
///
/// It is what the driver does itself, but that the driver goes on without its connector then.
#[derive(Clone, Debug)]
pub(crate) struct Preferred<T> {
    pub(crate) tls: T,
    /// The host that the driver names is one that the user named, and no address.
    pub(crate) has_host: bool,
}

/// [`Preferred`], on its way to one host.
pub(crate) struct Asking<T> {
    tls: T,
    host: Option<String>,
}

impl<S, T> MakeTlsConnect<S> for Preferred<T>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: MakeTlsConnect<S> + Clone + Send + 'static,
    T::TlsConnect: Send,
    <T::TlsConnect as TlsConnect<S>>::Future: Send,
{
    type Stream = MaybeTls<S, T::Stream>;
    type TlsConnect = Asking<T>;
    type Error = io::Error;

    fn make_tls_connect(&mut self, domain: &str) -> io::Result<Asking<T>> {
        let host = self.has_host.then(|| domain.to_owned());
        Ok(Asking { tls: self.tls.clone(), host })
    }
}

impl<S, T> TlsConnect<S> for Asking<T>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: MakeTlsConnect<S> + Send + 'static,
    T::TlsConnect: Send,
    <T::TlsConnect as TlsConnect<S>>::Future: Send,
{
    type Stream = MaybeTls<S, T::Stream>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Stream, Self::Error>> + Send>>;

    fn connect(mut self, mut stream: S) -> Self::Future {
        Box::pin(async move {
            stream.write_all(SSL_REQUEST).await?;
            // One byte and no more: what follows an `S` belongs to TLS.
            match stream.read_u8().await? {
                b'S' => {
                    let host = self.host.ok_or("no host name is given for TLS, but an address")?;
                    let tls = self.tls.make_tls_connect(&host).map_err(Into::into)?;
                    Ok(MaybeTls::Tls(tls.connect(stream).await.map_err(Into::into)?))
                }
                b'N' => Ok(MaybeTls::Plain(stream)),
                other => Err(format!("the server answered {other:#04x} when asked for TLS").into()),
            }
        })
    }
}

/// Its length, and the code that stands for it.
/// Source: PostgreSQL manual, section 54.7, "Message Formats", `SSLRequest`.
const SSL_REQUEST: &[u8] = &[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// Whether a connector is the driver's for no TLS.
pub(crate) fn is_no_tls<T: 'static>() -> bool {
    std::any::TypeId::of::<T>() == std::any::TypeId::of::<NoTls>()
}

/// A stream with TLS or without.
pub(crate) enum MaybeTls<S, T> {
    Plain(S),
    Tls(T),
}

impl<S: AsyncRead + Unpin, T: AsyncRead + Unpin> AsyncRead for MaybeTls<S, T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl<S: AsyncWrite + Unpin, T: AsyncWrite + Unpin> AsyncWrite for MaybeTls<S, T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, T: TlsStream + Unpin> TlsStream for MaybeTls<S, T> {
    fn channel_binding(&self) -> ChannelBinding {
        match self {
            Self::Plain(_) => ChannelBinding::none(),
            Self::Tls(stream) => stream.channel_binding(),
        }
    }
}
