//! What is judged: pieces of a conversation.

/// Whose text it is: the client's or the model's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Input,
    Output,
}

/// What a block of text is to the policies. Without any it is content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qualifier {
    /// What an answer must be supported by.
    GroundingSource,
    /// What an answer must be relevant to.
    Query,
    GuardContent,
}

/// A piece of a conversation.
#[derive(Debug, Clone, Copy)]
pub struct Block<'a> {
    pub text: &'a str,
    pub qualifiers: &'a [Qualifier],
}

impl Direction {
    /// As ApplyGuardrail spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Input => "INPUT",
            Self::Output => "OUTPUT",
        }
    }
}

impl<'a> Block<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, qualifiers: &[] }
    }

    /// Whether all policies look at it, not only the contextual grounding.
    pub(super) fn is_content(&self) -> bool {
        self.qualifiers.is_empty() || self.qualifiers.contains(&Qualifier::GuardContent)
    }
}
