// Barriers, shuffles and votes. Shuffles exchange values but order no memory: only __syncwarp and __syncthreads do.
#pragma once

EMU_INLINE void __syncthreads(EMU_HERE) { emu_block_barrier(0, file, line); }
EMU_INLINE int __syncthreads_count(int predicate, EMU_HERE) { return emu_block_barrier(predicate != 0, file, line); }
EMU_INLINE int __syncthreads_or(int predicate, EMU_HERE) { return emu_block_barrier(predicate != 0, file, line) != 0; }
EMU_INLINE void __syncwarp(unsigned mask = ~0u, EMU_HERE) {
  emu_warp_collective(mask, nullptr, nullptr, "__syncwarp", line);
}

template <class T>
EMU_INLINE T emu_shuffle(ShuffleRequest::Kind kind, unsigned mask, T value, int argument, int width, const char* name,
                         int line) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  ShuffleRequest request{0, 0, kind, argument, width};
  __builtin_memcpy(&request.value, &value, sizeof value);
  emu_warp_collective(mask, emu_answer_shuffle, &request, name, line);
  __builtin_memcpy(&value, &request.result, sizeof value);
  return value;
}
#define EMU_SHUFFLE(name, kind) \
  template <class T> EMU_INLINE T name(unsigned mask, T value, int argument, int width = 32, EMU_HERE) { \
    return emu_shuffle(ShuffleRequest::kind, mask, value, argument, width, #name, line); \
  }
EMU_SHUFFLE(__shfl_sync, FROM_LANE)
EMU_SHUFFLE(__shfl_up_sync, UP)
EMU_SHUFFLE(__shfl_down_sync, DOWN)
EMU_SHUFFLE(__shfl_xor_sync, XOR)

EMU_INLINE VoteRequest emu_vote(unsigned mask, unsigned value, const char* name, int line) {
  VoteRequest request{};
  request.value = value;
  emu_warp_collective(mask, emu_answer_vote, &request, name, line);
  return request;
}
EMU_INLINE unsigned __ballot_sync(unsigned mask, int p, EMU_HERE) {
  return emu_vote(mask, p, "__ballot_sync", line).ballot;
}
EMU_INLINE int __any_sync(unsigned mask, int p, EMU_HERE) { return emu_vote(mask, p, "__any_sync", line).ballot != 0; }
EMU_INLINE int __all_sync(unsigned mask, int p, EMU_HERE) {
  return emu_vote(mask, p, "__all_sync", line).ballot == mask;
}
EMU_INLINE unsigned __reduce_add_sync(unsigned mask, unsigned value, EMU_HERE) {
  return emu_vote(mask, value, "__reduce_add_sync", line).sum;
}
