//! The stream under the driver, and the connector that puts it there.

use super::{asked::Requests, frames::Frames, link::Link, said::Tag};
use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
    time::Instant,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use txsafe::driver::lock_mutex as lock;

/// A stream whose bytes pass unchanged, and are read on the way.
pub(crate) struct Observed<S> {
    inner: S,
    link: Arc<Link>,
    incoming: Frames,
    outgoing: Frames,
    requests: Requests,
}

impl<S> Observed<S> {
    pub(crate) fn new(inner: S, link: Arc<Link>) -> Self {
        Self {
            inner,
            link,
            incoming: Frames::of_server(),
            outgoing: Frames::of_client(),
            requests: Requests::default(),
        }
    }

    pub(super) fn received(&mut self, bytes: &[u8]) {
        let link = &self.link;
        let keep = |kind| matches!(kind, b'E' | b'C' | b'Z');
        self.incoming.feed(bytes, keep, |kind, body| match kind {
            b'E' => link.error_received(body),
            b'C' => link.completed(Tag::parse(body)),
            b'Z' => link.ready(body.first()),
            b'D' => link.row(),
            _ => {}
        });
    }

    /// `bytes` went out, not before `at`.
    pub(super) fn sent(&mut self, bytes: &[u8], at: Instant) {
        let Self { link, requests, .. } = self;
        self.outgoing.feed(bytes, Requests::reads, |kind, body| {
            if let Some(request) = requests.take(kind, body) {
                link.request_sent(request, at);
            }
        });
    }
}

#[cfg(test)]
impl<S> Observed<S> {
    /// The bytes that are set aside for bodies of messages.
    pub(super) fn memory(&self) -> usize {
        self.incoming.memory() + self.outgoing.memory()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Observed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.link.is_hung_up(cx) {
            let error = io::Error::new(io::ErrorKind::ConnectionAborted, "closed in doubt");
            return Poll::Ready(Err(error));
        }
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.inner).poll_read(cx, buf));
        match &read {
            Ok(()) if buf.filled().len() == before => {
                self.link.broke("the server closed the connection");
            }
            Ok(()) => self.received(&buf.filled()[before..]),
            Err(error) => self.link.broke(&error.to_string()),
        }
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Observed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // Behind the call, the thread may have been put aside while the server was at work.
        let at = Instant::now();
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes));
        match &written {
            Ok(n) => self.sent(&bytes[..*n], at),
            Err(error) => self.link.broke(&error.to_string()),
        }
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<S: TlsStream + Unpin> TlsStream for Observed<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.inner.channel_binding()
    }
}

/// The link of the stream that an [`ObservedTls`] wrapped last.
pub(crate) type LastLink = Arc<Mutex<Option<Arc<Link>>>>;

/// Wraps a TLS connector: what is observed is inside the encryption.
///
/// The driver tries one address after the other, and each time the connector. What one server said on its stream is nothing that
/// the next one has said, so each has a link of its own.
pub(crate) struct ObservedTls<T> {
    pub(crate) inner: T,
    pub(crate) last: LastLink,
}

/// [`ObservedTls`], on its way to one address.
pub(crate) struct Observing<T> {
    inner: T,
    link: Arc<Link>,
}

impl<S, T: MakeTlsConnect<S>> MakeTlsConnect<S> for ObservedTls<T>
where
    T::TlsConnect: Send,
    <T::TlsConnect as TlsConnect<S>>::Future: Send + 'static,
{
    type Stream = Observed<T::Stream>;
    type TlsConnect = Observing<T::TlsConnect>;
    type Error = T::Error;

    fn make_tls_connect(&mut self, domain: &str) -> Result<Self::TlsConnect, T::Error> {
        let inner = self.inner.make_tls_connect(domain)?;
        let link = Arc::new(Link::on_wire());
        *lock(&self.last) = Some(Arc::clone(&link));
        Ok(Observing { inner, link })
    }
}

impl<S, T: TlsConnect<S>> TlsConnect<S> for Observing<T>
where
    T::Future: Send + 'static,
{
    type Stream = Observed<T::Stream>;
    type Error = T::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Stream, T::Error>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        let connecting = self.inner.connect(stream);
        Box::pin(async move { Ok(Observed::new(connecting.await?, self.link)) })
    }
}
