// What all convolutions share: sizes, which place of one image a place of the other meets, and what is done to a
// finished tile of the output.
#pragma once
#include "common.cuh"

// input [images][height][width][channels], output [images][out_height][out_width][outputs],
// weight [outputs][kernel_h][kernel_w][channels / groups]
struct Geometry {
  int images, height, width, channels, out_height, out_width, outputs;
  int kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups;

  __device__ __forceinline__ int depth() const { return channels / groups; }   // input channels a group
  __device__ __forceinline__ int breadth() const { return outputs / groups; }  // output channels a group
  __device__ __forceinline__ int taps() const { return kernel_h * kernel_w; }
};

// Taps of the window that matter, along one axis: first, first + step, ...
struct Taps {
  int first, step, count;
};

// All taps for the forward pass; for the gradient those that lead from rows `phase`, phase + stride, ... of the input
// to a row of the output: (phase + pad - tap dilation) must be a multiple of the stride.
__device__ __forceinline__ Taps all_taps(int kernel) { return {0, 1, kernel}; }
__device__ __forceinline__ Taps taps_of_phase(int kernel, int stride, int pad, int dilation, int phase) {
  Taps taps{0, 0, 0};
  for (int tap = 0; tap < kernel; tap++) {
    if ((phase + pad - tap * dilation) % stride) continue;
    if (taps.count == 0) taps.first = tap;
    if (taps.count == 1) taps.step = tap - taps.first;
    taps.count++;
  }
  return taps;
}

// The rows of the matrix product: one a pixel that is written. Forward these are the pixels of the output, which read
// the input; for the gradient (GRADIENT) pixels of the input, which read the output's gradient. With a stride the input
// falls into stride_h x stride_w phases; the pixels of one phase meet the same taps, and each is a product of its own.
template <bool GRADIENT> struct Rows {
  Geometry g;
  int group, phase_h, phase_w, rows_h, rows_w;
  Taps vertical, horizontal;

  __device__ __forceinline__ Rows(const Geometry& g, int which) : g(g) {
    group = which % g.groups;
    const int phase = which / g.groups;
    phase_h = GRADIENT ? phase / g.stride_w : 0;
    phase_w = GRADIENT ? phase % g.stride_w : 0;
    rows_h = GRADIENT ? (g.height - phase_h + g.stride_h - 1) / g.stride_h : g.out_height;
    rows_w = GRADIENT ? (g.width - phase_w + g.stride_w - 1) / g.stride_w : g.out_width;
    if (GRADIENT && (phase_h >= g.height || phase_w >= g.width)) rows_h = rows_w = 0;
    vertical = all_taps(g.kernel_h), horizontal = all_taps(g.kernel_w);
    if (!GRADIENT) return;
    vertical = taps_of_phase(g.kernel_h, g.stride_h, g.pad_h, g.dilation_h, phase_h);
    horizontal = taps_of_phase(g.kernel_w, g.stride_w, g.pad_w, g.dilation_w, phase_w);
  }
  __device__ __forceinline__ int count() const { return g.images * rows_h * rows_w; }
  __device__ __forceinline__ int taps() const { return vertical.count * horizontal.count; }
  // channels that are added up for each tap, and channels that are written, in this group
  __device__ __forceinline__ int depth() const { return GRADIENT ? g.breadth() : g.depth(); }
  __device__ __forceinline__ int columns() const { return GRADIENT ? g.depth() : g.breadth(); }

  // kernel_w kh + kw of tap i of this phase
  __device__ __forceinline__ int tap(int i) const {
    const int vertical_tap = vertical.first + i / horizontal.count * vertical.step;
    return vertical_tap * g.kernel_w + horizontal.first + i % horizontal.count * horizontal.step;
  }
  // where weight [outputs][taps][depth] joins channel `k` of the sum and channel `column` of the result
  __device__ __forceinline__ size_t weight(int tap, int k, int column) const {
    const int output = group * g.breadth() + (GRADIENT ? k : column), channel = GRADIENT ? column : k;
    return ((size_t)output * g.taps() + tap) * g.depth() + channel;
  }
};

