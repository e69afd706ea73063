//! Where an answer is in its grammar.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use llguidance::Matcher;
use llguidance::toktrie::{SimpleVob, TokEnv, TokTrie};
use thiserror::Error;

use crate::limits;

/// Why an answer cannot go on. Never says what was generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum MatchError {
    #[error("the grammar became too complex for one step")]
    TooComplex,
    #[error("the grammar does not allow a token that was written")]
    NotAllowed,
}

/// The tokens that stand for single bytes.
#[derive(Debug)]
pub(super) struct ByteTokens([Option<u32>; 256]);

impl ByteTokens {
    pub(super) fn new(trie: &TokTrie) -> Self {
        Self(std::array::from_fn(|byte| trie.token_id_at_bytes(&[byte as u8])))
    }
}

/// Bytes by which a text that may not end yet gets to its end soon, the best first: what closes,
/// what separates, what formats like dates and addresses need, the shortest values; what opens
/// something new comes last.
const TOWARDS_THE_END: &[u8] = b"}]\":,0@Z./-T123456789nftabcdefghijklmopqrsuvwxyz\
    ABCDEFGHIJKLMNOPQRSUVWXY_ +%#?&=;!~*()<>|'$^`\n\r\t{[\\";

/// A request's way through a grammar.
pub struct GrammarMatcher {
    matcher: Matcher,
    env: TokEnv,
    byte_tokens: Arc<ByteTokens>,
    /// What may come next, if it was computed since the last token.
    allowed: Option<SimpleVob>,
    /// Tokens that lead from here to a valid end, if that is known.
    completion: Option<VecDeque<u32>>,
    /// The room at which the way to the end is looked for again; 0 if none is ever found.
    room_to_check: usize,
    /// What the last search for it took.
    pub(super) num_queries: usize,
    num_tokens_min: usize,
}

impl fmt::Debug for GrammarMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrammarMatcher").finish_non_exhaustive()
    }
}

impl GrammarMatcher {
    pub(super) fn new(matcher: Matcher, byte_tokens: Arc<ByteTokens>) -> Result<Self, MatchError> {
        let env = matcher.tok_env().map_err(|_| MatchError::TooComplex)?;
        let mut matcher = Self {
            matcher,
            env,
            byte_tokens,
            allowed: None,
            completion: None,
            room_to_check: 0,
            num_queries: 0,
            num_tokens_min: 0,
        };
        matcher.completion = matcher.completion_tokens()?;
        if let Some(completion) = &matcher.completion {
            matcher.num_tokens_min = completion.len();
            matcher.room_to_check = usize::MAX;
        }
        Ok(matcher)
    }

    /// Of one that has consumed nothing, sharing no state with it.
    pub(super) fn fresh_copy(&self) -> Self {
        Self {
            matcher: self.matcher.deep_clone(),
            env: Arc::clone(&self.env),
            byte_tokens: Arc::clone(&self.byte_tokens),
            allowed: None,
            completion: self.completion.clone(),
            room_to_check: self.room_to_check,
            num_queries: 0,
            num_tokens_min: self.num_tokens_min,
        }
    }

    /// Tokens of the shortest way through the grammar that is known; 0 if none is.
    pub fn num_tokens_min(&self) -> usize {
        self.num_tokens_min
    }

    /// The tokens that may come next, as bits from the lowest one of the first word.
    pub fn allowed(&mut self) -> Result<&[u32], MatchError> {
        let allowed = match self.allowed.take() {
            Some(allowed) => allowed,
            None => self.matcher.compute_mask_or_eos().map_err(|_| MatchError::TooComplex)?,
        };
        Ok(self.allowed.insert(allowed).as_slice())
    }

    /// Goes on by `token`; or, if from there no valid end could be reached within `room` tokens, by
    /// the next one on the way to the end that is known. Says by which, `None` if this is the end.
    ///
    /// So an answer is cut off only when the way to its end was never within the room, or when none
    /// is found: the search follows its preferences and does not look ahead, which is enough for
    /// JSON, and not for every regular expression.
    pub fn accept(&mut self, token: u32, room: usize) -> Result<Option<u32>, MatchError> {
        if self.completion.as_ref().and_then(VecDeque::front) == Some(&token) {
            return self.follow_completion();
        }
        if room > self.room_to_check || self.room_to_check == 0 {
            self.consume(&[token])?;
            self.completion = None;
            return Ok(Some(token));
        }
        if self.completion.is_none() {
            self.completion = self.completion_tokens()?;
            if self.completion.is_none() {
                // Where none was found none is likely to be found behind the next token.
                self.room_to_check = room - room.div_ceil(4);
                self.consume(&[token])?;
                return Ok(Some(token));
            }
        }
        self.consume(&[token])?;
        let completion = self.completion_tokens()?;
        let num_needed = completion.as_ref().map_or(limits::COMPLETION_BYTES_MAX, VecDeque::len);
        if num_needed > room && self.completion.is_some() {
            self.matcher.rollback(1).map_err(|_| MatchError::TooComplex)?;
            return self.follow_completion();
        }
        self.completion = completion;
        self.room_to_check = self.next_check(room, num_needed);
        Ok(Some(token))
    }

