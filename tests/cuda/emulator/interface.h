// What a kernel compiled for the CPU asks of the runtime. The kernel's side is in language/, the runtime's in runtime/.
#pragma once
#include <cstdint>

struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x, y, z; };

// A warp collective (shuffle, vote, matrix product): every lane of the mask hands in a pointer to its own request, and
// once all have come, one function answers them all. requests[lane] is null for lanes outside of the mask.
using Answer = void (*)(void** requests, uint32_t mask);

struct ShuffleRequest {
  enum Kind { FROM_LANE, UP, DOWN, XOR };
  uint64_t value, result;
  Kind kind;
  int argument, width;
};
struct VoteRequest { uint32_t value, ballot, sum, largest, smallest; };
struct MatrixRequest { uint32_t a[4], b[2]; float c[4], d[4]; };
struct WgmmaRequest { float* d; int columns; uint64_t a, b; bool transposed; };  // a, b: matrix descriptors
struct LoadMatrixRequest { const void* row; int matrices; bool transposed; uint32_t result[4]; };

#pragma GCC visibility push(default)
extern "C" {
// where a thread is; constant for as long as a thread runs, which lets the compiler ask once
uint3 emu_thread_index() __attribute__((const));
uint3 emu_block_index() __attribute__((const));
dim3 emu_block_size() __attribute__((const));
dim3 emu_grid_size() __attribute__((const));
void* emu_dynamic_shared() __attribute__((const));

void emu_trap(const char* file, int line);
int emu_block_barrier(int predicate, const char* file, int line);
void emu_warp_collective(uint32_t mask, Answer answer, void* request, const char* name, int line);
void emu_atomic(void* address, int bytes);
void emu_copy_async(void* shared, const void* source, int bytes, int bytes_read);
void emu_copy_commit();
void emu_copy_wait(int groups_left);

void emu_answer_shuffle(void**, uint32_t);
void emu_answer_vote(void**, uint32_t);
void emu_answer_mma_half(void**, uint32_t);
void emu_answer_mma_bfloat16(void**, uint32_t);
void emu_answer_mma_tf32(void**, uint32_t);
void emu_answer_load_matrix(void**, uint32_t);

void emu_answer_wgmma_half(void**, uint32_t);
void emu_answer_wgmma_bfloat16(void**, uint32_t);
void emu_answer_wgmma_fence(void**, uint32_t);
void emu_answer_wgmma_commit(void**, uint32_t);
void emu_answer_wgmma_wait(void**, uint32_t);
void emu_mbarrier_init(void* barrier, int count);
void emu_mbarrier_arrive(void* barrier, uint32_t bytes);
void emu_mbarrier_wait(void* barrier, uint32_t parity, int line);
void emu_bulk_copy(void* shared, const void* source, uint32_t bytes, void* barrier);
void emu_fence_proxy();
void emu_fence_mbarriers();
uint32_t emu_shared_address(const void* p);
}
#pragma GCC visibility pop
