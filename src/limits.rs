//! Every limit of the program, each with the reason for its value.
//!
//! A limit that a user can hit is named in the error that refuses it. Limits that depend on each
//! other are tied by a `const` assertion.

use std::time::Duration;

// ---- chat ----

/// Tokens that text is made of, as many as a model may have embeddings for.
pub const TOKENS_MAX: usize = 1 << 20;
const _: () = assert!(TOKENS_MAX as u64 == VOCAB_SIZE_MAX);
/// Bytes of one token's spelling. Long ones are runs of white space, of a few hundred bytes.
pub const TOKEN_BYTES_MAX: usize = 1 << 11;
// Offsets into the bytes of all tokens are 32 bits wide.
const _: () = assert!(TOKENS_MAX * TOKEN_BYTES_MAX <= u32::MAX as usize);
/// Merges of a byte-pair vocabulary, about one for each token.
pub const MERGES_MAX: usize = 2 * TOKENS_MAX;
/// Control and added tokens. Llama 3 reserves 256 and none of the families more than a few hundred.
pub const SPECIAL_TOKENS_MAX: usize = 1 << 13;
/// Bytes of text in one prompt: above the longest context of any checkpoint that is served, whose
/// tokens are some four bytes each.
pub const TOKENIZED_TEXT_BYTES_MAX: usize = 16 << 20;

/// Bytes of a chat template's source. The longest published ones have about 20 KB.
pub const TEMPLATE_BYTES_MAX: usize = 256 << 10;
/// Depth of macros, includes and nested values; each takes a piece of the thread's stack.
pub const TEMPLATE_RECURSION_MAX: usize = 64;
/// Instructions, or pieces of 64 bytes, that a template may spend whatever it is given: some
/// milliseconds. Published templates spend a few hundred.
pub const TEMPLATE_FUEL_BASE: u64 = 50_000;
/// What it may spend more for each message. Published templates spend below a hundred.
pub const TEMPLATE_FUEL_PER_MESSAGE: u64 = 1_000;
/// Copying 64 bytes costs one fuel, so this lets a template copy all content 16 times.
pub const TEMPLATE_CONTENT_BYTES_PER_FUEL: u64 = 4;
/// Bytes that a template may write beside the content: room for built-in instructions.
pub const TEMPLATE_OUTPUT_BYTES_BASE: usize = 256 << 10;
/// Bytes that it may write more around each message.
pub const TEMPLATE_OUTPUT_BYTES_PER_MESSAGE_MAX: usize = 4 << 10;
/// Renderings to find out which control tokens a template looks for in content.
pub const MARKING_ATTEMPTS_MAX: usize = 16;

/// Stop sequences of a request, as the Bedrock API has it.
pub const STOP_STRINGS_MAX: usize = 2_500;
/// Bytes of all stop sequences together: about a hundred for each of the largest number.
pub const STOP_STRINGS_BYTES_MAX: usize = 256 << 10;
/// White space that is held back because a reasoning tag may follow it.
pub const HELD_WHITE_SPACE_BYTES_MAX: usize = 1 << 10;
/// Tokens that end a turn; checkpoints name one to three.
pub const STOP_IDS_MAX: usize = 64;

