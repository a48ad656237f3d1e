//! A `wasi:http@0.3` component whose query says what it does: `?lockstep`, `?barrier=3`, `?echo`.
//! Wherever it has to wait, it waits for the next part of the request's body or for other requests: so a
//! test holds the gate.

use std::arch::wasm32;
use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::hint::black_box;
use std::task::{Poll, Waker};

use exports::wasi::http::handler::Guest;
use wasi::cli::environment::get_environment;
use wasi::clocks::monotonic_clock::wait_for;
use wasi::config::store;
use wasi::filesystem::preopens::get_directories;
use wasi::filesystem::types::{DescriptorFlags, OpenFlags, PathFlags};
use wasi::http::client;
use wasi::http::types::{ErrorCode, Fields, Method, Request, RequestOptions, Response, Scheme, Trailers};
use wit_bindgen::{FutureReader, StreamReader, StreamResult, StreamWriter, spawn_local};

wit_bindgen::generate!({
    path: "wit",
    world: "flows",
    generate_all,
});

/// What one read of a stream takes.
const CHUNK: usize = 16 * 1024;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
    static INSIDE: RefCell<(usize, Vec<Waker>)> = const { RefCell::new((0, Vec::new())) };
}

type Ended = Result<Option<Trailers>, ErrorCode>;
type Answer = Result<Response, ErrorCode>;

struct Flows;

impl Guest for Flows {
    async fn handle(request: Request) -> Answer {
        CALLS.set(CALLS.get() + 1);
        let target = request.get_path_with_query().unwrap_or_default();
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let (what, how) = query.split_once('=').unwrap_or((query, ""));
        let (what, how) = (what.to_owned(), how.to_owned());
        match what.as_str() {
            "count" => text(&CALLS.get().to_string()),
            "describe" => text(&describe(&request)),
            "sleep" => sleep(how.parse().unwrap_or_default()).await,
            "barrier" => barrier(how.parse().unwrap_or_default()).await,
            "lockstep" => lockstep(Upload::open(request)),
            "echo" => echo(request),
            "size" => size(Upload::open(request)).await,
            "flood" => flood(),
            "early" => early(Upload::open(request)),
            "trailers" => trailers(Upload::open(request)),
            "reach" => text(&format!(
                "environment {:?}, directories {}",
                get_environment(),
                get_directories().len()
            )),
            "variable" => text(&format!("{:?}", std::env::var(how).ok())),
            "config" => text(&format!("{:?}", store::get(&how))),
            "read" => text(&format!(
                "{:?}",
                std::fs::read_to_string(how).map_err(|error| error.kind())
            )),
            "write" => text(&format!(
                "{:?}",
                std::fs::write(how, "written").map_err(|error| error.kind())
            )),
            "hold-files" => hold_files(how).await,
            "outgoing" => outgoing(&how, request, None).await,
            "outgoing-at-once" => outgoing(&how, request, Some(1_000_000)).await,
            "print" => {
                println!("interleaved words");
                text("printed")
            }
            "trap" => wasm32::unreachable(),
            "trap-midway" => trap_midway(Upload::open(request)),
            "trap-late" => trap_late(Upload::open(request)),
            "loop" => loop {
                black_box(());
            },
            "stuck" => pending().await,
            "linger" => linger(),
            "spin" => spin(),
            "error" => Err(ErrorCode::InternalError(Some("the guest's own words".into()))),
            "abort" => abort(Upload::open(request)),
            "status" => status(how.parse().unwrap_or_default()),
            "short" => sized("100"),
            "long" => sized("2"),
            _ => text("nothing to do"),
        }
    }
}

export!(Flows);

/// Opens a file of the first folder again and again, and keeps it open; how often that went well.
async fn hold_files(path: String) -> Answer {
    let (folder, _) = get_directories().remove(0);
    let mut files = Vec::new();
    while files.len() < 1000 {
        let opened = folder.open_at(
            PathFlags::empty(),
            path.clone(),
            OpenFlags::empty(),
            DescriptorFlags::READ,
        );
        match opened.await {
            Ok(file) => files.push(file),
            Err(_) => break,
        }
    }
    let count = files.len();
    std::mem::forget(files);
    text(&count.to_string())
}

/// Answers after so many milliseconds.
async fn sleep(ms: u64) -> Answer {
    wait_for(ms * 1_000_000).await;
    text("awake")
}