    /// While there is much more room than the way to the end takes, looking for it after every
    /// token would be wasted work; one token rarely adds more to it than a whole answer takes. So
    /// would it be where the search itself is long, since others wait for it.
    fn next_check(&self, room: usize, num_needed: usize) -> usize {
        let spare = room.saturating_sub(num_needed);
        let much = limits::COMPLETION_SPARE_TOKENS + 4 * self.num_tokens_min;
        let pause = self.num_queries / limits::COMPLETION_QUERIES_PER_TOKEN;
        room - if spare > much { pause.max(spare / 16) } else { pause.min(spare / 64) }
    }

    /// Goes on by text, whatever its tokens were.
    pub fn accept_bytes(&mut self, bytes: &[u8]) -> Result<(), MatchError> {
        self.completion = None;
        for &byte in bytes {
            let token = self.byte_tokens.0[usize::from(byte)].ok_or(MatchError::NotAllowed)?;
            self.consume(&[token])?;
        }
        Ok(())
    }

    /// Whether the text is complete as it is.
    pub fn may_end(&mut self) -> bool {
        self.must_end() || self.matcher.is_accepting().unwrap_or(false)
    }

    /// Whether nothing can follow.
    pub fn must_end(&self) -> bool {
        self.matcher.is_stopped() && !self.matcher.is_error()
    }

    /// Takes the next step of the completion, which must be known; without steps it is the end.
    fn follow_completion(&mut self) -> Result<Option<u32>, MatchError> {
        let completion = self.completion.as_mut().ok_or(MatchError::NotAllowed)?;
        let next = completion.pop_front();
        if let Some(token) = next {
            self.consume(&[token])?;
        }
        Ok(next)
    }

    fn consume(&mut self, tokens: &[u32]) -> Result<(), MatchError> {
        self.allowed = None;
        self.matcher.consume_tokens(tokens).map_err(|_| MatchError::NotAllowed)
    }

    /// A short way to a valid end; `None` if it is not found, or not soon enough.
    fn completion_tokens(&mut self) -> Result<Option<VecDeque<u32>>, MatchError> {
        let mut bytes = Vec::new();
        self.num_queries = 0;
        let mut num_consumed = 0;
        let mut counts = [0u32; 256];
        let mut found = self.may_end();
        while !found
            && bytes.len() < limits::COMPLETION_BYTES_MAX
            && self.num_queries < limits::COMPLETION_QUERIES_MAX
        {
            self.num_queries += 1;
            let mut next = self.matcher.compute_ff_bytes();
            if next.is_empty() {
                next.extend(self.byte_towards_the_end(&counts));
            }
            if bytes.len() + next.len() > limits::COMPLETION_BYTES_MAX {
                break;
            }
            let consumed = next.iter().all(|&byte| {
                let token = self.byte_tokens.0[usize::from(byte)];
                let consumed = token.is_some_and(|it| self.matcher.consume_token(it).is_ok());
                num_consumed += usize::from(consumed);
                consumed
            });
            if next.is_empty() || !consumed {
                break;
            }
            for &byte in &next {
                counts[usize::from(byte)] += 1;
                if byte == b'"' {
                    counts.fill(0);
                }
            }
            bytes.extend(next);
            found = self.may_end();
        }
        if self.matcher.is_error() {
            return Err(MatchError::TooComplex);
        }
        self.matcher.rollback(num_consumed).map_err(|_| MatchError::TooComplex)?;
        Ok(found.then(|| self.env.tok_trie().greedy_tokenize(&bytes).into()))
    }

    /// The best byte of those that were taken least often in this string so far: in an address or a
    /// date one that is always allowed would otherwise be taken for ever.
    fn byte_towards_the_end(&mut self, counts: &[u32; 256]) -> Option<u8> {
        // Within a string its end comes first, since there the other brackets are but characters.
        if self.may_follow(b'"') && [b'~', b'a'].iter().any(|&byte| self.may_follow(byte)) {
            return Some(b'"');
        }
        let mut candidates: Vec<u8> = TOWARDS_THE_END.iter().copied().chain(0x80..=0xff).collect();
        let often = |byte: u8| match byte {
            // As many close what as many have opened.
            b'}' | b']' => counts[usize::from(byte)] / limits::SCHEMA_DEPTH_MAX as u32,
            _ => counts[usize::from(byte)],
        };
        candidates.sort_by_key(|&byte| often(byte));
        candidates.into_iter().find(|&byte| {
            self.num_queries < limits::COMPLETION_QUERIES_MAX && self.may_follow(byte)
        })
    }

    fn may_follow(&mut self, byte: u8) -> bool {
        self.num_queries += 1;
        let token = self.byte_tokens.0[usize::from(byte)];
        token.is_some_and(|it| self.matcher.validate_tokens(&[it]).is_ok_and(|count| count == 1))
    }
}
