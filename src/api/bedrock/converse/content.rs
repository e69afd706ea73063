//! Turns and their content blocks as messages of a conversation.
//!
//! Blocks of text become one text, with line breaks between them, as a chat template takes it.

use std::collections::HashSet;

use serde_json::Value;

use crate::api::bedrock::converse::tools::NAME_CHARS;
use crate::api::bedrock::converse::wire::{
    ContentBlock, Message, Role, SearchResult, ToolResult, ToolResultBlock, ToolResultStatus,
    ToolUse,
};
use crate::api::bedrock::document::Document;
use crate::api::bedrock::error::BedrockError;
use crate::api::bedrock::json::{check_name, in_range, invalid, refuse, unsupported};
use crate::limits;
use crate::pipeline::{self, GuardedText, ToolCall};

/// Characters of the id of a tool's use beside letters and digits.
const ID_CHARS: &str = "_.:-";

const NO_REASONING: &str = "User messages cannot contain reasoning content. Please remove the \
                            reasoning content and try again.";

pub(super) struct Conversation {
    strict_reasoning: bool,
    /// Texts of the system prompt.
    system: Vec<String>,
    messages: Vec<pipeline::Message>,
    num_documents: usize,
    /// Ids of the tool uses of the last turn, whose results the next one must bring.
    open_calls: Vec<String>,
    pub(super) has_cache_points: bool,
    /// What the client marked for a guardrail.
    marked: Vec<GuardedText>,
}

/// One block after reading.
enum Block {
    Text(String),
    /// Asks for what happens anyway: every prefix is cached.
    CachePoint,
    Reasoning,
    ToolUse(ToolCall),
    ToolResult(pipeline::Message),
}

impl Conversation {
    pub(super) fn new(strict_reasoning: bool) -> Self {
        Self {
            strict_reasoning,
            system: Vec::new(),
            messages: Vec::new(),
            num_documents: 0,
            open_calls: Vec::new(),
            has_cache_points: false,
            marked: Vec::new(),
        }
    }

    pub(super) fn system(&mut self, blocks: Vec<ContentBlock>) -> Result<(), BedrockError> {
        let max = limits::CONTENT_BLOCKS_MAX;
        in_range("system: number of blocks", blocks.len(), &(0..=max))?;
        for (index, block) in blocks.into_iter().enumerate() {
            let path = format!("system.{index}");
            match self.block(block, &path)? {
                Block::Text(text) if text.is_empty() => {
                    return Err(invalid(format!("The value at `{path}.text` is empty.")));
                }
                Block::Text(text) => self.system.push(text),
                Block::CachePoint => self.has_cache_points = true,
                Block::Reasoning | Block::ToolUse(_) | Block::ToolResult(_) => {
                    return Err(invalid(format!(
                        "The block at `{path}` must be `text`, `guardContent` or `cachePoint`."
                    )));
                }
            }
        }
        Ok(())
    }

    pub(super) fn turns(&mut self, turns: Vec<Message>) -> Result<(), BedrockError> {
        in_range("messages: length", turns.len(), &(1..=limits::MESSAGES_MAX))?;
        let mut previous = None;
        for (index, turn) in turns.into_iter().enumerate() {
            check_turn(index, turn.role, previous)?;
            let role = turn.role;
            self.turn(turn, index)?;
            if role != Role::System {
                previous = Some(role);
            }
        }
        match previous {
            Some(Role::User) => Ok(()),
            Some(Role::Assistant | Role::System) => Err(invalid(
                "This model does not support assistant message prefill. The conversation must \
                 end with a user message.",
            )),
            None => Err(starts_with_user()),
        }
    }

    pub(super) fn finish(mut self) -> (Vec<pipeline::Message>, bool) {
        if !self.system.is_empty() {
            let system = self.system.join("\n");
            self.messages.insert(0, pipeline::Message::new(pipeline::Role::System, system));
        }
        (self.messages, self.has_cache_points)
    }

