// The emulator's side of minires/kernels/cuda/instructions.cuh: the same functions, without PTX.
#pragma once

#define EMU_MATRIX_PRODUCT(name, answer) \
  EMU_INLINE void name(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], const float (&c)[4], EMU_HERE) { \
    MatrixRequest request; \
    for (int i = 0; i < 4; i++) request.a[i] = a[i]; \
    for (int i = 0; i < 2; i++) request.b[i] = b[i]; \
    for (int i = 0; i < 4; i++) request.c[i] = c[i]; \
    emu_warp_collective(~0u, answer, &request, #name, line); \
    for (int i = 0; i < 4; i++) d[i] = request.d[i]; \
  }
EMU_MATRIX_PRODUCT(mma_m16n8k16_half, emu_answer_mma_half)
EMU_MATRIX_PRODUCT(mma_m16n8k16_bfloat16, emu_answer_mma_bfloat16)
EMU_MATRIX_PRODUCT(mma_m16n8k8_tf32, emu_answer_mma_tf32)

// cvt.rna.tf32.f32: to nearest, ties away from zero; the 13 lowest bits fall away
EMU_INLINE unsigned to_tf32(float x) {
  const unsigned bits = __float_as_uint(x);
  return (bits & 0x7f800000) == 0x7f800000 ? bits : (bits + 0x1000) & ~0x1fffu;
}

// as the hardware counts: bytes from the beginning of the dynamic shared memory
EMU_INLINE unsigned shared_address(const void* p) { return emu_shared_address(p); }

#define EMU_LOAD_MATRIX(name, count, is_transposed) \
  EMU_INLINE void name(unsigned (&result)[count], const void* row, EMU_HERE) { \
    LoadMatrixRequest request{row, count, is_transposed, {}}; \
    emu_warp_collective(~0u, emu_answer_load_matrix, &request, #name, line); \
    for (int i = 0; i < count; i++) result[i] = request.result[i]; \
  }
EMU_LOAD_MATRIX(load_matrix_x4, 4, false)
EMU_LOAD_MATRIX(load_matrix_x4_transposed, 4, true)

EMU_INLINE void copy_async_16(void* shared, const void* source, bool valid) {
  emu_copy_async(shared, source, 16, valid ? 16 : 0);
}
EMU_INLINE void copy_async_commit() { emu_copy_commit(); }
template <int LEFT> EMU_INLINE void copy_async_wait() { emu_copy_wait(LEFT); }
