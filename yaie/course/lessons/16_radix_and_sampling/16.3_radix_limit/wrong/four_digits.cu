// expect: just those go wrong where `id_bits` is 14 or more
static __device__ Order radix_limit(const Row& row, bool by_mass, unsigned long long target, Histogram& histogram,
                                    Scratch& scratch) {
    Order found = 0;
    for (int shift = 33; shift >= 0; shift -= DIGIT_BITS) {  // enough for 13 bits of ids
        count_digits(row, by_mass, found, shift, histogram);
        find_digit(by_mass, target, histogram, scratch);
        target -= histogram.before;
        found = found << DIGIT_BITS | histogram.digit;
    }
    return found;
}
