// What the kernels need of a GPU: types, warps, matrix fragments. nvcc compiles them for the device;
// any other C++ compiler gets the same names from the stand-in, which runs a block's threads in turn
// on the CPU, so that tests run the very source that the GPU runs.
#pragma once

#include <stdint.h>

#ifdef __CUDACC__

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#define DEVICE __device__ __forceinline__
// Every kernel takes one struct by value. A multiprocessor is to have registers for `blocks` blocks.
#define KERNEL_OF_BLOCKS(name, Args, threads, blocks, body)                                      \
    extern "C" __global__ void __launch_bounds__(threads, blocks)                                \
        name(const __grid_constant__ Args args) {                                                \
        body(args);                                                                              \
    }

// From Hopper on, blocks of a kernel are put where the kernel before leaves room, while that one still
// runs. Whoever calls this reads and writes nothing before but what no kernel writes; it returns when
// the kernel before is done and can be seen, and with it all kernels before that one. From then on the
// blocks of the next kernel may come. What kernels write is not read by `__ldg`, which the compiler may
// move to before the wait.
DEVICE void wait_for_kernel_before() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Has a line of memory on its way to the L2 cache.
DEVICE void prefetch(const void* address) {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(__cvta_generic_to_global(address)));
}

DEVICE unsigned char* shared_memory() {
    extern __shared__ uint4 shared_bytes[];
    return reinterpret_cast<unsigned char*>(shared_bytes);
}

DEVICE float shuffle_xor(float value, int mask) {
    return __shfl_xor_sync(0xffffffffu, value, mask);
}

DEVICE uint32_t shared_address(const void* pointer) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// Four matrices of 8x8 16-bit elements. Lane `l` gives the address of row `l % 8` of matrix `l / 8`
// and receives elements `2 * (l % 4)` and the next of row `l / 4` of each.
DEVICE void load_matrices(uint32_t (&out)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(shared_address(row)));
}

// The same of the transposed matrices.
DEVICE void load_matrices_transposed(uint32_t (&out)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(shared_address(row)));
}

// `c += a b`, of `a` 16x16, `b` 16x8 and `c` 16x8, in the fragments of mma.m16n8k16 (PTX ISA).
DEVICE void multiply_matrices(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                              __half) {
#if __CUDA_ARCH__ >= 800
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
                 "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
                 "{%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(b0));
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
                 "{%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[2]), "r"(a[3]), "r"(b1));
#endif
}

DEVICE void multiply_matrices(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                              __nv_bfloat16) {
#if __CUDA_ARCH__ >= 800
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
    // Turing multiplies no bf16 matrices; the program refuses a KV cache of bf16 there.
    __trap();
#endif
}

typedef __half half_t;
typedef __nv_bfloat16 bf16_t;

DEVICE float to_float(half_t value) { return __half2float(value); }
DEVICE float to_float(bf16_t value) {
    return __uint_as_float(static_cast<uint32_t>(__bfloat16_as_ushort(value)) << 16);
}
// Rounded on their own: nvcc would make one operation of a product and a sum.
DEVICE float times(float a, float b) { return __fmul_rn(a, b); }
DEVICE float plus(float a, float b) { return __fadd_rn(a, b); }
DEVICE uint32_t bits_of(float value) { return __float_as_uint(value); }
// `sum` and the products of four pairs of signed bytes.
DEVICE int dot4(uint32_t a, uint32_t b, int sum) { return __dp4a(int(a), int(b), sum); }
// Of two words in a row the one that begins `shift` bits behind the first, fewer than 32.
DEVICE uint32_t shift_pair(uint32_t low, uint32_t high, unsigned shift) {
    return __funnelshift_r(low, high, shift);
}
// One permutation makes a byte the last bits of 2^23, where other ways shift, mask and convert.
DEVICE float two_to_23_and_byte(uint32_t word, int index) {
    return __uint_as_float(__byte_perm(word, 0x4b000000, 0x7440 | index));
}
DEVICE float float_of(uint32_t bits) { return __uint_as_float(bits); }
DEVICE void from_float(float value, half_t& out) { out = __float2half_rn(value); }
DEVICE void from_float(float value, bf16_t& out) { out = __float2bfloat16_rn(value); }

#else

#include "../stand-in/threads.h"

#endif

// A kernel that does nothing before it waits.
template <class Args, void (*BODY)(const Args&)> DEVICE void wait_and_run(const Args& args) {
    wait_for_kernel_before();
    BODY(args);
}
#define KERNEL(name, Args, threads, body)                                                        \
    KERNEL_OF_BLOCKS(name, Args, threads, 1, (wait_and_run<Args, body>))

DEVICE float to_float(float value) { return value; }
DEVICE void from_float(float value, float& out) { out = value; }

DEVICE float float_of_byte(uint32_t word, int index) {
    return two_to_23_and_byte(word, index) - 8388608.0f;
}

template <class T> DEVICE T rounded(float value) {
    T out;
    from_float(value, out);
    return out;
}

// Two neighbours in one register, the first in the low half.
template <class T> DEVICE uint32_t packed(float first, float second) {
    union {
        T halves[2];
        uint32_t word;
    } pair;
    pair.halves[0] = rounded<T>(first);
    pair.halves[1] = rounded<T>(second);
    return pair.word;
}

DEVICE float warp_sum(float value) {
    for (int mask = 16; mask > 0; mask /= 2) value += shuffle_xor(value, mask);
    return value;
}

DEVICE float warp_max(float value) {
    for (int mask = 16; mask > 0; mask /= 2) value = fmaxf(value, shuffle_xor(value, mask));
    return value;
}

// Of `warps` warps; `scratch` holds a float for each.
DEVICE float block_sum(float value, float* scratch) {
    int warps = blockDim.x / 32;
    value = warp_sum(value);
    if (warps == 1) return value;
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = value;
    __syncthreads();
    value = 0;
    for (int warp = 0; warp < warps; warp++) value += scratch[warp];
    return value;
}
