// How each type of weights is read: a warp reads a run of 256 elements of a row, eight by each lane.
//
// The lane's eight are two quads of neighbours, at `first(lane)` and `second(lane)` of the run, chosen
// so that a lane reads each byte once. The formats themselves are explained where the CPU's kernels
// define them (crates/kernels/src/scalar).
#pragma once

#include "device.cuh"

const int RUN = 256;

DEVICE float half_at(const uint8_t* bytes) {
    return to_float(*reinterpret_cast<const half_t*>(bytes));
}

// Four bytes of a block that is aligned to two.
DEVICE uint32_t word_at(const uint8_t* bytes) {
    const uint16_t* halves = reinterpret_cast<const uint16_t*>(bytes);
    return halves[0] | uint32_t(halves[1]) << 16;
}

DEVICE uint32_t byte_of(uint32_t word, int index) { return (word >> (8 * index)) & 255; }

// Floats: the eight are neighbours.
template <class T> struct Floats {
    static const int RUN_BYTES = RUN * sizeof(T);
    DEVICE static int first(int lane) { return lane * 8; }
    DEVICE static int second(int lane) { return lane * 8 + 4; }
    DEVICE static void read(const uint8_t* run, int lane, float (&out)[8]) {
        union {
            uint4 words[sizeof(T) / 2];
            T elements[8];
        } eight;
        const uint4* from = reinterpret_cast<const uint4*>(run) + lane * (sizeof(T) / 2);
        for (unsigned i = 0; i < sizeof(T) / 2; i++) eight.words[i] = __ldg(from + i);
        for (int i = 0; i < 8; i++) out[i] = to_float(eight.elements[i]);
    }
};

// Eight blocks of 32, four lanes each, whose low nibbles are elements [0, 16) and whose high ones are
// [16, 32).
template <int BYTES> struct Nibbles {
    static const int RUN_BYTES = 8 * BYTES;
    DEVICE static int first(int lane) { return lane / 4 * 32 + lane % 4 * 4; }
    DEVICE static int second(int lane) { return first(lane) + 16; }
    DEVICE static void nibbles(uint32_t word, float (&out)[8]) {
        for (int i = 0; i < 4; i++) {
            uint32_t byte = byte_of(word, i);
            out[i] = float(byte & 15);
            out[4 + i] = float(byte >> 4);
        }
    }
    // Their fifth bits.
    DEVICE static void fifth_bits(uint32_t bits, int lane, float (&out)[8]) {
        for (int i = 0; i < 4; i++) {
            int element = lane % 4 * 4 + i;
            out[i] += float((bits >> element & 1) << 4);
            out[4 + i] += float((bits >> (element + 16) & 1) << 4);
        }
    }
};

struct Q4_0 : Nibbles<18> {
    DEVICE static void read(const uint8_t* run, int lane, float (&out)[8]) {
        const uint8_t* block = run + lane / 4 * 18;
        float scale = half_at(block);
        nibbles(word_at(block + 2 + lane % 4 * 4), out);
        for (int i = 0; i < 8; i++) out[i] = scale * (out[i] - 8);
    }
};

struct Q4_1 : Nibbles<20> {
    DEVICE static void read(const uint8_t* run, int lane, float (&out)[8]) {
        const uint8_t* block = run + lane / 4 * 20;
        float scale = half_at(block), least = half_at(block + 2);
        nibbles(word_at(block + 4 + lane % 4 * 4), out);
        for (int i = 0; i < 8; i++) out[i] = scale * out[i] + least;
    }
};

struct Q5_0 : Nibbles<22> {
    DEVICE static void read(const uint8_t* run, int lane, float (&out)[8]) {
        const uint8_t* block = run + lane / 4 * 22;
        float scale = half_at(block);
        nibbles(word_at(block + 6 + lane % 4 * 4), out);
        fifth_bits(word_at(block + 2), lane, out);
        for (int i = 0; i < 8; i++) out[i] = scale * (out[i] - 16);
    }
};

struct Q5_1 : Nibbles<24> {
    DEVICE static void read(const uint8_t* run, int lane, float (&out)[8]) {
        const uint8_t* block = run + lane / 4 * 24;
        float scale = half_at(block), least = half_at(block + 2);
        nibbles(word_at(block + 8 + lane % 4 * 4), out);
        fifth_bits(word_at(block + 4), lane, out);
        for (int i = 0; i < 8; i++) out[i] = scale * out[i] + least;
    }
};

struct Q8_0 {
    static const int RUN_BYTES = 8 * 34;
    DEVICE static int first(int lane) { return lane * 8; }
    DEVICE static int second(int lane) { return lane * 8 + 4; }
    DEVICE static void read(const uint8_t* run, int lane, float (&out)[8]) {
        const uint8_t* block = run + lane / 4 * 34;
        float scale = half_at(block);
        for (int quad = 0; quad < 2; quad++) {
            uint32_t word = word_at(block + 2 + lane % 4 * 8 + quad * 4);
            for (int i = 0; i < 4; i++)
                out[quad * 4 + i] = scale * float(int8_t(byte_of(word, i)));
        }
    }
};

// A byte holds two bits of four elements, 32 apart.
struct Crumbs {
    DEVICE static int first(int lane) { return lane / 8 * 64 + lane % 8 * 4; }
    DEVICE static int second(int lane) { return first(lane) + 32; }
    DEVICE static uint32_t word(const uint8_t* bytes, int lane) {
        return word_at(bytes + lane / 16 * 32 + lane % 8 * 4);
    }
    // The first quad's; the second's is the next but one bit.
    DEVICE static int shift(int lane) { return lane / 8 % 2 * 4; }
    // Scale of the first quad, of sixteen; the second's is two behind it.
    DEVICE static int scale(int lane) { return lane / 8 * 4 + lane % 8 / 4; }
};

