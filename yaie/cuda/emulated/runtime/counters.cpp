// How a warp touches memory: its lanes' accesses are logged while they run one after another, and put side by side
// when the warp meets. What is counted is what the card counts: requests (one instruction of one warp), 32-byte sectors
// of global memory, and the wavefronts that the 32 banks of shared memory need.
#include "hopper.h"

namespace emu {
namespace {

constexpr size_t kTraceLimit = 1 << 18;
constexpr unsigned kL1Bytes = 256 << 10, kMostThreads = 2048;  // of a multiprocessor (an H100's); L1 with shared memory

struct Request {  // one instruction of one warp
  uint32_t pc;
  uint16_t size;
  Space space;
  uint8_t kind;
  unsigned lanes;  // bit mask
  Address address[kLanes];
};

LineCounter& counter_of(const Request& q) {
  uint64_t key = uint64_t(q.pc) << 20 | uint64_t(q.size) << 4 | uint64_t(q.space) << 2 | q.kind;
  if (!session.last_counter || key != session.last_counter_key) {
    session.last_counter = &session.counters[key];
    session.last_counter_key = key;
  }
  return *session.last_counter;
}

unsigned sort_unique(Address* values, unsigned n) {
  if (!std::is_sorted(values, values + n)) std::sort(values, values + n);
  return static_cast<unsigned>(std::unique(values, values + n) - values);
}

void mark_touched(const Address* sectors, unsigned n, unsigned written) {
  for (unsigned i = 0; i < n; ++i) {
    for (auto& r : session.ranges) {
      Address first = r.begin >> 5;
      if (r.module_data || sectors[i] < first || sectors[i] > (r.end - 1) >> 5) continue;
      size_t bit = sectors[i] - first;
      auto& touched = r.touched[written];
      if (touched.empty()) touched.resize((((r.end - 1) >> 5) - first) / 64 + 1);
      uint64_t before = touched[bit / 64];
      touched[bit / 64] |= uint64_t(1) << bit % 64;
      r.first_touched[written] += touched[bit / 64] != before;
      break;
    }
  }
}

// L1 as a cache of lines of four sectors, each line in its only place. The warps of a block run one after another here
// and at the same time on a card: what another warp has loaded since the last barrier is there.
void look_into_l1(Engine* e, unsigned warp, const Address* sectors, unsigned n) {
  for (unsigned i = 0; i < n; ++i) {
    Address line = sectors[i] / 4;
    unsigned sector = 1u << sectors[i] % 4;
    CachedLine& place = e->cached[(line * 0x9e3779b97f4a7c15u >> 32) % e->cached.size()];
    bool is_there = place.line == line && (place.sectors & sector);
    place.sectors = place.line == line ? place.sectors | sector : sector;
    place.line = line;
    if (is_there) continue;
    auto first = e->loaded.insert({sectors[i], {warp, 0}});
    Loader& loader = first.first->second;
    session.launch.distinct += first.second;
    if (!first.second && loader.warp != warp && loader.epoch == e->barrier_epoch) continue;
    loader = {warp, e->barrier_epoch};
    ++session.launch.missed;
  }
}

void count_global(Engine* e, unsigned warp, const Request& q, LineCounter& c) {
  Address sectors[kLanes * 2], starts[kLanes];
  unsigned n = 0, lanes = 0;
  for (unsigned i = 0; i < kLanes; ++i) {
    if (!(q.lanes >> i & 1)) continue;
    Address a = q.address[i], last = (a + q.size - 1) >> 5;
    starts[lanes++] = a;
    if (!n || sectors[n - 1] != a >> 5) sectors[n++] = a >> 5;
    if (last != a >> 5) sectors[n++] = last;
  }
  n = sort_unique(sectors, n);
  c.sectors += n;
  if (q.kind == kAtomic) {
    for (unsigned i = 0; i < lanes; ++i) ++session.launch.atomics[starts[i]];
  }
  uint64_t used = uint64_t(sort_unique(starts, lanes)) * q.size;
  c.used_bytes += used;
  if (q.kind == kWrite && used < n * 32) session.launch.partial += n;
  session.launch.sectors[q.kind] += n;
  if (q.kind == kRead) look_into_l1(e, warp, sectors, n);
  if (q.kind != kWrite) mark_touched(sectors, n, 0);
  if (q.kind != kRead) mark_touched(sectors, n, 1);
}

// The words that each bank must deliver in one phase; lanes that read the same word share it.
struct Banks {
  Address words[kLanes][kLanes];
  unsigned counts[kLanes] = {};
  unsigned most = 0;

