//! The meaning of socket errors: whether one endpoint, one frame or the socket itself is at fault, which decides what
//! the node does about it.

use std::io;

use rouse_core::netmod::NetmodError;
use rustix::io::Errno;

/// Classifies an error of sending to one endpoint. `has_lost_address` checks whether the address that the socket is
/// bound to was removed from the host.
pub(crate) fn of_send(error: io::Error, has_lost_address: impl Fn() -> bool) -> NetmodError {
    match Errno::from_io_error(&error) {
        Some(Errno::MSGSIZE) => NetmodError::TooLong,
        // The kernel reports both when the address that the socket is bound to was removed, but in other cases too.
        Some(Errno::INVAL | Errno::ADDRNOTAVAIL) if has_lost_address() => NetmodError::Gone(error),
        // EPERM is the error of a packet filter, EACCES that of a route: both are configured on this host.
        Some(Errno::PERM | Errno::ACCESS) => {
            let text = format!(
                "this host lets nothing out to that address, by a firewall or a route of its own: {error}"
            );
            NetmodError::Endpoint(io::Error::new(io::ErrorKind::PermissionDenied, text))
        }
        // ENODEV means that the interface in the scope of the endpoint is gone: other endpoints can still be reached.
        Some(
            Errno::CONNREFUSED
            | Errno::HOSTUNREACH
            | Errno::NETUNREACH
            | Errno::HOSTDOWN
            | Errno::NETDOWN
            | Errno::ADDRNOTAVAIL
            | Errno::AFNOSUPPORT
            | Errno::INVAL
            | Errno::NODEV
            | Errno::NXIO,
        ) => NetmodError::Endpoint(error),
        _ if is_gone(&error) => NetmodError::Gone(error),
        _ => NetmodError::Retry(error),
    }
}

/// Whether an error of receiving means that the socket is unusable. Any other error reports a frame that was sent
/// before, so that receiving can continue.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::BADF | Errno::NODEV | Errno::NOTSOCK | Errno::NXIO | Errno::NOTCONN | Errno::PIPE)
    )
}

/// Whether the kernel or the network card may have refused to segment a train into frames.
pub(crate) fn is_refused_offload(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::IO | Errno::INVAL))
}

/// Whether the source address of a frame may be at fault: it was removed from the host, or has no route to the
/// destination.
pub(crate) fn may_be_of_source(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::INVAL | Errno::ADDRNOTAVAIL | Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::NETDOWN)
    )
}

/// Whether the host lacks this address family.
pub(crate) fn is_absent_family(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::AFNOSUPPORT | Errno::PROTONOSUPPORT | Errno::ADDRNOTAVAIL)
    )
}

/// The error of a netmod that was closed on purpose.
pub(crate) fn closed() -> NetmodError {
    NetmodError::Gone(io::Error::new(io::ErrorKind::NotConnected, "the netmod is closed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(errno: Errno, lost_address: bool) -> NetmodError {
        of_send(errno.into(), || lost_address)
    }

    #[test]
    fn errors_of_sending_are_classified_by_the_part_at_fault() {
        for errno in [Errno::CONNREFUSED, Errno::HOSTUNREACH, Errno::NETUNREACH, Errno::PERM, Errno::NODEV] {
            assert!(matches!(of(errno, false), NetmodError::Endpoint(_)), "{errno:?}");
        }
        for errno in [Errno::PERM, Errno::ACCESS] {
            let NetmodError::Endpoint(error) = of(errno, false) else { panic!("{errno:?}") };
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
            assert!(error.to_string().contains("firewall"), "{error}");
        }
        assert!(matches!(of(Errno::MSGSIZE, false), NetmodError::TooLong));
        assert!(matches!(of(Errno::NOBUFS, false), NetmodError::Retry(_)));
        assert!(matches!(of(Errno::BADF, false), NetmodError::Gone(_)));
        assert!(matches!(of(Errno::ADDRNOTAVAIL, false), NetmodError::Endpoint(_)));
        assert!(matches!(of(Errno::ADDRNOTAVAIL, true), NetmodError::Gone(_)));
    }

    #[test]
    fn an_error_of_an_earlier_frame_does_not_end_reception() {
        for errno in [Errno::CONNREFUSED, Errno::HOSTUNREACH, Errno::NETUNREACH, Errno::MSGSIZE, Errno::PERM]
        {
            assert!(!is_gone(&errno.into()), "{errno:?}");
        }
        assert!(is_gone(&Errno::BADF.into()));
    }
}