// One row: its pixel, and where the taps find what it reads.
template <bool GRADIENT> struct Row {
  int image, h, w;  // forward: the window's first place; gradient: the pixel, plus the padding
  bool inside;

  __device__ __forceinline__ Row() : image(0), h(0), w(0), inside(false) {}
  __device__ __forceinline__ Row(const Rows<GRADIENT>& rows, int m) {
    inside = m < rows.count();
    if (!inside) m = 0;
    const int columns = max(rows.rows_w, 1), lines = max(rows.rows_h, 1), i = m / columns % lines, j = m % columns;
    const Geometry& g = rows.g;
    image = m / (columns * lines);
    h = GRADIENT ? i * g.stride_h + rows.phase_h + g.pad_h : i * g.stride_h - g.pad_h;
    w = GRADIENT ? j * g.stride_w + rows.phase_w + g.pad_w : j * g.stride_w - g.pad_w;
  }
  // offset of the first of the group's channels that tap kh, kw meets; -1 outside of the image
  __device__ __forceinline__ long long source(const Rows<GRADIENT>& rows, int tap) const {
    const Geometry& g = rows.g;
    const int kh = tap / g.kernel_w, kw = tap % g.kernel_w;
    if (!inside) return -1;
    if (GRADIENT) {
      const int i = h - kh * g.dilation_h, j = w - kw * g.dilation_w;
      if (i < 0 || j < 0 || i / g.stride_h >= g.out_height || j / g.stride_w >= g.out_width) return -1;
      const long long pixel = ((long long)image * g.out_height + i / g.stride_h) * g.out_width + j / g.stride_w;
      return pixel * g.outputs + rows.group * g.breadth();
    }
    const int i = h + kh * g.dilation_h, j = w + kw * g.dilation_w;
    if (i < 0 || j < 0 || i >= g.height || j >= g.width) return -1;
    return (((long long)image * g.height + i) * g.width + j) * g.channels + rows.group * g.depth();
  }
};

// One pixel of the output after the other, without a division for each.
struct Pixels {
  int image, i, j;

  __device__ __forceinline__ Pixels() : image(0), i(0), j(0) {}
  __device__ __forceinline__ Pixels(const Geometry& g, int m)
      : image(m / (g.out_height * g.out_width)), i(m / g.out_width % g.out_height), j(m % g.out_width) {}
  __device__ __forceinline__ void advance(const Geometry& g, int count) {
    j += count;
    while (j >= g.out_width) {
      j -= g.out_width;
      if (++i == g.out_height) i = 0, image++;
    }
  }
  // as Row::source
  __device__ __forceinline__ long long source(const Rows<false>& rows, int tap) const {
    Row<false> row;
    row.image = image, row.h = i * rows.g.stride_h - rows.g.pad_h, row.w = j * rows.g.stride_w - rows.g.pad_w;
    row.inside = true;
    return row.source(rows, tap);
  }
};

// Offset of the first of the group's channels that row m writes.
template <bool GRADIENT> __device__ __forceinline__ size_t target(const Rows<GRADIENT>& rows, int m) {
  const Geometry& g = rows.g;
  if (!GRADIENT) return (size_t)m * g.outputs + rows.group * g.breadth();
  const int j = m % rows.rows_w * g.stride_w + rows.phase_w;
  const int i = m / rows.rows_w % rows.rows_h * g.stride_h + rows.phase_h;
  const size_t pixel = ((size_t)(m / (rows.rows_w * rows.rows_h)) * g.height + i) * g.width + j;
  return pixel * g.channels + rows.group * g.depth();
}

// What is done to y before it is written: y = relu((y + bias) scale + shift + residual), each part where it is wanted
// (scale and shift are a folded batch norm's). `sums` [row tiles][2][outputs] receives the mean of y + bias in each
// tile of rows, and the sum of squared deviations from it: what batch_norm_statistics joins.
template <class T> struct Epilogue {
  const float *bias, *scale, *shift;
  const T* residual;
  float* sums;
  int relu;

  __device__ __forceinline__ float with_bias(float y, int channel) const {
    return bias ? y + bias[channel] : y;
  }
  // `other`: the residual's value, 0 where there is none
  __device__ __forceinline__ float finished(float y, int channel, float other) const {
    if (scale) y *= scale[channel];
    if (shift) y += shift[channel];
    y += other;
    return relu ? relu_of(y) : y;
  }
};

// V = 4 or 8 neighbours of a tile in shared memory. Of eight, every second four lanes take the latter half first: in
// one order for all they would meet in half of the banks.
template <int V> __device__ __forceinline__ void load_from_tile(float (&to)[V], const float* from) {
  if constexpr (V == 4) {
    load<float, 4>(to, from);
  } else {
    const bool exchanged = threadIdx.x / 4 % 2;
    float first[4], second[4];
    load<float, 4>(first, from + (exchanged ? 4 : 0));
    load<float, 4>(second, from + (exchanged ? 0 : 4));
#pragma unroll
    for (int k = 0; k < 4; k++) {
      to[k] = exchanged ? second[k] : first[k];
      to[k + 4] = exchanged ? first[k] : second[k];
    }
  }
}

