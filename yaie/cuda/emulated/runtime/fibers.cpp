// One fiber per CUDA thread, and the places where threads meet: barriers and warp functions.
//
// A fiber runs until it has to wait, so between two meetings the threads of a block run one after another. A thread
// that ends starts the next one on the same stack, without a switch: a kernel without barriers needs one fiber.
#include <sys/mman.h>

#include "runtime.h"
#include "stack_switch.h"

#define RETURN_ADDRESS reinterpret_cast<emu::Address>(__builtin_return_address(0))

namespace emu {

thread_local Engine* current_engine __attribute__((tls_model("initial-exec")));

namespace {

constexpr size_t kStack = 256 << 10;
constexpr unsigned kSlots = 64;  // results of warp functions that may still be unread when the next ones complete

Fiber* take_fiber(Engine* e) {
  if (!e->free_fibers.empty()) {
    Fiber* fiber = e->free_fibers.back();
    e->free_fibers.pop_back();
    return fiber;
  }
  auto* memory = static_cast<char*>(mmap(nullptr, kStack + kPage, PROT_READ | PROT_WRITE,
                                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  if (memory == MAP_FAILED) abort();
  mprotect(memory, kPage, PROT_NONE);
  // Staggered tops: stacks at equal page offsets would fight for the same cache sets.
  size_t stagger = e->all_fibers.size() % 61 * 256;
  auto* fiber = new Fiber{nullptr, memory + kPage, memory + kPage + kStack - stagger};
  e->all_fibers.push_back(fiber);
  return fiber;
}

void make_ready(Engine* e, Thread* t) {
  t->state = State::kReady;
  e->ready[e->ready_tail++ % e->ready.size()] = t;
}

void run_threads();
void report_deadlock(Engine* e);
void release_barrier(Engine* e, Thread* self);
bool try_meet(Engine* e, unsigned w, unsigned mask, bool by_exit);

void switch_to(Engine* e, Thread* t, Fiber* fiber, bool keep_current) {
  Fiber* from = e->fiber;
  e->thread = t;
  e->fiber = fiber;
  if (fiber == from) return;
  void* discarded;
  emu_switch_stack(keep_current ? &from->stack_pointer : &discarded, fiber->stack_pointer);
}

void start_next_thread(Engine* e, bool keep_current) {
  Thread* t = &e->threads[e->unstarted++];
  Fiber* fiber = take_fiber(e);
  fiber->stack_pointer = new_stack(fiber->high, run_threads);
  switch_to(e, t, fiber, keep_current);
}

// When everybody is stuck, the lanes that ask for the active mask on one line are the ones that are together.
bool answer_active_masks(Engine* e) {
  bool any = false;
  for (auto& t : e->threads) {
    if (t.state != State::kAtActiveMask) continue;
    unsigned first = t.index / kLanes * kLanes, mask = 0;
    unsigned end = std::min<unsigned>(first + kLanes, e->threads.size());
    Site site = t.site;
    auto together = [&](Thread& o) { return o.state == State::kAtActiveMask && same_place(o.site, site); };
    for (unsigned i = first; i < end; ++i) mask |= unsigned(together(e->threads[i])) << (i - first);
    for (unsigned i = first; i < end; ++i) {
      Thread& o = e->threads[i];
      if (!together(o)) continue;
      o.mask = mask;
      make_ready(e, &o);
    }
    any = true;
  }
  return any;
}

// Gives the turn to another thread. With keep_current false the caller's fiber is finished.
void next_thread(Engine* e, bool keep_current) {
  for (;;) {
    if (e->ready_head != e->ready_tail) {
      Thread* t = e->ready[e->ready_head++ % e->ready.size()];
      return switch_to(e, t, t->fiber, keep_current);
    }
    if (e->unstarted < e->job->num_threads) return start_next_thread(e, keep_current);
    if (!answer_active_masks(e)) report_deadlock(e);
  }
}

void leave_warp(Engine* e, Thread* t) {
  unsigned w = t->index / kLanes, bit = 1u << t->index % kLanes;
  Warp& warp = e->warps[w];
  warp.live &= ~bit;
  if (!warp.live) return put_side_by_side(e, w);
  for (unsigned i = 0; i < kLanes; ++i) {
    if (!(warp.live >> i & 1)) continue;
    Thread& o = e->threads[w * kLanes + i];
    if (o.state == State::kAtWarp && (o.mask & bit) && try_meet(e, w, o.mask, true)) break;
  }
}

// The body of every fiber: runs threads until it is needed no more.
void run_threads() {
  Engine* e = current_engine;
  for (;;) {
    Thread* t = e->thread;
    t->state = State::kReady;
    t->fiber = e->fiber;
    e->job->request->invoke(e->job->request->arguments);
    if (UNLIKELY(e->store_in_doubt)) settle_doubts(e);
    if (e->hopper) end_hopper_thread(e, t);
    t->state = State::kDone;
    --e->live;
    if (!e->hopper || !owes_arrivals(e, t)) drop_copies(e, t);
    leave_warp(e, t);
    if (e->live && e->at_barrier == e->live) release_barrier(e, nullptr);
    if (e->ready_head == e->ready_tail && e->unstarted < e->job->num_threads) {
      e->thread = &e->threads[e->unstarted++];
      continue;
    }
    if (!e->live) resume_main(e);
    e->free_fibers.push_back(e->fiber);
    next_thread(e, false);
  }
}

// ---- __syncthreads

Place place_of(Engine* e, const Thread& t) {
  Place p;
  p.block = e->block;
  p.thread = t.index3;
  p.site = t.site;
  return p;
}

void check_same_barrier(Engine* e, const Thread& first) {
  for (auto& t : e->threads) {
    if (t.state != State::kAtBarrier) continue;
    if (t.barrier_call != first.barrier_call) e->mixed_barriers = t.site.line;
    if (same_place(t.site, first.site) && t.barrier_op == first.barrier_op) continue;
    const char* one = t.site.line == first.site.line ? "another one of line" : "the one of line";
    Finding f{"barrier_divergence"};
    f.place = place_of(e, t);
    f.other = place_of(e, first);
    f.has_other = true;
    f.detail = format("thread %s waits at the barrier of line %d while thread %s waits at %s %d", show(t.index3).c_str(),
                      t.site.line, show(first.index3).c_str(), one, first.site.line);
    fail(std::move(f));
  }
}

void check_nobody_left(Engine* e, const Thread& waiting) {
  if (e->live == e->job->num_threads) return;
  auto gone = std::find_if(e->threads.begin(), e->threads.end(), [](Thread& t) { return t.state == State::kDone; });
  bool same_line = gone->barrier_call && gone->barrier_site.line == waiting.site.line;
  if (e->mixed_barriers == waiting.site.line) {  // barriers of one macro have one line and column, and have met
    Finding f{"barrier_divergence"};
    f.place = f.other = place_of(e, waiting);
    f.other.thread = gone->index3;
    f.has_other = true;
    f.detail = format("line %d has more than one barrier, and not all threads come to each: thread %s came to more of them than "
                      "thread %s", waiting.site.line, show(waiting.index3).c_str(), show(gone->index3).c_str());
    fail(std::move(f));
  }
  Finding f{"exit_before_barrier"};
  f.place = place_of(e, waiting);
  f.place.thread = gone->index3;
  f.again = same_line;
  f.detail = format("%u of the block's %u threads had already returned when the others met here",
                    e->job->num_threads - e->live, e->job->num_threads);
  add_finding(std::move(f));
}

int barrier_result(int op, int votes, int waiting) {
  if (op == kBarrierCount) return votes;
  if (op == kBarrierAnd) return votes == waiting;
  return op == kBarrierOr ? votes > 0 : 0;
}

void release_barrier(Engine* e, Thread* self) {
  auto first = std::find_if(e->threads.begin(), e->threads.end(), [](Thread& t) { return t.state == State::kAtBarrier; });
  if (first == e->threads.end()) return;
  check_same_barrier(e, *first);
  check_nobody_left(e, *first);
  if (e->checks) {
    settle_unwritten_reads(e);
    for (unsigned w = 0; w < e->warps.size(); ++w) put_side_by_side(e, w);
  }
  if (UNLIKELY(e->has_seen)) share_seen(e, e->threads.data(), static_cast<unsigned>(e->threads.size()), ~0u);
  if (e->hopper) meet_clocks(e, e->threads.data(), static_cast<unsigned>(e->threads.size()), ~0u);
  int votes = 0, waiting = 0;
  for (auto& t : e->threads) {
    if (t.state == State::kAtBarrier) votes += t.vote != 0, ++waiting;
  }
  ++e->barrier_epoch;
  e->at_barrier = 0;
  for (auto& t : e->threads) {
    if (t.state != State::kAtBarrier) continue;
    t.vote = barrier_result(t.barrier_op, votes, waiting);
    if (&t == self) t.state = State::kReady;
    else make_ready(e, &t);
  }
}

// ---- warp functions: one rendezvous of the lanes in a mask serves all of them

const char* name_of(WarpOp op) {
  switch (op) {
    case WarpOp::kSync: return "__syncwarp()";
    case WarpOp::kShuffle: return "a __shfl_*_sync()";
    case WarpOp::kBallot: return "a vote (__ballot/any/all_sync)";
    case WarpOp::kMatch: return "a __match_*_sync()";
    case WarpOp::kReduce: return "a __reduce_*_sync()";
    case WarpOp::kLdmatrix: return "ldmatrix";
    case WarpOp::kWgmmaWait: return "wgmma_wait";
    default: return "mma.sync";
  }
}

void check_same_call(Engine* e, const Thread& a, const Thread& b) {
  if (a.warp_op == b.warp_op && same_place(a.site, b.site)) return;
  std::string at = format("%s of line %d", name_of(a.warp_op), a.site.line);
  if (a.warp_op == b.warp_op) at = format(a.site.line == b.site.line ? "another one of line %d" : "the one of line %d", a.site.line);
  Finding f{"warp_divergence"};
  f.place = place_of(e, b);
  f.other = place_of(e, a);
  f.has_other = true;
  f.detail = format("lane %u is at %s of line %d while lane %u is at %s, with the same mask 0x%08x", b.index % kLanes,
                    name_of(b.warp_op), b.site.line, a.index % kLanes, at.c_str(), a.mask);
  fail(std::move(f));
}

std::string show_lanes(unsigned lanes) {  // "lane 3", "lanes 0-15", "lanes 0, 4-7"
  std::string text;
  for (unsigned i = 0; i < kLanes; ++i) {
    if (!(lanes >> i & 1)) continue;
    unsigned first = i;
    while (i + 1 < kLanes && lanes >> (i + 1) & 1) ++i;
    text += (text.empty() ? "" : ", ") + (i > first ? format("%u-%u", first, i) : format("%u", first));
  }
  return format("lane%s %s", lanes & (lanes - 1) ? "s" : "", text.c_str());
}

// A mask names who is to come. Lanes that have returned cannot; those that the block never had do no harm, except to the
// tensor cores, which take all 32.
void check_mask(Engine* e, const Warp& warp, const Thread& first, unsigned met) {
  bool needs_all = first.warp_op == WarpOp::kMma || first.warp_op == WarpOp::kWgmmaWait || first.warp_op == WarpOp::kLdmatrix;
  unsigned gone = first.mask & ~warp.live & (needs_all ? ~0u : warp.existing);
  if (LIKELY(!gone)) return;
  Finding f{"exit_before_warp_function"};
  f.place = place_of(e, first);
  f.other = f.place;
  f.other.thread = thread_index_of(e->job, (first.index & ~(kLanes - 1)) + unsigned(__builtin_ctz(gone)));
  f.has_other = true;
  bool returned = gone & warp.existing;
  f.detail = format("%s of the mask 0x%08x %s when %s met at %s of line %d", show_lanes(gone).c_str(), first.mask,
                    returned ? "had returned" : "did not exist", show_lanes(met).c_str(), name_of(first.warp_op), first.site.line);
  add_finding(std::move(f));
}

// Completes the rendezvous if every live lane of the mask has come.
bool try_meet(Engine* e, unsigned w, unsigned mask, bool by_exit) {
  Warp& warp = e->warps[w];
  Thread* lanes = &e->threads[w * kLanes];
  unsigned need = mask & warp.live;
  if (!need || (need & ~warp.waiting)) return false;
  Thread& first = lanes[__builtin_ctz(need)];
  for (unsigned i = 0; i < kLanes; ++i) {
    if ((need >> i & 1) && lanes[i].mask != mask) return false;
  }
  if (warp.slots.empty()) warp.slots.resize((kSlots + 1) * kLanes * kPayload);
  for (unsigned i = 0; i < kLanes; ++i) {
    if (need >> i & 1) check_same_call(e, first, lanes[i]);
  }
  check_mask(e, warp, first, need);
  // A lane that meets only itself could lap the ring before others have read, so it has a slot of its own.
  unsigned slot = need & (need - 1) ? warp.next_slot++ % kSlots : kSlots;
  unsigned char* results = &warp.slots[slot * kLanes * kPayload];
  if (first.warp_op == WarpOp::kSync) ++warp.epoch;
  for (unsigned i = 0; i < kLanes; ++i) {
    if (!(need >> i & 1)) continue;
    memcpy(results + i * kPayload, lanes[i].payload, kPayload);
    lanes[i].slot = slot;
    lanes[i].met = need;
    if (first.warp_op == WarpOp::kSync) lanes[i].warp_epoch = warp.epoch;
  }
  if (e->checks && need == warp.live) put_side_by_side(e, w);
  if (UNLIKELY(e->has_seen)) share_seen(e, lanes, static_cast<unsigned>(__builtin_popcount(warp.existing)), need);
  if (e->hopper && first.warp_op == WarpOp::kSync) {
    meet_clocks(e, lanes, static_cast<unsigned>(__builtin_popcount(warp.existing)), need);
  }
  warp.waiting &= ~need;
  for (unsigned i = 0; i < kLanes; ++i) {
    if (!(need >> i & 1)) continue;
    if (&lanes[i] == e->thread && !by_exit) lanes[i].state = State::kReady;
    else make_ready(e, &lanes[i]);
  }
  return true;
}

// Who took part in the last meeting; some of them may have ended since.
unsigned lanes_met() { return current_engine->thread->met; }

// ---- deadlock: everybody waits and nobody can come

std::string where_waiting(const Thread& t) {
  if (t.state > State::kAtActiveMask) return where_hopper_waits(t);
  if (t.state == State::kAtBarrier) return format("at the __syncthreads() of line %d", t.site.line);
  return format("at %s of line %d (mask 0x%08x)", name_of(t.warp_op), t.site.line, t.mask);
}

void report_deadlock(Engine* e) {
  std::vector<std::pair<std::string, std::vector<Thread*>>> groups;
  for (auto& t : e->threads) {
    if (t.state == State::kReady || t.state == State::kDone) continue;
    std::string where = where_waiting(t);
    auto g = std::find_if(groups.begin(), groups.end(), [&](auto& x) { return x.first == where; });
    if (g == groups.end()) g = groups.insert(groups.end(), {where, {}});
    g->second.push_back(&t);
  }
  if (e->hopper && !session.findings.empty()) {  // it comes from what has been found
    e->job->failed = true;
    session.error = 719;
    resume_main(e);
  }
  Finding f = e->hopper ? hopper_deadlock(e) : Finding{"deadlock"};
  bool named = f.place.site.line;
  if (!f.detail.empty()) f.detail += "\n    ";
  bool first = true;
  for (auto& g : groups) {
    f.detail += format("%s%zu thread%s (first: %s) wait%s %s", first ? "" : "; ", g.second.size(),
                       g.second.size() > 1 ? "s" : "", show(g.second[0]->index3).c_str(),
                       g.second.size() > 1 ? "" : "s", g.first.c_str());
    first = false;
  }
  if (e->live < e->job->num_threads) f.detail += format("; %u have returned", e->job->num_threads - e->live);
  if (named) fail(std::move(f));
  f.place = place_of(e, *groups[0].second[0]);
  if (groups.size() > 1) f.other = place_of(e, *groups[1].second[0]), f.has_other = true;
  fail(std::move(f));
}

}  // namespace

const unsigned char* meet(WarpOp op, unsigned mask, const void* in, unsigned bytes, Site site) {
  Engine* e = current_engine;
  Thread* t = e->thread;
  unsigned w = t->index / kLanes, lane = t->index % kLanes;
  if (UNLIKELY(e->store_in_doubt)) settle_doubts(e);
  if (UNLIKELY(e->stop_requested)) sample_or_stop(e, 0, site);
  if (UNLIKELY(!(mask >> lane & 1))) {
    fail_here("warp_mask", site, format("lane %u calls %s with mask 0x%08x, which does not name it", lane, name_of(op), mask));
  }
  t->state = State::kAtWarp;
  e->warps[w].waiting |= 1u << lane;
  t->mask = mask;
  t->warp_op = op;
  t->site = site;
  memcpy(t->payload, in, bytes);
  if (!try_meet(e, w, mask, false)) next_thread(e, true);
  return &e->warps[w].slots[t->slot * kLanes * kPayload];
}

void resume_main(Engine* e) {
  void* discarded;
  e->fiber = nullptr;
  emu_switch_stack(&discarded, e->main_stack);
  __builtin_unreachable();
}

void yield_turn(Engine* e) {
  if (e->ready_head == e->ready_tail && e->unstarted == e->job->num_threads) return;
  make_ready(e, e->thread);
  // A spinning thread waits for one that may not have started.
  if (e->unstarted < e->job->num_threads) start_next_thread(e, true);
  else next_thread(e, true);
}

// The thread that runs waits for something else than a barrier of the block or a warp function.
void wait_until_woken(Engine* e, State state, Site site) {
  e->thread->state = state;
  e->thread->site = site;
  next_thread(e, true);
}

void wake(Engine* e, std::vector<Thread*>* threads) {
  for (Thread* t : *threads) make_ready(e, t);
  threads->clear();
}

// Lets the other lanes of this warp catch up.
void start_sibling_or_yield(Engine* e) {
  make_ready(e, e->thread);
  bool sibling_unstarted = e->unstarted < e->job->num_threads && e->unstarted / kLanes == e->thread->index / kLanes;
  if (sibling_unstarted) start_next_thread(e, true);
  else next_thread(e, true);
}

void run_block(Engine* e, long block) {
  Job* job = e->job;
  e->block = block_index_of(job, block);
  e->block_stamp = session.first_stamp + static_cast<uint32_t>(block);
  e->barrier_epoch = 1;
  e->mixed_barriers = 0;
  e->unstarted = 0;
  e->live = job->num_threads;
  e->at_barrier = 0;
  e->ready_head = e->ready_tail = 0;
  e->free_fibers = e->all_fibers;
  e->in_flight_copies = 0;
  for (auto& t : e->threads) {
    t.state = State::kUnstarted;
    t.warp_epoch = 0;
    t.copy_group = t.spins = 0;
    t.barrier_call = 0;
    t.tick = 0;
    t.follows_registers = false;
    t.log.clear();
    t.copies.clear();
  }
  for (unsigned w = 0; w < e->warps.size(); ++w) {
    unsigned lanes = std::min(kLanes, job->num_threads - w * kLanes);
    e->warps[w].existing = e->warps[w].live = lanes == kLanes ? ~0u : (1u << lanes) - 1;
    e->warps[w].epoch = 0;
    e->warps[w].waiting = 0;
  }
  if (e->checks) start_block_order(e);
  if (e->checks & kCounters) start_counting(e);
  if (e->hopper) start_hopper(e);
  start_block_memory(e);
  Fiber* fiber = take_fiber(e);
  fiber->stack_pointer = new_stack(fiber->high, run_threads);
  e->thread = &e->threads[e->unstarted++];
  e->fiber = fiber;
  emu_switch_stack(&e->main_stack, fiber->stack_pointer);
  if (e->hopper && !job->failed) end_hopper_block(e);
  if (e->checks & kCounters) end_counting(e);
  if (e->checks) settle_block(e);
  if (e->checks && !job->failed) settle_unwritten_reads(e);
  e->thread = nullptr;
  e->fiber = nullptr;
}

}  // namespace emu

using namespace emu;

EXPORT Index3 emu_thread_index() {
  Engine* e = current_engine;
  return e && e->thread ? e->thread->index3 : Index3{};
}
EXPORT Index3 emu_block_index() { return current_engine ? current_engine->block : Index3{}; }
EXPORT Index3 emu_block_dim() { return current_engine ? current_engine->job->request->block : Index3{}; }
EXPORT Index3 emu_grid_dim() { return current_engine ? current_engine->job->request->grid : Index3{}; }
EXPORT unsigned emu_lane() { return current_engine->thread->index % kLanes; }

EXPORT int emu_barrier(int op, int predicate, Site site) {
  Engine* e = current_engine;
  Thread* t = e->thread;
  if (UNLIKELY(e->store_in_doubt)) settle_doubts(e);
  if (UNLIKELY(e->stop_requested)) sample_or_stop(e, 0, site);
  t->state = State::kAtBarrier;
  t->site = t->barrier_site = site;
  t->barrier_call = RETURN_ADDRESS;
  t->barrier_op = op;
  t->vote = predicate;
  if (++e->at_barrier == e->live) release_barrier(e, t);
  else next_thread(e, true);
  return t->vote;
}

EXPORT void emu_syncwarp(unsigned mask, Site site) { meet(WarpOp::kSync, mask, "", 0, site); }

// The value of a lane outside the mask is undefined on the card. Many right kernels shuffle one in and never use it, so
// it is a suspect and no finding: the call is run again with other poison, and only a result that differs convicts it.
static void note_undefined_source(Engine* e, unsigned mask, unsigned source, Site site) {
  if (!e->checks) return;
  unsigned lane = emu_lane();
  const Warp& warp = e->warps[e->thread->index / kLanes];
  const char* why = source >= kLanes || !(warp.existing >> source & 1) ? "the block has no such thread"
                    : mask >> source & 1                               ? "it has returned"
                                                                       : "the mask does not name it";
  Finding f{"shuffle_source"};
  f.kernel = e->job->request->kernel;
  f.place = place_of(e, *e->thread);
  f.place.site = site;
  f.detail = format("lane %u reads from lane %u, mask 0x%08x: %s, so its value is undefined", lane, source, mask, why);
  add_suspect(std::move(f));
}

EXPORT void emu_shuffle(int how, unsigned mask, void* value, unsigned bytes, int operand, int width, Site site) {
  if (emu_lane() == 0 && (current_engine->checks & kCounters)) ++session.shuffles, ++counter_of_warp()->shuffles;
  if (bytes > kPayload) fail_here("unsupported", site, format("a shuffle of %u bytes; the emulator moves up to %u", bytes, kPayload));
  const unsigned char* lanes = meet(WarpOp::kShuffle, mask, value, bytes, site);
  unsigned lane = emu_lane(), segment = lane & ~unsigned(width - 1), source = lane;
  if (how == kShuffleIndex) source = segment | (unsigned(operand) & unsigned(width - 1));
  if (how == kShuffleUp && int(lane) - operand >= int(segment)) source = lane - unsigned(operand);
  if (how == kShuffleDown && lane + unsigned(operand) < segment + unsigned(width)) source = lane + unsigned(operand);
  // Butterflies may reach into an earlier segment, but not into a later one (PTX ISA, shfl.sync.bfly).
  if (how == kShuffleXor && (lane ^ unsigned(operand)) < segment + unsigned(width)) source = lane ^ unsigned(operand);
  if (source >= kLanes || !(lanes_met() >> source & 1)) {
    note_undefined_source(current_engine, mask, source, site);
    memset(value, session.poison, bytes);
    return;
  }
  memcpy(value, lanes + source * kPayload, bytes);
}

EXPORT unsigned emu_ballot(unsigned mask, int predicate, Site site) {
  const unsigned char* lanes = meet(WarpOp::kBallot, mask, &predicate, sizeof predicate, site);
  unsigned result = 0, met = lanes_met();
  for (unsigned i = 0; i < kLanes; ++i) {
    if ((met >> i & 1) && payload<int>(lanes, i)) result |= 1u << i;
  }
  return result;
}

EXPORT unsigned emu_match(unsigned mask, const void* value, unsigned bytes, Site site) {
  const unsigned char* lanes = meet(WarpOp::kMatch, mask, value, bytes, site);
  unsigned result = 0, met = lanes_met();
  for (unsigned i = 0; i < kLanes; ++i) {
    if ((met >> i & 1) && !memcmp(lanes + i * kPayload, value, bytes)) result |= 1u << i;
  }
  return result;
}

static unsigned reduce_two(int op, bool is_signed, unsigned a, unsigned b) {
  bool less = is_signed ? int(a) < int(b) : a < b;
  switch (op) {
    case kReduceAdd: return a + b;
    case kReduceMin: return less ? a : b;
    case kReduceMax: return less ? b : a;
    case kReduceAnd: return a & b;
    case kReduceOr: return a | b;
    default: return a ^ b;
  }
}

EXPORT unsigned emu_reduce(int op, bool is_signed, unsigned mask, unsigned value, Site site) {
  const unsigned char* lanes = meet(WarpOp::kReduce, mask, &value, sizeof value, site);
  unsigned others = lanes_met() & ~(1u << emu_lane()), result = value;
  for (unsigned i = 0; i < kLanes; ++i) {
    if (others >> i & 1) result = reduce_two(op, is_signed, result, payload<unsigned>(lanes, i));
  }
  return result;
}

EXPORT unsigned emu_active_mask(Site site) {
  Engine* e = current_engine;
  e->thread->state = State::kAtActiveMask;
  e->thread->site = site;
  Thread* t = e->thread;
  next_thread(e, true);
  return t->mask;
}

EXPORT void emu_pause() {
  Engine* e = current_engine;
  if (UNLIKELY(e->stop_requested)) sample_or_stop(e, 0, Site{});
  yield_turn(e);
}
