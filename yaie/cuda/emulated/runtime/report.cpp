// Findings, device printf, and the calls that Python makes before and after a launcher runs.
#include <stdarg.h>
#include <stdio.h>
#include <unwind.h>

#include "runtime.h"

namespace emu {

std::string format(const char* pattern, ...) {
  va_list arguments, again;
  va_start(arguments, pattern);
  va_copy(again, arguments);
  int n = vsnprintf(nullptr, 0, pattern, arguments);
  std::string text(static_cast<size_t>(std::max(n, 0)) + 1, '\0');
  vsnprintf(&text[0], text.size(), pattern, again);
  text.pop_back();
  va_end(again);
  va_end(arguments);
  return text;
}

std::string show(Index3 i) { return format("(%u,%u,%u)", i.x, i.y, i.z); }

namespace {

constexpr size_t kMaxFindings = 256, kMaxOutput = 1 << 20;

int error_code(const std::string& kind) {
  if (kind == "out_of_bounds" || kind == "const_write") return 700;
  if (kind == "endless_loop") return 702;
  if (kind == "copy_direction") return 1;
  if (kind == "bad_launch") return 9;
  if (kind == "assert") return 710;
  return kind == "misaligned" ? 716 : 719;
}

std::string output;       // device printf
std::mutex output_mutex;

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) < 32) out += format("\\u%04x", c);
    else out += c;
  }
  return out + "\"";
}

std::string json_of(Index3 i) { return format("[%u,%u,%u]", i.x, i.y, i.z); }

std::string json_of(const Place& p) {
  return format("{\"block\":%s,\"thread\":%s,\"pc\":%u,\"file\":%s,\"line\":%d,\"access\":%d}", json_of(p.block).c_str(),
                json_of(p.thread).c_str(), p.pc, quoted(p.site.file ? p.site.file : "").c_str(), p.site.line, p.access);
}

std::string json_of(const Finding& f) {
  return format("{\"kind\":\"%s\",\"kernel\":%s,\"detail\":%s,\"because\":%s,\"calls\":[%s],\"array\":%s,\"place\":%s,\"other\":%s,\"size\":%u,"
                "\"offset\":%ld,\"array_bytes\":%zu,\"item\":%u,\"shared\":%d,\"dynamic\":%d,\"variable\":%d,\"again\":%d,"
                "\"update\":%d,\"count\":%llu}",
                f.kind, quoted(f.kernel).c_str(), quoted(f.detail).c_str(), quoted(f.because).c_str(), joined(f.calls).c_str(),
                quoted(f.array).c_str(), json_of(f.place).c_str(),
                f.has_other ? json_of(f.other).c_str() : "null", f.size, f.offset, f.array_bytes, f.item, f.shared,
                f.dynamic, f.variable, f.again, f.update,
                static_cast<unsigned long long>(f.count));
}

std::string json_of(uint64_t key, const LineCounter& c) {
  auto u = [](uint64_t v) { return static_cast<unsigned long long>(v); };
  return format("{\"pc\":%u,\"size\":%u,\"shared\":%u,\"access\":%u,\"requests\":%llu,\"lanes\":%llu,\"bytes\":%llu,"
                "\"used_bytes\":%llu,\"sectors\":%llu,\"wavefronts\":%llu,\"ideal_wavefronts\":%llu,\"most_ways\":%u}",
                static_cast<unsigned>(key >> 20), static_cast<unsigned>(key >> 4 & 0xffff), static_cast<unsigned>(key >> 2 & 1),
                static_cast<unsigned>(key & 3), u(c.requests), u(c.lanes), u(c.bytes), u(c.used_bytes), u(c.sectors),
                u(c.wavefronts), u(c.ideal_wavefronts), c.most_ways);
}

std::string json_of(const Range& r) {
  size_t sectors = 0;
  for (size_t i = 0; i < std::max(r.touched[0].size(), r.touched[1].size()); ++i) {
    uint64_t word = i < r.touched[0].size() ? r.touched[0][i] : 0;
    if (i < r.touched[1].size()) word |= r.touched[1][i];
    sectors += static_cast<size_t>(__builtin_popcountll(word));
  }
  return format("{\"name\":%s,\"bytes\":%zu,\"touched_sectors\":%zu,\"begin\":%zu,\"item\":%u}", quoted(r.name).c_str(),
                static_cast<size_t>(r.end - r.begin), sectors, static_cast<size_t>(r.begin), r.item);
}

std::string json_of(const std::string& name, const Placed& p) {
  return format("{\"name\":%s,\"bytes\":%zu,\"begin\":%zu,\"item\":0}", quoted(name).c_str(), p.bytes,
                static_cast<size_t>(p.begin));
}

