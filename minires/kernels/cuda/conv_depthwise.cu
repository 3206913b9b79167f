// Depthwise convolution: one group a channel, so that each channel is convolved with a window of its own.
//
// There is no sum over channels and so no matrix product: each value is used a few times only, and the time is that of
// the bytes. Weight [channels][taps].
//
// Launch: forward and for the input one thread for V neighbouring channels of one pixel. For the weights blocks as in
// batch_norm.cu, one a tap along z: partial [splits][channels][taps], which sum_partials adds up.
// Bytes: forward x once (what windows share lies in the cache) and y once; the gradients alike.
// Fused (forward): bias, scale and shift, residual, ReLU.
#include "conv_geometry.cuh"

// Pixel and channels of one thread, among `count` pixels.
template <int V> struct Pixel {
  int pixel, channel;
  bool inside;
  __device__ __forceinline__ Pixel(int count, int channels) {
    const long long i = (long long)blockIdx.x * THREADS + threadIdx.x;
    const int packs = channels / V;
    pixel = (int)(i / packs), channel = (int)(i % packs) * V;
    inside = i < (long long)count * packs;
  }
};

template <class T, int V>
__global__ void __launch_bounds__(THREADS, 4)
conv_depthwise_forward(const T* __restrict__ x, const T* __restrict__ weight, const float* __restrict__ bias,
                       const float* __restrict__ scale, const float* __restrict__ shift,
                       const T* __restrict__ residual, T* __restrict__ y, Geometry geometry, int relu) {
  const Geometry& g = geometry;
  const Pixel<V> at(g.images * g.out_height * g.out_width, g.channels);
  if (!at.inside) return;
  const int j = at.pixel % g.out_width, i = at.pixel / g.out_width % g.out_height;
  const int image = at.pixel / (g.out_width * g.out_height), taps = g.taps();
  float sum[V] = {}, value[V];
  for (int kh = 0; kh < g.kernel_h; kh++) {
    const int h = i * g.stride_h - g.pad_h + kh * g.dilation_h;
    if (h < 0 || h >= g.height) continue;
    for (int kw = 0; kw < g.kernel_w; kw++) {
      const int w = j * g.stride_w - g.pad_w + kw * g.dilation_w;
      if (w < 0 || w >= g.width) continue;
      load<T, V>(value, x + (((size_t)image * g.height + h) * g.width + w) * g.channels + at.channel);
#pragma unroll
      for (int v = 0; v < V; v++)
        sum[v] = fmaf(value[v], to_float(weight[(at.channel + v) * taps + kh * g.kernel_w + kw]), sum[v]);
    }
  }
  const Epilogue<T> epilogue{bias, scale, shift, residual, nullptr, relu};
  const size_t out = (size_t)at.pixel * g.channels + at.channel;
  float other[V] = {};
  if (residual) load<T, V>(other, residual + out);
#pragma unroll
  for (int v = 0; v < V; v++)
    sum[v] = epilogue.finished(epilogue.with_bias(sum[v], at.channel + v), at.channel + v, other[v]);
  store<T, V>(y + out, sum);
}

template <class T, int V>
__global__ void __launch_bounds__(THREADS, 4)
conv_depthwise_input_gradient(const T* __restrict__ grad, const T* __restrict__ weight, T* __restrict__ dx,
                              Geometry geometry) {
  const Geometry& g = geometry;
  const Pixel<V> at(g.images * g.height * g.width, g.channels);
  if (!at.inside) return;
  const int w = at.pixel % g.width, h = at.pixel / g.width % g.height, image = at.pixel / (g.width * g.height);
  const int taps = g.taps();
  float sum[V] = {}, value[V];
  for (int kh = 0; kh < g.kernel_h; kh++) {
    const int from_h = h + g.pad_h - kh * g.dilation_h, i = from_h / g.stride_h;
    if (from_h < 0 || from_h % g.stride_h || i >= g.out_height) continue;
    for (int kw = 0; kw < g.kernel_w; kw++) {
      const int from_w = w + g.pad_w - kw * g.dilation_w, j = from_w / g.stride_w;
      if (from_w < 0 || from_w % g.stride_w || j >= g.out_width) continue;
      load<T, V>(value, grad + (((size_t)image * g.out_height + i) * g.out_width + j) * g.channels + at.channel);
#pragma unroll
      for (int v = 0; v < V; v++)
        sum[v] = fmaf(value[v], to_float(weight[(at.channel + v) * taps + kh * g.kernel_w + kw]), sum[v]);
    }
  }
  store<T, V>(dx + (size_t)at.pixel * g.channels + at.channel, sum);
}

template <class T, int V>
__global__ void __launch_bounds__(THREADS, 4)
conv_depthwise_weight_gradient(const T* __restrict__ grad, const T* __restrict__ x, float* __restrict__ partial,
                               Geometry geometry, int rows, int channels, int rows_per_split, int tile) {
  __shared__ float space[V][THREADS];
  const Geometry& g = geometry;
  const Place<V> at(rows, channels, rows_per_split, tile);
  const int tap = blockIdx.z, down = tap / g.kernel_w * g.dilation_h - g.pad_h;
  const int right = tap % g.kernel_w * g.dilation_w - g.pad_w;
  float sum[V] = {};
  for (int row = at.row; at.inside && row < at.end; row += at.step) {
    const int h = row / g.out_width % g.out_height * g.stride_h + down, w = row % g.out_width * g.stride_w + right;
    if (h < 0 || h >= g.height || w < 0 || w >= g.width) continue;
    const size_t image = row / (g.out_width * g.out_height);
    float from[V], value[V];
    load<T, V>(from, grad + (size_t)row * channels + at.channel);
    load<T, V>(value, x + ((image * g.height + h) * g.width + w) * channels + at.channel);
#pragma unroll
    for (int v = 0; v < V; v++) sum[v] = fmaf(from[v], value[v], sum[v]);
  }
  over_rows<V>(sum, tile, space);
  if (threadIdx.x >= tile || !at.inside) return;
#pragma unroll
  for (int v = 0; v < V; v++)
    partial[((size_t)blockIdx.y * channels + at.channel + v) * g.taps() + tap] = sum[v];
}
