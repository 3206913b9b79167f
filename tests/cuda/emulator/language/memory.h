// Loads with cache hints, fences and atomics. Plain loads and stores need nothing: the compiler reports them.
#pragma once

template <class T> EMU_INLINE T __ldg(const T* p) { return *p; }
template <class T> EMU_INLINE T __ldcs(const T* p) { return *p; }
template <class T> EMU_INLINE void __stcs(T* p, T value) { *p = value; }
EMU_INLINE void __threadfence() {}

// the runtime checks the access, and no other thread runs in between
template <class T, class F> __attribute__((noinline, no_sanitize("thread"))) T emu_update(T* p, F change) {
  emu_atomic(p, sizeof(T));
  const T before = *p;
  *p = change(before);
  return before;
}
#define EMU_ATOMIC(name, expression) \
  template <class T> EMU_INLINE T name(T* p, std::type_identity_t<T> v) { \
    return emu_update(p, [v](T old) __attribute__((no_sanitize("thread"))) { return (T)(expression); }); \
  }
EMU_ATOMIC(atomicAdd, old + v)
EMU_ATOMIC(atomicMax, old > v ? old : v)
EMU_ATOMIC(atomicMin, old < v ? old : v)
EMU_ATOMIC(atomicExch, v)
EMU_ATOMIC(atomicOr, old | v)
