// The two 16-bit floats, rounded to nearest, ties to even, as the hardware does.
#pragma once

struct __half {
  unsigned short bits;
  __half() = default;
  EMU_INLINE explicit __half(float x) : bits(__builtin_bit_cast(unsigned short, (_Float16)x)) {}
};
struct __nv_bfloat16 {
  unsigned short bits;
  __nv_bfloat16() = default;
  EMU_INLINE explicit __nv_bfloat16(float x) {
    const unsigned u = __builtin_bit_cast(unsigned, x);
    const bool is_nan = (u & 0x7fffffff) > 0x7f800000;
    bits = is_nan ? 0x7fff : (unsigned short)((u + 0x7fff + (u >> 16 & 1)) >> 16);
  }
};
EMU_INLINE __half __float2half_rn(float x) { return __half(x); }
EMU_INLINE float __half2float(__half x) { return (float)__builtin_bit_cast(_Float16, x.bits); }
EMU_INLINE __nv_bfloat16 __float2bfloat16_rn(float x) { return __nv_bfloat16(x); }
EMU_INLINE float __bfloat162float(__nv_bfloat16 x) { return __builtin_bit_cast(float, (unsigned)x.bits << 16); }
