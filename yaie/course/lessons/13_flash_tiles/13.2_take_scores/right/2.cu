__device__ float take_scores(float score, Running& row, float& rescale) {
    float weight = 0.0f;
    rescale = 1.0f;
    const float tile_most = warp_max(score);
    if (tile_most > row.most) {  // the maximum grows
        rescale = expf(row.most - tile_most);
        row.sum *= rescale;
        row.most = tile_most;
    }
    if (row.most > -INFINITY) {
        weight = expf(score - row.most);
    }
    row.sum += warp_sum(weight);
    return weight;
}