/// Tools of a request, as OpenAI has it.
pub const TOOLS_MAX: usize = 128;
/// As the service model of Bedrock says.
pub const TOOL_NAME_CHARS_MAX: usize = 64;
/// Calls of one answer: a small model might call for ever.
pub const TOOL_CALLS_MAX: usize = 16;
/// Bytes of a JSON schema, and of a list of choices. OpenAI allows names and enumerations of some
/// 120,000 characters in all; the largest published schemas of tools have a few KB.
pub const SCHEMA_BYTES_MAX: usize = 64 << 10;
/// Levels of arrays and objects in a schema. Every property takes two.
pub const SCHEMA_DEPTH_MAX: usize = 32;
/// Remainders that the numbers of a schema are told apart by: states of an automaton, which take a
/// second when there are millions of them.
pub const SCHEMA_MULTIPLE_MAX: u64 = 100_000;
/// Bytes of a regular expression or of a grammar; tools make one of all their schemas.
pub const GRAMMAR_BYTES_MAX: usize = 512 << 10;
/// Choices of a list.
pub const GRAMMAR_CHOICES_MAX: usize = 1_000;
/// Work to build a lexer from regular expressions; a few hundredths of a second. Schemas that are
/// published as examples of large ones need half of it.
pub const GRAMMAR_COMPILE_FUEL: u64 = 1_000_000;
/// The same where rules stand for rules.
pub const GRAMMAR_RULES_FUEL: u64 = 100_000;
/// Work of the lexer for one token's mask: about 10 ms in which no other request's token is drawn.
pub const GRAMMAR_STEP_FUEL: u64 = 100_000;
/// Items of the parser for one token's mask, of about 50 ns each, and in one row of its chart.
pub const GRAMMAR_STEP_ITEMS_MAX: usize = 50_000;
pub const GRAMMAR_ROW_ITEMS_MAX: usize = 2_000;
/// States of one request's lexer, of 1 to 2 KB each.
pub const GRAMMAR_LEXER_STATES_MAX: usize = 20_000;
/// Symbols in the productions of a grammar.
pub const GRAMMAR_SIZE_MAX: usize = 200_000;
/// Compiled grammars that are kept for the next request, of about a MB each.
pub const GRAMMAR_CACHE_ENTRIES_MAX: usize = 32;
/// Grammars that wait to be compiled, and how long their requests wait. A compilation cannot be
/// stopped, so it keeps its place until its fuel is spent.
pub const GRAMMARS_WAITING_MAX: usize = 64;
pub const GRAMMAR_COMPILE_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of the shortest way to the end of an answer; schemas that need more are not completed when
/// the room for an answer runs out.
pub const COMPLETION_BYTES_MAX: usize = 1 << 12;
/// Questions to the grammar, of 1 to 5 microseconds each, in one search for the way to the end.
/// Schemas as applications write them take some hundred, formats up to 2,500.
pub const COMPLETION_QUERIES_MAX: usize = 4_096;
/// What searches may take for each token, all in all, while there is room to spare.
pub const COMPLETION_QUERIES_PER_TOKEN: usize = 128;
/// Tokens left beside those on the way to the end, below which it is looked for after every token.
pub const COMPLETION_SPARE_TOKENS: usize = 256;

// ---- engine ----

/// Preemptions of one request. After that it is resumed only when the pool holds the whole rest of
/// everything that runs, so that it cannot be preempted again: a request that is thrown out without
/// end would recompute without end.
pub const PREEMPTIONS_PER_REQUEST_MAX: usize = 4;
/// Requests that a priority goes ahead of, counted in order of arrival: about as many as a full
/// queue holds, so that it goes ahead of all that wait, and yet the ones behind it are first in the
/// end.
pub const PRIORITY_HEAD_START: u64 = 1_024;
/// A reasoning part is closed when the shortest valid answer would not leave room for this many
/// times its own tokens, as long as the answer's share is no more than half of what is generated.
pub const ANSWER_RESERVE_FACTOR: usize = 4;

/// Guessed tokens of one sequence in one step. A longer guess is rarely right to its end, and each
/// wrong one is a row of work.
pub const SPECULATED_TOKENS_MAX: usize = 16;
/// Places with the same last tokens that are compared, the latest first, and tokens compared at
/// each: together some microseconds, however often a text repeats itself.
pub const LOOKUP_MATCHES_MAX: usize = 32;
pub const LOOKUP_MATCH_LEN_MAX: usize = 32;
/// A prompt is read by a draft model if that pays within this many tokens of the answer: how long
/// it will be is not known, and most are longer.
pub const DRAFT_HORIZON_TOKENS: usize = 256;
/// Steps without the draft model after which it is tried again, as if nothing were known of it: the
/// texts, the batch or the machine's other work may have changed. Few guesses tell.
pub const DRAFT_RETRY_STEPS: usize = 1_024;

// ---- format ----

const MIB: u64 = 1 << 20;

