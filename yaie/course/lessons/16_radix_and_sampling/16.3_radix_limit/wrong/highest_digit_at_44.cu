// expect: just those go wrong where `id_bits` is 26 or more
static __device__ Order radix_limit(const Row& row, bool by_mass, unsigned long long target, Histogram& histogram,
                                    Scratch& scratch) {
    Order found = 0;
    const int highest = 44;
    for (int shift = highest; shift >= 0; shift -= DIGIT_BITS) {
        count_digits(row, by_mass, found, shift, histogram);
        find_digit(by_mass, target, histogram, scratch);
        target -= histogram.before;
        found = found << DIGIT_BITS | histogram.digit;
        if (histogram.count[histogram.digit] == 1) {
            return ((found + 1) << shift) - 1;
        }
    }
    return found;
}
