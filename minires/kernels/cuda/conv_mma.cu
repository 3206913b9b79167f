// Convolution on tensor cores: half and bfloat16, or float32 rounded to tf32, with sums in float32.
//
// The same implicit matrix products as conv_direct.cu, forward and for both gradients. Channels and outputs of a group
// must be multiples of 16 bytes (8, or 4 for tf32), so that cp.async brings 16 bytes of neighbours at a time; other
// convolutions (a stem with 3 channels) take conv_direct.cu, or come with their channels padded.
//
// Launch: tiles of ROWS x COLUMNS results, 64 bytes deep; each warp makes WARP_ROWS x 32 of them with mma.m16n8k16
// (tf32: m16n8k8). STAGES buffers: while one is multiplied, the next ones are on their way, so that a block waits for
// memory only at its start. Grid: row tiles, column tiles, groups (times phases of the stride, or splits of the
// pixels).
// Dynamic shared memory: launch.matrix_shared counts it, 68 KB for 128 x 128.
// Bytes: x once for each COLUMNS outputs, weight once for each ROWS pixels, both mostly from the L2 cache; y once.
// 1 x 1: with stride 1 and no padding a pixel's only tap is itself, and no bounds are asked (POINTWISE).
// Fused (forward): bias, scale and shift, residual, ReLU, and each channel's mean and squared deviations.
// Not here: wgmma, with which Hopper's tensor cores reach their full rate: conv_wgmma.cu.
#include "conv_geometry.cuh"
#include "instructions.cuh"

constexpr int STAGES = 3, DEEP_BYTES = 64, WARP_COLUMNS = 32;

template <class T> struct Instruction {  // half and bfloat16
  static constexpr int DEEP = 16;
};
template <> struct Instruction<float> {
  static constexpr int DEEP = 8;
};
__device__ __forceinline__ void multiply(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2], __half) {
  mma_m16n8k16_half(c, a, b, c);
}
__device__ __forceinline__ void multiply(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2], __nv_bfloat16) {
  mma_m16n8k16_bfloat16(c, a, b, c);
}
__device__ __forceinline__ void multiply(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2], float) {
  mma_m16n8k8_tf32(c, a, b, c);
}

// A tile of one operand in shared memory: LINES rows or columns of the product, DEEP steps of its sum. How it lies
// there is how it lay in memory: [LINES][DEEP] where the steps are neighbours (DEEP_FIRST false), else [DEEP][LINES].
// So that a warp's threads meet different banks, the latter has longer rows than it needs, and in the former, whose
// rows are four pieces of 16 bytes, two rows after the other have their pieces in another order.
template <class T, int LINES, bool DEEP_FIRST> struct Operand {
  static constexpr int DEEP = DEEP_BYTES / sizeof(T), PACK = 16 / sizeof(T);
  static constexpr int PITCH = DEEP_FIRST ? LINES + 8 : DEEP;
  static constexpr int SIZE = (DEEP_FIRST ? DEEP : LINES) * PITCH;
  static constexpr int PACKS = LINES * DEEP / PACK;              // pieces of 16 bytes
  static constexpr int PACKS_A_LINE = (DEEP_FIRST ? LINES : DEEP) / PACK;

  // piece i: which line and step it begins with
  static __device__ __forceinline__ int line(int i) { return DEEP_FIRST ? i % PACKS_A_LINE * PACK : i / PACKS_A_LINE; }
  static __device__ __forceinline__ int deep(int i) { return DEEP_FIRST ? i / PACKS_A_LINE : i % PACKS_A_LINE * PACK; }
  static __device__ __forceinline__ int offset(int line, int deep) {
    if (DEEP_FIRST) return deep * PITCH + line;
    return line * PITCH + ((deep / PACK) ^ (line / 2 % 4)) * PACK + deep % PACK;
  }

  // Fragment a of the instruction: 16 lines from `line`, DEEP steps from `deep`. Matrices of ldmatrix: lines 0-7 and
  // 8-15 of the first half of the steps, then of the second.
  static __device__ __forceinline__ void fragment_a(unsigned (&a)[4], const T* tile, int line, int deep) {
    const int lane = threadIdx.x % 32;
    if constexpr (sizeof(T) == 4) {
#pragma unroll
      for (int i = 0; i < 4; i++)
        a[i] = to_tf32(tile[offset(line + lane / 4 + i % 2 * 8, deep + lane % 4 + i / 2 * 4)]);
    } else if constexpr (DEEP_FIRST) {
      load_matrix_x4_transposed(a, tile + offset(line + lane / 8 % 2 * 8, deep + lane % 8 + lane / 16 * 8));
    } else {
      load_matrix_x4(a, tile + offset(line + lane % 16, deep + lane / 16 * 8));
    }
  }
  // Fragments b of 16 lines: for lines 0-7 and for lines 8-15.
  static __device__ __forceinline__ void fragments_b(unsigned (&b)[2][2], const T* tile, int line, int deep) {
    const int lane = threadIdx.x % 32;
    unsigned all[4];
    if constexpr (sizeof(T) == 4) {
#pragma unroll
      for (int i = 0; i < 4; i++)
        all[i] = to_tf32(tile[offset(line + lane / 4 + i / 2 * 8, deep + lane % 4 + i % 2 * 4)]);
    } else if constexpr (DEEP_FIRST) {
      load_matrix_x4_transposed(all, tile + offset(line + lane / 16 * 8, deep + lane % 8 + lane / 8 % 2 * 8));
    } else {
      load_matrix_x4(all, tile + offset(line + lane % 8 + lane / 16 * 8, deep + lane / 8 % 2 * 8));
    }
    b[0][0] = all[0], b[0][1] = all[1], b[1][0] = all[2], b[1][1] = all[3];
  }
};

