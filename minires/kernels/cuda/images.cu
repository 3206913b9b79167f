// Pictures: bytes to normalised numbers, channels last, and bilinear resizing.
//
//     y = (x / 255 - mean[c]) / deviation[c]
//
// Resizing, torch's interpolate(mode="bilinear", align_corners=False, antialias=False): output (i, j) lies at input
// ((i + 1/2) H / OH - 1/2, ...), not below 0, and is the weighted mean of the four places around it.
//
// Launch: one thread a value. Bytes: x once, y once; what neighbours share when resizing lies in the cache.
#include "common.cuh"

// `planar`: the bytes lie as [images][channels][pixels], else as [images][pixels][channels]; y has the latter order.
template <class T>
__global__ void __launch_bounds__(THREADS)
normalise_images(const unsigned char* __restrict__ x, const float* __restrict__ mean,
                 const float* __restrict__ deviation, T* __restrict__ y, int images, int pixels, int channels,
                 int planar) {
  const long long i = (long long)blockIdx.x * THREADS + threadIdx.x;
  if (i >= (long long)images * pixels * channels) return;
  const int channel = (int)(i % channels);
  const long long row = i / channels, image = row / pixels, pixel = row % pixels;
  const unsigned char byte = planar ? x[(image * channels + channel) * pixels + pixel] : x[i];
  y[i] = from_float<T>((byte / 255.f - mean[channel]) / deviation[channel]);
}

// Where along one axis an output lies: between `low` and `high`, with the weight `fraction` on the latter.
struct Between {
  int low, high;
  float fraction;
  __device__ __forceinline__ Between(int i, int size, int out_size) {
    const float at = fmaxf((i + 0.5f) * ((float)size / out_size) - 0.5f, 0.f);
    low = min((int)at, size - 1);
    high = min(low + 1, size - 1);
    fraction = fminf(at - low, 1.f);
  }
};

template <class S, class T>
__global__ void __launch_bounds__(THREADS)
bilinear_resize(const S* __restrict__ x, T* __restrict__ y, int images, int height, int width, int out_height,
                int out_width, int channels) {
  long long i = (long long)blockIdx.x * THREADS + threadIdx.x;
  if (i >= (long long)images * out_height * out_width * channels) return;
  const size_t out = i;
  const int channel = (int)(i % channels);
  i /= channels;
  const Between column((int)(i % out_width), width, out_width);
  i /= out_width;
  const Between row((int)(i % out_height), height, out_height);
  const S* const image = x + (size_t)(i / out_height) * height * width * channels + channel;
  auto at = [&](int r, int c) { return to_float(image[((size_t)r * width + c) * channels]); };
  const float upper = at(row.low, column.low) * (1.f - column.fraction) + at(row.low, column.high) * column.fraction;
  const float lower = at(row.high, column.low) * (1.f - column.fraction) + at(row.high, column.high) * column.fraction;
  y[out] = from_float<T>(upper * (1.f - row.fraction) + lower * row.fraction);
}
