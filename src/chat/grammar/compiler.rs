//! Compiles grammars over one tokenizer, and keeps those in use.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use llguidance::api::{GrammarInit, GrammarWithLexer, TopLevelGrammar};
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Logger, Matcher, ParserFactory, TokenParser};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::matcher::{ByteTokens, MatchError};
use super::schema::{check_embedded, prepared};
use crate::chat::tokenizer::vocabulary::REASONING_TAGS;
use crate::chat::{GrammarError, GrammarMatcher, GrammarSource, Tokenizer};
use crate::limits;

type Key = [u8; 32];

/// Shared by all requests of a model.
pub struct GrammarCompiler {
    factory: ParserFactory,
    byte_tokens: Arc<ByteTokens>,
    /// Most recently used first. They have consumed nothing.
    cache: Mutex<VecDeque<(Key, GrammarMatcher)>>,
}

impl fmt::Debug for GrammarCompiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrammarCompiler").finish_non_exhaustive()
    }
}

impl GrammarCompiler {
    /// `stop_ids` are allowed where a grammar may end; other control tokens never are. Takes about
    /// a second for a large vocabulary.
    pub fn new(tokenizer: &Tokenizer, stop_ids: &[u32]) -> Result<Self, GrammarError> {
        let env = token_env(tokenizer, stop_ids);
        let byte_tokens = Arc::new(ByteTokens::new(env.tok_trie()));
        let mut factory = ParserFactory::new_simple(&env)
            .map_err(|error| GrammarError::Invalid { what: WHAT, reason: reason(&error) })?;
        let parser_limits = factory.limits_mut();
        parser_limits.max_items_in_row = limits::GRAMMAR_ROW_ITEMS_MAX;
        parser_limits.step_lexer_fuel = limits::GRAMMAR_STEP_FUEL;
        parser_limits.step_max_items = limits::GRAMMAR_STEP_ITEMS_MAX;
        parser_limits.max_lexer_states = limits::GRAMMAR_LEXER_STATES_MAX;
        parser_limits.max_grammar_size = limits::GRAMMAR_SIZE_MAX;
        // Errors would repeat what was generated.
        parser_limits.verbose_errors = false;
        Ok(Self { factory, byte_tokens, cache: Mutex::default() })
    }

    /// At the beginning of the grammar. May be busy for a second; not for an asynchronous runtime.
    pub fn compile(&self, source: &GrammarSource) -> Result<GrammarMatcher, GrammarError> {
        let (what, grammar) = grammar(source)?;
        let key = key(&grammar);
        if let Some(matcher) = self.cached(&key) {
            return Ok(matcher);
        }
        let parser = self
            .parser(grammar, compile_fuel(source))
            .map_err(|reason| GrammarError::Invalid { what, reason })?;
        let invalid = |error: MatchError| GrammarError::Invalid { what, reason: error.to_string() };
        let matcher = GrammarMatcher::new(Matcher::new(Ok(parser)), Arc::clone(&self.byte_tokens))
            .map_err(invalid)?;
        let mut copy = matcher.fresh_copy();
        // What cannot even begin, such as a reference to itself, is the request's fault, not the
        // model's.
        copy.allowed().map_err(invalid)?;
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.push_front((key, matcher));
        cache.truncate(limits::GRAMMAR_CACHE_ENTRIES_MAX);
        Ok(copy)
    }

    fn parser(&self, grammar: GrammarWithLexer, fuel: u64) -> Result<TokenParser, String> {
        let mut limits = self.factory.limits().clone();
        limits.initial_lexer_fuel = fuel;
        let init = GrammarInit::Serialized(TopLevelGrammar::from_grammar(grammar));
        let caps = InferenceCapabilities::default();
        let parser =
            self.factory.create_parser_from_init_ext(init, Logger::new(0, 0), caps, limits);
        parser.map_err(|error| reason(&error))
    }

    fn cached(&self, key: &Key) -> Option<GrammarMatcher> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let index = cache.iter().position(|(other, _)| other == key)?;
        let entry = cache.remove(index)?;
        cache.push_front(entry);
        Some(cache[0].1.fresh_copy())
    }
}