    /// What a guardrail looks at: what is marked for it, or else all that users said. Neither the
    /// system prompt nor what tools answered is a user's.
    pub(super) fn guarded(&mut self) -> Vec<GuardedText> {
        if !self.marked.is_empty() {
            return std::mem::take(&mut self.marked);
        }
        let said = self.messages.iter().filter(|it| it.role == pipeline::Role::User);
        let unmarked = |text: &str| GuardedText { text: text.to_owned(), qualifiers: Vec::new() };
        said.map(|message| unmarked(&message.content)).collect()
    }

    fn turn(&mut self, turn: Message, index: usize) -> Result<(), BedrockError> {
        let path = format!("messages.{index}.content");
        let num_blocks = turn.content.len();
        if num_blocks == 0 {
            return Err(invalid(format!(
                "The content field in the Message object at messages.{index} is empty. Add a \
                 ContentBlock object to the content field and try again."
            )));
        }
        let max = limits::CONTENT_BLOCKS_MAX;
        in_range(&format!("{path}: number of blocks"), num_blocks, &(1..=max))?;
        match turn.role {
            Role::User => self.user_turn(turn.content, &path),
            Role::Assistant => self.assistant_turn(turn.content, &path),
            Role::System => self.system_turn(turn.content, &path),
        }
    }

    /// Results of tools stand first, as the turn before asked for them.
    fn user_turn(&mut self, blocks: Vec<ContentBlock>, path: &str) -> Result<(), BedrockError> {
        let (mut texts, mut results) = (Vec::new(), Vec::new());
        for (index, block) in blocks.into_iter().enumerate() {
            let path = format!("{path}.{index}");
            match self.block(block, &path)? {
                Block::Text(text) if text.trim().is_empty() => return Err(blank(&path)),
                Block::Text(text) => texts.push(text),
                Block::CachePoint => self.has_cache_points = true,
                Block::Reasoning => return Err(invalid(NO_REASONING)),
                Block::ToolResult(message) => results.push(message),
                Block::ToolUse(_) => {
                    return Err(invalid(format!(
                        "The block at `{path}` is a `toolUse`, which only an assistant's turn may \
                         hold."
                    )));
                }
            }
        }
        self.check_results(&results, path)?;
        if texts.is_empty() && results.is_empty() {
            return Err(invalid(format!("The value at `{path}` must hold a text block.")));
        }
        self.messages.extend(results);
        if !texts.is_empty() {
            let text = texts.join("\n");
            self.messages.push(pipeline::Message::new(pipeline::Role::User, text));
        }
        Ok(())
    }

    /// An answer that was cut while reasoning leaves nothing but reasoning in the history, or blank
    /// text: an assistant's turn may be empty.
    fn assistant_turn(
        &mut self,
        blocks: Vec<ContentBlock>,
        path: &str,
    ) -> Result<(), BedrockError> {
        let (mut texts, mut calls) = (Vec::new(), Vec::<ToolCall>::new());
        for (index, block) in blocks.into_iter().enumerate() {
            let path = format!("{path}.{index}");
            match self.block(block, &path)? {
                Block::Text(text) => texts.push(text),
                Block::CachePoint => self.has_cache_points = true,
                Block::Reasoning if self.strict_reasoning => return Err(invalid(NO_REASONING)),
                Block::Reasoning => {}
                Block::ToolUse(call) if calls.iter().any(|it| it.id == call.id) => {
                    let id = call.id;
                    return Err(invalid(format!(
                        "The value at `{path}.toolUse.toolUseId` is `{id}` for the second time."
                    )));
                }
                Block::ToolUse(call) => calls.push(call),
                Block::ToolResult(_) => {
                    return Err(invalid(format!(
                        "The block at `{path}` is a `toolResult`, which only a user's turn may \
                         hold."
                    )));
                }
            }
        }
        self.open_calls = calls.iter().map(|call| call.id.clone()).collect();
        let message = pipeline::Message::new(pipeline::Role::Assistant, texts.join("\n"));
        self.messages.push(pipeline::Message { tool_calls: calls, ..message });
        Ok(())
    }

