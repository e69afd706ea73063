//! A real model on the CPU, as floats, and on the GPU: how it reads and goes on with plain text.

use std::path::Path;

use anyhow::ensure;

use crate::cli::{bench::gpu_check::Texts, eval, progress};
use crate::model::{Checkpoint, Device, DeviceChoice, weights::LoadOptions};

use super::check::{Check, Limit, SAME_TEXTS_MIN};
use super::pair::{LONGEST, Model, larger, largest_error, same_texts};
use super::tolerance::logits_error_max;

/// Each with each, a prompt.
const OPENINGS: [&str; 10] = [
    "The most important thing to know about",
    "When my grandmother was young,",
    "Question: What is the difference between",
    "In the year 1969, scientists who studied",
    "Here is a short list of facts about",
    "Dear Sir or Madam, I am writing to you because of",
    "def main():\n    # This program is about",
    "Once upon a time there was a kingdom without",
    "The price of everything depends on",
    "Chapter 1. An introduction to",
];
const SUBJECTS: [&str; 10] = [
    "rain and snow",
    "the railways of Europe",
    "prime numbers",
    "bread",
    "the moon",
    "antibiotics",
    "sleeping dogs",
    "elections",
    "violins and violas",
    "computer memory",
];

/// `tell` is told of each as it comes.
pub(super) fn checks(
    path: &Path,
    name: &str,
    device: DeviceChoice,
    texts: Texts,
    tell: &mut dyn FnMut(Check) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let checkpoint = Checkpoint::open(path)?;
    let prompts = prompts(&checkpoint, texts.num)?;
    let config = checkpoint.config();
    let gpu = Device::open(device)?;
    let load = |device: &Device| {
        let bar = progress::bytes("loading", checkpoint.num_bytes());
        let options =
            LoadOptions { device, quantize: None, progress: &|done, _| bar.set_position(done) };
        let tensors = checkpoint.load(&options);
        bar.finish_and_clear();
        tensors
    };
    let tensors = load(&gpu)?;
    let tolerance = logits_error_max(config, tensors.matrix_types());
    let mut gpu = Model::new(config, tensors, &gpu, texts.side_by_side)?;
    let tensors = load(&Device::Cpu)?.into_floats()?;
    let mut cpu = Model::new(config, tensors, &Device::Cpu, texts.side_by_side)?;
    let mut note = |what: &str, found: f64, limit: Limit| {
        tell(Check { name: format!("{name}: {what}"), found, limit })
    };
    let (mut from_cpu, mut from_alone) = (0.0, 0.0);
    for prompts in prompts.chunks(texts.side_by_side) {
        let parts: Vec<_> = prompts
            .iter()
            .enumerate()
            .map(|(seq, prompt)| (seq, prompt.as_slice(), 0, prompt.len()))
            .collect();
        let mut together = gpu.logits(&parts)?.into_iter();
        for prompt in prompts {
            let alone = gpu.prompt_logits(prompt)?;
            let beside: Vec<_> = together.by_ref().take(prompt.len()).collect();
            from_alone = larger(from_alone, largest_error(&beside, &alone));
            from_cpu = larger(from_cpu, largest_error(&alone, &cpu.prompt_logits(prompt)?));
        }
    }
    note("prompts", from_cpu, Limit::AtMost(tolerance))?;
    note("prompts side by side as alone", from_alone, Limit::AtMost(tolerance))?;
    let share = same_texts(&mut gpu, &mut cpu, &prompts, texts)?;
    note("texts that are the same", share, Limit::AtLeast(SAME_TEXTS_MIN))
}

fn prompts(checkpoint: &Checkpoint, num: usize) -> anyhow::Result<Vec<Vec<u32>>> {
    let tokenizer = eval::tokenizer_of(checkpoint)?;
    let pairs = SUBJECTS.iter().flat_map(|subject| OPENINGS.map(|opening| (opening, subject)));
    let mut prompts = Vec::new();
    for (opening, subject) in pairs.take(num) {
        let mut prompt: Vec<u32> = tokenizer.bos_id().into_iter().collect();
        prompt.extend(tokenizer.encode(&format!("{opening} {subject}"))?);
        ensure!(prompt.len() + Texts::FULL.tokens <= LONGEST, "the tokenizer makes long prompts");
        prompts.push(prompt);
    }
    Ok(prompts)
}
