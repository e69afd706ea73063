//! The largest steps before the first request: what they need stays taken, so that what is free
//! afterwards is free for good.

use std::sync::Arc;

use crate::limits::KV_BLOCK_SIZE;
use crate::model::{
    CausalLm, Device, KvCache, KvCacheConfig, KvDtype, ModelError, ModelInput, SeqInput, WeighRow,
};

/// Computes a prompt of `num_rows` tokens and a step of `num_seqs` sequences, over a cache that is
/// given back.
pub fn warm_up(
    model: &mut dyn CausalLm,
    dtype: KvDtype,
    (num_rows, num_seqs): (usize, usize),
    device: &Device,
) -> Result<(), ModelError> {
    let config = model.config();
    let num_rows = num_rows.min(config.max_position_embeddings);
    let mut kv = KvCacheConfig::for_budget(config, dtype, KV_BLOCK_SIZE, 0);
    kv.num_blocks = num_rows.div_ceil(KV_BLOCK_SIZE).max(num_seqs);
    let mut kv_cache = KvCache::new(kv, device)?;
    let table: Arc<[u32]> = (0..num_rows.div_ceil(KV_BLOCK_SIZE) as u32).collect();
    let prompt = ModelInput {
        token_ids: vec![0; num_rows],
        positions: (0..num_rows as u32).collect(),
        seqs: vec![SeqInput {
            rows: 0..num_rows,
            context_len: num_rows,
            block_table: table,
            num_logits: 1,
        }],
    };
    model.forward(&prompt, &mut kv_cache)?;
    let seq = |id: usize| SeqInput {
        rows: id..id + 1,
        context_len: 1,
        block_table: Arc::new([id as u32]),
        num_logits: 1,
    };
    let step = ModelInput {
        token_ids: vec![0; num_seqs],
        positions: vec![0; num_seqs],
        seqs: (0..num_seqs).map(seq).collect(),
    };
    let logits = model.forward(&step, &mut kv_cache)?;
    if let Some(distant) = logits.as_distant() {
        // What draws are read through is allocated as it is first used.
        let (row, max, inverse_temperature, least) = (0, 0.0, 1.0, 0.0);
        distant.weigh(&[WeighRow { row, max, inverse_temperature, least }])?;
        distant.blocks(&[(0, 0)])?;
    }
    Ok(())
}