    /// Before the first turn, where it is the same as `system`; templates know no other place.
    fn system_turn(&mut self, blocks: Vec<ContentBlock>, path: &str) -> Result<(), BedrockError> {
        for (index, block) in blocks.into_iter().enumerate() {
            let path = format!("{path}.{index}");
            match self.block(block, &path)? {
                Block::Text(text) if text.trim().is_empty() => return Err(blank(&path)),
                Block::Text(text) => self.system.push(text),
                Block::CachePoint => self.has_cache_points = true,
                Block::Reasoning | Block::ToolUse(_) | Block::ToolResult(_) => {
                    return Err(invalid(format!(
                        "The block at `{path}` must be text in a system turn."
                    )));
                }
            }
        }
        Ok(())
    }

    /// Each call of the turn before has one result, and nothing else has.
    fn check_results(
        &mut self,
        results: &[pipeline::Message],
        path: &str,
    ) -> Result<(), BedrockError> {
        let open = std::mem::take(&mut self.open_calls);
        let given: Vec<_> = results.iter().filter_map(|it| it.tool_call_id.as_deref()).collect();
        if given.len() > open.len() {
            return Err(invalid(format!(
                "The number of toolResult blocks at {path} exceeds the number of toolUse blocks of \
                 previous turn."
            )));
        }
        let distinct: HashSet<_> = given.iter().copied().collect();
        let missing: Vec<_> =
            open.iter().map(String::as_str).filter(|id| !distinct.contains(id)).collect();
        if !missing.is_empty() {
            let missing = missing.join(", ");
            return Err(invalid(format!(
                "Expected toolResult blocks at {path} for the following Ids: {missing}"
            )));
        }
        Ok(())
    }

    fn block(&mut self, block: ContentBlock, path: &str) -> Result<Block, BedrockError> {
        let unsupported_members = [
            ("image", block.image),
            ("video", block.video),
            ("audio", block.audio),
            ("toolAddition", block.tool_addition),
            ("toolRemoval", block.tool_removal),
        ];
        for (member, value) in unsupported_members {
            let reason = format!("This model doesn't support the {member} field.");
            refuse(&format!("{path}.{member}"), value, &reason)?;
        }
        let mut blocks = Vec::new();
        blocks.extend(block.text.map(Block::Text));
        blocks.extend(block.cache_point.map(|_| Block::CachePoint));
        blocks.extend(block.reasoning_content.map(|_| Block::Reasoning));
        if let Some(document) = block.document {
            blocks.push(Block::Text(self.document(document, &format!("{path}.document"))?));
        }
        if let Some(guarded) = block.guard_content {
            let guarded = guarded.into_text(&format!("{path}.guardContent"))?;
            blocks.push(Block::Text(guarded.text.clone()));
            self.marked.push(guarded);
        }
        if let Some(cited) = block.citations_content {
            let texts: Vec<_> = cited.content.into_iter().flatten().map(|it| it.text).collect();
            blocks.push(Block::Text(texts.concat()));
        }
        if let Some(result) = block.search_result {
            blocks.push(Block::Text(search_result(result, &format!("{path}.searchResult"))?));
        }
        if let Some(call) = block.tool_use {
            blocks.push(Block::ToolUse(tool_use(call, &format!("{path}.toolUse"))?));
        }
        if let Some(result) = block.tool_result {
            let message = self.tool_result(result, &format!("{path}.toolResult"))?;
            blocks.push(Block::ToolResult(message));
        }
        exactly_one(blocks, path)
    }

    fn document(&mut self, document: Document, path: &str) -> Result<String, BedrockError> {
        self.num_documents += 1;
        let max = limits::DOCUMENTS_MAX;
        if self.num_documents > max {
            return Err(invalid(format!(
                "The request has more than {max} documents. Remove `{path}` and try again."
            )));
        }
        document.into_text(path)
    }

