// Maximum, average and adaptive average pooling of [images][height][width][channels], and their gradients.
//
// Letters as in kernels/reference/pool.py: the window of output (i, j) begins at input (stride i - pad, stride j -
// pad). Gradients are gathered: each input place asks the windows that met it, so that no atomics are needed and the
// order of the additions is fixed. Adaptive windows reach from floor(i H / OH) to ceil((i + 1) H / OH); global is OH =
// OW = 1.
//
// Launch: one thread for V neighbouring channels of one place. Bytes: forward x once (what windows share lies in the
// cache) and y, and one byte a value for the winner; backward gradient and winner once, dx once.
#include "common.cuh"

struct Window {
  int height, width, out_height, out_width;
  int kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
};

// Which place and channels the thread has, among `rows` x `columns` places of each image.
template <int V> struct Spot {
  int image, row, column, channel;
  bool inside;

  __device__ __forceinline__ Spot(int images, int rows, int columns, int channels) {
    const int packs = channels / V;
    long long i = (long long)blockIdx.x * THREADS + threadIdx.x;
    inside = i < (long long)images * rows * columns * packs;
    channel = (int)(i % packs) * V, i /= packs;
    column = (int)(i % columns), i /= columns;
    row = (int)(i % rows);
    image = (int)(i / rows);
  }
};
__device__ __forceinline__ size_t place(int image, int row, int column, int rows, int columns, int channels) {
  return (((size_t)image * rows + row) * columns + column) * channels;
}

// Of equal values the first wins; NaN beats every number, the last NaN the earlier ones, as in PyTorch.
template <class T, int V, class W>
__global__ void __launch_bounds__(THREADS, 4)
max_pool_forward(const T* __restrict__ x, T* __restrict__ y, W* __restrict__ winner, Window w, int images,
                 int channels) {
  const Spot<V> at(images, w.out_height, w.out_width, channels);
  if (!at.inside) return;
  float best[V], value[V];
  Pack<W, V> which;
#pragma unroll
  for (int v = 0; v < V; v++) best[v] = __int_as_float(0xff800000), which.value[v] = 0;
  bool found = false;
  for (int kh = 0; kh < w.kernel_h; kh++) {
    const int h = at.row * w.stride_h - w.pad_h + kh * w.dilation_h;
    if (h < 0 || h >= w.height) continue;
    for (int kw = 0; kw < w.kernel_w; kw++) {
      const int c = at.column * w.stride_w - w.pad_w + kw * w.dilation_w;
      if (c < 0 || c >= w.width) continue;
      load<T, V>(value, x + place(at.image, h, c, w.height, w.width, channels) + at.channel);
#pragma unroll
      for (int v = 0; v < V; v++)
        if (!found || value[v] > best[v] || value[v] != value[v])
          best[v] = value[v], which.value[v] = (W)(kh * w.kernel_w + kw);
      found = true;
    }
  }
  const size_t out = place(at.image, at.row, at.column, w.out_height, w.out_width, channels) + at.channel;
  store<T, V>(y + out, best);
  *reinterpret_cast<Pack<W, V>*>(winner + out) = which;
}

// The windows along one axis that may have met a place: from `first` to `last`.
struct Reach {
  int first, last;
  __device__ __forceinline__ Reach(int at, int kernel, int stride, int pad, int dilation, int count) {
    const int before = at + pad - (kernel - 1) * dilation;
    first = before > 0 ? (before + stride - 1) / stride : 0;
    last = min(count - 1, (at + pad) / stride);
  }
};

template <class T, int V, class W>
__global__ void __launch_bounds__(THREADS, 4)
max_pool_backward(const T* __restrict__ grad, const W* __restrict__ winner, T* __restrict__ dx, Window w, int images,
                  int channels) {
  const Spot<V> at(images, w.height, w.width, channels);
  if (!at.inside) return;
  float sum[V] = {}, g[V];
  const Reach rows(at.row, w.kernel_h, w.stride_h, w.pad_h, w.dilation_h, w.out_height);
  const Reach columns(at.column, w.kernel_w, w.stride_w, w.pad_w, w.dilation_w, w.out_width);
  for (int i = rows.first; i <= rows.last; i++) {
    const int from_h = at.row + w.pad_h - i * w.stride_h;
    if (from_h % w.dilation_h) continue;
    for (int j = columns.first; j <= columns.last; j++) {
      const int from_w = at.column + w.pad_w - j * w.stride_w;
      if (from_w % w.dilation_w) continue;
      const int which = from_h / w.dilation_h * w.kernel_w + from_w / w.dilation_w;
      const size_t out = place(at.image, i, j, w.out_height, w.out_width, channels) + at.channel;
      load<T, V>(g, grad + out);
      const Pack<W, V> won = *reinterpret_cast<const Pack<W, V>*>(winner + out);
#pragma unroll
      for (int v = 0; v < V; v++)
        if (won.value[v] == which) sum[v] += g[v];
    }
  }
  store<T, V>(dx + place(at.image, at.row, at.column, w.height, w.width, channels) + at.channel, sum);
}