/// A reader may use memory of the file's size and this much more, whatever the file says.
pub const FORMAT_EXTRA_BYTES_MAX: u64 = 64 * MIB;
/// Real headers have below 100 entries.
pub const GGUF_METADATA_ENTRIES_MAX: u64 = 4096;
/// The specification's limit.
pub const GGUF_KEY_BYTES_MAX: u64 = 65_535;
/// A tokenizer embedded as one JSON text is the largest string met in practice, near 20 MiB.
pub const GGUF_STRING_BYTES_MAX: u64 = 64 * MIB;
/// Elements of all arrays of a file. Llama 3's vocabulary, types and merges are 537,000 together.
pub const GGUF_ARRAY_ELEMENTS_MAX: u64 = 1 << 20;
/// Llama 70B has 724 tensors.
pub const GGUF_TENSORS_MAX: u64 = 16_384;
/// `GGML_MAX_DIMS`.
pub const GGUF_TENSOR_DIMS_MAX: u32 = 4;
/// The specification asks for a multiple of 8, which also aligns every element type.
pub const GGUF_ALIGNMENT_MIN: u64 = 8;
/// Files are written with 32; a page of 64 KiB is the most that a reader could want.
pub const GGUF_ALIGNMENT_MAX: u64 = 65_536;
/// `split.count` is a 16-bit number, and its name has five digits; 70B in F32 is under 100 parts.
pub const GGUF_SPLITS_MAX: u64 = 1024;
/// 70B's largest shard has a header of 10 KiB. Parsed, an entry takes below 6 times its text.
pub const SAFETENSORS_HEADER_BYTES_MAX: u64 = 8 * MIB;
/// As for GGUF; a checkpoint in one file has no more.
pub const SAFETENSORS_TENSORS_MAX: usize = 16_384;
/// Weights of a decoder have one or two dimensions.
pub const SAFETENSORS_DIMS_MAX: usize = 8;
/// 70B in BF16 comes in 17 files.
pub const SAFETENSORS_FILES_MAX: usize = 1024;
/// ggml has 64, Hugging Face names reach 100.
pub const TENSOR_NAME_BYTES_MAX: u64 = 512;
/// Kernels on accelerators index dimensions by 32-bit signed integers.
pub const TENSOR_DIM_MAX: u64 = i32::MAX as u64;

/// Memory beyond the file's own bytes: for an array element a `String` and its heap block (an
/// allocator gives 32 bytes for one), for a metadata entry or a tensor its key and record.
const _: () = assert!(
    GGUF_ARRAY_ELEMENTS_MAX * (24 + 32 - 9)
        + GGUF_METADATA_ENTRIES_MAX * 256
        + GGUF_TENSORS_MAX * 256
        <= FORMAT_EXTRA_BYTES_MAX
);

// ---- model ----

/// Bounds on a model's shape: several times what the largest dense models have, so that products
/// of any few of them fit 64 bits and a lying configuration is refused by name.
pub const NUM_LAYERS_MAX: u64 = 1024;
pub const HIDDEN_SIZE_MAX: u64 = 131_072;
pub const INTERMEDIATE_SIZE_MAX: u64 = 1 << 20;
pub const NUM_ATTENTION_HEADS_MAX: u64 = 1024;
pub const HEAD_DIM_MAX: u64 = 1024;
pub const VOCAB_SIZE_MAX: u64 = 1 << 20;
/// Positions are 32-bit and exact as `f32` below this.
pub const MAX_POSITION_EMBEDDINGS_MAX: u64 = 1 << 24;
/// `config.json` and `generation_config.json` are under 4 KiB in practice.
pub const CONFIG_JSON_BYTES_MAX: u64 = MIB;
/// `tokenizer_config.json` and chat templates; Llama 3's is 50 KiB.
pub const TOKENIZER_CONFIG_BYTES_MAX: u64 = 8 * MIB;
/// `tokenizer.json` of Llama 3 is 17 MiB when indented.
pub const TOKENIZER_JSON_BYTES_MAX: u64 = 64 * MIB;
/// The index over 70B's files is 60 KiB.
pub const SHARD_INDEX_BYTES_MAX: u64 = 8 * MIB;
/// Files of a checkpoint's directory that are looked at.
pub const CHECKPOINT_DIR_ENTRIES_MAX: usize = 4096;

