//! Standard output and standard error that nothing reads: the daemon goes on, and ends when it is stopped.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, PipeReader, Read, Write, pipe};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::thread;

use rouse_tests::{Daemon, Running, programs, until};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Action, tcflow};

/// The writing end of a pipe that is full, so that the next write to it waits until something reads.
fn full_pipe() -> (PipeReader, Stdio) {
    let (reader, mut writer) = pipe().expect("there are pipes");
    let flags = fcntl_getfl(&writer).expect("a pipe has flags");
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).expect("they can be set");
    while writer.write(&[b'\n'; 512]).is_ok() {}
    fcntl_setfl(&writer, flags).expect("they can be set back");
    (reader, writer.into())
}

/// The keyboard's end of a terminal that was stopped as by Ctrl-S, and its program's end: the next write to it waits until it is
/// started again, which nothing does.
fn stopped_terminal() -> (OwnedFd, File) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let keyboard = openpt(flags).expect("there are terminals");
    grantpt(&keyboard).expect("it is this process's own");
    unlockpt(&keyboard).expect("it has another end");
    let open = || File::from(ioctl_tiocgptpeer(&keyboard, flags).expect("its other end opens"));
    tcflow(open(), Action::OOff).expect("its output can be stopped");
    let mut program = open();
    let flags = fcntl_getfl(&program).expect("a terminal has flags");
    fcntl_setfl(&program, flags | OFlags::NONBLOCK).expect("they can be set");
    let refused = program.write(b"\n").expect_err("it takes nothing");
    assert_eq!(refused.kind(), ErrorKind::WouldBlock);
    fcntl_setfl(&program, flags).expect("they can be set back");
    (keyboard, program)
}

fn terminate(process: &mut Running) {
    let pid =
        Pid::from_raw(process.pid().try_into().expect("a process id is small")).expect("it is not zero");
    kill_process(pid, Signal::TERM).expect("it runs");
    assert!(process.end().success(), "it ends in order");
}

/// A daemon that writes its log, at the most verbose level, to `stderr`.
fn tracing_daemon(stderr: Stdio) -> Daemon {
    tracing_daemon_on(Stdio::null(), stderr)
}

fn tracing_daemon_on(stdout: Stdio, stderr: Stdio) -> Daemon {
    programs!().daemon().argument("--log").argument("trace").start_with_output(stdout, stderr)
}

fn dropped(daemon: &Daemon) -> u64 {
    daemon.json(&["status"])["counters"]["log_lines_dropped"].as_u64().expect("it is counted")
}

/// Makes it log until lines are dropped: each connection that does not greet as it should is worth a line.
fn until_it_drops(daemon: &Daemon) {
    until("lines are dropped", || {
        for _ in 0..500 {
            let mut stranger = UnixStream::connect(daemon.socket()).expect("it serves");
            stranger.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("it listens");
            // Closed with bytes unread, which may show as a reset.
            let _ = stranger.read_to_end(&mut Vec::new());
        }
        (dropped(daemon) > 0).then_some(())
    });
}

#[test]
fn a_log_that_nothing_reads_blocks_nothing_in_the_daemon() {
    let (_unread, stderr) = full_pipe();
    serves_and_ends(tracing_daemon(stderr));
}

#[test]
fn a_terminal_that_is_stopped_blocks_nothing_in_the_daemon() {
    let (_keyboard, terminal) = stopped_terminal();
    let stdout = terminal.try_clone().expect("a descriptor can be copied");
    serves_and_ends(tracing_daemon_on(stdout.into(), terminal.into()));
}

/// The daemon, whose log goes nowhere, makes links, exchanges messages, and ends when it is stopped.
fn serves_and_ends(mut first: Daemon) {
    until_it_drops(&first);
    let second = programs!().daemon().peer(&first.uri()).start();
    first.route_to(second.address());
    first.talk(&second, "hello");
    let mut second = second;
    second.process().kill();
    let third = programs!().daemon().peer(&first.uri()).start();
    first.neighbour(third.address());
    terminate(first.process());
}

#[test]
fn the_log_reports_how_many_lines_were_dropped_once_it_is_read() {
    let (unread, stderr) = full_pipe();
    let mut daemon = tracing_daemon(stderr);
    until_it_drops(&daemon);
    let (report, missing) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let lines = BufReader::new(unread).lines().map_while(Result::ok);
        for line in lines.filter(|line| line.contains("dropped here")) {
            // The test has ended when nothing receives the line.
            let _ = report.send(line);
        }
    });
    let line = missing.recv().expect("the daemon reports it");
    let words: Vec<&str> = line.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "log").expect("N log lines were dropped");
    let count: u64 = words[at - 1].parse().expect("a number");
    assert!(count > 0 && count <= dropped(&daemon), "{line}");
    terminate(daemon.process());
}

#[test]
fn standard_output_that_nothing_reads_blocks_nothing_in_the_daemon() {
    let (_unread, stdout) = full_pipe();
    let mut daemon = programs!().daemon().start_with_output(stdout, Stdio::null());
    terminate(daemon.process());
}

#[test]
fn a_daemon_that_cannot_start_ends_though_nothing_reads_the_reason() {
    let first = programs!().daemon().start();
    let (_unread, stderr) = full_pipe();
    let mut second = programs!().daemon().state_of(&first).start_to_its_end(Stdio::null(), stderr);
    assert_eq!(second.end().code(), Some(1));
}

#[test]
fn the_reason_why_a_daemon_cannot_start_is_the_last_line_and_whole_however_much_it_has_logged() {
    let first = programs!().daemon().start();
    let (mut reader, stderr) = pipe().expect("there are pipes");
    let second = programs!().daemon().state_of(&first).argument("--log").argument("trace");
    let mut second = second.start_to_its_end(Stdio::null(), stderr.into());
    let mut printed = String::new();
    reader.read_to_string(&mut printed).expect("text");
    assert_eq!(second.end().code(), Some(1));
    let last = printed.lines().last().unwrap_or_default();
    assert!(last.starts_with("roused: ") && last.contains(&format!("pid {}", first.pid())), "{printed}");
}
