//! The engine over a decoder on a GPU: what it promises its clients there as on the CPU.

use candle_core::quantized::GgmlDType;
use outcrop::engine::{
    Engine, EngineConfig, EngineHandle, Generation, GenerationError, GenerationRequest, Priority,
    SamplingParams, Speculation, TokenEvent,
};
use outcrop::model::config::Architecture;
use outcrop::model::{Decoder, Device, DeviceChoice, KvCache, KvCacheConfig, KvDtype, ModelConfig};

use super::{BLOCK_SIZE, config, decoder, gpu, kv_cache, run, session, tokens};

/// Its embedding is NaN in models that have one.
const BROKEN: u32 = 13;

fn request(prompt: Vec<u32>, max_tokens: usize) -> GenerationRequest {
    GenerationRequest {
        prompt,
        max_tokens,
        // Never part of a context unless a prompt holds it.
        stop_ids: [BROKEN].into(),
        sampling: SamplingParams {
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            seed: 0,
        },
        reasoning_budget: None,
        priority: Priority::Normal,
        cache_salt: None,
        logprobs: None,
    }
}

fn prompt(seed: u32, len: usize) -> Vec<u32> {
    tokens(seed, len).into_iter().map(|id| if id == BROKEN { 14 } else { id }).collect()
}

fn start(decoder: Decoder, device: &Device, num_blocks: usize, rows: usize) -> EngineHandle {
    let model = outcrop::model::CausalLm::config(&decoder);
    let cache = KvCacheConfig {
        num_layers: model.num_layers,
        num_kv_heads: model.num_kv_heads,
        head_dim: model.head_dim,
        dtype: KvDtype::F16,
        block_size: BLOCK_SIZE,
        num_blocks,
    };
    let cache = KvCache::new(cache, device).unwrap();
    let config = EngineConfig {
        max_model_len: usize::MAX,
        max_num_seqs: 4,
        max_num_batched_tokens: rows,
        queued_requests_max: usize::MAX,
        queued_tokens_max: usize::MAX,
        prefix_cache: true,
        speculation: Speculation::Auto,
    };
    Engine::start(Box::new(decoder), cache, None, config).unwrap()
}

fn collect(mut generation: Generation) -> (Vec<u32>, TokenEvent) {
    let mut tokens = Vec::new();
    loop {
        match generation.blocking_next().unwrap() {
            TokenEvent::Token(token) => tokens.push(token),
            end => return (tokens, end),
        }
    }
}

fn finished(generation: Generation) -> Vec<u32> {
    match collect(generation) {
        (tokens, TokenEvent::Finished(_)) => tokens,
        (_, end) => panic!("not finished: {end:?}"),
    }
}

fn assert_idle(engine: &EngineHandle) {
    let stats = engine.stats();
    assert!(engine.is_healthy() && stats.blocks_are_balanced(), "{stats:?}");
    assert_eq!((stats.num_running, stats.num_waiting, stats.num_used_blocks), (0, 0, 0));
}

/// The model on the CPU, to ask what it would have written.
struct Oracle {
    decoder: Decoder,
    config: ModelConfig,
}

impl Oracle {
    fn new(config: &ModelConfig, dtype: GgmlDType) -> Self {
        let decoder = decoder(config, dtype, &Device::Cpu, None);
        Self { decoder, config: config.clone() }
    }

    /// That each token is the likeliest, or as near to it as two devices' rounding is: texts of
    /// models that are made up turn at ties.
    fn assert_likeliest(&mut self, prompt: &[u32], answer: &[u32]) {
        assert!(!answer.is_empty(), "no answer to {prompt:?}");
        let text = [prompt, &answer[..answer.len() - 1]].concat();
        let mut cache = kv_cache(&self.config, KvDtype::F16, &Device::Cpu);
        let rows = run(&mut self.decoder, &mut cache, &[(0, &text, 0)]);
        for (row, token) in rows[prompt.len() - 1..].iter().zip(answer) {
            let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let least = row.iter().copied().fold(f32::INFINITY, f32::min);
            let behind = (most - row[*token as usize]) / (most - least);
            assert!(behind < 0.02, "{token} is {behind} of the range behind the likeliest");
        }
    }
}

#[test]
fn requests_side_by_side_are_answered_as_on_the_cpu() {
    let Some((device, _turn)) = gpu() else { return };
    let config = config(Architecture::Qwen2);
    let mut oracle = Oracle::new(&config, GgmlDType::Q4K);
    let decoder = decoder(&config, GgmlDType::Q4K, &device, None);
    let engine = start(decoder, &device, 64, 48);
    // Prompts that begin alike, shorter and longer than a step has rows.
    let prompts: Vec<Vec<u32>> = (0..5)
        .map(|seed| [prompt(2, 40), prompt(seed + 3, 3 + 7 * seed as usize)].concat())
        .collect();
    let first = finished(engine.submit(request(prompts[0].clone(), 8)).unwrap());
    oracle.assert_likeliest(&prompts[0], &first);

    let mut generations: Vec<_> =
        prompts.iter().map(|it| engine.submit(request(it.clone(), 8)).unwrap()).collect();
    let mut gone = engine.submit(request(prompt(9, 20), 200)).unwrap();
    assert!(matches!(gone.blocking_next(), Some(TokenEvent::Token(_))));
    drop(gone);
    let again = finished(generations.remove(0));
    assert_eq!(again[0], first[0], "behind a prefix that was kept");
    oracle.assert_likeliest(&prompts[0], &again);
    for (prompt, generation) in prompts[1..].iter().zip(generations) {
        oracle.assert_likeliest(prompt, &finished(generation));
    }
    let stats = engine.stats();
    assert!(stats.prefix_cache_hit_tokens_total >= 5 * 32, "{stats:?}");
    assert_eq!((stats.finished_requests_total, stats.aborted_requests_total), (6, 1));
    assert!(session(&device).num_graphs() >= 1, "no decode step was captured");
    assert_idle(&engine);
}

