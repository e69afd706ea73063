// The threads of a block on the CPU: fibers that take turns, with barriers, shared memory and the
// operations of a warp. A barrier that not all threads reach ends the program, as does a read of
// shared memory outside of it; threads take turns in an order that changes from block to block, so
// that a missing barrier shows.
#pragma once

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define DEVICE inline
#define __syncthreads() stand_in::synchronize()
#define __ldg(pointer) (*(pointer))
#define __restrict__

struct uint3_t { unsigned x, y, z; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) uint4 { uint32_t x, y, z, w; };
struct alignas(8) int2 { int x, y; };
struct alignas(16) int4 { int x, y, z, w; };
static inline float2 make_float2(float x, float y) { return {x, y}; }
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) {
    return {x, y, z, w};
}
static inline int min(int a, int b) { return a < b ? a : b; }
static inline int max(int a, int b) { return a > b ? a : b; }

static inline float times(float a, float b) { return a * b; }
static inline float plus(float a, float b) { return a + b; }
static inline float two_to_23_and_byte(uint32_t word, int index) {
    return 8388608.0f + float(word >> (8 * index) & 255);
}
static inline int dot4(uint32_t a, uint32_t b, int sum) {
    for (int i = 0; i < 4; i++) sum += int8_t(a >> (8 * i)) * int8_t(b >> (8 * i));
    return sum;
}
static inline uint32_t shift_pair(uint32_t low, uint32_t high, unsigned shift) {
    return uint32_t((uint64_t(high) << 32 | low) >> shift);
}
static inline uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}
static inline float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

struct half_t { uint16_t bits; };
struct bf16_t { uint16_t bits; };
float to_float(half_t value);
float to_float(bf16_t value);
void from_float(float value, half_t& out);
void from_float(float value, bf16_t& out);

namespace stand_in {

// Of the thread whose turn it is.
extern uint3_t thread_index, block_index, block_size, grid_size;

unsigned char* shared();
void synchronize();
// That a thread has waited for the kernel before: all of them have to.
void note_wait();
// Every lane of the warp gives `bytes` bytes and gets the slots of all 32.
const unsigned char* exchange(const void* value, size_t bytes);

const size_t SLOT_BYTES = 16;

typedef void (*Body)(const void* args);

struct Kernel {
    const char* name;
    Body body;
    size_t args_bytes;
    unsigned threads_max;
    const Kernel* next;
    Kernel(const char* name, Body body, size_t args_bytes, unsigned threads_max);
    static const Kernel* find(const char* name);
};

void run(const Kernel& kernel, uint3_t grid, uint3_t block, size_t shared_bytes, const void* args);

}  // namespace stand_in

#define threadIdx stand_in::thread_index
#define blockIdx stand_in::block_index
#define blockDim stand_in::block_size
#define gridDim stand_in::grid_size

#define KERNEL_OF_BLOCKS(name, Args, threads, blocks, body)                                      \
    static void name(const void* args) { body(*static_cast<const Args*>(args)); }                \
    static stand_in::Kernel name##_kernel(#name, name, sizeof(Args), threads);

static inline void wait_for_kernel_before() { stand_in::note_wait(); }
static inline void prefetch(const void* address) {
    (void)*static_cast<const volatile char*>(address);
}

static inline unsigned char* shared_memory() { return stand_in::shared(); }

static inline float shuffle_xor(float value, int mask) {
    const unsigned char* slots = stand_in::exchange(&value, sizeof value);
    memcpy(&value, slots + (threadIdx.x % 32 ^ mask) * stand_in::SLOT_BYTES, sizeof value);
    return value;
}

// A slot holds each lane's address; a lane reads the elements that the instruction gives it.
static inline void load_matrices_as(uint32_t (&out)[4], const void* row, bool transposed) {
    const unsigned char* slots = stand_in::exchange(&row, sizeof row);
    unsigned lane = threadIdx.x % 32;
    for (unsigned matrix = 0; matrix < 4; matrix++) {
        uint16_t pair[2];
        for (unsigned half = 0; half < 2; half++) {
            unsigned from = transposed ? lane % 4 * 2 + half : lane / 4;
            unsigned column = transposed ? lane / 4 : lane % 4 * 2 + half;
            const uint16_t* elements;
            memcpy(&elements, slots + (matrix * 8 + from) * stand_in::SLOT_BYTES, sizeof elements);
            pair[half] = elements[column];
        }
        memcpy(&out[matrix], pair, sizeof pair);
    }
}

static inline void load_matrices(uint32_t (&out)[4], const void* row) {
    load_matrices_as(out, row, false);
}

static inline void load_matrices_transposed(uint32_t (&out)[4], const void* row) {
    load_matrices_as(out, row, true);
}

// The fragments of mma.m16n8k16, PTX ISA section "Matrix Fragments for mma.m16n8k16": lane `l` is
// in group `g = l / 4` at place `t = l % 4`.
template <class T>
static inline void multiply_matrices(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                     uint32_t b1, T) {
    float left[32][8], right[32][4];
    unsigned lane = threadIdx.x % 32;
    const unsigned char* slots = stand_in::exchange(a, sizeof a);
    for (unsigned from = 0; from < 32; from++) {
        T halves[8];
        memcpy(halves, slots + from * stand_in::SLOT_BYTES, sizeof halves);
        for (int i = 0; i < 8; i++) left[from][i] = to_float(halves[i]);
    }
    uint32_t b[2] = {b0, b1};
    slots = stand_in::exchange(b, sizeof b);
    for (unsigned from = 0; from < 32; from++) {
        T halves[4];
        memcpy(halves, slots + from * stand_in::SLOT_BYTES, sizeof halves);
        for (int i = 0; i < 4; i++) right[from][i] = to_float(halves[i]);
    }
    for (int i = 0; i < 4; i++) {
        unsigned row = lane / 4 + (i / 2) * 8, column = lane % 4 * 2 + i % 2;
        float sum = 0;
        for (unsigned k = 0; k < 16; k++) {
            // Registers of `a`: (g, low k), (g + 8, low k), (g, high k), (g + 8, high k).
            unsigned left_lane = row % 8 * 4 + k % 8 / 2;
            unsigned left_register = (row / 8) + (k / 8) * 2;
            // Registers of `b`: low k, high k; the lane's group is the column.
            unsigned right_lane = column * 4 + k % 8 / 2;
            sum += left[left_lane][left_register * 2 + k % 2] *
                   right[right_lane][(k / 8) * 2 + k % 2];
        }
        c[i] += sum;
    }
}
