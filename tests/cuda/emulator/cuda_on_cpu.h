// CUDA C++ for g++: included before a .cu file that is compiled as C++20, so that its kernels run on the CPU.
//
// Only what the kernels use is here. Every helper must be inlined: g++ does not report the memory operands of a call
// (a struct as argument or result) to the runtime, so that a call would hide loads and stores.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "interface.h"

#define EMU_INLINE inline __attribute__((always_inline))
#define EMU_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

#include "language/words.h"
#include "language/numbers.h"
#include "language/half.h"
#include "language/memory.h"
#include "language/warp.h"
#include "language/entry.h"
