// wgmma: a product of a warpgroup, D[64 x N] += A[64 x 16] B[16 x N]. Its operands in shared memory are read when the first
// warp waits for it, and each warp's registers are read and written at that warp's own wait: as late as the rules allow.
//
// Where an operand lies (PTX ISA, "Matrix-descriptor"; `start`, `leading` and `stride` are the descriptor's fields in
// bytes; then bits 4 to 6 of the address change with bits 7 to 9, as TMA writes it). A span is the swizzle's 32, 64 or 128
// bytes. Row r and element k, both counted from 0:
//   K-major:  start + r / 8 * stride + r % 8 * span + 2 k
//             without swizzle: start + r / 8 * stride + k / 8 * leading + r % 8 * 16 + 2 (k % 8)
//   MN-major: start + r / (span / 2) * leading + k / 8 * stride + k % 8 * span + 2 (r % (span / 2))
//             without swizzle: start + r / 8 * stride + k / 8 * leading + k % 8 * 16 + 2 (r % 8)
#include "../include/float16.h"
#include "hopper.h"

namespace emu {
namespace {

constexpr Address kWindow = 0x3ffff;  // what the address field of a descriptor reaches

struct Descriptor {
  Address start;
  unsigned leading, stride, span, mask;

  explicit Descriptor(uint64_t bits)
      : start((bits & 0x3fff) << 4), leading(unsigned(bits >> 16 & 0x3fff) << 4), stride(unsigned(bits >> 32 & 0x3fff) << 4) {
    constexpr unsigned kSpans[] = {16, 128, 64, 32}, kMasks[] = {0, 7, 3, 1};
    span = kSpans[bits >> 62], mask = kMasks[bits >> 62];
  }
  Address swizzled(Address a) const { return (a ^ ((a >> 7 & mask) << 4)) & kWindow; }
  // The 16 bytes with eight neighbours: of k (`eight` 0 and 1) in row `line`; if MN-major of the rows, at k = `line`.
  Address chunk(bool mn_major, unsigned line, unsigned eight) const {
    if (mn_major && !mask) return start + eight * stride + line / 8 * leading + line % 8 * 16;
    unsigned chunks = span / 16, rows = line / 8 * stride + line % 8 * span;
    if (mn_major) return swizzled(start + eight / chunks * leading + rows + eight % chunks * 16);
    if (!mask) return start + line / 8 * stride + eight * leading + line % 8 * 16;
    return swizzled(start + rows + eight * 16);
  }
};

// Calls f(line, eight, offset in shared memory) for each chunk of an operand of `rows` x 16.
template <class F>
void each_chunk(const Descriptor& d, bool mn_major, unsigned rows, F f) {
  unsigned lines = mn_major ? 16 : rows, eights = mn_major ? rows / 8 : 2;
  for (unsigned eight = 0; eight < eights; ++eight) {
    for (unsigned line = 0; line < lines; ++line) f(line, eight, d.chunk(mn_major, line, eight) & kWindow);
  }
}

template <class Number>
void load_operand(Engine* e, float* values, const Descriptor& d, bool mn_major, unsigned rows, bool by_rows) {
  each_chunk(d, mn_major, rows, [&](unsigned line, unsigned eight, Address offset) {
    Number numbers[8];
    memcpy(numbers, e->arena + offset, 16);
    for (unsigned i = 0; i < 8; ++i) {
      unsigned r = mn_major ? eight * 8 + i : line, k = mn_major ? line : eight * 8 + i;
      values[by_rows ? r * 16 + k : k * rows + r] = numbers[i];
    }
  });
}

template <class Number>
void load_operands(Engine* e, Product& p) {
  unsigned columns = static_cast<unsigned>(p.is.columns);
  p.b_values.resize(16 * columns);
  load_operand<Number>(e, p.b_values.data(), Descriptor(p.is.b_descriptor), p.is.b_mn_major, columns, false);
  if (p.is.a_in_registers) return;
  p.a_values.resize(64 * 16);
  load_operand<Number>(e, p.a_values.data(), Descriptor(p.is.a_descriptor), false, 64, true);
}

// A warp's 16 rows of A from its registers.
template <class Number>
void load_registers(float* values, const uint32_t* const* a) {
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    for (unsigned i = 0; i < 8; ++i) {
      Number n;
      n.bits = static_cast<uint16_t>(a[lane][i / 2] >> (i % 2 * 16));
      unsigned r = lane / 4 + i / 2 % 2 * 8, k = lane % 4 * 2 + i / 4 * 8 + i % 2;
      values[r * 16 + k] = n;
    }
  }
}

void multiply(const Product& p, const float* a, float* const* d) {
  unsigned columns = static_cast<unsigned>(p.is.columns);
  alignas(64) float sums[256];
  for (unsigned row = 0; row < 16; ++row) {
    std::fill(sums, sums + columns, 0.0f);
    for (unsigned k = 0; k < 16; ++k) {
      float x = a[row * 16 + k];
      const float* b = &p.b_values[k * columns];
      typedef float Four __attribute__((vector_size(16), aligned(4), may_alias));
      for (unsigned n = 0; n < columns; n += 4) *reinterpret_cast<Four*>(sums + n) += x * *reinterpret_cast<const Four*>(b + n);
    }
    for (unsigned lane = 0; lane < 4; ++lane) {
      float* to = d[row % 8 * 4 + lane] + row / 8 * 2;
      for (unsigned n = 0; n < columns / 8; ++n, to += 4) {
        to[0] = (p.is.accumulate ? to[0] : 0.0f) + sums[n * 8 + lane * 2];
        to[1] = (p.is.accumulate ? to[1] : 0.0f) + sums[n * 8 + lane * 2 + 1];
      }
    }
  }
}

void perform_for_warp(Engine* e, Product& p, unsigned warp) {
  bool half = p.is.type == kMatrixHalf;
  if (!p.loaded) {
    if (half) load_operands<Half>(e, p);
    else load_operands<Bfloat16>(e, p);
    p.loaded = true;
  }
  float registers[256];
  const float* a = registers;
  if (!p.is.a_in_registers) a = &p.a_values[warp * 16 * 16];
  else if (half) load_registers<Half>(registers, p.a + warp * kLanes);
  else load_registers<Bfloat16>(registers, p.a + warp * kLanes);
  multiply(p, a, p.d + warp * kLanes);
  ++p.warps_done;
}

// ---- checks

bool same_product(const Wgmma& a, const Wgmma& b) {
  return a.type == b.type && a.columns == b.columns && a.b_mn_major == b.b_mn_major && a.a_in_registers == b.a_in_registers &&
         a.accumulate == b.accumulate && a.a_descriptor == b.a_descriptor && a.b_descriptor == b.b_descriptor;
}

void check_alignment(Engine* e, const Descriptor& d, char operand, Site site) {
  Address off = d.start & (Address(d.mask) << 7);
  if (!off) return;
  add_finding(finding_here(e, "tile_misaligned", site,
                           format("operand %c in a swizzle of %u bytes begins on a multiple of %u bytes; this one is %zu bytes "
                                  "past one", operand, d.span, (d.mask + 1) << 7, static_cast<size_t>(off))));
}

struct Requests {  // how many passes the banks need for eight rows of 16 bytes
  uint64_t passes = 0, eights = 0;
  unsigned most = 0, in_eight = 0;
  uint8_t banks[8] = {};