std::string json_of(const TraceRow& t) {
  return format("[%u,%u,%u,%u,%u,%u,%zu]", t.step, t.pc, t.lane, t.size, t.space, t.kind, static_cast<size_t>(t.address));
}

std::string json_of(const Sample& s) {
  return format("[%u,%s,%d,%u]", s.pc, quoted(s.site.file ? s.site.file : "").c_str(), s.site.line, s.thread);
}

template <class Items, class Make>
std::string list_of(const Items& items, Make make) {
  std::string out = "[";
  for (auto& item : items) {
    std::string one = make(item);
    if (one.empty()) continue;
    if (out.size() > 1) out += ',';
    out += one;
  }
  return out + "]";
}

}  // namespace

// `first_touched` are sectors that no launch of the call had read (written) before: [array's bytes, read, written].
std::string counts_of_launch() {
  const LaunchCounter& c = session.launch;
  auto u = [](uint64_t v) { return static_cast<unsigned long long>(v); };
  auto warps = [&](const WarpCounter& w) {
    return format("{\"loads\":%llu,\"stores\":%llu,\"atomics\":%llu,\"shared\":%llu,\"products\":%llu,\"shuffles\":%llu,\"rounds\":%llu,"
                  "\"copies\":%llu,\"copy_rounds\":%g}",
                  u(w.requests[kRead]), u(w.requests[kWrite]), u(w.requests[kAtomic]), u(w.shared), u(w.products), u(w.shuffles), u(w.rounds),
                  u(w.copies), w.copy_rounds);
  };
  uint64_t most = 0;
  for (auto& a : c.atomics) most = std::max(most, a.second);
  auto touched = [&](const Range& r) {
    if (r.module_data || !(r.first_touched[0] | r.first_touched[1])) return std::string();
    return format("[%zu,%llu,%llu]", static_cast<size_t>(r.end - r.begin), u(r.first_touched[0]), u(r.first_touched[1]));
  };
  return format("{\"blocks\":%ld,\"read\":%llu,\"written\":%llu,\"partial\":%llu,\"updated\":%llu,\"missed\":%llu,\"distinct\":%llu,\"wavefronts\":%llu,"
                "\"barriers\":%llu,\"queued\":%llu,\"shared_bytes\":%zu,\"hopper\":%d,\"on_one_address\":%llu,\"all\":%s,\"busiest\":%s,\"first_touched\":%s}",
                c.blocks, u(c.sectors[kRead]), u(c.sectors[kWrite]), u(c.partial), u(c.sectors[kAtomic]), u(c.missed), u(c.distinct), u(c.wavefronts),
                u(c.barriers), u(c.queued), c.shared_bytes, c.hopper, u(most), warps(c.all).c_str(), warps(c.busiest).c_str(),
                list_of(session.ranges, touched).c_str());
}

std::string joined(const Calls& calls) {
  std::string all;
  for (uint32_t pc : calls) all += format(all.empty() ? "%u" : ",%u", pc);
  return all;
}

// Return addresses in the module that runs.
Calls calls_here() {
  Calls calls;
  auto note = [](_Unwind_Context* frame, void* to) {
    auto& calls = *static_cast<Calls*>(to);
    Address a = _Unwind_GetIP(frame);
    if (in_module_text(a)) calls.push_back(pc_of(a));
    return calls.size() < 16 ? _URC_NO_REASON : _URC_END_OF_STACK;
  };
  _Unwind_Backtrace(note, &calls);
  return calls;
}

void add_finding(Finding f) {
  std::lock_guard<std::mutex> lock(session.mutex);
  if (f.kernel.empty() && current_engine) f.kernel = current_engine->job->request->kernel;
  if (f.fatal && !session.error) session.error = error_code(f.kind);
  std::string key = f.fatal ? std::string(f.kind) + f.kernel
                            : format("%s/%s/%u/%u/%d/%d", f.kind, f.kernel.c_str(), f.place.pc, f.other.pc, f.place.site.line,
                                     f.other.site.line);
  auto known = session.finding_index.find(key);
  if (known != session.finding_index.end()) {
    ++session.findings[known->second].count;
  } else if (session.findings.size() < kMaxFindings) {
    session.finding_index[key] = session.findings.size();
    if (f.calls.empty() && current_engine && current_engine->thread) f.calls = calls_here();
    session.findings.push_back(std::move(f));
  }
}

void add_suspect(Finding f) {
  for (auto& s : session.suspects) {
    if (same_place(s.place.site, f.place.site)) return void(++s.count);
  }
  session.suspects.push_back(std::move(f));
}

