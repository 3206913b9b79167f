// mbarriers, bulk copies and the fences that belong to them.
//
// A phase of an mbarrier ends when all arrivals that it was made for have come, and all bytes that were announced. A
// bulk copy comes in as late as it can: when a thread waits for its barrier. Until then its target is unknown, and
// nobody may look; afterwards those may who have waited for that barrier themselves.
#pragma once
#include "collectives.h"

struct BulkCopy { char* shared; const char* source; u32 bytes; };

struct MBarrier {
  Address address;
  u32 count, pending, phase;
  long bytes;                          // announced, and not here yet
  bool fenced;                         // whether the copy engine sees that it was made
  u32 maker;
  std::vector<BulkCopy> copies;        // under way
  std::vector<u64> arrived, released;  // what arrivals knew: of the present phase too, and of those that are over
};
static std::vector<MBarrier> mbarriers;  // of the block

static bool is_shared(Address a) {
  return a - run.dynamic_shared < DYNAMIC_SHARED || a - run.statics < run.statics_bytes;
}

static void mbarrier_init(void* at, int count, void* place) {
  const Address address = (Address)at;
  if (!is_shared(address) || address % 8)
    fail("alignment", place, "an mbarrier wants 8 bytes of shared memory, not %s", describe(address).c_str());
  if (count < 1 || count > (1 << 20) - 1) fail("barrier", place, "an mbarrier for %d arrivals", count);
  for (const MBarrier& b : mbarriers)
    if (b.address == address) fail("barrier", place, "the mbarrier at %s is made twice", describe(address).c_str());
  if (mbarriers.size() == MOST_BARRIERS) fail("config", place, "more mbarriers than the emulator keeps");
  access<true, false>(address, 8, place);
  start_clocks();
  const std::vector<u64> nothing(clocks.width, 0);
  mbarriers.push_back({address, (u32)count, (u32)count, 0, 0, false, run.thread, {}, nothing, nothing});
}

static MBarrier& mbarrier_at(void* at, const char* verb, void* place) {
  access<true, true>((Address)at, 8, place);  // its making must have been made known
  for (MBarrier& b : mbarriers)
    if (b.address == (Address)at) return b;
  fail("barrier", place, "%s at %s, where no mbarrier was made", verb, describe((Address)at).c_str());
}
static u32 number_of(const MBarrier& b) { return &b - mbarriers.data(); }

static void end_phase_if_complete(MBarrier& b) {
  if (b.pending || b.bytes) return;
  b.phase++, b.pending = b.count;
  join(b.released.data(), b.arrived.data(), clocks.width);
  for (int t = 0; t < run.threads; t++)
    if (fibers[t].state == IN_MBARRIER && fibers[t].waits_on == b.address) make_ready(t / 32, 1u << t % 32);
}

static void mbarrier_arrive(void* at, u32 bytes, void* place) {
  MBarrier& b = mbarrier_at(at, "arrival", place);
  if (!b.pending) fail("barrier", place, "more arrivals than the mbarrier at %s counts", describe(b.address).c_str());
  b.bytes += bytes;
  u64* const mine = clock_of(run.thread);
  mine[run.thread] = run.time++;
  renew_stamp();
  join(b.arrived.data(), mine, clocks.width);
  b.pending--;
  end_phase_if_complete(b);
}

static void let_copies_in(MBarrier& b) {
  for (const BulkCopy& c : b.copies) {
    memcpy(c.shared, c.source, c.bytes);
    const u64 time = run.time++;
    stamp_shared((Address)c.shared, c.bytes,
                 with_kind(run.block_number << 40 | time << 13, BY_BULK_COPY, number_of(b)));
    u64& known = b.arrived[run.threads + number_of(b)];
    known = time > known ? time : known;
    b.bytes -= c.bytes;
  }
  const bool any = b.copies.size();
  b.copies.clear();
  renew_stamp();
  if (any) end_phase_if_complete(b);
}

static void mbarrier_wait(void* at, u32 parity, int line, void* place) {
  MBarrier* b = &mbarrier_at(at, "wait", place);
  for (;;) {
    let_copies_in(*b);
    if ((b->phase & 1) != parity) break;
    run.fiber->waits_on = b->address;
    wait_in(IN_MBARRIER, "mbarrier.try_wait", line);
  }
  join(clock_of(run.thread), b->released.data(), clocks.width);
}

static void bulk_copy(void* shared, const void* source, u32 bytes, void* barrier, void* place) {
  const Address to = (Address)shared, from = (Address)source;
  if (to % 16 || from % 16 || bytes % 16 || !bytes)
    fail("alignment", place, "cp.async.bulk wants addresses and a size that 16 divides");
  if (!is_shared(to)) fail("bounds", place, "cp.async.bulk writes to %s", describe(to).c_str());
  MBarrier& b = mbarrier_at(barrier, "bulk copy", place);
  if (!b.fenced) fail("proxy", place, "cp.async.bulk on an mbarrier that was made without fence.mbarrier_init");
  access<false, false>(from, bytes, place);
  access<true, false>(to, bytes, place);
  stamp_shared(to, bytes, with_kind(run.stamp, IN_FLIGHT, run.thread));
  memset(shared, 0xff, bytes);
  b.copies.push_back({(char*)shared, (const char*)source, bytes});
  for (int t = 0; t < run.threads; t++)
    if (fibers[t].state == IN_MBARRIER && fibers[t].waits_on == b.address) return let_copies_in(b);
}

// What this thread wrote the usual way is from now on seen by the tensor cores and the copy engine.
static void fence_proxy() {
  clocks.fenced[run.thread] = run.time++;
  renew_stamp();
}
static void fence_mbarriers() {
  for (MBarrier& b : mbarriers) b.fenced |= b.maker == run.thread;
}