  void need(Address word) {
    unsigned bank = word % kLanes, n = counts[bank];
    for (unsigned i = 0; i < n; ++i) {
      if (words[bank][i] == word) return;
    }
    words[bank][n] = word;
    counts[bank] = n + 1;
    most = std::max(most, n + 1);
  }
};

// 32 banks of 4 bytes. 8- and 16-byte accesses go in 2 and 4 phases.
void count_shared(const Request& q, LineCounter& c) {
  unsigned per_phase = q.size <= 4 ? 32 : q.size == 8 ? 16 : 8;
  for (unsigned first = 0; first < kLanes; first += per_phase) {
    Banks banks;
    for (unsigned i = first; i < first + per_phase; ++i) {
      if (!(q.lanes >> i & 1)) continue;
      Address last = (q.address[i] + std::min<unsigned>(q.size, 16) - 1) >> 2;
      for (Address word = q.address[i] >> 2; word <= last; ++word) banks.need(word);
    }
    if (!banks.most) continue;
    c.wavefronts += banks.most;
    session.launch.wavefronts += banks.most;
    ++c.ideal_wavefronts;
    c.most_ways = std::max(c.most_ways, banks.most);
  }
}

unsigned most_on_one_address(const Request& q) {
  unsigned most = 1;
  for (unsigned i = 0; i < kLanes; ++i) {
    unsigned same = 0;
    for (unsigned j = 0; j < kLanes; ++j) same += (q.lanes >> i & q.lanes >> j & 1) && q.address[i] == q.address[j];
    most = std::max(most, same);
  }
  return most;
}

void count(Engine* e, unsigned warp, const Request& q) {
  LineCounter& c = counter_of(q);
  unsigned lanes = static_cast<unsigned>(__builtin_popcount(q.lanes));
  ++c.requests;
  c.lanes += lanes;
  c.bytes += uint64_t(lanes) * q.size;
  WarpCounter& w = e->of_warps[warp];
  ++(q.space == Space::kGlobal ? w.requests[q.kind] : w.shared);
  if (q.space == Space::kGlobal) count_global(e, warp, q, c);
  else count_shared(q, c);
  if (q.space == Space::kShared && q.kind == kAtomic) session.launch.queued += most_on_one_address(q) - 1;
}

void trace(const Request& q, uint32_t step) {
  for (uint16_t i = 0; i < kLanes; ++i) {
    if (!(q.lanes >> i & 1) || session.trace.size() >= kTraceLimit) continue;
    session.trace.push_back({step, q.pc, i, q.size, static_cast<uint8_t>(q.space), q.kind, q.address[i]});
  }
}

bool is_traced(Engine* e, unsigned warp) {
  Index3 a = e->block, b = session.trace_block;
  return a.x == b.x && a.y == b.y && a.z == b.z && warp == session.trace_warp;
}

void finish(Engine* e, unsigned warp, const Request& q) {
  count(e, warp, q);
  if (!is_traced(e, warp)) return;
  uint32_t step = session.trace.empty() ? 0 : session.trace.back().step + 1;
  trace(q, step);
}

void add(WarpCounter* to, const WarpCounter& w) {
  for (int kind = 0; kind < 3; ++kind) to->requests[kind] += w.requests[kind];
  to->copies += w.copies, to->copy_rounds += w.copy_rounds;
  to->shared += w.shared, to->products += w.products, to->shuffles += w.shuffles, to->rounds += w.rounds;
}

bool same_instruction(const Access& a, const Access& b) {
  return a.pc == b.pc && a.kind == b.kind && a.space == b.space && a.size == b.size;
}

Request request_for(const Access& a) { return {a.pc, a.size, a.space, a.kind, 0, {}}; }

// The usual case: all lanes that did anything did the same instructions.
bool count_uniform(Engine* e, unsigned warp, Thread* lanes, unsigned n) {
  Thread* first = nullptr;
  for (unsigned i = 0; i < n; ++i) {
    if (lanes[i].log.empty()) continue;
    if (!first) first = &lanes[i];
    if (lanes[i].log.size() != first->log.size()) return false;
    for (size_t k = 0; k < first->log.size(); ++k) {
      if (!same_instruction(lanes[i].log[k], first->log[k])) return false;
    }
  }
  if (!first) return true;
  for (size_t k = 0; k < first->log.size(); ++k) {
    Request q = request_for(first->log[k]);
    for (unsigned i = 0; i < n; ++i) {
      if (lanes[i].log.empty()) continue;
      q.lanes |= 1u << i;
      q.address[i] = lanes[i].log[k].address;
    }
    finish(e, warp, q);
  }
  return true;
}

// The lanes diverged: the k-th execution of an instruction by each lane belongs together.
void count_divergent(Engine* e, unsigned warp, Thread* lanes, unsigned n) {
  struct Entry {
    Access access;
    uint32_t turn;
    unsigned lane;
  };
  static std::vector<Entry> entries;
  entries.clear();
  for (unsigned i = 0; i < n; ++i) {
    std::unordered_map<uint64_t, uint32_t> turns;
    for (auto& a : lanes[i].log) entries.push_back({a, turns[uint64_t(a.pc) << 2 | a.kind]++, i});
  }
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    if (a.turn != b.turn) return a.turn < b.turn;
    if (a.access.pc != b.access.pc) return a.access.pc < b.access.pc;
    return a.access.kind != b.access.kind ? a.access.kind < b.access.kind : a.lane < b.lane;
  });
  for (size_t i = 0; i < entries.size();) {
    const Entry& first = entries[i];
    Request q = request_for(first.access);
    for (; i < entries.size(); ++i) {
      const Entry& x = entries[i];
      if (x.turn != first.turn || !same_instruction(x.access, first.access) || (q.lanes >> x.lane & 1)) break;
      q.lanes |= 1u << x.lane;
      q.address[x.lane] = x.access.address;
    }
    finish(e, warp, q);
  }
}

}  // namespace