const WHAT: &str = "the vocabulary";

/// Every token with the bytes it stands for. Control tokens have none, so no grammar can write one;
/// nor can it write the tags of reasoning as the tokens that would open a reasoning part.
fn token_env(tokenizer: &Tokenizer, stop_ids: &[u32]) -> TokEnv {
    let tags = REASONING_TAGS.map(|tag| tokenizer.special_id(tag));
    let words: Vec<Vec<u8>> = (0..tokenizer.vocab_size() as u32)
        .map(|id| match tags.contains(&Some(id)) || stop_ids.contains(&id) {
            true => Vec::new(),
            false => tokenizer.token_bytes(id).to_vec(),
        })
        .collect();
    let end = stop_ids.first().copied().unwrap_or(llguidance::toktrie::INVALID_TOKEN);
    let trie = TokTrie::from(&TokRxInfo::new(words.len() as u32, end), &words);
    let trie = if stop_ids.is_empty() { trie } else { trie.with_eos_tokens(stop_ids) };
    Arc::new(ApproximateTokEnv::new(trie))
}

/// Rules name each other, so a few lines of them stand for millions of symbols; a grammar with
/// schemas in it is as large as the schemas.
fn compile_fuel(source: &GrammarSource) -> u64 {
    match source {
        GrammarSource::Lark(lark) if !lark.contains("%json") => limits::GRAMMAR_RULES_FUEL,
        _ => limits::GRAMMAR_COMPILE_FUEL,
    }
}

/// The grammar and what errors call it.
fn grammar(source: &GrammarSource) -> Result<(&'static str, GrammarWithLexer), GrammarError> {
    let limit = limits::GRAMMAR_BYTES_MAX;
    let check = |what, bytes| match bytes > limit {
        true => Err(GrammarError::TooLarge { what, bytes, limit }),
        false => Ok(()),
    };
    Ok(match source {
        GrammarSource::JsonObject => {
            let schema = prepared(json!({"type": "object"}))?;
            ("a JSON object", GrammarWithLexer::from_json_schema(schema))
        }
        GrammarSource::JsonSchema(schema) => {
            let schema = prepared(schema.clone())?;
            ("the JSON schema", GrammarWithLexer::from_json_schema(schema))
        }
        GrammarSource::Regex(regex) => {
            check("the regular expression", regex.len())?;
            ("the regular expression", GrammarWithLexer::from_regex(regex))
        }
        GrammarSource::Choice(choices) => {
            ("the list of choices", GrammarWithLexer::from_lark(choice(choices)?))
        }
        GrammarSource::Lark(lark) => {
            check("the grammar", lark.len())?;
            check_embedded(lark)?;
            ("the grammar", GrammarWithLexer::from_lark(lark.clone()))
        }
    })
}

fn choice(choices: &[String]) -> Result<String, GrammarError> {
    let what = "the list of choices";
    let (count, limit) = (choices.len(), limits::GRAMMAR_CHOICES_MAX);
    if count > limit {
        return Err(GrammarError::TooMany { what, count, limit });
    }
    if choices.iter().any(String::is_empty) || choices.is_empty() {
        let reason = "there must be a choice, and none may be empty".to_owned();
        return Err(GrammarError::Invalid { what, reason });
    }
    let (bytes, limit) = (choices.iter().map(String::len).sum(), limits::SCHEMA_BYTES_MAX);
    if bytes > limit {
        return Err(GrammarError::TooLarge { what, bytes, limit });
    }
    let quoted: Vec<String> =
        choices.iter().map(|it| Value::from(it.as_str()).to_string()).collect();
    Ok(format!("start: {}", quoted.join(" | ")))
}

fn key(grammar: &GrammarWithLexer) -> Key {
    let mut hasher = Sha256::new();
    // The two cannot be taken for each other: a schema begins with a brace.
    hasher.update(grammar.lark_grammar.as_deref().unwrap_or_default());
    if let Some(schema) = &grammar.json_schema {
        hasher.update(schema.to_string());
    }
    hasher.finalize().into()
}

/// The first line of an error: the rest is state and grammar.
pub(super) fn reason(error: &impl fmt::Display) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().to_owned()
}
