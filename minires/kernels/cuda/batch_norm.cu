// Batch normalisation over [rows][channels] (NHWC, one row a pixel), with a residual sum and ReLU behind it.
//
//     n = (x - mean) inverse_std,   z = weight n + bias,   y = z, or z + residual, or the ReLU of either
//     dbias = sum g,   dweight = sum g n,   dx = weight inverse_std (g - dbias / rows - n dweight / rows)
//
// with g the gradient where y > 0. Mean and variance are those of the batch, or constants (then inverse_count = 0
// leaves out what would flow through them). Source: Ioffe and Szegedy 2015; the merging of means and squared
// deviations: Chan, Golub and LeVeque 1979.
//
// Launch: blocks of 256 threads, `tile` packs of channels wide; grid (packs / tile, splits of the rows). Sums are kept
// a split each and added up by a second, small kernel in a fixed order, so that the same input gives the same bits.
// Bytes: forward reads x twice and writes y (and reads the residual): 3 passes; where the convolution's epilogue has
// taken the sums, 2. Backward reads gradient, x and y twice, writes dx (and the masked gradient): 7 to 8 passes.
// Fused: normalisation, scale, shift, residual, ReLU; backward also the ReLU's mask and the residual's gradient.
#include "common.cuh"

// Mean and sum of squared deviations of each channel over the rows of one split. Sums are of x - shift, where the
// shift is the split's first row: where the mean is large against the deviation, no digits are lost.
template <class T, int V>
__global__ void __launch_bounds__(THREADS, 4)
batch_norm_sums(const T* __restrict__ x, float* __restrict__ partial, int rows, int channels, int rows_per_split,
                int tile) {
  __shared__ float space[V][THREADS];
  const Place<V> at(rows, channels, rows_per_split, tile);
  float shift[V] = {}, sum[V] = {}, squares[V] = {};
  if (at.inside) {
    const int begin = blockIdx.y * rows_per_split;
    load<T, V>(shift, x + (size_t)begin * channels + at.channel);
#pragma unroll 4
    for (int row = at.row; row < at.end; row += at.step) {
      float value[V];
      load<T, V>(value, x + (size_t)row * channels + at.channel);
#pragma unroll
      for (int v = 0; v < V; v++) {
        const float difference = value[v] - shift[v];
        sum[v] += difference;
        squares[v] = fmaf(difference, difference, squares[v]);
      }
    }
  }
  over_rows<V>(sum, tile, space);
  over_rows<V>(squares, tile, space);
  if (threadIdx.x >= tile || !at.inside) return;
  const float count = at.end - (int)blockIdx.y * rows_per_split;
  float* const means = partial + (size_t)blockIdx.y * 2 * channels + at.channel;
#pragma unroll
  for (int v = 0; v < V; v++) {
    means[v] = shift[v] + sum[v] / count;
    means[channels + v] = fmaxf(squares[v] - sum[v] * sum[v] / count, 0.f);
  }
}

// Joins the splits: partial [splits][2][channels] (mean, squared deviations) of rows_per_split rows each, the last
// split of fewer. Blocks of 32 channels x 8 shares of the splits.
__global__ void __launch_bounds__(THREADS, 4)
batch_norm_statistics(const float* __restrict__ partial, float* __restrict__ mean, float* __restrict__ variance,
                      float* __restrict__ inverse_std, int rows, int channels, int rows_per_split, float eps) {
  __shared__ float space[1][THREADS];
  const int column = threadIdx.x % 32, share = threadIdx.x / 32, channel = blockIdx.x * 32 + column;
  const int splits = (rows + rows_per_split - 1) / rows_per_split;
  const bool inside = channel < channels;
  const float first = inside ? partial[channel] : 0.f;
  float total[1] = {};
  for (int s = share; inside && s < splits; s += 8)
    total[0] += min(rows_per_split, rows - s * rows_per_split) * (partial[(size_t)s * 2 * channels + channel] - first);
  over_rows<1>(total, 32, space);
  __syncthreads();
  const float centre = first + space[0][column] / rows;
  total[0] = 0.f;
  for (int s = share; inside && s < splits; s += 8) {
    const float* const means = partial + (size_t)s * 2 * channels + channel;
    const float difference = means[0] - centre;
    total[0] += means[channels] + min(rows_per_split, rows - s * rows_per_split) * difference * difference;
  }
  over_rows<1>(total, 32, space);
  if (share || !inside) return;
  mean[channel] = centre;
  variance[channel] = total[0] / rows;
  inverse_std[channel] = 1.f / sqrtf(total[0] / rows + eps);
}

// inverse_std = 1 / sqrt(variance + eps), of the running statistics. One thread a channel.
__global__ void __launch_bounds__(THREADS, 4)
batch_norm_inverse_std(const float* __restrict__ variance, float* __restrict__ inverse_std, int channels, float eps) {
  const int channel = blockIdx.x * THREADS + threadIdx.x;
  if (channel < channels) inverse_std[channel] = 1.f / sqrtf(variance[channel] + eps);
}

