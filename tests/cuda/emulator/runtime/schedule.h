// Threads as fibers: one runs until it waits, then another that is ready is chosen, in an order drawn from the seed.
#pragma once
#include "shadow.h"

// Saves the callee's registers (System V, x86-64) and the stack pointer, and goes on where another fiber stopped.
asm(R"(.text
.globl emu_switch
.type emu_switch,@function
emu_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");
extern "C" void emu_switch(void** save_stack_pointer, void* stack_pointer);

static void leave_launch() {
  void* unused;
  run.fiber = nullptr;
  emu_switch(&unused, run.main_stack_pointer);
  __builtin_unreachable();
}

static void make_current(Fiber* fiber) {
  run.fiber = fiber;
  run.stack_begin = (Address)run.stacks + fiber->thread * STACK;
  run.thread = fiber->thread;
  run.warp = fiber->warp;
  run.switches++;
  renew_stamp();
}

// A warp that can run: without a seed the present one, else the lowest; with a seed any, though mostly the present
// one, so that warps drift far apart. -1 if all threads wait or have returned.
static int choose_warp() {
  int candidates[MOST_WARPS], count = 0;
  for (int w = 0; w < run.warp_count; w++)
    if (warps[w].ready) candidates[count++] = w;
  if (count == 0) return -1;
  const bool can_stay = warps[run.warp].ready;
  if (!run.seed) return can_stay ? run.warp : candidates[0];
  return can_stay && random_number() % 4 ? run.warp : candidates[random_number() % count];
}

static int choose_lane(u32 ready) {
  if (!run.seed) return __builtin_ctz(ready);
  const u32 from = random_number() & 31;
  const u32 rotated = from ? ready >> from | ready << (32 - from) : ready;
  return (__builtin_ctz(rotated) + from) & 31;
}

// Hands over to a thread that is ready; returns when this one is chosen again.
static void run_another() {
  Fiber* self = run.fiber;
  const int warp = choose_warp();
  if (warp < 0) {
    run.fiber = nullptr;
    emu_switch(&self->stack_pointer, run.main_stack_pointer);
    return;
  }
  Fiber* next = &fibers[warp * 32 + choose_lane(warps[warp].ready)];
  make_current(next);
  if (next != self) emu_switch(&self->stack_pointer, next->stack_pointer);
}

static void wait_in(State state, const char* name, int line) {
  Fiber* fiber = run.fiber;
  fiber->state = state;
  fiber->waits_in = name;
  fiber->waits_at_line = line;
  warps[fiber->warp].ready &= ~(1u << fiber->lane);
  run_another();
}

static void make_ready(u32 warp, u32 lanes) {
  for (u32 rest = lanes; rest; rest &= rest - 1) fibers[warp * 32 + __builtin_ctz(rest)].state = READY;
  warps[warp].ready |= lanes;
}

static bool has_open_products(u32 warp);  // warpgroups.h

// Where every fiber begins, and, after its kernel's return, ends.
static void fiber_main() {
  run.entry(run.arguments);
  Fiber* fiber = run.fiber;
  Warp& warp = warps[fiber->warp];
  const u32 bit = 1u << fiber->lane;
  if (fiber->open_copies.size() || fiber->copy_groups.size())
    fail("async", nullptr, "the thread returns with a cp.async that nobody waited for");
  if (run.has_wgmma && has_open_products(fiber->warp))
    fail("async", nullptr, "the thread returns with a wgmma that nobody waited for");
  if (run.barrier.arrived)
    fail("barrier", nullptr, "the thread returns while %d threads wait in __syncthreads at line %d",
         run.barrier.arrived, run.barrier.line);
  for (const Collective& c : warp.collectives)
    if (c.active && (c.mask & bit))
      fail("mask", nullptr, "the thread returns while the collective at line %d waits for it (mask 0x%08x)", c.line,
           c.mask);
  fiber->state = RETURNED;
  warp.returned |= bit;
  warp.ready &= ~bit;
  run.returned++;
  run.alive--;
  run_another();
  __builtin_unreachable();
}

static void prepare_fiber(int thread) {
  Fiber& fiber = fibers[thread];
  const dim3 size = run.block_size;
  const u32 t = thread;
  fiber.thread = t, fiber.warp = t / 32, fiber.lane = t % 32;
  fiber.index = {t % size.x, t / size.x % size.y, t / size.x / size.y};
  fiber.state = READY;
  fiber.open_copies.clear(), fiber.copy_groups.clear(), fiber.accumulators.clear(), fiber.touched.clear();
  fiber.accumulators_touched = true;
  // stagger the stacks, which would otherwise all fall into the same lines of the processor's cache
  Address top = ((Address)run.stacks + (t + 1) * STACK - 256 - (t & 63) * 320) & ~15ull;
  void** stack = (void**)top;
  *--stack = nullptr;
  *--stack = (void*)fiber_main;
  stack -= 6;  // the six registers that emu_switch restores
  memset(stack, 0, 6 * sizeof(void*));
  fiber.stack_pointer = stack;
  warps[fiber.warp].lanes |= 1u << fiber.lane;
  warps[fiber.warp].ready |= 1u << fiber.lane;
}
