// Dropout: y = x s with s = 0 with probability p, else 1 / (1 - p). The gradient is the same kernel on the gradient:
// the mask is computed anew from its address instead of being kept.
//
// Random numbers are NumPy's: Generator(Philox(counter, key)).random(shape, float32), drawn for the elements in the
// logical order [images][channels][pixels], so that the same address drops the same elements on any device. A counter
// gives four 64-bit words, 8 numbers, each the upper 24 of 32 bits, the lower half of a word first; NumPy counts before
// it draws, so that element 0 belongs to counter 1. Source: Salmon et al. 2011, Parallel random numbers.
//
// Launch: one thread for 8 elements that are neighbours in memory. Bytes: x once, y once. With one pixel (a matrix of
// rows and features) a thread needs one counter; with more, one an element, since channels lie between the pixels.
#include "common.cuh"

struct Words { unsigned long long word[4]; };

// Philox4x64-10: ten rounds of two products of 64 bits.
__device__ __forceinline__ Words philox(Words counter, unsigned long long key0, unsigned long long key1) {
#pragma unroll
  for (int round = 0; round < 10; round++) {
    const unsigned long long m0 = 0xD2E7470EE14C6C93ull, m1 = 0xCA5A826395121157ull;
    const unsigned long long high0 = __umul64hi(m0, counter.word[0]), low0 = m0 * counter.word[0];
    const unsigned long long high1 = __umul64hi(m1, counter.word[2]), low1 = m1 * counter.word[2];
    counter = {{high1 ^ counter.word[1] ^ key0, low1, high0 ^ counter.word[3] ^ key1, low0}};
    key0 += 0x9E3779B97F4A7C15ull;
    key1 += 0xBB67AE8584CAA73Bull;
  }
  return counter;
}

__device__ __forceinline__ float uniform(const Words& words, int which) {
  // two choices instead of an index that is unknown when compiled, which would put the words into local memory
  const unsigned long long low = which & 2 ? words.word[1] : words.word[0];
  const unsigned long long high = which & 2 ? words.word[3] : words.word[2];
  const unsigned long long word = which & 4 ? high : low;
  const unsigned bits = which % 2 ? (unsigned)(word >> 32) : (unsigned)word;
  return (bits >> 8) * (1.f / 16777216.f);
}

// kept[i] is drawn for element i = 8 block ..: `address` [5] holds key0, key1, and the upper words of the counter.
template <class T>
__global__ void __launch_bounds__(THREADS, 4)
dropout(const T* __restrict__ x, const unsigned long long* __restrict__ address, T* __restrict__ y, long long size,
        int channels, int pixels, float p, float scale) {
  const long long first = ((long long)blockIdx.x * THREADS + threadIdx.x) * 8;
  if (first >= size) return;
  const unsigned long long key0 = address[0], key1 = address[1];
  Words counter{{1 + (unsigned long long)first / 8, address[2], address[3], address[4]}};
  Words words = philox(counter, key0, key1);
  if (pixels == 1 && first + 8 <= size) {
    constexpr int V = 16 / sizeof(T);
#pragma unroll
    for (int i = 0; i < 8; i += V) {
      float value[V];
      load<T, V>(value, x + first + i);
#pragma unroll
      for (int v = 0; v < V; v++) value[v] *= uniform(words, i + v) >= p ? scale : 0.f;
      store<T, V>(y + first + i, value);
    }
    return;
  }
  for (int i = 0; i < 8 && first + i < size; i++) {
    const long long at = first + i;
    int which = i;
    if (pixels > 1) {  // memory has [image][pixel][channel], the draw [image][channel][pixel]
      const long long channel = at % channels, row = at / channels;
      const long long drawn = (row / pixels * channels + channel) * pixels + row % pixels;
      counter.word[0] = 1 + (unsigned long long)drawn / 8;
      words = philox(counter, key0, key1);
      which = (int)(drawn % 8);
    }
    const float kept = uniform(words, which) >= p ? scale : 0.f;
    y[at] = from_float<T>(to_float(x[at]) * kept);
  }
}
