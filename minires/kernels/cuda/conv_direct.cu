// Convolution in exact float32 arithmetic, for any channels, groups, stride, padding and dilation, as an implicit
// matrix product: the matrix of windows is never made, its tiles are gathered from the image.
//
//     forward   y[pixel][o]       = sum over taps and c of x[pixel met by the tap][c] weight[o][tap][c]
//     gradient  dx[pixel][c]      = sum over taps and o of dy[pixel that met it by the tap][o] weight[o][tap][c]
//     weight    dweight[o][tap][c] = sum over pixels of dy[pixel][o] x[pixel met by the tap][c]
//
// Launch: blocks of 256 threads for tiles of 64 x 64, 16 deep, 4 x 4 results a thread, two buffers in shared memory:
// the next tile is fetched while the present one is multiplied. Grid: row tiles, column tiles, groups (times phases of
// the stride for the gradient, times splits of the pixels for the weights, which sum_partials then adds up).
// Bytes: each operand is read once for each 64 rows or columns of the other, mostly from the L2 cache; y once.
// Fused (forward): bias, scale and shift, residual, ReLU, and each channel's mean and squared deviations.
#include "conv_geometry.cuh"

constexpr int TILE = 64, DEEP = 16, PITCH = TILE + 4;

struct Tiles {
  float a[2][DEEP][PITCH], b[2][DEEP][PITCH];
};

// 4 x 4 results of a thread, from the tiles' rows 4 (thread / 16) and columns 4 (thread % 16)
__device__ __forceinline__ void multiply(float (&sum)[4][4], const float (*a)[PITCH], const float (*b)[PITCH]) {
  const int m = threadIdx.x / 16 * 4, n = threadIdx.x % 16 * 4;
#pragma unroll
  for (int k = 0; k < DEEP; k++) {
    float left[4], right[4];
    load<float, 4>(left, &a[k][m]);
    load<float, 4>(right, &b[k][n]);
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int j = 0; j < 4; j++) sum[i][j] = fmaf(left[i], right[j], sum[i][j]);
  }
}

// Fetches the tiles of step 0, 1, ... with `fetch(step, a, b)` and multiplies each while the next is on its way.
// a and b: the four values a thread brings to each tile; `put(a, b, buffer)` writes them there.
template <class Fetch, class Put>
__device__ __forceinline__ void pipeline(float (&sum)[4][4], Tiles& tiles, int steps, Fetch fetch, Put put) {
  float a[4], b[4];
  fetch(0, a, b);
  put(a, b, 0);
  __syncthreads();
  for (int step = 0; step < steps; step++) {
    if (step + 1 < steps) fetch(step + 1, a, b);
    multiply(sum, tiles.a[step % 2], tiles.b[step % 2]);
    if (step + 1 < steps) put(a, b, (step + 1) % 2);
    __syncthreads();
  }
}

// VECTOR: depth and columns are multiples of 4, so that a thread's four values are neighbours in memory.
template <class T, bool VECTOR, bool GRADIENT>
__device__ __forceinline__ void convolve(const T* __restrict__ x, const T* __restrict__ weight, T* __restrict__ y,
                                         const Geometry& geometry, const Epilogue<T>& epilogue) {
  __shared__ Tiles tiles;
  const Rows<GRADIENT> rows(geometry, blockIdx.z);
  const int first_row = blockIdx.x * TILE, first_column = blockIdx.y * TILE;
  if (first_row >= rows.count()) return;
  const int depth = rows.depth(), length = rows.taps() * depth;
  const int a_row = threadIdx.x / 4, a_deep = threadIdx.x % 4 * 4;  // tile a: 64 rows x 4 times 4 deep
  // tile b: forward 4 neighbours deep of one column, gradient 4 neighbouring columns at one depth, as weight has them
  const int b_column = GRADIENT ? threadIdx.x % 16 * 4 : threadIdx.x / 4;
  const int b_deep = GRADIENT ? threadIdx.x / 16 : threadIdx.x % 4 * 4;
  const Row<GRADIENT> row(rows, first_row + a_row);

  auto fetch = [&](int step, float (&a)[4], float (&b)[4]) {
    int k = step * DEEP + a_deep, tap = k < length ? rows.tap(k / depth) : 0;
    long long source = k < length ? row.source(rows, tap) : -1;
#pragma unroll
    for (int i = 0; i < 4; i++) a[i] = b[i] = 0.f;
    if (VECTOR) {
      if (source >= 0) load<T, 4>(a, x + source + k % depth);
    } else {
#pragma unroll
      for (int i = 0; i < 4; i++, k++) {
        if (k >= length) break;
        if (i && k % depth == 0) source = row.source(rows, rows.tap(k / depth));
        if (source >= 0) a[i] = to_float(x[source + k % depth]);
      }
    }
    k = step * DEEP + b_deep;
    const int column = first_column + b_column;
    if (k >= length || column >= rows.columns()) return;
    tap = rows.tap(k / depth);
    if (VECTOR) {
      load<T, 4>(b, weight + rows.weight(tap, k % depth, column));
    } else if (GRADIENT) {
#pragma unroll
      for (int i = 0; i < 4; i++)
        if (column + i < rows.columns()) b[i] = to_float(weight[rows.weight(tap, k % depth, column + i)]);
    } else {
#pragma unroll
      for (int i = 0; i < 4; i++)
        if (k + i < length) b[i] = to_float(weight[rows.weight(rows.tap((k + i) / depth), (k + i) % depth, column)]);
    }
  };
  auto put = [&](const float (&a)[4], const float (&b)[4], int buffer) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      tiles.a[buffer][a_deep + i][a_row] = a[i];
      if (GRADIENT) tiles.b[buffer][b_deep][b_column + i] = b[i];
      else tiles.b[buffer][b_deep + i][b_column] = b[i];
    }
  };

  float sum[4][4] = {};
  pipeline(sum, tiles, (length + DEEP - 1) / DEEP, fetch, put);
  // the finished tile takes the place of the operands
  static_assert(sizeof(Tiles) >= TILE * PITCH * sizeof(float), "the tile of results fits where the operands were");
  float* const tile = &tiles.a[0][0][0];
