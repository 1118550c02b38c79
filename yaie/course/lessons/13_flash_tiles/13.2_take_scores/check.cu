// The check calls flash_attention_2_tiles, too.

// take_scores by itself: warp w takes a tile of 32 scores into row w. All lanes write what they have afterwards.
__global__ void scores_alone(const float* scores, const float* most, const float* sum, float* most_after,
                             float* sum_after, float* rescale_after, float* weights) {
    const int warp = threadIdx.x / 32;
    Running row = {most[warp], sum[warp]};
    float rescale = NAN;
    weights[threadIdx.x] = take_scores(scores[threadIdx.x], row, rescale);
    most_after[threadIdx.x] = row.most;
    sum_after[threadIdx.x] = row.sum;
    rescale_after[threadIdx.x] = rescale;
}

extern "C" int take_scores_alone(const float* scores, const float* most, const float* sum, float* most_after,
                                 float* sum_after, float* rescale_after, float* weights, int rows,
                                 cudaStream_t stream) {
    scores_alone<<<1, 32 * rows, 0, stream>>>(scores, most, sum, most_after, sum_after, rescale_after, weights);
    return cudaGetLastError();
}
