//! The decoder on a GPU against the decoder on the CPU, which has oracles of its own.
//!
//! Runs on whatever `libcuda.so.1` is there: a GPU's driver, or the stand-in that
//! `crates/cuda/stand-in/build DIR` makes (`LD_LIBRARY_PATH=DIR`). Without one the tests say so and
//! skip.
#![cfg(feature = "cuda")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test's helpers fail and speak as the test does"
)]

mod engine;
mod gpu_check;
mod sampling;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device as CandleDevice, Tensor};
use cuda::{Session, WeightFormat};
use outcrop::model::config::{Architecture, RopeConfig, RopeLayout, RopeScaling};
use outcrop::model::weights::{TensorMap, slots};
use outcrop::model::{
    CausalLm, Decoder, Device, DeviceChoice, KvCache, KvCacheConfig, KvDtype, ModelConfig,
    ModelInput, SeqInput, warm_up,
};
use outcrop::ops::Weight;

/// One test at a time has the GPU, so that its memory is that test's.
static TURN: Mutex<()> = Mutex::new(());

fn gpu() -> Option<(Device, MutexGuard<'static, ()>)> {
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    match Device::open(DeviceChoice::Cuda(0)) {
        Ok(device) => Some((device, turn)),
        Err(error) if error.to_string().contains("libcuda.so.1") => {
            println!("skipped: {error}; crates/cuda/stand-in/build makes one that needs no GPU");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn session(device: &Device) -> &Arc<Session> {
    let Device::Cuda(session) = device else { panic!("a GPU was opened") };
    session
}

fn random(len: usize, seed: u64, scale: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next() * scale).collect()
}

const TYPES: [GgmlDType; 13] = [
    GgmlDType::F32,
    GgmlDType::F16,
    GgmlDType::BF16,
    GgmlDType::Q4_0,
    GgmlDType::Q4_1,
    GgmlDType::Q5_0,
    GgmlDType::Q5_1,
    GgmlDType::Q8_0,
    GgmlDType::Q2K,
    GgmlDType::Q3K,
    GgmlDType::Q4K,
    GgmlDType::Q5K,
    GgmlDType::Q6K,
];

fn quantized(values: Vec<f32>, dims: &[usize], dtype: GgmlDType) -> QTensor {
    let tensor = Tensor::from_vec(values, dims, &CandleDevice::Cpu).unwrap();
    QTensor::quantize(&tensor, dtype).unwrap()
}

#[test]
fn weights_of_every_type_have_candles_elements_and_make_their_products() {
    let Some((device, _turn)) = gpu() else { return };
    let session = session(&device);
    let (n, k) = (11, 768);
    for (seed, dtype) in TYPES.into_iter().enumerate() {
        let tensor = quantized(random(n * k, seed as u64 + 1, 1.0), &[n, k], dtype);
        let elements = tensor.dequantize(&CandleDevice::Cpu).unwrap();
        let weight = Weight::upload(session, &tensor.data().unwrap(), dtype, &[n, k]).unwrap();
        let found = weight.dequantize().unwrap();
        let of = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (index, (found, expected)) in of(&found).iter().zip(of(&elements)).enumerate() {
            let difference = (found - expected).abs();
            assert!(difference <= 1e-6, "{dtype:?} at {index}: {found}, not {expected}");
        }
        let bytes = tensor.data().unwrap();
        let matrix = cuda::Matrix::new(session, format_of(dtype), n, k, &bytes).unwrap();
        for num_rows in [1, 2, 3, 5, 8, 9] {
            let x = random(num_rows * k, 99, 1.0);
            let rows = cuda::Rows::upload(session, &x, k).unwrap();
            let [out] = session.linear([(&matrix, None)], &rows).unwrap();
            let found = session.download(&out, num_rows).unwrap();
            let x = Tensor::from_vec(x, (num_rows, k), &CandleDevice::Cpu).unwrap();
            let expected = of(&x.matmul(&elements.t().unwrap()).unwrap());
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-3, "{dtype:?}: {found}, not {expected}");
            }
        }
    }
}

