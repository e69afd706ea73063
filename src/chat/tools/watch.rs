//! Notices in a stream of bytes that the model begins to call a tool.

use super::form::{CallForm, ToolFormat};

#[derive(Debug, Clone)]
pub struct CallWatch {
    form: &'static CallForm,
    /// The end of what was seen, which the opener may have begun in; for forms that open at the
    /// start, all of it.
    tail: Vec<u8>,
    /// The answer began otherwise.
    over: bool,
}

impl CallWatch {
    pub fn new(format: ToolFormat) -> Self {
        Self { form: format.form(), tail: Vec::new(), over: false }
    }

    /// What follows the opener in `bytes`, if it ends there.
    pub fn push(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        if self.over {
            return None;
        }
        let opener = self.form.opener.as_bytes();
        self.tail.extend_from_slice(bytes);
        if self.form.at_start {
            let begun = self.tail.trim_ascii_start();
            self.over = !begun.starts_with(opener) && !opener.starts_with(begun);
            return begun.strip_prefix(opener).map(<[u8]>::to_vec);
        }
        let found = self.tail.windows(opener.len()).position(|window| window == opener);
        if let Some(start) = found {
            return Some(self.tail.split_off(start + opener.len()));
        }
        let kept = self.tail.len().min(opener.len() - 1);
        self.tail.drain(..self.tail.len() - kept);
        None
    }
}
