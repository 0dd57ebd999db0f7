//! A payment provider that takes its time, in this process, and its client: plain TCP, of which nobody tells the guard.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::sleep,
};

/// How long the provider takes for an answer, on a good day.
pub(crate) const TAKES: Duration = Duration::from_millis(50);

/// A client of the provider, which closes with the last one.
#[derive(Debug, Clone)]
pub(crate) struct Payments {
    address: SocketAddr,
    provider: Arc<Provider>,
}

#[derive(Debug)]
struct Provider {
    /// It was asked for something.
    asked: watch::Receiver<()>,
    desk: AbortHandle,
}

impl Payments {
    /// Starts a provider on a port of its own.
    pub(crate) async fn open() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (tell, asked) = watch::channel(());
        let desk = tokio::spawn(provide(listener, Arc::new(tell))).abort_handle();
        Ok(Self { address, provider: Arc::new(Provider { asked, desk }) })
    }

    /// Changes whenever the provider is asked for something, until it closes.
    pub(crate) fn asked(&self) -> watch::Receiver<()> {
        self.provider.asked.clone()
    }

    /// Asks for something; the number of the payment.
    pub(crate) async fn ask(&self, what: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.write_all(what.as_bytes()).await?;
        stream.shutdown().await?;
        let mut payment = String::new();
        stream.read_to_string(&mut payment).await?; // it answers when it likes
        Ok(payment)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.desk.abort();
    }
}

async fn provide(listener: TcpListener, tell: Arc<watch::Sender<()>>) -> io::Result<()> {
    let mut asking = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        asking.spawn(answer(stream, Arc::clone(&tell)));
        while asking.try_join_next().is_some() {}
    }
}

async fn answer(mut stream: TcpStream, tell: Arc<watch::Sender<()>>) -> io::Result<()> {
    stream.read_to_end(&mut Vec::new()).await?;
    tell.send_replace(());
    sleep(TAKES).await;
    stream.write_all(b"p-1").await
}
