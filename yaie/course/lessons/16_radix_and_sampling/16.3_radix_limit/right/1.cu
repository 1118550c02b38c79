// expect: There is a better way.
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