// By how many places a window's sum is divided: `divisor` if it is above 0; else those inside of the image, or, with
// include_pad, inside of the image and its padding.
struct Divisor {
  int include_pad, divisor;
  static __device__ __forceinline__ int along(int i, int size, int kernel, int stride, int pad, int include_pad) {
    const int begin = i * stride - pad, end = min(begin + kernel, size + pad);
    return include_pad ? end - begin : min(end, size) - max(begin, 0);
  }
  __device__ __forceinline__ float of(const Window& w, int i, int j) const {
    if (divisor > 0) return divisor;
    return max(1, along(i, w.height, w.kernel_h, w.stride_h, w.pad_h, include_pad) *
                      along(j, w.width, w.kernel_w, w.stride_w, w.pad_w, include_pad));
  }
};

template <class T, int V>
__global__ void __launch_bounds__(THREADS, 4)
avg_pool_forward(const T* __restrict__ x, T* __restrict__ y, Window w, int images, int channels, int include_pad,
                 int divisor) {
  const Spot<V> at(images, w.out_height, w.out_width, channels);
  if (!at.inside) return;
  float sum[V] = {}, value[V];
  const int begin_h = at.row * w.stride_h - w.pad_h, begin_w = at.column * w.stride_w - w.pad_w;
  for (int h = max(begin_h, 0); h < min(begin_h + w.kernel_h, w.height); h++)
    for (int c = max(begin_w, 0); c < min(begin_w + w.kernel_w, w.width); c++) {
      load<T, V>(value, x + place(at.image, h, c, w.height, w.width, channels) + at.channel);
#pragma unroll
      for (int v = 0; v < V; v++) sum[v] += value[v];
    }
  const float count = Divisor{include_pad, divisor}.of(w, at.row, at.column);
#pragma unroll
  for (int v = 0; v < V; v++) sum[v] /= count;
  store<T, V>(y + place(at.image, at.row, at.column, w.out_height, w.out_width, channels) + at.channel, sum);
}

template <class T, int V>
__global__ void __launch_bounds__(THREADS, 4)
avg_pool_backward(const T* __restrict__ grad, T* __restrict__ dx, Window w, int images, int channels, int include_pad,
                  int divisor) {
  const Spot<V> at(images, w.height, w.width, channels);
  if (!at.inside) return;
  float sum[V] = {}, g[V];
  const Reach rows(at.row, w.kernel_h, w.stride_h, w.pad_h, 1, w.out_height);
  const Reach columns(at.column, w.kernel_w, w.stride_w, w.pad_w, 1, w.out_width);
  for (int i = rows.first; i <= rows.last; i++)
    for (int j = columns.first; j <= columns.last; j++) {
      const float count = Divisor{include_pad, divisor}.of(w, i, j);
      load<T, V>(g, grad + place(at.image, i, j, w.out_height, w.out_width, channels) + at.channel);
#pragma unroll
      for (int v = 0; v < V; v++) sum[v] += g[v] / count;
    }
  store<T, V>(dx + place(at.image, at.row, at.column, w.height, w.width, channels) + at.channel, sum);
}

// Adaptive windows along one axis: begin and end of window i of `count` over `size` places.
__device__ __forceinline__ int window_begin(int i, int size, int count) { return (int)((long long)i * size / count); }
__device__ __forceinline__ int window_end(int i, int size, int count) {
  return (int)(((long long)(i + 1) * size + count - 1) / count);
}

template <class T, int V>
__global__ void __launch_bounds__(THREADS, 2)
adaptive_avg_pool_forward(const T* __restrict__ x, T* __restrict__ y, int images, int height, int width,
                          int out_height, int out_width, int channels) {
  const Spot<V> at(images, out_height, out_width, channels);
  if (!at.inside) return;
  const int top = window_begin(at.row, height, out_height), bottom = window_end(at.row, height, out_height);
  const int left = window_begin(at.column, width, out_width), right = window_end(at.column, width, out_width);
  float sum[V] = {}, value[V];
  for (int h = top; h < bottom; h++)
    for (int c = left; c < right; c++) {
      load<T, V>(value, x + place(at.image, h, c, height, width, channels) + at.channel);
#pragma unroll
      for (int v = 0; v < V; v++) sum[v] += value[v];
    }
  const float count = (bottom - top) * (right - left);
#pragma unroll
  for (int v = 0; v < V; v++) sum[v] /= count;
  store<T, V>(y + place(at.image, at.row, at.column, out_height, out_width, channels) + at.channel, sum);
}

template <class T, int V>
__global__ void __launch_bounds__(THREADS, 2)
adaptive_avg_pool_backward(const T* __restrict__ grad, T* __restrict__ dx, int images, int height, int width,
                           int out_height, int out_width, int channels) {
  const Spot<V> at(images, height, width, channels);
  if (!at.inside) return;
  float sum[V] = {}, g[V];
  // windows that hold row h: from floor(h OH / H) to ceil((h + 1) OH / H), the same rule with the sizes exchanged
  for (int i = window_begin(at.row, out_height, height); i < window_end(at.row, out_height, height); i++) {
    const int rows = window_end(i, height, out_height) - window_begin(i, height, out_height);
    for (int j = window_begin(at.column, out_width, width); j < window_end(at.column, out_width, width); j++) {
      const float count = rows * (window_end(j, width, out_width) - window_begin(j, width, out_width));
      load<T, V>(g, grad + place(at.image, i, j, out_height, out_width, channels) + at.channel);
#pragma unroll
      for (int v = 0; v < V; v++) sum[v] += g[v] / count;
    }
  }
  store<T, V>(dx + place(at.image, at.row, at.column, height, width, channels) + at.channel, sum);
}
