// What columns_operand describes: out [64][16] = the operand x the unit matrix. tile: [ROWS][HEAD_DIM], which is laid
// into shared memory as TMA does it.
template <int ROWS, int HEAD_DIM>
__global__ void operand_alone_kernel(const uint4* tile, float* out, int first_row, int step) {
    __shared__ __align__(1024) char placed[TILE_BYTES<ROWS, HEAD_DIM>];
    __shared__ __align__(1024) char unit[32 * PART_BYTES];
    constexpr int CHUNKS = HEAD_DIM / 8;
    for (int i = threadIdx.x; i < ROWS * CHUNKS; i += WARPGROUP) {
        const int row = i / CHUNKS, chunk = i % CHUNKS;
        const int within = row % 8 * 128 + ((chunk % 8) ^ (row % 8)) * 16;
        *reinterpret_cast<uint4*>(placed + chunk / 8 * (ROWS * 128) + row / 8 * 1024 + within) = tile[i];
    }
    for (int i = threadIdx.x; i < 32 * 64; i += WARPGROUP) {
        const int row = i / 64, column = i % 64;
        const int at = row * 128 + ((column / 8) ^ (row % 8)) * 16 + column % 8 * 2;
        *reinterpret_cast<__half*>(unit + at) = __float2half(row == column ? 1.0f : 0.0f);
    }
    yaie::fence_proxy_async();
    __syncthreads();
    float d[16] = {};
    yaie::wgmma_fence();
    yaie::wgmma_ss<__half, 32>(d, columns_operand<ROWS>(placed, first_row, step),
                               yaie::wgmma_descriptor(unit, 16, 1024, yaie::SWIZZLE_128B), false);
    yaie::wgmma_commit();
    yaie::wgmma_wait<0>();
    yaie::wgmma_keep(d);
    for (int i = 0; i < 8; ++i) {
        out[own_row(i / 2 % 2) * 16 + 8 * (i / 4) + threadIdx.x % 4 * 2 + i % 2] = d[i];
    }
}

// What columns_operand says: fields [first rows][steps][4], in bytes the address behind the tile, the leading offset and
// the stride; and the swizzle.
template <int ROWS>
__global__ void descriptors_kernel(int* fields, const int* first_rows, int num_rows, int num_steps) {
    __shared__ __align__(1024) char tile[1024];
    const uint64_t start = yaie::wgmma_descriptor(tile, 16, 1024, yaie::SWIZZLE_128B) & 0x3fff;
    for (int i = 0; i < num_rows * num_steps; ++i) {
        const uint64_t bits = columns_operand<ROWS>(tile, first_rows[i / num_steps], i % num_steps);
        const int units = static_cast<int>((bits - start) & 0x3fff);
        fields[4 * i] = 16 * (units < 0x3000 ? units : units - 0x4000);
        fields[4 * i + 1] = static_cast<int>(bits >> 16 & 0x3fff) * 16;
        fields[4 * i + 2] = static_cast<int>(bits >> 32 & 0x3fff) * 16;
        fields[4 * i + 3] = static_cast<int>(bits >> 62);
    }
}

extern "C" int operand_alone(const __half* tile, float* out, int rows, int head_dim, int first_row, int step,
                             cudaStream_t stream) {
    auto run = [&](auto of_rows, auto of_columns) {
        operand_alone_kernel<of_rows(), of_columns()>
            <<<1, WARPGROUP, 0, stream>>>(reinterpret_cast<const uint4*>(tile), out, first_row, step);
    };
    using std::integral_constant;
    if (rows == 64) {
        run(integral_constant<int, 64>(), integral_constant<int, 128>());
    } else if (head_dim == 64) {
        run(integral_constant<int, 176>(), integral_constant<int, 64>());
    } else {
        run(integral_constant<int, 128>(), integral_constant<int, 128>());
    }
    return cudaGetLastError();
}

extern "C" int descriptors(int* fields, const int* first_rows, int rows, int head_dim, int num_rows, int num_steps,
                           cudaStream_t stream) {
    const auto kernel = rows == 64 ? descriptors_kernel<64> : head_dim == 64 ? descriptors_kernel<176> : descriptors_kernel<128>;
    kernel<<<1, 1, 0, stream>>>(fields, first_rows, num_rows, num_steps);
    return cudaGetLastError();
}