fn format_of(dtype: GgmlDType) -> WeightFormat {
    match dtype {
        GgmlDType::F32 => WeightFormat::F32,
        GgmlDType::F16 => WeightFormat::F16,
        GgmlDType::BF16 => WeightFormat::Bf16,
        GgmlDType::Q4_0 => WeightFormat::Q4_0,
        GgmlDType::Q4_1 => WeightFormat::Q4_1,
        GgmlDType::Q5_0 => WeightFormat::Q5_0,
        GgmlDType::Q5_1 => WeightFormat::Q5_1,
        GgmlDType::Q8_0 => WeightFormat::Q8_0,
        GgmlDType::Q2K => WeightFormat::Q2K,
        GgmlDType::Q3K => WeightFormat::Q3K,
        GgmlDType::Q4K => WeightFormat::Q4K,
        GgmlDType::Q5K => WeightFormat::Q5K,
        GgmlDType::Q6K => WeightFormat::Q6K,
        other => panic!("no file holds {other:?}"),
    }
}

const VOCAB_SIZE: usize = 97;

fn config(architecture: Architecture) -> ModelConfig {
    ModelConfig {
        architecture,
        vocab_size: VOCAB_SIZE,
        hidden_size: 256,
        intermediate_size: 512,
        num_layers: 2,
        num_attention_heads: 8,
        num_kv_heads: 2,
        head_dim: 64,
        rms_norm_eps: 1e-5,
        rope: RopeConfig {
            theta: 10_000.0,
            layout: match architecture {
                Architecture::Llama => RopeLayout::Adjacent,
                _ => RopeLayout::Halves,
            },
            scaling: RopeScaling::None,
        },
        max_position_embeddings: 512,
        tie_word_embeddings: false,
        qkv_bias: architecture == Architecture::Qwen2,
        qk_norm: architecture == Architecture::Qwen3,
    }
}

/// The same model for every device. The embedding of `broken` is NaN. On the CPU quantized weights
/// are their elements as floats: its products with quantized ones round activations to 8 bits, and
/// a GPU's do not.
fn decoder(
    config: &ModelConfig,
    dtype: GgmlDType,
    device: &Device,
    broken: Option<usize>,
) -> Decoder {
    let mut tensors = Vec::new();
    for (seed, slot) in slots(config).into_iter().enumerate() {
        let len: usize = slot.shape.iter().product();
        let is_norm = slot.name.contains("norm");
        let mut values = random(len, seed as u64 + 1, if is_norm { 0.2 } else { 0.1 });
        if is_norm {
            values.iter_mut().for_each(|value| *value += 1.0);
        }
        let is_vector = slot.shape.len() == 1;
        let mut dtype = if is_vector { GgmlDType::F32 } else { dtype };
        if slot.name == "token_embd.weight" {
            dtype = GgmlDType::F32;
            values.iter_mut().for_each(|value| *value *= 10.0);
            if let Some(id) = broken {
                values[id * config.hidden_size..][..config.hidden_size].fill(f32::NAN);
            }
        }
        let tensor = quantized(values, &slot.shape, dtype);
        let weight = match device {
            Device::Cuda(session) if !is_vector => {
                Weight::upload(session, &tensor.data().unwrap(), dtype, &slot.shape).unwrap()
            }
            _ => {
                let elements = tensor.dequantize(&CandleDevice::Cpu).unwrap();
                Weight::new(QTensor::quantize(&elements, GgmlDType::F32).unwrap()).unwrap()
            }
        };
        tensors.push((slot.name, weight));
    }
    let mut tensors: TensorMap = tensors.into_iter().collect();
    Decoder::new(config.clone(), &mut tensors).unwrap()
}

const BLOCK_SIZE: usize = 16;

fn kv_cache(config: &ModelConfig, dtype: KvDtype, device: &Device) -> KvCache {
    let config = KvCacheConfig {
        num_layers: config.num_layers,
        num_kv_heads: config.num_kv_heads,
        head_dim: config.head_dim,
        dtype,
        block_size: BLOCK_SIZE,
        num_blocks: 64,
    };
    KvCache::new(config, device).unwrap()
}

