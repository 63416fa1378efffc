//! The server as a program: starts, prints one line of JSON with its addresses and serves until it is ended.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use s3_test_server::{CA_FILE, Config, Server, TlsConfig};

/// A local S3 server for tests and benchmarks.
#[derive(Debug, Parser)]
#[command(name = "s3-test-server")]
struct Args {
    /// Address of the HTTP endpoint; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    addr: SocketAddr,
    /// Address of the control endpoint
    #[arg(long, default_value = "127.0.0.1:0")]
    control: SocketAddr,
    /// Serve HTTPS too, and write the certificate to trust to DIR/ca.pem
    #[arg(long, value_name = "DIR")]
    tls_cert_dir: Option<PathBuf>,
    /// Address of the HTTPS endpoint
    #[arg(long, default_value = "127.0.0.1:0", requires = "tls_cert_dir")]
    tls_addr: SocketAddr,
    /// Bucket to make; may be repeated
    #[arg(long = "bucket", value_name = "NAME")]
    buckets: Vec<String>,
    /// Access key that may do everything
    #[arg(long, default_value = "test")]
    access_key: String,
    /// Its secret key
    #[arg(long, default_value = "test")]
    secret_key: String,
    /// Accept requests without a signature
    #[arg(long)]
    anonymous: bool,
    /// Region of the server and its buckets
    #[arg(long, default_value = "us-east-1")]
    region: String,
    /// Domain whose subdomains are buckets, besides buckets in paths
    #[arg(long)]
    domain: Option<String>,
    /// Make ETags of uploads by a fast hash instead of MD5
    #[arg(long)]
    fast_etag: bool,
    /// Forget the bytes of uploads once they are verified: they are read as zeros
    #[arg(long)]
    discard_uploads: bool,
    /// Make directory buckets: objects can be appended to and renamed
    #[arg(long)]
    directory: bool,
    /// Threads that serve
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// End when standard input does
    #[arg(long)]
    watch_stdin: bool,
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("s3-test-server: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> io::Result<()> {
    let tls = args.tls_cert_dir.map(|dir| TlsConfig {
        addr: args.tls_addr,
        dir,
    });
    let ca = tls.as_ref().map(|tls| tls.dir.join(CA_FILE));
    let server = Server::start(Config {
        addr: args.addr,
        control_addr: args.control,
        tls,
        buckets: args.buckets,
        keys: vec![(args.access_key, args.secret_key)],
        anonymous: args.anonymous,
        region: args.region,
        domain: args.domain,
        fast_etag: args.fast_etag,
        discard_uploads: args.discard_uploads,
        directory: args.directory,
        threads: args.threads,
        ..Config::default()
    })?;
    let line = serde_json::json!({
        "addr": server.addr(),
        "control": server.control_addr(),
        "tls_addr": server.tls_addr(),
        "ca": ca,
    });
    writeln!(io::stdout(), "{line}")?;
    io::stdout().flush()?;
    if args.watch_stdin {
        let mut buffer = [0; 4096];
        while io::stdin().read(&mut buffer)? > 0 {}
    } else {
        loop {
            std::thread::park();
        }
    }
    drop(server);
    Ok(())
}
