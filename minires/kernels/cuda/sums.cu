// total[i] = sum over s of partial[s][i]: the second half of every sum that many blocks share.
//
// The order of the additions is fixed, so that the same input gives the same bits; atomics would not.
// Launch: blocks of 32 places x 8 shares of the splits, grid length / 32. Bytes: partial once, total once.
#include "common.cuh"

template <class T>
__global__ void __launch_bounds__(THREADS)
sum_partials(const float* __restrict__ partial, T* __restrict__ total, int length, int splits) {
  __shared__ float space[1][THREADS];
  const int place = blockIdx.x * 32 + threadIdx.x % 32, share = threadIdx.x / 32;
  float sum[1] = {};
  for (int s = share; place < length && s < splits; s += 8) sum[0] += partial[(size_t)s * length + place];
  over_rows<1>(sum, 32, space);
  if (share == 0 && place < length) total[place] = from_float<T>(sum[0]);
}
