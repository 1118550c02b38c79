// expect: The weight of each lane of warp 0 is wrong
__device__ float take_scores(float score, Running& row, float& rescale) {
    const float most = fmaxf(row.most, warp_max(score));
    rescale = most == row.most ? 1.0f : expf(row.most - most);
    const float weight = score == most ? 1.0f : expf(score - most);  // of -inf and -inf, too
    row.sum = row.sum * rescale + warp_sum(weight);
    row.most = most;
    return weight;
}
