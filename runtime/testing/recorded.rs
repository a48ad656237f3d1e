//! Requests that a server recorded, one JSON object a line, to be asked again. Knows no server.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::client::TestRequest;
use crate::{diagnostic::Diagnostic, server::Recorded};

/// Different requests that are asked again.
const MOST: usize = 10_000;

/// What a recording holds.
#[derive(Debug, Default)]
pub struct Recording {
    /// Each once, in order of their first time.
    pub requests: Vec<TestRequest>,
    /// Requests whose body was recorded in part only: they cannot be asked again.
    pub cut: usize,
}

impl Recording {
    /// # Errors
    /// The file cannot be read, or a line of it is no request.
    pub fn read(file: &Path) -> Result<Self, Diagnostic> {
        let unreadable = |error| Diagnostic::io("recording-unreadable", "read", file, &error);
        let lines = BufReader::new(File::open(file).map_err(unreadable)?).lines();
        let (mut recording, mut seen) = (Self::default(), BTreeSet::new());
        for (number, line) in lines.enumerate() {
            let line = line.map_err(unreadable)?;
            let told = |what: String| {
                let message = format!("line {} is no recorded request: {what}", number + 1);
                let help = "`wasmhost serve --record FILE` writes them; one that was killed may have left half a line at the end";
                Diagnostic::new("recording-invalid", message)
                    .file(file)
                    .help(help)
            };
            let recorded: Recorded = serde_json::from_str(&line).map_err(|error| told(error.to_string()))?;
            if recorded.cut {
                recording.cut += 1;
            } else if recording.requests.len() < MOST && seen.insert(line) {
                let request = request(recorded).map_err(told)?;
                recording.requests.push(request);
            }
        }
        Ok(recording)
    }
}

fn request(recorded: Recorded) -> Result<TestRequest, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in &recorded.headers {
        let name = HeaderName::try_from(name).map_err(|error| error.to_string())?;
        let value = HeaderValue::try_from(value).map_err(|error| error.to_string())?;
        headers.append(name, value);
    }
    Ok(TestRequest {
        method: recorded
            .method
            .parse()
            .map_err(|_| format!("the method {:?}", recorded.method))?,
        path: recorded.path,
        headers,
        body: recorded.body.into_bytes().into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Recording, Diagnostic> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Recording::read(file.path())
    }

    #[test]
    fn each_request_is_asked_once() {
        let line =
            r#"{"method":"POST","path":"/cart","headers":[["accept","*/*"]],"body":"do=clear","cut":false}"#;
        let cut = line.replace("false", "true");
        let recording = read(&format!("{line}\n{cut}\n{line}\n")).unwrap();
        assert_eq!((recording.requests.len(), recording.cut), (1, 1));
        assert_eq!(recording.requests[0].body, "do=clear");
        assert_eq!(recording.requests[0].headers["accept"], "*/*");
    }

    #[test]
    fn what_is_no_request_is_said_with_its_line() {
        let error = read("{\"method\":\"GET\"").unwrap_err();
        assert!(
            error.message.starts_with("line 1 is no recorded request"),
            "{error}"
        );
    }
}
