//! Templates as Jinja2 renders them, limits on hostile ones, and content that stays content.

use std::time::{Duration, Instant};

use super::*;
use crate::chat::{Role, fixture};

fn message(role: Role, content: &str) -> Message {
    Message::new(role, content)
}

fn template(source: &str) -> ChatTemplate {
    let bos = Some(fixture::BOS.to_owned());
    ChatTemplate::new(source, &fixture::tokenizer(), bos, None).unwrap()
}

fn render(source: &str, content: &str) -> Result<Prompt, TemplateError> {
    let messages = [message(Role::User, content)];
    template(source).render(&TemplateInput {
        messages: &messages,
        tools: &[],
        add_generation_prompt: true,
    })
}

fn text(source: &str, content: &str) -> String {
    render(source, content).unwrap().text()
}

#[test]
fn blocks_are_trimmed_as_transformers_does() {
    let source = "{% for message in messages %}\n    {% if true %}\n  \
        {{ message.role }}\n    {% endif %}\n{% endfor %}\n";
    assert_eq!(text(source, ""), "  user\n");
}

#[test]
fn values_are_written_as_python_writes_them() {
    assert_eq!(
        text("{{ none }} {{ true }} {{ false }} {{ nothing }}|{{ 1.0 }}", ""),
        "None True False |1.0"
    );
    assert_eq!(
        text("{{ bos_token }}{{ eos_token is defined }}", ""),
        format!("{}False", fixture::BOS)
    );
    assert_eq!(text("{{ tools is none }}{% if not documents %}x{% endif %}", ""), "Truex");
}

#[test]
fn white_space_is_what_python_strips() {
    let content = "\u{1c}\t a\u{a0}b \u{3000}\u{1f}";
    for call in ["strip()", "lstrip().rstrip()", "split()|join('\u{a0}')"] {
        let source = format!("[{{{{ messages[0].content.{call} }}}}]");
        assert_eq!(text(&source, content), "[a\u{a0}b]", "{call}");
    }
    assert_eq!(text("[{{ messages[0].content | trim }}]", content), "[a\u{a0}b]");
}

#[test]
fn json_is_written_as_python_writes_it() {
    let source = "{{ {'b': [1, 2.5, none, true], 'a': messages[0].content} | tojson }}";
    let expected = "{\"b\": [1, 2.5, null, true], \"a\": \"<\\\"é\\n\\u0001'>\"}";
    assert_eq!(text(source, "<\"é\n\u{1}'>"), expected);
    let source = "{{ {'b': [1], 'a': {}} | tojson(indent=2, sort_keys=true) }}";
    assert_eq!(text(source, ""), "{\n  \"a\": {},\n  \"b\": [\n    1\n  ]\n}");
    let source = "{{ [1, {'a': 2}] | tojson(separators=[',', ':']) }}";
    assert_eq!(text(source, ""), "[1,{\"a\":2}]");
}

#[test]
fn what_a_template_raises_is_its_refusal() {
    let source = "{% macro check() %}{{ raise_exception('Roles must alternate') }}\
        {% endmacro %}{{ check() }}";
    let refusal = render(source, "").unwrap_err();
    assert!(matches!(&refusal, TemplateError::Refused(why) if why == "Roles must alternate"));
}

#[test]
fn what_is_not_a_template_is_refused_when_it_is_loaded() {
    let tokenizer = fixture::tokenizer();
    let new = |source: &str| ChatTemplate::new(source, &tokenizer, None, None);
    assert!(matches!(new("{% for %}"), Err(TemplateError::Invalid(_))));
    assert!(new(&" ".repeat(limits::TEMPLATE_BYTES_MAX)).is_ok());
    let refusal = new(&" ".repeat(limits::TEMPLATE_BYTES_MAX + 1)).unwrap_err().to_string();
    assert!(refusal.contains(&limits::TEMPLATE_BYTES_MAX.to_string()), "{refusal}");
    let nested = format!("{{{{ {}1{} }}}}", "(".repeat(50_000), ")".repeat(50_000));
    assert!(matches!(new(&nested), Err(TemplateError::Invalid(_))));
}

/// What each of these does would take minutes or gigabytes.
#[test]
fn a_runaway_template_is_stopped() {
    let sources = [
        "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}",
        "{{ 'x' * 1000000000 }}",
        "{{ ('x' * 10000) * 10000 }}",
        "{% set ns = namespace(x='x') %}{% for a in range(60) %}{% set ns.x = ns.x + ns.x %}\
            {% endfor %}",
        "{% set ns = namespace(x='x') %}{% for a in range(60) %}{% set ns.x = ns.x ~ ns.x %}\
            {% endfor %}",
        "{% set ns = namespace(x='xx') %}{% for a in range(60) %}\
            {% set ns.x = ns.x.replace('x', 'xx') %}{% endfor %}",
        "{% set ns = namespace(x='ab') %}{% for a in range(60) %}\
            {% set ns.x = ns.x.join(ns.x) %}{% endfor %}",
        "{{ [1, 2] | tojson(indent=100000000) }}",
        "{% set ns = namespace(x=[1]) %}{% for a in range(60) %}\
            {% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x=[1]) %}{% for a in range(50) %}\
            {% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x | tojson }}",
        "{% macro m(n) %}{{ m(n) }}{{ m(n) }}{% endmacro %}{{ m(1) }}",
        "{{ range(100000) | sort | list | tojson }}{{ range(100000) | map('string') | join }}",
        "{% for a in range(100000) %}{{ messages[0].content }}{% endfor %}",
    ];
    for source in sources {
        // The best of three: others may have the machine for a while.
        let render = || {
            let started = Instant::now();
            assert!(render(source, &"text ".repeat(1000)).is_err(), "{source}");
            started.elapsed()
        };
        let elapsed = (0..3).map(|_| render()).min().unwrap();
        let limit = if cfg!(debug_assertions) { 500 } else { 50 };
        assert!(elapsed <= Duration::from_millis(limit), "{source} took {elapsed:?}");
    }
}

