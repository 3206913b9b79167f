// One step of SGD or Adam(W) for all parameters in one launch, and the norm of all gradients.
//
// The formulas are those of kernels/reference/optim.py. Parameters and state are float32; gradients may be narrower
// (mixed precision), and a narrow copy of the new parameter is written where one is wanted. Folded in: `factor`, one
// number that holds both the clipping of the gradients' norm and the removal of the loss scale; `skip`, which leaves
// everything as it is when a gradient was infinite or NaN.
//
// addresses [kinds][tensors] are pointers as integers (0: missing), sizes [tensors] their lengths; block b works on
// chunk block_chunk[b] of CHUNK elements of tensor block_tensor[b]. What changes from step to step (rates) stands in
// device memory, so that a captured graph can be replayed.
// Launch: one block of 256 threads a chunk. Bytes: an element of SGD with momentum reads 12 and
// writes 8, one of Adam 16 and 12.
// Fused: unscaling, clipping, weight decay, momentum or moments, update, narrow copy.
#include "common.cuh"

constexpr int CHUNK = 4096;

struct Chunks {
  const unsigned long long* addresses;
  const long long* sizes;
  const int* block_tensor;
  const int* block_chunk;
  int tensors;

  // the address of this block's chunk of one kind, null if that kind is missing
  template <class T> __device__ __forceinline__ T* at(int kind) const {
    T* const p = reinterpret_cast<T*>(addresses[kind * tensors + block_tensor[blockIdx.x]]);
    return p ? p + (long long)block_chunk[blockIdx.x] * CHUNK : nullptr;
  }
  __device__ __forceinline__ int count() const {
    const long long left = sizes[block_tensor[blockIdx.x]] - (long long)block_chunk[blockIdx.x] * CHUNK;
    return left < CHUNK ? (int)left : CHUNK;
  }
};

// kinds: parameter, gradient, momentum buffer (missing without momentum), narrow copy (may be missing).
// rates: the learning rate.
template <class T>
__global__ void __launch_bounds__(THREADS, 4)
sgd_step(const unsigned long long* __restrict__ addresses, const long long* __restrict__ sizes,
         const int* __restrict__ block_tensor, const int* __restrict__ block_chunk, const float* __restrict__ rates,
         const float* __restrict__ factor, const int* __restrict__ skip, int tensors, int first, float momentum,
         float dampening, float weight_decay, int nesterov, int maximize) {
  if (skip && *skip) return;
  const Chunks chunks{addresses, sizes, block_tensor, block_chunk, tensors};
  float* const parameter = chunks.at<float>(0);
  const T* const grad = chunks.at<T>(1);
  float* const buffer = chunks.at<float>(2);
  T* const copy = chunks.at<T>(3);
  const float lr = rates[0], scale = (factor ? *factor : 1.f) * (maximize ? -1.f : 1.f);
  const int count = chunks.count();
#pragma unroll 4
  for (int i = threadIdx.x; i < count; i += THREADS) {
    const float p = parameter[i];
    float g = to_float(grad[i]) * scale + weight_decay * p;
    if (buffer) {
      const float b = first ? g : momentum * buffer[i] + (1.f - dampening) * g;
      buffer[i] = b;
      g = nesterov ? g + momentum * b : b;
    }
    const float result = p - lr * g;
    parameter[i] = result;
    if (copy) copy[i] = from_float<T>(result);
  }
}