/// Answers when `most` requests are inside at once.
async fn barrier(most: usize) -> Answer {
    INSIDE.with_borrow_mut(|(inside, _)| *inside += 1);
    poll_fn(|context| {
        INSIDE.with_borrow_mut(|(inside, waiting)| {
            if *inside >= most {
                waiting.drain(..).for_each(Waker::wake);
                return Poll::Ready(());
            }
            waiting.push(context.waker().clone());
            Poll::Pending
        })
    })
    .await;
    text("met")
}

/// Sends back each part of the request's body before it reads the next.
fn lockstep(mut upload: Upload) -> Answer {
    let (mut download, response) = Download::open(&[]);
    spawn_local(async move {
        while let Some(part) = upload.read().await {
            if !download.write(part).await {
                return download.finish(Ok(None)).await;
            }
        }
        let end = upload.end().await;
        download.finish(end.map(|_| None)).await;
    });
    response
}

/// Hands the request's body to the response as it is, with its trailers.
fn echo(request: Request) -> Answer {
    let (body, trailers) = consume(request);
    let (response, _) = Response::new(headers(&[]), Some(body), trailers);
    Ok(response)
}

/// The size of the upload and of this component's memory after it.
async fn size(mut upload: Upload) -> Answer {
    let mut size = 0;
    while let Some(part) = upload.read().await {
        size += part.len();
    }
    let broken_off = upload.end().await.is_err();
    let memory = wasm32::memory_size::<0>() * 64 * 1024;
    text(&format!(
        "{size} bytes, broken off: {broken_off}, memory {memory}"
    ))
}

/// Writes for as long as anyone reads.
fn flood() -> Answer {
    let (mut download, response) = Download::open(&[]);
    spawn_local(async move {
        while download.write(vec![b'x'; CHUNK]).await {}
        download.finish(Ok(None)).await;
    });
    response
}

/// Answers completely before it reads the request's body.
fn early(mut upload: Upload) -> Answer {
    let (mut download, response) = Download::open(&[("content-length", "5")]);
    spawn_local(async move {
        download.write(b"early".to_vec()).await;
        download.finish(Ok(None)).await;
        while upload.read().await.is_some() {}
        CALLS.set(CALLS.get() + 100);
    });
    response
}

/// Answers with the trailers that came, and with one of its own.
fn trailers(mut upload: Upload) -> Answer {
    let (mut download, response) = Download::open(&[("trailer", "x-came")]);
    spawn_local(async move {
        while upload.read().await.is_some() {}
        let came = match upload.end().await {
            Ok(Some(trailers)) => format!("{:?}", trailers.copy_all().len()),
            Ok(None) => "none".into(),
            Err(_) => "error".into(),
        };
        download.write(b"body".to_vec()).await;
        download.finish(Ok(Some(headers(&[("x-came", &came)])))).await;
    });
    response
}

fn trap_midway(mut upload: Upload) -> Answer {
    let (mut download, response) = Download::open(&[]);
    spawn_local(async move {
        download.write(b"begun".to_vec()).await;
        upload.read().await;
        wasm32::unreachable()
    });
    response
}

fn trap_late(mut upload: Upload) -> Answer {
    let (mut download, response) = Download::open(&[]);
    spawn_local(async move {
        download.write(b"complete".to_vec()).await;
        download.finish(Ok(None)).await;
        upload.read().await;
        wasm32::unreachable()
    });
    response
}

/// Answers completely, and never ends.
fn linger() -> Answer {
    let (mut download, response) = Download::open(&[]);
    spawn_local(async move {
        download.write(b"complete".to_vec()).await;
        download.finish(Ok(None)).await;
        pending::<()>().await;
    });
    response
}

/// Answers completely, and then keeps its thread.
fn spin() -> Answer {
    let (mut download, response) = Download::open(&[]);
    spawn_local(async move {
        download.write(b"complete".to_vec()).await;
        download.finish(Ok(None)).await;
        loop {
            black_box(());
        }
    });
    response
}

/// Gives up in the middle of its body.
fn abort(mut upload: Upload) -> Answer {
    let (mut download, response) = Download::open(&[]);
    spawn_local(async move {
        download.write(b"begun".to_vec()).await;
        upload.read().await;
        download.finish(Err(ErrorCode::InternalError(None))).await;
    });
    response
}

