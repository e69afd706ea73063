// Activations as integers of 16 bits, blocks of 32 with a scale each, so that what is rounded is a
// 65,024th of a block's largest: less than products of many rows round. An integer is two bytes,
// `256 * high + low`, both signed, since instructions multiply bytes.
#pragma once

#include "device.cuh"

const int GROUP = 16;
// Of a group in memory: its high bytes, then its low ones.
const int GROUP_BYTES = 2 * GROUP;
// What the largest of a block becomes: 127 * 256, so that the high byte of its opposite fits as well.
const float INTEGER_MAX = 32512.0f;

// Bytes of a row of `k`: its groups, then of each group the scale, and the scale times the sum of the
// group's integers.
DEVICE int64_t integers_bytes(int k) { return int64_t(k) * 2 + k / GROUP * int64_t(sizeof(float2)); }

// A warp's block of 32 activations, one of each lane, from `start` of a row on. What is not finite
// makes the scale NaN, and with it all products.
DEVICE void write_integers(uint8_t* row, int k, int start, float x) {
    int lane = threadIdx.x % 32;
    float magnitude = fabsf(x);
    float most = warp_max(magnitude < INFINITY ? magnitude : INFINITY);
    bool is_finite = most < INFINITY;
    // The inverse of what is next to nothing would be infinite.
    bool is_zero = most < 1e-30f;
    float scale = !is_finite ? NAN : is_zero ? 0.0f : most / INTEGER_MAX;
    int integer = !is_finite || is_zero ? 0 : int(rintf(x * (INTEGER_MAX / most)));
    int8_t low = int8_t(integer);
    // Groups are the halves of the block.
    float sum = float(integer);
    for (int mask = GROUP / 2; mask > 0; mask /= 2) sum += shuffle_xor(sum, mask);
    int group = (start + lane) / GROUP, place = lane % GROUP;
    uint8_t* bytes = row + int64_t(group) * GROUP_BYTES + place;
    bytes[0] = uint8_t((integer - low) >> 8);
    bytes[GROUP] = uint8_t(low);
    float2* factors = reinterpret_cast<float2*>(row + int64_t(k) * 2);
    if (place == 0) factors[group] = make_float2(scale, scale * sum);
}
