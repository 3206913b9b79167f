// wgmma: four warps multiply 64 x 16 by 16 x N from shared memory and add to registers, while they go on.
//
// Each warp makes 16 of the 64 rows. Until wgmma.wait_group the accumulators hold NaN and may not be touched, nor may
// anybody write to the operands' memory. What the tensor cores read must have been written by a bulk copy that was
// waited for, or have passed a proxy fence; registers that were touched since the last wgmma need a wgmma.fence.
#pragma once
#include "barriers.h"

struct Operands { u64 a, b; int columns; };

struct WarpProducts {
  std::vector<u32> open;                 // pieces of 16 bytes that wgmmas read which are not committed
  std::vector<std::vector<u32>> groups;  // ... and not waited for
  u32 count;                             // of all wgmmas so far
};
static WarpProducts products[MOST_WARPS];
static std::vector<Operands> warpgroup_products[MOST_WARPS / 4];  // the same for all four warps

static void reset_products() {
  if (!run.has_wgmma) return;
  run.has_wgmma = false;
  for (int w = 0; w < MOST_WARPS; w++) products[w] = {}, warpgroup_products[w / 4].clear();
  for (std::vector<u64>& reads : wgmma_reads) reads.clear();
}

// Where 16 bytes of an operand lie. PTX manual, "Matrix descriptor" and "Strides". row, piece: a row of A or column of
// B, and which 8 of its 16 steps; transposed: a step, and which 8 rows or columns.
static u64 place_in_operand(u64 descriptor, int row, int piece, bool transposed) {
  const u64 start = (descriptor & 0x3fff) << 4, stride = (descriptor >> 32 & 0x3fff) << 4;
  const u64 leading = (descriptor >> 16 & 0x3fff) << 4;
  const int mode = descriptor >> 62, wide = 16 >> mode;  // pieces in a row of an atom that is swizzled
  if (mode == 0) {
    const u64 next_rows = transposed ? leading : stride, next_piece = transposed ? stride : leading;
    return start + row / 8 * next_rows + piece * next_piece + row % 8 * 16;
  }
  const u64 at = start + row / 8 * stride + row % 8 * wide * 16 + piece % wide * 16 + piece / wide * leading;
  return at ^ (at >> 7 & (wide - 1)) << 4;
}

static const uint16_t* operand_piece(u64 at) {
  if (at % 16 || at + 16 > run.dynamic_bytes)
    fail("bounds", nullptr, "wgmma reads dynamic shared memory, byte %lu of %lu", at, run.dynamic_bytes);
  for (u64 i = at; i < at + 16; i += is_split[i / 4] ? 1 : 4) {
    const u64 stamp = shared_writes[i];
    const std::string where = block_of(stamp) != run.block_number || !is_before(stamp) || kind_of(stamp) == IN_FLIGHT
                                  ? describe(run.dynamic_shared + i) : "";
    if (block_of(stamp) != run.block_number) fail("unset", nullptr, "wgmma reads before any write %s", where.c_str());
    if (kind_of(stamp) == IN_FLIGHT)
      fail("async", nullptr, "wgmma reads what a copy is still writing, at %s", where.c_str());
    if (!is_before(stamp)) race("wgmma reads a write", stamp, run.dynamic_shared + i, nullptr);
    if (kind_of(stamp) == ONE_THREAD && time_of(stamp) > clocks.fenced[who_of(stamp)])
      fail("proxy", nullptr, "wgmma reads what thread %u wrote without fence.proxy.async behind it, at %s",
           who_of(stamp), describe(run.dynamic_shared + i).c_str());
  }
  wgmma_reads[run.warp][at / 16] = STILL_READ;
  products[run.warp].open.push_back(at / 16);
  return (const uint16_t*)(run.dynamic_shared + at);
}

template <class Value>
static void read_operand(float (*to)[16], u64 descriptor, int first, int rows, bool transposed, Value value) {
  for (int r = 0; r < (transposed ? 16 : rows); r++)
    for (int p = 0; p < (transposed ? rows / 8 : 2); p++) {
      const u64 at = transposed ? place_in_operand(descriptor, r, first / 8 + p, true)
                                : place_in_operand(descriptor, first + r, p, false);
      const uint16_t* piece = operand_piece(at);
      for (int k = 0; k < 8; k++) (transposed ? to[p * 8 + k][r] : to[r][p * 8 + k]) = value(piece[k], 0);
    }
}