template <class T, int V>
__global__ void __launch_bounds__(THREADS, 4)
batch_norm_apply(const T* __restrict__ x, const T* __restrict__ residual, const float* __restrict__ weight,
                 const float* __restrict__ bias, const float* __restrict__ mean, const float* __restrict__ inverse_std,
                 T* __restrict__ y, int rows, int channels, int rows_per_split, int tile, int relu) {
  const Place<V> at(rows, channels, rows_per_split, tile);
  if (!at.inside) return;
  float centre[V], scale[V], shift[V], factor[V];
  load_or<V>(centre, mean, at.channel, 0.f);
  load_or<V>(scale, inverse_std, at.channel, 1.f);
  load_or<V>(factor, weight, at.channel, 1.f);
  load_or<V>(shift, bias, at.channel, 0.f);
#pragma unroll
  for (int v = 0; v < V; v++) scale[v] *= factor[v];
#pragma unroll 2
  for (int row = at.row; row < at.end; row += at.step) {
    const size_t i = (size_t)row * channels + at.channel;
    float value[V], other[V] = {};
    load<T, V>(value, x + i);
    if (residual) load<T, V>(other, residual + i);
#pragma unroll
    for (int v = 0; v < V; v++) {
      value[v] = fmaf(value[v] - centre[v], scale[v], shift[v]) + other[v];
      if (relu) value[v] = relu_of(value[v]);
    }
    store<T, V>(y + i, value);
  }
}

// partial [splits][2][channels]: sum g and sum g n of each split. y is missing where there was no ReLU.
template <class T, int V>
__global__ void __launch_bounds__(THREADS, 3)
batch_norm_backward_sums(const T* __restrict__ grad, const T* __restrict__ x, const T* __restrict__ y,
                         const float* __restrict__ mean, const float* __restrict__ inverse_std,
                         float* __restrict__ partial, int rows, int channels, int rows_per_split, int tile) {
  __shared__ float space[V][THREADS];
  const Place<V> at(rows, channels, rows_per_split, tile);
  float centre[V] = {}, scale[V] = {}, sum[V] = {}, product[V] = {};
  if (at.inside) {
    load_or<V>(centre, mean, at.channel, 0.f);
    load_or<V>(scale, inverse_std, at.channel, 1.f);
#pragma unroll 2
    for (int row = at.row; row < at.end; row += at.step) {
      const size_t i = (size_t)row * channels + at.channel;
      float g[V], value[V], output[V];
      load<T, V>(g, grad + i);
      load<T, V>(value, x + i);
      if (y) load<T, V>(output, y + i);
#pragma unroll
      for (int v = 0; v < V; v++) {
        if (y) g[v] = relu_mask(g[v], output[v]);
        sum[v] += g[v];
        product[v] = fmaf(g[v], (value[v] - centre[v]) * scale[v], product[v]);
      }
    }
  }
  over_rows<V>(sum, tile, space);
  over_rows<V>(product, tile, space);
  if (threadIdx.x >= tile || !at.inside) return;
  float* const sums = partial + (size_t)blockIdx.y * 2 * channels + at.channel;
#pragma unroll
  for (int v = 0; v < V; v++) {
    sums[v] = sum[v];
    sums[channels + v] = product[v];
  }
}

// dx, and the masked gradient where it is wanted (it is the residual's). sums [2][channels]: dbias and dweight.
// Written as dx = slope g - constant - tilt (x - mean), with three numbers a channel.
template <class T, int V>
__global__ void __launch_bounds__(THREADS, 3)
batch_norm_backward_apply(const T* __restrict__ grad, const T* __restrict__ x, const T* __restrict__ y,
                          const float* __restrict__ weight, const float* __restrict__ mean,
                          const float* __restrict__ inverse_std, const float* __restrict__ sums, T* __restrict__ dx,
                          T* __restrict__ masked, int rows, int channels, int rows_per_split, int tile,
                          float inverse_count) {
  const Place<V> at(rows, channels, rows_per_split, tile);
  if (!at.inside) return;
  float centre[V], slope[V], constant[V], tilt[V], scale[V];
  load_or<V>(centre, mean, at.channel, 0.f);
  load_or<V>(slope, weight, at.channel, 1.f);
  load_or<V>(scale, inverse_std, at.channel, 1.f);
  load_or<V>(constant, sums, at.channel, 0.f);
  load_or<V>(tilt, sums + channels, at.channel, 0.f);
#pragma unroll
  for (int v = 0; v < V; v++) {
    slope[v] *= scale[v];
    constant[v] *= slope[v] * inverse_count;
    tilt[v] *= slope[v] * inverse_count * scale[v];
  }
  for (int row = at.row; row < at.end; row += at.step) {
    const size_t i = (size_t)row * channels + at.channel;
    float g[V], value[V], output[V];
    load<T, V>(g, grad + i);
    load<T, V>(value, x + i);
    if (y) load<T, V>(output, y + i);
#pragma unroll
    for (int v = 0; v < V; v++) {
      if (y) g[v] = relu_mask(g[v], output[v]);
      value[v] = slope[v] * g[v] - constant[v] - tilt[v] * (value[v] - centre[v]);
    }
    store<T, V>(dx + i, value);
    if (masked) store<T, V>(masked + i, g);
  }
}
