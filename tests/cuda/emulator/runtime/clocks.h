// Who knows of whose accesses, where mbarriers order them: vector clocks.
//
// A thread knows of thread u all that u did up to a time, and of barrier b all copies that came in on it up to a time.
// What a thread knows it hands on when it arrives at an mbarrier, and takes over from one that it has waited for.
// Nothing of this is kept until a block has its first mbarrier.
#pragma once
#include "state.h"

constexpr int MOST_BARRIERS = 64;

static struct {
  bool on = false;
  int width = 0;              // a thread's clock: one entry a thread, then one a barrier
  std::vector<u64> known;     // [thread][width]
  std::vector<u64> fenced;    // [thread]: up to when its writes are seen by the tensor cores and the bulk copies
} clocks;

static void start_clocks() {
  if (clocks.on) return;
  clocks.on = true, clocks.width = run.threads + MOST_BARRIERS;
  clocks.known.assign((size_t)run.threads * clocks.width, 0);
}
static void reset_clocks() {
  clocks.on = false;
  clocks.fenced.assign(run.threads, 0);
}
static u64* clock_of(u32 thread) { return &clocks.known[(size_t)thread * clocks.width]; }
static u64 known_of_thread(u32 thread) { return clocks.on ? clock_of(run.thread)[thread] : 0; }
static u64 known_of_barrier(u32 barrier) { return clocks.on ? clock_of(run.thread)[run.threads + barrier] : 0; }

static u64 known_of_any_lane(u32 warp) {
  u64 most = 0;
  for (u32 t = warp * 32; t < warp * 32 + 32 && t < (u32)run.threads; t++) {
    const u64 time = known_of_thread(t);
    most = time > most ? time : most;
  }
  return most;
}
static u64 known_of_all_lanes(u32 warp) {
  u64 least = ~0ull;
  for (u32 t = warp * 32; t < warp * 32 + 32 && t < (u32)run.threads; t++) {
    const u64 time = t == run.thread ? ~0ull : known_of_thread(t);
    least = time < least ? time : least;
  }
  return least;
}
static void join(u64* into, const u64* other, int width) {
  for (int i = 0; i < width; i++) into[i] = into[i] > other[i] ? into[i] : other[i];
}
// Lanes that have met in __syncwarp know all that any of them knew.
static void share_clocks(u32 warp, u32 lanes) {
  if (!clocks.on) return;
  std::vector<u64> all(clocks.width, 0);
  for (u32 rest = lanes; rest; rest &= rest - 1) {
    const u32 t = warp * 32 + __builtin_ctz(rest);
    join(all.data(), clock_of(t), clocks.width);
    all[t] = run.time > all[t] ? run.time : all[t];
  }
  for (u32 rest = lanes; rest; rest &= rest - 1)
    join(clock_of(warp * 32 + __builtin_ctz(rest)), all.data(), clocks.width);
}
