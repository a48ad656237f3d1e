//! A `wasi:http` component whose query says what it does: `?lockstep`, `?trap-midway`, `?outgoing`.
//! Wherever it has to wait, it waits for the next part of the request's body: so a test holds the gate.

use std::arch::wasm32;
use std::cell::Cell;
use std::mem::forget;

use wasip2::cli::environment::{get_arguments, get_environment, initial_cwd};
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::filesystem::preopens::get_directories;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingRequest, Method, OutgoingBody, OutgoingRequest,
    OutgoingResponse, ResponseOutparam, Scheme,
};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};

/// What one call to a stream may carry.
const CHUNK: usize = 4096;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

struct Streams;

impl Guest for Streams {
    fn handle(request: IncomingRequest, response: ResponseOutparam) {
        CALLS.set(CALLS.get() + 1);
        let target = request.path_with_query().unwrap_or_default();
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let (what, how) = query.split_once('=').unwrap_or((query, ""));
        let upload = Upload::open(&request);
        match what {
            "scheme" => answer(response, &format!("{:?}", request.scheme())),
            "count" => answer(response, &CALLS.get().to_string()),
            "lockstep" => lockstep(&upload, Download::open(response, &[])),
            "flood" => flood(Download::open(response, &[])),
            "size" => answer(response, &size(&upload)),
            "early" => early(&upload, Download::open(response, &[])),
            "trailers" => trailers(upload, Download::open(response, &[("trailer", "x-came")])),
            "twice" => twice(&upload, response),
            "write-late" => write_late(&upload, Download::open(response, &[])),
            "reach" => answer(response, &reach()),
            "outgoing" => answer(response, &outgoing(how)),
            "inherits" => answer(response, &inherits()),
            "hold-files" => answer(response, &hold_files(how)),
            "outgoing-flood" => answer(response, &outgoing_flood(how.parse().unwrap_or_default())),
            "write-at-once" => {
                let download = Download::open(response, &[]);
                let _ = download
                    .stream
                    .write(&vec![b'x'; how.parse().unwrap_or_default()]);
            }
            "pass-on" => pass_on(how, &upload, response),
            "print" => {
                println!("words in turn");
                answer(response, "printed");
            }
            "connect" => answer(response, &connect(how)),
            "trap" => wasm32::unreachable(),
            "trap-midway" => trap_midway(&upload, Download::open(response, &[])),
            "trap-late" => trap_late(&upload, Download::open(response, &[])),
            "silent" => {}
            "error" => {
                let secret = ErrorCode::InternalError(Some("the guest's own words".into()));
                ResponseOutparam::set(response, Err(secret));
            }
            "status" => status(response, how.parse().unwrap_or_default()),
            "unfinished" => drop(Download::begun(response)),
            "forgotten" => forget(Download::begun(response)),
            "short" => Download::open(response, &[("content-length", "100")]).write(b"begun"),
            "long" => Download::open(response, &[("content-length", "2")]).write(b"begun"),
            _ => answer(response, "nothing to do"),
        }
    }
}

wasip2::http::proxy::export!(Streams);

/// Sends back each part of the request's body before it reads the next.
fn lockstep(upload: &Upload, download: Download) {
    while let Ok(part) = upload.read() {
        if !download.still_takes(&part) {
            return;
        }
    }
    if !upload.broke_off() {
        download.finish();
    }
}

/// Writes for as long as anyone reads.
fn flood(download: Download) {
    while download.still_takes(&[b'x'; CHUNK]) {}
}

/// The size of the upload and of this component's memory after it.
fn size(upload: &Upload) -> String {
    let mut size = 0;
    while let Ok(part) = upload.read() {
        size += part.len();
    }
    let memory = wasm32::memory_size::<0>() * 64 * 1024;
    format!(
        "{size} bytes, broken off: {}, memory {memory}",
        upload.broke_off()
    )
}

/// Answers completely before it reads the request's body.
fn early(upload: &Upload, download: Download) {
    download.write(b"early");
    download.finish();
    while upload.read().is_ok() {}
}

