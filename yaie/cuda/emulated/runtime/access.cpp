// What a load or store may meet: races, shared arrays, addresses that belong to nothing, and copies that have not landed.
#include "hopper.h"

namespace emu {

namespace {

Place place_of(Engine* e, const Stamp& stamp, int access) {
  Place p;
  p.block = block_index_of(e->job, stamp.block - session.first_stamp);
  p.thread = thread_index_of(e->job, stamp.thread < kFirstAgent ? stamp.thread : thread_of_agent(e, stamp.thread));
  p.pc = stamp.pc;
  p.access = stamp.strength() == kAtomicStrength ? kAtomic : access;
  return p;
}

Finding finding_about(Engine* e, const char* kind, const Target& target, const Stamp& now, int access, Address a, unsigned size) {
  Finding f{kind};
  f.place = place_of(e, now, access);
  f.size = size;
  f.array = *target.name;
  f.offset = static_cast<long>(a - target.begin);
  f.array_bytes = target.bytes;
  f.item = target.item ? target.item : size;
  f.shared = target.shared;
  if (target.module_data) {
    const Variable* v = variable_near(a);
    f.array = v ? v->name : "a __device__ variable";
    f.array_bytes = 0;
    f.variable = true;
  }
  return f;
}

}  // namespace

Finding pair_finding(Engine* e, const char* kind, const Target& target, const Stamp& now, int access, Address a, unsigned size,
                     const Stamp& earlier, int earlier_access) {
  Finding f = finding_about(e, kind, target, now, access, a, size);
  f.other = place_of(e, earlier, earlier_access);
  f.has_other = true;
  return f;
}

__attribute__((noinline, cold)) void attend(Engine* e, uint32_t pc) {
  if (e->store_in_doubt) settle_doubts(e);
  if (e->stop_requested) sample_or_stop(e, pc, Site{});
}

// ---- shared memory

// Another kernel's array of the same name is another array.
std::string of_kernel(const Engine* e, const SharedArray& s) { return std::string(e->job->request->kernel) + "/" + s.name; }

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
  session.shared_shifts[of_kernel(current_engine, s)] = shift;
}

__attribute__((noinline, cold)) void report_in_flight(Engine* e, SharedArray& s, size_t cell, const Stamp& now, int kind,
                                                     Address a, unsigned size) {
  Stamp copy = s.writes[cell];
  copy.pc = s.in_flight[cell];
  add_finding(pair_finding(e, "cp_async_not_waited", target_of(s), now, kind, a, size, copy, kWrite));
}

__attribute__((noinline)) void note_unwritten_read(SharedArray& s, size_t cell, const Stamp& now, int kind, Address a,
                                                   unsigned size) {
  if (s.unwritten_reads.size() < 100000) {
    s.unwritten_reads.push_back({cell, now.pc, now.thread, size, static_cast<size_t>(a - s.begin), kind});
  }
  if (kind == kRead) remember_reader(s.reads[cell], now);
}

namespace {

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
  memset(reinterpret_cast<void*>(s.begin), session.poison, bytes);
  if (session.checks) {
    session.shared_layout[name] = {s.begin, bytes};
    auto known = session.shared_shifts.find(of_kernel(e, s));
    s.shift = known == session.shared_shifts.end() ? 2 : known->second;
    size_t cells = (bytes >> s.shift) + 2;
    s.writes.assign(cells, Stamp{});
    s.reads.assign(cells, Readers{});
    s.in_flight.assign(cells, 0);
  }
  return &s;
}

}  // namespace

void reset_shared(Engine* e, size_t dynamic_bytes) {
  e->arrays.resize(256);
  e->num_arrays = e->arena_used = 0;
  e->last_array = &e->arrays[0];
  e->names_dynamic_shared = false;
  add_array(e, e, dynamic_bytes, 1024, "the dynamic shared memory");
}

// Poison: NaN for floats, -1 for integers.
void start_block_memory(Engine* e) {
  memset(e->arena, session.poison, e->arena_used);
}