/// A sequence's rows in a step: its number, tokens, and how many came before.
type Part<'a> = (usize, &'a [u32], usize);

/// Sequences own every seventh block, so that their blocks lie between each other's.
fn input(parts: &[Part<'_>]) -> ModelInput {
    let mut input = ModelInput::default();
    for &(seq, token_ids, num_computed) in parts {
        let start = input.num_rows();
        let context_len = num_computed + token_ids.len();
        input.token_ids.extend(token_ids);
        input.positions.extend(num_computed as u32..context_len as u32);
        input.seqs.push(SeqInput {
            rows: start..start + token_ids.len(),
            context_len,
            block_table: (0..9).map(|block| (block * 7 + seq) as u32).collect(),
            num_logits: token_ids.len(),
        });
    }
    input
}

fn run(decoder: &mut Decoder, cache: &mut KvCache, parts: &[Part<'_>]) -> Vec<Vec<f32>> {
    let logits = decoder.forward(&input(parts), cache).unwrap().fetched().unwrap();
    (0..logits.num_rows()).map(|row| logits.row(row).to_vec()).collect()
}

/// ‖found − expected‖ / ‖expected‖.
fn relative_error(found: &[f32], expected: &[f32]) -> f64 {
    let square = |x: f64| x * x;
    let difference: f64 =
        found.iter().zip(expected).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
    let norm: f64 = expected.iter().map(|x| square(f64::from(*x))).sum();
    (difference / norm).sqrt()
}

fn assert_near(found: &[Vec<f32>], expected: &[Vec<f32>], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (row, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = relative_error(found, expected);
        assert!(error < tolerance, "{what}, row {row}: off by {error}");
    }
}

fn tokens(seed: u32, len: usize) -> Vec<u32> {
    (0..len as u32).map(|i| (i * i * 31 + i * seed + 7) % VOCAB_SIZE as u32).collect()
}

/// A prompt in two chunks and steps behind it: enough rows for products by cuBLASLt, few enough for
/// our own, and steps enough for the graph to be captured and replayed.
#[test]
fn logits_are_those_of_the_cpu() {
    let Some((_, _turn)) = gpu() else { return };
    let cases = [
        (Architecture::Llama, GgmlDType::F32, KvDtype::F16, 2e-2),
        (Architecture::Llama, GgmlDType::Q4K, KvDtype::F16, 2e-2),
        (Architecture::Qwen2, GgmlDType::BF16, KvDtype::Bf16, 2e-2),
        (Architecture::Qwen2, GgmlDType::Q6K, KvDtype::F16, 2e-2),
        (Architecture::Qwen3, GgmlDType::F16, KvDtype::F16, 2e-2),
        (Architecture::Qwen3, GgmlDType::Q8_0, KvDtype::F16, 2e-2),
    ];
    for (architecture, dtype, kv, tolerance) in cases {
        let config = config(architecture);
        let prompt = tokens(5, 71);
        let steps: Vec<Part<'_>> = vec![
            (0, &prompt[..40], 0),
            (0, &prompt[40..43], 40),
            (0, &prompt[43..66], 43),
            (0, &prompt[66..67], 66),
            (0, &prompt[67..68], 67),
            (0, &prompt[68..69], 68),
            (0, &prompt[69..71], 69),
        ];
        let on = |device: &Device| -> Vec<Vec<f32>> {
            let mut decoder = decoder(&config, dtype, device, None);
            let mut cache = kv_cache(&config, kv, device);
            steps.iter().flat_map(|step| run(&mut decoder, &mut cache, &[*step])).collect()
        };
        let what = format!("{architecture:?} {dtype:?} {kv:?}");
        let device = Device::open(DeviceChoice::Cuda(0)).unwrap();
        assert_near(&on(&device), &on(&Device::Cpu), tolerance, &what);
    }
}

#[test]
fn sequences_side_by_side_are_as_alone_and_decode_steps_are_replayed() {
    let Some((device, _turn)) = gpu() else { return };
    let config = config(Architecture::Qwen2);
    let prompts: Vec<Vec<u32>> = (0..5).map(|seq| tokens(seq + 3, 30 + 7 * seq as usize)).collect();
    let start = |prompt: &[u32]| prompt.len() - STEPS;
    let mut decoder = decoder(&config, GgmlDType::Q4K, &device, None);
    let mut alone = |seq: usize, prompt: &[u32]| -> Vec<Vec<f32>> {
        let mut cache = kv_cache(&config, KvDtype::F16, &device);
        run(&mut decoder, &mut cache, &[(seq, &prompt[..start(prompt)], 0)]);
        let mut step = |at: usize| run(&mut decoder, &mut cache, &[(seq, &prompt[at..at + 1], at)]);
        let mut rows = step(start(prompt));
        let graphs = session(&device).num_graphs();
        assert_eq!(graphs, 0, "steps over a cache that is gone are not replayed over another");
        rows.extend((start(prompt) + 1..prompt.len()).flat_map(step));
        rows
    };
    let expected: Vec<_> =
        prompts.iter().enumerate().map(|(seq, prompt)| alone(seq, prompt)).collect();
    assert_eq!(alone(0, &prompts[0]), expected[0], "the same steps have the same bits");

    let mut cache = kv_cache(&config, KvDtype::F16, &device);
    let all = |rows: &dyn Fn(&[u32]) -> std::ops::Range<usize>| -> Vec<(usize, Vec<u32>, usize)> {
        let part = |(seq, prompt): (usize, &Vec<u32>)| {
            let rows = rows(prompt);
            (seq, prompt[rows.clone()].to_vec(), rows.start)
        };
        prompts.iter().enumerate().map(part).collect()
    };
    let mut together = |parts: &[(usize, Vec<u32>, usize)]| {
        let parts: Vec<Part<'_>> =
            parts.iter().map(|(seq, ids, before)| (*seq, ids.as_slice(), *before)).collect();
        run(&mut decoder, &mut cache, &parts)
    };
    together(&all(&|prompt| 0..start(prompt)));
    for at in 0..STEPS {
        let found = together(&all(&|prompt| start(prompt) + at..start(prompt) + at + 1));
        let expected: Vec<_> = expected.iter().map(|steps| steps[at].clone()).collect();
        // Prompts of other lengths are multiplied in other shapes, which round differently.
        assert_near(&found, &expected, 2e-2, &format!("step {at}"));
    }
    // Of a sequence alone, and of five, which are computed as eight.
    assert!(session(&device).num_graphs() >= 1, "no decode step was captured");
}

/// Steps of a decode: computed as they come, captured, replayed twice.
const STEPS: usize = 4;

#[test]
fn nan_in_one_row_is_in_no_other() {
    let Some((device, _turn)) = gpu() else { return };
    let config = config(Architecture::Llama);
    let mut decoder = decoder(&config, GgmlDType::BF16, &device, Some(13));
    let mut cache = kv_cache(&config, KvDtype::F16, &device);
    let prompt: Vec<u32> =
        tokens(3, 20).iter().map(|id| if *id == 13 { 14 } else { *id }).collect();
    // The broken sequence comes between the two others, as a prompt, and then in a decode step.
    let found = run(&mut decoder, &mut cache, &[(0, &prompt, 0), (1, &[13], 0), (2, &prompt, 0)]);
    let (first, last) = (&found[..20], &found[21..]);
    assert!(first.iter().chain(last).flatten().all(|x| x.is_finite()));
    assert!(found[20].iter().all(|x| x.is_nan()));
    for at in 20..20 + STEPS {
        let parts = [(0, &[5][..], at), (1, &[6][..], at - 19), (2, &[5][..], at)];
        let found = run(&mut decoder, &mut cache, &parts);
        assert!(found[0].iter().chain(&found[2]).all(|x| x.is_finite()), "step {at}");
        assert!(found[1].iter().all(|x| x.is_nan()), "step {at}");
    }
}

#[test]
fn a_step_without_wanted_rows_writes_keys_and_values() {
    let Some((device, _turn)) = gpu() else { return };
    let config = config(Architecture::Llama);
    let mut decoder = decoder(&config, GgmlDType::Q8_0, &device, None);
    let prompt = tokens(9, 40);
    let mut whole = kv_cache(&config, KvDtype::F16, &device);
    let expected = run(&mut decoder, &mut whole, &[(0, &prompt, 0)]).pop().unwrap();
    let mut cut = kv_cache(&config, KvDtype::F16, &device);
    let mut first = input(&[(0, &prompt[..39], 0)]);
    first.seqs[0].num_logits = 0;
    assert_eq!(decoder.forward(&first, &mut cut).unwrap().num_rows(), 0);
    let found = run(&mut decoder, &mut cut, &[(0, &prompt[39..], 39)]);
    assert_near(&found, &[expected], 2e-2, "behind 39 tokens");
}

/// What a client sends cannot make a kernel look outside of what there is.
#[test]
fn tokens_positions_and_blocks_that_are_not_there_fail_the_step_and_no_other() {
    let Some((device, _turn)) = gpu() else { return };
    let config = config(Architecture::Llama);
    let mut decoder = decoder(&config, GgmlDType::F32, &device, None);
    let mut cache = kv_cache(&config, KvDtype::F16, &device);
    let good = input(&[(0, &[1], 0)]);
    let expected = decoder.forward(&good, &mut cache).unwrap().fetched().unwrap().row(0).to_vec();
    let mut bad_token = good.clone();
    bad_token.token_ids[0] = VOCAB_SIZE as u32;
    let mut bad_position = good.clone();
    bad_position.positions[0] = 512;
    let mut bad_block = good.clone();
    bad_block.seqs[0].block_table = Arc::new([64]);
    for (input, what) in [(bad_token, "token"), (bad_position, "position"), (bad_block, "block")] {
        assert!(decoder.forward(&input, &mut cache).is_err(), "{what}");
    }
    assert_eq!(decoder.forward(&good, &mut cache).unwrap().fetched().unwrap().row(0), expected);
}

#[test]
fn a_cache_that_a_gpu_cannot_keep_is_refused() {
    let Some((device, _turn)) = gpu() else { return };
    let of = |dtype: KvDtype, head_dim: usize, num_blocks: usize| {
        let config = KvCacheConfig {
            num_layers: 1,
            num_kv_heads: 1,
            head_dim,
            dtype,
            block_size: BLOCK_SIZE,
            num_blocks,
        };
        KvCache::new(config, &device).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(of(KvDtype::F16, 64, 1), Ok(()));
    assert!(of(KvDtype::F32, 64, 1).unwrap_err().contains("f16 or bf16"));
    assert!(of(KvDtype::Q8_0, 64, 1).unwrap_err().contains("f16 or bf16"));
    assert!(of(KvDtype::F16, 96, 1).unwrap_err().contains("64"));
    assert!(of(KvDtype::F16, 128, 1 << 32).unwrap_err().contains("memory"));
}

#[test]
fn a_warm_up_takes_what_the_largest_steps_need() {
    let Some((device, _turn)) = gpu() else { return };
    let config = config(Architecture::Qwen3);
    let mut decoder = decoder(&config, GgmlDType::Q4K, &device, None);
    warm_up(&mut decoder, KvDtype::F16, (100, 9), &device).unwrap();
    let free = device.free_bytes().unwrap().unwrap();
    assert!(free < device.total_bytes().unwrap());
    let mut cache = kv_cache(&config, KvDtype::F16, &device);
    let with_cache = device.free_bytes().unwrap().unwrap();
    run(&mut decoder, &mut cache, &[(0, &tokens(2, 90), 0)]);
    let logits = decoder.forward(&input(&[(0, &[1], 90)]), &mut cache).unwrap();
    logits.as_distant().unwrap().blocks(&[(0, 0)]).unwrap();
    assert_eq!(device.free_bytes().unwrap().unwrap(), with_cache, "a step took more memory");
}
