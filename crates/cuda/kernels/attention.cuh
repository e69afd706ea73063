// Causal attention over the paged KV cache, on the matrix units.
//
// Query heads that share a KV head are computed together: the rows of a matrix are pairs (row of the
// sequence, head of the group), `m = row * group + head`, so keys and values are read once for a
// group. A tile is 16 rows `m` for each warp that has rows of its own. Softmax is the online one, to
// the base of two.
#pragma once

#include "activations.cuh"

// Rows of a step that belong to one sequence, its last ones.
struct AttentionSeq {
    int32_t first_row;
    int32_t num_rows;
    // Positions whose keys and values exist; 0 for a sequence that fills a batch up
    int32_t context_len;
    // Where its block table begins in `tables`
    int32_t table_start;
};

// A tile's sequence and first row `m`.
struct AttentionTile {
    int32_t seq;
    int32_t first;
};

struct AttentionArgs {
    // [num_rows, num_heads * head_dim]
    const float* queries;
    // [num_blocks, num_kv_heads, block_size, head_dim]
    const void* keys;
    const void* values;
    const AttentionSeq* seqs;
    const AttentionTile* tiles;
    const int32_t* tables;
    // [num_rows, num_heads * head_dim] of type `out_type`
    void* out;
    // Decode: [num_tiles, num_kv_heads, num_splits, 16 * (head_dim + 2)]: sums, maxima, weights
    float* partials;
    // Of what `attention_merge` writes: [num_rows, integers_bytes(num_heads * head_dim)], or null
    uint8_t* integers;
    int32_t num_heads;
    int32_t num_kv_heads;
    int32_t block_size;
    int32_t num_splits;
    // Of scores, times the logarithm of e to the base of two
    float scale;
    // As `store` has them
    int32_t out_type;
};

DEVICE void store(float value, void* out, int64_t at, int type) {
    if (type == 0) static_cast<float*>(out)[at] = value;
    if (type == 1) from_float(value, static_cast<half_t*>(out)[at]);
    if (type == 2) from_float(value, static_cast<bf16_t*>(out)[at]);
}

const int ATTENTION_WARPS = 4;
// Of a decode kernel on a multiprocessor, so that some load while others compute: contexts are split
// for as many.
const int DECODE_BLOCKS = 3;
// Positions of keys and values in shared memory at a time
const int TILE = 64;
const int ROWS = 16;
// Elements between rows in shared memory, so that eight rows lie in different banks
#define STRIDE(D) ((D) + 8)

DEVICE float quad_max(float value) {
    value = fmaxf(value, shuffle_xor(value, 1));
    return fmaxf(value, shuffle_xor(value, 2));
}

DEVICE float quad_sum(float value) {
    value += shuffle_xor(value, 1);
    return value + shuffle_xor(value, 2);
}

// Keys or values of positions [start, start + TILE); those from `stop` on are zeros, since even a
// weight of zero times what another sequence left there could be NaN.
template <class T, int D>
DEVICE void load_tile(T* tile, const void* cache, const AttentionArgs& args, const int32_t* table,
                      int kv_head, int start, int stop) {
    const int CHUNKS = D / 8;
#pragma unroll
    for (int i = 0; i < TILE * CHUNKS / (ATTENTION_WARPS * 32); i++) {
        int chunk = i * ATTENTION_WARPS * 32 + threadIdx.x;
        int row = chunk / CHUNKS, column = chunk % CHUNKS * 8;
        int position = start + row;
        uint4 eight = make_uint4(0, 0, 0, 0);
        if (position < stop) {
            int64_t block = table[position / args.block_size];
            int64_t at = (block * args.num_kv_heads + kv_head) * args.block_size;
            const T* from = static_cast<const T*>(cache) + (at + position % args.block_size) * D;
            eight = *reinterpret_cast<const uint4*>(from + column);
        }
        *reinterpret_cast<uint4*>(tile + row * STRIDE(D) + column) = eight;
    }
}

