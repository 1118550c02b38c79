// A call of a launcher and the kernels it launches: what may go wrong there, who runs the blocks, and how a bad address,
// a division by zero, the time limit or Ctrl-C ends a kernel without ending the process.
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>
#include <unwind.h>

#include <condition_variable>
#include <functional>
#include <numeric>
#include <thread>

#include "runtime.h"

namespace emu {
namespace {

using Clock = std::chrono::steady_clock;
constexpr size_t kSamples = 32, kSignalStack = 64 << 10, kArguments = 4096;
constexpr long kFewestSampled = 8;
constexpr int kMaxWorkers = 16;  // every worker owns up to 1024 stacks, and a process may own 65530 mappings

// ---- the module a kernel comes from

int find_module(dl_phdr_info* info, size_t, void* wanted) {
  auto pc = *static_cast<Address*>(wanted);
  Address low = ~Address(0), high = 0, text = 0, text_end = 0, relro_end = 0;
  std::vector<Stretch> data;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto& segment = info->dlpi_phdr[i];
    Address begin = info->dlpi_addr + segment.p_vaddr, end = begin + segment.p_memsz;
    if (segment.p_type == PT_GNU_RELRO) relro_end = end;
    if (segment.p_type != PT_LOAD) continue;
    low = std::min(low, begin);
    high = std::max(high, end);
    if (segment.p_flags & PF_X) text = begin, text_end = end;
    if (segment.p_flags & PF_W) data.push_back({begin, end});
  }
  if (pc < low || pc >= high) return 0;
  session.module_base = info->dlpi_addr;
  session.module_path = info->dlpi_name;
  session.module_begin = low, session.module_end = high;
  session.text_begin = text, session.text_end = text_end;
  // What lies before the end of the relocated part of its segment is read-only by now.
  for (auto& s : data) {
    if (relro_end - s.begin <= s.end - s.begin) s.begin = relro_end;
  }
  session.data.swap(data);
  return 1;
}

// ---- the call that runs now

sigjmp_buf host_escape;
volatile bool in_call = false;
pthread_t call_thread;

// Ends the launcher itself, when host code fails.
[[noreturn]] void leave_call() {
  in_call = false;
  siglongjmp(host_escape, 1);
}

// ---- watchdog: a thread that ends a call at its time limit, in which it has a processor, or at once after Ctrl-C

struct Watchdog {
  pid_t owner;
  sem_t wake;  // posted from a signal handler, which may not touch a mutex
  std::mutex mutex;
  bool active = false;
  pid_t task;  // the thread that calls
  double waited;  // when it called
  Clock::time_point deadline;
  std::vector<Engine*> engines;
};
Watchdog* watchdog = nullptr;

void kick(Watchdog* w) {
  for (Engine* e : w->engines) {
    e->stop_requested = true;
    pthread_kill(e->os_thread, SIGURG);
  }
  if (w->engines.empty()) pthread_kill(call_thread, SIGURG);
}

void wait_at_most(Watchdog* w, double seconds) {
  timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  auto nanoseconds = t.tv_nsec + static_cast<long>(seconds * 1e9);
  t.tv_sec += nanoseconds / 1000000000;
  t.tv_nsec = nanoseconds % 1000000000;
  while (sem_timedwait(&w->wake, &t) < 0 && errno == EINTR) {
  }
}

// For how many seconds a thread was ready to run and had no processor; 0 where the system does not count them.
double waited_by(pid_t task) {
  double ran = 0, waited = 0;
  if (FILE* file = fopen(format("/proc/self/task/%d/schedstat", task).c_str(), "r")) {
    if (fscanf(file, "%lf %lf", &ran, &waited) != 2) waited = 0;
    fclose(file);
  }
  return waited / 1e9;
}

void watch(Watchdog* w) {
  for (;;) {
    double pause = 3600;
    {
      std::lock_guard<std::mutex> lock(w->mutex);
      if (w->active) {
        double left = std::chrono::duration<double>(w->deadline - Clock::now()).count();
        if (left <= 0) left += waited_by(w->task) - w->waited;  // a busy machine takes none of the call's time
        bool stop = left <= 0 || session.interrupted;
        if (stop) kick(w);
        pause = stop ? 0.002 : std::min(left, 3600.0);
      }
    }
    wait_at_most(w, pause);
  }
}

void start_watching() {
  if (!watchdog || watchdog->owner != getpid()) {  // threads do not survive a fork
    watchdog = new Watchdog;
    watchdog->owner = getpid();
    sem_init(&watchdog->wake, 0, 0);
    std::thread(watch, watchdog).detach();
  }
  std::lock_guard<std::mutex> lock(watchdog->mutex);
  watchdog->active = true;
  watchdog->engines.clear();
  auto limit = std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(session.time_limit));
  watchdog->deadline = Clock::now() + limit;
  watchdog->task = static_cast<pid_t>(syscall(SYS_gettid));
  watchdog->waited = waited_by(watchdog->task);
  sem_post(&watchdog->wake);
}

