//! Spans, as a collector gets them over OTLP; and the access log.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    sync::mpsc::{Receiver, channel},
    thread,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::any_value::Value,
    trace::v1::{Span, span::SpanKind},
};
use prost::Message;

use crate::support::{
    PATIENCE, Server, wasmhost,
    wat_site::{page, site},
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CLIENT: &str = "b7ad6b7169203331";

/// What takes spans.
struct Collector {
    url: String,
    spans: Receiver<Span>,
    seen: Vec<Span>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, spans) = channel();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let sender = sender.clone();
                thread::spawn(move || {
                    let mut stream = BufReader::new(stream);
                    while let Some(request) = receive(&mut stream) {
                        let resources = request.resource_spans.into_iter();
                        let scopes = resources.flat_map(|resource| resource.scope_spans);
                        let spans = scopes.flat_map(|scope| scope.spans);
                        spans.for_each(|span| drop(sender.send(span)));
                        stream
                            .get_mut()
                            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                            .unwrap();
                    }
                });
            }
        });
        Self {
            url,
            spans,
            seen: Vec::new(),
        }
    }

    fn wait(&mut self, fits: impl Fn(&Span) -> bool) -> Span {
        loop {
            if let Some(at) = self.seen.iter().position(&fits) {
                return self.seen.remove(at);
            }
            self.seen
                .push(self.spans.recv_timeout(PATIENCE).expect("a span that fits"));
        }
    }
}

fn receive(stream: &mut impl BufRead) -> Option<ExportTraceServiceRequest> {
    let (mut length, mut line) = (0, String::new());
    while stream.read_line(&mut line).ok()? > 0 && line != "\r\n" {
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if lower.starts_with("post ") {
            assert!(lower.starts_with("post /v1/traces "), "{line}");
        }
        line.clear();
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    (length > 0).then(|| ExportTraceServiceRequest::decode(&body[..]).unwrap())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn facts(span: &Span) -> BTreeMap<&str, String> {
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    let attributes = span.attributes.iter();
    attributes
        .map(|fact| {
            let value = fact.value.as_ref().and_then(|value| value.value.as_ref());
            (fact.key.as_str(), value.map(text).unwrap_or_default())
        })
        .collect()
}

#[test]
fn requests_guests_and_swaps_are_spans_with_the_right_parents() {
    let mut collector = Collector::start();
    let tree = site(1);
    let mut command = wasmhost();
    command.arg("serve").arg(tree.root());
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url);
    let mut server = Server::start_command(command);
    let mut client = server.client();

    let parent = format!("00-{TRACE}-{CLIENT}-01");
    client.request(
        "GET",
        "/api/page",
        &[("traceparent", &parent), ("x-request-id", "one")],
        b"",
    );
    let request = collector.wait(|span| facts(span).get("wasmhost.request").is_some_and(|id| id == "one"));
    assert_eq!(
        (hex(&request.trace_id), hex(&request.parent_span_id)),
        (TRACE.into(), CLIENT.into())
    );
    assert_eq!((request.kind(), request.name.as_str()), (SpanKind::Server, "GET"));
    let known = facts(&request);
    assert_eq!(known["http.response.status_code"], "200");
    assert_eq!(known["wasmhost.generation"], "api@1");
    assert_eq!(known["url.path"], "/api/page");
    let guest = collector.wait(|span| span.parent_span_id == request.span_id);
    assert_eq!(
        (guest.name.as_str(), &guest.trace_id),
        ("api.page", &request.trace_id)
    );
    assert!(guest.start_time_unix_nano >= request.start_time_unix_nano);
    assert!(guest.end_time_unix_nano >= guest.start_time_unix_nano);

    // Without a client's trace, one begins here.
    client.request("GET", "/shop/page", &[("x-request-id", "two")], b"");
    let root = collector.wait(|span| facts(span).get("wasmhost.request").is_some_and(|id| id == "two"));
    assert_eq!(hex(&root.parent_span_id), "");
    assert_ne!(root.trace_id, request.trace_id);
    // One that its client does not record is not recorded.
    let unsampled = format!("00-{TRACE}-{CLIENT}-00");
    client.request(
        "GET",
        "/api/page",
        &[("traceparent", &unsampled), ("x-request-id", "three")],
        b"",
    );

    tree.put("api/page.wat", page(2, ""));
    server.wait("swapped");
    let swap = collector.wait(|span| span.name == "swap api");
    assert_eq!(facts(&swap)["wasmhost.generation"], "api@2");
    for stage in ["read", "link", "compile", "instantiate"] {
        let stage = collector.wait(|span| span.name == stage);
        assert_eq!(stage.parent_span_id, swap.span_id, "{}", stage.name);
        assert!(
            stage.end_time_unix_nano <= swap.end_time_unix_nano,
            "{}",
            stage.name
        );
    }
    let third = |span: &Span| {
        facts(span)
            .get("wasmhost.request")
            .is_some_and(|id| id == "three")
    };
    assert!(!collector.seen.iter().any(third));
}

#[test]
fn each_request_is_a_line_of_the_access_log_with_its_generation() {
    let tree = site(1);
    let server = Server::start_with(tree.root(), &["--access-log", "--log-format", "json"]);
    let mut client = server.client();
    client.request("GET", "/api/page?secret=1", &[("x-request-id", "one")], b"");
    client.request("GET", "/nowhere", &[("x-request-id", "two")], b"");
    server.wait_for_log(r#""id":"two""#);
    server.signal("TERM");
    let (_, _, log) = server.ended();
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let lines: Vec<_> = lines.filter(|line| line["target"] == "access").collect();
    let told = |line: &serde_json::Value| {
        let text = |name: &str| line[name].as_str().unwrap().to_owned();
        (
            text("method"),
            text("path"),
            line["status"].as_u64().unwrap(),
            text("generation"),
            text("id"),
        )
    };
    let get = |path: &str, status, generation: &str, id: &str| {
        (
            "GET".to_owned(),
            path.to_owned(),
            status,
            generation.to_owned(),
            id.to_owned(),
        )
    };
    assert_eq!(
        lines.iter().map(told).collect::<Vec<_>>(),
        [
            get("/api/page", 200, "api@1", "one"),
            get("/nowhere", 404, "", "two")
        ]
    );
}
