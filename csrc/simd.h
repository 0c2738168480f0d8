// A vector of VM_LANES fp32 numbers and the few functions the kernels need of it, in the compilers' portable vector
// extensions. Everything here is internal to the translation unit: the same names are compiled once per instruction set.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace {

constexpr int W = VM_LANES;

typedef float V __attribute__((vector_size(W * 4)));
typedef int32_t I __attribute__((vector_size(W * 4)));
typedef uint32_t U __attribute__((vector_size(W * 4)));
typedef uint16_t H __attribute__((vector_size(W * 2)));

struct bf16 {
    uint16_t bits;
};

#define VM_INLINE inline __attribute__((always_inline))

VM_INLINE V splat(float x) { return V{} + x; }
VM_INLINE V as_float(I x) { return (V)x; }
VM_INLINE I as_int(V x) { return (I)x; }

// The compilers turn the portable conversions into several shuffles each.
#if defined(__AVX512F__) && VM_LANES == 16
VM_INLINE V widen(H h) { return (V)_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)h), 16); }
VM_INLINE H low_halves(U bits) { return (H)_mm512_cvtepi32_epi16((__m512i)bits); }
#elif defined(__AVX2__) && VM_LANES == 8
VM_INLINE V widen(H h) { return (V)_mm256_slli_epi32(_mm256_cvtepu16_epi32((__m128i)h), 16); }
VM_INLINE H low_halves(U bits) {
    __m256i packed = _mm256_packus_epi32((__m256i)bits, (__m256i)bits);  // within each 128-bit half
    return (H)_mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08));
}
#else
VM_INLINE V widen(H h) { return (V)(__builtin_convertvector(h, U) << 16); }
VM_INLINE H low_halves(U bits) { return __builtin_convertvector(bits, H); }
#endif

VM_INLINE H narrow(V x) {  // round to nearest even; NaN stays NaN
    U bits = (U)x;
    U rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    U quiet = (bits >> 16) | 0x40u;
    return low_halves((x == x) ? rounded : quiet);
}