void settle_unwritten_reads(Engine* e) {
  for (size_t i = 0; i < e->num_arrays; ++i) {
    SharedArray& s = e->arrays[i];
    for (auto& u : s.unwritten_reads) {
      const Stamp& write = s.writes[u.cell];
      bool set_by_other = write.block == e->block_stamp && write.thread != u.thread;
      if (set_by_other && (u.kind == kRead || write.strength() != kAtomicStrength)) continue;  // reported as a race
      Stamp stamp{e->block_stamp, u.pc, static_cast<uint16_t>(u.thread), 0, 0, kPlain, 0};
      add_finding(finding_about(e, "uninitialised", target_of(s), stamp, u.kind, s.begin + u.offset, u.size));
    }
    s.unwritten_reads.clear();
  }
}

// ---- global memory

static bool in_data(Address a) {
  return std::any_of(session.data.begin(), session.data.end(), [&](const Stretch& s) { return a - s.begin < s.end - s.begin; });
}

// Around a variable of the device lies nothing that a kernel may touch: they lie far apart, and a guard behind the last.
static void check_variable(Engine* e, Address a, unsigned size, int kind, uint32_t pc) {
  const Variable* v = variable_near(a);
  if (!v || (a >= v->begin && a + size <= v->end)) return;
  if (v->is_guard() || (!in_data(a) && v->begin % kConstantAlign)) return;  // a literal, or a table of the compiler's
  Finding f{"out_of_bounds"};
  f.place = place_of(e, stamp_of(e, pc, kPlain), kind);
  f.size = f.item = size;
  f.array = v->name;
  f.array_bytes = v->end - v->begin;
  f.offset = static_cast<long>(a - v->begin);
  f.variable = true;
  fail(std::move(f));
}

void check_module_data(Engine* e, Address a, unsigned size, int kind, uint32_t pc, Strength strength) {
  if (a - session.text_begin < session.text_end - session.text_begin) report_bad_address(e, a, size, kind, pc);  // code
  check_variable(e, a, size, kind, pc);
  if (!(e->checks & kRaces) || !in_data(a)) return;
  for (auto& r : session.ranges) {
    if (r.module_data && a - r.begin < r.end - r.begin) check_global_race(e, &r, stamp_of(e, pc, strength), kind, a, size);
  }
}

__attribute__((noinline)) void report_misaligned(Engine* e, Address a, unsigned size, int kind, uint32_t pc, const Target& t) {
  Finding f = finding_about(e, "misaligned", t, stamp_of(e, pc, kPlain), kind, a, size);
  f.detail = format("a %u-byte access needs an address that is a multiple of %u; this one is %u past such an address", size,
                    size, static_cast<unsigned>(a & (size - 1)));
  fail(std::move(f));
}

__attribute__((noinline)) void report_const_write(Engine* e, Range* r, Address a, unsigned size, int kind, uint32_t pc) {
  Target target{&r->name, r->begin, r->end - r->begin, r->item, false, false};
  fail(finding_about(e, "const_write", target, stamp_of(e, pc, kPlain), kind, a, size));
}

void on_spin(Address a, Address return_address) {
  Engine* e = current_engine;
  if (!e || !e->thread) return;
  Thread* t = e->thread;
  if (t->spin_address != a) t->spin_address = a, t->spins = 0;
  if (++t->spins % 32) return;
  if (UNLIKELY(e->stop_requested)) sample_or_stop(e, pc_of(return_address), Site{});
  yield_turn(e);
}

