// Convolution on Hopper's tensor cores: half and bfloat16 with sums in float32, forward and both gradients.
//
// The same implicit matrix products as conv_mma.cu, by the instruction that reaches Hopper's full rate: wgmma. Four
// warps multiply together, and the tensor cores read both operands from shared memory themselves; no thread spends its
// time on moving fragments to registers. Who fetches and who multiplies are different warps:
//
//     4 producer warps   gather the pixels' channels (A, ROWS x 64) by cp.async, 16 bytes at a time, zeros outside of
//                        the image; one of their threads sends for the weights (B, COLUMNS x 64) by one bulk copy
//     8 consumer warps   two warpgroups, each 64 rows x COLUMNS, multiply what is there
//
// STAGES buffers go round between them. Each has two mbarriers: `full` ends a phase when the producers' copies are
// here, `empty` when the consumers' products have read them. So neither side waits for the other but when it must, and
// there is no barrier for the whole block in the loop.
//
// A buffer's rows are 128 bytes, 64 values, and eight rows, 1,024 bytes, make an atom of the 128-byte swizzle: the
// 16-byte piece p of row r stands at place p ^ (r % 8), so that eight rows' pieces meet different banks. The matrix
// descriptors say so; the pixels are put there so piece by piece, and pack_weights brings the weights into the order of
// the buffers beforehand, so that a tile of them is one stretch of memory. For the input's gradient it also turns them
// round: there a row is an input channel, and the steps are outputs.
//
// For the weights' gradient the steps of the sum are pixels: A is the output's gradient (64 pixels x ROWS outputs), B
// the image (64 pixels x COLUMNS channels of one tap), both gathered by cp.async. Neighbours in memory are then outputs
// and channels, not steps: a buffer's rows are pixels, 64 channels each, and wgmma transposes what it reads.
//
// The pixels do not come by TMA's tensor maps (cp.async.bulk.tensor in im2col mode): these are made by a call of the
// driver that CuPy does not offer. The price is four warps and the addresses they work out, once a tap.
//
// Launch: 384 threads for tiles of 128 x COLUMNS; grid: row tiles, column tiles, groups (times phases of the stride).
// The weights' gradient: output tiles, taps times channel tiles, groups times splits of the pixels, which sums.cu adds
// up.
// pack_weights: one thread for 16 bytes. Dynamic shared memory: launch.hopper_shared counts it, 128 KB for 128 columns.
// Bytes: as conv_mma.cu; packing reads and writes the weights once more.
// Fused (forward): bias, scale and shift, residual, ReLU, and each channel's mean and squared deviations.
//
// Never run on a GPU, and not timed: it computes only where a caller of convs.py asks for it by name (`way`), as the
// autotuner does where it was the fastest. Compute capability 9.0 alone.
#include "conv_geometry.cuh"
#include "instructions.cuh"
#include "hopper.cuh"

constexpr int ROWS = 128, DEEP = 64, STAGES = 4;
constexpr int CONSUMERS = 256, PRODUCERS = 128, BLOCK = CONSUMERS + PRODUCERS;
constexpr int AHEAD = STAGES - 2;  // steps whose copies are under way while the next one's are sent for
constexpr int PIECES = DEEP / 8;   // of 16 bytes in a row

__device__ __forceinline__ int swizzled(int row, int piece) { return row * DEEP + (piece ^ row % 8) * 8; }

// What tells wgmma where an operand lies: 64 or more rows of 128 bytes, in atoms of eight, swizzled by 128 bytes.
// PTX manual, "Matrix descriptor format": address / 16; leading offset / 16; atom to atom / 16; mode. A transposed
// operand's rows are steps of the sum; it has DEEP of them for each 64 of its outputs or channels, and the leading
// offset is from the first 64 to the next. It has no meaning else.
template <bool TRANSPOSED> __device__ __forceinline__ unsigned long long descriptor(const void* rows) {
  const unsigned long long leading = TRANSPOSED ? DEEP * 128 / 16 : 1;
  return (unsigned long long)(shared_address(rows) / 16) | leading << 16 | 1024ull / 16 << 32 | 1ull << 62;
}
// The next 16 steps of the sum are 32 bytes further within the rows (the swizzle is that of the sum of both), or 16
// rows.
template <bool TRANSPOSED> constexpr unsigned long long NEXT_STEPS = TRANSPOSED ? 16 * 128 / 16 : 32 / 16;

