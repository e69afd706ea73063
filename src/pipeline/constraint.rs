//! What an answer must look like: from the request's words to the engine's.

use std::mem;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::chat::{
    AnswerBeside, CallWatch, GrammarCompiler, GrammarError, GrammarMatcher, GrammarSource,
    MatchError, Tokenizer, ToolChoice, ToolError, ToolFormat, ToolSpec, call_grammar,
};
use crate::engine::{ConstraintError, TokenConstraint};
use crate::limits;
use crate::pipeline::{ChatRequest, OutputFormat, PipelineError};

/// What is to be compiled for a request.
pub(super) enum Wanted {
    /// The whole answer; with what the client calls its format.
    Answer(GrammarSource, &'static str),
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
    /// What the client calls the format beside calls.
    output_field: &'static str,
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
            return Ok(output.map(|it| Self::Answer(it, request.output_field)));
        }
        let calls = |beside| Calls {
            format,
            tools: request.tools.clone(),
            num_calls_max: if request.one_call { 1 } else { limits::TOOL_CALLS_MAX },
            beside,
            output_field: request.output_field,
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
            Self::Answer(..) | Self::Calls(_) => true,
            Self::CallsWithinText(_) => false,
        }
    }

    /// The refusal of the part of the request that all of this comes from, if it is one part.
    pub(super) fn refusal(&self, error: GrammarError) -> PipelineError {
        let field = match self {
            Self::Answer(_, field) => Some((*field).to_owned()),
            Self::Calls(_) | Self::CallsWithinText(_) => None,
        };
        PipelineError::Grammar { field, error }
    }

    pub(super) fn compile(
        self,
        compiler: &GrammarCompiler,
        tokenizer: &Arc<Tokenizer>,
    ) -> Result<AnswerConstraint, PipelineError> {
        Ok(match self {
            Self::Answer(ref source, _) => AnswerConstraint::Whole(
                compiler.compile(source).map_err(|error| self.refusal(error))?,
            ),
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
    fn compile(mut self, compiler: &GrammarCompiler) -> Result<GrammarMatcher, PipelineError> {
        let refusal = match self.compile_as_it_is(compiler) {
            Ok(matcher) => return Ok(matcher),
            Err(refusal) => refusal,
        };
        let compile = |schema: &Value| compiler.compile(&GrammarSource::JsonSchema(schema.clone()));
        let mut is_changed = false;
        for tool in &mut self.tools {
            match compile(&tool.parameters) {
                Ok(_) => {}
                Err(error) if tool.strict => {
                    let field = Some(mem::take(&mut tool.field));
                    return Err(PipelineError::Grammar { field, error });
                }
                Err(_) => {
                    tool.parameters = json!({"type": "object"});
                    is_changed = true;
                }
            }
        }
        if let AnswerBeside::Json(schema) = &self.beside
            && let Err(error) = compile(schema)
        {
            let field = Some(self.output_field.to_owned());
            return Err(PipelineError::Grammar { field, error });
        }
        match is_changed {
            true => Ok(self.compile_as_it_is(compiler)?),
            false => Err(refusal.into()),
        }
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
