// Arithmetic that CUDA has and C++ has not. The fast intrinsics are exact here; on a GPU they lose a few bits.
#pragma once

EMU_INLINE int min(int a, int b) { return a < b ? a : b; }
EMU_INLINE int max(int a, int b) { return a > b ? a : b; }
EMU_INLINE unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
EMU_INLINE unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
EMU_INLINE long long min(long long a, long long b) { return a < b ? a : b; }
EMU_INLINE long long max(long long a, long long b) { return a > b ? a : b; }
EMU_INLINE float min(float a, float b) { return fminf(a, b); }
EMU_INLINE float max(float a, float b) { return fmaxf(a, b); }

EMU_INLINE float rsqrtf(float x) { return 1.0f / sqrtf(x); }
EMU_INLINE float __fdividef(float a, float b) { return a / b; }
EMU_INLINE float emu_expf(float x) { return expf(x); }
EMU_INLINE float emu_logf(float x) { return logf(x); }
#define __expf(x) emu_expf(x)  // glibc declares functions of these names
#define __logf(x) emu_logf(x)
EMU_INLINE float __fmul_rn(float a, float b) { return a * b; }
EMU_INLINE float __fadd_rn(float a, float b) { return a + b; }
EMU_INLINE float __uint2float_rn(unsigned x) { return (float)x; }

EMU_INLINE int __popc(unsigned x) { return __builtin_popcount(x); }
EMU_INLINE int __clz(int x) { return x ? __builtin_clz(x) : 32; }
EMU_INLINE int __ffs(int x) { return __builtin_ffs(x); }
EMU_INLINE unsigned __umulhi(unsigned a, unsigned b) { return (uint64_t)a * b >> 32; }
EMU_INLINE unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return (unsigned __int128)a * b >> 64;
}

EMU_INLINE int __float_as_int(float x) { return __builtin_bit_cast(int, x); }
EMU_INLINE unsigned __float_as_uint(float x) { return __builtin_bit_cast(unsigned, x); }
EMU_INLINE float __int_as_float(int x) { return __builtin_bit_cast(float, x); }
EMU_INLINE float __uint_as_float(unsigned x) { return __builtin_bit_cast(float, x); }
