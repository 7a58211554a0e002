//! How the process of a node is stopped, paused and watched.

use super::{LOOK_PAUSE, Node, SOON};
use rustix::process::{Pid, Signal, kill_process};
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use tokio::time::Instant;

impl Node {
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(self.child.as_ref().unwrap());
        kill_process(pid, signal).unwrap();
    }

    /// SIGKILL, at whatever it is doing.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Waits until it ends by itself; its exit code.
    pub async fn ended(&mut self) -> Option<i32> {
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                self.child = None;
                return status.code();
            }
            let id = self.id;
            assert!(
                Instant::now() < deadline,
                "node {id} does not end by itself"
            );
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// SIGTERM, without waiting for its end.
    pub fn request_stop(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGTERM; its exit status.
    pub fn terminate(&mut self) -> ExitStatus {
        self.request_stop();
        let status = self.child.take().unwrap().wait().unwrap();
        assert_eq!(status.signal(), None);
        status
    }

    /// SIGSTOP: it stands still, its connections stay open.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT: it goes on where it stood still.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }
}