#define MULTIPLY(count, type, product) \
  template <bool TRANSPOSED> \
  __device__ __forceinline__ void multiply(float (&d)[count], unsigned long long a, unsigned long long b, type) { \
    if constexpr (TRANSPOSED) product##_transposed(d, a, b); \
    else product(d, a, b); \
  }
MULTIPLY(64, __half, wgmma_n128_half)
MULTIPLY(64, __nv_bfloat16, wgmma_n128_bfloat16)
MULTIPLY(32, __half, wgmma_n64_half)
MULTIPLY(32, __nv_bfloat16, wgmma_n64_bfloat16)

// packed [groups][column tiles][taps][chunks of 64 steps][COLUMNS][64], each tile swizzled, zeros beyond the ends.
template <class T, int COLUMNS, bool GRADIENT>
__global__ void __launch_bounds__(THREADS, 4)
pack_weights(const T* __restrict__ weight, T* __restrict__ packed, Geometry geometry, int pieces) {
  const int i = blockIdx.x * THREADS + threadIdx.x;
  if (i >= pieces) return;
  const Rows<false> sizes(geometry, 0);
  const int depth = GRADIENT ? sizes.columns() : sizes.depth(), columns = GRADIENT ? sizes.depth() : sizes.columns();
  const int chunks = (depth + DEEP - 1) / DEEP, tiles = (columns + COLUMNS - 1) / COLUMNS;
  // neighbouring threads read neighbours: forward along the steps, for the gradient along the columns
  const int piece = GRADIENT ? i / COLUMNS % PIECES : i % PIECES;
  const int row = GRADIENT ? i % COLUMNS : i / PIECES % COLUMNS;
  const int tile = i / (COLUMNS * PIECES), chunk = tile % chunks, tap = tile / chunks % geometry.taps();
  const int column_tile = tile / (chunks * geometry.taps()) % tiles, group = tile / (chunks * geometry.taps() * tiles);
  const int column = column_tile * COLUMNS + row, k = chunk * DEEP + piece * 8;
  float values[8] = {};
  if (column < columns && k < depth) {
    const int output = group * geometry.breadth() + (GRADIENT ? k : column), channel = GRADIENT ? column : k;
    const T* const from = weight + ((size_t)output * geometry.taps() + tap) * geometry.depth() + channel;
    if (GRADIENT) {
#pragma unroll
      for (int j = 0; j < 8; j++) values[j] = to_float(from[(size_t)j * geometry.taps() * geometry.depth()]);
    } else {
      load<T, 8>(values, from);
    }
  }
  store<T, 8>(packed + (size_t)tile * COLUMNS * DEEP + swizzled(row, piece), values);
}