// The shared array that an address misses by the least.
static const SharedArray* nearest_array(Engine* e, Address a) {
  auto distance = [&](const SharedArray& s) { return a < s.begin ? s.begin - a : a - std::min(a, s.begin + s.bytes); };
  size_t first = e->arrays[0].bytes || e->names_dynamic_shared || e->num_arrays == 1 ? 0 : 1;
  auto nearer = [&](const SharedArray& x, const SharedArray& y) { return distance(x) < distance(y); };
  return &*std::min_element(e->arrays.begin() + first, e->arrays.begin() + e->num_arrays, nearer);
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
    const SharedArray* s = nearest_array(e, a);
    f.dynamic = s == &e->arrays[0];
    f.array = s->name;
    f.array_bytes = s->bytes;
    f.offset = static_cast<long>(a - s->begin);
    f.item = size;
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

static void land(Engine* e, const Thread& owner, const AsyncCopy& copy, uint32_t tick) {
  auto to = reinterpret_cast<Address>(copy.to);
  --e->in_flight_copies;
  if (e->checks & kRaces) {
    mark_in_flight(e, to, copy.bytes, 0);
    Stamp stamp = stamp_of(e, copy.pc, kPlain);
    stamp.thread = static_cast<uint16_t>(owner.index), stamp.tick = tick;
    check_shared_cells(e, *find_array(e, to), stamp, kWrite, to, copy.bytes);
  }
  memcpy(copy.to, copy.from, copy.source_bytes);
  memset(static_cast<char*>(copy.to) + copy.source_bytes, 0, copy.bytes - copy.source_bytes);
}

// The first of a thread's copies, for a barrier that waits for them. Whoever makes them land, they are this thread's: what
// it knew is what they may overwrite.
void land_copies(Engine* e, Thread* t, size_t count) {
  count = std::min(count, t->copies.size());
  Thread* current = e->thread;
  e->thread = t;
  for (size_t i = 0; i < count; ++i) land(e, *t, t->copies[i], t->copies[i].tick);
  e->thread = current;
  t->copies.erase(t->copies.begin(), t->copies.begin() + static_cast<long>(count));
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

EXPORT void emu_cp_async(void* shared, const void* global, unsigned bytes, unsigned source_bytes) {
  Engine* e = current_engine;
  auto to = reinterpret_cast<Address>(shared), from = reinterpret_cast<Address>(global);
  Address return_address = RETURN_ADDRESS;
  source_bytes = std::min(source_bytes, bytes);
  if (to - reinterpret_cast<Address>(e->arena) >= e->arena_bytes) {
    report_bad_address(e, to, bytes, kWrite, pc_of(return_address));
  }
  if (e->checks) {
    if (source_bytes) on_access(from, source_bytes, kRead, return_address, kAnyAddress);
    if (from & (bytes - 1) && source_bytes) {
      std::string name = "the source of cp.async";
      report_misaligned(e, from, bytes, kRead, pc_of(return_address), {&name, from, 0, 0, false, false});
    }
    if (emu_lane() == 0 && (e->checks & kCounters)) ++counter_of_warp()->copies;
    e->starts_copy = true;
    on_access(to, bytes, kWrite, return_address, kAligned);
    e->starts_copy = false;
    if (e->checks & kRaces) mark_in_flight(e, to, bytes, pc_of(return_address));
  }
  ++e->in_flight_copies;
  e->thread->copies.push_back({shared, global, bytes, source_bytes, e->thread->copy_group, pc_of(return_address), e->thread->tick});
}

EXPORT void emu_cp_async_commit() { ++current_engine->thread->copy_group; }

EXPORT void emu_cp_async_wait(unsigned groups_left) {
  Engine* e = current_engine;
  Thread* t = e->thread;
  std::vector<AsyncCopy> pending;
  for (auto& copy : t->copies) {
    if (copy.group + groups_left < t->copy_group) land(e, *t, copy, t->tick);
    else pending.push_back(copy);
  }
  bool waits = pending.size() < t->copies.size() && emu_lane() == 0 && (e->checks & kCounters);
  if (waits) counter_of_warp()->copy_rounds += 1.0 / (groups_left + 1);
  t->copies.swap(pending);
}

EXPORT void emu_ldmatrix(uint32_t* registers, const void* row, int matrices, bool transposed, Site site) {
  Engine* e = current_engine;
  auto address = reinterpret_cast<Address>(row);
  if (e->checks && emu_lane() < 8u * unsigned(matrices)) on_access(address, 16, kRead, RETURN_ADDRESS, kAligned);
  gather_matrices(registers, row, matrices, transposed, site);
}

EXPORT void emu_note_atomic(const void* p, unsigned bytes, int op) {
  on_atomic(reinterpret_cast<Address>(p), bytes, static_cast<AtomicOp>(op), RETURN_ADDRESS);
}

EXPORT void* emu_dynamic_shared(const char* name) {
  Engine* e = current_engine;
  if (!e || !e->thread) return nullptr;
  e->names_dynamic_shared = true;
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
