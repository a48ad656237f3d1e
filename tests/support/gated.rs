//! Requests to the guest `streams` that stay under way for as long as a test wants.

use std::io;

use super::{Client, Reply, Server};

/// A request whose guest goes on as the test sends the parts of its body.
pub struct Gated {
    pub client: Client,
}

impl Gated {
    pub fn open(server: &Server, path: &str) -> Self {
        let mut client = server.client();
        client
            .send("POST", path, &[("transfer-encoding", "chunked")], b"")
            .unwrap();
        Self { client }
    }

    /// A request that is under way: its guest is at the gate, and the answer has begun.
    pub fn lockstep(server: &Server) -> (Self, Reply) {
        Self::lockstep_at(server, "/odd/streams?lockstep")
    }

    pub fn lockstep_at(server: &Server, path: &str) -> (Self, Reply) {
        let mut gated = Self::open(server, path);
        gated.send("first");
        let head = gated.client.receive_head().unwrap();
        assert_eq!(head.status, 200);
        assert_eq!(gated.receive().unwrap().as_deref(), Some("first"));
        (gated, head)
    }

    pub fn send(&mut self, part: &str) {
        self.client
            .write(format!("{:x}\r\n{part}\r\n", part.len()).as_bytes());
    }

    pub fn finish(&mut self) {
        self.client.write(b"0\r\n\r\n");
    }

    pub fn receive(&mut self) -> io::Result<Option<String>> {
        Ok(self
            .client
            .chunk()?
            .map(|chunk| String::from_utf8(chunk).unwrap()))
    }

    pub fn assert_goes_on_to_its_end(mut self) {
        self.send("next");
        assert_eq!(self.receive().unwrap().as_deref(), Some("next"));
        self.finish();
        assert_eq!(self.receive().unwrap(), None);
    }
}

/// That an answer ended before its end; and did end, instead of hanging.
pub fn assert_broken<T: std::fmt::Debug>(answer: io::Result<T>) {
    let error = answer.expect_err("the body must not look complete");
    let expected = [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset];
    assert!(expected.contains(&error.kind()), "{error}");
}
