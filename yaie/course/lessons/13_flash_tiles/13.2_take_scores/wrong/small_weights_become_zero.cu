// expect: A weight may be small, and is what it is
__device__ float take_scores(float score, Running& row, float& rescale) {
    const float old = row.most;
    row.most = fmaxf(old, warp_max(score));
    const float shift = row.most == -INFINITY ? 0.0f : row.most;
    rescale = expf(old - shift);
    const float weight = score - shift < -16.0f ? 0.0f : expf(score - shift);
    row.sum = row.sum * rescale + warp_sum(weight);
    return weight;
}
