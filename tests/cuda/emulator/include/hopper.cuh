// The emulator's side of minires/kernels/cuda/hopper.cuh: the same functions, without PTX.
#pragma once

EMU_INLINE void mbarrier_init(unsigned long long* barrier, int count) { emu_mbarrier_init(barrier, count); }
EMU_INLINE void mbarrier_fence() { emu_fence_mbarriers(); }
EMU_INLINE void mbarrier_arrive(unsigned long long* barrier) { emu_mbarrier_arrive(barrier, 0); }
EMU_INLINE void mbarrier_arrive_expecting(unsigned long long* barrier, int bytes) {
  emu_mbarrier_arrive(barrier, bytes);
}
EMU_INLINE void mbarrier_wait(unsigned long long* barrier, unsigned parity, EMU_HERE) {
  emu_mbarrier_wait(barrier, parity, line);
}
EMU_INLINE void proxy_fence() { emu_fence_proxy(); }
EMU_INLINE void bulk_copy(void* shared, const void* source, int bytes, unsigned long long* barrier) {
  emu_bulk_copy(shared, source, bytes, barrier);
}

EMU_INLINE void emu_wgmma_step(Answer answer, int argument, const char* name, int line) {
  emu_warp_collective(~0u, answer, &argument, name, line);
}
EMU_INLINE void wgmma_fence(EMU_HERE) { emu_wgmma_step(emu_answer_wgmma_fence, 0, "wgmma.fence", line); }
EMU_INLINE void wgmma_commit(EMU_HERE) { emu_wgmma_step(emu_answer_wgmma_commit, 0, "wgmma.commit_group", line); }
template <int N> EMU_INLINE void wgmma_results(float (&)[N]) {}
template <int LEFT, int N> EMU_INLINE void wgmma_wait(float (&)[N], EMU_HERE) {
  emu_wgmma_step(emu_answer_wgmma_wait, LEFT, "wgmma.wait_group", line);
}

#define EMU_WGMMA_OF(name, count, transposed, answer) \
  EMU_INLINE void name(float (&d)[count], unsigned long long a, unsigned long long b, EMU_HERE) { \
    WgmmaRequest request{d, count * 2, a, b, transposed}; \
    emu_warp_collective(~0u, answer, &request, #name, line); \
  }
#define EMU_WGMMA(name, count, answer) \
  EMU_WGMMA_OF(name, count, false, answer) \
  EMU_WGMMA_OF(name##_transposed, count, true, answer)
EMU_WGMMA(wgmma_n128_half, 64, emu_answer_wgmma_half)
EMU_WGMMA(wgmma_n128_bfloat16, 64, emu_answer_wgmma_bfloat16)
EMU_WGMMA(wgmma_n64_half, 32, emu_answer_wgmma_half)
EMU_WGMMA(wgmma_n64_bfloat16, 32, emu_answer_wgmma_bfloat16)
