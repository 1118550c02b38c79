__device__ float take_scores(float score, Running& row, float& rescale) {
    const float most = fmaxf(row.most, warp_max(score));
    if (most == -INFINITY) {
        rescale = 1.0f;
        return 0.0f;
    }
    rescale = expf(row.most - most);
    const float weight = expf(score - most);
    row = {most, row.sum * rescale + warp_sum(weight)};
    return weight;
}
