// One load or store of a kernel in check mode, on its usual way: what each instruction of a kernel runs through.
// The answers that are rare stand in access.cpp.
#pragma once
#include "runtime.h"

namespace emu {

constexpr size_t kLogLimit = 4096;  // accesses of a thread that are kept before its warp must meet

struct Target {  // the array that an access hits
  const std::string* name;
  Address begin;
  size_t bytes;
  unsigned item;
  bool shared, module_data;
};

inline Target target_of(const Range& r) { return {&r.name, r.begin, r.end - r.begin, r.item, false, r.module_data}; }
inline Target target_of(const SharedArray& s) { return {&s.name, s.begin, s.bytes, 0, true, false}; }

Finding pair_finding(Engine* e, const char* kind, const Target& target, const Stamp& now, int access, Address a, unsigned size,
                     const Stamp& earlier, int earlier_access);
// Two accesses that no barrier orders: reports them, unless they are ordered otherwise or do no harm (then false).
bool report_race(Engine* e, const Target& target, const Stamp& now, int kind, Address a, unsigned size, const Stamp& earlier,
                 int earlier_kind, const Readers& readers, SharedArray* shared);

void report_pair(Engine* e, const char* kind, const Target& target, const Stamp& now, int access, Address a, unsigned size,
                 const Stamp& earlier, int earlier_access);
void report_misaligned(Engine* e, Address a, unsigned size, int kind, uint32_t pc, const Target& target);
void report_const_write(Engine* e, Range* r, Address a, unsigned size, int kind, uint32_t pc);
void check_module_data(Engine* e, Address a, unsigned size, int kind, uint32_t pc, Strength strength);
void refine(SharedArray& s, unsigned shift);  // to cells of `1 << shift` bytes
void report_in_flight(Engine* e, SharedArray& s, size_t cell, const Stamp& now, int kind, Address a, unsigned size);
void note_unwritten_read(SharedArray& s, size_t cell, const Stamp& now, int kind, Address a, unsigned size);
void attend(Engine* e, uint32_t pc);  // to what cannot wait: the end of the launch, a store in doubt
// A thread that keeps looking at one place waits for another thread: give it the turn now and then.
void on_spin(Address a, Address return_address);

namespace {  // local to each file that includes this, so that the compiler may shape them for their callers

// ---- races

// The usual answer first: accesses of one block on two sides of a barrier.
inline bool unordered(const Stamp& earlier, const Stamp& now, bool shared) {
  if (LIKELY(earlier.block == now.block)) {
    if ((earlier.barrier_epoch != now.barrier_epoch && earlier.thread < kFirstAgent) || earlier.thread == now.thread) return false;
    if (earlier.thread / kLanes == now.thread / kLanes && earlier.warp_epoch != now.warp_epoch) return false;
    return !(earlier.order & now.order & kAtomicStrength);
  }
  if (shared || earlier.block < session.first_stamp) return false;
  return !(earlier.order & now.order & kAtomicStrength);
}

inline void remember_reader(Readers& readers, const Stamp& now) {
  if (readers.last.thread != now.thread || readers.last.block != now.block) readers.other = readers.last;
  readers.last = now;
}

template <class Array>
inline __attribute__((always_inline)) void check_race(Engine* e, Array& array, Stamp& write, Readers& readers,
                                                      bool was_read, const Stamp& now, int kind, Address a, unsigned size) {
  constexpr bool shared = std::is_same<Array, SharedArray>::value;
  SharedArray* where = nullptr;
  if constexpr (shared) where = &array;
  auto is_race = [&](const Stamp& earlier, int access) {
    return UNLIKELY(unordered(earlier, now, shared)) &&
           report_race(e, target_of(array), now, kind, a, size, earlier, access, readers, where);
  };
  if (!is_race(write, kWrite) && kind != kRead && was_read && !is_race(readers.last, kRead)) is_race(readers.other, kRead);
  if (kind == kRead) remember_reader(readers, now);
  else write = now;
}

inline void check_global_race(Engine* e, Range* r, const Stamp& now, int kind, Address a, unsigned size) {
  if (UNLIKELY(!r->shadow.writes)) return;
  if (UNLIKELY(size < 1u << r->shadow.shift)) attach_shadow(r, shift_for(size));
  Shadow& s = r->shadow;
  if (kind == kRead) s.was_read = true;
  size_t last = (a + size - 1 - r->begin) >> s.shift;
  for (size_t i = (a - r->begin) >> s.shift; i <= last; ++i) {
    check_race(e, *r, s.writes[i], s.reads[i], s.was_read, now, kind, a, size);
  }
}

inline void check_shared_cells(Engine* e, SharedArray& s, const Stamp& now, int kind, Address a, unsigned size,
                               bool takes_old = true) {
  if (UNLIKELY(size < 1u << s.shift)) refine(s, shift_for(size));
  size_t last = (a + size - 1 - s.begin) >> s.shift;
  for (size_t i = (a - s.begin) >> s.shift; i <= last; ++i) {
    if (UNLIKELY(e->in_flight_copies) && s.in_flight[i]) {
      report_in_flight(e, s, i, now, kind, a, size);
      if (kind == kRead) continue;
    }
    // A racing read that runs before its write looks uninitialised; the barrier decides (settle_unwritten_reads).
    bool unset = kind != kWrite && UNLIKELY(s.writes[i].block != e->block_stamp);
    if (unset && takes_old) note_unwritten_read(s, i, now, kind, a, size);
    if (!unset || kind != kRead) check_race(e, s, s.writes[i], s.reads[i], true, now, kind, a, size);
  }
}

// ---- every access

inline SharedArray* find_array(Engine* e, Address a) {
  for (size_t i = 0; i < e->num_arrays; ++i) {
    if (a - e->arrays[i].begin < e->arrays[i].bytes) return e->last_array = &e->arrays[i];
  }
  return nullptr;
}

inline Range* find_range(Engine* e, Address a) {
  for (auto& r : session.ranges) {
    if (a - r.begin < r.end - r.begin && !r.module_data) return e->last_range = &r;
  }
  return nullptr;
}

inline bool is_private(Engine* e, Address a) {  // this thread's stack, or the kernel's arguments
  Fiber* f = e->fiber;
  return a - reinterpret_cast<Address>(f->low) < static_cast<Address>(f->high - f->low) ||
         a - session.argument_begin < kPage;
}

inline Stamp stamp_of(Engine* e, uint32_t pc, Strength strength) {
  Thread* t = e->thread;
  return {e->block_stamp, pc, static_cast<uint16_t>(t->index), e->barrier_epoch, t->warp_epoch,
          static_cast<uint16_t>(t->fences << 2 | strength), t->tick};
}

inline bool is_vector_size(unsigned size) { return size <= 16 && !(size & (size - 1)); }

inline __attribute__((always_inline)) void log_access(Engine* e, Address a, unsigned size, Space space, int kind, uint32_t pc) {
  auto& log = e->thread->log;
  log.push_back({a, pc, static_cast<uint16_t>(size), space, static_cast<uint8_t>(kind)});
  if (UNLIKELY(log.size() >= kLogLimit)) log_is_full(e);
}

// How an access is made, beyond its kind: a Strength in the lower two bits, and
enum How : unsigned { kAnyAddress = 0, kAligned = 4, kIgnoresOld = 8 };  // kIgnoresOld: an atomic that only replaces
inline Strength strength_of(unsigned how) { return static_cast<Strength>(how & 3); }

inline void on_shared(Engine* e, Address a, unsigned size, int kind, uint32_t pc, unsigned how) {
  SharedArray* s = e->last_array;
  if (UNLIKELY(a - s->begin >= s->bytes)) s = find_array(e, a);
  if (UNLIKELY(!s || a + size > s->begin + s->bytes)) report_bad_address(e, a, size, kind, pc);
  if (UNLIKELY((how & kAligned) && (a & (size - 1)) && is_vector_size(size))) {
    report_misaligned(e, a, size, kind, pc, {&s->name, s->begin, s->bytes, 0, true, false});
  }
  if (e->checks & kRaces) check_shared_cells(e, *s, stamp_of(e, pc, strength_of(how)), kind, a, size, !(how & kIgnoresOld));
  if (e->checks & kCounters) log_access(e, a, size, Space::kShared, kind, pc);
}

inline __attribute__((always_inline)) void on_access(Address a, unsigned size, int kind, Address return_address,
                                                     unsigned how) {
  Engine* e = current_engine;
  if (UNLIKELY(!e)) return check_host_access(a, size, kind, return_address);
  if (!e->thread || !e->checks) return;
  uint32_t pc = pc_of(return_address);
  if (UNLIKELY(e->attention)) attend(e, pc);
  if (a - reinterpret_cast<Address>(e->arena) < e->arena_bytes) {
    ++e->events;
    return on_shared(e, a, size, kind, pc, how);
  }
  Range* r = e->last_range;
  if (UNLIKELY(a - r->begin >= r->end - r->begin)) {
    if (is_private(e, a)) {
      if (UNLIKELY(e->thread->follows_registers)) note_register_access(e, a, size, kind, pc);
      return;
    }
    if (a - session.module_begin < session.module_end - session.module_begin) return check_module_data(e, a, size, kind, pc, strength_of(how));
    r = find_range(e, a);
    if (UNLIKELY(!r)) report_bad_address(e, a, size, kind, pc);
  }
  ++e->events;
  if (UNLIKELY(a + size > r->end)) report_bad_address(e, a, size, kind, pc);
  if (UNLIKELY((how & kAligned) && (a & (size - 1)) && is_vector_size(size))) {
    report_misaligned(e, a, size, kind, pc, {&r->name, r->begin, r->end - r->begin, r->item, false, false});
  }
  if (UNLIKELY(r->read_only && kind != kRead)) report_const_write(e, r, a, size, kind, pc);
  // Nobody can write a read-only tensor, so its readers need no shadow.
  if ((e->checks & kRaces) && !r->read_only) check_global_race(e, r, stamp_of(e, pc, strength_of(how)), kind, a, size);
  if (e->checks & kCounters) log_access(e, a, size, Space::kGlobal, kind, pc);
}

// An access by which threads may tell each other something. It sees what the last one told, and tells on.
inline __attribute__((always_inline)) void on_strong_access(Address a, unsigned size, int kind, Address return_address,
                                                            unsigned how) {
  Engine* e = current_engine;
  bool checked = e && e->thread && e->checks;
  if (checked && kind != kWrite) acquire_flag(e, a);
  on_access(a, size, kind, return_address, how);
  if (checked && kind != kRead) release_flag(e, a, kind == kAtomic);
}

inline __attribute__((always_inline)) void on_volatile(Address a, unsigned size, int kind, Address return_address,
                                                       unsigned how) {
  on_strong_access(a, size, kind, return_address, how | kVolatile);
  if (kind == kRead) on_spin(a, return_address);
}

inline __attribute__((always_inline)) void on_atomic(Address a, unsigned size, AtomicOp op, Address return_address) {
  on_strong_access(a, size, kAtomic, return_address, kAligned | kAtomicStrength | (op == kExchange ? kIgnoresOld : 0u));
  if (op == kCompare && current_engine && current_engine->thread) forgive_first_read(current_engine, a, size);
  on_spin(a, return_address);
}

}  // namespace
}  // namespace emu

#define RETURN_ADDRESS reinterpret_cast<emu::Address>(__builtin_return_address(0))
