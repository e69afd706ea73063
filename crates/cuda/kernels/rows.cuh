// Norms, rope with the write to the KV cache, gates and biases.
#pragma once

#include "activations.cuh"

#define FOR_EACH_FLOAT(with) with(f32, float) with(f16, half_t) with(bf16, bf16_t)

struct RmsNormArgs {
    // [any, k]
    float* x;
    // [any, k], added to `x` in place before; null for nothing
    const float* delta;
    // [k]
    const float* weight;
    // Rows of `x` to norm; null norms row `i` as the `i`th. With `delta` it is null.
    const int32_t* ids;
    // [num_rows, k]; may be `x`
    void* out;
    // [num_rows, integers_bytes(k)]: the same as integers; null for nothing, else `k` is whole blocks
    uint8_t* integers;
    int32_t k;
    float eps;
};

// A step of one row waits for its norms, which are loads that wait for each other.
const int NORM_THREADS = 1024;

// A block for each row.
template <class T> DEVICE void rms_norm(const RmsNormArgs& args) {
    int64_t row = blockIdx.x;
    int64_t from = args.ids ? args.ids[row] : row;
    float* x = args.x + from * args.k;
    float sum = 0;
    for (int i = threadIdx.x; i < args.k; i += blockDim.x) {
        float value = x[i];
        if (args.delta) {
            value += args.delta[from * args.k + i];
            x[i] = value;
        }
        sum = fmaf(value, value, sum);
    }
    sum = block_sum(sum, reinterpret_cast<float*>(shared_memory()));
    float scale = 1.0f / sqrtf(sum / float(args.k) + args.eps);
    T* out = static_cast<T*>(args.out) + row * args.k;
    for (int i = threadIdx.x; i < args.k; i += blockDim.x) {
        float value = x[i] * scale * args.weight[i];
        from_float(value, out[i]);
        if (!args.integers) continue;
        int start = i - threadIdx.x % 32;
        write_integers(args.integers + row * integers_bytes(args.k), args.k, start, value);
    }
}

#define RMS_NORM(suffix, T) KERNEL(rms_norm_##suffix, RmsNormArgs, NORM_THREADS, rms_norm<T>)
FOR_EACH_FLOAT(RMS_NORM)

struct AddArgs {
    // [len]
    float* x;
    // [period]: element `i % period` is added to element `i`
    const float* other;
    int64_t len;
    int64_t period;
};

const int ELEMENT_THREADS = 256;

DEVICE void add_in_turn(const AddArgs& args) {
    int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i < args.len) args.x[i] += args.other[i % args.period];
}
KERNEL(add, AddArgs, ELEMENT_THREADS, add_in_turn)

struct SiluMulArgs {
    const float* gate;
    const float* up;
    void* out;
    int64_t len;
};

template <class T> DEVICE void silu_mul(const SiluMulArgs& args) {
    int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= args.len) return;
    float gate = args.gate[i];
    from_float(gate / (1.0f + expf(-gate)) * args.up[i], static_cast<T*>(args.out)[i]);
}

#define SILU_MUL(suffix, T)                                                                      \
    KERNEL(silu_mul_##suffix, SiluMulArgs, ELEMENT_THREADS, silu_mul<T>)
FOR_EACH_FLOAT(SILU_MUL)

struct RopeWriteArgs {
    // [num_rows, num_heads * head_dim], rotated in place
    float* queries;
    // [num_rows, num_kv_heads * head_dim]
    const float* keys;
    const float* values;
    // [positions, head_dim / 2]: cosine and sine of each pair
    const float2* rotations;
    const int32_t* positions;
    // Where a row's key and value go: `block * block_size + place`; negative for nowhere
    const int64_t* slots;
    // [num_blocks, num_kv_heads, block_size, head_dim]
    void* key_cache;
    void* value_cache;
    int32_t num_heads;
    int32_t num_kv_heads;
    int32_t head_dim;
    int32_t block_size;
    // Pairs are neighbours, else halves of a head
    int32_t adjacent;
    int32_t reserved;
};

const int ROPE_THREADS = 128;

// Blocks of a row share the pairs of all heads of queries, keys and values.
template <class T> DEVICE void rope_write(const RopeWriteArgs& args) {
    int64_t row = blockIdx.x;
    int half = args.head_dim / 2;
    const float2* rotation = args.rotations + int64_t(args.positions[row]) * half;
    int64_t slot = args.slots[row];
    int64_t block = slot / args.block_size, place = slot % args.block_size;
    int num_heads = args.num_heads, num_kv_heads = args.num_kv_heads;
    int pairs = (num_heads + 2 * num_kv_heads) * half;
    int step = gridDim.y * blockDim.x;
    for (int i = blockIdx.y * blockDim.x + threadIdx.x; i < pairs; i += step) {
        int head = i / half, pair = i % half;
        int first = args.adjacent ? pair * 2 : pair;
        int second = args.adjacent ? first + 1 : first + half;
        float2 turn = rotation[pair];
        if (head < num_heads) {
            float* query = args.queries + (row * num_heads + head) * args.head_dim;
            float a = query[first], b = query[second];
            query[first] = a * turn.x - b * turn.y;
            query[second] = a * turn.y + b * turn.x;
            continue;
        }
        if (slot < 0) continue;
        bool is_key = head < num_heads + num_kv_heads;
        head -= is_key ? num_heads : num_heads + num_kv_heads;
        const float* from = is_key ? args.keys : args.values;
        from += (row * num_kv_heads + head) * args.head_dim;
        float a = from[first], b = from[second];
        T* to = static_cast<T*>(is_key ? args.key_cache : args.value_cache);
        to += ((block * num_kv_heads + head) * args.block_size + place) * args.head_dim;
        from_float(is_key ? a * turn.x - b * turn.y : a, to[first]);
        from_float(is_key ? a * turn.y + b * turn.x : b, to[second]);
    }
}
KERNEL(rope_write_f16, RopeWriteArgs, ROPE_THREADS, rope_write<half_t>)
KERNEL(rope_write_bf16, RopeWriteArgs, ROPE_THREADS, rope_write<bf16_t>)