// ---- pipeline ----

/// Tokens generated when the client names no maximum: Bedrock's own ceiling for DeepSeek-R1. A
/// reasoning model may loop for ever, so there is always an end.
pub const MAX_TOKENS_DEFAULT: usize = 32_768;
/// Tokens of a block of the KV cache: small enough to waste little at the end of a sequence and to
/// share short prefixes, large enough that attention reads whole cache lines.
pub const KV_BLOCK_SIZE: usize = 16;
/// Rows of a step where nobody says how many. A CPU computes a few hundred at its full rate, and
/// more would keep the sequences beside a long prompt waiting.
pub const ROWS_PER_STEP_CPU: usize = 512;
/// A GPU reads a weight in the time of 200 to 300 products with it (its matrix units' rate over its
/// memory's bandwidth, in 16 bits), and has tiles of 128 by 128 or more for all of its 40 to 132
/// multiprocessors at four times that, where a matrix has a few thousand rows.
pub const ROWS_PER_STEP_GPU: usize = 2048;

/// For an engine's thread to give back what it holds before the program ends. A step that runs
/// comes first; of weights in a GPU's memory it takes milliseconds.
pub const ENGINE_END_WAIT: Duration = Duration::from_secs(5);

// ---- api ----

/// Connections at a time; more wait in the kernel's backlog. A silent one costs a few KiB and goes
/// after [`FIRST_REQUEST_TIMEOUT`], so 5,000 slow clients do not keep others out.
pub const CONNECTIONS_MAX: usize = 8_192;
/// Requests between the last byte of their body and that of their answer. Above it: throttling.
pub const REQUESTS_IN_FLIGHT_MAX: usize = 1_024;
/// Requests whose body is still coming, of a few KiB each: one on every connection, and some on
/// those that carry many.
pub const REQUESTS_ARRIVING_MAX: usize = 16_384;
/// Requests of one HTTP/2 connection; clients open another connection for more.
pub const HTTP2_STREAMS_MAX: u32 = 256;
/// A new connection must send a whole request head within this time, and as long before that end
/// its TLS handshake.
pub const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection without a request in progress is closed after this time: longer than the 60 s of
/// AWS load balancers, which must be the ones to close first.
pub const CONNECTION_IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// A peer that takes no bytes for this long is gone or hostile.
pub const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Frames of one answer that wait for a slow reader; tokens beyond them wait in the engine's
/// channel as four bytes each.
pub const STREAM_FRAMES_MAX: usize = 32;
/// An HTTP/2 peer is asked for a sign of life this often, and has as long again to answer.
pub const HTTP2_KEEP_ALIVE: Duration = Duration::from_secs(20);
/// What all headers of a request may take; SigV4 with a session token needs about 3 KiB.
pub const HEADER_BYTES_MAX: usize = 64 * 1024;
pub const HEADERS_MAX: usize = 100;
/// A body, as the service model of Bedrock says for InvokeModel. Far above what any supported
/// context length can hold as text, so that documents in base64 fit as well.
pub const REQUEST_BODY_BYTES_MAX: usize = 25_000_000;
/// Longer bodies are parsed off the asynchronous runtime: below a millisecond stays on it.
pub const INLINE_PARSE_BYTES_MAX: usize = 64 * 1024;
/// Bodies being read or parsed, all requests together.
pub const BUFFERED_BODY_BYTES_MAX: usize = 256 * 1024 * 1024;
/// A body must have arrived after this time.
pub const REQUEST_BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// From this time on a body must have come at [`REQUEST_BODY_BYTES_PER_SECOND_MIN`], all in all: a
/// client that sends a byte now and then does not keep its place for the whole timeout.
pub const REQUEST_BODY_GRACE: Duration = Duration::from_secs(10);
/// A client that is refused while it sends is listened to for this long, so that it reads why.
pub const REFUSED_BODY_TIMEOUT: Duration = Duration::from_secs(2);
/// A tenth of what the largest body needs to arrive in time; a telephone line of the nineties.
pub const REQUEST_BODY_BYTES_PER_SECOND_MIN: u32 = 4 * 1024;
/// Requests wait this long for a model that is still loading, unless the operator says otherwise:
/// below the 60 s read timeout of boto3, whose retries would otherwise be spent in a second.
pub const MODEL_LOAD_WAIT_DEFAULT: Duration = Duration::from_secs(50);
/// In-flight requests have this long after SIGTERM, unless the operator says otherwise: below
/// the 60 s that KServe grants a pod.
pub const DRAIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(45);
/// Cut streams have this long to send their closing event.
pub const DRAIN_FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// As the service model of Bedrock says.
pub const MODEL_ID_CHARS_MAX: usize = 2_048;
/// A conversation longer than this is a mistake; it bounds the work of the chat template.
pub const MESSAGES_MAX: usize = 10_000;
pub const CONTENT_BLOCKS_MAX: usize = 1_000;
/// As the service model of Bedrock says.
pub const REQUEST_METADATA_ENTRIES_MAX: usize = 16;
pub const REQUEST_METADATA_CHARS_MAX: usize = 256;
/// As the service model of Bedrock says.
pub const TOOL_USE_ID_CHARS_MAX: usize = 64;
/// As the service model of Bedrock says.
pub const RESPONSE_FIELD_PATHS_MAX: usize = 10;
pub const RESPONSE_FIELD_PATH_CHARS_MAX: usize = 256;
pub const COUNT_TOKENS_MODEL_ID_CHARS_MAX: usize = 256;
/// As the service model of Bedrock says.
pub const DOCUMENT_NAME_CHARS_MAX: usize = 200;
/// Documents of a request and the bytes of one, as the documentation of Bedrock says.
pub const DOCUMENTS_MAX: usize = 5;
pub const DOCUMENT_BYTES_MAX: usize = 4_500_000;
/// What the text of a docx may have when unpacked, marks included: a book of 1,000 pages has half.
pub const DOCX_TEXT_BYTES_MAX: usize = 16 << 20;
/// How many times larger it may be than it is packed, above a size that harms nobody. Real ones
/// are packed to a tenth.
pub const DOCX_DENSITY_MAX: u64 = 100;
pub const DOCX_DENSE_BYTES_MAX: usize = 1 << 20;
const _: () = assert!(DOCX_DENSE_BYTES_MAX < DOCX_TEXT_BYTES_MAX);
/// Entries of one page of a listing.
pub const PAGE_RESULTS_MAX: usize = 1_000;
/// Answers to one prompt of OpenAI's API. Each is a sequence of its own in the engine.
pub const CHOICES_MAX: usize = 8;
/// Prompts of one completion.
pub const PROMPTS_MAX: usize = 16;
/// Tokens of a completion whose client names no maximum, as OpenAI's API says.
pub const COMPLETION_TOKENS_DEFAULT: usize = 16;
/// Alternatives to each token, as OpenAI's API says.
pub const TOP_LOGPROBS_MAX: usize = 20;
/// As OpenAI's API says.
pub const OPENAI_METADATA_KEY_CHARS_MAX: usize = 64;
pub const OPENAI_METADATA_VALUE_CHARS_MAX: usize = 512;
/// Tokens of reasoning for OpenAI's words of effort. R1's distills reason for some hundred tokens
/// on easy questions and several thousand on hard ones; `high` leaves it to them.
pub const REASONING_TOKENS_MINIMAL: usize = 256;
pub const REASONING_TOKENS_LOW: usize = 1_024;
pub const REASONING_TOKENS_MEDIUM: usize = 8_192;
/// A stream that has nothing to say sends a comment this often: below the 60 s after which AWS load
/// balancers close a silent connection.
pub const STREAM_KEEP_ALIVE: Duration = Duration::from_secs(15);
/// What a client that was turned away is told to wait before it tries again.
pub const RETRY_AFTER_SECONDS: u64 = 1;

