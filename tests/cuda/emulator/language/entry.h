// How the harness calls a kernel: one entry a kernel, with the arguments as cuLaunchKernel takes them, an array of
// pointers to the values; and where the module's shared arrays lie (they are static variables without a first value).
#pragma once

template <class... A, size_t... I>
__attribute__((no_sanitize("thread"))) inline void emu_call(void (*kernel)(A...), void** arguments,
                                                           std::index_sequence<I...>) {
  asm("" : "+r"(kernel));  // keep g++ from inlining the kernel into this function, which is not checked
  kernel(*(std::remove_cvref_t<A>*)arguments[I]...);
}
template <class... A>
__attribute__((no_sanitize("thread"))) inline void emu_call_all(void (*kernel)(A...), void** arguments) {
  emu_call(kernel, arguments, std::index_sequence_for<A...>{});
}

#define EMU_EXPORT extern "C" __attribute__((visibility("default"), no_sanitize("thread")))
#define EMU_ENTRY(number, ...) \
  EMU_EXPORT void emu_entry_##number(void** arguments) { emu_call_all(__VA_ARGS__, arguments); }
extern "C" {
extern char __bss_start[] __attribute__((visibility("hidden")));
extern char _end[] __attribute__((visibility("hidden")));
}
#define EMU_MODULE \
  EMU_EXPORT char* emu_statics_begin() { return __bss_start; } \
  EMU_EXPORT char* emu_statics_end() { return _end; }
