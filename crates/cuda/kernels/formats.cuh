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
        for (unsigned i = 0; i < sizeof(T) / 2; i++) eight.words[i] = from[i];
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

// What stands before the elements of a run: a scale and a minimum of its scales and minima, and those,
// eight of each of six bits. Every lane reads all of it at once.
struct KHeader {
    uint4 words;
    DEVICE static KHeader read(const uint8_t* run) {
        return {__ldg(reinterpret_cast<const uint4*>(run))};
    }
    // Six bits each of two indices that follow each other, as the low bytes of two words: scales
    // and minima of 32 elements.
    DEVICE void pairs_at(int index, uint32_t& scales, uint32_t& minima) const {
        const uint32_t SIX = 0x3f3f3f3f, FOUR = 0x0f0f0f0f, TOP = 0x30303030;
        // The first four have bytes of their own; the others' low bits are nibbles of the last word,
        // and their high ones the top of those bytes.
        bool is_first = index < 4;
        scales = is_first ? words.y & SIX : (words.w & FOUR) | (words.y >> 2 & TOP);
        minima = is_first ? words.z & SIX : (words.w >> 4 & FOUR) | (words.z >> 2 & TOP);
        scales >>= index % 4 * 8;
        minima >>= index % 4 * 8;
    }
    DEVICE float2 common() const {
        union {
            uint32_t word;
            half_t halves[2];
        } both = {words.x};
        return make_float2(to_float(both.halves[0]), to_float(both.halves[1]));
    }
};

// Low nibbles of 32 bytes are 32 elements, their high ones the 32 behind them.
struct KNibbles {
    DEVICE static int first(int lane) { return lane / 8 * 64 + lane % 8 * 4; }
    DEVICE static int second(int lane) { return first(lane) + 32; }
    // Of the lane's two quads the bytes, and by what they are multiplied and what is taken off.
    struct Quads {
        uint32_t bytes[2];
        float by[2], minus[2];
    };
    DEVICE static Quads quads(const uint8_t* run, const uint8_t* nibbles, uint32_t fifth,
                              int lane) {
        KHeader header = KHeader::read(run);
        uint32_t word = __ldg(reinterpret_cast<const uint32_t*>(nibbles) + lane);
        uint32_t scales, minima;
        header.pairs_at(lane / 8 * 2, scales, minima);
        float2 common = header.common();
        Quads out;
        for (int quad = 0; quad < 2; quad++) {
            // What 2^23 adds is taken off in the same operation: a product, rounded once.
            float scale = two_to_23_and_byte(scales, quad);
            float least = two_to_23_and_byte(minima, quad);
            out.by[quad] = fmaf(common.x, scale, common.x * -8388608.0f);
            out.minus[quad] = fmaf(common.y, least, common.y * -8388608.0f);
            out.bytes[quad] =
                (word >> (quad * 4) & 0x0f0f0f0f) | (fifth >> quad & 0x01010101) << 4;
        }
        return out;
    }
    DEVICE static void elements(const Quads& quads, float (&out)[8]) {
        for (int i = 0; i < 8; i++) {
            float byte = float_of_byte(quads.bytes[i / 4], i % 4);
            out[i] = quads.by[i / 4] * byte - quads.minus[i / 4];
        }
    }
};

struct Q4K : KNibbles {
    static const int RUN_BYTES = 144;
    DEVICE static void read(const uint8_t* run, int lane, float (&out)[8]) {
        elements(quads(run, run + 16, 0, lane), out);
    }
};

struct Q5K : KNibbles {
    static const int RUN_BYTES = 176;
    DEVICE static uint32_t fifth(const uint8_t* run, int lane) {
        uint32_t bits = __ldg(reinterpret_cast<const uint32_t*>(run + 16) + lane % 8);
        return bits >> (lane / 8 * 2);
    }
    DEVICE static void read(const uint8_t* run, int lane, float (&out)[8]) {
        elements(quads(run, run + 48, fifth(run, lane), lane), out);
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
            uint32_t four =
                (low >> (quad * 4) & 0x0f0f0f0f) | (high >> (quad * 4) & 0x03030303) << 4;
            for (int i = 0; i < 4; i++)
                out[quad * 4 + i] = by * (float_of_byte(four, i) - 32.0f);
        }
    }
};

// Every type with the suffix of its kernels' names: those whose products are of floats, and those whose
// products are of integers.
#define FOR_EACH_FORMAT_OF_FLOATS(with)                                                          \
    with(f32, Floats<float>) with(f16, Floats<half_t>) with(bf16, Floats<bf16_t>)                \
    with(q4_0, Q4_0) with(q4_1, Q4_1) with(q5_0, Q5_0) with(q5_1, Q5_1)                          \
    with(q2_k, Q2K) with(q3_k, Q3K)
#define FOR_EACH_FORMAT_OF_INTEGERS(with)                                                        \
    with(q8_0, Q8_0) with(q4_k, Q4K) with(q5_k, Q5K) with(q6_k, Q6K)
#define FOR_EACH_FORMAT(with) FOR_EACH_FORMAT_OF_FLOATS(with) FOR_EACH_FORMAT_OF_INTEGERS(with)
