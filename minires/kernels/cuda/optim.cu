// One step of SGD or Adam(W) for all parameters in one launch, and the norm of all gradients.
//
// The formulas are those of kernels/reference/optim.py. Parameters and state are float32; gradients may be narrower
// (mixed precision), and a narrow copy of the new parameter is written where one is wanted. Folded in: `factor`, one
// number that holds both the clipping of the gradients' norm and the removal of the loss scale, by which the gradients
// are multiplied in memory as well; `skip`, which leaves everything as it is when a gradient was infinite or NaN.
//
// addresses [kinds][tensors] are pointers as integers (0: missing), sizes [tensors] their lengths; block b works on
// chunk block_chunk[b] of CHUNK elements of tensor block_tensor[b]. What changes from step to step (rates) stands in
// device memory, so that a captured graph can be replayed.
// Launch: one block of 256 threads a chunk. Bytes: an element of SGD with momentum reads 12 and
// writes 8, one of Adam 16 and 12; with `factor` 4 more are written.
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

// Four neighbours at a time of one array: at once where its address allows that, singly at the chunk's end. All
// loads of a step come before its stores, so that they are under way together.
template <class T> struct Fours {
  T* data;
  bool at_once;

  __device__ __forceinline__ Fours(T* data) : data(data), at_once((unsigned long long)data % (4 * sizeof(T)) == 0) {}
  __device__ __forceinline__ void read(float (&to)[4], int i, int count) const {
    if (at_once && i + 4 <= count) return load<T, 4>(to, data + i);
#pragma unroll
    for (int k = 0; k < 4; k++) to[k] = i + k < count ? to_float(data[i + k]) : 0.f;
  }
  __device__ __forceinline__ void write(const float (&from)[4], int i, int count) const {
    if (at_once && i + 4 <= count) return store<T, 4>(data + i, from);
#pragma unroll
    for (int k = 0; k < 4; k++)
      if (i + k < count) data[i + k] = from_float<T>(from[k]);
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
  const Fours<float> parameter(chunks.at<float>(0)), buffer(chunks.at<float>(2));
  const Fours<T> grad(chunks.at<T>(1)), copy(chunks.at<T>(3));
  const float lr = rates[0], scale = factor ? *factor : 1.f, sign = maximize ? -1.f : 1.f;
  const int count = chunks.count();
  for (int i = threadIdx.x * 4; i < count; i += THREADS * 4) {
    float p[4], g[4], b[4] = {};
    parameter.read(p, i, count);
    grad.read(g, i, count);
    if (buffer.data && !first) buffer.read(b, i, count);
#pragma unroll
    for (int k = 0; k < 4; k++) g[k] *= scale;
    if (factor) grad.write(g, i, count);
#pragma unroll
    for (int k = 0; k < 4; k++) {
      g[k] = g[k] * sign + weight_decay * p[k];
      if (buffer.data) {
        b[k] = first ? g[k] : momentum * b[k] + (1.f - dampening) * g[k];
        g[k] = nesterov ? g[k] + momentum * b[k] : b[k];
      }
      p[k] -= lr * g[k];
    }
    if (buffer.data) buffer.write(b, i, count);
    parameter.write(p, i, count);
    if (copy.data) copy.write(p, i, count);
  }
}

// kinds: parameter, gradient, m, v, largest v (missing without AMSGrad), narrow copy (may be missing).
// rates: the learning rate, 1 - beta1^step, 1 - beta2^step; those of tensor i begin at rates_apart * i.
template <class T>
__global__ void __launch_bounds__(THREADS, 4)
adam_step(const unsigned long long* __restrict__ addresses, const long long* __restrict__ sizes,
          const int* __restrict__ block_tensor, const int* __restrict__ block_chunk, const float* __restrict__ rates,
          const float* __restrict__ factor, const int* __restrict__ skip, int tensors, float beta1, float beta2,
          float eps, float weight_decay, int decoupled, int maximize, int rates_apart) {
  if (skip && *skip) return;
  rates += rates_apart * block_tensor[blockIdx.x];
  const Chunks chunks{addresses, sizes, block_tensor, block_chunk, tensors};
  const Fours<float> parameter(chunks.at<float>(0)), exp_avg(chunks.at<float>(2)), exp_avg_sq(chunks.at<float>(3));
  const Fours<float> largest(chunks.at<float>(4));
  const Fours<T> grad(chunks.at<T>(1)), copy(chunks.at<T>(5));
  const float lr = rates[0], scale = factor ? *factor : 1.f, sign = maximize ? -1.f : 1.f;
  const float rate = lr / rates[1], root = sqrtf(rates[2]), shrink = decoupled ? 1.f - lr * weight_decay : 1.f;
  const int count = chunks.count();
  for (int i = threadIdx.x * 4; i < count; i += THREADS * 4) {
    float p[4], g[4], m[4], v[4], most[4] = {};
    parameter.read(p, i, count);
    grad.read(g, i, count);
    exp_avg.read(m, i, count);
    exp_avg_sq.read(v, i, count);
    if (largest.data) largest.read(most, i, count);
#pragma unroll
    for (int k = 0; k < 4; k++) g[k] *= scale;
    if (factor) grad.write(g, i, count);
#pragma unroll
    for (int k = 0; k < 4; k++) {
      p[k] *= shrink;
      g[k] = g[k] * sign + (decoupled ? 0.f : weight_decay * p[k]);
      m[k] = beta1 * m[k] + (1.f - beta1) * g[k];
      v[k] = beta2 * v[k] + (1.f - beta2) * g[k] * g[k];
      most[k] = largest.data ? fmaxf(most[k], v[k]) : v[k];
      p[k] -= rate * m[k] / (sqrtf(most[k]) / root + eps);
    }
    exp_avg.write(m, i, count);
    exp_avg_sq.write(v, i, count);
    if (largest.data) largest.write(most, i, count);
    parameter.write(p, i, count);
    if (copy.data) copy.write(p, i, count);
  }
}

// The steps of Adam counted on the GPU: each tensor's number, at its address in `steps`, grows by 1, and rates
// [tensors][3] become what adam_step reads. 1 - beta^t = -expm1(t log beta) keeps its digits where beta is near 1.
// One thread a tensor.
__global__ void __launch_bounds__(THREADS)
adam_advance(const unsigned long long* __restrict__ addresses, float* __restrict__ rates, int tensors, float lr,
             float log_beta1, float log_beta2) {
  const int i = blockIdx.x * THREADS + threadIdx.x;
  if (i >= tensors) return;
  float* const step = reinterpret_cast<float*>(addresses[i]);
  const float t = *step + 1.f;
  *step = t;
  rates[3 * i] = lr;
  rates[3 * i + 1] = -expm1f(t * log_beta1);
  rates[3 * i + 2] = -expm1f(t * log_beta2);
}

// The sum of squares of each chunk, and whether it holds an infinity or NaN. kinds: gradient.
template <class T>
__global__ void __launch_bounds__(THREADS, 4)
gradient_squares(const unsigned long long* __restrict__ addresses, const long long* __restrict__ sizes,
                 const int* __restrict__ block_tensor, const int* __restrict__ block_chunk,
                 float* __restrict__ squares, int* __restrict__ not_finite, int tensors) {
  __shared__ float space[THREADS / 32];
  const Chunks chunks{addresses, sizes, block_tensor, block_chunk, tensors};
  const Fours<T> grad(chunks.at<T>(0));
  const int count = chunks.count();
  float sum = 0.f;
  int bad = 0;
#pragma unroll 4
  for (int i = threadIdx.x * 4; i < count; i += THREADS * 4) {
    float g[4];
    grad.read(g, i, count);
#pragma unroll
    for (int k = 0; k < 4; k++) {
      bad |= !(fabsf(g[k]) <= 3.402823466e38f);
      sum = fmaf(g[k], g[k], sum);
    }
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
