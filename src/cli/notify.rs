//! What the service manager is told: sd_notify(3), for units of `Type=notify`.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;

/// Tells the service manager, if there is one that wants to know.
#[derive(Debug, Clone)]
pub(super) struct ServiceManager(Option<OsString>);

impl ServiceManager {
    /// The one that listens at this socket: a path, or `@` and an abstract name.
    pub(super) fn at(socket: Option<&OsStr>) -> Self {
        Self(socket.map(OsStr::to_owned))
    }

    /// Tells what is being done.
    pub(super) fn status(&self, text: &str) {
        self.tell(&format!("STATUS={text}"));
    }

    /// Tells that the mount answers, by this process.
    pub(super) fn ready(&self, text: &str) {
        self.tell(&format!(
            "READY=1\nMAINPID={}\nSTATUS={text}",
            process::id()
        ));
    }

    /// Tells that the mount ends.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=unmounting");
    }

    fn tell(&self, message: &str) {
        let Some(socket) = &self.0 else { return };
        if let Err(error) = send(socket, message) {
            log::warn!(
                "the service manager is not told ({}): {error}",
                socket.display()
            );
        }
    }
}

fn send(socket: &OsStr, message: &str) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    let sender = UnixDatagram::unbound()?;
    // A manager that does not read its messages does not stop the file system.
    sender.set_nonblocking(true)?;
    sender.send_to_addr(message.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manager_hears_the_states_at_a_path_or_an_abstract_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let name = format!("mount-s3-test-{}", process::id());
        let abstract_address = SocketAddr::from_abstract_name(&name).expect("an address");
        let servers = [
            (path.clone().into_os_string(), UnixDatagram::bind(&path)),
            (
                OsString::from(format!("@{name}")),
                UnixDatagram::bind_addr(&abstract_address),
            ),
        ];
        for (socket, server) in servers {
            let server = server.expect("bound");
            let manager = ServiceManager::at(Some(&socket));
            manager.status("connecting");
            manager.ready("mounted");
            manager.stopping();
            let mut buffer = [0; 128];
            let mut next = || {
                let length = server.recv(&mut buffer).expect("a message");
                String::from_utf8_lossy(&buffer[..length]).into_owned()
            };
            assert_eq!(next(), "STATUS=connecting");
            let pid = process::id();
            assert_eq!(next(), format!("READY=1\nMAINPID={pid}\nSTATUS=mounted"));
            assert_eq!(next(), "STOPPING=1\nSTATUS=unmounting");
        }
    }

    #[test]
    fn nobody_is_told_without_a_manager() {
        ServiceManager::at(None).stopping();
        ServiceManager::at(Some(OsStr::new("/nonexistent/notify"))).stopping();
    }
}
