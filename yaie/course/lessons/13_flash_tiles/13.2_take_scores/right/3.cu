__device__ float take_scores(float score, Running& row, float& rescale) {
    float most = score;
    for (int step = 1; step < 32; step *= 2) {
        most = fmaxf(most, __shfl_xor_sync(0xffffffff, most, step));
    }
    most = fmaxf(most, row.most);
    const bool nothing = isinf(most);
    rescale = nothing ? 1.0f : exp2f((row.most - most) * 1.44269504f);
    const float weight = nothing ? 0.0f : exp2f((score - most) * 1.44269504f);
    float sum = weight;
    for (int step = 16; step > 0; step /= 2) {
        sum += __shfl_xor_sync(0xffffffff, sum, step);
    }
    row = {most, row.sum * rescale + sum};
    return weight;
}