static void check_wgmma(const WgmmaRequest& first, void** requests) {
  if (run.threads % 128) fail("mask", nullptr, "wgmma in a block that is no whole number of four warps");
  each_lane<WgmmaRequest>(requests, ~0u, [&](int lane, WgmmaRequest& r) {
    if (r.a != first.a || r.b != first.b) fail("mask", nullptr, "lane %d brings other descriptors to wgmma", lane);
    if (fibers[run.warp * 32 + lane].accumulators_touched)
      fail("async", nullptr, "wgmma on registers that were touched with no wgmma.fence since");
  });
  if ((first.a >> 49 & 7) || (first.b >> 49 & 7)) fail("config", nullptr, "base offsets are not emulated");
  std::vector<Operands>& all = warpgroup_products[run.warp / 4];
  const u32 n = products[run.warp].count++;
  if (n == all.size()) all.push_back({first.a, first.b, first.columns});
  if (all[n].a != first.a || all[n].b != first.b || all[n].columns != first.columns)
    fail("mask", nullptr, "the warps of a warpgroup bring different operands to the same wgmma");
}

// At the end of a block: all four warps of a warpgroup take part in a wgmma.
static bool have_all_taken_part() {
  for (int w = 0; w < run.warp_count; w++)
    if (products[w].count != warpgroup_products[w / 4].size()) return false;
  return true;
}

static void expect_wgmma() {
  if (run.has_wgmma) return;
  run.has_wgmma = true;
  start_clocks();
  for (std::vector<u64>& reads : wgmma_reads) reads.assign(DYNAMIC_SHARED / 16, 0);
}

// D += A B: lane l of warp w holds, at i = 4 j + 2 h + e, row 16 w + l / 4 + 8 h, column 8 j + 2 (l % 4) + e.
template <class Value> static void answer_wgmma(void** requests, Value value) {
  expect_wgmma();
  const WgmmaRequest& first = *(WgmmaRequest*)requests[0];
  check_wgmma(first, requests);
  static float A[16][16], B[256][16];
  read_operand(A, first.a, run.warp % 4 * 16, 16, first.transposed, value);
  read_operand(B, first.b, 0, first.columns, first.transposed, value);
  each_lane<WgmmaRequest>(requests, ~0u, [&](int lane, WgmmaRequest& r) {
    Fiber& fiber = fibers[run.warp * 32 + lane];
    const int count = r.columns / 2;
    Accumulators* mine = nullptr;
    for (Accumulators& a : fiber.accumulators)
      if (a.registers == r.d) mine = &a;
    for (Address touched : fiber.touched)
      if (touched - (Address)r.d < count * sizeof(float))
        fail("async", nullptr, "wgmma on registers that were touched behind its wgmma.fence");
    fiber.touched.clear();
    if (!mine) mine = &fiber.accumulators.emplace_back(Accumulators{r.d, false, std::vector<float>(count)});
    if (!mine->pending) memcpy(mine->values.data(), r.d, count * sizeof(float));
    mine->pending = true;
    for (int i = 0; i < count; i++) {
      const float *a = A[lane / 4 + i / 2 % 2 * 8], *b = B[i / 4 * 8 + lane % 4 * 2 + i % 2];
      float sum = 0;
      for (int k = 0; k < 16; k++) sum += a[k] * b[k];
      mine->values[i] += sum;
    }
    memset(r.d, 0xff, count * sizeof(float));
  });
}

static bool has_open_products(u32 warp) { return products[warp].open.size() || products[warp].groups.size(); }

static void answer_wgmma_fence(void**) {
  expect_wgmma();
  for (int lane = 0; lane < 32; lane++) {
    fibers[run.warp * 32 + lane].accumulators_touched = false;
    fibers[run.warp * 32 + lane].touched.clear();
  }
}
static void answer_wgmma_commit(void**) {
  products[run.warp].groups.push_back(std::move(products[run.warp].open));
  products[run.warp].open.clear();
}
static void answer_wgmma_wait(void** requests) {
  WarpProducts& mine = products[run.warp];
  const u64 now = run.time++;
  bool any = false;
  while ((int)mine.groups.size() > *(int*)requests[0]) {
    for (u32 piece : mine.groups.front()) wgmma_reads[run.warp][piece] = now;
    mine.groups.erase(mine.groups.begin());
    any = true;
  }
  for (const auto& group : mine.groups)
    for (u32 piece : group) wgmma_reads[run.warp][piece] = STILL_READ;
  for (u32 piece : mine.open) wgmma_reads[run.warp][piece] = STILL_READ;
  renew_stamp();
  if (!any || mine.groups.size() || mine.open.size()) return;
  for (int lane = 0; lane < 32; lane++)
    for (Accumulators& a : fibers[run.warp * 32 + lane].accumulators) {
      if (a.pending) memcpy(a.registers, a.values.data(), a.values.size() * sizeof(float));
      a.pending = false;
    }
}
