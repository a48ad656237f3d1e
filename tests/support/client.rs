//! An HTTP/1.1 client that keeps its connection and never asks twice: a request that fails has failed.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
};

use super::PATIENCE;

/// One connection.
pub struct Client {
    authority: String,
    stream: BufReader<Box<dyn Stream>>,
    /// What it is over, where that can be shared.
    socket: Option<TcpStream>,
}

/// What HTTP/1.1 is spoken over.
pub trait Stream: Read + Write + Send {}

impl<S: Read + Write + Send> Stream for S {}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// A socket whose silence is not waited for for ever.
pub fn connect(authority: &str) -> TcpStream {
    let stream = TcpStream::connect(authority).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

impl Client {
    pub fn new(url: &str) -> Self {
        if let Some(path) = url.strip_prefix("unix:") {
            let stream = UnixStream::connect(path).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            return Self::over(stream, "localhost");
        }
        let authority = url.strip_prefix("http://").expect("an http url");
        let socket = connect(authority);
        Self {
            socket: socket.try_clone().ok(),
            ..Self::over(socket, authority)
        }
    }

    /// Over a connection that is there.
    pub fn over(stream: impl Stream + 'static, authority: &str) -> Self {
        Self {
            authority: authority.to_owned(),
            stream: BufReader::new(Box::new(stream)),
            socket: None,
        }
    }

    pub fn get(&mut self, path: &str) -> Reply {
        self.request("GET", path, &[], b"")
    }

    pub fn post(&mut self, path: &str, form: &str) -> Reply {
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        self.request("POST", path, &headers, form.as_bytes())
    }

    pub fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.try_request(method, path, headers, body)
            .unwrap_or_else(|e| panic!("{method} {path}: {e}"))
    }

    /// As `request`, for answers that are expected to break off.
    pub fn try_request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Reply> {
        self.send(method, path, headers, body)?;
        self.receive(method == "HEAD")
    }

    /// Sends a request without waiting for its answer.
    pub fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<()> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.authority);
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() {
            head += &format!("content-length: {}\r\n", body.len());
        }
        head += "\r\n";
        let stream = self.stream.get_mut();
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)
    }

    /// Sends more of a body that was announced by hand.
    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    /// A second hand on the same connection: one sends while the other receives.
    pub fn split(&self) -> Self {
        let socket = self.socket.as_ref().expect("plain TCP").try_clone().unwrap();
        Self::over(socket, &self.authority)
    }

    /// The trailers behind the last chunk.
    pub fn last_chunk(&mut self) -> std::io::Result<Vec<String>> {
        assert_eq!(self.line()?, "0", "no chunk follows");
        let mut trailers = Vec::new();
        loop {
            match self.line()? {
                end if end.is_empty() => return Ok(trailers),
                trailer => trailers.push(trailer),
            }
        }
    }

    /// Reads the next answer to its end.
    pub fn receive(&mut self, head_only: bool) -> std::io::Result<Reply> {
        let mut reply = self.receive_head()?;
        if !head_only {
            reply.body = self.receive_body(&reply)?;
        }
        Ok(reply)
    }

    /// Reads an answer up to its body.
    pub fn receive_head(&mut self) -> std::io::Result<Reply> {
        let status_line = self.line()?;
        let status = status_line
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| broken(&format!("status line {status_line:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Ok(Reply {
            status,
            headers,
            body: Vec::new(),
        })
    }

    /// Reads the rest of a chunked body.
    pub fn receive_rest(&mut self) -> std::io::Result<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk()? {
            body.extend(chunk);
        }
        Ok(body)
    }

    fn receive_body(&mut self, head: &Reply) -> std::io::Result<Vec<u8>> {
        if head.header("transfer-encoding") == Some("chunked") {
            return self.receive_rest();
        }
        let mut body = Vec::new();
        if let Some(length) = head.header("content-length") {
            body.resize(length.parse().map_err(|_| broken("content-length"))?, 0);
            self.stream.read_exact(&mut body)?;
        }
        Ok(body)
    }

    /// Reads a body that is too large to be kept, and that consists of one byte alone; its size.
    pub fn receive_only(&mut self, byte: u8, head: &Reply) -> std::io::Result<usize> {
        let mut size = 0;
        let mut check = |part: &[u8]| {
            assert!(part.iter().all(|found| *found == byte));
            size += part.len();
        };
        match head.header("content-length") {
            Some(length) => {
                let mut left: usize = length.parse().map_err(|_| broken("content-length"))?;
                let mut part = vec![0; 64 * 1024];
                while left > 0 {
                    let most = left.min(part.len());
                    let read = self.stream.read(&mut part[..most])?;
                    if read == 0 {
                        return Err(std::io::ErrorKind::UnexpectedEof.into());
                    }
                    check(&part[..read]);
                    left -= read;
                }
            }
            None => {
                while let Some(chunk) = self.chunk()? {
                    check(&chunk);
                }
            }
        }
        Ok(size)
    }

    /// The next chunk of a chunked body; `None` is its end.
    pub fn chunk(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let size = self.line()?;
        let size =
            usize::from_str_radix(size.trim(), 16).map_err(|_| broken(&format!("chunk size {size:?}")))?;
        let mut chunk = vec![0; size];
        self.stream.read_exact(&mut chunk)?;
        self.line()?;
        Ok((size > 0).then_some(chunk))
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end_matches("\r\n").to_owned())
    }
}

fn broken(what: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, format!("unexpected {what}"))
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(header, _)| header == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// `shop@3`
    pub fn generation(&self) -> &str {
        self.header("wasmhost-generation")
            .unwrap_or_else(|| panic!("no generation in {self:?}"))
    }

    /// The value of an HTML attribute in the first element that has both: `data-count` of `id="cart-count"`.
    pub fn attribute(&self, element: &str, attribute: &str) -> String {
        let text = self.text();
        let start = text
            .find(element)
            .unwrap_or_else(|| panic!("no {element} in {text}"));
        let tag = &text[start..start + text[start..].find('>').unwrap()];
        let value = tag
            .split_once(&format!("{attribute}=\""))
            .unwrap_or_else(|| panic!("no {attribute} in {tag}"))
            .1;
        value.split('"').next().unwrap().to_owned()
    }
}
