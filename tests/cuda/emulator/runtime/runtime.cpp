// The emulator's runtime: compiled once, not instrumented, linked to every module of kernels.
//
// g++ -fsanitize=thread makes a kernel report every load and store to the functions __tsan_* below, and
// -fsanitize=bounds-strict,... wrong indices and overflows to __ubsan_handle_*: ours, instead of the libraries'.
#include "warpgroups.h"

#define PLACE __builtin_return_address(0)
#define EXPORT __attribute__((visibility("default")))

template <bool WRITES> static inline void aligned_access(void* p, int bytes, void* place) {
  if ((Address)p & (bytes - 1))
    fail("alignment", place, "%s of %d bytes at an odd address of %s", WRITES ? "write" : "read", bytes,
         describe((Address)p).c_str());
  access<WRITES, false>((Address)p, bytes, place);
}

extern "C" {
#pragma GCC visibility push(default)
#define HOOKS(N) \
  void __tsan_read##N(void* p) { aligned_access<false>(p, N, PLACE); } \
  void __tsan_write##N(void* p) { aligned_access<true>(p, N, PLACE); } \
  void __tsan_unaligned_read##N(void* p) { access<false, false>((Address)p, N, PLACE); } \
  void __tsan_unaligned_write##N(void* p) { access<true, false>((Address)p, N, PLACE); }
HOOKS(1) HOOKS(2) HOOKS(4) HOOKS(8) HOOKS(16)
void __tsan_read_range(void* p, u64 bytes) { access<false, false>((Address)p, bytes, PLACE); }
void __tsan_write_range(void* p, u64 bytes) { access<true, false>((Address)p, bytes, PLACE); }
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}

struct SourcePlace { const char* file; u32 line, column; };
#define ARITHMETIC(name, what, ...) \
  void __ubsan_handle_##name(SourcePlace* s, __VA_ARGS__) { fail("arithmetic", PLACE, what ", line %u", s->line); }
void __ubsan_handle_out_of_bounds(SourcePlace* s, u64 index) {
  fail("bounds", PLACE, "index %ld is outside of the array's declaration, line %u", (long)index, s->line);
}
ARITHMETIC(add_overflow, "overflow of +", u64, u64)
ARITHMETIC(sub_overflow, "overflow of -", u64, u64)
ARITHMETIC(mul_overflow, "overflow of *", u64, u64)
ARITHMETIC(negate_overflow, "overflow of a negation", u64)
ARITHMETIC(divrem_overflow, "division by zero or overflow", u64, u64)
struct TypeMismatch { SourcePlace place; void* type; unsigned char alignment_log2, kind; };
void __ubsan_handle_type_mismatch_v1(TypeMismatch* m, Address p) {
  fail("alignment", PLACE, "an object that wants a multiple of %d bytes stands at an odd address of %s, line %u",
       1 << m->alignment_log2, describe(p).c_str(), m->place.line);
}
ARITHMETIC(shift_out_of_bounds, "shift by too many bits", u64, u64)

uint3 emu_thread_index() { return run.fiber->index; }
uint3 emu_block_index() { return run.block_index; }
dim3 emu_block_size() { return run.block_size; }
dim3 emu_grid_size() { return run.grid_size; }
void* emu_dynamic_shared() { return (void*)run.dynamic_shared; }
void emu_trap(const char*, int line) { fail("trap", nullptr, "the kernel gave up at line %d", line); }
int emu_block_barrier(int predicate, const char* file, int line) { return block_barrier(predicate, file, line); }
void emu_warp_collective(u32 mask, Answer answer, void* request, const char* name, int line) {
  warp_collective(mask, answer, request, name, line);
}
void emu_atomic(void* p, int bytes) { access<true, true>((Address)p, bytes, PLACE); }
void emu_copy_async(void* to, const void* from, int bytes, int read) {
  copy_async((char*)to, (const char*)from, bytes, read, PLACE);
}
void emu_copy_commit() {
  run.fiber->copy_groups.push_back(std::move(run.fiber->open_copies));
  run.fiber->open_copies.clear();
}
void emu_copy_wait(int groups_left) { copy_wait(groups_left); }
void emu_answer_shuffle(void** requests, u32 mask) { answer_shuffle(requests, mask); }
void emu_answer_vote(void** requests, u32 mask) { answer_vote(requests, mask); }
void emu_answer_mma_half(void** requests, u32) { answer_mma<16, 2>(requests, half_value); }
void emu_answer_mma_bfloat16(void** requests, u32) { answer_mma<16, 2>(requests, bfloat16_value); }
void emu_answer_mma_tf32(void** requests, u32) { answer_mma<8, 1>(requests, tf32_value); }
void emu_answer_load_matrix(void** requests, u32 mask) { answer_load_matrix(requests, mask); }

