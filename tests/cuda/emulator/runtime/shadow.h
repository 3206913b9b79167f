// Shadow memory: for every element, who wrote it last and who read it last, as a stamp of 64 bits.
//
//     block number (24 bits) | time (27) | kind (3) | who (10)
//
// Time is counted up by every barrier. Two accesses are in order if the same thread made them, or if the first happened
// before the last __syncthreads of the block, or, within one warp, before its last __syncwarp, or was made known
// through mbarriers (clocks.h); otherwise, if one of them writes, they race. Blocks of one launch are never in order
// with each other: they may share through atomics only.
#pragma once
#include "clocks.h"
#include "traffic.h"

enum Kind : u64 {
  ONE_THREAD,     // who: the thread
  BY_ATOMIC,      // who: the thread; a write that does not race with other atomics
  SEVERAL_LANES,  // who: the warp; reads only
  SEVERAL_WARPS,  // reads only
  SEVERAL_BLOCKS, // reads only
  IN_FLIGHT,      // who: the thread; written by a cp.async that has not been waited for
  BY_BULK_COPY,   // who: the mbarrier on which it came in
};
static u64 block_of(u64 stamp) { return stamp >> 40; }
static u64 time_of(u64 stamp) { return stamp >> 13 & ((1 << 27) - 1); }
static Kind kind_of(u64 stamp) { return Kind(stamp >> 10 & 7); }
static u32 who_of(u64 stamp) { return stamp & 1023; }
static u64 with_kind(u64 stamp, Kind kind, u32 who) { return (stamp & ~0x1fffull) | kind << 10 | who; }

static void renew_stamp() {
  if (run.time >> 27 || run.block_number >> 24) fail("config", nullptr, "too many barriers or blocks to count");
  run.stamp = run.block_number << 40 | run.time << 13 | run.thread;
}

// Stamps of shared memory: one a word of 4 bytes, or one a byte where bytes were accessed singly.
static u64 *shared_writes = nullptr, *shared_reads = nullptr;
static char* is_split = nullptr;
static u64 shared_words = 0;

static void reserve_shared_stamps(u64 words) {
  if (words <= shared_words) return;
  free(shared_writes), free(shared_reads), free(is_split);
  shared_writes = (u64*)calloc(words * 4, sizeof(u64));
  shared_reads = (u64*)calloc(words * 4, sizeof(u64));
  is_split = (char*)calloc(words, 1);
  shared_words = words;
}

// Whether the access behind a stamp of this block happened before the running thread's present.
static bool is_before(u64 stamp) {
  if (time_of(stamp) <= run.block_synchronised) return true;
  const Kind kind = kind_of(stamp);
  if (kind == SEVERAL_WARPS) return false;
  if (kind == BY_BULK_COPY) return time_of(stamp) <= known_of_barrier(who_of(stamp));
  if (kind != SEVERAL_LANES && who_of(stamp) == run.thread) return true;
  const u32 warp = kind == SEVERAL_LANES ? who_of(stamp) : who_of(stamp) / 32;
  if (warp == run.warp && time_of(stamp) <= warps[warp].synchronised) return true;
  if (!clocks.on) return false;
  return time_of(stamp) <= (kind == SEVERAL_LANES ? known_of_all_lanes(warp) : known_of_thread(who_of(stamp)));
}

[[noreturn]] __attribute__((cold)) static void race(const char* what, u64 other, Address address, void* place) {
  char who[64];
  switch (kind_of(other)) {
    case SEVERAL_LANES: snprintf(who, sizeof who, "several lanes of warp %u", who_of(other)); break;
    case SEVERAL_WARPS: snprintf(who, sizeof who, "several warps"); break;
    case SEVERAL_BLOCKS: snprintf(who, sizeof who, "several blocks"); break;
    case BY_BULK_COPY: snprintf(who, sizeof who, "a bulk copy"); break;
    default: snprintf(who, sizeof who, "thread %u", who_of(other));
  }
  const bool other_block = block_of(other) != run.block_number;
  fail("race", place, "%s, by %s%s, with nothing that orders the two, at %s", what, who,
       other_block ? " of another block" : "", describe(address).c_str());
}

// What wgmmas read: for each warp and 16 bytes of dynamic shared memory the time until which it was read.
constexpr u64 STILL_READ = ~0ull;
static std::vector<u64> wgmma_reads[MOST_WARPS];

static void check_wgmma_reads(u64 offset, int bytes, void* place) {
  for (int w = 0; w < run.warp_count; w++)
    for (u64 piece = offset / 16; piece <= (offset + bytes - 1) / 16; piece++) {
      const u64 until = wgmma_reads[w][piece];
      if (until <= run.block_synchronised) continue;
      if (until == STILL_READ)
        fail("async", place, "write to what a wgmma of warp %d still reads, at %s", w,
             describe(run.dynamic_shared + offset).c_str());
      if ((u32)w != run.warp && until > known_of_any_lane(w))
        fail("race", place, "write to what a wgmma of warp %d read, with nothing that orders the two, at %s", w,
             describe(run.dynamic_shared + offset).c_str());
    }
}

// A thread's own variable: the registers of a wgmma may not be touched while it is under way.
static void check_accumulators(Address address, int bytes, void* place) {
  if (run.fiber->accumulators.empty() && !run.fiber->accumulators_touched) run.fiber->touched.push_back(address);
  for (const Accumulators& a : run.fiber->accumulators) {
    const Address begin = (Address)a.registers, end = begin + a.values.size() * sizeof(float);
    if (address >= end || address + bytes <= begin) continue;
    if (a.pending) fail("async", place, "registers of a wgmma are touched before wgmma.wait_group");
    run.fiber->accumulators_touched = true;
  }
}