#pragma unroll
  for (int i = 0; i < 4; i++) store<float, 4>(tile + (threadIdx.x / 16 * 4 + i) * PITCH + threadIdx.x % 16 * 4, sum[i]);
  __syncthreads();
  finish_tile<T, TILE, TILE, PITCH, THREADS, GRADIENT>(tile, rows, epilogue, y, first_row, first_column);
}

template <class T, bool VECTOR>
__global__ void __launch_bounds__(THREADS, 2)
conv_direct_forward(const T* __restrict__ x, const T* __restrict__ weight, const float* __restrict__ bias,
                    const float* __restrict__ scale, const float* __restrict__ shift, const T* __restrict__ residual,
                    T* __restrict__ y, float* __restrict__ sums, Geometry geometry, int relu) {
  convolve<T, VECTOR, false>(x, weight, y, geometry, {bias, scale, shift, residual, sums, relu});
}

template <class T, bool VECTOR>
__global__ void __launch_bounds__(THREADS, 2)
conv_direct_input_gradient(const T* __restrict__ grad, const T* __restrict__ weight, T* __restrict__ dx,
                           Geometry geometry) {
  convolve<T, VECTOR, true>(grad, weight, dx, geometry, {});
}

// partial [splits][outputs][taps][depth]: the sum over the pixels of each split.
template <class T, bool VECTOR>
__global__ void __launch_bounds__(THREADS, 2)
conv_direct_weight_gradient(const T* __restrict__ grad, const T* __restrict__ x, float* __restrict__ partial,
                            Geometry geometry, int pixels_per_split) {
  __shared__ Tiles tiles;
  const Geometry& g = geometry;
  const Rows<false> rows(g, blockIdx.z % g.groups);
  const int split = blockIdx.z / g.groups, depth = g.depth(), length = g.taps() * depth;
  const int begin = split * pixels_per_split, end = min(rows.count(), begin + pixels_per_split);
  const int first_output = blockIdx.x * TILE, first_column = blockIdx.y * TILE;
  const int deep = threadIdx.x / 16, along = threadIdx.x % 16 * 4;  // both tiles: 16 pixels x 16 times 4 neighbours
  const int output = first_output + along, column = first_column + along;

  auto fetch = [&](int step, float (&a)[4], float (&b)[4]) {
#pragma unroll
    for (int i = 0; i < 4; i++) a[i] = b[i] = 0.f;
    const int m = begin + step * DEEP + deep;
    if (m >= end) return;
    const size_t from = target<false>(rows, m);
    const Row<false> row(rows, m);
    if (VECTOR) {
      if (output < g.breadth()) load<T, 4>(a, grad + from + output);
      if (column >= length) return;
      const long long source = row.source(rows, column / depth);
      if (source >= 0) load<T, 4>(b, x + source + column % depth);
      return;
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
      if (output + i < g.breadth()) a[i] = to_float(grad[from + output + i]);
      if (column + i >= length) continue;
      const long long source = row.source(rows, (column + i) / depth);
      if (source >= 0) b[i] = to_float(x[source + (column + i) % depth]);
    }
  };
  auto put = [&](const float (&a)[4], const float (&b)[4], int buffer) {
    store<float, 4>(&tiles.a[buffer][deep][along], a);
    store<float, 4>(&tiles.b[buffer][deep][along], b);
  };

  float sum[4][4] = {};
  pipeline(sum, tiles, (end - begin + DEEP - 1) / DEEP, fetch, put);
  const int c = first_column + threadIdx.x % 16 * 4;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const int o = first_output + threadIdx.x / 16 * 4 + i;
    if (o >= g.breadth()) continue;
    float* const line = partial + ((size_t)split * g.outputs + rows.group * g.breadth() + o) * length;
    if (VECTOR && c < length) store<float, 4>(line + c, sum[i]);
#pragma unroll
    for (int j = 0; !VECTOR && j < 4; j++)
      if (c + j < length) line[c + j] = sum[i][j];
  }
}