// What a warp knows of its 16 rows: thread (g, t) of rows g and g + 8.
template <class T, int D> struct WarpRows {
    uint32_t queries[D / 16][4];
    float sums[D / 8][4];
    // Maxima, and this thread's part of the weights' sums
    float max[2], weight[2];
    // Positions that a row attends to are [0, end)
    int end[2];

    DEVICE void begin(const AttentionArgs& args, const AttentionSeq& seq, int kv_head, int first) {
        int group = args.num_heads / args.num_kv_heads;
        int lane = threadIdx.x % 32, t = lane % 4;
        const float* rows[2];
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int m = first + lane / 4 + half * 8;
            bool exists = m < seq.num_rows * group;
            int row = exists ? m / group : 0;
            int head = kv_head * group + (exists ? m % group : 0);
            end[half] = exists ? max_of(seq.context_len - (seq.num_rows - 1 - row), 0) : 0;
            rows[half] = args.queries + (int64_t(seq.first_row + row) * args.num_heads + head) * D;
            max[half] = -INFINITY;
            weight[half] = 0;
        }
#pragma unroll
        for (int step = 0; step < D / 16; step++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const float* from = rows[i % 2] + step * 16 + i / 2 * 8 + t * 2;
                queries[step][i] = packed<T>(from[0] * args.scale, from[1] * args.scale);
            }
#pragma unroll
        for (int n = 0; n < D / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) sums[n][i] = 0;
    }

    static DEVICE int max_of(int a, int b) { return a > b ? a : b; }

    // Attends to `N * 8` positions of a tile, from `first` of it on, which is `position`.
    template <int N> DEVICE void attend(const T* keys, const T* values, int first, int position) {
        int lane = threadIdx.x % 32, t = lane % 4;
        float scores[N][4];
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) scores[n][i] = 0;
#pragma unroll
        for (int step = 0; step < D / 16; step++)
#pragma unroll
            for (int n = 0; n < N; n += 2) {
                uint32_t b[4];
                int row = first + (n + lane / 16) * 8 + lane % 8;
                load_matrices(b, keys + row * STRIDE(D) + step * 16 + lane / 8 % 2 * 8);
                multiply_matrices(scores[n], queries[step], b[0], b[1], T());
                multiply_matrices(scores[n + 1], queries[step], b[2], b[3], T());
            }
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float best = max[half];
#pragma unroll
            for (int n = 0; n < N; n++)
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    float& score = scores[n][half * 2 + i];
                    if (position + n * 8 + t * 2 + i >= end[half]) score = -INFINITY;
                    best = fmaxf(best, score);
                }
            best = quad_max(best);
            // A row that sees nothing of this yet keeps its weights at zero.
            float base = best == -INFINITY ? 0.0f : best;
            float shrink = exp2f(max[half] - base);
            max[half] = best;
            weight[half] *= shrink;
#pragma unroll
            for (int n = 0; n < D / 8; n++) {
                sums[n][half * 2] *= shrink;
                sums[n][half * 2 + 1] *= shrink;
            }
#pragma unroll
            for (int n = 0; n < N; n++)
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    float& score = scores[n][half * 2 + i];
                    score = exp2f(score - base);
                    weight[half] += score;
                }
        }
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            uint32_t a[4] = {
                packed<T>(scores[n][0], scores[n][1]),
                packed<T>(scores[n][2], scores[n][3]),
                packed<T>(scores[n + 1][0], scores[n + 1][1]),
                packed<T>(scores[n + 1][2], scores[n + 1][3]),
            };
            int row = first + n * 8 + lane % 16;
#pragma unroll
            for (int d = 0; d < D / 8; d += 2) {
                uint32_t b[4];
                load_matrices_transposed(b, values + row * STRIDE(D) + d * 8 + lane / 16 * 8);
                multiply_matrices(sums[d], a, b[0], b[1], T());
                multiply_matrices(sums[d + 1], a, b[2], b[3], T());
            }
        }
    }
};