// The product of two operands' tiles, ROWS x COLUMNS, by all warps of the block.
template <class T, class A, class B, int ROWS, int COLUMNS> struct Product {
  static constexpr int WARP_ROWS = ROWS == 128 ? 64 : 32;
  static constexpr int WARPS = ROWS / WARP_ROWS * (COLUMNS / WARP_COLUMNS), COUNT = WARPS * 32;
  static constexpr int HIGH = WARP_ROWS / 16, WIDE = WARP_COLUMNS / 8;
  static constexpr int PITCH = COLUMNS + 8;  // of the tile of results

  float sum[HIGH][WIDE][4];
  int row, column;  // of this warp's part

  __device__ __forceinline__ Product() {
    const int warp = threadIdx.x / 32;
    row = warp % (ROWS / WARP_ROWS) * WARP_ROWS;
    column = warp / (ROWS / WARP_ROWS) * WARP_COLUMNS;
#pragma unroll
    for (int i = 0; i < HIGH * WIDE * 4; i++) sum[i / (WIDE * 4)][i / 4 % WIDE][i % 4] = 0.f;
  }
  __device__ __forceinline__ void add(const T* a_tile, const T* b_tile) {
#pragma unroll
    for (int deep = 0; deep < A::DEEP; deep += Instruction<T>::DEEP) {
      unsigned a[HIGH][4], b[WIDE][2];
#pragma unroll
      for (int i = 0; i < HIGH; i++) A::fragment_a(a[i], a_tile, row + i * 16, deep);
#pragma unroll
      for (int j = 0; j < WIDE; j += 2) {
        unsigned two[2][2];
        B::fragments_b(two, b_tile, column + j * 8, deep);
        b[j][0] = two[0][0], b[j][1] = two[0][1], b[j + 1][0] = two[1][0], b[j + 1][1] = two[1][1];
      }
#pragma unroll
      for (int i = 0; i < HIGH; i++)
#pragma unroll
        for (int j = 0; j < WIDE; j++) multiply(sum[i][j], a[i], b[j], T());
    }
  }
  // Adds up all steps: `fetch(step, a, b)` starts the copies of a step's tiles.
  template <class Fetch> __device__ __forceinline__ void run(T* memory, int steps, Fetch fetch) {
    auto a_tile = [&](int stage) { return memory + stage * (A::SIZE + B::SIZE); };
    auto b_tile = [&](int stage) { return a_tile(stage) + A::SIZE; };
#pragma unroll
    for (int step = 0; step < STAGES - 1; step++) {
      if (step < steps) fetch(step, a_tile(step), b_tile(step));
      copy_async_commit();
    }
    for (int step = 0; step < steps; step++) {
      copy_async_wait<STAGES - 2>();  // this step's tiles are here, as far as this thread copied them
      __syncthreads();                // ... and all others'; and nobody still reads the buffer that is filled next
      const int next = step + STAGES - 1;
      if (next < steps) fetch(next, a_tile(next % STAGES), b_tile(next % STAGES));
      copy_async_commit();
      add(a_tile(step % STAGES), b_tile(step % STAGES));
    }
    copy_async_wait<0>();
    __syncthreads();
  }
  // Hands each pair of neighbouring results to `visit(row, column, first, second)`.
  template <class Visit> __device__ __forceinline__ void each(Visit visit) const {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < HIGH; i++)
#pragma unroll
      for (int j = 0; j < WIDE; j++)
#pragma unroll
        for (int half = 0; half < 2; half++)
          visit(row + i * 16 + lane / 4 + half * 8, column + j * 8 + lane % 4 * 2, sum[i][j][half * 2],
                sum[i][j][half * 2 + 1]);
  }
};

