//! Guessing the next tokens, so that one step verifies several.
//!
//! A guess costs a row of the step and nothing else: the token at each place is drawn from the
//! model's logits as it always is, by the same seed and index, and a guess only says what the next
//! row was computed behind. Where it was wrong, the rows behind it are thrown away. So the text
//! does not depend on the guesses, whatever the sampling, the penalties and the constraint are.

mod cost;
mod draft_model;
mod guesses;
mod lookup;
mod policy;
mod rate;
mod step;

pub(super) use draft_model::DraftModel;
pub(super) use guesses::Guesses;
pub(super) use lookup::Lookup;
pub(super) use policy::SpeculationPolicy;
pub(super) use step::GuessStep;

/// Makes guesses. Those that are asked later see the guesses of those before and may replace them.
pub(super) trait Drafter: Send {
    fn propose(&mut self, step: &mut GuessStep<'_>);
}
