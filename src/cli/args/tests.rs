//! Command lines, and what the program is asked to do by them.

use super::*;
use crate::cli::load::ModelSource;

fn parse(line: &str) -> Result<Command, clap::Error> {
    let words = std::iter::once("outcrop").chain(line.split_whitespace());
    Cli::try_parse_from(words)?.into_invocation().map(|invocation| invocation.command)
}

fn refusal(line: &str) -> String {
    match parse(line) {
        Ok(command) => panic!("`{line}` was taken as {command:?}"),
        Err(error) => {
            assert_eq!(error.exit_code(), 2, "{line}");
            error.to_string()
        }
    }
}

#[test]
fn the_definition_is_consistent() {
    use clap::CommandFactory;
    Cli::command().debug_assert();
}

#[test]
fn bench_takes_lists_and_has_the_stated_defaults() {
    let Ok(Command::Bench(options)) = parse("bench --model smollm2-135m") else { panic!() };
    assert_eq!((options.prompt_tokens, options.generate), (vec![512], vec![128]));
    assert_eq!((options.depths, options.batches, options.repeats), (vec![0], vec![1], 3));
    assert_eq!((options.format, options.profile), (Format::Table, false));

    let line = "bench --synthetic deepseek-r1-distill-qwen-7b --depth 0,4096 --batch 1,4 --csv";
    let Ok(Command::Bench(options)) = parse(line) else { panic!() };
    assert_eq!((options.depths, options.batches), (vec![0, 4096], vec![1, 4]));
    assert_eq!(options.format, Format::Csv);
    let BenchModel::Synthetic(synthetic) = options.model else { panic!() };
    assert_eq!(synthetic.quantization, Quantization::Q4KM);
}

#[test]
fn a_model_is_a_path_when_it_looks_like_one() {
    let Ok(Command::Bench(options)) = parse("bench --model ./models/smollm2-135m.toml") else {
        panic!("the file exists");
    };
    let BenchModel::Checkpoint(model) = options.model else { panic!() };
    assert!(matches!(model.source, ModelSource::Path(_)));
    let error = refusal("bench --model ./nowhere.gguf");
    assert!(error.contains("'./nowhere.gguf'") && error.contains("no such file"), "{error}");
    let error = refusal("bench --model deepseek-r3");
    assert!(error.contains("it has smollm2-135m, "), "{error}");
}

#[test]
fn usage_errors_name_the_flag() {
    for (line, named) in [
        ("bench", "--model"),
        ("bench --model smollm2-135m --synthetic smollm2-135m", "--synthetic"),
        ("bench --model smollm2-135m --batch 0", "--batch"),
        ("bench --model smollm2-135m --profile --csv", "--csv"),
        ("bench --model smollm2-135m --quantize q9", "q4_k_m"),
        ("bench --model smollm2-135m --json --csv", "--csv"),
        ("models pull smollm2-135m:q8_0", "it has q4_1"),
        ("models synthesize smollm2-135m -o x.gguf", "--quantize"),
    ] {
        let error = refusal(line);
        assert!(error.contains(named), "{line}: {error}");
    }
}

#[test]
fn a_served_model_is_known_by_its_id_or_its_file() {
    let served = |line: &str| match parse(line) {
        Ok(Command::Serve(command)) => *command,
        other => panic!("{line}: {other:?}"),
    };
    let command = served("serve --model smollm2-135m:q4_1");
    assert_eq!(command.server.model_ids, ["smollm2-135m"]);
    assert_eq!(command.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(command.engine.kv_cache_bytes, None);
    let line = "serve --model models/smollm2-135m.toml --kv-cache-memory 2GiB --no-prefix-cache \
                --max-model-len 4096 --drain-grace 5";
    let command = served(line);
    assert_eq!(command.server.model_ids, ["smollm2-135m"]);
    assert_eq!(command.server.drain.grace, Duration::from_secs(5));
    assert_eq!(command.engine.kv_cache_bytes, Some(2 << 30));
    assert!(!command.engine.config.prefix_cache);
    assert_eq!(command.engine.config.max_model_len, 4096);
}

#[test]
fn several_models_have_their_own_ids_and_aliases() {
    let line = "serve --model smollm2-135m --model models/smollm2-135m.toml --model-id a \
                --model-id b --alias x=b --alias *=a --model-load-wait 5 --strict-reasoning \
                --request-timeout 90";
    let Ok(Command::Serve(command)) = parse(line) else { panic!("{:?}", parse(line)) };
    assert_eq!(command.server.model_ids, ["a", "b"]);
    assert_eq!(command.server.aliases[0].model_id.as_deref(), Some("b"));
    assert_eq!(command.server.app.model_load_wait, Duration::from_secs(5));
    assert!(command.server.app.strict_reasoning);
    assert_eq!(command.server.app.request_timeout, Some(Duration::from_secs(90)));
    assert!(matches!(command.models[1].source, ModelSource::Path(_)));
    for (line, named) in [
        ("serve", "--model"),
        ("serve --model smollm2-135m --model smollm2-135m", "two models have the id"),
        ("serve --model smollm2-135m --model-id a --model-id b", "2 ids for 1 models"),
        ("serve --model smollm2-135m --alias x=other", "means `other`"),
        ("serve --model smollm2-135m --model a.gguf --model-id a --model-id b", "'a.gguf'"),
        (
            "serve --model smollm2-135m --model models/smollm2-135m.toml --model-id a --model-id b \
             --draft smollm2-135m",
            "--draft",
        ),
        ("serve --model smollm2-135m --draft smollm3", "--draft"),
        ("serve --model smollm2-135m --draft smollm2-135m --speculate off", "--speculate off"),
    ] {
        let error = refusal(line);
        assert!(error.contains(named), "{line}: {error}");
    }
}

#[test]
fn chat_takes_what_to_ask_and_how() {
    let line = "chat --model smollm2-135m:q4_1 hello --temperature 0 --seed 7 --stop END --json";
    let Ok(Command::Chat(options)) = parse(line) else { panic!() };
    assert_eq!(options.prompt.as_deref(), Some("hello"));
    assert_eq!(options.request.sampling.temperature, Some(0.0));
    assert_eq!(options.request.sampling.seed, Some(7));
    assert_eq!(options.request.stop_sequences, ["END"]);
    assert!(options.json && !options.hide_reasoning);
    for (line, named) in [
        ("chat --model smollm2-135m --temperature 2.1", "--temperature"),
        ("chat --model smollm2-135m --top-p nan", "from 0 to 1"),
        ("chat --model smollm2-135m --repetition-penalty 0", "from 0.1 to 10"),
        ("chat --model smollm2-135m --kv-cache-memory lots", "512MiB"),
    ] {
        let error = refusal(line);
        assert!(error.contains(named), "{line}: {error}");
    }
}