// Forward, or with GRADIENT for the input.
template <class T, int ROWS, int COLUMNS, bool POINTWISE, bool GRADIENT>
__device__ __forceinline__ void convolve(const T* __restrict__ x, const T* __restrict__ weight, T* __restrict__ y,
                                         const Geometry& geometry, const Epilogue<T>& epilogue) {
  extern __shared__ __align__(16) unsigned char memory[];
  using A = Operand<T, ROWS, false>;         // pixels, each with its channels as neighbours
  using B = Operand<T, COLUMNS, GRADIENT>;  // weight: the gradient's columns are its last axis
  using Products = Product<T, A, B, ROWS, COLUMNS>;
  const Rows<GRADIENT> rows(geometry, blockIdx.z);
  const int first_row = blockIdx.x * ROWS, first_column = blockIdx.y * COLUMNS;
  if (first_row >= rows.count()) return;
  const int depth = rows.depth(), steps_a_tap = (depth + A::DEEP - 1) / A::DEEP;

  // The pieces that this thread copies are of the same rows and columns at each step. Where they are is worked out once
  // a tap; from step to step only the channel moves on.
  constexpr int MINE_A = A::PACKS / Products::COUNT, MINE_B = B::PACKS / Products::COUNT;
  const long long weight_step = GRADIENT ? (long long)geometry.taps() * geometry.depth() : 1;  // to the next channel
  Row<GRADIENT> row[MINE_A];
  long long source[MINE_A], from_weight[MINE_B];
#pragma unroll
  for (int i = 0; i < MINE_A; i++) {
    const int m = first_row + A::line(threadIdx.x + i * Products::COUNT);
    row[i] = Row<GRADIENT>(rows, m);
    if (POINTWISE) source[i] = row[i].inside ? (long long)m * geometry.channels + rows.group * depth : -1;
  }
#pragma unroll
  for (int i = 0; i < MINE_B; i++) {
    const int piece = threadIdx.x + i * Products::COUNT, column = first_column + B::line(piece);
    from_weight[i] = column < rows.columns() ? (long long)rows.weight(0, B::deep(piece), column) : -1;
  }
  int tap = 0, tap_number = -1, begin = depth;  // the first step begins the first tap

  auto fetch = [&](int, T* a, T* b) {  // called for one step after the other
    begin += A::DEEP;
    if (begin >= depth) {
      begin = 0;
      tap = rows.tap(++tap_number);
#pragma unroll
      for (int i = 0; !POINTWISE && i < MINE_A; i++) source[i] = row[i].source(rows, tap);
    }
#pragma unroll
    for (int i = 0; i < MINE_A; i++) {
      const int piece = threadIdx.x + i * Products::COUNT, k = begin + A::deep(piece);
      const bool valid = source[i] >= 0 && k < depth;
      copy_async_16(a + A::offset(A::line(piece), A::deep(piece)), valid ? x + source[i] + k : x, valid);
    }
    const long long move = begin * weight_step + (long long)tap * geometry.depth();
#pragma unroll
    for (int i = 0; i < MINE_B; i++) {
      const int piece = threadIdx.x + i * Products::COUNT;
      const bool valid = from_weight[i] >= 0 && begin + B::deep(piece) < depth;
      const T* const from = valid ? weight + from_weight[i] + move : weight;
      copy_async_16(b + B::offset(B::line(piece), B::deep(piece)), from, valid);
    }
  };

  Products product;
  product.run(reinterpret_cast<T*>(memory), rows.taps() * steps_a_tap, fetch);
  float* const tile = reinterpret_cast<float*>(memory);  // the operands are done with
  product.each([&](int row, int column, float first, float second) {
    const float two[2] = {first, second};
    store<float, 2>(tile + row * Products::PITCH + column, two);
  });
  __syncthreads();
  finish_tile<T, ROWS, COLUMNS, Products::PITCH, Products::COUNT, GRADIENT>(tile, rows, epilogue, y, first_row,
                                                                            first_column);
}

