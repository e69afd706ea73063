//! Where models compute.

use std::path::PathBuf;

use clap::Args;

use crate::cli::args::model::model_source;
use crate::cli::args::values;
use crate::cli::bench::gpu_check::{GpuCheckOptions, SHAPES};
use crate::ops::DeviceChoice;

#[derive(Debug, Clone, Args)]
pub(super) struct DeviceArgs {
    /// Where models compute: cpu; cuda, or cuda:N for the Nth GPU from 0 on; auto takes the first
    /// GPU that this program can use, and else the CPU
    #[arg(
        long, env = "OUTCROP_DEVICE", value_name = "DEVICE", default_value = "auto",
        value_parser = device
    )]
    pub device: DeviceChoice,
}

#[derive(Debug, Clone, Args)]
pub(super) struct GpuMemoryArgs {
    /// Share of a GPU's memory that this program takes, weights included; what they and the largest
    /// step leave of it holds keys and values
    #[arg(
        long, env = "OUTCROP_GPU_MEMORY_FRACTION", value_name = "F", default_value = "0.9",
        value_parser = |text: &str| values::number(text, 0.05, 1.0)
    )]
    pub gpu_memory_fraction: f32,
}

#[derive(Debug, Args)]
pub(super) struct GpuCheckArgs {
    #[command(flatten)]
    device: DeviceArgs,
    /// A checkpoint to compare as well, by id, file or directory: what it makes of a hundred
    /// prompts on the CPU, with its weights as 32-bit floats, and on the GPU
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Texts that are compared for each model, 100 at most; by default 100, and 4 with --quick
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    prompts: Option<u16>,
    /// Compare little, and measure a small made-up shape only: tries the check itself
    #[arg(long)]
    quick: bool,
    /// Catalogue models whose shapes are measured, with random weights; none: compare only
    #[arg(long, value_name = "ID,…", value_delimiter = ',', default_value = SHAPES)]
    shapes: Vec<String>,
    /// Also write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl GpuCheckArgs {
    pub(super) fn into_options(self) -> Result<GpuCheckOptions, clap::Error> {
        Ok(GpuCheckOptions {
            // Without a GPU there is nothing to check, and the error says what is missing.
            device: match self.device.device {
                DeviceChoice::Auto => DeviceChoice::Cuda(0),
                chosen => chosen,
            },
            model: self.model.map(|model| model_source("--model", &model)).transpose()?,
            shapes: self.shapes.into_iter().filter(|id| id != "none").collect(),
            num_prompts: self.prompts.map(usize::from),
            quick: self.quick,
            json: self.json,
        })
    }
}

fn device(text: &str) -> Result<DeviceChoice, String> {
    match text.split_once(':') {
        None if text == "auto" => Ok(DeviceChoice::Auto),
        None if text == "cpu" => Ok(DeviceChoice::Cpu),
        None if text == "cuda" => Ok(DeviceChoice::Cuda(0)),
        Some(("cuda", ordinal)) => {
            let wrong = |_| "the number of a GPU is a whole number from 0 on".to_owned();
            ordinal.parse::<u8>().map(|ordinal| DeviceChoice::Cuda(ordinal.into())).map_err(wrong)
        }
        _ => Err("must be auto, cpu, cuda, or cuda:N".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_named_in_full() {
        assert_eq!(device("auto"), Ok(DeviceChoice::Auto));
        assert_eq!(device("cpu"), Ok(DeviceChoice::Cpu));
        assert_eq!(device("cuda"), Ok(DeviceChoice::Cuda(0)));
        assert_eq!(device("cuda:7"), Ok(DeviceChoice::Cuda(7)));
        for wrong in ["", "gpu", "cuda:", "cuda:-1", "cuda:256", "cpu:0", "CUDA"] {
            assert!(device(wrong).is_err(), "{wrong}");
        }
    }
}
