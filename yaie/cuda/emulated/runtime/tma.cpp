// The tensor memory accelerator: maps of tensors, and copies of boxes of them between global and shared memory.
#include "hopper.h"

namespace emu {
namespace {

constexpr unsigned kItems[] = {1, 2, 4, 4, 8, 8, 2, 4, 8, 2};  // bytes, by CUtensorMapDataType
constexpr unsigned kTypes = sizeof kItems / sizeof *kItems;
constexpr unsigned kSpans[] = {0, 32, 64, 128};  // bytes, by CUtensorMapSwizzle

// What the driver refuses (its reference, cuTensorMapEncodeTiled); empty if nothing.
std::string what_is_wrong(int type, unsigned rank, uint64_t base, const uint64_t* sizes, const uint64_t* strides,
                          const uint32_t* box, const uint32_t* steps, int interleave, int swizzle) {
  if (type < 0 || type >= static_cast<int>(kTypes)) return format("the emulator does not have data type %d", type);
  if (interleave) return "the emulator does not have interleaved layouts";
  if (swizzle < 0 || swizzle > 3) return format("the emulator does not have swizzle %d", swizzle);
  if (rank < 1 || rank > 5) return format("%u dimensions: 1 to 5", rank);
  if (!base) return "the tensor is a null pointer";
  if (base % 16) return format("the tensor begins %u bytes past a multiple of 16", static_cast<unsigned>(base % 16));
  unsigned item = kItems[type];
  for (unsigned i = 0; i < rank; ++i) {
    if (!sizes[i] || sizes[i] > uint64_t(1) << 32) return format("dimension %u has %zu elements: 1 to 2^32", i, size_t(sizes[i]));
    if (!box[i] || box[i] > 256) return format("the box has %u elements in dimension %u: 1 to 256", box[i], i);
    if (!steps[i] || steps[i] > 8) return format("dimension %u has an element stride of %u: 1 to 8", i, steps[i]);
    if (i + 1 < rank && (strides[i] % 16 || strides[i] >= uint64_t(1) << 40)) {
      return format("dimension %u has a stride of %zu bytes: it must be a multiple of 16 below 2^40", i + 1, size_t(strides[i]));
    }
  }
  unsigned inner = box[0] * item;
  if (inner % 16) return format("the box is %u bytes wide (%u elements of %u): it must be a multiple of 16", inner, box[0], item);
  if (swizzle && inner > kSpans[swizzle]) {
    return format("the box is %u bytes wide (%u elements of %u), and a swizzle of %u bytes takes at most %u", inner, box[0], item,
                  kSpans[swizzle], kSpans[swizzle]);
  }
  return "";
}

unsigned rows_in(const TensorMap& m, unsigned i) { return (m.box[i] + m.steps[i] - 1) / m.steps[i]; }

// Bits 4 to 6 of an address change with bits 7 to 9: as many of them as the span has chunks.
Address swizzled(Address offset, unsigned swizzle) {
  unsigned mask = swizzle ? (1u << swizzle) - 1 : 0;
  return offset ^ ((offset >> 7 & mask) << 4);
}

// Calls f(place in the tile, address in global memory, bytes of the row, of which `inside` from `first` on lie in the tensor).
template <class F>
void each_row(const TensorMap& m, const int* at, F f) {
  unsigned row_bytes = m.box[0] * m.item, rows[5] = {1, 1, 1, 1, 1}, total = 1;
  for (unsigned i = 1; i < m.rank; ++i) total *= rows[i] = rows_in(m, i);
  long low = std::max(0L, -static_cast<long>(at[0]));
  long high = std::min<long>(m.box[0], static_cast<long>(m.sizes[0]) - at[0]);
  for (unsigned row = 0; row < total; ++row) {
    bool inside = high > low;
    Address a = m.base;
    unsigned rest = row;
    for (unsigned i = 1; i < m.rank; ++i) {
      long index = at[i] + static_cast<long>(rest % rows[i]) * m.steps[i];
      rest /= rows[i];
      if (index < 0 || index >= static_cast<long>(m.sizes[i])) inside = false;
      else a += static_cast<uint64_t>(index) * m.strides[i - 1];
    }
    unsigned first = inside ? static_cast<unsigned>(low) * m.item : 0;
    unsigned bytes = inside ? static_cast<unsigned>(high - low) * m.item : 0;
    f(row * row_bytes, a + static_cast<Address>((static_cast<long>(at[0]) + low) * m.item), row_bytes, first, bytes);
  }
}

// Between the tile in shared memory and a row of it in order, chunk by chunk.
template <class F>
void each_chunk(Engine* e, Address tile, unsigned swizzle, unsigned offset, unsigned bytes, F f) {
  auto arena = reinterpret_cast<Address>(e->arena);
  for (unsigned i = 0; i < bytes; i += 16) f(reinterpret_cast<char*>(arena + swizzled(tile + offset + i - arena, swizzle)), i);
}

void check_map(Engine* e, const TensorMap* map, unsigned rank, const char* what, Site site) {
  if (map->rank != rank) {
    fail(finding_here(e, "tensor_map", site, map->rank < 1 || map->rank > 5
                                                 ? format("a %s through a map that tensor_map() has not made", what)
                                                 : format("a %s with %u coordinate%s, and the map has %u dimensions", what, rank,
                                                          rank > 1 ? "s" : "", map->rank)));
  }
}

void check_tile(Engine* e, Address tile, unsigned bytes, int kind, const char* what, Site site, uint32_t pc) {
  if (tile - reinterpret_cast<Address>(e->arena) >= e->arena_bytes) report_bad_address(e, tile, bytes, kind, pc);
  if (tile % 128) {
    fail(finding_here(e, "tile_misaligned", site,
                      format("the tile of a %s lies on a multiple of 128 bytes; this one is %u bytes past one", what,
                             static_cast<unsigned>(tile % 128))));
  }
  if (array_around(e, tile, bytes)) return;
  SharedArray* s = find_array(e, tile);
  if (!s) report_bad_address(e, tile, bytes, kind, pc);
  Finding f = finding_here(e, "out_of_bounds", site,
                           format("a %s of %u bytes from byte %zu of `%s` on, which has %zu", what, bytes,
                                  static_cast<size_t>(tile - s->begin), s->name.c_str(), s->bytes));
  f.place.access = kind;
  f.size = bytes;
  f.array = s->name;
  f.array_bytes = s->bytes;
  f.offset = static_cast<long>(s->bytes);
  f.item = 1;
  f.shared = true;
  fail(std::move(f));
}

// A row in global memory: inside of a tensor, ordered with what others do to it.
void check_row(Engine* e, Address a, unsigned bytes, int kind, uint32_t pc) {
  Range* r = a - e->last_range->begin < e->last_range->end - e->last_range->begin ? e->last_range : find_range(e, a);
  if (!r) report_bad_address(e, a, bytes, kind, pc);
  if (a + bytes > r->end) report_bad_address(e, r->end, 1, kind, pc);
  if (!e->checks) return;
  e->events += bytes / 16;
  if (r->read_only && kind != kRead) report_const_write(e, r, a, bytes, kind, pc);
  if ((e->checks & kRaces) && !r->read_only) check_global_race(e, r, stamp_of(e, pc, kPlain), kind, a, bytes);
}

uint64_t sectors_of(Address a, unsigned bytes) { return bytes ? ((a + bytes - 1) >> 5) - (a >> 5) + 1 : 0; }

void check_source(Engine* e, const TensorMap& map, const int* at, int kind, uint32_t pc) {
  uint64_t sectors = 0, used = 0;
  each_row(map, at, [&](unsigned, Address a, unsigned bytes, unsigned, unsigned inside) {
    if (!inside) {  // zeros, and yet they come from L2: an H200 counts their sectors, too
      if (kind == kRead) sectors += sectors_of(0, bytes);
      return;
    }
    check_row(e, a, inside, kind, pc);
    sectors += sectors_of(a, inside), used += inside;
    if (e->checks & kCounters) mark_touched(a, inside, kind != kRead);
  });
  if (e->checks & kCounters) count_tile(e, pc, kind, bytes_of(map), sectors, used);
}

void perform(Engine* e, const Store& s) {
  each_row(s.map, s.at, [&](unsigned offset, Address a, unsigned bytes, unsigned first, unsigned inside) {
    char row[512 * 8];
    auto take = [&](const char* chunk, unsigned i) { memcpy(row + i, chunk, 16); };
    each_chunk(e, reinterpret_cast<Address>(s.from), s.map.swizzle, offset, bytes, take);
    if (inside) memcpy(reinterpret_cast<void*>(a), row + first, inside);
  });
}

}  // namespace

unsigned bytes_of(const TensorMap& map) {
  unsigned bytes = map.box[0] * map.item;
  for (unsigned i = 1; i < map.rank; ++i) bytes *= rows_in(map, i);
  return bytes;
}

// Elements outside of the tensor are zeros.
void land(Engine* e, Load& load) {
  each_row(load.map, load.at, [&](unsigned offset, Address a, unsigned bytes, unsigned first, unsigned inside) {
    char row[512 * 8] = {};
    if (inside) memcpy(row + first, reinterpret_cast<const void*>(a), inside);
    auto put = [&](char* chunk, unsigned i) { memcpy(chunk, row + i, 16); };
    each_chunk(e, reinterpret_cast<Address>(load.to), load.map.swizzle, offset, bytes, put);
  });
}

}  // namespace emu

