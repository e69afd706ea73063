#include "threads.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>
#include <algorithm>
#include <memory>
#include <mutex>
#include <vector>

float to_float(bf16_t value) {
    uint32_t bits = uint32_t(value.bits) << 16;
    float out;
    memcpy(&out, &bits, sizeof out);
    return out;
}

void from_float(float value, bf16_t& out) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (value != value) {
        out.bits = 0x7fff;
        return;
    }
    out.bits = uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// Of every number, since a product of matrices asks for 384 in each lane.
static const float* all_halves() {
    float* all = new float[1 << 16];
    for (int bits = 0; bits < 1 << 16; bits++) {
        int exponent = (bits >> 10) & 31, fraction = bits & 1023;
        float magnitude = exponent == 0    ? ldexpf(float(fraction), -24)
                          : exponent == 31 ? (fraction ? NAN : INFINITY)
                                           : ldexpf(float(1024 + fraction), exponent - 25);
        all[bits] = bits & 0x8000 ? -magnitude : magnitude;
    }
    return all;
}

float to_float(half_t value) {
    static const float* const all = all_halves();
    return all[value.bits];
}

void from_float(float value, half_t& out) {
    uint16_t sign = signbit(value) ? 0x8000 : 0;
    float magnitude = fabsf(value);
    if (value != value) {
        out.bits = 0x7fff;
    } else if (magnitude >= 65520) {
        out.bits = sign | 0x7c00;
    } else if (magnitude < ldexpf(1, -14)) {
        // nearbyint rounds to even; what reaches 1024 is the smallest normal number.
        out.bits = sign | uint16_t(nearbyintf(ldexpf(magnitude, 24)));
    } else {
        int exponent;
        float fraction = frexpf(magnitude, &exponent);
        uint32_t bits = uint32_t(nearbyintf(ldexpf(fraction, 11)));
        out.bits = sign | uint16_t(((exponent + 13) << 10) + bits);
    }
}

