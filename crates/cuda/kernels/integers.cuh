// Products of few rows with quantized weights, in integers: four weights are multiplied with four bytes
// of activations in one instruction, and sums of a group are exact.
#pragma once

#include "activations.cuh"
#include "linear.cuh"

struct IntegersArgs {
    // [num_rows, k]
    const float* x;
    // [num_rows, integers_bytes(k)]
    uint8_t* out;
    int64_t num_rows;
    int32_t k;
    int32_t reserved;
};

const int INTEGERS_WARPS = 4;

// A warp for each block of 32.
DEVICE void make_integers(const IntegersArgs& args) {
    int64_t block = int64_t(blockIdx.x) * INTEGERS_WARPS + threadIdx.x / 32;
    int64_t blocks = args.k / 32, row = block / blocks;
    if (row >= args.num_rows) return;
    int start = int(block % blocks) * 32;
    float x = args.x[row * args.k + start + threadIdx.x % 32];
    write_integers(args.out + row * integers_bytes(args.k), args.k, start, x);
}
KERNEL(integers, IntegersArgs, INTEGERS_WARPS * 32, make_integers)

// A lane's two groups of weights of a run: bytes, and by what their product with activations is
// multiplied and what is taken off for each activation.
struct Groups {
    uint32_t bytes[2][4];
    float by[2], minus[2];
};

// Sixteen bytes at an even address, by words: those around them are of the same block.
DEVICE void words_at(const uint8_t* bytes, uint32_t (&out)[4]) {
    unsigned shift = unsigned(reinterpret_cast<uintptr_t>(bytes) & 2) * 8;
    const uint32_t* words = reinterpret_cast<const uint32_t*>(bytes - shift / 8);
    uint32_t low = __ldg(words);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        // The last word would lie behind what is aligned.
        uint32_t high = i < 3 || shift ? __ldg(words + i + 1) : 0;
        out[i] = shift_pair(low, high, shift);
        low = high;
    }
}

// Lane `j` of the eight of a run of nibbles has bytes [16 j, 16 j + 16): low nibbles are one group,
// high ones another, 32 elements behind.
template <class F> struct NibbleGroups {
    DEVICE static bool exists(int, int, int) { return true; }
    DEVICE static int group(int j, int which) { return j / 2 * 4 + which * 2 + j % 2; }
    DEVICE static void read_groups(const uint8_t* run, int j, const uint8_t* nibbles,
                                   const uint4& fifth, Groups& out) {
        KHeader header = KHeader::read(run);
        uint4 four = __ldg(reinterpret_cast<const uint4*>(nibbles) + j);
        uint32_t scales, minima;
        header.pairs_at(j / 2 * 2, scales, minima);
        float2 common = header.common();
        const uint32_t words[4] = {four.x, four.y, four.z, four.w};
        const uint32_t bits[4] = {fifth.x, fifth.y, fifth.z, fifth.w};
#pragma unroll
        for (int which = 0; which < 2; which++) {
            float scale = two_to_23_and_byte(scales, which);
            float least = two_to_23_and_byte(minima, which);
            out.by[which] = fmaf(common.x, scale, common.x * -8388608.0f);
            out.minus[which] = fmaf(common.y, least, common.y * -8388608.0f);
#pragma unroll
            for (int i = 0; i < 4; i++)
                out.bytes[which][i] = (words[i] >> (which * 4) & 0x0f0f0f0f) |
                                      (bits[i] >> which & 0x01010101) << 4;
        }
    }
};

template <class F> struct IntegerGroups;

template <> struct IntegerGroups<Q4K> : NibbleGroups<Q4K> {
    DEVICE static void read(const uint8_t* run, int j, Groups& out) {
        read_groups(run, j, run + 16, make_uint4(0, 0, 0, 0), out);
    }
};

template <> struct IntegerGroups<Q5K> : NibbleGroups<Q5K> {
    DEVICE static void read(const uint8_t* run, int j, Groups& out) {
        uint4 fifth = __ldg(reinterpret_cast<const uint4*>(run + 16) + j % 2);
        int shift = j / 2 * 2;
        fifth = make_uint4(fifth.x >> shift, fifth.y >> shift, fifth.z >> shift, fifth.w >> shift);
        read_groups(run, j, run + 48, fifth, out);
    }
};

