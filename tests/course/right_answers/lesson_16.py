"""Three other right answers for each exercise of lesson 16."""

ANSWERS = {
    "16.1": [
        """
__device__ int64_t common_prefix_of_warp(const int64_t* a, const int64_t* b, int64_t count) {
    int64_t i = threadIdx.x % 32;
    for (int64_t rest = count; rest > 0; rest -= 32, i += 32) {
        const bool same = i >= count || a[i] == b[i];
        if (!__all_sync(FULL_WARP, same)) {
            return i - threadIdx.x % 32 + __ffs(__ballot_sync(FULL_WARP, !same)) - 1;
        }
    }
    return count;
}
""",
        """
__device__ int64_t common_prefix_of_warp(const int64_t* a, const int64_t* b, int64_t count) {
    int64_t place = count;
    for (int64_t i = threadIdx.x % 32; i < count; i += 32) {
        if (a[i] != b[i]) {
            place = i;
            break;
        }
    }
    for (int distance = 16; distance > 0; distance /= 2) {
        const int64_t other = __shfl_xor_sync(FULL_WARP, place, distance);
        place = other < place ? other : place;
    }
    return place;
}
""",
        """
__device__ unsigned vote(const int64_t* a, const int64_t* b, int64_t i, int64_t count) {
    return __ballot_sync(FULL_WARP, i < count ? a[i] == b[i] : 1);
}

__device__ int64_t common_prefix_of_warp(const int64_t* a, const int64_t* b, int64_t count) {
    int64_t first = 0;
    while (first < count) {
        const unsigned same = vote(a, b, first + threadIdx.x % 32, count);
        if (same != FULL_WARP) {
            return first + __ffs(~same) - 1;
        }
        first += 32;
    }
    return count;
}
""",
    ],
    "16.2": [
        """
template <typename Unit>
__global__ void gather_pages_kernel(const Unit* cache, const int64_t* block_table, Unit* out, int block_size,
                                    int64_t units_per_token) {
    const int page = blockIdx.x / block_size, row = blockIdx.x % block_size;
    const Unit* from = cache + (block_table[page] * block_size + row) * units_per_token;
    Unit* to = out + static_cast<int64_t>(blockIdx.x) * units_per_token;
    for (int i = threadIdx.x; i < units_per_token; i += blockDim.x) {
        to[i] = from[i];
    }
}
""",
        """
template <typename Unit>
__device__ void copy_units(const Unit* from, Unit* to, int64_t n) {
    int64_t i = threadIdx.x;
    while (i < n) {
        to[i] = from[i];
        i += blockDim.x;
    }
}

template <typename Unit>
__global__ void gather_pages_kernel(const Unit* cache, const int64_t* block_table, Unit* out, int block_size,
                                    int64_t units_per_token) {
    const int64_t p = blockIdx.x;
    const int64_t block = block_table[p / block_size];
    copy_units(cache + block * block_size * units_per_token + p % block_size * units_per_token,
               out + p * units_per_token, units_per_token);
}
""",
        """
template <typename Unit>
__global__ void gather_pages_kernel(const Unit* cache, const int64_t* block_table, Unit* out, int block_size,
                                    int64_t units_per_token) {
    for (int64_t start = 0; start < units_per_token; start += blockDim.x) {
        const int64_t unit = start + threadIdx.x;
        if (unit < units_per_token) {
            const int64_t entry = blockIdx.x / block_size;
            const int64_t slot = block_table[entry] * block_size + (blockIdx.x - entry * block_size);
            out[blockIdx.x * units_per_token + unit] = cache[slot * units_per_token + unit];
        }
    }
}
""",
    ],
    "16.3": [
        """
static __device__ Order radix_limit(const Row& row, bool by_mass, unsigned long long target, Histogram& histogram,
                             Scratch& scratch) {
    Order found = 0;
    int shift = (31 + row.id_bits - 1) / DIGIT_BITS * DIGIT_BITS;
    while (shift >= 0) {
        count_digits(row, by_mass, found, shift, histogram);
        find_digit(by_mass, target, histogram, scratch);
        target -= histogram.before;
        found = (found << DIGIT_BITS) + histogram.digit;
        shift -= DIGIT_BITS;
    }
    return found;
}
""",
        """
static __device__ Order with_ones(Order digits, int shift) { return digits << shift | ((1ull << shift) - 1); }

static __device__ Order radix_limit(const Row& row, bool by_mass, unsigned long long target, Histogram& histogram,
                             Scratch& scratch) {
    const int rounds = (31 + row.id_bits + DIGIT_BITS - 1) / DIGIT_BITS;
    Order found = 0;
    for (int round = rounds - 1; round >= 0; --round) {
        count_digits(row, by_mass, found, round * DIGIT_BITS, histogram);
        find_digit(by_mass, target, histogram, scratch);
        found = found * DIGITS + histogram.digit;
        target -= histogram.before;
        if (histogram.count[histogram.digit] == 1) {
            return with_ones(found, round * DIGIT_BITS);
        }
    }
    return found;
}
""",
        """
static __device__ Order radix_limit(const Row& row, bool by_mass, unsigned long long target, Histogram& histogram,
                             Scratch& scratch) {
    Order found = 0;
    unsigned long long done = 0;
    for (int shift = 66; shift >= 0; shift -= DIGIT_BITS) {
        if (shift > 31 + row.id_bits) continue;
        count_digits(row, by_mass, found, shift, histogram);
        find_digit(by_mass, target - done, histogram, scratch);
        done += histogram.before;
        found = found << DIGIT_BITS | histogram.digit;
    }
    return found;
}
""",
    ],
}
