__device__ __forceinline__ int slot_of_token(const int* table, int token, int size) {
    const int* entry = table + token / size;
    return *entry * size + token % size;
}