// kinds: parameter, gradient, m, v, largest v (missing without AMSGrad), narrow copy (may be missing).
// rates: the learning rate, 1 - beta1^step, 1 - beta2^step.
template <class T>
__global__ void __launch_bounds__(THREADS, 4)
adam_step(const unsigned long long* __restrict__ addresses, const long long* __restrict__ sizes,
          const int* __restrict__ block_tensor, const int* __restrict__ block_chunk, const float* __restrict__ rates,
          const float* __restrict__ factor, const int* __restrict__ skip, int tensors, float beta1, float beta2,
          float eps, float weight_decay, int decoupled, int maximize) {
  if (skip && *skip) return;
  const Chunks chunks{addresses, sizes, block_tensor, block_chunk, tensors};
  float* const parameter = chunks.at<float>(0);
  const T* const grad = chunks.at<T>(1);
  float* const exp_avg = chunks.at<float>(2);
  float* const exp_avg_sq = chunks.at<float>(3);
  float* const largest = chunks.at<float>(4);
  T* const copy = chunks.at<T>(5);
  const float lr = rates[0], scale = (factor ? *factor : 1.f) * (maximize ? -1.f : 1.f);
  const float rate = lr / rates[1], root = sqrtf(rates[2]), shrink = decoupled ? 1.f - lr * weight_decay : 1.f;
  const int count = chunks.count();
#pragma unroll 4
  for (int i = threadIdx.x; i < count; i += THREADS) {
    const float p = parameter[i] * shrink;
    const float g = to_float(grad[i]) * scale + (decoupled ? 0.f : weight_decay * p);
    const float m = beta1 * exp_avg[i] + (1.f - beta1) * g;
    float v = beta2 * exp_avg_sq[i] + (1.f - beta2) * g * g;
    exp_avg[i] = m;
    exp_avg_sq[i] = v;
    if (largest) {
      v = fmaxf(largest[i], v);
      largest[i] = v;
    }
    const float result = p - rate * m / (sqrtf(v) / root + eps);
    parameter[i] = result;
    if (copy) copy[i] = from_float<T>(result);
  }
}

// The sum of squares of each chunk, and whether it holds an infinity or NaN. kinds: gradient.
template <class T>
__global__ void __launch_bounds__(THREADS, 4)
gradient_squares(const unsigned long long* __restrict__ addresses, const long long* __restrict__ sizes,
                 const int* __restrict__ block_tensor, const int* __restrict__ block_chunk,
                 float* __restrict__ squares, int* __restrict__ not_finite, int tensors) {
  __shared__ float space[THREADS / 32];
  const Chunks chunks{addresses, sizes, block_tensor, block_chunk, tensors};
  const T* const grad = chunks.at<T>(0);
  const int count = chunks.count();
  float sum = 0.f;
  int bad = 0;
#pragma unroll 4
  for (int i = threadIdx.x; i < count; i += THREADS) {
    const float g = to_float(grad[i]);
    bad |= !(fabsf(g) <= 3.402823466e38f);
    sum = fmaf(g, g, sum);
  }
  sum = over_block<Sum>(sum, space);
  bad = __syncthreads_or(bad);
  if (threadIdx.x == 0) {
    squares[blockIdx.x] = sum;
    not_finite[blockIdx.x] = bad;
  }
}

// result [2]: the norm of all gradients without the loss scale, and the factor for the step; skip: whether any was not
// finite. max_norm <= 0: no clipping. One block.
__global__ void __launch_bounds__(THREADS, 4)
clip_factor(const float* __restrict__ squares, const int* __restrict__ not_finite, float* __restrict__ result,
            int* __restrict__ skip, int chunks, float inverse_scale, float max_norm) {
  __shared__ double part[THREADS];
  double sum = 0;
  int bad = 0;
  for (int i = threadIdx.x; i < chunks; i += THREADS) {
    sum += squares[i];
    bad |= not_finite[i];
  }
  part[threadIdx.x] = sum;
  bad = __syncthreads_or(bad);
  if (threadIdx.x) return;
  for (int t = 1; t < THREADS; t++) sum += part[t];
  const float norm = (float)sqrt(sum) * inverse_scale;
  const float clip = max_norm > 0.f ? fminf(1.f, max_norm / (norm + 1e-6f)) : 1.f;
  result[0] = norm;
  result[1] = inverse_scale * clip;
  *skip = bad;
}
