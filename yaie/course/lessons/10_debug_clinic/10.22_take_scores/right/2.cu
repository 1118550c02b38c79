__device__ float take_scores(float score, Running& row, float& rescale) {
    const float most = fmaxf(row.most, warp_max(score));
    if (most == -INFINITY) {
        rescale = 1.0f;
        return 0.0f;
    }
    const float weight = expf(score - most);
    rescale = 1.0f / expf(most - row.most);
    row.sum = row.sum * rescale + warp_sum(weight);
    row.most = most;
    return weight;
}
