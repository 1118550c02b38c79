__device__ float take_scores(float score, Running& row, float& rescale) {
    const float most = fmaxf(row.most, warp_max(score));
    if (most == -INFINITY) {
        rescale = 1.0f;
        return 0.0f;
    }
    const float grown = most - row.most;
    rescale = grown > 0.0f ? expf(-grown) : 1.0f;
    row.sum *= rescale;
    const float weight = expf(score - most);
    row.sum += warp_sum(weight);
    row.most = most;
    return weight;
}