void stop_watching() {
  std::lock_guard<std::mutex> lock(watchdog->mutex);
  watchdog->active = false;
}

// ---- signals

Address instruction_of(const ucontext_t* context) {
#if defined(__x86_64__)
  return static_cast<Address>(context->uc_mcontext.gregs[REG_RIP]);
#else
  return static_cast<Address>(context->uc_mcontext.pc);
#endif
}

void fail_at(Engine* e, const char* kind, uint32_t pc, std::string detail) {
  Finding f{kind};
  f.place.block = e->block;
  f.place.thread = e->thread->index3;
  f.place.pc = pc;
  f.detail = std::move(detail);
  fail(std::move(f));
}

// The stack may end at any instruction of a function, the first ones among them, which have no line of their own. Of a
// recursion it is the call that matters: the one from which the function that faulted was reached from itself.
struct Recursion {
  Address pc;
  int frames = 0;
  void* function = nullptr;
};

_Unwind_Reason_Code look_for_recursion(_Unwind_Context* context, void* argument) {
  auto* r = static_cast<Recursion*>(argument);
  int before_instruction = 0;
  Address pc = _Unwind_GetIPInfo(context, &before_instruction);
  if (!before_instruction) --pc;  // a return address: the call is before it
  if (!in_module_text(pc)) return r->function ? _URC_END_OF_STACK : _URC_NO_REASON;
  void* function = _Unwind_FindEnclosingFunction(reinterpret_cast<void*>(pc));
  if (!r->function) r->function = function;
  else if (function == r->function) return r->pc = pc, _URC_END_OF_STACK;
  return ++r->frames < 64 ? _URC_NO_REASON : _URC_END_OF_STACK;
}

Address recursion_at(Address pc) {
  Recursion r{pc};
  _Unwind_Backtrace(look_for_recursion, &r);
  return r.pc;
}

void report_fault(Engine* e, int signal_number, Address address, int code, Address pc_address) {
  auto low = reinterpret_cast<Address>(e->fiber->low);
  bool overflow = address - (low - kPage) < kPage;
  if (overflow) pc_address = recursion_at(pc_address);
  auto pc = static_cast<uint32_t>(pc_address - session.module_base);
  if (!in_module_text(pc_address)) pc = 0;
  if (overflow) {
    fail_at(e, "stack_overflow", pc, "the thread's local arrays and calls need more than the emulator's 256 KiB stack");
  }
  if (signal_number == SIGFPE) fail_at(e, "division_by_zero", pc, "");
  if (signal_number == SIGILL) fail_at(e, "trap", pc, "the compiler put a trap here: code that it proved to be undefined");
  if (signal_number == SIGSEGV && code == 128) {  // x86 gives no address for these
    fail_at(e, "misaligned", pc, "a vector access at an address that is not a multiple of its size, or a wild pointer");
  }
  for (auto& r : session.ranges) {
    if (!r.read_only || address - r.begin >= r.end - r.begin) continue;
    Finding f{"const_write"};
    f.place.block = e->block;
    f.place.thread = e->thread->index3;
    f.place.pc = pc;
    f.array = r.name;
    f.offset = static_cast<long>(address - r.begin);
    f.array_bytes = r.end - r.begin;
    f.item = r.item;
    fail(std::move(f));
  }
  report_bad_address(e, address, 0, -1, pc);
}

