// Two accesses that no barrier orders. They are a race unless fences and flags order them, or unless they do no harm.
//
// Happens-before beyond barriers. A thread *releases* when it writes an address with an atomic or a volatile store after
// a fence; another *acquires* when it reads that address with an atomic or a volatile load. A release publishes
//   - the thread's own accesses before its last fence (for another block: its last __threadfence(), and not
//     __threadfence_block()),
//   - what threads of its block did before a barrier (or __syncwarp()) that lies before that fence,
//   - what another thread of its block did before a __threadfence() of its own, if a barrier lies between that fence and
//     the release (every thread fences, __syncthreads(), thread 0 draws the ticket),
//   - what the thread itself had acquired.
// A flag that is updated (atomicAdd, atomicCAS, ...) keeps the releases before it; a store replaces them. What a thread
// has acquired its block has after a barrier, and its warp after a warp function.
// No fence is asked for on the acquiring side: CUDA's own example of a last block leaves it out. So a forgotten one there
// is not found. Blocks run one after another, so a release is always seen by the blocks after it.
//
// A Release is a node of a graph (`after`: the releases its thread had seen), so a chain of n blocks takes n nodes.
//
// Harmless, as compute-sanitizer's racecheck has it or by custom: several threads that store the value which is there
// already; a volatile read of global memory that another thread sets (polling); a plain first read before an atomicCAS
// at the same address by the same thread.
#include "access.h"

namespace emu {

namespace {

constexpr size_t kMaxReleases = 2000000, kMaxReads = 1024;

struct DeviceFence {
  uint16_t number, barrier_epoch, warp_epoch;
};
std::unordered_map<uint64_t, std::vector<DeviceFence>> device_fences;  // of each block and thread

uint64_t fence_key(uint32_t block, unsigned thread) { return uint64_t(block) << 16 | thread; }

// All releases that a list leads to, by block.
struct Reach {
  Releases from;
  std::unordered_map<uint32_t, Releases> by_block;

