//! What an answer must look like: from the request's words to the engine's.

use std::sync::Arc;

use serde_json::json;

use crate::chat::{
    AnswerBeside, CallWatch, GrammarCompiler, GrammarError, GrammarMatcher, GrammarSource,
    MatchError, Tokenizer, ToolChoice, ToolError, ToolFormat, ToolSpec, call_grammar,
};
use crate::engine::{ConstraintError, TokenConstraint};
use crate::limits;
use crate::pipeline::{ChatRequest, OutputFormat, PipelineError};

/// What is to be compiled for a request.
pub(super) enum Wanted {
    /// The whole answer.
    Answer(GrammarSource),
    /// The whole answer is calls, or JSON if that is allowed beside.
    Calls(Calls),
    /// Text, until the model begins to call.
    CallsWithinText(Calls),
}

pub(super) struct Calls {
    format: ToolFormat,
    tools: Vec<ToolSpec>,
    num_calls_max: usize,
    beside: AnswerBeside,
}

impl Wanted {
    pub(super) fn new(
        request: &ChatRequest,
        format: ToolFormat,
    ) -> Result<Option<Self>, PipelineError> {
        let output = match &request.output_format {
            OutputFormat::Text => None,
            OutputFormat::JsonObject => Some(GrammarSource::JsonObject),
            OutputFormat::JsonSchema(schema) => Some(GrammarSource::JsonSchema(schema.clone())),
            OutputFormat::Regex(regex) => Some(GrammarSource::Regex(regex.clone())),
            OutputFormat::Choice(choices) => Some(GrammarSource::Choice(choices.clone())),
            OutputFormat::Grammar(lark) => Some(GrammarSource::Lark(lark.clone())),
        };
        if request.tools.is_empty() || request.tool_choice == ToolChoice::None {
            return Ok(output.map(Self::Answer));
        }
        let calls = |beside| Calls {
            format,
            tools: request.tools.clone(),
            num_calls_max: limits::TOOL_CALLS_MAX,
            beside,
        };
        Ok(Some(match (&request.tool_choice, output) {
            (ToolChoice::Any, _) => Self::Calls(calls(AnswerBeside::Nothing)),
            (ToolChoice::Tool(name), _) => {
                let mut calls = calls(AnswerBeside::Nothing);
                calls.tools.retain(|tool| tool.name == *name);
                calls.num_calls_max = 1;
                Self::Calls(calls)
            }
            (ToolChoice::Auto | ToolChoice::None, None) => {
                Self::CallsWithinText(calls(AnswerBeside::Opened))
            }
            (_, Some(GrammarSource::JsonObject)) => {
                Self::Calls(calls(AnswerBeside::Json(json!({"type": "object"}))))
            }
            (_, Some(GrammarSource::JsonSchema(schema))) => {
                Self::Calls(calls(AnswerBeside::Json(schema)))
            }
            (_, Some(_)) => {
                let with = "an output format other than JSON, unless a call is forced";
                return Err(ToolError::Combined { with }.into());
            }
        }))
    }

    /// Whether the grammar holds for the answer from its first character.
    pub(super) fn holds_from_the_start(&self) -> bool {
        match self {
            Self::Answer(_) | Self::Calls(_) => true,
            Self::CallsWithinText(_) => false,
        }
    }

    pub(super) fn compile(
        self,
        compiler: &GrammarCompiler,
        tokenizer: &Arc<Tokenizer>,
    ) -> Result<AnswerConstraint, GrammarError> {
        Ok(match self {
            Self::Answer(source) => AnswerConstraint::Whole(compiler.compile(&source)?),
            Self::Calls(calls) => AnswerConstraint::Whole(calls.compile(compiler)?),
            Self::CallsWithinText(calls) => AnswerConstraint::WithinText {
                watch: CallWatch::new(calls.format),
                tokenizer: Arc::clone(tokenizer),
                calls: calls.compile(compiler)?,
                is_calling: false,
            },
        })
    }
}

impl Calls {
    /// A schema that cannot be enforced is replaced by any object, unless the tool is strict.
    fn compile(mut self, compiler: &GrammarCompiler) -> Result<GrammarMatcher, GrammarError> {
        let refusal = match self.compile_as_it_is(compiler) {
            Err(refusal) if self.tools.iter().any(|tool| !tool.strict) => refusal,
            other => return other,
        };
        let mut is_changed = false;
        for tool in self.tools.iter_mut().filter(|tool| !tool.strict) {
            let schema = GrammarSource::JsonSchema(tool.parameters.clone());
            if compiler.compile(&schema).is_err() {
                tool.parameters = json!({"type": "object"});
                is_changed = true;
            }
        }
        if is_changed { self.compile_as_it_is(compiler) } else { Err(refusal) }
    }

    fn compile_as_it_is(&self, compiler: &GrammarCompiler) -> Result<GrammarMatcher, GrammarError> {
        let tools: Vec<&ToolSpec> = self.tools.iter().collect();
        compiler.compile(&call_grammar(self.format, &tools, self.num_calls_max, &self.beside)?)
    }
}

/// A grammar in the engine's words.
#[derive(Debug)]
pub(super) enum AnswerConstraint {
    Whole(GrammarMatcher),
    /// Anything goes until the model writes what opens a call.
    WithinText {
        watch: CallWatch,
        tokenizer: Arc<Tokenizer>,
        calls: GrammarMatcher,
        is_calling: bool,
    },
}

impl AnswerConstraint {
    /// What holds now, if anything does.
    fn current(&mut self) -> Option<&mut GrammarMatcher> {
        match self {
            Self::Whole(matcher) | Self::WithinText { calls: matcher, is_calling: true, .. } => {
                Some(matcher)
            }
            Self::WithinText { .. } => None,
        }
    }
}

impl From<MatchError> for ConstraintError {
    fn from(error: MatchError) -> Self {
        Self(error.to_string())
    }
}

impl TokenConstraint for AnswerConstraint {
    fn allowed(&mut self) -> Result<Option<&[u32]>, ConstraintError> {
        Ok(self.current().map(GrammarMatcher::allowed).transpose()?)
    }

    fn accept(&mut self, token: u32, room: usize) -> Result<Option<u32>, ConstraintError> {
        if let Some(matcher) = self.current() {
            return Ok(matcher.accept(token, room)?);
        }
        if let Self::WithinText { watch, tokenizer, calls, is_calling } = self
            && let Some(rest) = watch.push(tokenizer.token_bytes(token))
        {
            // A token may hold more than the opener; if that is no call, it stays text.
            *is_calling = calls.accept_bytes(&rest).is_ok();
        }
        Ok(Some(token))
    }

    fn may_end(&mut self) -> bool {
        self.current().is_none_or(GrammarMatcher::may_end)
    }

    fn must_end(&mut self) -> bool {
        self.current().is_some_and(|matcher| matcher.must_end())
    }

    fn num_tokens_min(&self) -> usize {
        match self {
            Self::Whole(matcher) => matcher.num_tokens_min(),
            Self::WithinText { .. } => 0,
        }
    }
}