void on_fault(int number, siginfo_t* info, void* context) {
  Engine* e = current_engine;
  Address pc = instruction_of(static_cast<ucontext_t*>(context));
  auto address = reinterpret_cast<Address>(info->si_addr);
  if (e && e->thread && e->fiber) report_fault(e, number, address, info->si_code, pc);
  if (in_call && pthread_equal(pthread_self(), call_thread)) {
    if (number == SIGFPE) fail_in_host("division_by_zero", pc, "");
    fail_in_host("host_fault", pc, format("it accessed address 0x%zx", static_cast<size_t>(address)));
  }
  signal(number, SIG_DFL);  // not ours: let it happen again and end the process as it would have
}

void on_kick(int, siginfo_t*, void* context) {
  Engine* e = current_engine;
  Address pc = instruction_of(static_cast<ucontext_t*>(context));
  if (!in_module_text(pc)) return;  // inside the C library: a lock may be held; the next kick will do
  auto offset = static_cast<uint32_t>(pc - session.module_base);
  if (e && e->thread) return sample_or_stop(e, offset, Site{});
  if (e || !in_call || !pthread_equal(pthread_self(), call_thread)) return;
  if (session.interrupted) leave_call();
  fail_in_host("endless_loop", pc, format("the call was stopped after %g s", session.time_limit));
}

struct sigaction old_interrupt;

void on_interrupt(int number, siginfo_t* info, void* context) {
  session.interrupted = true;
  sem_post(&watchdog->wake);
  if (old_interrupt.sa_flags & SA_SIGINFO) old_interrupt.sa_sigaction(number, info, context);
  else if (old_interrupt.sa_handler != SIG_DFL && old_interrupt.sa_handler != SIG_IGN) old_interrupt.sa_handler(number);
}

constexpr int kFaults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
struct sigaction old_faults[4], old_kick;

void install(int number, void (*handler)(int, siginfo_t*, void*), struct sigaction* old) {
  struct sigaction action {};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  sigaction(number, &action, old);
}

void install_handlers() {
  for (int i = 0; i < 4; ++i) install(kFaults[i], on_fault, &old_faults[i]);
  install(SIGURG, on_kick, &old_kick);
  sigaction(SIGINT, nullptr, &old_interrupt);
  if (old_interrupt.sa_handler != SIG_IGN) install(SIGINT, on_interrupt, nullptr);
}

void restore_handlers() {
  for (int i = 0; i < 4; ++i) sigaction(kFaults[i], &old_faults[i], nullptr);
  sigaction(SIGURG, &old_kick, nullptr);
  sigaction(SIGINT, &old_interrupt, nullptr);
}

void use_signal_stack() {
  static thread_local std::vector<char> memory(kSignalStack);
  stack_t stack{};
  stack.ss_sp = memory.data();
  stack.ss_size = kSignalStack;
  sigaltstack(&stack, nullptr);
}

// ---- who runs the blocks

struct Workers {
  pid_t owner;
  std::vector<std::thread> threads;
  std::mutex mutex;
  std::condition_variable start, done;
  std::function<void()> work;
  long round = 0;
  int running = 0;
};

void worker(Workers* w, long seen) {
  for (;;) {
    std::function<void()> work;
    {
      std::unique_lock<std::mutex> lock(w->mutex);
      w->start.wait(lock, [&] { return w->round != seen; });
      seen = w->round;
      work = w->work;
    }
    work();
    std::lock_guard<std::mutex> lock(w->mutex);
    if (--w->running == 0) w->done.notify_all();
  }
}

