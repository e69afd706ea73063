//! Whose sampling parameters count: the client's, then the checkpoint's, then the program's.

use uuid::Uuid;

use crate::chat::SamplingDefaults;
use crate::engine::SamplingParams;
use crate::pipeline::SamplingOverrides;

/// The recommendation of DeepSeek-R1's model card: greedy decoding makes distills repeat
/// themselves without end.
const TEMPERATURE: f32 = 0.6;
const TOP_P: f32 = 0.95;

/// A request without a seed gets a random one, so that the engine's sampling is always a function
/// of the seed.
pub(super) fn resolve(client: SamplingOverrides, checkpoint: SamplingDefaults) -> SamplingParams {
    SamplingParams {
        temperature: client.temperature.or(checkpoint.temperature).unwrap_or(TEMPERATURE),
        top_p: client.top_p.or(checkpoint.top_p).unwrap_or(TOP_P),
        top_k: client.top_k.or(checkpoint.top_k).unwrap_or(0),
        min_p: client.min_p.unwrap_or(0.0),
        repetition_penalty: client
            .repetition_penalty
            .or(checkpoint.repetition_penalty)
            .unwrap_or(1.0),
        seed: client.seed.unwrap_or_else(|| Uuid::new_v4().as_u64_pair().0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_wins_over_the_checkpoint_and_the_checkpoint_over_the_program() {
        let client = SamplingOverrides { temperature: Some(0.0), ..Default::default() };
        let checkpoint = SamplingDefaults {
            temperature: Some(0.7),
            top_p: Some(0.8),
            top_k: Some(20),
            repetition_penalty: Some(1.1),
        };
        let params = resolve(client, checkpoint);
        assert_eq!((params.temperature, params.top_p), (0.0, 0.8));
        assert_eq!((params.top_k, params.repetition_penalty), (20, 1.1));

        let params = resolve(SamplingOverrides::default(), SamplingDefaults::default());
        assert_eq!((params.temperature, params.top_p), (0.6, 0.95));
        assert_eq!((params.top_k, params.min_p, params.repetition_penalty), (0, 0.0, 1.0));
    }

    #[test]
    fn seeds_differ_unless_given() {
        let seed_of = |seed| {
            let client = SamplingOverrides { seed, ..Default::default() };
            resolve(client, SamplingDefaults::default()).seed
        };
        assert_eq!(seed_of(Some(7)), 7);
        assert_ne!(seed_of(None), seed_of(None));
    }
}
