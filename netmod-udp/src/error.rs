//! What an error of a socket means: which endpoint, which frame or which socket is at fault, and so what to do.

use std::io;

use rouse_core::netmod::NetmodError;
use rustix::io::Errno;

/// What an error of sending to one endpoint means. `is_homeless` finds out whether the socket's own address has left
/// the host.
pub(crate) fn of_send(error: io::Error, is_homeless: impl Fn() -> bool) -> NetmodError {
    match Errno::from_io_error(&error) {
        Some(Errno::MSGSIZE) => NetmodError::TooLong,
        // The kernel says both when the address that the socket is bound to has left the host, but not only then.
        Some(Errno::INVAL | Errno::ADDRNOTAVAIL) if is_homeless() => NetmodError::Gone(error),
        // EPERM is said by a packet filter, EACCES by a route: both are of this host.
        Some(Errno::PERM | Errno::ACCESS) => {
            let text =
                format!("this host lets nothing out there, by a firewall or a route of its own: {error}");
            NetmodError::Endpoint(io::Error::new(io::ErrorKind::PermissionDenied, text))
        }
        // NODEV is said of an interface in the endpoint's scope that is no more: others can be reached.
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

/// Whether an error of receiving means that the socket is of no more use. Any other is about something sent before,
/// and says nothing of what may still come.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::BADF | Errno::NODEV | Errno::NOTSOCK | Errno::NXIO | Errno::NOTCONN | Errno::PIPE)
    )
}

/// Whether the kernel or the network card may have refused to cut a train into frames.
pub(crate) fn is_refused_offload(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::IO | Errno::INVAL))
}

/// Whether the address that a frame was to leave from may be at fault: it has left the host, or has no route there.
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

/// The error of something that was closed on purpose.
pub(crate) fn closed() -> NetmodError {
    NetmodError::Gone(io::Error::new(io::ErrorKind::NotConnected, "the netmod is closed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(errno: Errno, homeless: bool) -> NetmodError {
        of_send(errno.into(), || homeless)
    }

    #[test]
    fn errors_of_sending_are_told_apart_by_who_is_at_fault() {
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
    fn what_came_back_of_an_earlier_frame_does_not_end_reception() {
        for errno in [Errno::CONNREFUSED, Errno::HOSTUNREACH, Errno::NETUNREACH, Errno::MSGSIZE, Errno::PERM]
        {
            assert!(!is_gone(&errno.into()), "{errno:?}");
        }
        assert!(is_gone(&Errno::BADF.into()));
    }
}
