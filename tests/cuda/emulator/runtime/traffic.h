// What a warp's accesses would cost on a GPU: 32-byte sectors of global memory, and rounds of shared memory's banks.
//
// The k-th time that the lanes of a warp come by the same place in the code counts as one instruction of the warp. A
// global one moves every sector that any of its lanes touches. A shared one takes 128 bytes a round: lanes go 32, 16 or
// 8 at a time for 4, 8 or 16 bytes each, and a round is repeated as often as the busiest of the 32 banks has words.
#pragma once
#include <algorithm>
#include <map>
#include <tuple>
#include <unordered_map>

#include "state.h"

struct Traffic {
  u64 bytes_read, bytes_written, sectors_read, sectors_written;  // global memory
  u64 rounds, rounds_at_least;                                    // shared memory
};

struct LaneAccess { u32 lane; Address address; int bytes; };
struct Instruction { bool is_global, writes; std::vector<LaneAccess> lanes; };

static struct {
  bool on = false;
  Traffic total;
  std::unordered_map<u64, u32> visits;  // by place and thread
  std::map<std::tuple<u64, u32, u32>, Instruction> instructions;  // by place, warp, visit
} traffic;

static void note_access(Address address, int bytes, const void* place, bool writes, bool is_global) {
  const u64 at = place ? (u64)place : (u64)run.collective_line;
  const u32 visit = traffic.visits[(at << 11 | run.thread) * 2 + writes]++;
  Instruction& instruction = traffic.instructions[{at * 2 + writes, run.warp, visit}];
  instruction.is_global = is_global, instruction.writes = writes;
  instruction.lanes.push_back({run.thread % 32, address, bytes});
}

static u64 sectors_of(const Instruction& instruction) {
  std::vector<Address> sectors;
  for (const LaneAccess& a : instruction.lanes)
    for (Address s = a.address / 32; s <= (a.address + a.bytes - 1) / 32; s++) sectors.push_back(s);
  std::sort(sectors.begin(), sectors.end());
  return std::unique(sectors.begin(), sectors.end()) - sectors.begin();
}

// Rounds that the banks need, and the least number that lanes of this width could need.
static std::pair<u64, u64> rounds_of(const Instruction& instruction) {
  const int width = std::max(4, instruction.lanes[0].bytes), lanes_a_round = 128 / width;
  u64 rounds = 0, least = 0;
  for (int first = 0; first < 32; first += lanes_a_round) {
    std::vector<Address> words;
    for (const LaneAccess& a : instruction.lanes)
      if ((int)a.lane >= first && (int)a.lane < first + lanes_a_round)
        for (Address w = a.address / 4; w <= (a.address + a.bytes - 1) / 4; w++) words.push_back(w);
    if (words.empty()) continue;
    std::sort(words.begin(), words.end());
    words.erase(std::unique(words.begin(), words.end()), words.end());
    u64 bank[32] = {};
    for (Address w : words) bank[w % 32]++;
    rounds += *std::max_element(bank, bank + 32);
    least++;
  }
  return {rounds, least};
}

static void add_up_block() {
  Traffic& total = traffic.total;
  for (const auto& [key, instruction] : traffic.instructions) {
    u64 bytes = 0;
    for (const LaneAccess& a : instruction.lanes) bytes += a.bytes;
    if (instruction.is_global) {
      (instruction.writes ? total.bytes_written : total.bytes_read) += bytes;
      (instruction.writes ? total.sectors_written : total.sectors_read) += sectors_of(instruction);
    } else {
      const auto [rounds, least] = rounds_of(instruction);
      total.rounds += rounds, total.rounds_at_least += least;
    }
  }
  traffic.visits.clear();
  traffic.instructions.clear();
}
