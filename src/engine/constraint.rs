//! What an answer may consist of, in token ids.
//!
//! The engine asks for the allowed tokens before it draws one, and hands over the one it drew. It
//! does so outside the reasoning part only. What the tokens mean is not its business.

use std::fmt;

use thiserror::Error;

/// Why a constraint cannot go on. Ends its own request only. Never says what was generated.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct ConstraintError(pub String);

/// The state of one request's constraint. Lives in the engine thread, so each call must be bounded.
pub trait TokenConstraint: fmt::Debug + Send {
    /// The tokens that may come next, as bits from the lowest one of the first word; `None` allows
    /// any. At least one is allowed, and tokens that end the generation only where it may end.
    fn allowed(&mut self) -> Result<Option<&[u32]>, ConstraintError>;

    /// Takes the token that was drawn, and says which one is written: the same; or, if otherwise
    /// the answer could no longer end within the `room` tokens that are left after it, another one,
    /// or `None` if it ends here.
    fn accept(&mut self, token: u32, room: usize) -> Result<Option<u32>, ConstraintError>;

    /// Whether the answer is valid as it is.
    fn may_end(&mut self) -> bool;

    /// Whether nothing can follow.
    fn must_end(&mut self) -> bool;

    /// Tokens that a whole answer takes at least, as far as that is known.
    fn num_tokens_min(&self) -> usize;
}