/// Answers with how many trailers came, in one of its own.
fn trailers(upload: Upload, download: Download) {
    while upload.read().is_ok() {}
    let came = upload.trailers().map_or(0, |trailers| trailers.entries().len());
    download.write(b"body");
    let came = Fields::from_list(&[("x-came".into(), came.to_string().into())]).expect("is valid");
    drop(download.stream);
    let _ = OutgoingBody::finish(download.body, Some(came));
}

/// Answers, and answers again by the handle that it has given away.
fn twice(upload: &Upload, response: ResponseOutparam) {
    let handle = response.take_handle();
    // SAFETY: the handle is its own until the first answer; what the second comes to is the question.
    let [first, second] = [(); 2].map(|()| unsafe { ResponseOutparam::from_handle(handle) });
    answer(first, "the first");
    let _ = upload.read();
    answer(second, "the second");
}

/// Finishes its body while it still writes.
fn write_late(upload: &Upload, download: Download) {
    download.write(b"begun");
    let _ = upload.read();
    let _ = OutgoingBody::finish(download.body, None);
    let _ = download.stream.blocking_write_and_flush(b"and more");
}

fn trap_midway(upload: &Upload, download: Download) {
    download.write(b"begun");
    let _ = upload.read();
    wasm32::unreachable()
}

fn trap_late(upload: &Upload, download: Download) {
    download.write(b"complete");
    download.finish();
    let _ = upload.read();
    wasm32::unreachable()
}

/// What is here of the outside.
fn reach() -> String {
    let (environment, arguments) = (get_environment().len(), get_arguments().len());
    format!(
        "environment {environment}, arguments {arguments}, directories {}",
        get_directories().len()
    )
}

/// What a program has of the one that started it.
fn inherits() -> String {
    let mut input = String::new();
    let _ = std::io::Read::read_to_string(&mut std::io::stdin(), &mut input);
    format!(
        "arguments {:?}, directory {:?}, input {input:?}, environment {:?}",
        get_arguments(),
        initial_cwd(),
        get_environment()
    )
}

/// `how` is `AUTHORITY`, behind `tls:` for https.
fn outgoing(how: &str) -> String {
    let (scheme, authority) = match how.strip_prefix("tls:") {
        Some(authority) => (Scheme::Https, authority),
        None => (Scheme::Http, how),
    };
    let request = OutgoingRequest::new(Fields::new());
    let _ = request.set_scheme(Some(&scheme));
    let _ = request.set_authority(Some(authority));
    let _ = request.set_path_with_query(Some("/"));
    let response = match outgoing_handler::handle(request, None) {
        Ok(response) => response,
        Err(code) => return format!("{code:?}"),
    };
    response.subscribe().block();
    match response.get() {
        Some(Ok(Ok(response))) => format!("status {}", response.status()),
        Some(Ok(Err(code))) => format!("{code:?}"),
        other => format!("{other:?}"),
    }
}

/// Opens a file again and again, and keeps it open; how often that went well.
fn hold_files(path: &str) -> String {
    let open = || std::fs::File::open(path).map(forget).ok();
    std::iter::from_fn(open).take(1000).count().to_string()
}

/// Begins so many requests and waits for none; how many of them were taken.
fn outgoing_flood(many: usize) -> String {
    let begun = (0..many).map(|_| {
        let request = OutgoingRequest::new(Fields::new());
        let _ = request.set_scheme(Some(&Scheme::Http));
        let _ = request.set_authority(Some("127.0.0.1:9"));
        outgoing_handler::handle(request, None).is_ok()
    });
    begun.filter(|taken| *taken).count().to_string()
}