void emu_answer_wgmma_half(void** requests, u32) { answer_wgmma(requests, half_value); }
void emu_answer_wgmma_bfloat16(void** requests, u32) { answer_wgmma(requests, bfloat16_value); }
void emu_answer_wgmma_fence(void** requests, u32) { answer_wgmma_fence(requests); }
void emu_answer_wgmma_commit(void** requests, u32) { answer_wgmma_commit(requests); }
void emu_answer_wgmma_wait(void** requests, u32) { answer_wgmma_wait(requests); }
void emu_mbarrier_init(void* barrier, int count) { mbarrier_init(barrier, count, PLACE); }
void emu_mbarrier_arrive(void* barrier, u32 bytes) { mbarrier_arrive(barrier, bytes, PLACE); }
void emu_mbarrier_wait(void* barrier, u32 parity, int line) { mbarrier_wait(barrier, parity, line, PLACE); }
void emu_bulk_copy(void* shared, const void* source, u32 bytes, void* barrier) {
  bulk_copy(shared, source, bytes, barrier, PLACE);
}
void emu_fence_proxy() { fence_proxy(); }
void emu_fence_mbarriers() { fence_mbarriers(); }
u32 emu_shared_address(const void* p) { return (Address)p - run.dynamic_shared; }

// ---- what the harness calls

static void* reserve(u64 bytes, int protection) {
  void* p = mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) { perror("emulator: mmap"); abort(); }
  return p;
}
static u64 pages(u64 bytes) { return (bytes + 4095 + 256) & ~4095ull; }

static void start_device() {
  if (run.arena) return;
  run.arena = (char*)reserve(ARENA, PROT_NONE);
  run.stacks = (char*)reserve(MOST_THREADS * STACK, PROT_READ | PROT_WRITE);
  for (int i = 0; i < MOST_THREADS; i++) mprotect(run.stacks + i * STACK, 4096, PROT_NONE);
  run.dynamic_shared = (Address)reserve(DYNAMIC_SHARED, PROT_READ | PROT_WRITE);
}

// Device memory; null if all slots are taken. `read_only`: kernels must not write; `starts_unset`: nor read before
// they have written.
void* emu_allocate(u64 bytes, u64 element_bytes, int read_only, int starts_unset, const char* name) {
  start_device();
  for (int i = 0; i < MOST_ARRAYS; i++) {
    if (arrays[i].used) continue;
    char* data = run.arena + i * SLOT + HEAD;
    const int how = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;
    if (mmap(data, pages(bytes), PROT_READ | PROT_WRITE, how, -1, 0) == MAP_FAILED) return nullptr;
    const u64 elements = (bytes + element_bytes - 1) / element_bytes;
    u64* stamps = read_only ? nullptr : (u64*)reserve((elements * 2 + 1) * sizeof(u64), PROT_READ | PROT_WRITE);
    arrays[i] = {data, bytes, element_bytes, elements, true, (bool)read_only, (bool)starts_unset,
                 stamps, stamps + elements, name};
    return data;
  }
  return nullptr;
}
static DeviceArray& array_at(void* data) { return arrays[((char*)data - run.arena) / SLOT]; }

void emu_free(void* data) {
  DeviceArray& array = array_at(data);
  mmap(array.data, pages(array.bytes), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
  if (array.writes) munmap(array.writes, (array.elements * 2 + 1) * sizeof(u64));
  array = {};
}

// The first element that no kernel has ever written, -1 if there is none.
long emu_first_unwritten(void* data) {
  const DeviceArray& array = array_at(data);
  for (u64 i = 0; i < array.elements; i++)
    if (array.writes[i] == 0) return i;
  return -1;
}

const char* emu_error() { return run.error; }
u64 emu_accesses() { return run.accesses; }

// From now on (or no more) count what launches cost; see traffic.h.
void emu_count_traffic(int on) {
  traffic.on = on;
  traffic.total = {};
}
Traffic emu_traffic() { return traffic.total; }

static int find_module(dl_phdr_info* info, size_t, void* entry) {
  Address begin = ~0ull, end = 0;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const auto& part = info->dlpi_phdr[i];
    if (part.p_type != PT_LOAD) continue;
    const Address from = info->dlpi_addr + part.p_vaddr;
    begin = from < begin ? from : begin;
    end = from + part.p_memsz > end ? from + part.p_memsz : end;
  }
  if ((Address)entry < begin || (Address)entry >= end) return 0;
  run.module_begin = begin, run.module_end = end;
  return 1;
}

