// mbarriers, named barriers and setmaxnreg: where the warps of a block wait for one another by roles.
//
// A phase of an mbarrier completes when its arrivals have come and the bytes announced have landed. They land when
// somebody waits for that phase, or when an arrival for the next one comes.
#include "hopper.h"

namespace emu {
namespace {

bool has_passed(const Mbarrier& b, unsigned parity) { return (b.phase & 1) != parity; }

// Of the arrivals that the barrier was made for. Copies that a phase waits for too are pending beside them.
unsigned arrived(const Mbarrier& b) { return b.count + static_cast<unsigned>(b.deferred.size()) - b.pending; }

void complete(Engine* e, Mbarrier& b) {
  b.past[b.phase % 4].swap(b.arrivals);
  b.arrivals.clear();
  ++b.phase;
  b.pending = b.count;
  b.last_announced = b.announced;
  b.announced = 0;
  join(b.completed, b.arriving);
  b.arriving = KnownTicks();
  // Loads that nobody announced: their bytes count in the phase that now begins.
  for (auto& load : b.loads) {
    load.stamp.tick = b.phase + 1;
    auto a = reinterpret_cast<Address>(load.to);
    SharedArray* s = e->hopper->follows_order ? array_around(e, a, load.bytes) : nullptr;
    if (!s) continue;
    for (size_t i = (a - s->begin) >> s->shift; i <= (a + load.bytes - 1 - s->begin) >> s->shift; ++i) {
      if (s->writes[i].thread == load.stamp.thread) s->writes[i].tick = load.stamp.tick;
    }
  }
  wake(e, &b.waiters);
}

// The loads whose bytes complete the phase: how many of the first ones; -1 if none do.
int loads_needed(const Mbarrier& b) {
  long bytes = b.bytes;
  for (size_t n = 0;; ++n) {
    if (bytes == 0) return static_cast<int>(n);
    if (n == b.loads.size()) return -1;
    bytes -= b.loads[n].bytes;
  }
}

void arrive(Engine* e, Mbarrier& b, Site site) {
  if (!b.pending) {  // the bytes are missing: what could land has by now
    try_complete(e, b, true);
  }
  if (!b.pending) {
    fail(finding_here(e, "mbarrier_arrivals", site,
                      format("%s was made for %u arrival%s a phase, and in phase %u this is one more (%ld of %ld bytes are "
                             "missing); %s", name_of_place(e, b.address).c_str(), b.count, b.count > 1 ? "s" : "", b.phase,
                             b.bytes, b.announced, role_of(e, *e->thread).c_str())));
  }
  --b.pending;
  if (!e->hopper->follows_order) return;
  Calls calls = calls_here();
  auto here = [&](const Arrivals& each) { return same_place(each.site, site) && each.calls == calls; };
  auto found = std::find_if(b.arrivals.begin(), b.arrivals.end(), here);
  if (found == b.arrivals.end()) found = b.arrivals.insert(found, {site, std::move(calls), {}, {}});
  found->threads.push_back(e->thread->index);
  found->before = e->thread->waited;
}

void wait_here(Engine* e, State state, Site site) {
  Thread* t = e->thread;
  if (e->hopper->follows_order && t->index % kLanes == 0) t->calls = calls_here();
  wait_until_woken(e, state, site);
}

}  // namespace

void try_complete(Engine* e, Mbarrier& b, bool wanted) {
  wanted |= !b.waiters.empty();
  if (b.pending > b.deferred.size()) return;
  if (!wanted && (!b.deferred.empty() || b.bytes)) return;
  int loads = loads_needed(b);
  if (loads < 0) return;
  while (b.pending) {
    DeferredArrival d = std::move(b.deferred.front());
    b.deferred.erase(b.deferred.begin());
    land_copies(e, d.thread, d.copies);
    for (auto& other : b.deferred) {
      if (other.thread == d.thread) other.copies -= std::min(other.copies, d.copies);
    }
    join(b.arriving, d.clock);
    --b.pending;
  }
  for (int i = 0; i < loads; ++i) {
    b.bytes -= b.loads[static_cast<size_t>(i)].bytes;
    land(e, b.loads[static_cast<size_t>(i)]);
  }
  b.loads.erase(b.loads.begin(), b.loads.begin() + loads);
  complete(e, b);
}

Mbarrier& mbarrier_at(Engine* e, uint64_t* barrier, const char* what, Site site) {
  auto a = reinterpret_cast<Address>(barrier);
  auto found = e->hopper->mbarriers.find(a);
  if (found == e->hopper->mbarriers.end()) {
    fail(finding_here(e, "mbarrier_not_initialised", site,
                      format("%s of %s, which no mbarrier_init has made; %s", what, name_of_place(e, a).c_str(),
                             role_of(e, *e->thread).c_str())));
  }
  Mbarrier& b = found->second;
  if (e->hopper->follows_order && !b.reported && !knows(e, *e->thread, b.init)) {
    b.reported = true;
    Finding f = finding_here(e, "mbarrier_not_initialised", site,
                             format("%s of %s by %s, which nothing makes wait for the mbarrier_init of line %d", what,
                                    name_of_place(e, a).c_str(), role_of(e, *e->thread).c_str(), b.init_site.line));
    f.other.block = e->block;
    f.other.thread = e->threads[b.init.thread].index3;
    f.other.site = b.init_site;
    f.has_other = true;
    add_finding(std::move(f));
  }
  return b;
}

// ---- who waits, in words, and why nobody comes

NamedBarrier& named_barrier_of(Engine* e, const Thread& t) { return e->hopper->named[static_cast<int>(t.wanted)]; }

std::string where_hopper_waits(const Thread& t) {
  Engine* e = current_engine;
  std::string role = role_of(e, t);
  if (t.state == State::kAtMbarrier) {
    const Mbarrier& b = e->hopper->mbarriers.at(t.waited.barrier);
    std::string bytes = b.announced ? format(", %ld of %ld bytes", b.announced - b.bytes, b.announced) : "";
    return format("at the mbarrier_wait of line %d for %s, parity %u (in phase %u: %u of %u arrivals%s)", t.site.line,
                  name_of_place(e, b.address).c_str(), t.wanted, b.phase, arrived(b), b.count, bytes.c_str());
  }
  if (t.state == State::kAtNamedBarrier) {
    const NamedBarrier& b = named_barrier_of(e, t);
    return format("at named barrier %u of line %d (%d of %d threads have come)", t.wanted, t.site.line, b.come, b.wanted);
  }
  if (t.state == State::kAtRegisters) {
    return format("at the setmaxnreg_inc of line %d for %u registers, %s", t.site.line, t.wanted, role.c_str());
  }
  return format("at the wgmma_wait of line %d for the rest of its warpgroup, %s", t.site.line, role.c_str());
}

// Of those that wait for arrivals, whose barrier says most about why none come: one that has run ahead, one to which some
// have come and not the waiting thread alone, one to which nobody ever has. Else it is others who are kept from coming.
enum Says { kOthersAreKept, kNobodyCame, kSomeCame, kTooMany };

Says what_it_says(const Mbarrier& b, const Thread& t) {
  auto by_another = [&](const Arrivals& each) {
    return std::any_of(each.threads.begin(), each.threads.end(), [&](unsigned i) { return i != t.index; });
  };
  if (b.phase >= t.waited.known + 2) return kTooMany;
  if (std::any_of(b.arrivals.begin(), b.arrivals.end(), by_another)) return kSomeCame;
  return b.phase || !b.arrivals.empty() ? kOthersAreKept : kNobodyCame;
}

// How far the others of its array are.
std::string beside(Engine* e, const Mbarrier& b) {
  std::string all;
  for (auto& each : e->hopper->mbarriers) {
    const Mbarrier& other = each.second;
    if (array_of(e, other) != array_of(e, b) || !other.phase) continue;
    all += format("; %s has had %u phase%s", name_of_place(e, other.address).c_str(), other.phase, other.phase == 1 ? "" : "s");
  }
  return all;
}

// What the thread had waited for that was the last to arrive.
std::string allowed_by(Engine* e, const Mbarrier& b) {
  auto& last = b.of(b.phase - 1);
  if (last.empty()) return "";
  const LastWait& w = last.back().before;
  bool of_another = w.barrier && w.barrier != b.address && w.phase + !w.at_once;
  return of_another ? format(", which came when %s", told(w, e).c_str()) : "";
}

std::string why_nobody_comes(Engine* e, const Mbarrier& b, const Thread& t) {
  std::string name = name_of_place(e, b.address), last = told(b.of(b.phase - 1), e);
  switch (what_it_says(b, t)) {
    case kTooMany:
      return format("arrivals at %s come too early or too often: %u phases of it are over, and %s had waited for %u. After two "
                    "more the parity is the old one, so it waits again. A phase takes %u arrival%s; the last one had %s%s.",
                    name.c_str(), b.phase, role_of(e, t).c_str(), t.waited.known, b.count, b.count > 1 ? "s" : "", last.c_str(),
                    allowed_by(e, b).c_str());
    case kOthersAreKept:
      if (b.arrivals.empty()) {
        return format("nobody arrives at %s in phase %u any more; phase %u had %s.", name.c_str(), b.phase, b.phase - 1, last.c_str());
      }
      [[fallthrough]];
    case kSomeCame:
      return format("%u of the %u arrivals of phase %u of %s have come: %s. The others do not.", arrived(b), b.count,
                    b.phase, name.c_str(), told(b.arrivals, e).c_str());
    case kNobodyCame:
      return format("nobody has ever arrived at %s, and %s waits for phase 0 of it%s. (Who fills a buffer begins with a wait for "
                    "parity 1, which passes.)", name.c_str(), role_of(e, t).c_str(), beside(e, b).c_str());
  }
  return "";
}

// Whom nobody can help, and why: bytes that never come explain all else; whoever came to a named barrier before and now
// waits at an mbarrier is kept from coming by that.
Finding hopper_deadlock(Engine* e) {
  const Thread *bytes = nullptr, *arrivals = nullptr, *named = nullptr, *registers = nullptr, *warpgroup = nullptr;
  const Thread* of_all = nullptr;
  int most = -1;
  unsigned at_barrier = 0;
  auto note = [](const Thread*& which, const Thread& t) {
    if (!which) which = &t;
  };
  for (auto& t : e->threads) {
    if (t.state == State::kAtMbarrier) {
      const Mbarrier& b = e->hopper->mbarriers.at(t.waited.barrier);
      if (!b.pending && b.bytes) note(bytes, t);
      if (int says = what_it_says(b, t); says > most) most = says, arrivals = &t;
    }
    if (t.state == State::kAtBarrier) note(of_all, t), ++at_barrier;
    if (t.state == State::kAtNamedBarrier) note(named, t);
    if (t.state == State::kAtRegisters) note(registers, t);
    if (t.state == State::kAtWarpgroup) note(warpgroup, t);
  }
  auto is_kept = [&](const Thread& t) {
    return t.state == State::kAtMbarrier && (named_barrier_of(e, *named).comers >> t.index / kLanes & 1);
  };
  if (named && std::any_of(e->threads.begin(), e->threads.end(), is_kept)) named = nullptr;
  Finding f{"deadlock"};
  if (!arrivals && !named && !registers && !warpgroup) return f;
  const Thread* t = bytes ? bytes : registers ? registers : warpgroup ? warpgroup : of_all ? of_all : named ? named : arrivals;
  f.place.block = e->block;
  f.place.thread = t->index3;
  f.place.site = t->site;
  f.calls = t->calls;
  if (t == of_all) {
    f.because = format("__syncthreads() is for all threads of the block: %u of %zu have come, and the others wait elsewhere. "
                       "Threads of one role meet at a named barrier.", at_barrier, e->threads.size());
  } else if (t == registers) {
    f.kind = "registers";
    f.detail = format("%u registers of each thread are asked for, and %u are left for a warpgroup", t->wanted,
                      e->hopper->registers_left / kWarpgroup);
  } else if (t == warpgroup) {
    f.kind = "warpgroup_divergence";
    f.detail = "not all warps of the warpgroup issue this product";
  } else if (t == named) {
    const NamedBarrier& b = named_barrier_of(e, *t);
    f.kind = "named_barrier";
    f.detail = format("named barrier %u waits for %d threads, and %d have come", t->wanted, b.wanted, b.come);
    f.because = format("barrier %u is called for %d threads, and %d of them come to it: the others wait elsewhere, or have "
                       "returned. Either fewer are to come, or somebody does not who should.", t->wanted, b.wanted, b.come);
  } else {
    const Mbarrier& b = e->hopper->mbarriers.at(t->waited.barrier);
    std::string name = name_of_place(e, b.address);
    long started = 0;
    for (auto& load : b.loads) started += load.bytes;
    f.kind = t == bytes ? "mbarrier_bytes" : "mbarrier_deadlock";
    f.detail = t == bytes ? format("phase %u of %s waits for %ld bytes, and loads of %ld were started for it", b.phase,
                                   name.c_str(), b.bytes, started)
                          : format("phase %u of %s (parity %u) has %u of %u arrivals", b.phase, name.c_str(), b.phase & 1,
                                   arrived(b), b.count);
    f.because = t == bytes ? format("%ld bytes were announced for phase %u of %s (%s), and the loads that were started have %ld. "
                                    "A box counts whole, also where it reaches past the end of the tensor.", b.announced,
                                    b.phase, name.c_str(), told(b.arrivals, e).c_str(), b.announced - b.bytes + started)
                           : why_nobody_comes(e, b, *t);
  }
  return f;
}

}  // namespace emu

