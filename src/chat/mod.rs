//! Text to tokens and back: messages, template, tokenizer, detokenizer, stop strings, reasoning.
//!
//! Knows text and token ids; must not know tensors, the engine or guardrails.

mod assets;
mod detokenizer;
#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod goldens;
mod grammar;
mod message;
mod reasoning;
mod stop;
mod template;
mod tokenizer;
mod tools;

pub use assets::{AssetsError, HfFiles, ReasoningTags, SamplingDefaults, TextAssets};
pub use detokenizer::Detokenizer;
pub use grammar::{GrammarCompiler, GrammarError, GrammarMatcher, GrammarSource, MatchError};
pub use message::{Message, Role, ToolCall, ToolChoice, ToolSpec};
pub use reasoning::{ReasoningParser, Segment};
pub use stop::{StopError, StopOutput, StopStrings};
pub use template::{ChatTemplate, Prompt, TemplateError, TemplateInput};
pub use tokenizer::{Tokenizer, TokenizerError};
pub use tools::{
    AnswerBeside, CallWatch, ToolError, ToolFormat, ToolParser, ToolSegment, call_grammar,
    check_tools,
};