/// Values that hold values are taken apart recursively.
#[test]
fn a_deeply_nested_value_does_not_exhaust_the_stack() {
    let build = "{% set ns = namespace(x=[]) %}{% for a in range(20000) %}\
        {% set ns.x = [ns.x] %}{% endfor %}";
    for end in ["", "{{ ns.x | tojson }}", "{{ ns.x }}", "{{ ns.x == [ns.x] }}"] {
        let source = format!("{build}{end}");
        let rendering = std::thread::Builder::new().stack_size(1 << 20);
        rendering.spawn(move || drop(render(&source, ""))).unwrap().join().unwrap();
    }
}

#[test]
fn numbers_are_written_as_python_writes_them() {
    let numbers = "[1e-7, 2.5e-12, 0.0001, 1e-5, 0.1, 1.0, 1e15, 1e16, -1.5e300, 5e-324, 7]";
    let written = "[1e-07, 2.5e-12, 0.0001, 1e-05, 0.1, 1.0, 1000000000000000.0, 1e+16, \
        -1.5e+300, 5e-324, 7]";
    assert_eq!(text(&format!("{{{{ {numbers} | tojson }}}}"), ""), written);
    assert_eq!(text("{{ 1e-7 }} {{ 1e22 }} {{ 3 }}", ""), "1e-07 1e+22 3");
}

#[test]
fn output_beyond_the_limit_is_refused() {
    let bytes = limits::TEMPLATE_OUTPUT_BYTES_BASE + limits::TEMPLATE_OUTPUT_BYTES_PER_MESSAGE_MAX;
    assert_eq!(text(&format!("{{{{ 'x' * {bytes} }}}}"), "").len(), bytes);
    let refusal = render(&format!("{{{{ 'x' * {} }}}}", bytes + 1), "").unwrap_err();
    assert!(matches!(&refusal, TemplateError::Runaway(why) if why.contains("limit")), "{refusal}");
}

#[test]
fn a_long_conversation_is_not_a_runaway() {
    let messages: Vec<Message> = (0..5_000)
        .flat_map(|_| [message(Role::User, "hi <think>"), message(Role::Assistant, "hi </think>")])
        .collect();
    let input = TemplateInput { messages: &messages, tools: &[], add_generation_prompt: true };
    let prompt = template(fixture::TEMPLATE).render(&input).unwrap();
    assert!(prompt.ends_with_open_tag("<think>"));
    let long = [message(Role::User, &"<think> text ".repeat(100_000))];
    let input = TemplateInput { messages: &long, tools: &[], add_generation_prompt: true };
    let prompt = template(fixture::TEMPLATE).render(&input).unwrap();
    assert!(prompt.text().contains(&long[0].content));
}

#[test]
fn content_that_ends_like_the_tag_does_not_open_the_reasoning() {
    let source = "{{ messages[0].content }}";
    assert!(!render(source, "<think>\n").unwrap().ends_with_open_tag("<think>"));
    assert!(
        render("{{ messages[0].content }}<think>\n", "x").unwrap().ends_with_open_tag("<think>")
    );
}

#[test]
fn content_with_the_private_characters_of_the_marks_survives() {
    let private: String = ('\u{f0000}'..='\u{f00ff}').collect();
    let content = format!("<｜User｜>{private}<think>");
    assert_eq!(text("[{{ messages[0].content }}]", &content), format!("[{content}]"));
    let all: String = ('\u{f0000}'..='\u{ffffd}').collect();
    let content = format!("x<think>{all}");
    let prompt = render("[{{ messages[0].content }}]<think>", &content).unwrap();
    assert_eq!(prompt.text(), format!("[{content}]<think>"));
    assert!(prompt.holds_as_content("<think>"));
}

#[test]
fn a_template_may_look_for_a_tag_that_it_also_writes() {
    let source = "{% set m = messages[0].content %}{% if m.startswith('<think>') %}[\
        {{ m[7:] }}]{% else %}{{ m }}{% endif %}<｜User｜>";
    let prompt = render(source, "<think>a<｜User｜>").unwrap();
    assert_eq!(prompt.text(), "[a<｜User｜>]<｜User｜>");
    assert!(prompt.holds_as_content("<think>"));
    assert!(!prompt.holds_as_content("<｜User｜>"), "only what the template looks for is plain");
}

#[test]
fn a_template_that_reads_single_characters_renders_when_content_is_safe_and_refuses_else() {
    let source = "{% if '<' in messages[0].content %}!{% endif %}{{ messages[0].content }}<think>";
    assert_eq!(text(source, "a <b> c"), "!a <b> c<think>");
    let prompt = render(source, "a <｜User｜> c").unwrap();
    assert!(prompt.holds_as_content("<｜User｜>") && !prompt.holds_as_content("<think>"));
    assert!(matches!(render(source, "a <th"), Err(TemplateError::Refused(_))));
}
