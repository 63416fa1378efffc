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
        let frontend = frontend.clone();
        let counters = Arc::clone(&frontend.counters);
        // An error is a client that went away or a fault that we modelled.
        match tls.clone() {
            None => {
                // Counts as open before the next one is accepted, whenever its task comes to run.
                let io = ConnectionIo::new(Transport::Plain(stream), counters);
                tokio::spawn(async move {
                    let _ = run(io, frontend).await;
                });
            }
            Some(tls) => {
                tokio::spawn(async move {
                    let Ok(stream) = tls.accept(stream).await else {
                        return;
                    };
                    let io = ConnectionIo::new(Transport::Tls(Box::new(stream)), counters);
                    let _ = run(io, frontend).await;
                });
            }
        }
    }
}

async fn run(io: ConnectionIo, frontend: Frontend) -> io::Result<()> {
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