using namespace emu;

EXPORT void emu_mbarrier_init(uint64_t* barrier, unsigned arrivals, Site site) {
  Engine* e = current_engine;
  begin_operation(e, site);
  auto a = reinterpret_cast<Address>(barrier);
  if (a - reinterpret_cast<Address>(e->arena) >= e->arena_bytes || a % 8 || !arrivals || arrivals >= 1u << 20) {
    fail(finding_here(e, "mbarrier_not_initialised", site,
                      "an mbarrier is 8 bytes of shared memory, aligned to 8, for 1 to 1048575 arrivals"));
  }
  uint32_t pc = pc_of(RETURN_ADDRESS);
  if (e->checks) on_access(a, 8, kWrite, RETURN_ADDRESS, kAligned);
  Mbarrier b;
  b.address = a;
  b.init = stamp_of(e, pc, kPlain);
  b.init_site = site;
  b.count = b.pending = arrivals;
  b.agent = new_agent(e, e->thread, site);
  if (e->hopper->follows_order) b.made = calls_here();
  e->hopper->mbarriers[a] = std::move(b);
}

EXPORT void emu_fence_mbarrier_init() {
  Engine* e = current_engine;
  for (auto& each : e->hopper->mbarriers) {
    if (each.second.init.thread == e->thread->index) each.second.fenced = true;
  }
}

