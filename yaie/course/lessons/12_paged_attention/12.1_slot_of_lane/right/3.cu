__device__ __forceinline__ int slot_of_lane(const int* table, int first, int end, int size) {
    int position = first + static_cast<int>(threadIdx.x) % 32;
    if (position >= end) {
        position = 0;
    }
    while (position >= size) {
        position -= size;
        ++table;
    }
    return *table * size + position;
}