    /// A template has no place for the status, so the text says it.
    fn tool_result(
        &mut self,
        result: ToolResult,
        path: &str,
    ) -> Result<pipeline::Message, BedrockError> {
        let max = limits::TOOL_USE_ID_CHARS_MAX;
        check_name(&format!("{path}.toolUseId"), &result.tool_use_id, max, ID_CHARS)?;
        refuse(&format!("{path}.type"), result.r#type, "This server runs no tools itself.")?;
        let max = limits::CONTENT_BLOCKS_MAX;
        let num_blocks = result.content.len();
        in_range(&format!("{path}.content: number of blocks"), num_blocks, &(0..=max))?;
        let mut texts = Vec::new();
        if result.status == Some(ToolResultStatus::Error) {
            texts.push("Error:".to_owned());
        }
        for (index, block) in result.content.into_iter().enumerate() {
            texts.push(self.tool_result_block(block, &format!("{path}.content.{index}"))?);
        }
        let message = pipeline::Message::new(pipeline::Role::Tool, texts.join("\n"));
        Ok(pipeline::Message { tool_call_id: Some(result.tool_use_id), ..message })
    }

    fn tool_result_block(
        &mut self,
        block: ToolResultBlock,
        path: &str,
    ) -> Result<String, BedrockError> {
        for (member, value) in [("image", block.image), ("video", block.video)] {
            let reason = format!("This model doesn't support the {member} field.");
            refuse(&format!("{path}.{member}"), value, &reason)?;
        }
        let mut texts = Vec::new();
        texts.extend(block.text);
        texts.extend(block.json.map(|json| json.to_string()));
        if let Some(document) = block.document {
            texts.push(self.document(document, &format!("{path}.document"))?);
        }
        if let Some(result) = block.search_result {
            texts.push(search_result(result, &format!("{path}.searchResult"))?);
        }
        exactly_one(texts, path)
    }
}

/// Of the members of a union.
fn exactly_one<T>(mut set: Vec<T>, path: &str) -> Result<T, BedrockError> {
    match (set.pop(), set.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(_), false) => {
            Err(invalid(format!("The block at `{path}` sets several members; set exactly one.")))
        }
        (None, _) => {
            Err(invalid(format!("The block at `{path}` is empty; set exactly one member.")))
        }
    }
}

fn tool_use(call: ToolUse, path: &str) -> Result<ToolCall, BedrockError> {
    let (ids, names) = (limits::TOOL_USE_ID_CHARS_MAX, limits::TOOL_NAME_CHARS_MAX);
    check_name(&format!("{path}.toolUseId"), &call.tool_use_id, ids, ID_CHARS)?;
    check_name(&format!("{path}.name"), &call.name, names, NAME_CHARS)?;
    refuse(&format!("{path}.type"), call.r#type, "This server runs no tools itself.")?;
    let Value::Object(input) = call.input else {
        return Err(invalid(format!(
            "The format of the value at {path}.input is invalid. Provide a json object for the \
             field and try again."
        )));
    };
    let arguments = Value::Object(input).to_string();
    Ok(ToolCall { id: call.tool_use_id, name: call.name, arguments })
}

fn search_result(result: SearchResult, path: &str) -> Result<String, BedrockError> {
    if result.citations.is_some_and(|citations| citations.enabled) {
        return Err(unsupported(&format!("{path}.citations"), "This model cites no sources."));
    }
    let texts: Vec<_> = result.content.into_iter().map(|block| block.text).collect();
    let (title, source, text) = (result.title, result.source, texts.join("\n"));
    Ok(format!("<search_result>\n{title}\n{source}\n{text}\n</search_result>"))
}

fn check_turn(index: usize, role: Role, previous: Option<Role>) -> Result<(), BedrockError> {
    match (role, previous) {
        (Role::System, None) => Ok(()),
        (Role::System, Some(_)) => Err(unsupported(
            &format!("messages.{index}"),
            "System messages are supported before the first user message only.",
        )),
        (Role::Assistant, None) => Err(starts_with_user()),
        (role, Some(previous)) if previous == role => Err(invalid(
            "A conversation must alternate between user and assistant roles. Make sure the \
             conversation alternates between user and assistant roles and try again.",
        )),
        (Role::User | Role::Assistant, _) => Ok(()),
    }
}

fn starts_with_user() -> BedrockError {
    invalid(
        "A conversation must start with a user message. Try again with a conversation that starts \
         with a user message.",
    )
}

fn blank(path: &str) -> BedrockError {
    invalid(format!(
        "The text field in the ContentBlock object at {path} is blank. Add text to the text field, \
         and try again."
    ))
}
