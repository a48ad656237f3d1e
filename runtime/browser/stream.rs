//! The stream of events that one page follows: the picture at once, then with each change; a comment now and
//! then, so that a page that is gone is noticed.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt;
use tokio::sync::watch;

use super::picture::Picture;
use crate::host::body::{self, Body};

const HEARTBEAT: Duration = Duration::from_secs(15);
/// What the browser waits before it connects again, in milliseconds.
const RETRY: &str = "retry: 300\n\n";

type Next = Pin<Box<dyn Future<Output = (watch::Receiver<Picture>, Option<Bytes>)> + Send>>;

pub struct Stream(Next);

impl Stream {
    pub fn body(mut pictures: watch::Receiver<Picture>) -> Body {
        let first = RETRY.to_owned() + &message(&pictures.borrow_and_update());
        let first = async move { (pictures, Some(first.into())) };
        body::streamed(Self(Box::pin(first)).map_err(|never: Infallible| match never {}))
    }
}

fn message(picture: &Picture) -> String {
    // Its keys are texts: it can always be written, and on one line.
    let picture = serde_json::to_string(picture).unwrap_or_default();
    format!("data: {picture}\n\n")
}

async fn next(mut pictures: watch::Receiver<Picture>) -> (watch::Receiver<Picture>, Option<Bytes>) {
    if pictures.borrow().ended {
        return (pictures, None);
    }
    let text = match tokio::time::timeout(HEARTBEAT, pictures.changed()).await {
        Ok(Ok(())) if pictures.borrow().ended => None,
        Ok(Ok(())) => Some(message(&pictures.borrow_and_update()).into()),
        Ok(Err(_)) => None,
        Err(_) => Some(Bytes::from_static(b":\n\n")),
    };
    (pictures, text)
}

impl HttpBody for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let (pictures, text) = ready!(self.0.as_mut().poll(context));
        self.0 = Box::pin(next(pictures));
        Poll::Ready(text.map(|text| Ok(Frame::data(text))))
    }
}