// A block for a tile of 64 rows and a KV head, 16 rows each warp: prompts.
template <class T, int D> DEVICE void attention_prefill(const AttentionArgs& args) {
    T* keys = reinterpret_cast<T*>(shared_memory());
    T* values = keys + TILE * STRIDE(D);
    // The longest tiles first, so that the last ones to end are short.
    AttentionTile tile = args.tiles[gridDim.x - 1 - blockIdx.x];
    AttentionSeq seq = args.seqs[tile.seq];
    const int32_t* table = args.tables + seq.table_start;
    int kv_head = blockIdx.y, group = args.num_heads / args.num_kv_heads;
    int lane = threadIdx.x % 32;
    int last = tile.first + ATTENTION_WARPS * ROWS - 1;
    if (last > seq.num_rows * group - 1) last = seq.num_rows * group - 1;
    int stop = seq.context_len - (seq.num_rows - 1 - last / group);
    int first = tile.first + threadIdx.x / 32 * ROWS;
    WarpRows<T, D> rows;
    rows.begin(args, seq, kv_head, first);
    for (int start = 0; start < stop; start += TILE) {
        __syncthreads();
        load_tile<T, D>(keys, args.keys, args, table, kv_head, start, stop);
        load_tile<T, D>(values, args.values, args, table, kv_head, start, stop);
        __syncthreads();
        rows.template attend<TILE / 8>(keys, values, 0, start);
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float weight = quad_sum(rows.weight[half]);
        int m = first + lane / 4 + half * 8;
        if (m >= seq.num_rows * group) continue;
        int64_t row = seq.first_row + m / group, head = kv_head * group + m % group;
        int64_t at = (row * args.num_heads + head) * D + lane % 4 * 2;
        float scale = 1.0f / weight;
#pragma unroll
        for (int n = 0; n < D / 8; n++)
#pragma unroll
            for (int i = 0; i < 2; i++) {
                float value = rows.sums[n][half * 2 + i] * scale;
                store(value, args.out, at + n * 8 + i, args.out_type);
            }
    }
}

// Positions of a split: whole tiles, so that the last splits may have none.
DEVICE int split_len(const AttentionSeq& seq, const AttentionArgs& args) {
    int tiles = (seq.context_len + TILE - 1) / TILE;
    return (tiles + args.num_splits - 1) / args.num_splits * TILE;
}

// A block for a tile of 16 rows, a KV head and a part of the context: warps share the positions.
template <class T, int D> DEVICE void attention_decode(const AttentionArgs& args) {
    T* keys = reinterpret_cast<T*>(shared_memory());
    T* values = keys + TILE * STRIDE(D);
    AttentionTile tile = args.tiles[blockIdx.x];
    AttentionSeq seq = args.seqs[tile.seq];
    const int32_t* table = args.tables + seq.table_start;
    int kv_head = blockIdx.y, split = blockIdx.z;
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int share = split_len(seq, args), begin = split * share;
    // Nobody looks at what is behind the context.
    if (split > 0 && begin >= seq.context_len) return;
    int stop = begin + share < seq.context_len ? begin + share : seq.context_len;
    WarpRows<T, D> rows;
    rows.begin(args, seq, kv_head, tile.first);
    for (int start = begin; start < stop; start += TILE) {
        __syncthreads();
        load_tile<T, D>(keys, args.keys, args, table, kv_head, start, stop);
        load_tile<T, D>(values, args.values, args, table, kv_head, start, stop);
        __syncthreads();
        int own = warp * (TILE / ATTENTION_WARPS);
        rows.template attend<TILE / ATTENTION_WARPS / 8>(keys, values, own, start + own);
    }
    __syncthreads();
    // The warps' results: sums [4][16][D], then maxima [4][16], then weights [4][16].
    float* sums = reinterpret_cast<float*>(shared_memory());
    float* maxima = sums + ATTENTION_WARPS * ROWS * D;
    float* weights = maxima + ATTENTION_WARPS * ROWS;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int row = warp * ROWS + lane / 4 + half * 8;
        float weight = quad_sum(rows.weight[half]);
        if (lane % 4 == 0) {
            maxima[row] = rows.max[half];
            weights[row] = weight;
        }
#pragma unroll
        for (int n = 0; n < D / 8; n++)
#pragma unroll
            for (int i = 0; i < 2; i++)
                sums[row * D + n * 8 + lane % 4 * 2 + i] = rows.sums[n][half * 2 + i];
    }
    __syncthreads();
    int64_t part = (int64_t(blockIdx.x) * gridDim.y + kv_head) * gridDim.z + split;
    float* out = args.partials + part * ROWS * (D + 2);
    for (int i = threadIdx.x; i < ROWS * D; i += ATTENTION_WARPS * 32) {
        int row = i / D;
        float best = -INFINITY;
#pragma unroll
        for (int w = 0; w < ATTENTION_WARPS; w++) best = fmaxf(best, maxima[w * ROWS + row]);
        float base = best == -INFINITY ? 0.0f : best, sum = 0, weight = 0;
#pragma unroll
        for (int w = 0; w < ATTENTION_WARPS; w++) {
            float shrink = exp2f(maxima[w * ROWS + row] - base);
            sum += sums[w * ROWS * D + i] * shrink;
            weight += weights[w * ROWS + row] * shrink;
        }
        out[i] = sum;
        if (i % D == 0) {
            out[ROWS * D + row] = best;
            out[ROWS * (D + 1) + row] = weight;
        }
    }
}

