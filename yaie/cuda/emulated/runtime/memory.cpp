// Device memory, shared memory, and every load and store of a kernel in check mode.
#include <cxxabi.h>
#include <dlfcn.h>
#include <sys/mman.h>

#include "runtime.h"

namespace emu {

Session session;

namespace {

constexpr size_t kArena = 512 << 10;
constexpr size_t kGuard = 1 << 20;            // unreadable bytes on each side of a tensor
constexpr size_t kLogLimit = 4096;            // accesses of a thread that are kept before its warp must meet
constexpr size_t kKeptBytes = 512 << 20;      // freed pages kept for the next call, which would have to fault them in

// ---- pages that are kept from call to call

struct Pages {
  char* memory;
  size_t bytes;
};
std::vector<Pages> spare_shadows, used_shadows;

void* take_zero_pages(size_t bytes) {
  auto fits = [&](const Pages& p) { return p.bytes >= bytes && p.bytes <= 4 * bytes + kPage; };
  auto it = std::find_if(spare_shadows.begin(), spare_shadows.end(), fits);
  if (it != spare_shadows.end()) {
    used_shadows.push_back(*it);
    spare_shadows.erase(it);
  } else {
    void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return nullptr;
    used_shadows.push_back({static_cast<char*>(p), bytes});
  }
  return used_shadows.back().memory;
}

// Old stamps carry old block numbers, so pages are handed on without clearing them.
void release_shadows() {
  for (auto& p : used_shadows) spare_shadows.push_back(p);
  used_shadows.clear();
  size_t total = 0;
  for (auto& p : spare_shadows) total += p.bytes;
  while (total > kKeptBytes) {
    total -= spare_shadows.back().bytes;
    munmap(spare_shadows.back().memory, spare_shadows.back().bytes);
    spare_shadows.pop_back();
  }
}

void attach_shadow(Range* r, unsigned shift) {
  Shadow& s = r->shadow;
  s = Shadow{};
  s.shift = shift;
  s.cells = ((r->end - r->begin) >> shift) + 2;
  s.writes = static_cast<Stamp*>(take_zero_pages(s.cells * sizeof(Stamp)));
  s.reads = static_cast<Readers*>(take_zero_pages(s.cells * sizeof(Readers)));
  if (!s.writes || !s.reads) s = Shadow{};
}

unsigned shift_for(unsigned item) { return item == 1 ? 0 : item == 2 ? 1 : 2; }

// ---- races

// The usual answer first: accesses of one block on two sides of a barrier.
inline bool unordered(const Stamp& earlier, const Stamp& now, bool shared) {
  if (LIKELY(earlier.block == now.block)) {
    if (earlier.barrier_epoch != now.barrier_epoch || earlier.thread == now.thread) return false;
    if (earlier.thread / kLanes == now.thread / kLanes && earlier.warp_epoch != now.warp_epoch) return false;
    return !(earlier.atomic && now.atomic);
  }
  if (shared || earlier.block < session.first_stamp) return false;
  return !session.fenced && !(earlier.atomic && now.atomic);
}

Place place_of(Engine* e, const Stamp& stamp, int access) {
  Place p;
  p.block = block_index_of(e->job, stamp.block - session.first_stamp);
  p.thread = thread_index_of(e->job, stamp.thread);
  p.pc = stamp.pc;
  p.access = stamp.atomic ? kAtomic : access;
  return p;
}

std::string variable_at(Address address) {
  Dl_info info;
  if (!dladdr(reinterpret_cast<void*>(address), &info) || !info.dli_sname) return "a __device__ variable";
  int status = 0;
  char* plain = abi::__cxa_demangle(info.dli_sname, nullptr, nullptr, &status);
  std::string name = plain ? plain : info.dli_sname;
  free(plain);
  return name;
}

struct Target {  // the array that an access hits
  const std::string* name;
  Address begin;
  size_t bytes;
  unsigned item;
  bool shared, module_data;
};

Target target_of(const Range& r) { return {&r.name, r.begin, r.end - r.begin, r.item, false, r.module_data}; }
Target target_of(const SharedArray& s) { return {&s.name, s.begin, s.bytes, 0, true, false}; }

Finding finding_about(Engine* e, const char* kind, const Target& target, const Stamp& now, int access, Address a, unsigned size) {
  Finding f{kind};
  f.place = place_of(e, now, access);
  f.size = size;
  f.array = target.module_data ? variable_at(a) : *target.name;
  f.offset = static_cast<long>(a - target.begin);
  f.array_bytes = target.bytes;
  f.item = target.item ? target.item : size;
  f.shared = target.shared;
  if (target.module_data) f.array_bytes = 0;
  return f;
}

__attribute__((noinline, cold)) void report_pair(Engine* e, const char* kind, const Target& target, const Stamp& now,
                                                 int access, Address a, unsigned size, const Stamp& earlier,
                                                 int earlier_access) {
  Finding f = finding_about(e, kind, target, now, access, a, size);
  f.other = place_of(e, earlier, earlier_access);
  f.has_other = true;
  add_finding(std::move(f));
}

inline void remember_reader(Readers& readers, const Stamp& now) {
  if (readers.last.thread != now.thread || readers.last.block != now.block) readers.other = readers.last;
  readers.last = now;
}

template <class Array>
inline __attribute__((always_inline)) void check_race(Engine* e, const Array& array, Stamp& write, Readers& readers,
                                                      bool was_read, const Stamp& now, int kind, Address a, unsigned size) {
  constexpr bool shared = std::is_same<Array, SharedArray>::value;
  auto report = [&](const Stamp& earlier, int access) {
    report_pair(e, "race", target_of(array), now, kind, a, size, earlier, access);
  };
  if (UNLIKELY(unordered(write, now, shared))) {
    report(write, kWrite);
  } else if (kind != kRead && was_read) {
    if (UNLIKELY(unordered(readers.last, now, shared))) report(readers.last, kRead);
    else if (UNLIKELY(unordered(readers.other, now, shared))) report(readers.other, kRead);
  }
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

// ---- shared memory

void refine(SharedArray& s, unsigned shift) {
  std::vector<Stamp> writes((s.bytes >> shift) + 2);
  std::vector<Readers> reads(writes.size());
  std::vector<uint32_t> in_flight(writes.size());
  unsigned coarser = s.shift - shift;
  for (size_t i = 0; i < writes.size() && i >> coarser < s.writes.size(); ++i) {
    writes[i] = s.writes[i >> coarser];
    reads[i] = s.reads[i >> coarser];
    in_flight[i] = s.in_flight[i >> coarser];
  }
  s.writes.swap(writes);
  s.reads.swap(reads);
  s.in_flight.swap(in_flight);
  for (auto& u : s.unwritten_reads) u.cell <<= coarser;
  s.shift = shift;
  session.shared_shifts[s.name] = shift;
}

__attribute__((noinline, cold)) void report_in_flight(Engine* e, SharedArray& s, size_t cell, const Stamp& now, int kind,
                                                     Address a, unsigned size) {
  Stamp copy = s.writes[cell];
  copy.pc = s.in_flight[cell];
  report_pair(e, "cp_async_not_waited", target_of(s), now, kind, a, size, copy, kWrite);
}

__attribute__((noinline)) void note_unwritten_read(SharedArray& s, size_t cell, const Stamp& now, Address a, unsigned size) {
  if (s.unwritten_reads.size() < 100000) {
    s.unwritten_reads.push_back({cell, now.pc, now.thread, size, static_cast<size_t>(a - s.begin)});
  }
  remember_reader(s.reads[cell], now);
}

inline void check_shared_cells(Engine* e, SharedArray& s, const Stamp& now, int kind, Address a, unsigned size) {
  if (UNLIKELY(size < 1u << s.shift)) refine(s, shift_for(size));
  size_t last = (a + size - 1 - s.begin) >> s.shift;
  for (size_t i = (a - s.begin) >> s.shift; i <= last; ++i) {
    if (UNLIKELY(e->in_flight_copies) && s.in_flight[i]) {
      report_in_flight(e, s, i, now, kind, a, size);
      if (kind == kRead) continue;
    }
    // A racing read that runs before its write looks uninitialised; the barrier decides (settle_unwritten_reads).
    if (kind == kRead && UNLIKELY(s.writes[i].block != e->block_stamp)) note_unwritten_read(s, i, now, a, size);
    else check_race(e, s, s.writes[i], s.reads[i], true, now, kind, a, size);
  }
}

SharedArray* find_array(Engine* e, Address a) {
  for (size_t i = 0; i < e->num_arrays; ++i) {
    if (a - e->arrays[i].begin < e->arrays[i].bytes) return e->last_array = &e->arrays[i];
  }
  return nullptr;
}

SharedArray* add_array(Engine* e, const void* key, size_t bytes, size_t align, const char* name) {
  size_t start = (e->arena_used + align - 1) / align * align;
  if (start + bytes + kRedZone > e->arena_bytes) return nullptr;
  e->arena_used = start + (bytes + 127) / 128 * 128 + kRedZone;
  SharedArray& s = e->arrays[e->num_arrays++];
  s.begin = reinterpret_cast<Address>(e->arena) + start;
  s.bytes = bytes;
  s.key = key;
  s.name = name;
  s.unwritten_reads.clear();
  memset(reinterpret_cast<void*>(s.begin), 0xff, bytes);
  if (session.checks) {
    session.shared_layout[name] = {s.begin, bytes};
    auto known = session.shared_shifts.find(s.name);
    s.shift = known == session.shared_shifts.end() ? 2 : known->second;
    size_t cells = (bytes >> s.shift) + 2;
    s.writes.assign(cells, Stamp{});
    s.reads.assign(cells, Readers{});
    s.in_flight.assign(cells, 0);
  }
  return &s;
}

// ---- every access

Range* find_range(Engine* e, Address a) {
  for (auto& r : session.ranges) {
    if (a - r.begin < r.end - r.begin && !r.module_data) return e->last_range = &r;
  }
  return nullptr;
}

bool is_private(Engine* e, Address a) {  // this thread's stack, or the kernel's arguments
  Fiber* f = e->fiber;
  return a - reinterpret_cast<Address>(f->low) < static_cast<Address>(f->high - f->low) ||
         a - session.argument_begin < kPage;
}

Stamp stamp_of(Engine* e, uint32_t pc, int kind) {
  Thread* t = e->thread;
  return {e->block_stamp, pc, static_cast<uint16_t>(t->index), e->barrier_epoch, t->warp_epoch, kind == kAtomic};
}

void check_module_data(Engine* e, Address a, unsigned size, int kind, uint32_t pc) {
  if (!(e->checks & kRaces) || a - session.data_begin >= session.data_end - session.data_begin) return;
  for (auto& r : session.ranges) {
    if (r.module_data && a - r.begin < r.end - r.begin) check_global_race(e, &r, stamp_of(e, pc, kind), kind, a, size);
  }
}

__attribute__((noinline)) void report_misaligned(Engine* e, Address a, unsigned size, int kind, uint32_t pc, const Target& t) {
  Finding f = finding_about(e, "misaligned", t, stamp_of(e, pc, kind), kind, a, size);
  f.detail = format("a %u-byte access needs an address that is a multiple of %u; this one is %u past such an address", size,
                    size, static_cast<unsigned>(a & (size - 1)));
  fail(std::move(f));
}

__attribute__((noinline)) void report_const_write(Engine* e, Range* r, Address a, unsigned size, int kind, uint32_t pc) {
  Target target{&r->name, r->begin, r->end - r->begin, r->item, false, false};
  fail(finding_about(e, "const_write", target, stamp_of(e, pc, kind), kind, a, size));
}

bool is_vector_size(unsigned size) { return size <= 16 && !(size & (size - 1)); }

inline __attribute__((always_inline)) void log_access(Engine* e, Address a, unsigned size, Space space, int kind, uint32_t pc) {
  auto& log = e->thread->log;
  log.push_back({a, pc, static_cast<uint16_t>(size), space, static_cast<uint8_t>(kind)});
  if (UNLIKELY(log.size() >= kLogLimit)) log_is_full(e);
}

void on_shared(Engine* e, Address a, unsigned size, int kind, uint32_t pc, bool aligned) {
  SharedArray* s = e->last_array;
  if (UNLIKELY(a - s->begin >= s->bytes)) s = find_array(e, a);
  if (UNLIKELY(!s || a + size > s->begin + s->bytes)) report_bad_address(e, a, size, kind, pc);
  if (UNLIKELY(aligned && (a & (size - 1)) && is_vector_size(size))) {
    report_misaligned(e, a, size, kind, pc, {&s->name, s->begin, s->bytes, 0, true, false});
  }
  if (e->checks & kRaces) check_shared_cells(e, *s, stamp_of(e, pc, kind), kind, a, size);
  if (e->checks & kCounters) log_access(e, a, size, Space::kShared, kind, pc);
}

inline __attribute__((always_inline)) void on_access(Address a, unsigned size, int kind, Address return_address, bool aligned) {
  Engine* e = current_engine;
  if (!e || !e->thread || !e->checks) return;
  uint32_t pc = pc_of(return_address);
  if (UNLIKELY(e->stop_requested)) sample_or_stop(e, pc, Site{});
  if (a - reinterpret_cast<Address>(e->arena) < e->arena_bytes) {
    ++e->events;
    return on_shared(e, a, size, kind, pc, aligned);
  }
  Range* r = e->last_range;
  if (UNLIKELY(a - r->begin >= r->end - r->begin)) {
    if (is_private(e, a)) return;
    if (a - session.module_begin < session.module_end - session.module_begin) return check_module_data(e, a, size, kind, pc);
    r = find_range(e, a);
    if (UNLIKELY(!r)) report_bad_address(e, a, size, kind, pc);
  }
  ++e->events;
  if (UNLIKELY(a + size > r->end)) report_bad_address(e, a, size, kind, pc);
  if (UNLIKELY(aligned && (a & (size - 1)) && is_vector_size(size))) {
    report_misaligned(e, a, size, kind, pc, {&r->name, r->begin, r->end - r->begin, r->item, false, false});
  }
  if (UNLIKELY(r->read_only && kind != kRead)) report_const_write(e, r, a, size, kind, pc);
  // Nobody can write a read-only tensor, so its readers need no shadow.
  if ((e->checks & kRaces) && !r->read_only) check_global_race(e, r, stamp_of(e, pc, kind), kind, a, size);
  if (e->checks & kCounters) log_access(e, a, size, Space::kGlobal, kind, pc);
}

// A thread that keeps looking at one place waits for another thread: give it the turn now and then.
void on_spin(Address a, Address return_address) {
  Engine* e = current_engine;
  if (!e || !e->thread) return;
  Thread* t = e->thread;
  if (t->spin_address != a) t->spin_address = a, t->spins = 0;
  if (++t->spins % 32) return;
  if (UNLIKELY(e->stop_requested)) sample_or_stop(e, pc_of(return_address), Site{});
  yield_turn(e);
}

// ---- guarded memory: tensors are copied into pages that end at an unreadable page

struct Guarded {
  char* mapping;
  size_t body, bytes;
  std::string device_name;  // not empty: cudaMalloc'd by a launcher, lives until cudaFree
};
std::map<Address, Guarded> guarded;
std::vector<Pages> spare_bodies;

char* take_guarded_pages(size_t body) {
  auto it = std::find_if(spare_bodies.begin(), spare_bodies.end(), [&](const Pages& p) { return p.bytes == body; });
  if (it != spare_bodies.end()) {
    char* mapping = it->memory;
    spare_bodies.erase(it);
    mprotect(mapping + kGuard, body, PROT_READ | PROT_WRITE);
    return mapping;
  }
  void* p = mmap(nullptr, body + 2 * kGuard, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) return nullptr;
  auto* mapping = static_cast<char*>(p);
  mprotect(mapping + kGuard, body, PROT_READ | PROT_WRITE);
  return mapping;
}

void keep_or_unmap(char* mapping, size_t body) {
  size_t total = body;
  for (auto& p : spare_bodies) total += p.bytes;
  if (total <= kKeptBytes && spare_bodies.size() < 64) spare_bodies.push_back({mapping, body});
  else munmap(mapping, body + 2 * kGuard);
}

void add_range(Address begin, size_t bytes, const char* name, unsigned item, bool read_only, bool module_data) {
  session.ranges.push_back({begin, begin + bytes, name, item, read_only, module_data, {}, {}});
  Range& r = session.ranges.back();
  if ((session.checks & kRaces) && !read_only) attach_shadow(&r, shift_for(item));
}

}  // namespace

Index3 thread_index_of(const Job* job, unsigned t) {
  Index3 b = job->request->block;
  return {t % b.x, t / b.x % b.y, t / (b.x * b.y)};
}
Index3 block_index_of(const Job* job, long block) {
  Index3 g = job->request->grid;
  return {static_cast<unsigned>(block % g.x), static_cast<unsigned>(block / g.x % g.y),
          static_cast<unsigned>(block / (long(g.x) * g.y))};
}

void begin_memory() {
  release_shadows();
  session.ranges.clear();
  for (auto& g : guarded) {
    if (!g.second.device_name.empty()) add_range(g.first, g.second.bytes, g.second.device_name.c_str(), 0, false, false);
  }
}

void watch_module_data() {
  session.ranges.erase(std::remove_if(session.ranges.begin(), session.ranges.end(), [](Range& r) { return r.module_data; }),
                       session.ranges.end());
  if (session.data_end > session.data_begin) {
    add_range(session.data_begin, session.data_end - session.data_begin, "", 4, false, true);
  }
}

void create_arena(Engine* e) {
  e->arena_bytes = kArena;
  auto* p = static_cast<char*>(mmap(nullptr, kArena + 2 * kGuard, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  e->arena = p + kGuard;
  mprotect(e->arena, kArena, PROT_READ | PROT_WRITE);
}

void reset_shared(Engine* e, size_t dynamic_bytes) {
  e->arrays.resize(256);
  e->num_arrays = e->arena_used = 0;
  e->last_array = &e->arrays[0];
  add_array(e, e, dynamic_bytes, 1024, "the dynamic shared memory");
}

// Poison: NaN for floats, -1 for integers.
void start_block_memory(Engine* e) {
  memset(e->arena, 0xff, e->arena_used);
}

void settle_unwritten_reads(Engine* e) {
  for (size_t i = 0; i < e->num_arrays; ++i) {
    SharedArray& s = e->arrays[i];
    for (auto& u : s.unwritten_reads) {
      const Stamp& write = s.writes[u.cell];
      if (write.block == e->block_stamp && write.thread != u.thread) continue;  // reported as a race
      Stamp stamp{e->block_stamp, u.pc, static_cast<uint16_t>(u.thread), 0, 0, false};
      Target target{&s.name, s.begin, s.bytes, 0, true, false};
      add_finding(finding_about(e, "uninitialised", target, stamp, kRead, s.begin + u.offset, u.size));
    }
    s.unwritten_reads.clear();
  }
}

void report_bad_address(Engine* e, Address a, unsigned size, int kind, uint32_t pc) {
  Finding f{"out_of_bounds"};
  f.place.block = e->block;
  f.place.thread = e->thread->index3;
  f.place.pc = pc;
  f.place.access = kind;
  f.size = size;
  if (a - reinterpret_cast<Address>(e->arena) < e->arena_bytes) {
    f.shared = true;
    SharedArray* s = &e->arrays[0];
    for (size_t i = 1; i < e->num_arrays; ++i) {
      if (e->arrays[i].begin <= a && (!s->bytes || e->arrays[i].begin > s->begin)) s = &e->arrays[i];
    }
    f.array = s->name;
    f.array_bytes = s->bytes;
    f.offset = static_cast<long>(a - s->begin);
    f.item = size;
    if (!s->bytes) f.detail = "the launch asked for no dynamic shared memory (third argument of <<< >>>)";
    fail(std::move(f));
  }
  Range* nearest = nullptr;
  Address best = 16u << 20;
  for (auto& r : session.ranges) {
    if (r.module_data) continue;
    Address distance = a < r.begin ? r.begin - a : a + size > r.end ? a + size - r.end : 0;
    if (distance < best) best = distance, nearest = &r;
  }
  if (nearest) {
    f.array = nearest->name;
    f.array_bytes = nearest->end - nearest->begin;
    f.offset = static_cast<long>(a - nearest->begin);
    f.item = nearest->item ? nearest->item : size;
  } else {
    f.detail = format("address 0x%zx belongs to no tensor passed to the launcher%s", static_cast<size_t>(a),
                      a < 65536 ? ": a null pointer" : "");
  }
  fail(std::move(f));
}

// ---- cp.async

static void mark_in_flight(Engine* e, Address a, unsigned bytes, uint32_t pc) {
  SharedArray* s = find_array(e, a);
  if (!s || s->in_flight.empty()) return;
  size_t last = (a + bytes - 1 - s->begin) >> s->shift;
  for (size_t i = (a - s->begin) >> s->shift; i <= last; ++i) s->in_flight[i] = pc;
}

static void land(Engine* e, const AsyncCopy& copy) {
  auto to = reinterpret_cast<Address>(copy.to);
  --e->in_flight_copies;
  if (e->checks & kRaces) {
    mark_in_flight(e, to, copy.bytes, 0);
    check_shared_cells(e, *find_array(e, to), stamp_of(e, copy.pc, kWrite), kWrite, to, copy.bytes);
  }
  memcpy(copy.to, copy.from, copy.source_bytes);
  memset(static_cast<char*>(copy.to) + copy.source_bytes, 0, copy.bytes - copy.source_bytes);
}

void drop_copies(Engine* e, Thread* t) {
  for (auto& copy : t->copies) {
    --e->in_flight_copies;
    if (e->checks & kRaces) mark_in_flight(e, reinterpret_cast<Address>(copy.to), copy.bytes, 0);
  }
  t->copies.clear();
}

}  // namespace emu

using namespace emu;

#define RETURN_ADDRESS reinterpret_cast<Address>(__builtin_return_address(0))

EXPORT void emu_cp_async(void* shared, const void* global, unsigned bytes, unsigned source_bytes) {
  Engine* e = current_engine;
  auto to = reinterpret_cast<Address>(shared), from = reinterpret_cast<Address>(global);
  Address return_address = RETURN_ADDRESS;
  source_bytes = std::min(source_bytes, bytes);
  if (to - reinterpret_cast<Address>(e->arena) >= e->arena_bytes) {
    report_bad_address(e, to, bytes, kWrite, pc_of(return_address));
  }
  if (e->checks) {
    if (source_bytes) on_access(from, source_bytes, kRead, return_address, false);
    if (from & (bytes - 1) && source_bytes) {
      std::string name = "the source of cp.async";
      report_misaligned(e, from, bytes, kRead, pc_of(return_address), {&name, from, 0, 0, false, false});
    }
    on_access(to, bytes, kWrite, return_address, true);
    if (e->checks & kRaces) mark_in_flight(e, to, bytes, pc_of(return_address));
  }
  ++e->in_flight_copies;
  e->thread->copies.push_back({shared, global, bytes, source_bytes, e->thread->copy_group, pc_of(return_address)});
}

EXPORT void emu_cp_async_commit() { ++current_engine->thread->copy_group; }

EXPORT void emu_cp_async_wait(unsigned groups_left) {
  Engine* e = current_engine;
  Thread* t = e->thread;
  std::vector<AsyncCopy> pending;
  for (auto& copy : t->copies) {
    if (copy.group + groups_left < t->copy_group) land(e, copy);
    else pending.push_back(copy);
  }
  t->copies.swap(pending);
}

EXPORT void emu_ldmatrix(uint32_t* registers, const void* row, int matrices, bool transposed, Site site) {
  Engine* e = current_engine;
  auto address = reinterpret_cast<Address>(row);
  if (e->checks && emu_lane() < 8u * unsigned(matrices)) on_access(address, 16, kRead, RETURN_ADDRESS, true);
  gather_matrices(registers, row, matrices, transposed, site);
}

EXPORT void emu_note_atomic(const void* p, unsigned bytes) {
  on_access(reinterpret_cast<Address>(p), bytes, kAtomic, RETURN_ADDRESS, true);
  on_spin(reinterpret_cast<Address>(p), RETURN_ADDRESS);
}

EXPORT void* emu_dynamic_shared(const char* name) {
  Engine* e = current_engine;
  if (!e || !e->thread) return nullptr;
  if (session.checks && e->arrays[0].name != name) {
    e->arrays[0].name = name;
    session.shared_layout[name] = {e->arrays[0].begin, e->arrays[0].bytes};
  }
  return reinterpret_cast<void*>(e->arrays[0].begin);
}

EXPORT void* emu_static_shared(const void* key, size_t bytes, size_t align, const char* name, Site site) {
  Engine* e = current_engine;
  if (!e || !e->thread) return nullptr;
  size_t used = bytes;
  for (size_t i = 0; i < e->num_arrays; ++i) {
    if (e->arrays[i].key == key) return reinterpret_cast<void*>(e->arrays[i].begin);
    if (i) used += e->arrays[i].bytes;
  }
  bool fits = used <= 49152 && e->num_arrays < e->arrays.size();
  SharedArray* s = fits ? add_array(e, key, bytes, std::max<size_t>(align, 16), name) : nullptr;
  if (!s) {
    fail_here("bad_launch", site, format("`%s` brings the static __shared__ arrays to %zu bytes; the limit is 48 KiB (49152), "
                                         "more needs extern __shared__", name, used));
  }
  return reinterpret_cast<void*>(s->begin);
}

// ---- memory for launchers and for Python

extern "C" {

EXPORT void* emu_guarded_alloc(size_t bytes, size_t align) {
  size_t body = std::max(kPage, (bytes + align + kPage - 1) / kPage * kPage);
  char* mapping = take_guarded_pages(body);
  if (!mapping) return nullptr;
  auto end = reinterpret_cast<Address>(mapping + kGuard + body);
  Address p = (end - bytes) / align * align;
  guarded[p] = {mapping, body, bytes, ""};
  return reinterpret_cast<void*>(p);
}

EXPORT bool emu_guarded_free(void* pointer) {
  auto it = guarded.find(reinterpret_cast<Address>(pointer));
  if (it == guarded.end()) return false;
  keep_or_unmap(it->second.mapping, it->second.body);
  guarded.erase(it);
  return true;
}

EXPORT void emu_guarded_protect(void* pointer) {
  auto& g = guarded[reinterpret_cast<Address>(pointer)];
  mprotect(g.mapping + kGuard, g.body, PROT_READ);
}

EXPORT void emu_register(void* pointer, size_t bytes, const char* name, unsigned item, bool read_only) {
  add_range(reinterpret_cast<Address>(pointer), bytes, name, item, read_only, false);
}

EXPORT void* emu_device_malloc(size_t bytes, const char* name) {
  void* p = emu_guarded_alloc(std::max<size_t>(bytes, 1), 256);
  if (!p) return nullptr;
  guarded[reinterpret_cast<Address>(p)].device_name = name;
  memset(p, 0xff, bytes);
  add_range(reinterpret_cast<Address>(p), bytes, name, 0, false, false);
  return p;
}

EXPORT bool emu_device_free(void* pointer) {
  if (!pointer) return true;
  auto begin = reinterpret_cast<Address>(pointer);
  session.ranges.erase(std::remove_if(session.ranges.begin(), session.ranges.end(), [&](Range& r) { return r.begin == begin; }),
                       session.ranges.end());
  return emu_guarded_free(pointer);
}

static void check_host_copy(const void* p, size_t bytes, const char* what) {
  auto a = reinterpret_cast<Address>(p);
  for (auto& r : session.ranges) {
    if (r.module_data || a - r.begin >= r.end - r.begin || a + bytes <= r.end) continue;
    Finding f{"out_of_bounds"};
    f.kernel = what;
    f.array = r.name;
    f.array_bytes = r.end - r.begin;
    f.offset = static_cast<long>(a - r.begin);
    f.item = std::max(r.item, 1u);
    f.size = static_cast<unsigned>(bytes);
    f.fatal = true;
    add_finding(std::move(f));
  }
}

EXPORT void emu_copy(void* to, const void* from, size_t bytes) {
  check_host_copy(to, bytes, "cudaMemcpy");
  check_host_copy(from, bytes, "cudaMemcpy");
  if (!session.error) memmove(to, from, bytes);
}

EXPORT void emu_fill(void* to, int value, size_t bytes) {
  check_host_copy(to, bytes, "cudaMemset");
  if (!session.error) memset(to, value, bytes);
}

// ---- what -fsanitize=thread calls

#define TSAN_ACCESS(N)                                                                                                    \
  EXPORT void __tsan_read##N(void* p) { on_access((Address)p, N, kRead, RETURN_ADDRESS, true); }                           \
  EXPORT void __tsan_write##N(void* p) { on_access((Address)p, N, kWrite, RETURN_ADDRESS, true); }                         \
  EXPORT void __tsan_unaligned_read##N(void* p) { on_access((Address)p, N, kRead, RETURN_ADDRESS, false); }                \
  EXPORT void __tsan_unaligned_write##N(void* p) { on_access((Address)p, N, kWrite, RETURN_ADDRESS, false); }              \
  EXPORT void __tsan_volatile_read##N(void* p) {                                                                          \
    on_access((Address)p, N, kRead, RETURN_ADDRESS, true);                                                                 \
    on_spin((Address)p, RETURN_ADDRESS);                                                                                                  \
  }                                                                                                                       \
  EXPORT void __tsan_volatile_write##N(void* p) { on_access((Address)p, N, kWrite, RETURN_ADDRESS, true); }                \
  EXPORT void __tsan_unaligned_volatile_read##N(void* p) { on_access((Address)p, N, kRead, RETURN_ADDRESS, false); }       \
  EXPORT void __tsan_unaligned_volatile_write##N(void* p) { on_access((Address)p, N, kWrite, RETURN_ADDRESS, false); }     \
  EXPORT void __tsan_read_write##N(void* p) {                                                                             \
    on_access((Address)p, N, kRead, RETURN_ADDRESS, true);                                                                 \
    on_access((Address)p, N, kWrite, RETURN_ADDRESS, true);                                                                \
  }                                                                                                                       \
  EXPORT void __tsan_unaligned_read_write##N(void* p) {                                                                   \
    on_access((Address)p, N, kRead, RETURN_ADDRESS, false);                                                                \
    on_access((Address)p, N, kWrite, RETURN_ADDRESS, false);                                                               \
  }
TSAN_ACCESS(1)
TSAN_ACCESS(2)
TSAN_ACCESS(4)
TSAN_ACCESS(8)
TSAN_ACCESS(16)

static void on_range(void* p, size_t bytes, int kind, Address return_address) {
  if (bytes) on_access((Address)p, static_cast<unsigned>(bytes), kind, return_address, false);
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
    on_access((Address)p, bits / 8, kAtomic, RETURN_ADDRESS, true);                                                        \
    on_spin((Address)p, RETURN_ADDRESS);                                                                                                  \
    return __atomic_load_n(p, __ATOMIC_SEQ_CST);                                                                          \
  }                                                                                                                       \
  EXPORT void __tsan_atomic##bits##_store(T* p, T v, int) {                                                               \
    on_access((Address)p, bits / 8, kAtomic, RETURN_ADDRESS, true);                                                        \
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
    on_access((Address)p, bits / 8, kAtomic, RETURN_ADDRESS, true);                                                        \
    on_spin((Address)p, RETURN_ADDRESS);                                                                                                  \
    __atomic_compare_exchange_n(p, &expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                              \
    return expected;                                                                                                      \
  }
#define TSAN_FETCH(bits, T, name, builtin)                                                                                \
  EXPORT T __tsan_atomic##bits##_##name(T* p, T v, int) {                                                                 \
    on_access((Address)p, bits / 8, kAtomic, RETURN_ADDRESS, true);                                                        \
    on_spin((Address)p, RETURN_ADDRESS);                                                                                                  \
    return builtin(p, v, __ATOMIC_SEQ_CST);                                                                               \
  }
#define TSAN_COMPARE(bits, T, name)                                                                                       \
  EXPORT bool __tsan_atomic##bits##_##name(T* p, T* expected, T v, int, int) {                                            \
    on_access((Address)p, bits / 8, kAtomic, RETURN_ADDRESS, true);                                                        \
    on_spin((Address)p, RETURN_ADDRESS);                                                                                                  \
    return __atomic_compare_exchange_n(p, expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                        \
  }
TSAN_ATOMIC(8, uint8_t)
TSAN_ATOMIC(16, uint16_t)
TSAN_ATOMIC(32, uint32_t)
TSAN_ATOMIC(64, uint64_t)

}  // extern "C"
