// Products of few rows with weights of any type, and weights as elements.
#pragma once

#include "formats.cuh"

// Up to three matrices of one type share a launch.
const int MATRICES_MAX = 3;

struct LinearMatrix {
    const uint8_t* weights;
    // Null without one.
    const float* bias;
    // [num_rows, n]
    float* out;
    int64_t n;
};

struct LinearArgs {
    LinearMatrix matrices[MATRICES_MAX];
    // [num_rows, k], 16-byte aligned; for products of integers [num_rows, integers_bytes(k)] bytes
    const float* x;
    int32_t k;
    int32_t row_bytes;
    int32_t num_rows;
    int32_t num_matrices;
    // The first matrix makes gates and the second what they are multiplied with: the first's `out`
    // is `silu(gate x) * (up x)`.
    int32_t gated;
    int32_t reserved;
};

const int LINEAR_WARPS = 4;

DEVICE float silu(float x) { return x / (1.0f + expf(-x)); }

DEVICE float multiply_four(const float* weights, float4 x, float sum) {
    sum = fmaf(weights[0], x.x, sum);
    sum = fmaf(weights[1], x.y, sum);
    sum = fmaf(weights[2], x.z, sum);
    return fmaf(weights[3], x.w, sum);
}

// A lane's eight weights of a run, and what they add to a sum.
template <class F> struct Unpacked {
    float elements[8];
    DEVICE void read(const uint8_t* run, int lane) { F::read(run, lane, elements); }
    DEVICE float multiply(float4 a, float4 b, float sum) const {
        return multiply_four(elements + 4, b, multiply_four(elements, a, sum));
    }
};

// The `W` outputs that a warp makes: neighbours of one matrix, or half of them gates and the others
// what those are multiplied with.
template <int W> struct WarpOutputs {
    int id;
    int64_t first;
    const uint8_t* weights[W];

    // False for a warp that is behind the last output.
    DEVICE bool find(const LinearArgs& args) {
        int64_t unit = int64_t(blockIdx.x) * LINEAR_WARPS + threadIdx.x / 32;
        // Outputs of one matrix that a warp makes.
        const int width = args.gated ? W / 2 : W;
        id = 0;
        if (!args.gated) {
            while (id < args.num_matrices) {
                int64_t units = (args.matrices[id].n + width - 1) / width;
                if (unit < units) break;
                unit -= units;
                id++;
            }
            if (id == args.num_matrices) return false;
        }
        const LinearMatrix& matrix = args.matrices[id];
        first = unit * width;
        if (first >= matrix.n) return false;
#pragma unroll
        for (int w = 0; w < W; w++) {
            bool is_up = args.gated && w >= W / 2;
            int64_t row = first + (is_up ? w - W / 2 : w);
            // What is beyond the matrix is computed of its last row, and left.
            if (row >= matrix.n) row = matrix.n - 1;
            weights[w] = args.matrices[is_up ? 1 : id].weights + row * args.row_bytes;
        }
        return true;
    }

    // The first bytes of the weights come while the kernel before ends: nobody writes weights.
    DEVICE void wait_for_rows(const LinearArgs& args) const {
        const int BYTES = 4096 / W, LINE_BYTES = 128;
        int byte = threadIdx.x % 32 * LINE_BYTES;
        if (byte < BYTES && byte < args.row_bytes)
#pragma unroll
            for (int w = 0; w < W; w++) prefetch(weights[w] + byte);
        wait_for_kernel_before();
    }

    // Adds what the lanes have, and writes it.
    template <int R> DEVICE void finish(const LinearArgs& args, float (&sums)[W][R]) const {
        const LinearMatrix& matrix = args.matrices[id];
#pragma unroll
        for (int w = 0; w < W; w++)
#pragma unroll
            for (int r = 0; r < R; r++) sums[w][r] = warp_sum(sums[w][r]);
        if (threadIdx.x % 32 != 0) return;
#pragma unroll
        for (int r = 0; r < R; r++) {
            if (r >= args.num_rows) return;
            float* out = matrix.out + int64_t(r) * matrix.n + first;
            if (args.gated) {
#pragma unroll
                for (int w = 0; w < W / 2; w++)
                    if (first + w < matrix.n) out[w] = silu(sums[w][r]) * sums[W / 2 + w][r];
            } else {
#pragma unroll
                for (int w = 0; w < W; w++)
                    if (first + w < matrix.n)
                        out[w] = sums[w][r] + (matrix.bias ? matrix.bias[first + w] : 0.0f);
            }
        }
    }
};