  void add(Address offset) {
    most = std::max<unsigned>(most, ++banks[offset >> 4 & 7]);
    if (++in_eight < 8) return;
    passes += *std::max_element(banks, banks + 8);
    ++eights;
    in_eight = 0;
    memset(banks, 0, sizeof banks);
  }
};

[[noreturn]] void report_outside(Engine* e, const Descriptor& d, Address a, char operand, const AsyncAccess& access) {
  SharedArray* s = find_array(e, reinterpret_cast<Address>(e->arena) + d.start);
  if (!s) report_bad_address(e, a, 16, kRead, access.pc);
  Finding f = finding_here(e, "out_of_bounds", access.site, "");
  long start = static_cast<long>(d.start + reinterpret_cast<Address>(e->arena) - s->begin);
  f.detail = format("operand %c begins at byte %ld of `%s`, with a stride of %u bytes, and byte %ld is past its end (%zu bytes)", operand,
                    start, s->name.c_str(), d.stride, static_cast<long>(a - s->begin), s->bytes);
  f.because = format("operand %c does not lie where its descriptor says: byte %ld of `%s` is too far for its tile, or a stride of %u "
                     "bytes from 8 rows to the next 8 is.", operand, start, s->name.c_str(), d.stride);
  f.place.access = kRead;
  f.size = 16;
  f.array = s->name;
  f.array_bytes = s->bytes;
  f.offset = static_cast<long>(a - s->begin);
  f.item = 1;
  f.shared = true;
  fail(std::move(f));
}

// The accesses of a product to one operand in shared memory: stamped once, and checked for one lane of each warp.
void check_operand(Engine* e, const Descriptor& d, bool mn_major, unsigned rows, const AsyncAccess& access, bool first,
                   Requests* requests, char operand) {
  bool fine = true;
  SharedArray* s = nullptr;
  each_chunk(d, mn_major, rows, [&](unsigned, unsigned, Address offset) {
    Address a = reinterpret_cast<Address>(e->arena) + offset;
    if (first) requests->add(offset);
    if (!s || a - s->begin >= s->bytes) s = array_around(e, a, 16);
    if (!s) report_outside(e, d, a, operand, access);
    if (!e->hopper->follows_order) return;
    if (fine) fine = check_async(e, *s, a, 16, access);
    else if (first) {
      size_t last = (a + 15 - s->begin) >> s->shift;
      for (size_t i = (a - s->begin) >> s->shift; i <= last; ++i) remember_reader(s->reads[i], access.stamp);
    }
  });
}

void count_operands(uint32_t pc, const Requests& r) {
  LineCounter& c = session.counters[uint64_t(pc) << 20 | uint64_t(16) << 4 | uint64_t(Space::kShared) << 2 | kRead];
  ++c.requests;
  c.lanes += 32;
  c.bytes += r.eights * 128;
  c.wavefronts += r.passes;
  c.ideal_wavefronts += r.eights;
  c.most_ways = std::max(c.most_ways, r.most);
}

void check_operands(Engine* e, Warpgroup& g, const Product& p, uint32_t number, bool first) {
  Stamp stamp = stamp_of(e, p.pc, kPlain);
  stamp.thread = static_cast<uint16_t>(g.agent);
  stamp.tick = number + 1;
  AsyncAccess access{"wgmma", kRead, stamp, p.pc, p.site};
  Requests requests;
  Descriptor a(p.is.a_descriptor), b(p.is.b_descriptor);
  if (first) check_alignment(e, b, 'B', p.site);
  if (first && !p.is.a_in_registers) check_alignment(e, a, 'A', p.site);
  check_operand(e, b, p.is.b_mn_major, static_cast<unsigned>(p.is.columns), access, first, &requests, 'B');
  if (!p.is.a_in_registers) check_operand(e, a, false, 64, access, first, &requests, 'A');
  if (first && (e->checks & kCounters)) count_operands(p.pc, requests);
  if (first) e->events += requests.eights * 8;
}

RegisterCell* registers_of(Fiber* f) {
  if (f->registers) return f->registers;
  size_t cells = static_cast<size_t>(f->high - f->low) / 4 + 1;
  return f->registers = static_cast<RegisterCell*>(map_zero_pages(cells * sizeof(RegisterCell)));
}

Finding about_registers(Engine* e, const char* kind, Site site, const char* what, uint32_t other_pc) {
  Finding f = finding_here(e, kind, site, format("%s; %s", what, role_of(e, *e->thread).c_str()));
  f.other = f.place;
  f.other.site = Site{};
  f.other.pc = other_pc;
  f.has_other = other_pc != 0;
  return f;
}

// Registers that the thread has used since its last wgmma_fence.
bool check_fenced(Engine* e, const void* registers, size_t bytes, bool writes_only, const char* what, Site site) {
  Thread* t = e->thread;
  auto a = reinterpret_cast<Address>(registers), low = reinterpret_cast<Address>(e->fiber->low);
  if (a - low >= static_cast<Address>(e->fiber->high - e->fiber->low)) return true;
  const RegisterCell* cells = registers_of(e->fiber);
  for (size_t i = (a - low) / 4; i < (a - low + bytes) / 4; ++i) {
    const RegisterCell& c = cells[i];
    if (c.epoch_and_write >> 1 != t->register_epoch || (writes_only && !(c.epoch_and_write & 1))) continue;
    add_finding(about_registers(e, "wgmma_fence", site, format("%s after the last wgmma_fence()", what).c_str(), c.pc));
    return false;
  }
  return true;
}

void check_registers(Engine* e, const Product& p, const Wgmma& mine) {
  Thread* t = e->thread;
  if (!t->follows_registers) {
    add_finding(about_registers(e, "wgmma_fence", p.site, "there is no wgmma_fence() before the first product", 0));
    return;
  }
  size_t d_bytes = static_cast<size_t>(mine.columns) / 2 * 4;
  bool fine = check_fenced(e, mine.d, d_bytes, false, "the thread has used the accumulators", p.site);
  if (fine && mine.a_in_registers) check_fenced(e, mine.a, 16, true, "the thread has changed the registers of A", p.site);
  auto hold = [&](const void* begin, size_t bytes, bool accumulators) {
    auto a = reinterpret_cast<Address>(begin);
    for (auto& h : t->held) {
      if (h.begin == a && h.end == a + bytes) return void((h.product = t->products, h.pc = p.pc));
    }
    t->held.push_back({a, a + bytes, t->products, p.pc, accumulators});
  };
  hold(mine.d, d_bytes, true);
  if (mine.a_in_registers) hold(mine.a, 16, false);
  const Warpgroup& g = e->hopper->warpgroups[t->index / kWarpgroup];
  unsigned need = static_cast<unsigned>(mine.columns) / 2 + (mine.a_in_registers ? 4 : 0);
  if (need > g.registers && t->index % kLanes == 0) {
    add_finding(finding_here(e, "registers", p.site,
                             format("this product alone holds %u registers of each thread, and setmaxnreg left %s %u", need,
                                    role_of(e, *t).c_str(), g.registers)));
  }
}

std::string why_in_flight(const Thread& t, const HeldRegisters& h) {
  const LastWgmmaWait& w = t.wgmma_waited;
  if (w.products > h.product && w.groups_left) {
    return format("the last wait, wgmma_wait<%u>() of line %d, lets %u group%s be in flight, and the product is in one of them.",
                  w.groups_left, w.site.line, w.groups_left, w.groups_left > 1 ? "s" : "");
  }
  bool closed = !t.groups.empty() && t.groups.back() > h.product;
  return closed ? "no wgmma_wait stands between the start of the product and this use of its registers."
                : "no wgmma_commit() has closed the group of this product, so no wgmma_wait waits for it.";
}

}  // namespace

