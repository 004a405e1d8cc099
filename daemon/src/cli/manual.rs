//! The manual pages, made from the definitions of the arguments: one of each program, and one of each command of `rouse`.

use std::io;

use clap::CommandFactory;
use clap_mangen::Man;

use super::args::{Cli, ManPage};
use crate::config::Flags;

/// The files of `rouse`, as roff.
const ROUSE_FILES: &str = r"
.SH FILES
.TP
.I ~/.local/state/rouse/rouse.sock
The socket of the user's daemon. $STATE_DIRECTORY and $XDG_STATE_HOME/rouse are searched before it.
.TP
.I /run/rouse/rouse.sock
The socket of the system's daemon, for the members of its group.
";

const ROUSE_EXAMPLES: &str = r#"
.SH EXAMPLES
.TP
.B rouse name add kitchen rouse1\fR\fI...\fR
Give an address a name. Names, and addresses shortened to \fIrouse1abcd...wxyz\fR, are accepted wherever an address is.
.TP
.B rouse send kitchen "dinner is ready"
Send a message. It waits for its recipient for 7 days, or for the time of \-\-ttl.
.TP
.B df \-h | rouse send kitchen \- \-\-wait delivered
Send standard input, and wait until the recipient has it on its disk.
.TP
.B rouse recv \-\-follow
Print messages as they arrive, one line each: the sender, a tab, and the text with line ends, tabs and backslashes escaped.
.TP
.B rouse \-\-json recv | jq \-r .text
Receive one message as JSON, unchanged.
.TP
.B rouse serve clock \-\- date \-\-iso\-8601=seconds
Answer each request to the service \fIclock\fR with the output of a command.
.TP
.B rouse request kitchen clock ""
Send a request to that service, and print the answer.
.TP
.B rouse recv \-\-service alarms \-\-follow
Print only messages that were sent with \fI\-\-service alarms\fR.
.TP
.B rouse probe kitchen
Find the first stage on the way to a peer that fails, and the next step.
.TP
.B rouse mesh new
Close the mesh: only nodes with the same key become neighbours.
.SH EXIT STATUS
0 done; 1 no (no reply, not delivered, unhealthy, refused); 2 usage, configuration, mistyped address, unknown name;
3 no daemon; 4 timed out; 130 interrupted.
"#;

const ROUSED_FILES: &str = r"
.SH FILES
.TP
.I ~/.config/rouse/roused.toml
The configuration of the user, else
.I /etc/rouse/roused.toml
that of the system. \-\-print\-config prints every setting with its default and an explanation.
.TP
.I ~/.local/state/rouse
The state directory: $STATE_DIRECTORY, else $XDG_STATE_HOME/rouse, else this. It holds the secret of the node's address
(\fIidentity\fR), further addresses, names, peers, the key of a closed mesh (\fImesh.key\fR) and the socket
(\fIrouse.sock\fR). A copy of \fIidentity\fR is the only way to keep the address when the disk is lost.
";

const ROUSED_EXAMPLES: &str = r"
.SH EXAMPLES
.TP
.B roused
Run a node: make an identity, listen on UDP port 7700, find neighbours by multicast, and print \fIready ADDRESS SOCKET\fR.
.TP
.B roused \-\-peer udp:192.0.2.7:7700
Dial a node that multicast does not reach.
.TP
.B roused \-\-state\-dir /tmp/b \-\-listen udp:127.0.0.1:7002
A second node on the same host.
.TP
.B roused \-\-check \-\-config roused.toml
Check a configuration file.
.SH EXIT STATUS
0 stopped in order; 1 failed; 2 wrong usage or configuration.
.SH SIGNALS
SIGTERM and SIGINT stop the daemon in order, within 5 s. SIGHUP reads names, peers, the allow and deny lists and the log level again.
";

/// The pages of one program.
pub(super) fn pages(page: ManPage) -> io::Result<Vec<u8>> {
    let mut pages = Vec::new();
    match page {
        ManPage::Rouse => {
            let mut command = Cli::command();
            command.build();
            Man::new(command.clone()).render(&mut pages)?;
            pages.extend([ROUSE_FILES, ROUSE_EXAMPLES].concat().trim_start().bytes());
            for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
                let name = format!("rouse-{}", sub.get_name());
                Man::new(sub.clone()).title(name).render(&mut pages)?;
            }
        }
        ManPage::Roused => {
            Man::new(Flags::command()).render(&mut pages)?;
            pages.extend([ROUSED_FILES, ROUSED_EXAMPLES].concat().trim_start().bytes());
        }
    }
    Ok(pages)
}
