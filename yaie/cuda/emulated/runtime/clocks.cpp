// What a thread knows to have happened, in kernels whose threads meet at other places than barriers of the whole block.
//
// Vector clocks: each thread counts its tellings (arrivals at a barrier, mostly), and each access is stamped with that
// count. A clock holds, for each thread and each agent (hopper.h), up to which count its accesses are known to be over.
// Who waits learns what those who arrived had known. A second clock holds what is known through a fence of the proxies:
// what threads wrote to shared memory and TMA or wgmma may read.
#include "hopper.h"

namespace emu {
namespace {

std::vector<const void*> noted;  // one address in each module that includes yaie_hopper.cuh

void join(std::vector<uint32_t>& to, const std::vector<uint32_t>& from) {
  if (to.size() < from.size()) to.resize(from.size());
  for (size_t i = 0; i < from.size(); ++i) to[i] = std::max(to[i], from[i]);
}

bool has(const std::vector<uint32_t>& clock, const Engine* e, const Stamp& s) {
  unsigned slot = slot_of(e, s.thread);
  return slot < clock.size() && clock[slot] >= s.tick;
}

void next_tick(Engine* e, Thread* t) { clock_of(e, *t).seen[t->index] = ++t->tick; }

}  // namespace

void join(KnownTicks& to, const KnownTicks& from) {
  join(to.seen, from.seen);
  join(to.fenced, from.fenced);
}

Hopper* hopper_of_launch() {
  static thread_local Hopper* mine = nullptr;
  auto here = [](const void* p) {
    return reinterpret_cast<Address>(p) - session.module_begin < session.module_end - session.module_begin;
  };
  if (std::none_of(noted.begin(), noted.end(), here)) return nullptr;
  if (!mine) mine = new Hopper;
  return mine;
}

KnownTicks& clock_of(Engine* e, const Thread& t) { return e->hopper->clocks[t.index]; }

void start_hopper(Engine* e) {
  Hopper& h = *e->hopper;
  h.follows_order = e->checks & kRaces;
  h.mbarriers.clear();
  h.named.clear();
  h.agents.clear();
  h.register_waiters.clear();
  h.warpgroups.assign((e->threads.size() + kWarpgroup - 1) / kWarpgroup, Warpgroup());
  // As the compiler gives them to a kernel that tells how many threads it has: all there are, by eights.
  auto threads = static_cast<unsigned>(e->threads.size());
  unsigned each = std::min(65536 / ((threads + 31) / 32 * 32) / 8 * 8, 248u);
  h.registers_left = 0;
  for (size_t i = 0; i < h.warpgroups.size(); ++i) {
    h.warpgroups[i].registers = each;
    h.warpgroups[i].threads = std::min<unsigned>(kWarpgroup, threads - static_cast<unsigned>(i) * kWarpgroup);
  }
  if (h.follows_order) h.clocks.assign(threads, KnownTicks{std::vector<uint32_t>(threads), std::vector<uint32_t>(threads)});
  for (auto& t : e->threads) {
    t.tick = 0;
    t.products = t.store_group = t.store_agent = t.register_epoch = 0;
    t.groups.clear();
    t.held.clear();
    t.stores.clear();
    t.waited = LastWait();
    t.wgmma_waited = LastWgmmaWait();
    t.calls.clear();
    if (h.follows_order) next_tick(e, &t);
  }
}

unsigned new_agent(Engine* e, Thread* starter, Site site) {
  Hopper& h = *e->hopper;
  if (h.agents.size() >= kMaxAgents) fail_here("unsupported", site, format("a block makes more than %zu mbarriers", kMaxAgents));
  h.agents.push_back({starter});
  return kFirstAgent + kLanes * static_cast<unsigned>(h.agents.size() - 1);
}

unsigned thread_of_agent(Engine* e, unsigned agent) { return e->hopper->agents[(agent - kFirstAgent) / kLanes].thread->index; }

bool knows(Engine* e, const Thread& t, const Stamp& s) {
  if (s.block != e->block_stamp || s.thread == t.index) return true;
  if (s.thread < kFirstAgent) {
    if (s.barrier_epoch != e->barrier_epoch) return true;
    if (s.thread / kLanes == t.index / kLanes && s.warp_epoch != t.warp_epoch) return true;
  }
  return has(clock_of(e, t).seen, e, s);
}

bool knows_through_fence(Engine* e, const Thread& t, const Stamp& s) {
  return s.block != e->block_stamp || s.thread >= kFirstAgent || has(clock_of(e, t).fenced, e, s);
}

bool is_known(Engine* e, const Stamp& s) { return s.block == e->block_stamp && has(clock_of(e, *e->thread).seen, e, s); }

void publish(Engine* e, Thread* t, KnownTicks* to) {
  if (!e->hopper->follows_order) return;
  join(*to, clock_of(e, *t));
  next_tick(e, t);
}

void learn(Engine* e, Thread* t, const KnownTicks& from) {
  if (e->hopper->follows_order) join(clock_of(e, *t), from);
}

uint32_t known_tick(Engine* e, const Thread& t, unsigned agent) {
  if (!e->hopper->follows_order) return 0;
  auto& seen = clock_of(e, t).seen;
  unsigned slot = slot_of(e, agent);
  return slot < seen.size() ? seen[slot] : 0;
}

void learn_agent(Engine* e, Thread* t, unsigned agent, uint32_t tick) {
  if (!e->hopper->follows_order || !agent) return;
  auto& seen = clock_of(e, *t).seen;
  unsigned slot = slot_of(e, agent);
  if (seen.size() <= slot) seen.resize(slot + 1);
  seen[slot] = std::max(seen[slot], tick);
}

void meet_clocks(Engine* e, Thread* threads, unsigned n, unsigned lanes) {
  if (!e->hopper->follows_order) return;
  KnownTicks all;
  auto takes_part = [&](unsigned i) { return n > kLanes || (lanes >> i & 1); };
  for (unsigned i = 0; i < n; ++i) {
    if (takes_part(i)) join(all, clock_of(e, threads[i]));
  }
  for (unsigned i = 0; i < n; ++i) {
    if (!takes_part(i)) continue;
    clock_of(e, threads[i]) = all;
    next_tick(e, &threads[i]);
  }
}

// ---- findings

void begin_operation(Engine* e, Site site) {
  if (UNLIKELY(e->store_in_doubt)) settle_doubts(e);
  if (UNLIKELY(e->stop_requested)) sample_or_stop(e, 0, site);
}

std::string role_of(Engine* e, const Thread& t) {
  unsigned warp = t.index / kLanes;
  if (e->threads.size() <= kWarpgroup) return format("warp %u", warp);
  return format("warp %u of warpgroup %u", warp % 4, t.index / kWarpgroup);
}

// Where the array of mbarriers begins that this one is in: those that the same line made, one behind the other.
Address array_of(Engine* e, const Mbarrier& b) {
  auto first = e->hopper->mbarriers.find(b.address);
  while (first != e->hopper->mbarriers.begin()) {
    auto before = std::prev(first);
    if (before->first + 8 != first->first || !same_place(before->second.init_site, b.init_site)) break;
    first = before;
  }
  return first->first;
}

std::string name_of_place(Engine* e, Address a) {
  SharedArray* s = find_array(e, a);
  if (!s) return "an mbarrier";
  bool of_barriers = s->bytes <= 1024 && s != &e->arrays[0];
  if (of_barriers && s->bytes <= 8) return format("`%s`", s->name.c_str());
  if (of_barriers) return format("`%s[%zu]`", s->name.c_str(), static_cast<size_t>(a - s->begin) / 8);
  auto b = e->hopper->mbarriers.find(a);
  if (b == e->hopper->mbarriers.end() || b->second.made.empty()) {
    return format("the mbarrier at byte %zu of `%s`", static_cast<size_t>(a - s->begin), s->name.c_str());
  }
  return format("\1mbarrier|%zu|%zu|%s|%s\2", static_cast<size_t>(a - array_of(e, b->second)) / 8, static_cast<size_t>(a - s->begin),
                s->name.c_str(), joined(b->second.made).c_str());
}

std::string told(const Site& site, const Calls& calls) {
  return format("\1at|%s|%d|%s\2", site.file, site.line, joined(calls).c_str());
}

// "4 arrivals by warp 0 of warpgroup 1 at ring.cuh:20".
std::string told(const std::vector<Arrivals>& arrivals, Engine* e) {
  std::string all;
  for (auto& each : arrivals) {
    std::map<unsigned, unsigned> warps;  // of warpgroups, as bits
    for (unsigned i : each.threads) warps[i / kWarpgroup] |= 1u << i % kWarpgroup / kLanes;
    std::string by;
    for (auto& of : warps) {
      by += by.empty() ? "" : ", ";
      std::string some;
      for (unsigned w = 0; of.second != 15 && w < 4; ++w) {
        if (of.second >> w & 1) some += format(some.empty() ? "warp %u" : ", %u", w);
      }
      by += some + format(some.empty() ? "warpgroup %u" : " of warpgroup %u", of.first);
    }
    size_t n = each.threads.size();
    all += format("%s%zu arrival%s of %s at %s", all.empty() ? "" : "; ", n, n > 1 ? "s" : "", by.c_str(),
                  told(each.site, each.calls).c_str());
  }
  return all.empty() ? "no arrival" : all;
}

std::string waited_for(Engine* e, const Thread& t) {
  const LastWait& w = t.waited;
  if (!w.barrier) return format("%s has waited for no mbarrier", role_of(e, t).c_str());
  return format("%s last waited for %s, parity %u (line %d)%s", role_of(e, t).c_str(), name_of_place(e, w.barrier).c_str(),
                w.parity, w.site.line, w.at_once ? ", which let it pass at once" : "");
}

Finding finding_here(Engine* e, const char* kind, Site site, std::string detail) {
  Finding f{kind};
  f.kernel = e->job->request->kernel;
  f.place.block = e->block;
  f.place.thread = e->thread->index3;
  f.place.site = site;
  f.detail = std::move(detail);
  return f;
}

// Of a tile that TMA loads and a thread reads, unordered: whether the thread had waited for the load before, and so was
// overtaken, or for none.
// Why a load had not landed when a thread used its tile.
static std::string why_not_landed(Engine* e, const Thread& reader, const Stamp& load) {
  for (auto& each : e->hopper->mbarriers) {
    const Mbarrier& b = each.second;
    if (b.agent != load.thread) continue;
    std::string name = name_of_place(e, b.address), who = role_of(e, reader);
    uint32_t phase = load.tick - 1, known = known_tick(e, reader, b.agent);
    const LastWait& w = reader.waited;
    if (phase && phase == b.phase && !b.announced) {
      return format("phase %u of %s was over with %ld bytes, as many as mbarrier_arrive_expect_tx had announced, and this load is "
                    "not among them.", phase - 1, name.c_str(), b.last_announced);
    }
    if (w.barrier == b.address && w.at_once && w.phase <= phase) {
      return format("the load completes phase %u of %s, whose parity is %u. The wait for parity %u passed at once: phase %u was "
                    "in progress, so the last one with parity %u was over.", phase, name.c_str(), phase & 1, w.parity, w.phase, w.parity);
    }
    if (w.barrier == b.address && !w.at_once && !known) {  // it is waiting now
      return format("%s used these bytes before it waits for the load that completes phase %u of %s.", who.c_str(), phase, name.c_str());
    }
    if (known) {
      return format("the load completes phase %u of %s, and %s has waited for phase %u of it and none after that.", phase,
                    name.c_str(), who.c_str(), known - 1);
    }
    std::string last = w.barrier ? format("its last wait was for %s", name_of_place(e, w.barrier).c_str()) : "it has waited for none";
    return format("the load completes phase %u of %s, and %s has not waited for that before it uses the tile: %s.", phase,
                  name.c_str(), who.c_str(), last.c_str());
  }
  return "";
}

std::string told(const LastWait& w, Engine* e) {
  if (!w.barrier) return "it has waited for no mbarrier";
  auto found = e->hopper->mbarriers.find(w.barrier);
  uint32_t over = w.phase + !w.at_once;  // phases of it that were over after the wait
  std::string name = name_of_place(e, w.barrier);
  if (!over) return format("its last wait, for parity %u of %s, passed at once, before any phase of it was over", w.parity, name.c_str());
  bool is_known = found != e->hopper->mbarriers.end() && !found->second.of(over - 1).empty();
  return format("its last wait was for phase %u of %s%s%s", over - 1, name.c_str(), is_known ? ", which was over with " : "",
                is_known ? told(found->second.of(over - 1), e).c_str() : "");
}

// Why nothing orders what a thread does now after what another did (or after a load that it has started): by its last wait.
std::string why_unordered(Engine* e, const Thread& later, const Thread& earlier, bool load) {
  std::string other = load ? "its last load into the same bytes has been used" : format("thread %s is done", show(earlier.index3).c_str());
  return format("nothing makes thread %s wait until %s: %s. Whoever arrives must do so after all that they speak for are done, "
                "and whoever comes next must wait for that.", show(later.index3).c_str(), other.c_str(), told(later.waited, e).c_str());
}

static bool was_overtaken(Engine* e, const Thread& reader, unsigned agent) {
  auto b = e->hopper->mbarriers.find(reader.waited.barrier);
  return b != e->hopper->mbarriers.end() && b->second.agent == agent && b->second.announced && !reader.waited.again;
}

// An access that nothing orders after an earlier one: which of our kinds it is, if one of the two is asynchronous.
const char* name_async(Engine* e, Finding* f, const Stamp& earlier, int earlier_kind) {
  if (earlier.thread < kFirstAgent || earlier.block != e->block_stamp) return "race";
  const Thread& starter = e->threads[thread_of_agent(e, earlier.thread)];
  bool by_load = earlier_kind == kWrite, by_store = !by_load && starter.store_agent == earlier.thread;
  f->detail = format("%s; %s started the %s", waited_for(e, *e->thread).c_str(), role_of(e, starter).c_str(),
                     by_load ? "load" : by_store ? "store" : "wgmma that reads it");
  if (by_load && was_overtaken(e, *e->thread, earlier.thread)) {
    f->because = why_unordered(e, starter, *e->thread, false);
    std::swap(f->place, f->other);  // it is the load that should have waited
    return "refilled";
  }
  if (by_load) {
    bool writes = f->place.access == kWrite;
    f->because = writes ? "the bytes are those of a load that has not landed: either two tiles overlap, or the load is to be waited for."
                        : why_not_landed(e, *e->thread, earlier);
    return "tma_not_waited";
  }
  return by_store ? "tma_store_not_waited" : "refilled";
}

SharedArray* array_around(Engine* e, Address a, size_t bytes) {
  SharedArray* s = find_array(e, a);
  return s && a + bytes <= s->begin + s->bytes ? s : nullptr;
}

namespace {

const char* kind_of(Engine* e, const AsyncAccess& access, const Stamp& earlier, int earlier_kind, bool first_fill) {
  bool async = earlier.thread >= kFirstAgent;
  if (async && earlier_kind == kRead && e->threads[thread_of_agent(e, earlier.thread)].store_agent == earlier.thread) {
    return "tma_store_not_waited";
  }
  if (access.kind == kRead) return async ? "tma_not_waited" : "race";
  bool same_barrier = async && earlier_kind == kWrite && earlier.thread == access.stamp.thread;
  if (same_barrier && (earlier.tick == access.stamp.tick || thread_of_agent(e, earlier.thread) != e->thread->index)) return "tma_overlap";
  if (async) return "refilled";
  bool overtaken = earlier_kind == kRead && !first_fill && was_overtaken(e, e->threads[earlier.thread], access.stamp.thread);
  return overtaken ? "refilled" : "tma_not_waited";
}

void report_async(Engine* e, SharedArray& s, size_t cell, const AsyncAccess& access, const Stamp& earlier, int earlier_kind,
                  const char* kind) {
  Address a = s.begin + (cell << s.shift);
  Stamp now = stamp_of(e, access.pc, kPlain);
  Finding f = pair_finding(e, kind, target_of(s), now, access.kind, a, 1u << s.shift, earlier, earlier_kind);
  f.place.site = access.site;
  const Thread& other = e->threads[earlier.thread < kFirstAgent ? earlier.thread : thread_of_agent(e, earlier.thread)];
  const Thread* waiter = e->thread;
  const Thread* starter = &other;
  if (access.kind == kWrite && !strcmp(kind, "tma_not_waited")) {  // the other should have waited for this load
    std::swap(f.place, f.other);
    std::swap(waiter, starter);
  }
  f.detail = format("a %s; %s; the other is %s", access.what, waited_for(e, *waiter).c_str(), role_of(e, *starter).c_str());
  if (!strcmp(kind, "refilled")) f.because = why_unordered(e, *e->thread, other, earlier_kind == kWrite);
  if (!strcmp(kind, "tma_overlap") && &other != e->thread) f.because = "several threads start a load of the same tile: it is for one.";
  if (!strcmp(kind, "tma_not_waited")) {
    f.because = why_not_landed(e, access.kind == kRead ? *waiter : other, access.kind == kRead ? earlier : access.stamp);
  }
  add_finding(std::move(f));
}

}  // namespace

bool check_async(Engine* e, SharedArray& s, Address a, size_t bytes, const AsyncAccess& access) {
  size_t last = (a + bytes - 1 - s.begin) >> s.shift;
  Thread& t = *e->thread;
  bool fine = true;
  for (size_t i = (a - s.begin) >> s.shift; i <= last; ++i) {
    Stamp& w = s.writes[i];
    Readers& r = s.reads[i];
    bool written = w.block == e->block_stamp;
    if (fine && written && !knows(e, t, w)) {
      report_async(e, s, i, access, w, kWrite, kind_of(e, access, w, kWrite, false));
      fine = false;
    } else if (fine && UNLIKELY(e->in_flight_copies) && s.in_flight[i]) {
      report_in_flight(e, s, i, stamp_of(e, access.pc, kPlain), access.kind, s.begin + (i << s.shift), 1u << s.shift);
      fine = false;
    } else if (fine && written && !knows_through_fence(e, t, w)) {
      report_async(e, s, i, access, w, kWrite, "proxy_fence");
      fine = false;
    } else if (fine && !written && access.kind == kRead) {
      Finding f = finding_here(e, "uninitialised", access.site, "");
      f.place.access = kRead;
      f.size = 1u << s.shift;
      f.array = s.name;
      f.offset = static_cast<long>(i << s.shift);
      f.array_bytes = s.bytes;
      f.item = f.size;
      f.shared = true;
      f.detail = format("a %s reads byte %ld of `%s`, which no thread of this block wrote", access.what, f.offset,
                        s.name.c_str());
      f.because = format("no load and no thread has put anything at byte %ld of `%s`, where this %s reads: a load is missing, or goes "
                         "elsewhere, or the %s reads elsewhere.", f.offset, s.name.c_str(), access.what, access.what);
      f.calls = calls_here();
      add_suspect(std::move(f));
      fine = false;
    }
    if (access.kind == kWrite) {
      for (const Stamp* each : {&r.last, &r.other}) {
        if (!fine || each->block != e->block_stamp || knows(e, t, *each)) continue;
        report_async(e, s, i, access, *each, kRead, kind_of(e, access, *each, kRead, !written));
        fine = false;
      }
      w = access.stamp;
    } else {
      remember_reader(r, access.stamp);
    }
  }
  return fine;
}

void end_hopper_thread(Engine* e, Thread* t) {
  t->follows_registers = false;
  if (!t->held.empty()) {
    const HeldRegisters& h = t->held.front();
    Finding f{"wgmma_not_waited"};
    f.place.block = e->block;
    f.place.thread = t->index3;
    f.place.pc = h.pc;
    f.detail = format("the kernel ended with this product in flight; %s", role_of(e, *t).c_str());
    add_finding(std::move(f));
  }
  if (!t->stores.empty()) {
    const Store& s = t->stores.front();
    Finding f = finding_here(e, "tma_store_not_waited", s.site,
                             format("the kernel ended before this store was waited for: the block's shared memory may be "
                                    "gone when it reads; %s", role_of(e, *t).c_str()));
    f.array = name_of_place(e, reinterpret_cast<Address>(s.from));
    if (SharedArray* a = find_array(e, reinterpret_cast<Address>(s.from))) f.array = a->name;
    add_finding(std::move(f));
  }
}

bool owes_arrivals(const Engine* e, const Thread* t) {
  auto of_thread = [&](const DeferredArrival& d) { return d.thread == t; };
  auto has_one = [&](const auto& b) { return std::any_of(b.second.deferred.begin(), b.second.deferred.end(), of_thread); };
  return std::any_of(e->hopper->mbarriers.begin(), e->hopper->mbarriers.end(), has_one);
}

void end_hopper_block(Engine* e) {
  for (auto& t : e->threads) drop_copies(e, &t);
  for (auto& each : e->hopper->mbarriers) {
    Mbarrier& b = each.second;
    if (b.loads.empty()) continue;
    const Load& load = b.loads.front();
    Finding f{"tma_not_waited"};
    f.place.block = e->block;
    f.place.thread = e->hopper->agents[(b.agent - kFirstAgent) / kLanes].thread->index3;
    f.place.site = load.site;
    if (SharedArray* a = find_array(e, reinterpret_cast<Address>(load.to))) f.array = a->name;
    f.detail = format("the block ended and nobody had waited for this load: for %s, phase %u",
                      name_of_place(e, b.address).c_str(), b.phase);
    add_finding(std::move(f));
  }
  for (size_t w = 0; w < e->hopper->warpgroups.size(); ++w) {
    const Warpgroup& g = e->hopper->warpgroups[w];
    for (auto& p : g.products) {
      if (p.issued == g.threads && g.threads == kWarpgroup) continue;
      Finding f{"warpgroup_divergence"};
      f.place.block = e->block;
      f.place.thread = p.first->index3;
      f.place.site = p.site;
      f.detail = format("%u of the 128 threads of warpgroup %zu issued this product", p.issued, w);
      add_finding(std::move(f));
      break;
    }
  }
}

}  // namespace emu

using namespace emu;

EXPORT int emu_note_hopper(const void* of_the_module) {
  noted.push_back(of_the_module);
  return 0;
}

EXPORT void emu_fence_proxy_async() {
  Engine* e = current_engine;
  if (UNLIKELY(e->store_in_doubt)) settle_doubts(e);
  Hopper& h = *e->hopper;
  for (auto& each : h.mbarriers) {
    if (each.second.init.thread == e->thread->index) each.second.fenced = true;
  }
  if (!h.follows_order) return;
  KnownTicks& mine = clock_of(e, *e->thread);
  join(mine.fenced, mine.seen);
  next_tick(e, e->thread);
}
