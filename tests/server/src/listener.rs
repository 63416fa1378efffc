//! Accepting connections and running HTTP on them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::conn::{ConnectionIo, Transport};
use crate::frontend::Frontend;

/// Serves S3 on `listener` until the runtime ends.
pub(crate) async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, frontend: Frontend) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors: those open now will be closed.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        // Failure costs speed only.
        let _ = stream.set_nodelay(true);
        let tls = tls.clone();
        let frontend = frontend.clone();
        tokio::spawn(async move {
            let transport = match tls {
                None => Transport::Plain(stream),
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => Transport::Tls(Box::new(stream)),
                    Err(_) => return,
                },
            };
            // An error is a client that went away or a fault that we modelled.
            let _ = run(transport, frontend).await;
        });
    }
}

async fn run(transport: Transport, frontend: Frontend) -> io::Result<()> {
    let io = ConnectionIo::new(transport, Arc::clone(&frontend.counters));
    let connection = io.connection();
    let service =
        service_fn(move |request| frontend.clone().answer(request, Arc::clone(&connection)));
    http1::Builder::new()
        .timer(TokioTimer::new())
        // Chunks of a body are written one by one, without being gathered first.
        .max_buf_size(MAX_HEADERS)
        .pipeline_flush(false)
        .serve_connection(TokioIo::new(io), service)
        .await
        .map_err(io::Error::other)
}

/// Also the size of hyper's read buffer: large, for the sake of uploads.
const MAX_HEADERS: usize = 512 * 1024;