/// Sends the upload on, and then the answer back, part by part. `how` is `AUTHORITY/PATH`.
fn pass_on(how: &str, upload: &Upload, response: ResponseOutparam) {
    let (authority, path) = how.split_once('/').unwrap_or((how, ""));
    let request = OutgoingRequest::new(Fields::new());
    let _ = request.set_method(&Method::Post);
    let _ = request.set_scheme(Some(&Scheme::Http));
    let _ = request.set_authority(Some(authority));
    let _ = request.set_path_with_query(Some(&format!("/{path}")));
    let body = request.body().expect("is taken once");
    let answer = outgoing_handler::handle(request, None).expect("is granted");
    let stream = body.write().expect("is taken once");
    while let Ok(part) = upload.read() {
        stream.blocking_write_and_flush(&part).expect("is read");
    }
    drop(stream);
    OutgoingBody::finish(body, None).expect("is complete");
    answer.subscribe().block();
    let answer = answer.get().expect("is there").expect("is taken once");
    let body = answer.expect("is an answer").consume().expect("is taken once");
    let (stream, download) = (
        body.stream().expect("is taken once"),
        Download::open(response, &[]),
    );
    while let Ok(part) = stream.blocking_read(CHUNK as u64) {
        if !download.still_takes(&part) {
            return;
        }
    }
    download.finish();
}

fn connect(address: &str) -> String {
    match std::net::TcpStream::connect(address) {
        Ok(_) => "connected".into(),
        Err(error) => format!("{:?}", error.kind()),
    }
}

fn status(response: ResponseOutparam, status: u16) {
    let answer = OutgoingResponse::new(Fields::new());
    match answer.set_status_code(status) {
        Ok(()) => ResponseOutparam::set(response, Ok(answer)),
        Err(()) => panic!("the host refuses {status}"),
    }
}

fn answer(response: ResponseOutparam, text: &str) {
    let download = Download::open(response, &[]);
    download.write(text.as_bytes());
    download.finish();
}

/// The request's body.
struct Upload {
    stream: InputStream,
    broke_off: Cell<bool>,
    // Dropped after its stream.
    body: IncomingBody,
}

impl Upload {
    fn open(request: &IncomingRequest) -> Self {
        let body = request.consume().expect("is taken once");
        let stream = body.stream().expect("is taken once");
        Self {
            stream,
            broke_off: Cell::new(false),
            body,
        }
    }

    /// The next part, as soon as there is one.
    fn read(&self) -> Result<Vec<u8>, ()> {
        match self.stream.blocking_read(CHUNK as u64) {
            Ok(part) => Ok(part),
            Err(StreamError::Closed) => Err(()),
            Err(StreamError::LastOperationFailed(_)) => {
                self.broke_off.set(true);
                Err(())
            }
        }
    }

    fn trailers(self) -> Option<Fields> {
        drop(self.stream);
        let trailers = IncomingBody::finish(self.body);
        trailers.subscribe().block();
        trailers.get()?.ok()?.ok()?
    }

    fn broke_off(&self) -> bool {
        self.broke_off.get()
    }
}

/// A response that is on its way.
struct Download {
    stream: OutputStream,
    // Dropped after its stream.
    body: OutgoingBody,
}

impl Download {
    fn open(response: ResponseOutparam, headers: &[(&str, &str)]) -> Self {
        let calls = CALLS.get().to_string();
        let headers = headers.iter().copied().chain([("x-calls", calls.as_str())]);
        let headers: Vec<_> = headers.map(|(name, value)| (name.into(), value.into())).collect();
        let answer = OutgoingResponse::new(Fields::from_list(&headers).expect("are valid"));
        let body = answer.body().expect("is taken once");
        ResponseOutparam::set(response, Ok(answer));
        Self {
            stream: body.write().expect("is taken once"),
            body,
        }
    }

    fn begun(response: ResponseOutparam) -> Self {
        let download = Self::open(response, &[]);
        download.write(b"begun");
        download
    }

    fn write(&self, bytes: &[u8]) {
        self.still_takes(bytes);
    }

    /// False once the client is gone.
    fn still_takes(&self, bytes: &[u8]) -> bool {
        self.stream.blocking_write_and_flush(bytes).is_ok()
    }

    fn finish(self) {
        drop(self.stream);
        let _ = OutgoingBody::finish(self.body, None);
    }
}
