// Softmax and cross entropy over [rows][columns], and their gradients.
//
//     log_probability[k] = x[k] - log sum exp x,   probability = exp of that
//     q[k] = weight[k] ((1 - e) [k = target] + e / columns)          e: label smoothing
//     loss = - sum q[k] log_probability[k],   dx[k] = g (probability[k] sum q - q[k])
//
// A row whose target is `ignore_index` costs 0. A target that is no class is reported in `wrong` (1 + the largest such
// row; 0 if all is well), since a kernel cannot raise. Sources as in kernels/reference/loss.py.
//
// Launch: one block of 128 threads a row. The largest value and the sum of exponentials come from one pass (Milakov
// and Gimelshein 2018); the second pass finds the row in the cache, unless it is longer than that. Bytes: x once, dx
// once (or log_probability once): 2 passes for loss and gradient together.
// Fused: softmax, smoothing, class weights, loss, gradient.
#include "common.cuh"

constexpr int ROW_THREADS = 128, ROW_WARPS = ROW_THREADS / 32;
constexpr float LOWEST = -3.402823466e38f;

// log of the sum of exponentials of a row, and its largest value; every thread receives both.
struct Normaliser {
  float largest, log_sum;
  __device__ __forceinline__ float log_probability(float x) const { return x - largest - log_sum; }
};

template <class T>
__device__ __forceinline__ Normaliser normaliser_of(const T* __restrict__ x, int columns, float* space) {
  float largest = LOWEST, sum = 0.f;
  for (int k = threadIdx.x; k < columns; k += ROW_THREADS) {
    const float value = to_float(x[k]), before = largest;
    largest = Largest::of(before, value);
    sum = sum * expf(before - largest) + expf(value - largest);
  }
  const float whole = over_block<Largest>(largest, space);
  return {whole, logf(over_block<Sum>(sum * expf(largest - whole), space))};
}

template <class T>
__global__ void __launch_bounds__(ROW_THREADS)
softmax_rows(const T* __restrict__ x, T* __restrict__ y, int columns, int logarithm) {
  __shared__ float space[ROW_WARPS];
  const size_t base = (size_t)blockIdx.x * columns;
  const Normaliser normaliser = normaliser_of(x + base, columns, space);
  for (int k = threadIdx.x; k < columns; k += ROW_THREADS) {
    const float value = normaliser.log_probability(to_float(x[base + k]));
    y[base + k] = from_float<T>(logarithm ? value : expf(value));
  }
}

// dx = y (g - sum g y), or for the logarithm g - exp(y) sum g.
template <class T>
__global__ void __launch_bounds__(ROW_THREADS)
softmax_rows_backward(const T* __restrict__ grad, const T* __restrict__ y, T* __restrict__ dx, int columns,
                      int logarithm) {
  __shared__ float space[ROW_WARPS];
  const size_t base = (size_t)blockIdx.x * columns;
  float sum = 0.f;
  for (int k = threadIdx.x; k < columns; k += ROW_THREADS) {
    const float g = to_float(grad[base + k]);
    sum += logarithm ? g : g * to_float(y[base + k]);
  }
  sum = over_block<Sum>(sum, space);
  for (int k = threadIdx.x; k < columns; k += ROW_THREADS) {
    const float g = to_float(grad[base + k]), output = to_float(y[base + k]);
    dx[base + k] = from_float<T>(logarithm ? g - expf(output) * sum : output * (g - sum));
  }
}

// What a row wants: q as above.
struct Wanted {
  const float* weight;
  long long target;
  float smooth, keep;  // e / columns and 1 - e

  __device__ __forceinline__ float q(int k) const {
    const float share = k == target ? smooth + keep : smooth;
    return weight ? weight[k] * share : share;
  }
};

// Loss, and where they are wanted the log probabilities and the gradient: dx = row_grad (missing: 1) scale (...).
template <class T>
__global__ void __launch_bounds__(ROW_THREADS)
cross_entropy(const T* __restrict__ x, const long long* __restrict__ target, const float* __restrict__ class_weight,
              const float* __restrict__ row_grad, float* __restrict__ loss, T* __restrict__ log_probability,
              T* __restrict__ dx, int* __restrict__ wrong, int columns, long long ignore_index, float smoothing,
              float scale) {
  __shared__ float space[ROW_WARPS];
  const int row = blockIdx.x;
  const size_t base = (size_t)row * columns;
  const bool counts = target[row] != ignore_index, is_class = target[row] >= 0 && target[row] < columns;
  if (threadIdx.x == 0 && counts && !is_class) atomicMax(wrong, row + 1);
  const Wanted wanted{class_weight, counts ? target[row] : -1, counts ? smoothing / columns : 0.f, 1.f - smoothing};
  const Normaliser normaliser = normaliser_of(x + base, columns, space);
  float cost = 0.f, all = 0.f;
  for (int k = threadIdx.x; k < columns; k += ROW_THREADS) {
    const float value = normaliser.log_probability(to_float(x[base + k])), q = wanted.q(k);
    if (q != 0.f) cost -= q * value;  // 0 log 0 is 0
    all += q;
    if (log_probability) log_probability[base + k] = from_float<T>(value);
  }
  cost = over_block<Sum>(cost, space);
  if (threadIdx.x == 0) loss[row] = cost;
  if (!dx) return;
  all = over_block<Sum>(all, space);
  const float factor = scale * (row_grad ? row_grad[row] : 1.f);
  for (int k = threadIdx.x; k < columns; k += ROW_THREADS) {
    const float value = normaliser.log_probability(to_float(x[base + k]));
    dx[base + k] = from_float<T>(factor * (expf(value) * all - wanted.q(k)));
  }
}

// The gradient from saved log probabilities, for a backward pass of its own.
template <class T>
__global__ void __launch_bounds__(ROW_THREADS)
cross_entropy_backward(const float* __restrict__ row_grad, const T* __restrict__ log_probability,
                       const long long* __restrict__ target, const float* __restrict__ class_weight,
                       T* __restrict__ dx, int columns, long long ignore_index, float smoothing) {
  __shared__ float space[ROW_WARPS];
  const int row = blockIdx.x;
  const size_t base = (size_t)row * columns;
  const bool counts = target[row] != ignore_index;
  const Wanted wanted{class_weight, counts ? target[row] : -1, counts ? smoothing / columns : 0.f, 1.f - smoothing};
  float all = 0.f;
  for (int k = threadIdx.x; k < columns; k += ROW_THREADS) all += wanted.q(k);
  all = over_block<Sum>(all, space);
  for (int k = threadIdx.x; k < columns; k += ROW_THREADS)
    dx[base + k] = from_float<T>(row_grad[row] * (expf(to_float(log_probability[base + k])) * all - wanted.q(k)));
}