void note_register_access(Engine* e, Address a, size_t size, int kind, uint32_t pc) {
  Thread* t = e->thread;
  for (auto& h : t->held) {
    if (a >= h.end || a + size <= h.begin || (!h.accumulators && kind == kRead)) continue;
    const char* what = h.accumulators ? "accumulators of a product that has not been waited for"
                                      : "registers of A, which a product in flight still reads, are changed";
    Finding f = about_registers(e, h.accumulators ? "wgmma_not_waited" : "operand_changed", Site{}, what, h.pc);
    f.place.pc = pc;
    f.place.access = kind;
    f.size = static_cast<unsigned>(size);
    f.because = why_in_flight(*t, h);
    add_finding(std::move(f));
    break;
  }
  auto low = reinterpret_cast<Address>(e->fiber->low);
  if (a - low >= static_cast<Address>(e->fiber->high - e->fiber->low)) return;
  RegisterCell* cells = registers_of(e->fiber);
  uint32_t mark = t->register_epoch << 1;
  for (size_t i = (a - low) / 4; i <= (a - low + size - 1) / 4; ++i) {
    RegisterCell& c = cells[i];
    if (kind == kRead && c.epoch_and_write == (mark | 1)) continue;  // keeps the write
    c = {mark | static_cast<uint32_t>(kind != kRead), pc};
  }
}

}  // namespace emu