// The buffers and their barriers, in dynamic shared memory; a kernel's blocks find it at a multiple of 1,024.
template <class T, int COLUMNS> struct Buffers {
  static constexpr int SIZE = (ROWS + COLUMNS) * DEEP;
  T* memory;

  __device__ __forceinline__ T* pixels(int step) const { return memory + step % STAGES * SIZE; }
  __device__ __forceinline__ T* weights(int step) const { return pixels(step) + ROWS * DEEP; }
  __device__ __forceinline__ unsigned long long* full(int step) const {
    return reinterpret_cast<unsigned long long*>(memory + STAGES * SIZE) + step % STAGES;
  }
  __device__ __forceinline__ unsigned long long* empty(int step) const { return full(step) + STAGES; }
  // which of the buffer's phases this step's filling is, as a parity
  static __device__ __forceinline__ unsigned parity(int step) { return step / STAGES % 2; }

  // By all threads. filled_by: how many arrivals say that a buffer is full.
  __device__ __forceinline__ void make_barriers(int filled_by) const {
    if (shared_address(memory) % 1024) __trap();
    if (threadIdx.x == 0) {
      for (int stage = 0; stage < STAGES; stage++) {
        mbarrier_init(full(stage), filled_by);
        mbarrier_init(empty(stage), CONSUMERS / 32);
      }
      mbarrier_fence();
    }
    __syncthreads();
  }
  // A producer's part, before and after it has sent for its copies of one step, and after the last step.
  __device__ __forceinline__ void wait_until_empty(int step) const {
    if (step >= STAGES) mbarrier_wait(empty(step), parity(step - STAGES));
  }
  __device__ __forceinline__ void sent(int step) const {
    copy_async_commit();
    if (step < AHEAD) return;
    copy_async_wait<AHEAD>();  // the copies of step - AHEAD are here: the tensor cores may have them
    proxy_fence();
    mbarrier_arrive(full(step - AHEAD));
  }
  __device__ __forceinline__ void all_sent(int steps) const {
    copy_async_wait<0>();
    proxy_fence();
    for (int step = max(steps - AHEAD, 0); step < steps; step++) mbarrier_arrive(full(step));
  }
};

// The producers' part. `x` is the gradient's image for GRADIENT; `packed` begins with this block's first tile.
template <class T, int COLUMNS, bool GRADIENT>
__device__ __forceinline__ void produce(const Buffers<T, COLUMNS>& buffers, const Rows<GRADIENT>& rows,
                                        const T* __restrict__ x, const T* __restrict__ packed, int first_row,
                                        int steps, int chunks) {
  constexpr int MINE = ROWS * PIECES / PRODUCERS, ROWS_BETWEEN = PRODUCERS / PIECES;
  constexpr int TILE = COLUMNS * DEEP, TILE_BYTES = TILE * sizeof(T);
  const int thread = threadIdx.x - CONSUMERS, piece = thread % PIECES, my_row = thread / PIECES;
  Row<GRADIENT> row[MINE];
  long long source[MINE];
#pragma unroll
  for (int i = 0; i < MINE; i++) row[i] = Row<GRADIENT>(rows, first_row + my_row + i * ROWS_BETWEEN);
  int tap = 0, tap_number = -1, chunk = chunks - 1;  // the first step begins the first tap

  for (int step = 0; step < steps; step++) {
    if (++chunk == chunks) {
      chunk = 0;
      tap = rows.tap(++tap_number);
#pragma unroll
      for (int i = 0; i < MINE; i++) source[i] = row[i].source(rows, tap);
    }
    buffers.wait_until_empty(step);
    if (thread == 0) {
      mbarrier_arrive_expecting(buffers.full(step), TILE_BYTES);
      bulk_copy(buffers.weights(step), packed + (size_t)(tap * chunks + chunk) * TILE, TILE_BYTES, buffers.full(step));
    }
    const int k = chunk * DEEP + piece * 8;
#pragma unroll
    for (int i = 0; i < MINE; i++) {
      const bool valid = source[i] >= 0 && k < rows.depth();
      copy_async_16(buffers.pixels(step) + swizzled(my_row + i * ROWS_BETWEEN, piece), valid ? x + source[i] + k : x,
                    valid);
    }
    buffers.sent(step);
  }
  buffers.all_sent(steps);
}

