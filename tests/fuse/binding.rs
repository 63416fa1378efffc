//! `--bind`: connections over several interfaces, in network namespaces of the test's own.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use s3_test_server::Model;

use crate::support::local::Local;
use crate::support::mount::Mounting;
use crate::support::store::TestStore;
use crate::support::wait::{LONG, once_in_five, wait_for};

const BUCKET: &str = "wide";
const MIB: u64 = 1 << 20;

/// How many interfaces the client has.
const INTERFACES: usize = 3;

#[test]
fn connections_and_bytes_are_spread_over_interfaces() {
    // A connection that stands still for a while carries less than its share, and is replaced.
    once_in_five(|_| in_network_namespace("binding::spread"));
}

/// The body of the test above.
#[test]
fn spread() {
    let Some(network) = Network::of_subprocess() else {
        return;
    };
    // Connections that carry no more, as those of S3: all of them are needed all the time.
    network.store.set_model(Model {
        bandwidth: 10 * MIB,
        ..Model::default()
    });
    let mount = network.mounting(&[]).mount();
    for name in ["large", "other"] {
        read(&mount.join(name), &mut |_| ());
    }
    let (connections, bytes) = (network.connections(), network.bytes());
    eprintln!("connections: {connections:?}, bytes: {bytes:?}");
    assert_eq!(connections.len(), INTERFACES);
    let total: u64 = bytes.iter().sum();
    assert!(total > 2 * SIZE, "{bytes:?}");
    let fair = total / INTERFACES as u64;
    for bytes in bytes {
        let is_even = bytes > fair / 4 * 3 && bytes < fair / 3 * 4;
        assert!(is_even, "{bytes} of {fair}");
    }
    // The first connection proves the bucket, by a client of its own.
    let fewest = connections.values().min().expect("some");
    let most = connections.values().max().expect("some");
    assert!(most - fewest <= 2, "{connections:?}");
    assert!(mount.unmount().success());
}

#[test]
fn interface_that_goes_down_does_not_fail_reads() {
    in_network_namespace("binding::down").unwrap_or_else(|said| panic!("{said}"));
}

/// The body of the test above.
#[test]
fn down() {
    let Some(network) = Network::of_subprocess() else {
        return;
    };
    let mount = network.mounting(&[]).mount();
    let mut last = Instant::now();
    let mut longest = Duration::ZERO;
    let begin = Instant::now();
    read(&mount.join("large"), &mut |done| {
        longest = longest.max(last.elapsed());
        last = Instant::now();
        if done == 64 * MIB {
            ip(&["link", "set", "s1", "down"]);
        }
    });
    eprintln!("{:?} in all, {longest:?} the longest wait", begin.elapsed());
    let before = network.bytes()[1];
    let begin = Instant::now();
    read(&mount.join("other"), &mut |_| ());
    eprintln!("{:?} without the interface", begin.elapsed());
    assert_eq!(network.bytes()[1], before, "nothing goes over it");
    ip(&["link", "set", "s1", "up"]);
    assert!(mount.unmount().success());
}

const SIZE: u64 = 512 * MIB;

/// Reads a file of [`SIZE`] bytes to its end, and tells how much was read after each MiB.
fn read(path: &std::path::Path, progress: &mut dyn FnMut(u64)) {
    let mut file = File::open(path).expect("opened");
    let mut buffer = vec![0; 1 << 20];
    let mut done = 0;
    while done < SIZE {
        file.read_exact(&mut buffer).expect("read");
        done += buffer.len() as u64;
        progress(done);
    }
}

/// The namespace of this process, which has the store, and one beside it with [`INTERFACES`]
/// interfaces to it.
struct Network {
    store: Local,
    relay: Relay,
    /// It keeps the other namespace.
    client: Child,
}

