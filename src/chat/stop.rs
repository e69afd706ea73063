//! Stop strings in a stream: holds back only what may still become one.

#[derive(Debug)]
pub struct StopStrings {}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct StopOutput {
    /// Text that can be sent on.
    pub text: String,
    /// The stop string that was found; everything after it is dropped.
    pub stopped_at: Option<String>,
}

impl StopStrings {
    pub fn new(stops: &[String]) -> Self {
        let _ = stops;
        unimplemented!()
    }

    pub fn push(&mut self, text: &str) -> StopOutput {
        let _ = text;
        unimplemented!()
    }

    /// Releases what was held back.
    pub fn finish(&mut self) -> String {
        unimplemented!()
    }
}