template <int ROWS, int COLUMNS> constexpr int threads_of() {
  return ROWS / (ROWS == 128 ? 64 : 32) * (COLUMNS / WARP_COLUMNS) * 32;
}

template <class T, int ROWS, int COLUMNS, bool POINTWISE>
__global__ void __launch_bounds__(threads_of<ROWS, COLUMNS>(), 1)
conv_mma_forward(const T* __restrict__ x, const T* __restrict__ weight, const float* __restrict__ bias,
                 const float* __restrict__ scale, const float* __restrict__ shift, const T* __restrict__ residual,
                 T* __restrict__ y, float* __restrict__ sums, Geometry geometry, int relu) {
  convolve<T, ROWS, COLUMNS, POINTWISE, false>(x, weight, y, geometry, {bias, scale, shift, residual, sums, relu});
}

template <class T, int ROWS, int COLUMNS>
__global__ void __launch_bounds__(threads_of<ROWS, COLUMNS>(), sizeof(T) == 4 ? 1 : 2)
conv_mma_input_gradient(const T* __restrict__ grad, const T* __restrict__ weight, T* __restrict__ dx,
                        Geometry geometry) {
  convolve<T, ROWS, COLUMNS, false, true>(grad, weight, dx, geometry, {});
}

// partial [splits][outputs][taps][depth]: the sum over the pixels of each split. A tile of columns lies within one tap.
template <class T, int ROWS, int COLUMNS>
__global__ void __launch_bounds__(threads_of<ROWS, COLUMNS>(), 2)
conv_mma_weight_gradient(const T* __restrict__ grad, const T* __restrict__ x, float* __restrict__ partial,
                         Geometry geometry, int pixels_per_split) {
  extern __shared__ __align__(16) unsigned char memory[];
  using A = Operand<T, ROWS, true>;  // both operands: pixels are the steps of the sum, channels are neighbours
  using B = Operand<T, COLUMNS, true>;
  using Products = Product<T, A, B, ROWS, COLUMNS>;
  const Geometry& g = geometry;
  const Rows<false> rows(g, blockIdx.z % g.groups);
  const int split = blockIdx.z / g.groups, depth = g.depth(), tiles_a_tap = (depth + COLUMNS - 1) / COLUMNS;
  const int tap = blockIdx.y / tiles_a_tap, first_column = blockIdx.y % tiles_a_tap * COLUMNS;
  const int first_output = blockIdx.x * ROWS;
  const int begin = split * pixels_per_split, end = min(rows.count(), begin + pixels_per_split);

  // from step to step each piece moves on by DEEP pixels
  constexpr int MINE_A = A::PACKS / Products::COUNT, MINE_B = B::PACKS / Products::COUNT;
  Pixels pixels[MINE_B];
#pragma unroll
  for (int i = 0; i < MINE_B; i++) pixels[i] = Pixels(g, begin + B::deep(threadIdx.x + i * Products::COUNT));
  int done = begin;

  auto fetch = [&](int, T* a, T* b) {  // called for one step after the other
#pragma unroll
    for (int i = 0; i < MINE_A; i++) {
      const int piece = threadIdx.x + i * Products::COUNT, m = done + A::deep(piece);
      const int output = first_output + A::line(piece);
      const bool valid = m < end && output < g.breadth();
      copy_async_16(a + A::offset(A::line(piece), A::deep(piece)),
                    valid ? grad + target<false>(rows, m) + output : grad, valid);
    }
#pragma unroll
    for (int i = 0; i < MINE_B; i++) {
      const int piece = threadIdx.x + i * Products::COUNT, column = first_column + B::line(piece);
      const bool inside = done + B::deep(piece) < end && column < depth;
      const long long source = inside ? pixels[i].source(rows, tap) : -1;
      copy_async_16(b + B::offset(B::line(piece), B::deep(piece)), source >= 0 ? x + source + column : x, source >= 0);
      pixels[i].advance(g, B::DEEP);
    }
    done += A::DEEP;
  };

  Products product;
  product.run(reinterpret_cast<T*>(memory), (end - begin + A::DEEP - 1) / A::DEEP, fetch);
  product.each([&](int row, int column, float first, float second) {
    const int output = first_output + row, c = first_column + column;
    if (output >= g.breadth() || c >= depth) return;
    const size_t line = (size_t)split * g.outputs + rows.group * g.breadth() + output;
    const float two[2] = {first, second};
    store<float, 2>(partial + (line * g.taps() + tap) * depth + c, two);
  });
}