using namespace emu;

EXPORT int emu_tensor_map(TensorMap* map, int type, unsigned rank, const void* base, const uint64_t* sizes,
                          const uint64_t* strides, const uint32_t* box, const uint32_t* steps, int interleave, int swizzle,
                          int) {
  *map = TensorMap{};
  auto address = reinterpret_cast<Address>(base);
  std::string problem = what_is_wrong(type, rank, address, sizes, strides, box, steps, interleave, swizzle);
  if (!problem.empty()) {
    Finding f{"tensor_map"};
    f.kernel = "the launcher (host code)";
    f.place.pc = pc_of(RETURN_ADDRESS);
    f.detail = problem;
    add_finding(std::move(f));
    return 1;
  }
  map->base = address;
  for (unsigned i = 0; i < rank; ++i) {
    map->sizes[i] = sizes[i];
    if (i + 1 < rank) map->strides[i] = strides[i];
    map->box[i] = box[i];
    map->steps[i] = static_cast<uint8_t>(i ? steps[i] : 1);
  }
  map->rank = static_cast<uint8_t>(rank);
  map->item = static_cast<uint8_t>(kItems[type]);
  map->swizzle = static_cast<uint8_t>(swizzle);
  return 0;
}

EXPORT void emu_tma_load(void* shared, const TensorMap* map, uint64_t* barrier, const int* at, unsigned rank, Site site) {
  Engine* e = current_engine;
  begin_operation(e, site);
  uint32_t pc = pc_of(RETURN_ADDRESS);
  auto tile = reinterpret_cast<Address>(shared);
  check_map(e, map, rank, "load", site);
  unsigned bytes = bytes_of(*map);
  check_tile(e, tile, bytes, kWrite, "TMA load", site, pc);
  Mbarrier& b = mbarrier_at(e, barrier, "a TMA load", site);
  check_source(e, *map, at, kRead, pc);
  Stamp stamp = stamp_of(e, pc, kPlain);
  stamp.thread = static_cast<uint16_t>(b.agent);
  stamp.tick = b.phase + 1;
  if (e->hopper->follows_order) {
    if (!b.fenced) {
      b.fenced = true;
      Finding f = finding_here(e, "mbarrier_fence", b.init_site,
                               format("%s is used by the TMA load of line %d, and no fence_mbarrier_init() follows its "
                                      "mbarrier_init", name_of_place(e, b.address).c_str(), site.line));
      f.place.thread = e->threads[b.init.thread].index3;
      f.other.block = e->block;
      f.other.thread = e->thread->index3;
      f.other.site = site;
      f.has_other = true;
      add_finding(std::move(f));
    }
    check_async(e, *array_around(e, tile, bytes), tile, bytes, {"TMA load", kWrite, stamp, pc, site});
  }
  e->hopper->agents[(b.agent - kFirstAgent) / kLanes].thread = e->thread;
  Load load{static_cast<char*>(shared), *map, {}, bytes, stamp, site};
  std::copy(at, at + rank, load.at);
  b.loads.push_back(load);
  try_complete(e, b, false);
}

