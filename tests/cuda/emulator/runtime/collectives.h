// Barriers of a block, collectives of a warp, and what the warp's instructions compute.
#pragma once
#include "schedule.h"

static int block_barrier(int predicate, const char* file, int line) {
  Barrier& barrier = run.barrier;
  Fiber* fiber = run.fiber;
  if (barrier.arrived && (barrier.line != line || barrier.file != file))
    fail("barrier", nullptr, "__syncthreads at line %d while other threads wait in the one at line %d", line,
         barrier.line);
  if (run.returned)
    fail("barrier", nullptr, "__syncthreads at line %d, but %d threads of the block have returned", line, run.returned);
  barrier.line = line, barrier.file = file;
  barrier.sum += predicate;
  warps[fiber->warp].at_barrier |= 1u << fiber->lane;
  if (++barrier.arrived < run.threads) {
    wait_in(IN_BLOCK_BARRIER, "__syncthreads", line);
    return barrier.result;
  }
  barrier.result = barrier.sum;
  barrier.arrived = barrier.sum = 0;
  run.block_synchronised = run.time++;
  for (int w = 0; w < run.warp_count; w++) {
    warps[w].at_barrier = 0;
    make_ready(w, warps[w].lanes);
  }
  const int result = barrier.result;
  run_another();
  return result;
}

// The collective of this warp that the caller joins: one that waits for it, or a new one.
static Collective& collective_for(u32 mask, Answer answer, const char* name, int line) {
  Warp& warp = warps[run.warp];
  const u32 bit = 1u << run.fiber->lane;
  Collective* free = nullptr;
  for (Collective& c : warp.collectives) {
    if (!c.active) {
      free = free ? free : &c;
    } else if (c.mask == mask && !(c.arrived & bit)) {
      if (c.answer != answer || c.line != line)
        fail("mask", nullptr, "%s at line %d while other lanes of its mask wait in a collective at line %d", name, line,
             c.line);
      return c;
    } else if (c.mask & mask) {
      fail("mask", nullptr, "%s at line %d with mask 0x%08x overlaps mask 0x%08x of a collective at line %d", name,
           line, mask, c.mask, c.line);
    }
  }
  if (!free) fail("mask", nullptr, "%s at line %d: too many collectives at once", name, line);
  *free = {true, mask, 0, answer, line, {}};
  return *free;
}

static void warp_collective(u32 mask, Answer answer, void* request, const char* name, int line) {
  Fiber* fiber = run.fiber;
  Warp& warp = warps[fiber->warp];
  const u32 bit = 1u << fiber->lane;
  if (!(mask & bit))
    fail("mask", nullptr, "%s at line %d: lane %u is not in its mask 0x%08x", name, line, fiber->lane, mask);
  if (mask & ~warp.lanes)
    fail("mask", nullptr, "%s at line %d: mask 0x%08x has lanes that do not exist (0x%08x do)", name, line, mask,
         warp.lanes);
  if (mask & warp.returned)
    fail("mask", nullptr, "%s at line %d: lane %d of mask 0x%08x has returned", name, line,
         __builtin_ctz(mask & warp.returned), mask);
  if (mask & warp.at_barrier)
    fail("mask", nullptr, "%s at line %d: lane %d of mask 0x%08x waits in __syncthreads at line %d", name, line,
         __builtin_ctz(mask & warp.at_barrier), mask, run.barrier.line);
  Collective& collective = collective_for(mask, answer, name, line);
  collective.arrived |= bit;
  collective.requests[fiber->lane] = request;
  if (collective.arrived != mask) {
    wait_in(IN_WARP_COLLECTIVE, name, line);
    return;
  }
  collective.active = false;
  if (answer) {
    run.collective_line = line;
    answer(collective.requests, mask);
    run.collective_line = 0;
  } else {  // __syncwarp; of a part of a warp it is taken as one of the whole: no false alarm, a race may be missed
    share_clocks(fiber->warp, mask);
    warp.synchronised = run.time++;
  }
  make_ready(fiber->warp, mask);
  run_another();
}

template <class Request, class F> static void each_lane(void** requests, u32 mask, F visit) {
  for (u32 rest = mask; rest; rest &= rest - 1) {
    const int lane = __builtin_ctz(rest);
    visit(lane, *(Request*)requests[lane]);
  }
}

static int source_lane(int lane, const ShuffleRequest& r) {
  const int begin = lane & ~(r.width - 1), end = begin + r.width;
  switch (r.kind) {
    case ShuffleRequest::FROM_LANE: return begin + (r.argument & (r.width - 1));
    case ShuffleRequest::UP: return lane - r.argument < begin ? lane : lane - r.argument;
    case ShuffleRequest::DOWN: return lane + r.argument >= end ? lane : lane + r.argument;
    default: return (lane ^ r.argument) >= end ? lane : lane ^ r.argument;
  }
}

static void answer_shuffle(void** requests, u32 mask) {
  u64 values[32] = {};
  each_lane<ShuffleRequest>(requests, mask, [&](int lane, ShuffleRequest& r) { values[lane] = r.value; });
  each_lane<ShuffleRequest>(requests, mask, [&](int lane, ShuffleRequest& r) {
    const int source = source_lane(lane, r);
    if (!(mask >> source & 1))
      fail("mask", nullptr, "lane %d reads lane %d, which is not in the mask 0x%08x", lane, source, mask);
    r.result = values[source];
  });
}

