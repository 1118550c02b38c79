// grow_maximum by itself: `state` is the largest score and the total; what is returned comes third.
__global__ void grow_alone(float score, float* state) {
    float largest = state[0], total = state[1];
    state[2] = grow_maximum(score, largest, total);
    state[0] = largest;
    state[1] = total;
}

extern "C" int grow(float score, float* state, cudaStream_t stream) {
    grow_alone<<<1, 1, 0, stream>>>(score, state);
    return cudaGetLastError();
}