// Mean of y + bias in each column of a tile in shared memory, and the sum of squared deviations from it, over the rows
// that are inside. Several lanes of a warp take the rows of one column in turn, and add up what they have in the end.
// WIDE columns lie beside each other, by which the pitch is more than a multiple of 32: so all lanes meet other banks.
template <class T, int COLUMNS, int PITCH, int COUNT>
__device__ __forceinline__ void tile_statistics(const float* tile, const Epilogue<T>& epilogue, int inside_rows,
                                                int inside_columns, int first_channel, int all) {
  constexpr int WIDE = PITCH % 32, SHARES = 32 / WIDE;
  static_assert(32 % WIDE == 0 && COLUMNS % WIDE == 0, "a warp takes whole columns");
  const int share = threadIdx.x % 32 / WIDE;
  for (int group = threadIdx.x / 32; group < COLUMNS / WIDE; group += COUNT / 32) {
    const int column = group * WIDE + threadIdx.x % WIDE, channel = first_channel + column;
    const bool inside = column < inside_columns;
    const float bias = inside && epilogue.bias ? epilogue.bias[channel] : 0.f;
    float mean = 0.f, squares = 0.f;
#pragma unroll 4
    for (int r = share; r < inside_rows; r += SHARES) mean += tile[r * PITCH + column] + bias;
#pragma unroll
    for (int lanes = WIDE; lanes < 32; lanes *= 2) mean += __shfl_xor_sync(WHOLE_WARP, mean, lanes);
    mean /= inside_rows;
#pragma unroll 4
    for (int r = share; r < inside_rows; r += SHARES) {
      const float difference = tile[r * PITCH + column] + bias - mean;
      squares = fmaf(difference, difference, squares);
    }
#pragma unroll
    for (int lanes = WIDE; lanes < 32; lanes *= 2) squares += __shfl_xor_sync(WHOLE_WARP, squares, lanes);
    if (inside && share == 0) {
      float* const sums = epilogue.sums + (size_t)blockIdx.x * 2 * all + channel;
      sums[0] = mean;
      sums[all] = squares;
    }
  }
}

// Statistics of a tile [ROWS][COLUMNS] in shared memory, if they are wanted; then the epilogue and the writing, rows by
// rows, so that neighbours write neighbours.
template <class T, int ROWS, int COLUMNS, int PITCH, int COUNT, bool GRADIENT>
__device__ __forceinline__ void finish_tile(const float* tile, const Rows<GRADIENT>& rows, const Epilogue<T>& epilogue,
                                            T* __restrict__ y, int first_row, int first_column) {
  const int inside_rows = min(ROWS, rows.count() - first_row);
  const int inside_columns = min(COLUMNS, rows.columns() - first_column);
  const int first_channel = rows.group * rows.columns() + first_column;
  if (!GRADIENT && epilogue.sums) {
    tile_statistics<T, COLUMNS, PITCH, COUNT>(tile, epilogue, inside_rows, inside_columns, first_channel,
                                              rows.g.outputs);
  }
  constexpr int V = 16 / sizeof(T);
  const bool packs = rows.columns() % V == 0;
  for (int i = threadIdx.x; i < ROWS * COLUMNS / V; i += COUNT) {
    const int r = i / (COLUMNS / V), c = i % (COLUMNS / V) * V;
    if (r >= inside_rows || c >= inside_columns) continue;
    const size_t at = target<GRADIENT>(rows, first_row + r) + first_column + c;
    float values[V], other[V] = {};
    load_from_tile<V>(values, tile + r * PITCH + c);
    if (packs && epilogue.residual) load<T, V>(other, epilogue.residual + at);
#pragma unroll
    for (int v = 0; v < V; v++) {
      if (c + v >= inside_columns) continue;
      const int channel = first_channel + c + v;
      if (!packs && epilogue.residual) other[v] = to_float(epilogue.residual[at + v]);
      values[v] = epilogue.finished(epilogue.with_bias(values[v], channel), channel, other[v]);
      if (!packs) y[at + v] = from_float<T>(values[v]);
    }
    if (packs) store<T, V>(y + at, values);
  }
}