static void answer_vote(void** requests, u32 mask) {
  VoteRequest all{0, 0, 0, 0, ~0u};
  each_lane<VoteRequest>(requests, mask, [&](int lane, VoteRequest& r) {
    all.ballot |= (u32)(r.value != 0) << lane;
    all.sum += r.value;
    all.largest = r.value > all.largest ? r.value : all.largest;
    all.smallest = r.value < all.smallest ? r.value : all.smallest;
  });
  each_lane<VoteRequest>(requests, mask, [&](int, VoteRequest& r) { all.value = r.value, r = all; });
}

// D = A B + C of one warp, A 16 x K, B K x 8. Which lane holds what is the PTX manual's "Matrix Fragments for
// mma.m16n8k16" and "... mma.m16n8k8": group = lane / 4, member = lane % 4. PER is the number of values a register.
template <int K, int PER, class Value>
static void answer_mma(void** requests, Value value) {
  float A[16][K], B[K][8], C[16][8] = {};
  each_lane<MatrixRequest>(requests, ~0u, [&](int lane, MatrixRequest& r) {
    const int group = lane / 4, member = lane % 4;
    for (int half = 0; half < PER; half++) {
      for (int i = 0; i < 4; i++) A[group + i % 2 * 8][i / 2 * (K / 2) + member * PER + half] = value(r.a[i], half);
      for (int i = 0; i < 2; i++) B[i * (K / 2) + member * PER + half][group] = value(r.b[i], half);
    }
  });
  for (int m = 0; m < 16; m++)
    for (int k = 0; k < K; k++)
      for (int n = 0; n < 8; n++) C[m][n] += A[m][k] * B[k][n];
  each_lane<MatrixRequest>(requests, ~0u, [&](int lane, MatrixRequest& r) {
    const int group = lane / 4, member = lane % 4;
    for (int i = 0; i < 4; i++) r.d[i] = r.c[i] + C[group + i / 2 * 8][member * 2 + i % 2];
  });
}

static float half_value(u32 bits, int which) {
  return (float)__builtin_bit_cast(_Float16, (uint16_t)(bits >> 16 * which));
}
static float bfloat16_value(u32 bits, int which) { return __builtin_bit_cast(float, bits >> 16 * which << 16); }
static float tf32_value(u32 bits, int) { return __builtin_bit_cast(float, bits & ~0x1fffu); }  // 10 bits of fraction

// ldmatrix: lane l brings the address of row l % 8 of matrix l / 8; each lane receives two neighbours of each matrix.
static void answer_load_matrix(void** requests, u32 mask) {
  Fiber* caller = run.fiber;
  for (int m = 0; m < ((LoadMatrixRequest*)requests[0])->matrices; m++) {
    uint16_t values[8][8];
    for (int row = 0; row < 8; row++) {
      make_current(&fibers[caller->warp * 32 + m * 8 + row]);  // the lane whose address is read
      run.stack_begin = (Address)run.stacks + caller->thread * STACK;
      const Address address = (Address)((LoadMatrixRequest*)requests[m * 8 + row])->row;
      if (address % 16) fail("alignment", nullptr, "row address %p of ldmatrix is no multiple of 16", (void*)address);
      if (address - run.dynamic_shared >= DYNAMIC_SHARED && address - run.statics >= run.statics_bytes)
        fail("bounds", nullptr, "ldmatrix reads %s", describe(address).c_str());
      access<false, false>(address, 16, nullptr);
      memcpy(values[row], (void*)address, 16);
    }
    each_lane<LoadMatrixRequest>(requests, mask, [&](int lane, LoadMatrixRequest& r) {
      const int i = lane / 4, j = lane % 4 * 2;
      const u32 low = r.transposed ? values[j][i] : values[i][j];
      const u32 high = r.transposed ? values[j + 1][i] : values[i][j + 1];
      r.result[m] = low | high << 16;
    });
  }
  make_current(caller);
}

// cp.async: until it is waited for, what is in shared memory is unknown, and nobody may look.
static void stamp_shared(Address address, int bytes, u64 stamp) {
  const u64 in_dynamic = address - run.dynamic_shared;
  const u64 offset = in_dynamic < DYNAMIC_SHARED ? in_dynamic : DYNAMIC_SHARED + (address - run.statics);
  for (int i = 0; i < bytes; i++) shared_writes[offset + i] = stamp;
}

static void copy_async(char* shared, const char* source, int bytes, int read, void* place) {
  const Address to = (Address)shared, from = (Address)source;
  if (to % bytes || (read && from % bytes))
    fail("alignment", place, "cp.async of %d bytes to or from an odd address", bytes);
  if (to - run.dynamic_shared >= DYNAMIC_SHARED && to - run.statics >= run.statics_bytes)
    fail("bounds", place, "cp.async writes to %s", describe(to).c_str());
  if (read) access<false, false>(from, read, place);
  access<true, false>(to, bytes, place);
  stamp_shared(to, bytes, with_kind(run.stamp, IN_FLIGHT, run.thread));
  memset(shared, 0xff, bytes);
  run.fiber->open_copies.push_back({shared, source, read, bytes - read});
}

static void copy_wait(int groups_left) {
  auto& groups = run.fiber->copy_groups;
  while ((int)groups.size() > groups_left) {
    for (const AsyncCopy& c : groups.front()) {
      memcpy(c.shared, c.source, c.read);
      memset(c.shared + c.read, 0, c.zeros);
      stamp_shared((Address)c.shared, c.read + c.zeros, run.stamp);
    }
    groups.erase(groups.begin());
  }
}