impl Network {
    /// In the process of [`in_network_namespace`].
    fn of_subprocess() -> Option<Self> {
        std::env::var_os(SUBPROCESS)?;
        ip(&["link", "set", "lo", "up"]);
        ip(&["addr", "add", SERVER, "dev", "lo"]);
        let client = Command::new("unshare")
            .args(["--net", "sleep", "300"])
            .stdin(Stdio::null())
            .spawn()
            .expect("a namespace");
        let pid = client.id().to_string();
        let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        wait_for("the namespace is there", LONG, || {
            (namespace(&pid) != namespace("self")).then_some(())
        });
        for number in 0..INTERFACES {
            let (here, there) = (format!("s{number}"), format!("c{number}"));
            let peer = ["peer", "name", &there, "netns", &pid];
            ip(&[&["link", "add", &here, "type", "veth"], &peer[..]].concat());
            ip(&["addr", "add", &format!("10.77.{number}.1/24"), "dev", &here]);
            ip(&["link", "set", &here, "up"]);
            let inside = |arguments: &[&str]| {
                let enter = ["--net", "--target", &pid, "ip"];
                run("nsenter", &[&enter, arguments].concat());
            };
            inside(&[
                "addr",
                "add",
                &format!("10.77.{number}.2/24"),
                "dev",
                &there,
            ]);
            inside(&["link", "set", &there, "up"]);
            let (gateway, metric) = (format!("10.77.{number}.1"), (number + 1).to_string());
            let route = ["via", &gateway, "dev", &there, "metric", &metric];
            inside(&[&["route", "add", SERVER], &route[..]].concat());
        }
        // Answers come over another interface than the best one.
        let loose = "for file in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $file; done";
        run("nsenter", &["--net", "--target", &pid, "sh", "-c", loose]);
        let store = Local::start();
        store.create_bucket(BUCKET);
        store.plant(BUCKET, "large", SIZE, 1);
        store.plant(BUCKET, "other", SIZE, 2);
        let endpoint = store.endpoint();
        let relay = Relay::start(
            endpoint
                .trim_start_matches("http://")
                .parse()
                .expect("an address"),
        );
        Some(Self {
            store,
            relay,
            client,
        })
    }

    fn mounting(&self, flags: &[&str]) -> Mounting {
        let (key, secret) = self.store.credentials();
        let endpoint = format!("http://{}", self.relay.addr);
        let mounting = Mounting::new(BUCKET, &endpoint, key, secret).with(flags);
        let pid = self.client.id().to_string();
        let mounting = mounting.within(&["nsenter", "--net", "--target", &pid]);
        (0..INTERFACES).fold(mounting, |mounting, number| {
            mounting.with(&["--bind", &format!("c{number}")])
        })
    }

    /// Connections so far, by the client's address.
    fn connections(&self) -> BTreeMap<IpAddr, usize> {
        self.relay.peers.lock().expect("not poisoned").clone()
    }

    /// Bytes that were sent over each interface.
    fn bytes(&self) -> Vec<u64> {
        let sent = |number| {
            let arguments = ["-s", "-j", "link", "show", "dev", &format!("s{number}")];
            let output = Command::new("ip").args(arguments).output().expect("ip");
            let shown: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
            shown[0]["stats64"]["tx"]["bytes"]
                .as_u64()
                .expect("a number")
        };
        (0..INTERFACES).map(sent).collect()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // With it its namespace and the interfaces end.
        _ = self.client.kill();
        _ = self.client.wait();
    }
}

/// Makes the store, which serves on loopback only, reachable from the other namespace.
struct Relay {
    addr: SocketAddr,
    peers: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

impl Relay {
    fn start(store: SocketAddr) -> Self {
        let address = SERVER.trim_end_matches("/32");
        let listener = TcpListener::bind((address, 0)).expect("an address of loopback");
        let relay = Self {
            addr: listener.local_addr().expect("bound"),
            peers: Arc::default(),
        };
        let peers = Arc::clone(&relay.peers);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let peer = client.peer_addr().expect("connected").ip();
                *peers.lock().expect("not poisoned").entry(peer).or_default() += 1;
                let server = TcpStream::connect(store).expect("the store listens");
                let copy = |mut from: TcpStream, mut to: TcpStream| {
                    // Either side may break off.
                    _ = io::copy(&mut from, &mut to);
                    _ = to.shutdown(Shutdown::Both);
                };
                let (from_client, to_server) = (client.try_clone(), server.try_clone());
                let (from_client, to_server) =
                    (from_client.expect("a copy"), to_server.expect("a copy"));
                thread::spawn(move || copy(from_client, to_server));
                thread::spawn(move || copy(server, client));
            }
        });
        relay
    }
}

/// Runs the test of this name in a process, and a network namespace, of its own. Gives what it says if it
/// fails.
fn in_network_namespace(test: &str) -> Result<(), String> {
    let output = Command::new("unshare")
        .arg("--net")
        .arg(std::env::current_exe().expect("this binary"))
        .args(["--exact", test, "--nocapture"])
        .env(SUBPROCESS, "1")
        .output()
        .expect("run this binary");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() || !text.contains("1 passed") {
        return Err(format!("{text}\n{errors}"));
    }
    eprintln!("{errors}");
    Ok(())
}

fn ip(arguments: &[&str]) {
    run("ip", arguments);
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .expect(program);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {output:?}"
    );
}

const SERVER: &str = "10.78.0.1/32";
const SUBPROCESS: &str = "MOUNT_S3_TEST_NETWORK";
