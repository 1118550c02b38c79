// How the kernels of this folder move rows: N neighbouring elements at once, as one access where they are 16 bytes.
#pragma once
#include "../common.cuh"

template <typename T, int N>
struct alignas(sizeof(T) * N) Pack {
    T at[N];
};

template <typename T, int N>
__device__ float sum_of_squares(Pack<T, N> pack) {
    float sum = 0.0f;
    for (int e = 0; e < N; ++e) {
        sum += to_float(pack.at[e]) * to_float(pack.at[e]);
    }
    return sum;
}

template <typename T, int N>
__device__ Pack<T, N> scaled(Pack<T, N> pack, float scale, Pack<T, N> weight) {
    for (int e = 0; e < N; ++e) {
        const T quotient = from_float<T>(to_float(pack.at[e]) * scale);
        pack.at[e] = from_float<T>(to_float(quotient) * to_float(weight.at[e]));
    }
    return pack;
}

// True where `pointer` may be read 16 bytes at a time.
static bool on_16_bytes(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

// Threads for a thread block with so much to do: whole warps, at most `most`.
static int threads_for(int64_t items, int most) {
    const int64_t rounded = (items + 31) / 32 * 32;
    return static_cast<int>(rounded < 32 ? 32 : rounded < most ? rounded : most);
}

// Call `f` with null pointers to the element type of `dtype` and to its pack: of 16 bytes, or of one element where the
// shape does not allow more.
template <typename F>
static int dispatch_packs(int dtype, bool wide, F f) {
    return dispatch_dtype(dtype, [&](auto* type) -> int {
        using T = std::remove_pointer_t<decltype(type)>;
        if (wide) {
            return f(type, static_cast<Pack<T, 16 / sizeof(T)>*>(nullptr));
        }
        return f(type, static_cast<Pack<T, 1>*>(nullptr));
    });
}