EXPORT void emu_mbarrier_arrive(uint64_t* barrier, unsigned bytes, Site site) {
  Engine* e = current_engine;
  begin_operation(e, site);
  Mbarrier& b = mbarrier_at(e, barrier, "an arrival", site);
  arrive(e, b, site);
  b.bytes += bytes;
  b.announced += bytes;
  publish(e, e->thread, &b.arriving);
  try_complete(e, b, false);
}

// One arrival more in this phase, which comes when the copies have landed.
EXPORT void emu_mbarrier_expect_cp_async(uint64_t* barrier, Site site) {
  Engine* e = current_engine;
  begin_operation(e, site);
  Mbarrier& b = mbarrier_at(e, barrier, "copies to wait for", site);
  DeferredArrival d{e->thread, e->thread->copies.size(), {}};
  publish(e, e->thread, &d.clock);
  b.deferred.push_back(std::move(d));
  ++b.pending;
  try_complete(e, b, false);
}

EXPORT void emu_mbarrier_wait(uint64_t* barrier, unsigned parity, Site site) {
  Engine* e = current_engine;
  Thread* t = e->thread;
  begin_operation(e, site);
  Mbarrier& b = mbarrier_at(e, barrier, "a wait", site);
  if (parity > 1) {
    fail(finding_here(e, "mbarrier_parity", site,
                      format("a wait for parity %u of %s; %s", parity, name_of_place(e, b.address).c_str(), role_of(e, *t).c_str())));
  }
  bool at_once = has_passed(b, parity);
  uint32_t known = known_tick(e, *t, b.agent);
  t->waited = {b.address, parity, b.phase, known, at_once, at_once && b.phase <= known, site};
  if (!at_once) try_complete(e, b, true);
  while (!has_passed(b, parity)) {
    b.waiters.push_back(t);
    t->wanted = parity;
    wait_here(e, State::kAtMbarrier, site);
  }
  learn(e, t, b.completed);
  learn_agent(e, t, b.agent, b.phase);
}