/// Of a temperature where the format of a body sets no other limit; beyond it text is noise.
pub const TEMPERATURE_MAX: f64 = 2.0;
/// Above 1 discourages repetition, below 1 encourages it; beyond these values text is noise.
pub const REPETITION_PENALTY_MIN: f32 = 0.1;
pub const REPETITION_PENALTY_MAX: f32 = 10.0;
/// Both, as protocols read numbers.
pub fn repetition_penalties() -> std::ops::RangeInclusive<f64> {
    f64::from(REPETITION_PENALTY_MIN)..=f64::from(REPETITION_PENALTY_MAX)
}

const _: () = assert!(REQUEST_BODY_BYTES_MAX <= BUFFERED_BODY_BYTES_MAX);

/// How far a client's clock may be off, as for AWS.
pub const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);
/// How long a presigned request is good at most, as for AWS.
pub const PRESIGNED_EXPIRY_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How long a short-term Bedrock key is good at most, as for AWS.
pub const SHORT_TERM_KEY_EXPIRY_MAX: Duration = Duration::from_secs(12 * 60 * 60);
/// A short-term key is one presigned request of some 400 bytes in base64; one of AWS with a session
/// token reaches 3 KiB.
pub const SHORT_TERM_KEY_BYTES_MAX: usize = 8 * 1024;
const _: () = assert!(SHORT_TERM_KEY_BYTES_MAX < HEADER_BYTES_MAX);
/// A chain of certificates, or a key; public chains have two to four of 2 KiB.
pub const TLS_PEM_BYTES_MAX: u64 = 1 << 20;
/// Files that may change under a running server, keys and certificates, are looked at this often:
/// soon enough for a revocation, and one `stat` a second costs nothing.
pub const RELOAD_INTERVAL: Duration = Duration::from_secs(1);