VM_INLINE V load(const float* p) {
    V v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
VM_INLINE V load(const bf16* p) {
    H h;
    std::memcpy(&h, p, sizeof h);
    return widen(h);
}
VM_INLINE void store(float* p, V v) { std::memcpy(p, &v, sizeof v); }
VM_INLINE void store(bf16* p, V v) {
    H h = narrow(v);
    std::memcpy(p, &h, sizeof h);
}

// The last channel group may have fewer than W lanes: the rest reads as zero and is not written.
template <class T>
VM_INLINE V load(const T* p, int lanes) {
    if (__builtin_expect(lanes == W, 1)) return load(p);
    T part[W] = {};
    for (int i = 0; i < lanes; ++i) part[i] = p[i];
    return load(part);
}
template <class T>
VM_INLINE void store(T* p, V v, int lanes) {
    if (__builtin_expect(lanes == W, 1)) return store(p, v);
    T part[W];
    store(part, v);
    for (int i = 0; i < lanes; ++i) p[i] = part[i];
}

VM_INLINE float to_float(float x) { return x; }
VM_INLINE float to_float(bf16 x) {
    uint32_t bits = uint32_t(x.bits) << 16;
    float f;
    std::memcpy(&f, &bits, sizeof f);
    return f;
}

// to[n] += the sum over the lanes of v[n], for eight vectors at once: the shuffles of a transposition, adding on the way.
VM_INLINE void add_sums(float* to, const V (&v)[8]) {
#if defined(__AVX512F__) && VM_LANES == 16
    __m512 half[4];
    for (int i = 0; i < 4; ++i) {  // v[i] in the lower half, v[i + 4] in the upper
        const __m512 low = (__m512)v[i], high = (__m512)v[i + 4];
        half[i] = (__m512)((V)_mm512_shuffle_f32x4(low, high, 0x44) + (V)_mm512_shuffle_f32x4(low, high, 0xee));
    }
    const V even = (V)_mm512_unpacklo_ps(half[0], half[1]) + (V)_mm512_unpackhi_ps(half[0], half[1]);
    const V odd = (V)_mm512_unpacklo_ps(half[2], half[3]) + (V)_mm512_unpackhi_ps(half[2], half[3]);
    const __m512d first = (__m512d)even, second = (__m512d)odd;
    const V quarters = (V)_mm512_unpacklo_pd(first, second) + (V)_mm512_unpackhi_pd(first, second);  // 0-3 0-3 4-7 4-7
    const V eighths = quarters + (V)_mm512_shuffle_f32x4((__m512)quarters, (__m512)quarters, 0xb1);
    const __m512 joined = _mm512_shuffle_f32x4((__m512)eighths, (__m512)eighths, 0x88);
    _mm256_storeu_ps(to, _mm256_add_ps(_mm256_loadu_ps(to), _mm512_castps512_ps256(joined)));
#elif defined(__AVX2__) && VM_LANES == 8
    const __m256 low = _mm256_hadd_ps(_mm256_hadd_ps((__m256)v[0], (__m256)v[1]), _mm256_hadd_ps((__m256)v[2], (__m256)v[3]));
    const __m256 high = _mm256_hadd_ps(_mm256_hadd_ps((__m256)v[4], (__m256)v[5]), _mm256_hadd_ps((__m256)v[6], (__m256)v[7]));
    const __m256 joined = _mm256_add_ps(_mm256_permute2f128_ps(low, high, 0x20), _mm256_permute2f128_ps(low, high, 0x31));
    _mm256_storeu_ps(to, _mm256_add_ps(_mm256_loadu_ps(to), joined));
#else
    for (int n = 0; n < 8; ++n) {
        float parts[W];
        store(parts, v[n]);
        for (int width = W / 2; width > 0; width /= 2)
            for (int i = 0; i < width; ++i) parts[i] += parts[i + width];
        to[n] += parts[0];
    }
#endif
}

VM_INLINE V select(I mask, V yes, V no) { return mask ? yes : no; }

// NaN in x passes: the instructions return their second operand when either is NaN. The compilers do not find them
// from a comparison without -ffast-math.
VM_INLINE V clamp(V x, float lo, float hi) {
#if defined(__AVX512F__) && VM_LANES == 16
    return (V)_mm512_min_ps(_mm512_set1_ps(hi), _mm512_max_ps(_mm512_set1_ps(lo), (__m512)x));
#elif defined(__AVX2__) && VM_LANES == 8
    return (V)_mm256_min_ps(_mm256_set1_ps(hi), _mm256_max_ps(_mm256_set1_ps(lo), (__m256)x));
#else
    x = select(x < lo, splat(lo), x);
    return select(x > hi, splat(hi), x);
#endif
}

// 2^f on [-1/2, 1/2]: relative error 2e-7 in fp32 arithmetic.
struct Exact {
    static VM_INLINE V polynomial(V f) {
        V p = splat(1.3398874e-3f);
        p = p * f + 9.6184373e-3f;
        p = p * f + 5.5503324e-2f;
        p = p * f + 2.4022648e-1f;
        p = p * f + 6.9314718e-1f;
        return p * f + 1.0f;
    }
};

// One term less, for the decays of the states, where the processor does nothing but these sums. The error is that of a
// step delta that is off by 1.5e-5 of itself at most: (2^f - 1) / f by its minimax cubic, so that 2^0 is 1 and slow decays
// stay as slow as they are.
struct Decay {
    static VM_INLINE V polynomial(V f) {
        V p = splat(9.618111e-3f);
        p = p * f + 5.5837288e-2f;
        p = p * f + 2.4023253e-1f;
        p = p * f + 6.9313687e-1f;
        return p * f + 1.0f;
    }
};

// 2^x for -125 <= x <= 127.
template <class Precision>
VM_INLINE V exp2_in_range(V x) {
#if defined(__AVX512F__) && VM_LANES == 16
    const __m512 whole = _mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    return (V)_mm512_scalef_ps((__m512)Precision::polynomial(x - (V)whole), whole);
#else
    const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to the nearest integer, kept in the low bits
    V shifted = x + magic;
    // The integer in the low bits of `shifted` is added to the exponent of the polynomial's value, which is near 1.
    return as_float(as_int(Precision::polynomial(x - (shifted - magic))) + (as_int(shifted) << 23));
#endif
}

// 2^x for every finite x: it underflows to 0 and overflows to inf where the instruction set does that by itself, and
// stays at 2^-125 and 2^127 elsewhere.
template <class Precision = Exact>
VM_INLINE V exp2(V x) {
#if defined(__AVX512F__) && VM_LANES == 16
    return exp2_in_range<Precision>(x);
#else
    // Adding to the exponent could turn a NaN into a number.
    return select(x == x, exp2_in_range<Precision>(clamp(x, -125.0f, 127.0f)), x);
#endif
}

// 1 / x for finite, normal x: the processor's estimate and one Newton step, several times cheaper than a division.
VM_INLINE V reciprocal(V x) {
#if defined(__AVX512F__) && VM_LANES == 16
    V r = (V)_mm512_rcp14_ps((__m512)x);
    return r * (2.0f - x * r);
#elif defined(__AVX2__) && VM_LANES == 8
    V r = (V)_mm256_rcp_ps((__m256)x);
    return r * (2.0f - x * r);
#else
    return 1.0f / x;
#endif
}

constexpr float kLog2e = 1.4426950408889634f;

VM_INLINE V sigmoid(V x) { return reciprocal(1.0f + exp2_in_range<Exact>(clamp(x * -kLog2e, -125.0f, 125.0f))); }

// log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|)), log1p(y) = 2 atanh(y / (2 + y)), by its series up to s^13.
// `slope`, where wanted, is the derivative, sigmoid(x). From x = 20 on both are what PyTorch takes them to be: x and 1.
VM_INLINE V softplus(V x, V* slope = nullptr) {
    V absolute = select(x < 0.0f, -x, x);
    V y = exp2(absolute * -kLog2e);
    V s = y * reciprocal(y + 2.0f);
    V s2 = s * s;
    V p = splat(2.0f / 13);
    p = p * s2 + 2.0f / 11;
    p = p * s2 + 2.0f / 9;
    p = p * s2 + 2.0f / 7;
    p = p * s2 + 2.0f / 5;
    p = p * s2 + 2.0f / 3;
    p = p * s2 + 2.0f;
    if (slope) *slope = select(x > 20.0f, splat(1.0f), select(x < 0.0f, y, splat(1.0f)) * reciprocal(y + 1.0f));
    return select(x > 20.0f, x, select(x < 0.0f, splat(0.0f), x) + p * s);
}

// psi(x) = (e^x - 1) / x for |x| < 1/2, where the closed form cancels.
VM_INLINE V expm1_ratio_near(V x) {
    V p = splat(1.0f / 40320);
    p = p * x + 1.0f / 5040;
    p = p * x + 1.0f / 720;
    p = p * x + 1.0f / 120;
    p = p * x + 1.0f / 24;
    p = p * x + 1.0f / 6;
    p = p * x + 0.5f;
    return p * x + 1.0f;
}

// psi'(x) for |x| < 1/2.
VM_INLINE V expm1_ratio_slope_near(V x) {
    V p = splat(8.0f / 362880);
    p = p * x + 7.0f / 40320;
    p = p * x + 6.0f / 5040;
    p = p * x + 5.0f / 720;
    p = p * x + 4.0f / 120;
    p = p * x + 3.0f / 24;
    p = p * x + 2.0f / 6;
    return p * x + 0.5f;
}

VM_INLINE I is_near(V x) { return (x < 0.5f) & (x > -0.5f); }

// Scratch memory of one task, aligned to a vector, freed when it goes out of scope.
struct Scratch {
    float* data;
    explicit Scratch(int64_t floats) {
        int64_t bytes = (floats * 4 + 63) / 64 * 64;
        data = static_cast<float*>(::operator new(bytes > 0 ? bytes : 64, std::align_val_t{64}, std::nothrow));
        if (!data) std::abort();
    }
    ~Scratch() { ::operator delete(data, std::align_val_t{64}); }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    V* vectors() const { return reinterpret_cast<V*>(data); }
};

template <class N>
VM_INLINE N smaller(N a, N b) {
    return a < b ? a : b;
}

template <class T>
VM_INLINE T* row(const View& v, int64_t b, int64_t t) {
    return static_cast<T*>(v.data) + b * v.batch_stride + t * v.row_stride;
}

}  // namespace
