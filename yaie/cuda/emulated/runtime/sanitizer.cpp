// What -fsanitize=thread calls for every load, store and atomic of a kernel in check mode.
#include "access.h"

using namespace emu;

extern "C" {

#define TSAN_ACCESS(N)                                                                                                    \
  EXPORT void __tsan_read##N(void* p) { on_access((Address)p, N, kRead, RETURN_ADDRESS, kAligned); }                           \
  EXPORT void __tsan_write##N(void* p) { on_access((Address)p, N, kWrite, RETURN_ADDRESS, kAligned); }                         \
  EXPORT void __tsan_unaligned_read##N(void* p) { on_access((Address)p, N, kRead, RETURN_ADDRESS, kAnyAddress); }                \
  EXPORT void __tsan_unaligned_write##N(void* p) { on_access((Address)p, N, kWrite, RETURN_ADDRESS, kAnyAddress); }              \
  EXPORT void __tsan_volatile_read##N(void* p) { on_volatile((Address)p, N, kRead, RETURN_ADDRESS, kAligned); }                \
  EXPORT void __tsan_volatile_write##N(void* p) { on_volatile((Address)p, N, kWrite, RETURN_ADDRESS, kAligned); }              \
  EXPORT void __tsan_unaligned_volatile_read##N(void* p) { on_volatile((Address)p, N, kRead, RETURN_ADDRESS, kAnyAddress); }     \
  EXPORT void __tsan_unaligned_volatile_write##N(void* p) { on_volatile((Address)p, N, kWrite, RETURN_ADDRESS, kAnyAddress); }   \
  EXPORT void __tsan_read_write##N(void* p) {                                                                             \
    on_access((Address)p, N, kRead, RETURN_ADDRESS, kAligned);                                                                 \
    on_access((Address)p, N, kWrite, RETURN_ADDRESS, kAligned);                                                                \
  }                                                                                                                       \
  EXPORT void __tsan_unaligned_read_write##N(void* p) {                                                                   \
    on_access((Address)p, N, kRead, RETURN_ADDRESS, kAnyAddress);                                                                \
    on_access((Address)p, N, kWrite, RETURN_ADDRESS, kAnyAddress);                                                               \
  }
TSAN_ACCESS(1)
TSAN_ACCESS(2)
TSAN_ACCESS(4)
TSAN_ACCESS(8)
TSAN_ACCESS(16)

static void on_range(void* p, size_t bytes, int kind, Address return_address) {
  if (bytes) on_access((Address)p, static_cast<unsigned>(bytes), kind, return_address, kAnyAddress);
}
EXPORT void __tsan_read_range(void* p, size_t n) { on_range(p, n, kRead, RETURN_ADDRESS); }
EXPORT void __tsan_write_range(void* p, size_t n) { on_range(p, n, kWrite, RETURN_ADDRESS); }
EXPORT void* __tsan_memcpy(void* to, const void* from, size_t n) {
  on_range(const_cast<void*>(from), n, kRead, RETURN_ADDRESS);
  on_range(to, n, kWrite, RETURN_ADDRESS);
  return memcpy(to, from, n);
}
EXPORT void* __tsan_memmove(void* to, const void* from, size_t n) {
  on_range(const_cast<void*>(from), n, kRead, RETURN_ADDRESS);
  on_range(to, n, kWrite, RETURN_ADDRESS);
  return memmove(to, from, n);
}
EXPORT void* __tsan_memset(void* to, int value, size_t n) {
  on_range(to, n, kWrite, RETURN_ADDRESS);
  return memset(to, value, n);
}
// g++ does not report memcpy and its kin, so a checked kernel is linked with --wrap for them.
static void on_bulk(const void* p, size_t bytes, int kind, Address return_address) {
  Engine* e = current_engine;
  auto a = reinterpret_cast<Address>(p);
  if (!bytes) return;
  if (!e) return check_host_access(a, bytes, kind, return_address);
  if (!e->thread || !e->checks) return;
  if (UNLIKELY(e->thread->follows_registers) && is_private(e, a)) note_register_access(e, a, bytes, kind, pc_of(return_address));
  bool is_shared = a - reinterpret_cast<Address>(e->arena) < e->arena_bytes;
  const SharedArray* s = is_shared ? find_array(e, a) : nullptr;
  const Range* r = is_shared || is_private(e, a) ? nullptr : find_range(e, a);
  bool fits = s ? a + bytes <= s->begin + s->bytes : r ? a + bytes <= r->end : !is_shared;
  if (!fits) report_bad_address(e, a, static_cast<unsigned>(bytes), kind, pc_of(return_address));
}
EXPORT void* __wrap_memcpy(void* to, const void* from, size_t n) {
  on_bulk(from, n, kRead, RETURN_ADDRESS);
  on_bulk(to, n, kWrite, RETURN_ADDRESS);
  return memcpy(to, from, n);
}
EXPORT void* __wrap_memmove(void* to, const void* from, size_t n) {
  on_bulk(from, n, kRead, RETURN_ADDRESS);
  on_bulk(to, n, kWrite, RETURN_ADDRESS);
  return memmove(to, from, n);
}
EXPORT void* __wrap_memset(void* to, int value, size_t n) {
  on_bulk(to, n, kWrite, RETURN_ADDRESS);
  return memset(to, value, n);
}
// -fsanitize=return: a function that should return something has come to its end without.
struct ReturnPlace {
  const char* file;
  unsigned line, column;
};
EXPORT void __ubsan_handle_missing_return(const ReturnPlace* place) {
  Site site{place->file, static_cast<int>(place->line), static_cast<int>(place->column)};
  if (current_engine && current_engine->thread) fail_here("missing_return", site, "");
  Finding f{"missing_return"};
  f.kernel = "the launcher (host code)";
  f.place.site = site;
  f.fatal = true;
  add_finding(std::move(f));
  leave_host_call();
}
EXPORT void __tsan_init() {}
EXPORT void __tsan_func_entry(void*) {}
EXPORT void __tsan_func_exit() {}
EXPORT void __tsan_vptr_update(void**, void*) {}
EXPORT void __tsan_vptr_read(void**) {}
EXPORT void __tsan_ignore_thread_begin() {}
EXPORT void __tsan_ignore_thread_end() {}
EXPORT void __tsan_atomic_thread_fence(int) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
EXPORT void __tsan_atomic_signal_fence(int) {}

