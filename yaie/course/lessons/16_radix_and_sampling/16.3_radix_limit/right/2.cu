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