  void follow(const Releases& list) {
    if (list == from) return;
    from = list;
    by_block.clear();
    std::unordered_map<const Release*, bool> met;
    Releases open(list);
    while (!open.empty()) {
      const Release* r = open.back();
      open.pop_back();
      if (met[r]) continue;
      met[r] = true;
      by_block[r->block].push_back(r);
      open.insert(open.end(), r->after.begin(), r->after.end());
    }
  }
};

bool published(const Stamp& a, const Release& r, bool same_block) {
  if (a.thread == r.thread) return a.fences() < (same_block ? r.fences : r.device_fences) || (a.strength() && a.fences() <= r.fences);
  if (same_block) return false;  // a barrier between the two would have ordered them already
  bool same_warp = a.thread / kLanes == r.thread / kLanes;
  if (r.device_fences && (a.barrier_epoch < r.fence_barrier || (same_warp && a.warp_epoch < r.fence_warp))) return true;
  auto own = device_fences.find(fence_key(a.block, a.thread));
  if (own == device_fences.end()) return false;
  for (auto& fence : own->second) {
    if (fence.number < a.fences()) continue;
    return fence.barrier_epoch < r.barrier_epoch || (same_warp && fence.warp_epoch < r.warp_epoch);
  }
  return false;
}

}  // namespace

struct Doubts {
  struct Store {  // of a value that may be there already
    Address address;
    unsigned size;
    unsigned char before[16];
    Finding finding;
    bool has_read;
    Finding read;  // the race with an earlier reader, if the store turns out harmless
  };
  struct Read {  // before an atomic of the same thread, perhaps
    Address address;
    unsigned thread;
    Finding finding;
  };
  std::vector<Store> stores;
  std::vector<Read> reads;
  Reach of_thread, of_block;
};

Doubts* new_doubts() { return new Doubts; }

namespace {

bool leads_to(Reach& reach, const Releases& list, const Stamp& earlier, const Stamp& now) {
  if (list.empty()) return false;
  reach.follow(list);
  auto found = reach.by_block.find(earlier.block);
  if (found == reach.by_block.end()) return false;
  auto covers = [&](const Release* r) { return published(earlier, *r, earlier.block == now.block); };
  return std::any_of(found->second.begin(), found->second.end(), covers);
}

bool happens_before(Engine* e, const Stamp& earlier, const Stamp& now) {
  Doubts& d = *e->doubts;
  return leads_to(d.of_block, e->seen, earlier, now) || leads_to(d.of_thread, e->thread->seen, earlier, now);
}

// Polling: one side sets what the other reads again and again. In shared memory volatile alone is no excuse (code written
// for warps that moved in step used it), so there the setter must have fenced.
bool is_polling(const Stamp& a, int kind_a, const Stamp& b, int kind_b, bool shared) {
  if (!a.strength() || !b.strength() || (kind_a == kRead) == (kind_b == kRead)) return false;
  const Stamp& writer = kind_a == kRead ? b : a;
  return !shared || writer.strength() == kAtomicStrength || writer.fences() > 0;
}

void forget_unwritten(SharedArray& s, Address a, unsigned size) {
  size_t first = (a - s.begin) >> s.shift, last = (a + size - 1 - s.begin) >> s.shift;
  auto& list = s.unwritten_reads;
  auto is_here = [&](const UnwrittenRead& u) { return u.kind == kAtomic && u.cell >= first && u.cell <= last; };
  list.erase(std::remove_if(list.begin(), list.end(), is_here), list.end());
}

}  // namespace

__attribute__((noinline, cold)) bool report_race(Engine* e, const Target& target, const Stamp& now, int kind, Address a,
                                                 unsigned size, const Stamp& earlier, int earlier_kind, const Readers& readers,
                                                 SharedArray* shared) {
  if (earlier_kind == kWrite && earlier.strength() == kAtomicStrength) earlier_kind = kAtomic;
  if (e->hopper && is_known(e, earlier)) return false;
  if (is_polling(earlier, earlier_kind, now, kind, shared)) return false;
  if ((e->has_seen || !e->seen.empty()) && happens_before(e, earlier, now)) return false;
  Finding f = pair_finding(e, "race", target, now, kind, a, size, earlier, earlier_kind);
  if (e->hopper) {
    f.kind = name_async(e, &f, earlier, earlier_kind);
    if (strcmp(f.kind, "race")) return add_finding(std::move(f)), true;
    bool by_order = shared && earlier.block == now.block && kind != earlier_kind;
    if (by_order) f.because = why_unordered(e, *e->thread, e->threads[earlier.thread], false);
  }
  const Stamp& last = readers.last;
  f.update = kind == kWrite && earlier_kind == kWrite && last.block == now.block && last.thread == now.thread &&
             last.barrier_epoch == now.barrier_epoch;
  if (shared) forget_unwritten(*shared, a, size);
  Doubts& d = *e->doubts;
  if (kind == kWrite && earlier_kind == kWrite && size <= 16 && !e->starts_copy) {
    if (!d.stores.empty() && d.stores.back().address == a) return true;  // the next cell of the same store
    d.stores.push_back({a, size, {}, std::move(f), false, Finding{"race"}});
    Doubts::Store& s = d.stores.back();
    memcpy(s.before, reinterpret_cast<void*>(a), size);
    for (const Stamp* r : {&readers.last, &readers.other}) {
      if (s.has_read || !unordered(*r, now, shared) || is_polling(*r, kRead, now, kind, shared) || happens_before(e, *r, now)) continue;
      s.has_read = true;
      s.read = pair_finding(e, "race", target, now, kind, a, size, *r, kRead);
    }
    e->store_in_doubt = true;
    return true;
  }
  bool first_read = (kind == kRead && earlier_kind == kAtomic) || (kind == kAtomic && earlier_kind == kRead);
  const Stamp& reader = kind == kRead ? now : earlier;
  if (first_read && !reader.strength() && reader.block == now.block && d.reads.size() < kMaxReads) {
    d.reads.push_back({a, reader.thread, std::move(f)});
  } else {
    add_finding(std::move(f));
  }
  return true;
}

static void forgive_in(Engine* e, Readers& readers) {
  for (Stamp* r : {&readers.last, &readers.other}) {
    if (r->block == e->block_stamp && r->thread == e->thread->index) r->order |= kAtomicStrength;
  }
}

void settle_doubts(Engine* e) {
  e->store_in_doubt = false;
  for (auto& s : e->doubts->stores) {
    bool harmless = !memcmp(s.before, reinterpret_cast<void*>(s.address), s.size);
    if (!harmless) add_finding(std::move(s.finding));
    else if (s.has_read) add_finding(std::move(s.read));
  }
  e->doubts->stores.clear();
}

void settle_block(Engine* e) {
  settle_doubts(e);
  for (auto& r : e->doubts->reads) add_finding(std::move(r.finding));
  e->doubts->reads.clear();
}

void forgive_first_read(Engine* e, Address a, unsigned size) {
  if (!(e->checks & kRaces)) return;
  auto forgive = [&](Readers* reads, Address begin, unsigned shift) {
    for (size_t i = (a - begin) >> shift; i <= (a + size - 1 - begin) >> shift; ++i) forgive_in(e, reads[i]);
  };
  const Range* r = e->last_range;
  if (SharedArray* s = find_array(e, a)) forgive(s->reads.data(), s->begin, s->shift);
  else if (r->shadow.reads && a - r->begin < r->end - r->begin) forgive(r->shadow.reads, r->begin, r->shadow.shift);
  auto& reads = e->doubts->reads;
  auto is_it = [&](const Doubts::Read& x) { return x.address == a && x.thread == e->thread->index; };
  reads.erase(std::remove_if(reads.begin(), reads.end(), is_it), reads.end());
}

void start_block_order(Engine* e) {
  e->fenced = e->has_seen = false;
  e->seen.clear();
  e->doubts->of_thread = e->doubts->of_block = Reach{};
  for (auto& t : e->threads) {
    t.fences = t.device_fences = t.fence_barrier = t.fence_warp = 0;
    t.seen.clear();
  }
}

void share_seen(Engine* e, Thread* threads, unsigned n, unsigned lanes) {
  Releases all;
  bool whole_block = n == e->threads.size() && threads == e->threads.data() && lanes == ~0u;
  auto add = [&](const Releases& list) {
    for (const Release* r : list) {
      if (std::find(all.begin(), all.end(), r) == all.end()) all.push_back(r);
    }
  };
  if (whole_block) add(e->seen);
  for (unsigned i = 0; i < n; ++i) {
    if (whole_block || lanes >> i & 1) add(threads[i].seen);
  }
  for (unsigned i = 0; i < n; ++i) {
    if (whole_block) threads[i].seen.clear();
    else if (lanes >> i & 1) threads[i].seen = all;
  }
  if (whole_block) e->seen.swap(all), e->has_seen = false;
}

void acquire_flag(Engine* e, Address a) {
  if (session.flags.empty()) return;
  auto flag = session.flags.find(a);
  if (flag == session.flags.end()) return;
  const Release* r = flag->second;
  Thread* t = e->thread;
  if (r->block == e->block_stamp && r->thread == t->index) return;
  if (std::find(t->seen.begin(), t->seen.end(), r) != t->seen.end()) return;
  t->seen.push_back(r);
  e->has_seen = true;
}

void release_flag(Engine* e, Address a, bool update) {
  if (!e->fenced) {  // nothing to publish; a plain store ends what the flag stood for
    if (!update && !session.flags.empty()) session.flags.erase(a);
    return;
  }
  if (session.releases.size() >= kMaxReleases) {
    add_remark("order between threads by fences and flags is no longer followed in this launch: it sets flags too often");
    return;
  }
  Thread* t = e->thread;
  const Release*& flag = session.flags[a];
  Release now{e->block_stamp, static_cast<uint16_t>(t->index), t->fences, t->device_fences, t->fence_barrier,
              t->fence_warp, e->barrier_epoch, t->warp_epoch, t->seen};
  now.after.insert(now.after.end(), e->seen.begin(), e->seen.end());
  if (flag && update) {
    bool same = flag->block == now.block && flag->thread == now.thread && flag->fences == now.fences &&
                flag->barrier_epoch == now.barrier_epoch && flag->warp_epoch == now.warp_epoch;
    if (same && t->seen.empty()) return;
    now.after.push_back(flag);
  }
  session.releases.push_back(std::move(now));
  flag = &session.releases.back();
}

void forget_order() {  // a launch orders everything before it
  session.releases.clear();
  session.flags.clear();
  device_fences.clear();
}

}  // namespace emu

using namespace emu;

EXPORT void emu_fence(int scope) {
  Engine* e = current_engine;
  if (!e || !e->thread || !e->checks) return;
  if (UNLIKELY(e->store_in_doubt)) settle_doubts(e);
  Thread* t = e->thread;
  if (t->fences < kMaxFences) ++t->fences;
  else add_remark("a thread fences more than 16383 times: its later fences are not followed, which may show as a race");
  e->fenced = true;
  if (scope != kFenceDevice) return;
  t->device_fences = t->fences;
  t->fence_barrier = e->barrier_epoch;
  t->fence_warp = t->warp_epoch;
  auto number = static_cast<uint16_t>(t->fences - 1);  // orders accesses that had at most this many fences before them
  device_fences[fence_key(e->block_stamp, t->index)].push_back({number, e->barrier_epoch, t->warp_epoch});
}