void add_remark(std::string text) {
  std::lock_guard<std::mutex> lock(session.mutex);
  auto& all = session.remarks;
  if (std::find(all.begin(), all.end(), text) == all.end()) all.push_back(std::move(text));
}

void fail(Finding f) {
  Engine* e = current_engine;
  f.fatal = true;
  f.kernel = e->job->request->kernel;
  e->job->failed = true;
  add_finding(std::move(f));
  resume_main(e);
}

void fail_here(const char* kind, Site site, std::string detail) {
  Finding f{kind};
  f.place.block = current_engine->block;
  f.place.thread = current_engine->thread->index3;
  f.place.site = site;
  f.detail = std::move(detail);
  fail(std::move(f));
}

}  // namespace emu

using namespace emu;

extern "C" {

EXPORT void emu_begin(unsigned checks, unsigned workers, double time_limit, double event_budget, unsigned trace_x,
                      unsigned trace_y, unsigned trace_z, unsigned trace_warp, int poison) {
  session.poison = poison;
  session.checks = checks;
  session.worker_threads = workers;
  session.time_limit = time_limit;
  session.event_budget = event_budget;
  session.trace_block = {trace_x, trace_y, trace_z};
  session.trace_warp = trace_warp;
  session.findings.clear();
  session.finding_index.clear();
  session.counters.clear();
  session.last_counter = nullptr;
  session.trace.clear();
  session.remarks.clear();
  session.suspects.clear();
  session.shared_layout.clear();
  session.samples.clear();
  session.launches.clear();
  session.error = 0;
  session.interrupted = false;
  session.blocks = session.deep_blocks = session.tensor_core_calls = session.shuffles = 0;
  begin_memory();
}

EXPORT int emu_last_error(bool clear) {
  int error = session.error;
  if (clear && error == 9) session.error = 0;  // a refused launch is forgotten; a failed kernel is not
  return error;
}

// The report lives until the next call.
EXPORT const char* emu_report() {
  static std::string report;
  auto tensor = [](const Range& r) { return r.module_data ? std::string() : json_of(r); };
  report = format("{\"module_base\":%zu,\"blocks\":%ld,\"deep_blocks\":%ld,\"tensor_core_calls\":%ld,\"shuffles\":%ld,"
                  "\"interrupted\":%d,\"launches\":[", static_cast<size_t>(session.module_base), session.blocks,
                  session.deep_blocks, session.tensor_core_calls, session.shuffles, session.interrupted);
  report += session.launches + "],\"findings\":" + list_of(session.findings, [](const Finding& f) { return json_of(f); });
  report += ",\"suspects\":" + list_of(session.suspects, [](const Finding& f) { return json_of(f); });
  report += ",\"remarks\":" + list_of(session.remarks, [](const std::string& text) { return quoted(text); });
  report += ",\"samples\":" + list_of(session.samples, [](const Sample& s) { return json_of(s); });
  report += ",\"counters\":" + list_of(session.counters, [](const auto& c) { return json_of(c.first, c.second); });
  report += ",\"arrays\":" + list_of(session.shared_layout, [](const auto& a) { return json_of(a.first, a.second); });
  report += ",\"tensors\":" + list_of(session.ranges, tensor) + "}";
  return report.c_str();
}

EXPORT const char* emu_trace() {
  static std::string rows;
  rows = list_of(session.trace, [](const TraceRow& t) { return json_of(t); });
  return rows.c_str();
}

EXPORT const char* emu_output() {
  static std::string taken;
  std::lock_guard<std::mutex> lock(output_mutex);
  taken.swap(output);
  output.clear();
  return taken.c_str();
}

EXPORT int emu_printf(const char* pattern, ...) {
  char text[4096];
  va_list arguments;
  va_start(arguments, pattern);
  int n = vsnprintf(text, sizeof text, pattern, arguments);
  va_end(arguments);
  std::lock_guard<std::mutex> lock(output_mutex);
  if (output.size() < kMaxOutput) output += text;
  return n;
}

static void stop(const char* kind, const char* message, Site site) {
  if (current_engine && current_engine->thread) fail_here(kind, site, message);
  Finding f{kind};
  f.kernel = "the launcher (host code)";
  f.place.site = site;
  f.detail = message;
  f.fatal = true;
  add_finding(std::move(f));
  leave_host_call();
}

EXPORT void emu_trap(const char* message, Site site) { stop("assert", message, site); }

EXPORT void emu_exit(const char* message, Site site) {
  stop("exit", message, site);
  __builtin_unreachable();
}

EXPORT long long emu_clock() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

}  // extern "C"