using namespace emu;

EXPORT void emu_wgmma_fence() {
  Engine* e = current_engine;
  Thread* t = e->thread;
  if (!e->hopper->follows_order) return;
  t->follows_registers = true;
  t->register_epoch = e->hopper->next_epoch++;
}

EXPORT void emu_wgmma(const Wgmma* operation, Site site) {
  Engine* e = current_engine;
  Thread* t = e->thread;
  begin_operation(e, site);
  uint32_t pc = pc_of(RETURN_ADDRESS);
  Warpgroup& g = e->hopper->warpgroups[t->index / kWarpgroup];
  if (!g.agent) g.agent = new_agent(e, t, site);
  size_t i = t->products - g.first_product;
  bool first = i == g.products.size();
  if (first) {
    g.products.emplace_back();
    Product& p = g.products.back();
    p.is = *operation, p.site = site, p.pc = pc, p.first = t;
    e->hopper->agents[(g.agent - kFirstAgent) / kLanes].thread = t;
    if (e->checks & kCounters) {
      session.tensor_core_calls += 4 * operation->columns / 8;
      counter_of_warp()->products += 4 * operation->columns / 8;
    }
  }
  Product& p = g.products[i];
  if (!same_product(p.is, *operation) || !same_place(p.site, site)) {
    Finding f = finding_here(e, "warpgroup_divergence", site,
                             format("%s issues another product than %s, which is at line %d: descriptors, N and the rest are "
                                    "the same in all 128 threads", role_of(e, *t).c_str(), role_of(e, *p.first).c_str(),
                                    p.site.line));
    f.other = f.place;
    f.other.thread = p.first->index3;
    f.other.site = p.site;
    f.has_other = true;
    fail(std::move(f));
  }
  p.d[t->index % kWarpgroup] = operation->d;
  p.a[t->index % kWarpgroup] = operation->a;
  if (e->checks && t->index % kLanes == 0) {  // which warp comes first may be another one than issued it first
    check_operands(e, g, p, t->products, !p.checked);
    p.checked = true;
  }
  if (e->hopper->follows_order) check_registers(e, p, *operation);
  ++t->products;
  if (++p.issued == kWarpgroup) wake(e, &g.waiters);
}