// Lane `j` has 16 bytes of low bits, whose nibbles are groups 64 elements apart.
template <> struct IntegerGroups<Q6K> {
    DEVICE static bool exists(int, int, int) { return true; }
    DEVICE static int group(int j, int which) { return j / 4 * 8 + which * 4 + j % 4; }
    DEVICE static void read(const uint8_t* run, int j, Groups& out) {
        uint32_t low[4], high[4];
        words_at(run + j * 16, low);
        words_at(run + 128 + j / 4 * 32 + j % 2 * 16, high);
        const int8_t* scales = reinterpret_cast<const int8_t*>(run + 192) + j / 4 * 8 + j % 4;
        float scale = half_at(run + 208);
        int shift = j / 2 % 2 * 2;
#pragma unroll
        for (int which = 0; which < 2; which++) {
            out.by[which] = scale * float(scales[which * 4]);
            out.minus[which] = out.by[which] * 32.0f;
#pragma unroll
            for (int i = 0; i < 4; i++)
                out.bytes[which][i] = (low[i] >> (which * 4) & 0x0f0f0f0f) |
                                      (high[i] >> shift >> (which * 4) & 0x03030303) << 4;
        }
    }
};

// Lane `j` has the block `j` of eight.
template <> struct IntegerGroups<Q8_0> {
    DEVICE static bool exists(int run, int j, int k) { return run * RUN + j * 32 < k; }
    DEVICE static int group(int j, int which) { return j * 2 + which; }
    DEVICE static void read(const uint8_t* run, int j, Groups& out) {
        const uint8_t* block = run + j * 34;
        float scale = half_at(block);
        words_at(block + 2, out.bytes[0]);
        words_at(block + 2 + GROUP, out.bytes[1]);
        out.by[0] = out.by[1] = scale;
        out.minus[0] = out.minus[1] = 0;
    }
};

// Eight lanes share a run, and four runs are on their way in a warp at a time.
const int RUN_LANES = 8;

// As `linear`, of `args.x` as integers.
template <class F, int R, int W> DEVICE void linear_of_integers(const LinearArgs& args) {
    typedef IntegerGroups<F> G;
    WarpOutputs<W> outputs;
    if (!outputs.find(args)) return wait_for_kernel_before();
    outputs.wait_for_rows(args);
    int lane = threadIdx.x % 32, j = lane % RUN_LANES;
    float sums[W][R];
#pragma unroll
    for (int w = 0; w < W; w++)
#pragma unroll
        for (int r = 0; r < R; r++) sums[w][r] = 0;
    const uint8_t* x = reinterpret_cast<const uint8_t*>(args.x);
    // Of eight rows in 32 bits, as callers see to: registers are what this kernel has too few of.
    uint32_t row_bytes = uint32_t(integers_bytes(args.k));
    int runs = (args.k + RUN - 1) / RUN;
#pragma unroll(R <= 2 ? 2 : 1)
    for (int run = lane / RUN_LANES; run < runs; run += 32 / RUN_LANES) {
        if (!G::exists(run, j, args.k)) break;
        Groups groups[W];
#pragma unroll
        for (int w = 0; w < W; w++)
            G::read(outputs.weights[w] + int64_t(run) * F::RUN_BYTES, j, groups[w]);
#pragma unroll
        for (int r = 0; r < R; r++) {
            const uint8_t* row = x + uint32_t(r < args.num_rows ? r : args.num_rows - 1) * row_bytes;
            const float2* factors = reinterpret_cast<const float2*>(row + int64_t(args.k) * 2);
#pragma unroll
            for (int which = 0; which < 2; which++) {
                int group = run * (RUN / GROUP) + G::group(j, which);
                const uint4* bytes =
                    reinterpret_cast<const uint4*>(row + int64_t(group) * GROUP_BYTES);
                uint4 high = bytes[0], low = bytes[1];
                float2 factor = factors[group];
#pragma unroll
                for (int w = 0; w < W; w++) {
                    const uint32_t(&q)[4] = groups[w].bytes[which];
                    int of_high = dot4(q[3], high.w, dot4(q[2], high.z,
                                  dot4(q[1], high.y, dot4(q[0], high.x, 0))));
                    int product = dot4(q[3], low.w, dot4(q[2], low.z,
                                  dot4(q[1], low.y, dot4(q[0], low.x, of_high * 256))));
                    float by = groups[w].by[which] * factor.x;
                    sums[w][r] = fmaf(by, float(product), sums[w][r]);
                    sums[w][r] = fmaf(-groups[w].minus[which], factor.y, sums[w][r]);
                }
            }
        }
    }
    outputs.template finish<R>(args, sums);
}

// The compiler would have all activations of eight rows on their way at a time, and with them every
// register: two blocks, too few to hide that weights come from far away.
#define LINEAR_OF_INTEGERS(suffix, F)                                                            \
    LINEAR_KERNEL(integer_##suffix##_1, 1, (linear_of_integers<F, 1, 2>))                        \
    LINEAR_KERNEL(integer_##suffix##_2, 1, (linear_of_integers<F, 2, 2>))                        \
    LINEAR_KERNEL(integer_##suffix##_4, 1, (linear_of_integers<F, 4, 4>))                        \
    LINEAR_KERNEL(integer_##suffix##_8, 3, (linear_of_integers<F, 8, 4>))
FOR_EACH_FORMAT_OF_INTEGERS(LINEAR_OF_INTEGERS)