#[test]
fn a_sequence_that_made_room_goes_on_as_if_it_had_not() {
    let Some((device, _turn)) = gpu() else { return };
    let config = config(Architecture::Llama);
    let mut oracle = Oracle::new(&config, GgmlDType::F16);
    let decoder = decoder(&config, GgmlDType::F16, &device, None);
    // Three prompts of two blocks fit, and what they write does not.
    let engine = start(decoder, &device, 8, 64);
    let prompts: Vec<Vec<u32>> = (0..3).map(|seed| prompt(seed + 5, 30)).collect();
    let generations: Vec<_> =
        prompts.iter().map(|it| engine.submit(request(it.clone(), 24)).unwrap()).collect();
    for (prompt, generation) in prompts.iter().zip(generations) {
        oracle.assert_likeliest(prompt, &finished(generation));
    }
    assert!(engine.stats().preemptions_total > 0, "{:?}", engine.stats());
    assert_idle(&engine);
}

#[test]
fn a_request_of_nan_fails_alone() {
    let Some((device, _turn)) = gpu() else { return };
    let config = config(Architecture::Llama);
    let mut oracle = Oracle::new(&config, GgmlDType::BF16);
    let decoder = decoder(&config, GgmlDType::BF16, &device, Some(BROKEN as usize));
    let engine = start(decoder, &device, 64, 64);
    let prompts = [prompt(3, 20), [prompt(3, 17), vec![BROKEN, 5]].concat(), prompt(4, 18)];
    for _ in 0..2 {
        let [first, broken, last] =
            [0, 1, 2].map(|at| engine.submit(request(prompts[at].clone(), 6)).unwrap());
        oracle.assert_likeliest(&prompts[0], &finished(first));
        oracle.assert_likeliest(&prompts[2], &finished(last));
        let failed = (Vec::new(), TokenEvent::Failed(GenerationError::NotANumber));
        assert_eq!(collect(broken), failed, "its own prefix must not be kept either");
    }
    assert_eq!(engine.stats().not_a_number_total, 2);
    assert_idle(&engine);
}

/// Takes the GPU's memory until less than a large step's is left, and has a device that holds it.
fn ballast() -> (Device, Vec<cuda::KvLayer>) {
    const LEFT_BYTES: u64 = 1 << 20;
    let other = Device::open(DeviceChoice::Cuda(0)).unwrap();
    let mut taken = Vec::new();
    let mut bytes = other.free_bytes().unwrap().unwrap();
    while bytes > LEFT_BYTES {
        // Keys and values of a block.
        let num_blocks = (bytes / (2 * 2 * 16 * 64)) as usize;
        let shape = cuda::KvShape { num_blocks, num_kv_heads: 1, block_size: 16, head_dim: 64 };
        match cuda::KvLayer::new(session(&other), shape, cuda::Float::F16) {
            Ok(layer) => taken.push(layer),
            Err(_) => bytes /= 2,
        }
    }
    (other, taken)
}

#[test]
fn a_step_without_memory_fails_its_requests_and_no_others() {
    let Some((device, _turn)) = gpu() else { return };
    // So wide that a long prompt needs more than what a step of few rows has left in the pool.
    let config = ModelConfig {
        hidden_size: 64,
        intermediate_size: 6144,
        num_layers: 1,
        num_attention_heads: 1,
        num_kv_heads: 1,
        ..config(Architecture::Llama)
    };
    let new_engine =
        |device: &Device| start(decoder(&config, GgmlDType::BF16, device, None), device, 64, 500);
    let (short, long) = (prompt(3, 4), prompt(4, 480));
    // Kept to the end, so that it gives no memory back when there is to be none.
    let reference = new_engine(&Device::open(DeviceChoice::Cuda(0)).unwrap());
    let expected_long = finished(reference.submit(request(long.clone(), 3)).unwrap());
    let engine = new_engine(&device);
    let expected = finished(engine.submit(request(short.clone(), 3)).unwrap());

    let mut beside = engine.submit(request(short.clone(), 400)).unwrap();
    assert!(matches!(beside.blocking_next(), Some(TokenEvent::Token(_))));
    let ballast = ballast();
    let (_, end) = collect(engine.submit(request(long.clone(), 3)).unwrap());
    for (what, end) in [("the long prompt", end), ("the one beside it", collect(beside).1)] {
        let TokenEvent::Failed(GenerationError::Model(reason)) = end else {
            panic!("{what}: {end:?}")
        };
        assert!(reason.contains("the GPU has no memory"), "{what}: {reason}");
    }
    assert_idle(&engine);
    assert_eq!(finished(engine.submit(request(short, 3)).unwrap()), expected);
    drop(ballast);
    assert_eq!(finished(engine.submit(request(long, 3)).unwrap()), expected_long);
    assert_eq!(engine.stats().failed_requests_total, 2);
    assert_idle(&engine);
}