EXPORT void emu_wgmma_commit() {
  Thread* t = current_engine->thread;
  t->groups.push_back(t->products);
}

EXPORT void emu_wgmma_wait(unsigned groups_left, Site site) {
  Engine* e = current_engine;
  Thread* t = e->thread;
  begin_operation(e, site);
  unsigned warp = t->index % kWarpgroup / kLanes;
  meet(WarpOp::kWgmmaWait, ~0u, "", 0, site);
  t->wgmma_waited = {t->products, groups_left, site};
  if (t->groups.size() <= groups_left) return;
  size_t groups = t->groups.size() - groups_left;
  uint32_t until = t->groups[groups - 1];
  t->groups.erase(t->groups.begin(), t->groups.begin() + static_cast<long>(groups));
  Warpgroup& g = e->hopper->warpgroups[t->index / kWarpgroup];
  while (g.done[warp] < until) {
    Product& p = g.products[g.done[warp] - g.first_product];
    if (p.issued < kWarpgroup) {
      g.waiters.push_back(t);
      wait_until_woken(e, State::kAtWarpgroup, site);
      continue;
    }
    perform_for_warp(e, p, warp);
    ++g.done[warp];
  }
  while (!g.products.empty() && g.products.front().warps_done == 4) g.products.pop_front(), ++g.first_product;
  if (!e->hopper->follows_order) return;
  auto over = [&](const HeldRegisters& h) { return h.product < until; };
  t->held.erase(std::remove_if(t->held.begin(), t->held.end(), over), t->held.end());
  learn_agent(e, t, g.agent, until);
}

EXPORT uint64_t emu_wgmma_descriptor(const void* shared, unsigned leading_bytes, unsigned stride_bytes, unsigned swizzle) {
  Engine* e = current_engine;
  auto field = [](uint64_t bytes) { return (bytes & kWindow) >> 4; };
  uint64_t offset = reinterpret_cast<Address>(shared) - reinterpret_cast<Address>(e->arena);
  return field(offset) | field(leading_bytes) << 16 | field(stride_bytes) << 32 | uint64_t(swizzle) << 62;
}