// ---- keys ----

/// Keys, revoked ones included. More people than that want a directory, not a file.
pub const KEYS_MAX: usize = 10_000;
/// Room for [`KEYS_MAX`] keys of the usual 400 bytes, with long lists of models for some.
pub const KEYS_FILE_BYTES_MAX: u64 = 16 << 20;
/// One line for each of [`KEYS_MAX`] keys.
pub const KEY_USAGE_FILE_BYTES_MAX: u64 = 4 << 20;
/// What keys use is written down this often: a crash forgets no more, servers that share the file
/// know one another's counts so late, and a disk is asked to flush twice in that time.
pub const KEY_USAGE_INTERVAL: Duration = Duration::from_secs(5);
/// Our ids have 20, as AWS's; theirs may have 128.
pub const KEY_ID_BYTES_MAX: usize = 128;
/// As long as AWS's names of users may be twice over.
pub const KEY_NAME_CHARS_MAX: usize = 128;
/// A server holds a handful of models; each may be listed under several names.
pub const KEY_MODELS_MAX: usize = 256;

// ---- cli ----

/// Piped into `outcrop chat`: far above what any supported context length can hold as text.
pub const CHAT_INPUT_BYTES_MAX: u64 = 8 << 20;

// ---- hub ----

/// A download that brings no byte for this long is taken for dead and resumed.
pub const HUB_STALL_MS: u64 = 60_000;

/// Attempts in a row that bring nothing before a download is given up; one that brings something
/// starts the count again, so that a bad line still carries a large file.
pub const HUB_ATTEMPTS_MAX: u32 = 5;

/// The first pause between attempts; each further one doubles, to `HUB_RETRY_PAUSE_MS_MAX`.
pub const HUB_RETRY_PAUSE_MS: u64 = 500;
pub const HUB_RETRY_PAUSE_MS_MAX: u64 = 30_000;
const _: () = assert!(HUB_RETRY_PAUSE_MS <= HUB_RETRY_PAUSE_MS_MAX);

/// Left free on the disk by every download: a full disk breaks more than the download.
pub const HUB_DISK_SPARE_BYTES: u64 = 256 << 20;

/// Lines of a failed tool's own words that an error repeats.
pub const HUB_STDERR_LINES_MAX: usize = 12;

// ---- guardrail ----