void run_on_workers(int n, const std::function<void()>& work) {
  static Workers* workers = nullptr;
  if (!workers || workers->owner != getpid()) workers = new Workers, workers->owner = getpid();
  Workers* w = workers;
  {
    std::lock_guard<std::mutex> lock(w->mutex);
    while (static_cast<int>(w->threads.size()) < n - 1) w->threads.emplace_back(worker, w, w->round);
    w->work = work;
    w->running = static_cast<int>(w->threads.size());
    ++w->round;
  }
  w->start.notify_all();
  work();
  std::unique_lock<std::mutex> lock(w->mutex);
  w->done.wait(lock, [&] { return w->running == 0; });
}

Engine* prepare_engine(Job* job) {
  static thread_local Engine* mine = nullptr;
  if (!mine) {
    mine = new Engine{};
    create_arena(mine);
    mine->doubts = new_doubts();
    use_signal_stack();
  }
  Engine* e = mine;
  static Range nothing{};
  e->job = job;
  e->os_thread = pthread_self();
  e->stop_requested = false;
  e->events = 0;
  e->last_range = &nothing;
  if (e->threads.size() != job->num_threads) {
    e->threads = std::vector<Thread>(job->num_threads);
    e->warps = std::vector<Warp>((job->num_threads + kLanes - 1) / kLanes);
    e->ready.assign(job->num_threads + 1, nullptr);
  }
  for (unsigned i = 0; i < job->num_threads; ++i) {
    e->threads[i].index = i;
    e->threads[i].index3 = thread_index_of(job, i);
  }
  reset_shared(e, job->request->dynamic_shared);
  e->hopper = hopper_of_launch();
  return e;
}

// Pairs of neighbouring blocks, so that overlaps between neighbours are seen; the first two and the last always.
bool is_deep(const Job* job, long block) {
  Index3 g = job->request->grid, t = session.trace_block;
  long traced = t.x + static_cast<long>(g.x) * (t.y + static_cast<long>(g.y) * t.z);
  return block == job->next_pair || block == job->next_pair + 1 || block == job->num_blocks - 1 || block == traced;
}

void plan_next_pair(Job* job, long block) {
  if (block != job->next_pair + 1) return;
  double average = double(job->deep_events) / double(std::max(1L, job->deep_blocks));
  double left = std::max(session.event_budget - double(job->deep_events), 2 * average);
  double wanted = average * double(job->num_blocks - block);
  long skip = wanted <= left ? 1 : static_cast<long>(wanted / left * 2);
  job->next_pair = block + std::max(1L, skip);
}

long step_through(long n) {  // without a common divisor: n steps come to each of n places once, evenly all the while
  long step = std::max(1L, static_cast<long>(double(n) * 0.6180339887));
  while (std::gcd(step, n) != 1) ++step;
  return step;
}

// Block number i of a sample: spread over each direction of the grid, as what a block has to do depends on where it is.
long sampled_block(const Job* job, long i) {
  Index3 g = job->request->grid;
  long x = g.x, y = g.y, z = g.z, along = i % x, row = i / x;
  long at_y = (row + along * step_through(y)) % y, at_z = (row / y + along * step_through(z)) % z;
  return along * step_through(x) % x + x * (at_y + y * at_z);
}

bool sample_is_enough(const Job* job) {
  return job->deep_blocks >= kFewestSampled && double(job->deep_events) > session.event_budget;
}

void run_checked(Engine* e, Job* job, long block) {
  bool deep = session.checks & kSample || is_deep(job, block);
  e->checks = deep ? session.checks : session.checks & kBounds;
  uint64_t before = e->events;
  run_block(e, block);
  ++session.blocks;
  if (!deep) return;
  ++session.deep_blocks;
  ++job->deep_blocks;
  job->deep_events += e->events - before;
  plan_next_pair(job, block);
}

void run_blocks(Job* job) {
  Engine* e = prepare_engine(job);
  {
    std::lock_guard<std::mutex> lock(watchdog->mutex);
    watchdog->engines.push_back(e);
  }
  current_engine = e;
  for (long block; (block = job->next_block++) < job->num_blocks && !job->failed;) {
    if (session.checks & kSample) {
      if (sample_is_enough(job)) break;
      block = sampled_block(job, block);
    }
    e->checks = 0;
    if (session.checks) run_checked(e, job, block);
    else run_block(e, block);
  }
  current_engine = nullptr;
  std::lock_guard<std::mutex> lock(watchdog->mutex);
  auto& engines = watchdog->engines;
  engines.erase(std::find(engines.begin(), engines.end(), e));
}

