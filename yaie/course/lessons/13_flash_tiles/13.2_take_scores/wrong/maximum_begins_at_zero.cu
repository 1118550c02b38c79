// expect: Wrong: row.most, warp 0
__device__ float take_scores(float score, Running& row, float& rescale) {
    const float most = fmaxf(fmaxf(row.most, 0.0f), warp_max(score));
    const float weight = expf(score - most);
    rescale = expf(row.most - most);
    row.sum = row.sum * rescale + warp_sum(weight);
    row.most = most;
    return weight;
}
