// The tensor cores' matrix product, ldmatrix and cp.async as functions: the only place with PTX.
//
// One warp multiplies A (16 x K, rows) by B (K x 8, columns) and adds C (16 x 8, float32). Lane l is member m = l % 4
// of group g = l / 4, and holds (PTX manual, "Matrix Fragments for mma.m16n8k16" and "... mma.m16n8k8"):
//
//     half, bfloat16 (K = 16; two values a register, the lower half first)
//         a[0..3]  A[g][2m, 2m+1], A[g+8][2m, 2m+1], A[g][2m+8, 2m+9], A[g+8][2m+8, 2m+9]
//         b[0..1]  B[2m, 2m+1][g], B[2m+8, 2m+9][g]
//     tf32 (K = 8; one value a register)
//         a[0..3]  A[g][m], A[g+8][m], A[g][m+4], A[g+8][m+4]
//         b[0..1]  B[m][g], B[m+4][g]
//     c, d [0..3]  C[g][2m], C[g][2m+1], C[g+8][2m], C[g+8][2m+1]
//
// These need compute capability 8.0.
#pragma once

#define MATRIX_PRODUCT(name, shape) \
  __device__ __forceinline__ void name(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], \
                                       const float (&c)[4]) { \
    asm volatile("mma.sync.aligned." shape " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};" \
                 : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3]) \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]), "f"(c[1]), \
                   "f"(c[2]), "f"(c[3])); \
  }
MATRIX_PRODUCT(mma_m16n8k16_half, "m16n8k16.row.col.f32.f16.f16.f32")
MATRIX_PRODUCT(mma_m16n8k16_bfloat16, "m16n8k16.row.col.f32.bf16.bf16.f32")
MATRIX_PRODUCT(mma_m16n8k8_tf32, "m16n8k8.row.col.f32.tf32.tf32.f32")

// The nearest float32 with 10 bits of fraction, ties away from zero.
__device__ __forceinline__ unsigned to_tf32(float x) {
  unsigned bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return bits;
}

__device__ __forceinline__ unsigned shared_address(const void* p) { return (unsigned)__cvta_generic_to_shared(p); }

// Four 8 x 8 matrices of 16-bit values: lane l brings the address of row l % 8 of matrix l / 8, a multiple of 16 bytes;
// result[i] of lane l holds row l / 4 of matrix i, columns 2 (l % 4) and the next; transposed: rows and columns change.
#define LOAD_MATRIX(name, transposed) \
  __device__ __forceinline__ void name(unsigned (&result)[4], const void* row) { \
    asm volatile("ldmatrix.sync.aligned.m8n8.x4" transposed ".shared.b16 {%0,%1,%2,%3}, [%4];" \
                 : "=r"(result[0]), "=r"(result[1]), "=r"(result[2]), "=r"(result[3]) \
                 : "r"(shared_address(row)) \
                 : "memory"); \
  }
LOAD_MATRIX(load_matrix_x4, "")
LOAD_MATRIX(load_matrix_x4_transposed, ".trans")

// 16 bytes from global to shared memory without passing through registers; zeros if not `valid`.
__device__ __forceinline__ void copy_async_16(void* shared, const void* source, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :
               : "r"(shared_address(shared)), "l"(source), "r"(valid ? 16 : 0)
               : "memory");
}
// The copies since the last commit become a group; `wait` returns when at most LEFT of this thread's groups are still
// under way.
__device__ __forceinline__ void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int LEFT> __device__ __forceinline__ void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
}