// ---- what a launch may ask for

// Streams are names here, for everything is in order; but a launch on one that is gone fails, as on a card.
constexpr Address kFirstStream = 0x57000000, kStreamStep = 64;
std::vector<bool> streams;  // which of those made so far are still there

std::string what_is_wrong(const LaunchRequest& r, int shared_limit) {
  size_t stream = (reinterpret_cast<Address>(r.stream) - kFirstStream) / kStreamStep;
  if (stream < streams.size() && !streams[stream]) return "its stream was destroyed before";
  Index3 g = r.grid, b = r.block;
  uint64_t threads = uint64_t(b.x) * b.y * b.z;
  if (!threads || !g.x || !g.y || !g.z) return format("<<<%s, %s>>>: no dimension may be zero", show(g).c_str(), show(b).c_str());
  if (threads > 1024) {
    return format("a block of %s has %llu threads; the limit is 1024", show(b).c_str(), static_cast<unsigned long long>(threads));
  }
  if (b.z > 64) return format("a block of %s: the limit of z is 64", show(b).c_str());
  if (g.x > 2147483647u || g.y > 65535 || g.z > 65535) {
    return format("a grid of %s: the limits are 2147483647, 65535 and 65535", show(g).c_str());
  }
  if (r.dynamic_shared > static_cast<size_t>(shared_limit)) {
    const char* advice = r.dynamic_shared > 232448 ? "; 227 KiB (232448) is the most that an H100 has"
                                                   : "; more than 48 KiB needs cudaFuncSetAttribute(kernel, "
                                                     "cudaFuncAttributeMaxDynamicSharedMemorySize, bytes) before the launch";
    return format("%zu bytes of dynamic shared memory%s", r.dynamic_shared, advice);
  }
  return "";
}

bool refuse(const LaunchRequest& request) {
  auto limit = session.shared_limits.find(session.module_base);
  std::string problem = what_is_wrong(request, limit == session.shared_limits.end() ? 49152 : std::max(49152, limit->second));
  if (problem.empty()) return false;
  Finding f{"bad_launch"};
  f.kernel = request.kernel;
  f.place.site = request.site;
  f.detail = problem;
  f.fatal = true;
  add_finding(std::move(f));
  return true;
}

int num_workers(const Job& job) {
  if (session.checks) return 1;  // one thread, so that findings are the same on every run
  int wanted = session.worker_threads ? static_cast<int>(session.worker_threads) : static_cast<int>(std::thread::hardware_concurrency());
  return static_cast<int>(std::min<long>({wanted, kMaxWorkers, job.num_blocks}));
}

}  // namespace

bool in_host_call() { return in_call && pthread_equal(pthread_self(), call_thread) && !current_engine; }

void fail_in_host(const char* kind, Address pc, std::string detail, std::string array) {
  Finding f{kind};
  f.array = std::move(array);
  f.kernel = "the launcher (host code)";
  if (in_module_text(pc)) f.place.pc = static_cast<uint32_t>(pc - session.module_base);
  f.detail = std::move(detail);
  f.fatal = true;
  add_finding(std::move(f));
  leave_call();
}

void leave_host_call() {
  if (!in_call) _exit(1);  // while the library is loaded (a static initialiser), there is no call to leave
  leave_call();
}

void sample_or_stop(Engine* e, uint32_t pc, Site site) {
  if (session.interrupted) {
    e->job->failed = true;
    session.error = 702;
    resume_main(e);
  }
  {
    std::lock_guard<std::mutex> lock(session.mutex);
    session.samples.push_back({pc, site, e->thread->index});
    if (session.samples.size() < kSamples) return;
  }
  fail_at(e, "endless_loop", pc, format("the kernel still ran after %g s", session.time_limit));
}

}  // namespace emu