/// Five bytes under another length.
fn sized(length: &str) -> Answer {
    let (mut download, response) = Download::open(&[("content-length", length)]);
    spawn_local(async move {
        download.write(b"begun".to_vec()).await;
        download.finish(Ok(None)).await;
    });
    response
}

fn status(status: u16) -> Answer {
    let response = text("status")?;
    match response.set_status_code(status) {
        Ok(()) => Ok(response),
        Err(()) => panic!("the host refuses {status}"),
    }
}

/// Sends the request on, and its answer back: both bodies as they come. `how` is `AUTHORITY/PATH`, behind `tls:`
/// for https; the connection has so many nanoseconds to come about.
async fn outgoing(how: &str, request: Request, connect: Option<u64>) -> Answer {
    let (scheme, how) = match how.strip_prefix("tls:") {
        Some(how) => (Scheme::Https, how),
        None => (Scheme::Http, how),
    };
    let options = RequestOptions::new();
    options.set_connect_timeout(connect).expect("is supported");
    let (authority, path) = how.split_once('/').unwrap_or((how, ""));
    let method = request.get_method();
    let (body, trailers) = consume(request);
    let body = (!matches!(method, Method::Get)).then_some(body);
    let (on, _) = Request::new(headers(&[]), body, trailers, Some(options));
    let _ = on.set_method(&method);
    let _ = on.set_scheme(Some(&scheme));
    let _ = on.set_authority(Some(authority));
    let _ = on.set_path_with_query(Some(&format!("/{path}")));
    match client::send(on).await {
        Ok(answer) => {
            let status = answer.get_status_code();
            let (_, sent) = wit_future::new(|| Ok(()));
            let (body, trailers) = Response::consume_body(answer, sent);
            let (response, _) = Response::new(headers(&[]), Some(body), trailers);
            let _ = response.set_status_code(status);
            Ok(response)
        }
        Err(code) => text(&format!("{code:?}")),
    }
}

fn describe(request: &Request) -> String {
    format!(
        "{:?} {:?} {:?} {:?}",
        request.get_method(),
        request.get_scheme(),
        request.get_authority(),
        request.get_path_with_query()
    )
}

fn text(text: &str) -> Answer {
    let (mut download, response) = Download::open(&[]);
    let text = text.as_bytes().to_vec();
    spawn_local(async move {
        download.write(text).await;
        download.finish(Ok(None)).await;
    });
    response
}

fn headers(headers: &[(&str, &str)]) -> Fields {
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
        .collect();
    Fields::from_list(&headers).expect("are valid")
}

fn consume(request: Request) -> (StreamReader<u8>, FutureReader<Ended>) {
    let (_, taken) = wit_future::new(|| Ok(()));
    Request::consume_body(request, taken)
}

/// The request's body.
struct Upload {
    stream: StreamReader<u8>,
    trailers: FutureReader<Ended>,
}

impl Upload {
    fn open(request: Request) -> Self {
        let (stream, trailers) = consume(request);
        Self { stream, trailers }
    }

    /// The next part, as soon as there is one.
    async fn read(&mut self) -> Option<Vec<u8>> {
        let (result, part) = self.stream.read(Vec::with_capacity(CHUNK)).await;
        match result {
            StreamResult::Complete(_) => Some(part),
            StreamResult::Dropped | StreamResult::Cancelled => (!part.is_empty()).then_some(part),
        }
    }

    async fn end(self) -> Ended {
        drop(self.stream);
        self.trailers.await
    }
}

/// A response that is on its way.
struct Download {
    stream: StreamWriter<u8>,
    end: wit_bindgen::FutureWriter<Ended>,
}

impl Download {
    fn open(more: &[(&str, &str)]) -> (Self, Answer) {
        let calls = CALLS.get().to_string();
        let headers = headers(&[&[("x-calls", calls.as_str())], more].concat());
        let (stream, body) = wit_stream::new();
        let (end, trailers) = wit_future::new(|| Ok(None));
        let (response, _) = Response::new(headers, Some(body), trailers);
        (Self { stream, end }, Ok(response))
    }

    /// False once nobody reads any more.
    async fn write(&mut self, part: Vec<u8>) -> bool {
        self.stream.write_all(part).await.is_empty()
    }

    async fn finish(self, end: Ended) {
        drop(self.stream);
        let _ = self.end.write(end).await;
    }
}