static void run_block(u64 index) {
  const dim3 grid = run.grid_size;
  run.block_index = {u32(index % grid.x), u32(index / grid.x % grid.y), u32(index / grid.x / grid.y)};
  run.block_number = run.next_block_number++;
  run.time = 1, run.block_synchronised = 0;
  mbarriers.clear();
  reset_clocks();
  reset_products();
  run.barrier = {};
  run.alive = run.threads, run.returned = 0;
  memset(warps, 0, sizeof warps);
  memset((void*)run.statics, 0xff, run.statics_bytes);  // a new block finds NaN in its shared memory
  memset((void*)run.dynamic_shared, 0xff, run.dynamic_bytes);
  for (int t = 0; t < run.threads; t++) prepare_fiber(t);
  run.warp = run.seed ? random_number() % run.warp_count : 0;
  Fiber* first = &fibers[run.warp * 32];
  make_current(first);
  emu_switch(&run.main_stack_pointer, first->stack_pointer);
  if (traffic.on) add_up_block();
  if (!run.failed && !run.alive && run.has_wgmma && !have_all_taken_part()) {
    snprintf(run.error, sizeof run.error, "mask|0|a warp has left out a wgmma that others of its warpgroup called");
    run.failed = true;
  }
  if (run.failed || !run.alive) return;
  std::string waiting;
  for (int t = 0; t < run.threads && waiting.size() < 300; t++)
    if (fibers[t].state != READY && fibers[t].state != RETURNED)
      waiting += " thread " + std::to_string(t) + " in " + fibers[t].waits_in + " at line " +
                 std::to_string(fibers[t].waits_at_line) + ";";
  snprintf(run.error, sizeof run.error, "deadlock|0|%d threads of block (%u,%u,%u) wait for ever:%s", run.alive,
           run.block_index.x, run.block_index.y, run.block_index.z, waiting.c_str());
  run.failed = true;
}

// Runs a kernel. 0 if all went well; otherwise emu_error() says what did not. Seed 0 keeps threads and blocks in order.
int emu_launch(void (*entry)(void**), char* statics, char* statics_end, const SharedArray* shared_arrays,
               const u32* grid, const u32* block, u64 dynamic_bytes, void** arguments, u64 seed) {
  start_device();
  run.failed = false, run.error[0] = 0, run.fiber = nullptr;
  run.entry = entry, run.arguments = arguments;
  run.seed = seed, run.random = seed * 0x9E3779B97F4A7C15ull + 88172645463325252ull;
  run.grid_size = {grid[0], grid[1], grid[2]}, run.block_size = {block[0], block[1], block[2]};
  const u64 threads = (u64)block[0] * block[1] * block[2], blocks = (u64)grid[0] * grid[1] * grid[2];
  if (threads < 1 || threads > MOST_THREADS || blocks < 1 || dynamic_bytes > MOST_SHARED || grid[1] > 65535 ||
      grid[2] > 65535) {
    snprintf(run.error, sizeof run.error,
             "config|0|no GPU takes a grid of (%u,%u,%u), a block of %lu threads, %lu bytes", grid[0], grid[1],
             grid[2], threads, dynamic_bytes);
    return 1;
  }
  run.threads = threads, run.warp_count = (threads + 31) / 32;
  dl_iterate_phdr(find_module, (void*)entry);
  run.statics = (Address)statics & ~15ull, run.statics_bytes = (Address)statics_end - run.statics;
  run.dynamic_bytes = dynamic_bytes, run.shared_arrays = shared_arrays;
  reserve_shared_stamps((DYNAMIC_SHARED + run.statics_bytes) / 4 + 4);
  inside_shared.assign(run.statics_bytes + 64, 0);
  for (const SharedArray* a = shared_arrays; a->address; a++)
    if (a->address - run.statics < run.statics_bytes) memset(&inside_shared[a->address - run.statics], 1, a->bytes);
  run.first_block_number = run.next_block_number;
  run.accesses = run.switches = 0;

  std::vector<u64> order(blocks);
  for (u64 i = 0; i < blocks; i++) order[i] = i;
  for (u64 i = blocks; seed && i > 1; i--) std::swap(order[i - 1], order[random_number() % i]);
  for (u64 i = 0; i < blocks && !run.failed; i++) run_block(order[i]);
  return run.failed;
}
#pragma GCC visibility pop
}