struct Q2K : Crumbs {
    static const int RUN_BYTES = 84;
    DEVICE static void read(const uint8_t* run, int lane, float (&out)[8]) {
        uint32_t bits = word(run + 16, lane) >> shift(lane);
        float scale = half_at(run + 80), least = half_at(run + 82);
        for (int quad = 0; quad < 2; quad++) {
            uint32_t scales = run[Crumbs::scale(lane) + quad * 2];
            float by = scale * float(scales & 15), minus = least * float(scales >> 4);
            for (int i = 0; i < 4; i++)
                out[quad * 4 + i] = by * float(byte_of(bits, i) >> (quad * 2) & 3) - minus;
        }
    }
};

struct Q3K : Crumbs {
    static const int RUN_BYTES = 110;
    DEVICE static int six_bits(const uint8_t* scales, int index) {
        uint32_t low = index < 8 ? scales[index] & 15 : scales[index - 8] >> 4;
        uint32_t high = scales[8 + index % 4] >> (index / 4 * 2) & 3;
        return int(low | high << 4) - 32;
    }
    DEVICE static void read(const uint8_t* run, int lane, float (&out)[8]) {
        uint32_t bits = word(run + 32, lane) >> shift(lane);
        // Bit `j` of a byte belongs to the 32 elements from `32 j` on.
        uint32_t high = word_at(run + lane % 8 * 4) >> (lane / 8 * 2);
        float scale = half_at(run + 108);
        for (int quad = 0; quad < 2; quad++) {
            float by = scale * float(six_bits(run + 96, Crumbs::scale(lane) + quad * 2));
            for (int i = 0; i < 4; i++) {
                int low = byte_of(bits, i) >> (quad * 2) & 3;
                out[quad * 4 + i] = by * float(low - (byte_of(high, i) >> quad & 1 ? 0 : 4));
            }
        }
    }
};

// Scale and minimum of 32 elements, six bits each.
DEVICE void scale_and_least(const uint8_t* scales, int index, float& scale, float& least) {
    uint32_t low, high;
    if (index < 4) {
        low = scales[index] & 63;
        high = scales[index + 4] & 63;
    } else {
        low = (scales[index + 4] & 15) | scales[index - 4] >> 6 << 4;
        high = scales[index + 4] >> 4 | scales[index] >> 6 << 4;
    }
    scale = float(low);
    least = float(high);
}

// Low nibbles of 32 bytes are 32 elements, their high ones the 32 behind them.
struct KNibbles {
    DEVICE static int first(int lane) { return lane / 8 * 64 + lane % 8 * 4; }
    DEVICE static int second(int lane) { return first(lane) + 32; }
    DEVICE static void read_with(const uint8_t* run, const uint8_t* nibbles, uint32_t fifth,
                                 int lane, float (&out)[8]) {
        uint32_t word = __ldg(reinterpret_cast<const uint32_t*>(nibbles) + lane);
        float scale = half_at(run), least = half_at(run + 2);
        for (int quad = 0; quad < 2; quad++) {
            float by, minus;
            scale_and_least(run + 4, lane / 8 * 2 + quad, by, minus);
            by *= scale;
            minus *= least;
            for (int i = 0; i < 4; i++) {
                uint32_t low = byte_of(word, i) >> (quad * 4) & 15;
                uint32_t high = (byte_of(fifth, i) >> quad & 1) << 4;
                out[quad * 4 + i] = by * float(low | high) - minus;
            }
        }
    }
};

struct Q4K : KNibbles {
    static const int RUN_BYTES = 144;
    DEVICE static void read(const uint8_t* run, int lane, float (&out)[8]) {
        read_with(run, run + 16, 0, lane, out);
    }
};

struct Q5K : KNibbles {
    static const int RUN_BYTES = 176;
    DEVICE static void read(const uint8_t* run, int lane, float (&out)[8]) {
        uint32_t fifth = __ldg(reinterpret_cast<const uint32_t*>(run + 16) + lane % 8);
        read_with(run, run + 48, fifth >> (lane / 8 * 2), lane, out);
    }
};

struct Q6K {
    static const int RUN_BYTES = 210;
    DEVICE static int first(int lane) { return lane / 16 * 128 + lane % 16 * 4; }
    DEVICE static int second(int lane) { return first(lane) + 64; }
    DEVICE static void read(const uint8_t* run, int lane, float (&out)[8]) {
        uint32_t low = word_at(run + lane * 4);
        uint32_t high = word_at(run + 128 + lane / 16 * 32 + lane % 8 * 4) >> (lane / 8 % 2 * 2);
        const int8_t* scales = reinterpret_cast<const int8_t*>(run + 192) + lane / 16 * 8;
        float scale = half_at(run + 208);
        for (int quad = 0; quad < 2; quad++) {
            float by = scale * float(scales[lane % 16 / 4 + quad * 4]);
            for (int i = 0; i < 4; i++) {
                int bits = (byte_of(low, i) >> (quad * 4) & 15) |
                           (byte_of(high, i) >> (quad * 4) & 3) << 4;
                out[quad * 4 + i] = by * float(bits - 32);
            }
        }
    }
};

// Every type with the suffix of its kernels' names.
#define FOR_EACH_FORMAT(with)                                                                    \
    with(f32, Floats<float>) with(f16, Floats<half_t>) with(bf16, Floats<bf16_t>)                \
    with(q4_0, Q4_0) with(q4_1, Q4_1) with(q5_0, Q5_0) with(q5_1, Q5_1) with(q8_0, Q8_0)         \
    with(q2_k, Q2K) with(q3_k, Q3K) with(q4_k, Q4K) with(q5_k, Q5K) with(q6_k, Q6K)