EXPORT void emu_tma_store(const TensorMap* map, const void* shared, const int* at, unsigned rank, Site site) {
  Engine* e = current_engine;
  Thread* t = e->thread;
  begin_operation(e, site);
  uint32_t pc = pc_of(RETURN_ADDRESS);
  auto tile = reinterpret_cast<Address>(shared);
  check_map(e, map, rank, "store", site);
  unsigned bytes = bytes_of(*map);
  check_tile(e, tile, bytes, kRead, "TMA store", site, pc);
  check_source(e, *map, at, kWrite, pc);
  if (e->hopper->follows_order) {
    if (!t->store_agent) t->store_agent = new_agent(e, t, site);
    Stamp stamp = stamp_of(e, pc, kPlain);
    stamp.thread = static_cast<uint16_t>(t->store_agent);
    stamp.tick = t->store_group + 1;
    check_async(e, *array_around(e, tile, bytes), tile, bytes, {"TMA store", kRead, stamp, pc, site});
  }
  Store store{static_cast<const char*>(shared), *map, {}, bytes, t->store_group, pc, site};
  std::copy(at, at + rank, store.at);
  t->stores.push_back(store);
}

EXPORT void emu_tma_store_commit() { ++current_engine->thread->store_group; }

EXPORT void emu_tma_store_wait(unsigned groups_left) {
  Engine* e = current_engine;
  Thread* t = e->thread;
  if (UNLIKELY(e->store_in_doubt)) settle_doubts(e);
  unsigned done = t->store_group - std::min(t->store_group, groups_left);
  size_t n = 0;
  while (n < t->stores.size() && t->stores[n].group < done) perform(e, t->stores[n++]);
  t->stores.erase(t->stores.begin(), t->stores.begin() + static_cast<long>(n));
  learn_agent(e, t, t->store_agent, done);
}
