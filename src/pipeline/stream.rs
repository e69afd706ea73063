//! The way back: token events to chat events.

use crate::pipeline::ChatEvent;

#[derive(Debug)]
pub struct ChatStream {}

impl ChatStream {
    /// `None` after the final event. Dropping the stream cancels the request.
    pub async fn next(&mut self) -> Option<ChatEvent> {
        unimplemented!()
    }
}
