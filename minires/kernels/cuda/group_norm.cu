// Group normalisation of [images][pixels][channels]: each image by itself, over groups of neighbouring channels.
// One pixel and one group make it layer normalisation.
//
//     n = (x - mean) inverse_std,   y = weight n + bias
//     dx = inverse_std (g - sum g / m - n sum(g n) / m)   with g = weight gradient, over the m values of a group
//     dweight = sum gradient n,   dbias = sum gradient    over images and pixels
//
// Launch: one block of 256 threads a group and image, grid (groups, images); the sums of dweight and dbias as in
// batch_norm.cu. Bytes: a group is read three times forward, but from memory once: it then lies in the L2 cache.
// Forward x and y once each; backward gradient and x once, dx once, and once more both for dweight and dbias.
// Source: Wu and He 2018; Ba, Kiros and Hinton 2016.
#include "common.cuh"

// The values of one group of one image, V at a time.
template <int V> struct Group {
  int packs, packs_a_pixel, channels, first_channel;
  size_t base;

  __device__ __forceinline__ Group(int pixels, int channels, int groups) : channels(channels) {
    const int size = channels / groups;
    packs_a_pixel = size / V;
    packs = pixels * packs_a_pixel;
    first_channel = blockIdx.x * size;
    base = (size_t)blockIdx.y * pixels * channels + first_channel;
  }
  __device__ __forceinline__ size_t index(int pack) const {
    return base + (size_t)(pack / packs_a_pixel) * channels + pack % packs_a_pixel * V;
  }
  __device__ __forceinline__ int channel(int pack) const { return first_channel + pack % packs_a_pixel * V; }
};

template <class T, int V>
__global__ void __launch_bounds__(THREADS, 4)
group_norm_forward(const T* __restrict__ x, const float* __restrict__ weight, const float* __restrict__ bias,
                   T* __restrict__ y, float* __restrict__ mean, float* __restrict__ inverse_std, int pixels,
                   int channels, int groups, float eps) {
  __shared__ float space[THREADS / 32];
  const Group<V> group(pixels, channels, groups);
  const float count = (float)group.packs * V;
  float value[V], sum = 0.f, squares = 0.f;
  for (int p = threadIdx.x; p < group.packs; p += THREADS) {
    load<T, V>(value, x + group.index(p));
#pragma unroll
    for (int v = 0; v < V; v++) sum += value[v];
  }
  const float centre = over_block<Sum>(sum, space) / count;
  for (int p = threadIdx.x; p < group.packs; p += THREADS) {
    load<T, V>(value, x + group.index(p));
#pragma unroll
    for (int v = 0; v < V; v++) squares = fmaf(value[v] - centre, value[v] - centre, squares);
  }
  const float scale = 1.f / sqrtf(over_block<Sum>(squares, space) / count + eps);
  if (threadIdx.x == 0) {
    mean[blockIdx.y * groups + blockIdx.x] = centre;
    inverse_std[blockIdx.y * groups + blockIdx.x] = scale;
  }
  for (int p = threadIdx.x; p < group.packs; p += THREADS) {
    float factor[V], shift[V];
    load<T, V>(value, x + group.index(p));
    load_or<V>(factor, weight, group.channel(p), 1.f);
    load_or<V>(shift, bias, group.channel(p), 0.f);
#pragma unroll
    for (int v = 0; v < V; v++) value[v] = fmaf((value[v] - centre) * scale, factor[v], shift[v]);
    store<T, V>(y + group.index(p), value);
  }
}

template <class T, int V>
__global__ void __launch_bounds__(THREADS, 4)
group_norm_backward(const T* __restrict__ grad, const T* __restrict__ x, const float* __restrict__ weight,
                    const float* __restrict__ mean, const float* __restrict__ inverse_std, T* __restrict__ dx,
                    int pixels, int channels, int groups) {
  __shared__ float space[THREADS / 32];
  const Group<V> group(pixels, channels, groups);
  const float count = (float)group.packs * V;
  const float centre = mean[blockIdx.y * groups + blockIdx.x], scale = inverse_std[blockIdx.y * groups + blockIdx.x];
  float g[V], value[V], factor[V], sum = 0.f, product = 0.f;
  for (int p = threadIdx.x; p < group.packs; p += THREADS) {
    load<T, V>(g, grad + group.index(p));
    load<T, V>(value, x + group.index(p));
    load_or<V>(factor, weight, group.channel(p), 1.f);
#pragma unroll
    for (int v = 0; v < V; v++) {
      sum += g[v] * factor[v];
      product = fmaf(g[v] * factor[v], (value[v] - centre) * scale, product);
    }
  }
  const float through_mean = over_block<Sum>(sum, space) / count;
  const float through_variance = over_block<Sum>(product, space) / count;
  for (int p = threadIdx.x; p < group.packs; p += THREADS) {
    load<T, V>(g, grad + group.index(p));
    load<T, V>(value, x + group.index(p));
    load_or<V>(factor, weight, group.channel(p), 1.f);
#pragma unroll
    for (int v = 0; v < V; v++)
      value[v] = scale * (g[v] * factor[v] - through_mean - (value[v] - centre) * scale * through_variance);
    store<T, V>(dx + group.index(p), value);
  }
}

// partial [splits][2][channels]: sum of the gradient, and of gradient n, over the rows (image, pixel) of each split.
template <class T, int V>
__global__ void __launch_bounds__(THREADS, 4)
group_norm_backward_sums(const T* __restrict__ grad, const T* __restrict__ x, const float* __restrict__ mean,
                         const float* __restrict__ inverse_std, float* __restrict__ partial, int rows, int pixels,
                         int channels, int groups, int rows_per_split, int tile) {
  __shared__ float space[V][THREADS];
  const Place<V> at(rows, channels, rows_per_split, tile);
  float sum[V] = {}, product[V] = {};
  if (at.inside) {
    const int group = at.channel / (channels / groups);
    for (int row = at.row; row < at.end; row += at.step) {
      const size_t i = (size_t)row * channels + at.channel;
      const int statistic = row / pixels * groups + group;
      const float centre = mean[statistic], scale = inverse_std[statistic];
      float g[V], value[V];
      load<T, V>(g, grad + i);
      load<T, V>(value, x + i);
#pragma unroll
      for (int v = 0; v < V; v++) {
        sum[v] += g[v];
        product[v] = fmaf(g[v], (value[v] - centre) * scale, product[v]);
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
