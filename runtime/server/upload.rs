//! A request's body on its way in: it notes whether somebody let go of it before its end, for then its
//! client may still be sending when the connection is closed. Knows not who reads it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::activity::Activity;
use crate::host::body::{self, BodyError};

pub struct Upload {
    body: Incoming,
    ended: bool,
    activity: Arc<Activity>,
}

impl Upload {
    /// What the client sends; most send nothing.
    pub fn body(body: Incoming, activity: &Arc<Activity>) -> body::Body {
        if body.is_end_stream() {
            return body::full("");
        }
        body::streamed(Self {
            ended: false,
            activity: activity.clone(),
            body,
        })
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.ended && !self.body.is_end_stream() {
            self.activity.leave_unread();
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        self.ended |= matches!(frame, Poll::Ready(None));
        frame.map_err(|error| BodyError::Client(error.to_string()))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
