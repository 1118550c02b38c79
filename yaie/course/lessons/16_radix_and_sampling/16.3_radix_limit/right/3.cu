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
