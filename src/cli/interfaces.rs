//! Network interfaces, for `--bind`.

use std::ffi::OsString;

use nix::errno::Errno;
use nix::net::if_::if_nameindex;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socket, sockopt};

/// The name of an interface that connections can be bound to, as is proven with a socket.
///
/// # Errors
/// There is no such interface, or the kernel does not let this user bind to it.
pub(super) fn parse_interface(name: &str) -> Result<String, String> {
    // As long as IFNAMSIZ of linux/if.h allows.
    if name.is_empty() || name.len() > 15 || name.contains('\0') {
        return Err("must be the name of a network interface".to_owned());
    }
    let flags = SockFlag::SOCK_CLOEXEC;
    let bound = socket(AddressFamily::Inet, SockType::Datagram, flags, None)
        .and_then(|socket| setsockopt(&socket, sockopt::BindToDevice, &OsString::from(name)));
    match bound {
        Ok(()) => Ok(name.to_owned()),
        Err(Errno::ENODEV) => Err(format!(
            "there is no such network interface; there are: {}",
            names()
        )),
        Err(Errno::EPERM) => {
            Err("binding to an interface takes Linux 5.7 or newer, or root".to_owned())
        }
        Err(error) => Err(format!("cannot be bound to: {}", error.desc())),
    }
}

fn names() -> String {
    let Ok(interfaces) = if_nameindex() else {
        return "unknown".to_owned();
    };
    let names = interfaces.iter().map(|each| each.name().to_string_lossy());
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_takes_an_interface_that_is_there() {
        assert_eq!(parse_interface("lo"), Ok("lo".to_owned()));
    }

    #[test]
    fn parse_tells_which_interfaces_there_are() {
        let error = parse_interface("nowhere0").expect_err("refused");
        assert!(
            error.contains("there are:") && error.contains("lo"),
            "{error}"
        );
        for name in ["", "a-name-that-is-too-long", "a\0b"] {
            assert!(parse_interface(name).is_err(), "{name:?}");
        }
    }
}