void mark_touched(Address a, unsigned bytes, unsigned written) {
  for (Address sector = a >> 5; sector <= (a + bytes - 1) >> 5; ++sector) mark_touched(&sector, 1, written);
}

// A box that TMA moves: what it asks of global memory. Shared memory takes it at full width, in whatever swizzle.
void count_tile(Engine*, uint32_t pc, int kind, uint64_t bytes, uint64_t sectors, uint64_t used) {
  LineCounter& c = session.counters[uint64_t(pc) << 20 | uint64_t(16) << 4 | uint64_t(Space::kGlobal) << 2 | uint64_t(kind)];
  ++c.requests;
  ++c.lanes;
  c.bytes += bytes;
  c.sectors += sectors;
  c.used_bytes += used;
  session.launch.sectors[kind] += sectors;
  if (kind == kRead) session.launch.missed += sectors, session.launch.distinct += sectors;  // it goes around L1
}

WarpCounter* counter_of_warp() { return &current_engine->of_warps[current_engine->thread->index / kLanes]; }

void start_counting(Engine* e) {
  e->loaded.clear();
  e->of_warps.assign(e->warps.size(), WarpCounter{});
  size_t share = size_t(kL1Bytes) / kMostThreads * std::max(e->job->num_threads, kLanes);
  size_t shared = std::min(e->job->request->dynamic_shared, share);
  e->cached.assign(std::max<size_t>(share - shared, 4096) / 128, CachedLine{});
}

void end_counting(Engine* e) {
  LaunchCounter& c = session.launch;
  WarpCounter busiest{};
  for (auto& w : e->of_warps) {
    add(&c.all, w);
    if (w.sum() > busiest.sum()) busiest = w;
  }
  add(&c.busiest, busiest);
  size_t shared = 0;
  for (size_t i = 0; i < e->num_arrays; ++i) shared += e->arrays[i].bytes;
  c.hopper = e->hopper != nullptr;
  c.shared_bytes = std::max(c.shared_bytes, shared);
  ++c.blocks;
  c.barriers += e->barrier_epoch - 1u;
}

void put_side_by_side(Engine* e, unsigned warp) {
  if (!(e->checks & kCounters)) return;
  Thread* lanes = &e->threads[warp * kLanes];
  unsigned n = std::min(kLanes, e->job->num_threads - warp * kLanes);
  WarpCounter& w = e->of_warps[warp];
  uint64_t loads = w.requests[kRead];
  if (!count_uniform(e, warp, lanes, n)) count_divergent(e, warp, lanes, n);
  w.rounds += w.requests[kRead] - loads > w.copies - w.met_copies;
  w.met_copies = w.copies;
  for (unsigned i = 0; i < n; ++i) lanes[i].log.clear();
}

// A long loop without meetings: the other lanes get the chance to fill their logs too, then all are counted.
void log_is_full(Engine* e) {
  Thread* t = e->thread;
  start_sibling_or_yield(e);
  if (!t->log.empty() && t->log.size() >= 4096) put_side_by_side(e, t->index / kLanes);
}

}  // namespace emu