// A warp makes `W` outputs of `R` rows: each weight is read and unpacked once for all rows, each
// activation is read once for `W` weights. A row's sums have the same order for every `R`, so its
// bits do not depend on the rows beside it.
template <class F, int R, int W> DEVICE void linear(const LinearArgs& args) {
    WarpOutputs<W> outputs;
    if (!outputs.find(args)) return wait_for_kernel_before();
    outputs.wait_for_rows(args);
    int lane = threadIdx.x % 32;
    float sums[W][R];
#pragma unroll
    for (int w = 0; w < W; w++)
#pragma unroll
        for (int r = 0; r < R; r++) sums[w][r] = 0;
    int lane_first = F::first(lane), lane_second = F::second(lane);
    // Pointers move on from run to run, so that loads of a few have constant distances.
    const float* x_run = args.x;
    auto multiply_run = [&] {
        Unpacked<F> unpacked[W];
#pragma unroll
        for (int w = 0; w < W; w++) {
            unpacked[w].read(outputs.weights[w], lane);
            outputs.weights[w] += F::RUN_BYTES;
        }
#pragma unroll
        for (int r = 0; r < R; r++) {
            int row = r < args.num_rows ? r : args.num_rows - 1;
            const float* x = x_run + int64_t(row) * args.k;
            float4 a = *reinterpret_cast<const float4*>(x + lane_first);
            float4 b = *reinterpret_cast<const float4*>(x + lane_second);
#pragma unroll
            for (int w = 0; w < W; w++) sums[w][r] = unpacked[w].multiply(a, b, sums[w][r]);
        }
        x_run += RUN;
    };
    if constexpr (R <= 2) {
        // Several runs are on their way at a time: no question is asked between their loads.
        int whole = args.k / RUN * RUN;
#pragma unroll 4
        for (int start = 0; start < whole; start += RUN) multiply_run();
        if (whole + lane_second < args.k) multiply_run();
    } else {
        // More rows fill the registers.
#pragma unroll 1
        for (int start = 0; start < args.k; start += RUN)
            if (start + lane_second < args.k) multiply_run();
    }
    outputs.template finish<R>(args, sums);
}

// Kernels that wait once they have asked for weights.
#define LINEAR_KERNEL(name, blocks, body)                                                        \
    KERNEL_OF_BLOCKS(name, LinearArgs, LINEAR_WARPS * 32, blocks, body)

#define LINEAR(suffix, F)                                                                        \
    LINEAR_KERNEL(linear_##suffix##_1, 1, (linear<F, 1, 2>))                                     \
    LINEAR_KERNEL(linear_##suffix##_2, 1, (linear<F, 2, 2>))                                     \
    LINEAR_KERNEL(linear_##suffix##_4, 1, (linear<F, 4, 4>))                                     \
    LINEAR_KERNEL(linear_##suffix##_8, 1, (linear<F, 8, 4>))
FOR_EACH_FORMAT_OF_FLOATS(LINEAR)

struct GatherArgs {
    const uint8_t* weights;
    // Rows to read; null reads row `i` as the `i`th.
    const int32_t* ids;
    // [num_rows, k]
    void* out;
    int64_t num_rows;
    int32_t k;
    int32_t row_bytes;
};

const int GATHER_WARPS = 4;

// A warp unpacks a run of a row.
template <class F, class T> DEVICE void gather(const GatherArgs& args) {
    int lane = threadIdx.x % 32;
    int64_t runs = (args.k + RUN - 1) / RUN;
    int64_t unit = int64_t(blockIdx.x) * GATHER_WARPS + threadIdx.x / 32;
    int64_t row = unit / runs, run = unit % runs;
    if (row >= args.num_rows || run * RUN + F::second(lane) >= args.k) return;
    int64_t from = args.ids ? args.ids[row] : row;
    float elements[8];
    F::read(args.weights + from * args.row_bytes + run * F::RUN_BYTES, lane, elements);
    T* out = static_cast<T*>(args.out) + row * args.k + run * RUN;
    for (int i = 0; i < 4; i++) {
        from_float(elements[i], out[F::first(lane) + i]);
        from_float(elements[4 + i], out[F::second(lane) + i]);
    }
}

#define GATHER(suffix, F)                                                                        \
    KERNEL(gather_##suffix##_f32, GatherArgs, GATHER_WARPS * 32, (gather<F, float>))             \
    KERNEL(gather_##suffix##_f16, GatherArgs, GATHER_WARPS * 32, (gather<F, half_t>))            \
    KERNEL(gather_##suffix##_bf16, GatherArgs, GATHER_WARPS * 32, (gather<F, bf16_t>))
FOR_EACH_FORMAT(GATHER)