// std::atomic and the __atomic builtins in device code. The order given is ignored: always the strictest.
#define TSAN_ATOMIC(bits, T)                                                                                              \
  EXPORT T __tsan_atomic##bits##_load(const T* p, int) {                                                                  \
    on_atomic((Address)p, bits / 8, kUpdate, RETURN_ADDRESS);                                                                  \
    return __atomic_load_n(p, __ATOMIC_SEQ_CST);                                                                          \
  }                                                                                                                       \
  EXPORT void __tsan_atomic##bits##_store(T* p, T v, int) {                                                               \
    on_atomic((Address)p, bits / 8, kExchange, RETURN_ADDRESS);                                                        \
    __atomic_store_n(p, v, __ATOMIC_SEQ_CST);                                                                             \
  }                                                                                                                       \
  TSAN_FETCH(bits, T, exchange, __atomic_exchange_n)                                                                      \
  TSAN_FETCH(bits, T, fetch_add, __atomic_fetch_add)                                                                      \
  TSAN_FETCH(bits, T, fetch_sub, __atomic_fetch_sub)                                                                      \
  TSAN_FETCH(bits, T, fetch_and, __atomic_fetch_and)                                                                      \
  TSAN_FETCH(bits, T, fetch_or, __atomic_fetch_or)                                                                        \
  TSAN_FETCH(bits, T, fetch_xor, __atomic_fetch_xor)                                                                      \
  TSAN_COMPARE(bits, T, compare_exchange_strong)                                                                          \
  TSAN_COMPARE(bits, T, compare_exchange_weak)                                                                            \
  EXPORT T __tsan_atomic##bits##_compare_exchange_val(T* p, T expected, T v, int, int) {                                  \
    on_atomic((Address)p, bits / 8, kCompare, RETURN_ADDRESS);                                                                  \
    __atomic_compare_exchange_n(p, &expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                              \
    return expected;                                                                                                      \
  }
#define TSAN_FETCH(bits, T, name, builtin)                                                                                \
  EXPORT T __tsan_atomic##bits##_##name(T* p, T v, int) {                                                                 \
    on_atomic((Address)p, bits / 8, kUpdate, RETURN_ADDRESS);                                                                  \
    return builtin(p, v, __ATOMIC_SEQ_CST);                                                                               \
  }
#define TSAN_COMPARE(bits, T, name)                                                                                       \
  EXPORT bool __tsan_atomic##bits##_##name(T* p, T* expected, T v, int, int) {                                            \
    on_atomic((Address)p, bits / 8, kCompare, RETURN_ADDRESS);                                                                  \
    return __atomic_compare_exchange_n(p, expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                        \
  }
TSAN_ATOMIC(8, uint8_t)
TSAN_ATOMIC(16, uint16_t)
TSAN_ATOMIC(32, uint32_t)
TSAN_ATOMIC(64, uint64_t)

}  // extern "C"
