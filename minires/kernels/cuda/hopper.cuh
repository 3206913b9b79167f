// Hopper's own instructions as functions: barriers in shared memory, bulk copies, matrix products of a warpgroup.
// Beside instructions.cuh the only place with PTX. It needs compute capability 9.0, and wgmma exists on no other.
//
// A warpgroup, four warps in a row of which the first has a number that 4 divides, multiplies A (64 x 16) by B (16 x N)
// and adds to C (64 x N, float32). A and B lie in shared memory and are read by the tensor cores themselves, while the
// warps go on; `wgmma_wait` says when that is over. Each of C's values is in a register (PTX manual, "Register
// Fragments for wgmma.mma_async.m64nNk16"): d[4 j + 2 h + e] of lane l of warp w is row 16 w + l / 4 + 8 h, column
// 8 j + 2 (l % 4) + e.
#pragma once

// A barrier that counts arrivals, and bytes of bulk copies. Its phases are numbered 0, 1, ...; each ends when `count`
// threads have arrived and all bytes are here that they said to expect. Made by one thread; then mbarrier_fence by the
// same thread, and __syncthreads, before others use it.
__device__ __forceinline__ void mbarrier_init(unsigned long long* barrier, int count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" : : "r"(shared_address(barrier)), "r"(count) : "memory");
}
__device__ __forceinline__ void mbarrier_fence() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ __forceinline__ void mbarrier_arrive(unsigned long long* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" : : "r"(shared_address(barrier)) : "memory");
}
__device__ __forceinline__ void mbarrier_arrive_expecting(unsigned long long* barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;"
               :
               : "r"(shared_address(barrier)), "r"(bytes)
               : "memory");
}
// Returns when the last phase of this parity (0: even, 1: odd) is over. A new barrier has ended an odd one.
__device__ __forceinline__ void mbarrier_wait(unsigned long long* barrier, unsigned parity) {
  unsigned done;
  do {
    asm volatile(
        "{\n.reg .pred over;\nmbarrier.try_wait.parity.shared::cta.b64 over, [%1], %2;\nselp.u32 %0, 1, 0, over;\n}"
        : "=r"(done)
        : "r"(shared_address(barrier)), "r"(parity)
        : "memory");
  } while (!done);
}

// What this thread wrote to shared memory the usual way (cp.async too, once waited for) is seen by wgmma from now on.
__device__ __forceinline__ void proxy_fence() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// `bytes` neighbours, a multiple of 16, from global to shared memory by the copy engine; `barrier` counts them.
__device__ __forceinline__ void bulk_copy(void* shared, const void* source, int bytes, unsigned long long* barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
               :
               : "r"(shared_address(shared)), "l"(source), "r"(bytes), "r"(shared_address(barrier))
               : "memory");
}

// Before the first wgmma, and before each that adds to registers which something else has touched.
__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
// The results d are in their registers from here on. Before the first wgmma this keeps ptxas from writing their first
// values in between: it would let each product wait for the one before, and says so ("serialized").
template <int N> __device__ __forceinline__ void wgmma_results(float (&d)[N]) {
#pragma unroll
  for (int i = 0; i < N; i++) asm volatile("" : "+f"(d[i]) : : "memory");
}
// The products since the last commit become a group; `wait` returns when at most LEFT groups are still under way. The
// results d are named, so that the compiler reads none of them any earlier.
__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int LEFT, int N> __device__ __forceinline__ void wgmma_wait(float (&d)[N]) {
  asm volatile("wgmma.wait_group.sync.aligned %0;" : : "n"(LEFT) : "memory");
  wgmma_results(d);
}

#define FLOATS_8(i) \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), \
      "+f"(d[i + 7])
#define REGISTERS_64 \
  "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15," \
  "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31," \
  "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47," \
  "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define REGISTERS_32 \
  "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15," \
  "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"

// d += A B, for the operands of two matrix descriptors. Neighbours in memory are the 16 steps of the sum, or, in
// `name`_transposed, A's rows and B's columns.
#define WARPGROUP_PRODUCT_OF(name, count, shape, transposed, registers, a_operand, b_operand, ...) \
  __device__ __forceinline__ void name(float (&d)[count], unsigned long long a, unsigned long long b) { \
    asm volatile("wgmma.mma_async.sync.aligned." shape " {" registers "}, " a_operand ", " b_operand \
                 ", 1, 1, 1, " transposed ", " transposed ";" \
                 : __VA_ARGS__ \
                 : "l"(a), "l"(b)); \
  }
#define WARPGROUP_PRODUCT(name, count, shape, ...) \
  WARPGROUP_PRODUCT_OF(name, count, shape, "0", __VA_ARGS__) \
  WARPGROUP_PRODUCT_OF(name##_transposed, count, shape, "1", __VA_ARGS__)
#define FLOATS_32 FLOATS_8(0), FLOATS_8(8), FLOATS_8(16), FLOATS_8(24)
#define FLOATS_64 FLOATS_32, FLOATS_8(32), FLOATS_8(40), FLOATS_8(48), FLOATS_8(56)
WARPGROUP_PRODUCT(wgmma_n128_half, 64, "m64n128k16.f32.f16.f16", REGISTERS_64, "%64", "%65", FLOATS_64)
WARPGROUP_PRODUCT(wgmma_n128_bfloat16, 64, "m64n128k16.f32.bf16.bf16", REGISTERS_64, "%64", "%65", FLOATS_64)
WARPGROUP_PRODUCT(wgmma_n64_half, 32, "m64n64k16.f32.f16.f16", REGISTERS_32, "%32", "%33", FLOATS_32)
WARPGROUP_PRODUCT(wgmma_n64_bfloat16, 32, "m64n64k16.f32.bf16.bf16", REGISTERS_32, "%32", "%33", FLOATS_32)