/// Guardrails of one folder, and versions of one guardrail: Bedrock's quotas, which are 100 and 20,
/// several times over.
pub const GUARDRAILS_MAX: usize = 1_000;
pub const GUARDRAIL_VERSIONS_MAX: usize = 100;
/// A file holds all versions; the largest list of words takes about a megabyte in each.
pub const GUARDRAIL_FILE_BYTES_MAX: u64 = 64 * MIB;
/// These are what CreateGuardrail of Bedrock accepts.
pub const GUARDRAIL_NAME_CHARS_MAX: usize = 50;
pub const GUARDRAIL_DESCRIPTION_CHARS_MAX: usize = 200;
pub const GUARDRAIL_MESSAGE_CHARS_MAX: usize = 500;
pub const GUARDRAIL_TOPICS_MAX: usize = 30;
pub const GUARDRAIL_TOPIC_NAME_CHARS_MAX: usize = 100;
pub const GUARDRAIL_TOPIC_DEFINITION_CHARS_MAX: usize = 200;
/// With `tierName` STANDARD.
pub const GUARDRAIL_TOPIC_DEFINITION_CHARS_STANDARD_MAX: usize = 1_000;
pub const GUARDRAIL_TOPIC_EXAMPLES_MAX: usize = 5;
pub const GUARDRAIL_TOPIC_EXAMPLE_CHARS_MAX: usize = 100;
pub const GUARDRAIL_WORDS_MAX: usize = 10_000;
pub const GUARDRAIL_WORD_CHARS_MAX: usize = 100;
pub const GUARDRAIL_REGEXES_MAX: usize = 30;
pub const GUARDRAIL_REGEX_NAME_CHARS_MAX: usize = 100;
pub const GUARDRAIL_REGEX_DESCRIPTION_CHARS_MAX: usize = 1_000;
pub const GUARDRAIL_REGEX_PATTERN_CHARS_MAX: usize = 500;
pub const GUARDRAIL_THRESHOLD_MAX: f64 = 0.99;
pub const GUARDRAIL_ID_CHARS_MAX: usize = 64;
/// Of the names of tags that mark text in a prompt, as Bedrock has it.
pub const GUARDRAIL_TAG_SUFFIX_CHARS_MAX: usize = 20;
/// Words and innocent phrases that ship with the program.
pub const GUARDRAIL_MANAGED_WORDS_MAX: usize = 4_000;
/// Memory of a compiled regular expression, and of the states it remembers while it runs. Counted
/// repetitions of 500 characters of pattern can ask for gigabytes.
pub const GUARDRAIL_REGEX_BYTES_MAX: usize = 2 << 20;
/// Steps to see how far a match that has begun could still reach, for one piece of a stream; after
/// them the rest is held until the end.
pub const GUARDRAIL_LIVE_STEPS_MAX: usize = 1 << 18;
/// Detections of one policy that an assessment lists. A text of 8 MiB can hold a million.
pub const GUARDRAIL_DETECTIONS_MAX: usize = 1_000;
/// Sources, query and answer of the contextual grounding policy, as Bedrock has them.
pub const GROUNDING_SOURCE_CHARS_MAX: usize = 100_000;
pub const GROUNDING_QUERY_CHARS_MAX: usize = 1_000;
pub const GROUNDING_ANSWER_CHARS_MAX: usize = 5_000;
/// A longer text counts as one about which a guardrail's models gave no answer: an embedder reads
/// about a megabyte a minute.
pub const GUARDRAIL_CONSULTED_CHARS_MAX: usize = 200_000;
/// Texts that a guardrail's models are asked about at a time; others wait. Each takes a thread.
pub const GUARDRAIL_CONSULTATIONS_MAX: usize = 32;
/// What models said of texts, kept by hash: up to 2 KB each.
pub const GUARDRAIL_ANSWERS_KEPT_MAX: usize = 4_096;
/// A judge answers with one token, which is quick unless the model is very busy.
pub const GUARDRAIL_JUDGE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// Files of an embedder. The largest that read as BERT have half a billion parameters.
pub const EMBEDDER_JSON_BYTES_MAX: u64 = 64 * MIB;
pub const EMBEDDER_WEIGHT_BYTES_MAX: u64 = 4 * 1024 * MIB;
pub const EMBEDDER_LAYERS_MAX: usize = 48;
/// Tokens that one pass reads; a text with more is read in pieces.
pub const EMBEDDER_TOKENS_MAX: usize = 256;
/// Texts in one pass: more does not make it faster on a CPU.
pub const EMBEDDER_BATCH_MAX: usize = 16;