EXPORT void emu_named_barrier(int id, int threads, bool waits, Site site) {
  Engine* e = current_engine;
  Thread* t = e->thread;
  begin_operation(e, site);
  if (id < 0 || id > 15 || threads <= 0 || threads % static_cast<int>(kLanes) || threads > static_cast<int>(e->threads.size())) {
    fail(finding_here(e, "named_barrier", site,
                      format("barrier %d of %d threads: there are 0 to 15, each of a multiple of 32 threads, of which this "
                             "block has %zu", id, threads, e->threads.size())));
  }
  NamedBarrier& b = e->hopper->named[id];
  if (b.come && b.wanted != threads) {
    Finding f = finding_here(e, "named_barrier", site,
                             format("%s comes to barrier %d for %d threads, and %s came to it for %d", role_of(e, *t).c_str(),
                                    id, threads, role_of(e, *b.first).c_str(), b.wanted));
    f.other = f.place;
    f.other.thread = b.first->index3;
    f.other.site = b.site;
    f.has_other = true;
    fail(std::move(f));
  }
  b.comers |= 1u << t->index / kLanes;
  if (!b.come++) b.wanted = threads, b.first = t, b.site = site;
  publish(e, t, &b.clock);
  if (b.come < b.wanted) {
    if (!waits) return;
    b.waiters.push_back(t);
    t->wanted = static_cast<unsigned>(id);
    wait_here(e, State::kAtNamedBarrier, site);
    return;
  }
  if (waits) learn(e, t, b.clock);
  for (Thread* other : b.waiters) learn(e, other, b.clock);
  std::vector<Thread*> waiters = std::move(b.waiters);
  uint32_t comers = b.comers;
  b = NamedBarrier();
  b.comers = comers;
  wake(e, &waiters);
}

