// All that the runtime knows: one launch at a time, its blocks one after another, their threads as fibers.
#pragma once
#include <dlfcn.h>
#include <link.h>
#include <sys/mman.h>

#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "../interface.h"

using u32 = uint32_t;
using u64 = uint64_t;
using Address = uintptr_t;

constexpr int MOST_THREADS = 1024, MOST_WARPS = 32, MOST_ARRAYS = 256;
constexpr u64 STACK = 64 << 10;             // bytes a thread, the lowest page unmapped
constexpr u64 DYNAMIC_SHARED = 256 << 10;   // bytes reserved; a launch says how many of them it has
constexpr u64 MOST_SHARED = 227 << 10;      // what a block of an H100 may have
constexpr u64 ARENA = 1ull << 44;           // device memory: slots of 64 GiB, so that a stray index meets no neighbour
constexpr u64 SLOT = 1ull << 36, HEAD = 1ull << 30;

// Device memory. A writable array has two stamps an element (its last write and its last read); see shadow.h.
struct DeviceArray {
  char* data;
  u64 bytes, element_bytes, elements;
  bool used, read_only, starts_unset;
  u64 *writes, *reads;
  std::string name;
};

struct SharedArray { Address address; u64 bytes; const char* name; };  // made by the harness; ends with address 0

struct AsyncCopy { char* shared; const char* source; int read, zeros; };

enum State { READY, IN_WARP_COLLECTIVE, IN_BLOCK_BARRIER, IN_MBARRIER, RETURNED };

// Registers of a thread that wgmma adds to; `values` is what they will hold once it has been waited for.
struct Accumulators { float* registers; bool pending; std::vector<float> values; };

struct Fiber {
  void* stack_pointer;
  u32 thread, warp, lane;
  uint3 index;
  State state;
  int waits_at_line;
  const char* waits_in;
  std::vector<AsyncCopy> open_copies;               // issued, not committed
  std::vector<std::vector<AsyncCopy>> copy_groups;  // committed, not waited for
  Address waits_on;                                 // the mbarrier that it waits for
  std::vector<Accumulators> accumulators;
  bool accumulators_touched;                        // since the last wgmma.fence
  std::vector<Address> touched;                     // own variables since then, of which a first wgmma may be told
};

struct Collective {
  bool active;
  u32 mask, arrived;
  Answer answer;
  int line;
  void* requests[32];
};

struct Warp {
  u32 lanes, ready, returned, at_barrier;  // bit masks: lanes that exist, that can run, ...
  u64 synchronised;                        // the time of the last __syncwarp
  Collective collectives[8];
};

struct Barrier { int arrived, line, sum, result; const char* file; };

static DeviceArray arrays[MOST_ARRAYS];
static Fiber fibers[MOST_THREADS];
static Warp warps[MOST_WARPS];

static struct {
  // device
  char* arena = nullptr;
  char* stacks = nullptr;
  Address dynamic_shared = 0;
  u64 next_block_number = 1;
  // launch
  void (*entry)(void**);
  void** arguments;
  bool running = false, failed = false, has_wgmma = false;
  u64 seed, random, first_block_number, dynamic_bytes;
  Address statics, module_begin, module_end;
  u64 statics_bytes;
  const SharedArray* shared_arrays;
  dim3 block_size, grid_size;
  int threads, warp_count;
  u64 accesses, switches;
  char error[4096];
  // block
  uint3 block_index;
  u64 block_number, time, block_synchronised;  // block_synchronised: the time of the last __syncthreads
  int alive, returned;
  Barrier barrier;
  void* main_stack_pointer;
  // running thread
  Fiber* fiber;
  Address stack_begin;
  u32 thread, warp;
  u64 stamp;
  int collective_line = 0;  // of the collective that is being answered on behalf of other lanes
} run;

static std::vector<char> inside_shared;  // for each byte of the module's statics: 1 if it belongs to a shared array

static u64 random_number() {  // xorshift64
  run.random ^= run.random << 13;
  run.random ^= run.random >> 7;
  return run.random ^= run.random << 17;
}

[[noreturn]] static void leave_launch();  // schedule.h

static std::string describe(Address address) {
  char text[256];
  const Address in_dynamic = address - run.dynamic_shared, in_statics = address - run.statics;
  const Address in_arena = address - (Address)run.arena, in_stacks = address - (Address)run.stacks;
  if (in_dynamic < DYNAMIC_SHARED) {
    snprintf(text, sizeof text, "dynamic shared memory, byte %lu of %lu", in_dynamic, run.dynamic_bytes);
  } else if (in_statics < run.statics_bytes) {
    const SharedArray* nearest = nullptr;
    for (const SharedArray* a = run.shared_arrays; a->address; a++)
      if (a->address <= address && (!nearest || a->address > nearest->address)) nearest = a;
    if (!nearest) return "static memory of the module";
    snprintf(text, sizeof text, "shared array '%s', byte %ld of %lu", nearest->name,
             (long)(address - nearest->address), nearest->bytes);
  } else if (in_arena < ARENA) {
    const DeviceArray& a = arrays[in_arena / SLOT];
    if (!a.used) return "device memory that no array owns";
    const long byte = address - (Address)a.data;
    snprintf(text, sizeof text, "array '%s', byte %ld of %lu (element %ld)", a.name.c_str(), byte, a.bytes,
             byte / (long)a.element_bytes);
  } else if (in_stacks < MOST_THREADS * STACK) {
    snprintf(text, sizeof text, "local memory of thread %lu", in_stacks / STACK);
  } else {
    snprintf(text, sizeof text, "address %p", (void*)address);
  }
  return text;
}

// Ends the launch with an error "kind|place in the module|text".
[[noreturn]] __attribute__((cold, format(printf, 3, 4))) static void fail(const char* kind, void* place,
                                                                          const char* format, ...) {
  char what[1024];
  va_list values;
  va_start(values, format);
  vsnprintf(what, sizeof what, format, values);
  va_end(values);
  char at[64] = "";
  if (run.collective_line) snprintf(at, sizeof at, " (collective at line %d)", run.collective_line);
  const uint3 t = run.fiber ? run.fiber->index : uint3{0, 0, 0}, b = run.block_index;
  snprintf(run.error, sizeof run.error, "%s|%lx|thread (%u,%u,%u) of block (%u,%u,%u): %s%s", kind,
           place ? (Address)place - run.module_begin - 1 : 0, t.x, t.y, t.z, b.x, b.y, b.z, what, at);
  run.collective_line = 0;
  run.failed = true;
  leave_launch();
}