// The producers' part for the weights' gradient: 64 pixels a step, from `begin` to before `end`.
template <class T, int COLUMNS>
__device__ __forceinline__ void produce_pixels(const Buffers<T, COLUMNS>& buffers, const Rows<false>& rows,
                                               const T* __restrict__ grad, const T* __restrict__ x, int tap,
                                               int first_output, int first_column, int begin, int end, int steps) {
  constexpr int MINE = DEEP * PIECES / PRODUCERS, ROWS_BETWEEN = PRODUCERS / PIECES, STRETCH = DEEP * 64;
  const int thread = threadIdx.x - CONSUMERS, piece = thread % PIECES, my_row = thread / PIECES;
  const Geometry& g = rows.g;
  Pixels pixels[MINE];
#pragma unroll
  for (int i = 0; i < MINE; i++) pixels[i] = Pixels(g, begin + my_row + i * ROWS_BETWEEN);

  for (int step = 0; step < steps; step++) {
    buffers.wait_until_empty(step);
#pragma unroll
    for (int i = 0; i < MINE; i++) {
      const int row = my_row + i * ROWS_BETWEEN, m = begin + step * DEEP + row;
      const long long source = m < end ? pixels[i].source(rows, tap) : -1;
      const T* const from = grad + (m < end ? target<false>(rows, m) : 0);
#pragma unroll
      for (int first = 0; first < ROWS; first += 64) {
        const int output = first_output + first + piece * 8;
        const bool valid = m < end && output < g.breadth();
        copy_async_16(buffers.pixels(step) + first / 64 * STRETCH + swizzled(row, piece), valid ? from + output : grad,
                      valid);
      }
#pragma unroll
      for (int first = 0; first < COLUMNS; first += 64) {
        const int channel = first_column + first + piece * 8;
        const bool valid = source >= 0 && channel < g.depth();
        copy_async_16(buffers.weights(step) + first / 64 * STRETCH + swizzled(row, piece),
                      valid ? x + source + channel : x, valid);
      }
      pixels[i].advance(g, DEEP);
    }
    buffers.sent(step);
  }
  buffers.all_sent(steps);
}

// The consumers' part: while a step is multiplied, the next one's products are already sent for.
template <bool TRANSPOSED, class T, int COLUMNS>
__device__ __forceinline__ void consume(float (&sum)[COLUMNS / 2], const Buffers<T, COLUMNS>& buffers, int steps) {
  const int my_rows = threadIdx.x / 128 * 64 * DEEP;
  wgmma_results(sum);
  for (int step = 0; step < steps; step++) {
    mbarrier_wait(buffers.full(step), buffers.parity(step));
    const unsigned long long a = descriptor<TRANSPOSED>(buffers.pixels(step) + my_rows);
    const unsigned long long b = descriptor<TRANSPOSED>(buffers.weights(step));
    wgmma_fence();
#pragma unroll
    for (int i = 0; i < DEEP / 16; i++)
      multiply<TRANSPOSED>(sum, a + i * NEXT_STEPS<TRANSPOSED>, b + i * NEXT_STEPS<TRANSPOSED>, T());
    wgmma_commit();
    wgmma_wait<1>(sum);  // the step before has been read
    if (step > 0 && threadIdx.x % 32 == 0) mbarrier_arrive(buffers.empty(step - 1));
  }
  wgmma_wait<0>(sum);
}

template <class T, int COLUMNS, bool GRADIENT>
__device__ __forceinline__ void convolve(const T* __restrict__ x, const T* __restrict__ packed, T* __restrict__ y,
                                         const Geometry& geometry, const Epilogue<T>& epilogue) {
  extern __shared__ __align__(1024) unsigned char memory[];
  const Rows<GRADIENT> rows(geometry, blockIdx.z);
  const int first_row = blockIdx.x * ROWS, first_column = blockIdx.y * COLUMNS;
  if (first_row >= rows.count()) return;
  const int chunks = (rows.depth() + DEEP - 1) / DEEP, steps = rows.taps() * chunks;
  const Buffers<T, COLUMNS> buffers{reinterpret_cast<T*>(memory)};
  buffers.make_barriers(PRODUCERS + 1);  // each producer, and the one who expects the weights

  float sum[COLUMNS / 2] = {};
  if (threadIdx.x < CONSUMERS) {
    consume<false>(sum, buffers, steps);
  } else {
    const size_t tile = ((size_t)rows.group * gridDim.y + blockIdx.y) * geometry.taps() * chunks;
    produce<T, COLUMNS, GRADIENT>(buffers, rows, x, packed + tile * COLUMNS * DEEP, first_row, steps, chunks);
  }
  __syncthreads();  // nobody still reads the operands: the tile of results takes their place

  constexpr int PITCH = COLUMNS + 8;
  static_assert(STAGES * Buffers<T, COLUMNS>::SIZE * sizeof(T) >= ROWS * PITCH * sizeof(float), "the results fit");
  float* const tile = reinterpret_cast<float*>(memory);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  if (threadIdx.x < CONSUMERS) {
#pragma unroll
    for (int i = 0; i < COLUMNS / 2; i += 2) {
      const float two[2] = {sum[i], sum[i + 1]};
      store<float, 2>(tile + (warp * 16 + lane / 4 + i / 2 % 2 * 8) * PITCH + i / 4 * 8 + lane % 4 * 2, two);
    }
  }
  __syncthreads();
  finish_tile<T, ROWS, COLUMNS, PITCH, BLOCK, GRADIENT>(tile, rows, epilogue, y, first_row, first_column);
}

