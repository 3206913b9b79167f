// What every family of kernels uses: conversions, vectors of neighbours, sums over a warp and over a block.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

// Arithmetic is in float32 whatever the arrays hold: values are widened when they are read, rounded when written.
__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(__half x) { return __half2float(x); }
__device__ __forceinline__ float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ __forceinline__ float to_float(unsigned char x) { return (float)x; }

template <class T> __device__ __forceinline__ T from_float(float x);
template <> __device__ __forceinline__ float from_float<float>(float x) { return x; }
template <> __device__ __forceinline__ __half from_float<__half>(float x) { return __float2half_rn(x); }
template <> __device__ __forceinline__ __nv_bfloat16 from_float<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}

// V neighbours that one thread reads and writes at once: 16 bytes is what the memory system likes best.
template <class T, int V> struct __align__(V * sizeof(T)) Pack { T value[V]; };

template <class T, int V> __device__ __forceinline__ void load(float (&to)[V], const T* from) {
  const Pack<T, V> pack = *reinterpret_cast<const Pack<T, V>*>(from);
#pragma unroll
  for (int v = 0; v < V; v++) to[v] = to_float(pack.value[v]);
}
template <class T, int V> __device__ __forceinline__ void store(T* to, const float (&from)[V]) {
  Pack<T, V> pack;
#pragma unroll
  for (int v = 0; v < V; v++) pack.value[v] = from_float<T>(from[v]);
  *reinterpret_cast<Pack<T, V>*>(to) = pack;
}

constexpr unsigned WHOLE_WARP = 0xffffffffu;

// max(x, 0) that keeps NaN
__device__ __forceinline__ float relu_of(float x) { return x < 0.f ? 0.f : x; }
// the gradient where the output y of a ReLU is above 0 (or NaN)
__device__ __forceinline__ float relu_mask(float gradient, float y) { return y <= 0.f ? 0.f : gradient; }

struct Sum {
  static __device__ __forceinline__ float of(float a, float b) { return a + b; }
};
struct Largest {  // NaN wins, as in NumPy
  static __device__ __forceinline__ float of(float a, float b) { return a > b || a != a ? a : b; }
};

// Every lane receives the result.
template <class Operation> __device__ __forceinline__ float over_warp(float x) {
#pragma unroll
  for (int distance = 16; distance; distance /= 2) x = Operation::of(x, __shfl_xor_sync(WHOLE_WARP, x, distance));
  return x;
}

// Over all threads of a block, a multiple of 32; every thread receives the result. `space`: one value a warp.
template <class Operation> __device__ __forceinline__ float over_block(float x, float* space) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  x = over_warp<Operation>(x);
  __syncthreads();  // nobody still reads what an earlier call left in `space`
  if (lane == 0) space[warp] = x;
  __syncthreads();
  float result = space[0];
  for (int w = 1; w < warps; w++) result = Operation::of(result, space[w]);
  return result;
}

// Arrays of rows and channels, [rows][channels] in memory: a block of 256 threads takes `tile` packs of V channels
// side by side (a power of two up to 256) and 256 / tile rows at a time, from row `begin` to row `end`.
// __launch_bounds__(THREADS, n) asks for n blocks a multiprocessor: with 4 a thread has 64 registers.
constexpr int THREADS = 256;

template <int V> struct Place {
  int channel;    // the first of this thread's V channels
  int row, step;  // its first row, and how far it is to the next
  int end;
  bool inside;

  __device__ __forceinline__ Place(int rows, int channels, int rows_per_split, int tile) {
    channel = (blockIdx.x * tile + threadIdx.x % tile) * V;
    step = THREADS / tile;
    const int begin = blockIdx.y * rows_per_split;
    row = begin + threadIdx.x / tile;
    end = min(rows, begin + rows_per_split);
    inside = channel < channels;
  }
};

// Adds up `sums` over the rows of the block; the threads of its first row (threadIdx.x < tile) receive the results.
template <int V> __device__ __forceinline__ void over_rows(float (&sums)[V], int tile, float (*space)[THREADS]) {
  const int row = threadIdx.x / tile;
  __syncthreads();
#pragma unroll
  for (int v = 0; v < V; v++) space[v][threadIdx.x] = sums[v];
  for (int half = THREADS / tile / 2; half; half /= 2) {
    __syncthreads();
    if (row < half)
#pragma unroll
      for (int v = 0; v < V; v++) space[v][threadIdx.x] += space[v][threadIdx.x + half * tile];
  }
#pragma unroll
  for (int v = 0; v < V; v++) sums[v] = space[v][threadIdx.x];
}

// V values of an array that may be missing, from place `at`, a multiple of V
template <int V> __device__ __forceinline__ void load_or(float (&to)[V], const float* from, int at, float missing) {
  constexpr int FOUR = V % 4 == 0 ? 4 : 1;
#pragma unroll
  for (int v = 0; v < V; v += FOUR) {
    float some[FOUR];
    if (from) load<float, FOUR>(some, from + at + v);
#pragma unroll
    for (int k = 0; k < FOUR; k++) to[v + k] = from ? some[k] : missing;
  }
}
