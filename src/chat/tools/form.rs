//! The forms of a call, and which one a template's family has.

/// How a family's models write calls: the opener, then one call after the other.
///
/// `opener` (`before_name` NAME `after_name` ARGUMENTS `after_arguments`) [`between` (…)]* `end`
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CallForm {
    pub(super) opener: &'static str,
    /// The opener counts only as the beginning of the answer, since answers may contain it.
    pub(super) at_start: bool,
    pub(super) before_name: &'static str,
    pub(super) after_name: &'static str,
    pub(super) after_arguments: &'static str,
    /// What leads to a further call; `None` where there is one call only.
    pub(super) between: Option<&'static str>,
    pub(super) end: &'static str,
}

const DEEPSEEK: CallForm = CallForm {
    opener: "<｜tool▁calls▁begin｜>",
    at_start: false,
    before_name: "<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
    after_name: "\n```json\n",
    after_arguments: "\n```<｜tool▁call▁end｜>",
    between: Some("\n"),
    end: "<｜tool▁calls▁end｜>",
};

const HERMES: CallForm = CallForm {
    opener: "<tool_call>",
    at_start: false,
    before_name: "\n{\"name\": \"",
    after_name: "\", \"arguments\": ",
    after_arguments: "}\n</tool_call>",
    between: Some("\n<tool_call>"),
    end: "",
};

const LLAMA: CallForm = CallForm {
    opener: "{\"name\": \"",
    at_start: true,
    before_name: "",
    after_name: "\", \"parameters\": ",
    after_arguments: "}",
    between: None,
    end: "",
};

/// How a checkpoint's model is told about tools and calls them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolFormat {
    /// DeepSeek's form. Its templates know calls and results, but no declarations, and write the
    /// second round of calls without the turn around it; so all of it is written into the texts.
    DeepSeek,
    /// Qwen's templates, after Hermes.
    Hermes,
    /// Llama 3.1's templates.
    Llama,
    /// The form of Hermes, written into the texts for a template that knows no tools.
    Written,
}

impl ToolFormat {
    pub(in crate::chat) fn of_template(source: &str) -> Self {
        let takes_tools = source.contains("tools") && source.contains("tool_calls");
        match takes_tools {
            _ if source.contains(DEEPSEEK.opener) => Self::DeepSeek,
            true if source.contains(HERMES.opener) => Self::Hermes,
            true if source.contains("\"parameters\": ") || source.contains("ipython") => {
                Self::Llama
            }
            _ => Self::Written,
        }
    }

    pub(super) fn form(self) -> &'static CallForm {
        match self {
            Self::DeepSeek => &DEEPSEEK,
            Self::Hermes | Self::Written => &HERMES,
            Self::Llama => &LLAMA,
        }
    }

    /// Whether the template is handed tools, calls and results.
    pub(in crate::chat) fn is_known_to_template(self) -> bool {
        match self {
            Self::Hermes | Self::Llama => true,
            Self::DeepSeek | Self::Written => false,
        }
    }
}
