// CUDA's keywords, built-in variables and vector types.
#pragma once

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __shared__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __restrict__ __restrict
#define threadIdx (emu_thread_index())
#define blockIdx (emu_block_index())
#define blockDim (emu_block_size())
#define gridDim (emu_grid_size())
#define __trap() emu_trap(__FILE__, __LINE__)
// `extern __shared__ T name[];` is rewritten to this by the harness
#define EMU_DYNAMIC_SHARED(T, name) T* const name = (T*)emu_dynamic_shared()

#define EMU_VECTOR2(T, name, bytes) \
  struct alignas(bytes) name { T x, y; }; \
  EMU_INLINE name make_##name(T x, T y) { return {x, y}; }
#define EMU_VECTOR4(T, name, bytes) \
  struct alignas(bytes) name { T x, y, z, w; }; \
  EMU_INLINE name make_##name(T x, T y, T z, T w) { return {x, y, z, w}; }
EMU_VECTOR2(float, float2, 8)
EMU_VECTOR4(float, float4, 16)
EMU_VECTOR2(int, int2, 8)
EMU_VECTOR4(int, int4, 16)
EMU_VECTOR2(unsigned, uint2, 8)
EMU_VECTOR4(unsigned, uint4, 16)