// The block has what the compiler gave it at the launch. What one warpgroup gives up another may take.
EXPORT void emu_setmaxnreg(int registers, bool more, Site site) {
  Engine* e = current_engine;
  Thread* t = e->thread;
  begin_operation(e, site);
  Hopper& h = *e->hopper;
  Warpgroup& g = h.warpgroups[t->index / kWarpgroup];
  auto wanted = static_cast<unsigned>(registers);
  if (registers < 24 || registers > 256 || registers % 8) {
    fail(finding_here(e, "registers", site, format("setmaxnreg of %d: 24 to 256 by eights", registers)));
  }
  if (!g.asking++) g.asking_site = site;
  if (!same_place(g.asking_site, site)) {
    fail(finding_here(e, "registers", site,
                      format("all warps of a warpgroup change their registers together: %s is at line %d, others at line %d",
                             role_of(e, *t).c_str(), site.line, g.asking_site.line)));
  }
  if (g.asking == 1 && (more ? wanted < g.registers : wanted > g.registers)) {
    fail(finding_here(e, "registers", site,
                      format("setmaxnreg_%s to %u, and %s has %u registers a thread", more ? "inc" : "dec", wanted,
                             role_of(e, *t).c_str(), g.registers)));
  }
  if (g.asking == 1 && !more) {
    h.registers_left += (g.registers - wanted) * kWarpgroup;
    g.registers = wanted;
    wake(e, &h.register_waiters);
  }
  while (more && g.registers < wanted) {
    unsigned need = (wanted - g.registers) * kWarpgroup;
    if (need <= h.registers_left) {
      h.registers_left -= need;
      g.registers = wanted;
      break;
    }
    h.register_waiters.push_back(t);
    t->wanted = wanted;
    wait_until_woken(e, State::kAtRegisters, site);
  }
  if (g.asking == g.threads) g.asking = 0;
}