template <class T, int COLUMNS>
__global__ void __launch_bounds__(BLOCK, 1)
conv_wgmma_forward(const T* __restrict__ x, const T* __restrict__ packed, const float* __restrict__ bias,
                   const float* __restrict__ scale, const float* __restrict__ shift, const T* __restrict__ residual,
                   T* __restrict__ y, float* __restrict__ sums, Geometry geometry, int relu) {
  convolve<T, COLUMNS, false>(x, packed, y, geometry, {bias, scale, shift, residual, sums, relu});
}

template <class T, int COLUMNS>
__global__ void __launch_bounds__(BLOCK, 1)
conv_wgmma_input_gradient(const T* __restrict__ grad, const T* __restrict__ packed, T* __restrict__ dx,
                          Geometry geometry) {
  convolve<T, COLUMNS, true>(grad, packed, dx, geometry, {});
}

// partial [splits][outputs][taps][depth]: the sum over the pixels of each split. A tile of columns lies within one tap.
template <class T, int COLUMNS>
__global__ void __launch_bounds__(BLOCK, 1)
conv_wgmma_weight_gradient(const T* __restrict__ grad, const T* __restrict__ x, float* __restrict__ partial,
                           Geometry geometry, int pixels_per_split) {
  extern __shared__ __align__(1024) unsigned char memory[];
  const Geometry& g = geometry;
  const Rows<false> rows(g, blockIdx.z % g.groups);
  const int split = blockIdx.z / g.groups, depth = g.depth(), tiles_a_tap = (depth + COLUMNS - 1) / COLUMNS;
  const int tap = blockIdx.y / tiles_a_tap, first_column = blockIdx.y % tiles_a_tap * COLUMNS;
  const int first_output = blockIdx.x * ROWS;
  const int begin = split * pixels_per_split, end = min(rows.count(), begin + pixels_per_split);
  const int steps = (end - begin + DEEP - 1) / DEEP;
  const Buffers<T, COLUMNS> buffers{reinterpret_cast<T*>(memory)};
  buffers.make_barriers(PRODUCERS);

  float sum[COLUMNS / 2] = {};
  if (threadIdx.x < CONSUMERS) {
    consume<true>(sum, buffers, steps);
  } else {
    produce_pixels<T, COLUMNS>(buffers, rows, grad, x, tap, first_output, first_column, begin, end, steps);
    return;
  }
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < COLUMNS / 2; i += 2) {
    const int output = first_output + warp * 16 + lane / 4 + i / 2 % 2 * 8, c = first_column + i / 4 * 8 + lane % 4 * 2;
    if (output >= g.breadth() || c >= depth) continue;
    const size_t line = (size_t)split * g.outputs + rows.group * g.breadth() + output;
    const float two[2] = {sum[i], sum[i + 1]};
    store<float, 2>(partial + (line * g.taps() + tap) * depth + c, two);
  }
}