#define ATTENTION(T, suffix, D)                                                                  \
    KERNEL(attention_prefill_##suffix##_##D, AttentionArgs, ATTENTION_WARPS * 32,                \
           (attention_prefill<T, D>))                                                            \
    KERNEL_OF_BLOCKS(attention_decode_##suffix##_##D, AttentionArgs, ATTENTION_WARPS * 32,       \
                     DECODE_BLOCKS, (wait_and_run<AttentionArgs, attention_decode<T, D>>))
ATTENTION(half_t, f16, 64)
ATTENTION(half_t, f16, 128)
ATTENTION(bf16_t, bf16, 64)
ATTENTION(bf16_t, bf16, 128)

const int MERGE_THREADS = 128;

// A block for a row `m` of a tile and KV head: the parts of the context become one.
template <int D> DEVICE void attention_merge(const AttentionArgs& args) {
    AttentionTile tile = args.tiles[blockIdx.x];
    AttentionSeq seq = args.seqs[tile.seq];
    int kv_head = blockIdx.y, group = args.num_heads / args.num_kv_heads;
    int local = blockIdx.z, m = tile.first + local;
    if (m >= seq.num_rows * group) return;
    int64_t part_len = int64_t(ROWS) * (D + 2);
    int64_t tile_kv = int64_t(blockIdx.x) * args.num_kv_heads + kv_head;
    const float* parts = args.partials + tile_kv * args.num_splits * part_len;
    int share = split_len(seq, args);
    int num_splits = share == 0 ? 1 : (seq.context_len + share - 1) / share;
    float best = -INFINITY;
#pragma unroll 8
    for (int split = 0; split < num_splits; split++)
        best = fmaxf(best, parts[split * part_len + ROWS * D + local]);
    float base = best == -INFINITY ? 0.0f : best;
    int64_t row = seq.first_row + m / group, head = kv_head * group + m % group;
    int64_t at = (row * args.num_heads + head) * D;
    for (int i = threadIdx.x; i < D; i += blockDim.x) {
        float sum = 0, weight = 0;
#pragma unroll 8
        for (int split = 0; split < num_splits; split++) {
            const float* part = parts + split * part_len;
            float shrink = exp2f(part[ROWS * D + local] - base);
            sum += part[local * D + i] * shrink;
            weight += part[ROWS * (D + 1) + local] * shrink;
        }
        // A sequence that fills a batch up has no positions.
        float value = weight == 0 ? 0.0f : sum / weight;
        store(value, args.out, at + i, args.out_type);
        if (!args.integers) continue;
        int k = args.num_heads * D, start = int(head) * D + i - threadIdx.x % 32;
        write_integers(args.integers + row * integers_bytes(k), k, start, value);
    }
}

KERNEL(attention_merge_64, AttentionArgs, MERGE_THREADS, attention_merge<64>)
KERNEL(attention_merge_128, AttentionArgs, MERGE_THREADS, attention_merge<128>)
