// What each lane of two warps reads in a pool of keys, from the slot that slot_of_lane gives it.
__global__ void reads_of_lanes(const int* block_table, int first, int end, int block_size, const int* keys, int* read) {
    read[threadIdx.x] = keys[slot_of_lane(block_table, first, end, block_size)];
}

extern "C" int read_by_lanes(const int* block_table, int first, int end, int block_size, const int* keys, int* read,
                             cudaStream_t stream) {
    reads_of_lanes<<<1, 64, 0, stream>>>(block_table, first, end, block_size, keys, read);
    return cudaGetLastError();
}
