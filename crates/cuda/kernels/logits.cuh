// What sampling reads of rows of logits, so that the rows themselves stay where they are: the largest
// logit of each block of 256, what a block weighs at a temperature, and blocks as they are.
//
// Weights have the bits of the host's sampler, which goes on with them: the same operations on the
// same numbers in the same order, none of them fused.
#pragma once

#include "device.cuh"

const int LOGITS_BLOCK = 256;
const int LOGITS_WARPS = 4;

struct BlockMaximaArgs {
    // [num_rows, width]
    const float* logits;
    // [num_rows, num_blocks]: infinite for a block with a NaN or an infinity in it
    float* maxima;
    int32_t width;
    int32_t num_blocks;
};

// A warp for each block; the grid's first dimension is rows, the only one that may be long.
DEVICE void find_maxima(const BlockMaximaArgs& args) {
    int lane = threadIdx.x % 32;
    int block = blockIdx.y * LOGITS_WARPS + threadIdx.x / 32;
    if (block >= args.num_blocks) return;
    int64_t row = blockIdx.x;
    const float* logits = args.logits + row * args.width;
    float most = -INFINITY;
#pragma unroll
    for (int i = 0; i < LOGITS_BLOCK / 32; i++) {
        int at = block * LOGITS_BLOCK + i * 32 + lane;
        float logit = at < args.width ? logits[at] : -INFINITY;
        // True of a NaN as well, which a maximum would pass over.
        if (!(logit < INFINITY)) logit = INFINITY;
        most = fmaxf(most, logit);
    }
    most = warp_max(most);
    if (lane == 0) args.maxima[row * args.num_blocks + block] = most;
}
KERNEL(block_maxima, BlockMaximaArgs, LOGITS_WARPS * 32, find_maxima)

// A row whose blocks are to be weighed: by `e^((logit - max) * inverse_temperature)`, nothing below
// `least`.
struct WeighRow {
    int32_t row;
    float max;
    float inverse_temperature;
    float least;
};

struct WeighArgs {
    const float* logits;
    const WeighRow* rows;
    // [rows, num_blocks]
    float* weights;
    int32_t width;
    int32_t num_blocks;
};

// Eight lanes of the host's vectors, each its own sum.
const int WEIGH_LANES = 8;
// What is less likely than 2^-40 of the likeliest is never drawn.
#define NEGLIGIBLE_NATS 27.7f

// e^x for x in [-28, 0], as the host has it.
DEVICE float exp_of_nats(float x) {
    const float ROUND = 12582912.0f;
    float shifted = plus(times(x, 1.44269504088896340736f), ROUND);
    float n = plus(shifted, -ROUND);
    float r = plus(plus(x, -times(n, 0.6933594f)), -times(n, -2.1219444e-4f));
    float series = plus(1.0f / 120.0f, times(r, plus(1.0f / 720.0f, times(r, 1.0f / 5040.0f))));
    series = plus(1.0f / 6.0f, times(r, plus(1.0f / 24.0f, times(r, series))));
    series = plus(1.0f, times(r, plus(1.0f, times(r, plus(0.5f, times(r, series))))));
    uint32_t exponent = bits_of(shifted) - bits_of(ROUND);
    return times(series, float_of((exponent + 127) << 23));
}

DEVICE float weight_of(const WeighRow& row, float logit) {
    float nats = times(plus(logit, -row.max), row.inverse_temperature);
    bool is_negligible = nats < -NEGLIGIBLE_NATS;
    float weight = exp_of_nats(is_negligible ? -NEGLIGIBLE_NATS : nats);
    return is_negligible || weight < row.least ? 0.0f : weight;
}

// Eight lanes of a warp for each block.
DEVICE void weigh_blocks(const WeighArgs& args) {
    int lane = threadIdx.x % WEIGH_LANES;
    int blocks_each = LOGITS_WARPS * 32 / WEIGH_LANES;
    int block = blockIdx.y * blocks_each + threadIdx.x / WEIGH_LANES;
    WeighRow row = args.rows[blockIdx.x];
    const float* logits = args.logits + int64_t(row.row) * args.width;
    int stop = (block + 1) * LOGITS_BLOCK < args.width ? (block + 1) * LOGITS_BLOCK : args.width;
    float sum = 0;
#pragma unroll 8
    for (int at = block * LOGITS_BLOCK + lane; at < stop; at += WEIGH_LANES)
        sum = plus(sum, weight_of(row, logits[at]));
    // The first lane adds the sums in their order; what the others add is left.
    float total = sum;
    for (int other = 1; other < WEIGH_LANES; other++) total = plus(total, shuffle_xor(sum, other));
    if (lane == 0 && block < args.num_blocks)
        args.weights[int64_t(blockIdx.x) * args.num_blocks + block] = total;
}
KERNEL(weigh, WeighArgs, LOGITS_WARPS * 32, weigh_blocks)

struct LogitsBlock {
    int32_t row;
    int32_t block;
};

struct CopyBlocksArgs {
    const float* logits;
    const LogitsBlock* blocks;
    // [num_blocks, 256]; behind a row's end negative infinity
    float* out;
    int32_t width;
    int32_t num_blocks;
};

// A warp for each block that is wanted.
DEVICE void gather_blocks(const CopyBlocksArgs& args) {
    int lane = threadIdx.x % 32;
    int index = blockIdx.x * LOGITS_WARPS + threadIdx.x / 32;
    if (index >= args.num_blocks) return;
    LogitsBlock from = args.blocks[index];
    const float* logits = args.logits + int64_t(from.row) * args.width;
#pragma unroll
    for (int i = 0; i < LOGITS_BLOCK / 32; i++) {
        int at = from.block * LOGITS_BLOCK + i * 32 + lane;
        args.out[int64_t(index) * LOGITS_BLOCK + i * 32 + lane] =
            at < args.width ? logits[at] : -INFINITY;
    }
}
KERNEL(copy_blocks, CopyBlocksArgs, LOGITS_WARPS * 32, gather_blocks)