using namespace emu;

extern "C" {

EXPORT void* emu_argument_space(size_t bytes, Site site) {
  alignas(4096) static char space[kArguments];
  session.argument_begin = reinterpret_cast<Address>(space);
  if (bytes <= kArguments) return space;
  Finding f{"bad_launch"};
  f.place.site = site;
  f.detail = format("%zu bytes of kernel arguments; the limit is %zu", bytes, kArguments);
  f.fatal = true;
  add_finding(std::move(f));
  return nullptr;
}

EXPORT void* emu_stream_create() {
  streams.push_back(true);
  return reinterpret_cast<void*>(kFirstStream + (streams.size() - 1) * kStreamStep);
}

EXPORT bool emu_stream_destroy(void* stream) {
  size_t number = (reinterpret_cast<Address>(stream) - kFirstStream) / kStreamStep;
  if (number >= streams.size() || !streams[number]) return false;
  streams[number] = false;
  return true;
}

EXPORT void emu_allow_shared(const void* function, int bytes) {
  auto pc = reinterpret_cast<Address>(function);
  dl_iterate_phdr(find_module, &pc);
  int& limit = session.shared_limits[session.module_base];
  limit = std::max(limit, bytes);
}

EXPORT void emu_launch(const LaunchRequest* request) {
  if (session.error || session.interrupted) return;  // after an error nothing runs, as on a card
  if (current_engine) fail_here("unsupported", request->site, "a kernel launches a kernel (dynamic parallelism)");
  auto pc = reinterpret_cast<Address>(request->invoke);
  if (!in_module_text(pc)) dl_iterate_phdr(find_module, &pc);
  if (refuse(*request)) return;
  Job job;
  job.request = request;
  job.num_threads = request->block.x * request->block.y * request->block.z;
  job.num_blocks = static_cast<long>(request->grid.x) * request->grid.y * request->grid.z;
  forget_order();
  session.first_stamp = session.next_stamp;
  session.next_stamp += static_cast<uint32_t>(job.num_blocks);
  if (session.checks) watch_module_data();
  auto start = Clock::now();
  int workers = num_workers(job);
  long before = session.deep_blocks;
  session.launch = LaunchCounter();
  for (auto& r : session.ranges) r.first_touched[0] = r.first_touched[1] = 0;
  if (workers <= 1) run_blocks(&job);
  else run_on_workers(workers, [&] { run_blocks(&job); });
  double ms = std::chrono::duration<double, std::milli>(Clock::now() - start).count();
  long deep = session.deep_blocks - before;
  if (session.checks && deep < job.num_blocks && !job.failed) {
    add_remark(format("%s: %ld of %ld blocks were checked for races; the others for accesses outside an array only", request->kernel,
                      deep, job.num_blocks));
  }
  Index3 g = request->grid, b = request->block;
  session.launches += format("%s{\"kernel\":\"%s\",\"grid\":[%u,%u,%u],\"block\":[%u,%u,%u],\"dynamic_shared\":%zu,\"stream\":%zu,\"ms\":%.4f,\"counts\":%s}",
                             session.launches.empty() ? "" : ",", request->kernel, g.x, g.y, g.z, b.x, b.y, b.z,
                             request->dynamic_shared, reinterpret_cast<size_t>(request->stream), ms, counts_of_launch().c_str());
}

// Calls a launcher through the wrapper that rewrite.py added. Returns false if it did not return by itself.
EXPORT bool emu_call(int (*wrapper)(void**), void** arguments, int* result) {
  auto pc = reinterpret_cast<Address>(wrapper);
  if (!in_module_text(pc)) dl_iterate_phdr(find_module, &pc);
  call_thread = pthread_self();
  if (session.checks) save_module_data();
  use_signal_stack();
  start_watching();
  install_handlers();
  bool returned = false;
  if (!sigsetjmp(host_escape, 0)) {
    in_call = true;
    *result = wrapper(arguments);
    in_call = false;
    returned = true;
  }
  restore_handlers();
  stop_watching();
  return returned;
}

}  // extern "C"