// One access to one element: complains about what must not be, and stamps it.
template <bool WRITES, bool ATOMIC, bool GLOBAL>
static inline __attribute__((always_inline)) void touch(u64& last_write, u64& last_read, Address address, void* place,
                                                        bool starts_unset) {
  const u64 write = last_write, read = last_read;
  const bool needs_value = !WRITES || ATOMIC;
  if (write != run.stamp) {
    const bool both_atomic = ATOMIC && kind_of(write) == BY_ATOMIC;
    if (block_of(write) == run.block_number) {
      if (kind_of(write) == IN_FLIGHT)
        fail("async", place, "access to what a cp.async of thread %u is still writing, at %s", who_of(write),
             describe(address).c_str());
      if (!both_atomic && !is_before(write)) race(WRITES ? "second write" : "read of a write", write, address, place);
    } else if (GLOBAL && block_of(write) >= run.first_block_number) {
      if (!both_atomic) race(WRITES ? "second write" : "read of a write", write, address, place);
    } else if (needs_value && (!GLOBAL || (write == 0 && starts_unset))) {
      fail("unset", place, "read before any write, at %s", describe(address).c_str());
    }
  }
  if (WRITES) {
    if (read && read != run.stamp) {
      const bool same_block = block_of(read) == run.block_number && kind_of(read) != SEVERAL_BLOCKS;
      const bool same_launch = GLOBAL && block_of(read) >= run.first_block_number;
      if (same_block ? !is_before(read) : same_launch) race("write after a read", read, address, place);
    }
    last_write = ATOMIC ? with_kind(run.stamp, BY_ATOMIC, run.thread) : run.stamp;
  } else if (read != run.stamp) {
    if (block_of(read) != run.block_number) {
      const bool other_block = GLOBAL && block_of(read) >= run.first_block_number;
      last_read = other_block ? with_kind(run.stamp, SEVERAL_BLOCKS, 0) : run.stamp;
    } else if (kind_of(read) != SEVERAL_BLOCKS) {
      const u32 warp = kind_of(read) == SEVERAL_LANES ? who_of(read) : who_of(read) / 32;
      if (is_before(read)) last_read = run.stamp;
      else if (kind_of(read) == SEVERAL_WARPS || warp != run.warp) last_read = with_kind(run.stamp, SEVERAL_WARPS, 0);
      else last_read = with_kind(run.stamp, SEVERAL_LANES, run.warp);
    }
  }
}

template <bool WRITES, bool ATOMIC>
static inline __attribute__((always_inline)) void touch_shared(u64 offset, int bytes, Address address, void* place) {
  const u64 end = offset + bytes;
  for (u64 i = offset; i < end;) {
    const u64 word = i / 4;
    const bool whole = i % 4 == 0 && end - i >= 4;
    if (whole && !is_split[word]) {
      touch<WRITES, ATOMIC, false>(shared_writes[i], shared_reads[i], address + (i - offset), place, true);
      i += 4;
      continue;
    }
    if (!is_split[word]) {
      is_split[word] = 1;
      for (u64 j = word * 4 + 1; j < word * 4 + 4; j++) {
        shared_writes[j] = shared_writes[word * 4];
        shared_reads[j] = shared_reads[word * 4];
      }
    }
    touch<WRITES, ATOMIC, false>(shared_writes[i], shared_reads[i], address + (i - offset), place, true);
    i++;
  }
}

// One load or store of the kernel, wherever it goes.
template <bool WRITES, bool ATOMIC>
static inline void access(Address address, int bytes, void* place) {
  if (address - run.stack_begin < STACK) {  // a thread's own variables
    if (run.has_wgmma && run.fiber) check_accumulators(address, bytes, place);
    return;
  }
  run.accesses++;
  const char* verb = WRITES ? "write" : "read";
  const u64 in_dynamic = address - run.dynamic_shared, in_statics = address - run.statics;
  const u64 in_arena = address - (Address)run.arena;
  if (traffic.on) note_access(address, bytes, place, WRITES, in_arena < ARENA);
  if (in_dynamic < DYNAMIC_SHARED) {
    if (in_dynamic + bytes > run.dynamic_bytes)
      fail("bounds", place, "%s of %d bytes outside of %s", verb, bytes, describe(address).c_str());
    if (WRITES && run.has_wgmma) check_wgmma_reads(in_dynamic, bytes, place);
    touch_shared<WRITES, ATOMIC>(in_dynamic, bytes, address, place);
  } else if (in_statics < run.statics_bytes) {
    if (!inside_shared[in_statics] || !inside_shared[in_statics + bytes - 1])
      fail("bounds", place, "%s of %d bytes outside of %s", verb, bytes, describe(address).c_str());
    touch_shared<WRITES, ATOMIC>(DYNAMIC_SHARED + in_statics, bytes, address, place);
  } else if (in_arena < ARENA) {
    DeviceArray& array = arrays[in_arena / SLOT];
    const u64 offset = address - (Address)array.data;
    if (!array.used || offset >= array.bytes || offset + bytes > array.bytes)
      fail("bounds", place, "%s of %d bytes outside of %s", verb, bytes, describe(address).c_str());
    if (array.read_only) {
      if (WRITES) fail("read-only", place, "write to the input %s", describe(address).c_str());
      return;
    }
    const u64 last = (offset + bytes - 1) / array.element_bytes;
    for (u64 i = offset / array.element_bytes; i <= last; i++)
      touch<WRITES, ATOMIC, true>(array.writes[i], array.reads[i], address, place, array.starts_unset);
  } else if (address - run.module_begin < run.module_end - run.module_begin) {
    if (WRITES) fail("bounds", place, "write to the module's constants");
  } else {
    fail("bounds", place, "%s of %d bytes at %s", verb, bytes, describe(address).c_str());
  }
}
