//! A terminal of a given width, as the output of a command.

use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};
use std::thread;

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// Runs a command on a terminal of `columns` columns, and returns all that it prints there and its exit code.
///
/// # Panics
/// When there are no terminals, or the command cannot be started.
pub fn on_terminal(command: &mut Command, columns: u16) -> (String, Option<i32>) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let keyboard = openpt(flags).expect("there are terminals");
    grantpt(&keyboard).expect("it is this process's own");
    unlockpt(&keyboard).expect("it has another end");
    let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&keyboard, size).expect("a terminal has a size");
    let screen = || File::from(ioctl_tiocgptpeer(&keyboard, flags).expect("its other end opens"));
    command.stdin(Stdio::null()).stdout(screen()).stderr(screen());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    // The command holds the ends of the terminal until its streams are replaced, and the terminal would stay open.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut printed = Vec::new();
    let reader = thread::spawn(move || {
        // The last program that closes the terminal causes an error of input and output, which is its end.
        let _ = File::from(keyboard).read_to_end(&mut printed);
        String::from_utf8_lossy(&printed).replace("\r\n", "\n")
    });
    let status = child.wait().expect("it is our child");
    (reader.join().expect("the reader does not panic"), status.code())
}
