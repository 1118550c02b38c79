// expect: The weight of each lane of warp 0 is wrong
__device__ float take_scores(float score, Running& row, float& rescale) {
    const float most = fmaxf(fmaxf(row.most, -1e9f), warp_max(score));
    const float weight = expf(score - most);
    rescale = expf(row.most - most);
    row.sum = row.sum * rescale + warp_sum(weight);
    row.most = row.most == -INFINITY && warp_max(score) == -INFINITY ? -INFINITY : most;
    return weight;
}