namespace stand_in {

uint3_t thread_index, block_index, block_size, grid_size;

static const Kernel* kernels;

Kernel::Kernel(const char* name, Body body, size_t args_bytes, unsigned threads_max)
    : name(name), body(body), args_bytes(args_bytes), threads_max(threads_max), next(kernels) {
    kernels = this;
}

const Kernel* Kernel::find(const char* name) {
    for (const Kernel* kernel = kernels; kernel; kernel = kernel->next)
        if (strcmp(kernel->name, name) == 0) return kernel;
    return nullptr;
}

namespace {

const size_t STACK_BYTES = 64 << 10;
const size_t GUARD_BYTES = 256;
const unsigned char GUARD = 0xa5;

struct Fiber {
    ucontext_t start;
    jmp_buf resume;
    bool started, ended, waited;
    // What it waits for: the generation of a barrier to change.
    const uint64_t* waits_for;
    uint64_t generation;
    std::unique_ptr<unsigned char[]> stack{new unsigned char[STACK_BYTES]};
};

struct Warp {
    unsigned char slots[2][32 * SLOT_BYTES];
    unsigned arrived;
    uint64_t generation;
};

// Never destroyed, as the driver's are not.
std::vector<std::unique_ptr<Fiber>>& fibers = *new std::vector<std::unique_ptr<Fiber>>;
std::vector<Warp>& warps = *new std::vector<Warp>;
std::vector<unsigned char>& shared_bytes = *new std::vector<unsigned char>;
unsigned num_threads, current, arrived;
uint64_t generation;
jmp_buf scheduler;
const Kernel* running;
const void* running_args;

[[noreturn]] void die(const char* why) {
    fprintf(stderr, "stand-in: %s: %s\n", running->name, why);
    abort();
}

void yield() {
    if (!_setjmp(fibers[current]->resume)) _longjmp(scheduler, 1);
}

void wait(const uint64_t& counter, uint64_t before) {
    fibers[current]->waits_for = &counter;
    fibers[current]->generation = before;
    yield();
}

void enter() {
    running->body(running_args);
    if (!fibers[current]->waited) die("a thread did not wait for the kernel before");
    fibers[current]->ended = true;
    _longjmp(scheduler, 1);
}

void resume(Fiber& fiber) {
    if (_setjmp(scheduler)) return;
    if (fiber.started) _longjmp(fiber.resume, 1);
    fiber.started = true;
    getcontext(&fiber.start);
    fiber.start.uc_stack.ss_sp = fiber.stack.get();
    fiber.start.uc_stack.ss_size = STACK_BYTES;
    fiber.start.uc_link = nullptr;
    makecontext(&fiber.start, enter, 0);
    setcontext(&fiber.start);
}

// Numbers that look random but are the same in every run.
uint64_t order_state = 1;
unsigned next_number(unsigned below) {
    order_state = order_state * 6364136223846793005ull + 1442695040888963407ull;
    return unsigned((order_state >> 33) % below);
}

void run_block(size_t shared_len) {
    arrived = 0;
    // Whatever was there before: memory that nobody wrote must not be read as zeros.
    std::fill(shared_bytes.begin(), shared_bytes.end(), 0xff);
    std::fill(shared_bytes.begin() + shared_len, shared_bytes.end(), GUARD);
    for (Warp& warp : warps) warp.arrived = 0;
    for (unsigned i = 0; i < num_threads; i++) {
        fibers[i]->started = fibers[i]->ended = fibers[i]->waited = false;
        fibers[i]->waits_for = nullptr;
    }
    unsigned ended = 0;
    while (ended < num_threads) {
        unsigned first = next_number(num_threads);
        bool backwards = next_number(2), moved = false;
        for (unsigned i = 0; i < num_threads; i++) {
            unsigned turn = (first + (backwards ? num_threads - i : i)) % num_threads;
            Fiber& fiber = *fibers[turn];
            if (fiber.ended) continue;
            if (fiber.waits_for && *fiber.waits_for == fiber.generation) continue;
            fiber.waits_for = nullptr;
            current = turn;
            thread_index = {turn, 0, 0};
            resume(fiber);
            moved = true;
            ended += fiber.ended;
        }
        if (!moved) die("some threads wait at a barrier or for their warp, and others have ended");
    }
    for (size_t i = shared_len; i < shared_bytes.size(); i++)
        if (shared_bytes[i] != GUARD) die("wrote behind its shared memory");
}

}  // namespace

unsigned char* shared() { return shared_bytes.data(); }

void note_wait() { fibers[current]->waited = true; }

void synchronize() {
    if (++arrived == num_threads) {
        arrived = 0;
        generation++;
        return;
    }
    wait(generation, generation);
}

const unsigned char* exchange(const void* value, size_t bytes) {
    Warp& warp = warps[current / 32];
    // Nobody is two exchanges ahead of another lane, so two sets of slots are enough.
    unsigned char* slots = warp.slots[warp.generation % 2];
    memcpy(slots + current % 32 * SLOT_BYTES, value, bytes);
    if (++warp.arrived == 32) {
        warp.arrived = 0;
        warp.generation++;
    } else {
        wait(warp.generation, warp.generation);
    }
    return slots;
}

void run(const Kernel& kernel, uint3_t grid, uint3_t block, size_t shared_len, const void* args) {
    static std::mutex mutex;
    std::lock_guard<std::mutex> lock(mutex);
    running = &kernel;
    running_args = args;
    if (block.y != 1 || block.z != 1) die("its blocks have more than one dimension");
    if (block.x == 0 || block.x > kernel.threads_max) die("its blocks are larger than it says");
    if (block.x % 32) die("its blocks are not whole warps");
    num_threads = block.x;
    block_size = block;
    grid_size = grid;
    while (fibers.size() < num_threads) fibers.emplace_back(new Fiber);
    warps.resize(num_threads / 32);
    shared_bytes.resize(shared_len + GUARD_BYTES);
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) {
                block_index = {x, y, z};
                run_block(shared_len);
            }
}

}  // namespace stand_in
