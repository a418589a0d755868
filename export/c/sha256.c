#include "sha256.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define BLOCK 64

/* First 32 bits of the fractional parts of the cube roots of the first 64 primes. */
static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotated(uint32_t word, int bits) {
    return word >> bits | word << (32 - bits);
}

static void schedule(const unsigned char *block, uint32_t w[64]) {
    for (int t = 0; t < 16; t++, block += 4)
        w[t] = (uint32_t)block[0] << 24 | (uint32_t)block[1] << 16 | (uint32_t)block[2] << 8 | block[3];
    for (int t = 16; t < 64; t++) {
        uint32_t low = rotated(w[t - 15], 7) ^ rotated(w[t - 15], 18) ^ w[t - 15] >> 3;
        uint32_t high = rotated(w[t - 2], 17) ^ rotated(w[t - 2], 19) ^ w[t - 2] >> 10;
        w[t] = high + w[t - 7] + low + w[t - 16];
    }
}

static void absorb(uint32_t hash[8], const unsigned char *block) {
    uint32_t w[64], s[8]; /* s: a to h */
    schedule(block, w);
    memcpy(s, hash, sizeof s);
    for (int t = 0; t < 64; t++) {
        uint32_t choice = (s[4] & s[5]) ^ (~s[4] & s[6]), majority = (s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]);
        uint32_t one = s[7] + (rotated(s[4], 6) ^ rotated(s[4], 11) ^ rotated(s[4], 25)) + choice + K[t] + w[t];
        uint32_t two = (rotated(s[0], 2) ^ rotated(s[0], 13) ^ rotated(s[0], 22)) + majority;
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += one;
        s[0] = one + two;
    }
    for (int i = 0; i < 8; i++) hash[i] += s[i];
}

/* The last bytes, a bit, zeros, and the length in bits: one block or two. */
static void absorb_end(uint32_t hash[8], const unsigned char *rest, size_t size, uint64_t total) {
    unsigned char last[2 * BLOCK] = {0};
    size_t length = size < BLOCK - 8 ? BLOCK : 2 * BLOCK;
    memcpy(last, rest, size);
    last[size] = 0x80;
    for (size_t i = 0; i < 8; i++) last[length - 1 - i] = (unsigned char)(total * 8 >> 8 * i);
    for (size_t at = 0; at < length; at += BLOCK) absorb(hash, last + at);
}

bool sha256_file(const char *path, char digest[SHA256_TEXT]) {
    uint32_t hash[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    unsigned char buffer[1024 * BLOCK];
    uint64_t total = 0;
    size_t size;
    FILE *stream = fopen(path, "rb");
    if (!stream) return false;
    while ((size = fread(buffer, 1, sizeof buffer, stream)) == sizeof buffer) {
        for (size_t at = 0; at < size; at += BLOCK) absorb(hash, buffer + at);
        total += size;
    }
    bool whole = !ferror(stream);
    fclose(stream);
    size_t blocks = size / BLOCK * BLOCK;
    for (size_t at = 0; at < blocks; at += BLOCK) absorb(hash, buffer + at);
    absorb_end(hash, buffer + blocks, size - blocks, total + size);
    for (size_t i = 0; i < 8; i++) snprintf(digest + 8 * i, 9, "%08x", (unsigned)hash[i]);
    return whole;
}
