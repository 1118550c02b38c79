// Internals of the emulator's runtime, shared by its .cpp files. Kernels never see this file.
//
//   fibers.cpp     one fiber per CUDA thread: barriers, warp functions, deadlocks (stack_switch.h: the switch itself)
//   matrices.cpp   mma and ldmatrix
//   memory.cpp     device memory: tensors, cudaMalloc, shadows, arenas
//   access.cpp     every load and store of a checked kernel (access.h: the usual way): shared memory, cp.async
//   races.cpp      two accesses that no barrier orders: what fences and flags order, and what is harmless
//   module.cpp     the module that a kernel comes from: its segments and its variables
//   hopper.h       what Hopper added: clocks.cpp, barriers.cpp, tma.cpp, wgmma.cpp
//   sanitizer.cpp  the calls that the compiler puts in front of each load and store
//   counters.cpp   sectors, bank conflicts and the trace of one warp
//   launch.cpp     kernel launches, signals (bad addresses, time limit, Ctrl-C), worker threads
//   report.cpp     findings, device printf, and the calls that Python makes
//
// The runtime is never compiled with -fsanitize. A kernel in check mode is compiled with -fsanitize=thread, which
// makes every load and store call __tsan_read*/__tsan_write*; sanitizer.cpp defines those functions, and the real
// sanitizer is never linked (Linux's KCSAN works the same way).
#pragma once
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <map>
#include <deque>
#include <mutex>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <vector>

#include "../include/interface.h"

#define EXPORT __attribute__((visibility("default")))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

namespace emu {

using Address = uintptr_t;
constexpr unsigned kLanes = 32, kPayload = 32;  // bytes that one lane may bring to a warp function
constexpr unsigned kRedZone = 1024;             // unused bytes after each shared array
constexpr size_t kPage = 4096;

enum class Space : uint8_t { kGlobal, kShared };
enum class State : uint8_t {
  kUnstarted, kReady, kAtBarrier, kAtWarp, kAtActiveMask, kAtMbarrier, kAtNamedBarrier, kAtWarpgroup, kAtRegisters, kDone
};
enum class WarpOp : uint8_t { kSync, kShuffle, kBallot, kMatch, kReduce, kLdmatrix, kMma, kWgmmaWait };
enum Checks : unsigned { kBounds = 1, kRaces = 2, kCounters = 4, kSample = 8 };  // kSample: only a few blocks run at all

std::string format(const char* pattern, ...) __attribute__((format(printf, 1, 2)));
std::string show(Index3 i);

// ---- one access, and the memory of who touched what

// A logged access of one lane, kept until its warp meets and the lanes' accesses can be put side by side.
struct Access {
  Address address;
  uint32_t pc;  // offset of the instruction in the kernel's module
  uint16_t size;
  Space space;
  uint8_t kind;
};

enum Strength : uint8_t { kPlain, kVolatile, kAtomicStrength };

// Who touched some bytes last. Two accesses of one block are ordered if a barrier epoch lies between them or, inside
// one warp, a warp epoch; beyond that only fences and flags order accesses (races.cpp). `block` counts on over all
// launches, so a stamp from an earlier launch is recognised as old and shadow memory need not be cleared.
struct Stamp {
  uint32_t block, pc;
  uint16_t thread, barrier_epoch, warp_epoch;
  uint16_t order;  // strength, and above its two bits how many fences the thread had passed
  uint32_t tick;   // of the thread's clock (clocks.cpp)

  unsigned strength() const { return order & 3; }
  unsigned fences() const { return order >> 2; }
};
constexpr unsigned kMaxFences = (1u << 14) - 1;
// A stamp's thread from here on is none: what TMA and wgmma do asynchronously (hopper.h). As far apart as warps.
constexpr unsigned kFirstAgent = 2048;
struct Readers {
  Stamp last, other;  // the last reader, and the last one that was another thread
};

// Shadow of one array: stamps for every `1 << shift` bytes. Lives in lazily filled pages.
struct Shadow {
  Stamp* writes = nullptr;
  Readers* reads = nullptr;
  size_t cells = 0;
  unsigned shift = 2;
  bool was_read = false;  // lets a write skip the readers of an output nobody reads
};

struct Range {  // a tensor or cudaMalloc'd memory
  Address begin, end;
  std::string name;
  unsigned item;  // bytes of one element
  bool read_only;
  bool module_data;  // __device__ variables of the kernel's own module: races only
  Shadow shadow;
  std::vector<uint64_t> touched[2];  // read and written: one bit per 32-byte sector
  uint64_t first_touched[2] = {};    // sectors that the running launch was the first to read, to write
};

struct UnwrittenRead {
  size_t cell;
  uint32_t pc;
  unsigned thread, size;
  size_t offset;
  int kind;  // kRead or kAtomic
};

struct SharedArray {
  Address begin = 0;
  size_t bytes = 0;
  const void* key = nullptr;
  std::string name;
  unsigned shift = 2;
  std::vector<Stamp> writes;
  std::vector<Readers> reads;
  std::vector<uint32_t> in_flight;  // pc of a cp.async into this cell that has not been waited for
  std::vector<UnwrittenRead> unwritten_reads;
};

struct Placed {  // where a shared array lies, for the trace
  Address begin;
  size_t bytes;
};

struct AsyncCopy {
  void* to;
  const void* from;
  unsigned bytes, source_bytes, group;
  uint32_t pc, tick;
};

// What a thread, or whoever it tells, knows to have happened: up to which tick of each thread and agent; and of that, what
// lies before a fence of the proxies.
struct KnownTicks {
  std::vector<uint32_t> seen, fenced;
};

struct HeldRegisters {  // by a wgmma that the thread has not waited for
  Address begin, end;
  uint32_t product;  // its number in the warpgroup
  uint32_t pc;
  bool accumulators;
};
struct RegisterCell {  // the last access to four bytes of a thread's own memory
  uint32_t epoch_and_write;  // of wgmma_fence, times two
  uint32_t pc;
};
struct LastWait {  // for an mbarrier
  Address barrier = 0;
  unsigned parity = 0;
  uint32_t phase = 0;  // that it was in
  uint32_t known = 0;  // phases of it that the thread knew to be over
  bool at_once = false;
  bool again = false;  // for a phase that it had waited for before, or that never was
  Site site{};
};
using Calls = std::vector<uint32_t>;  // where the running thread is: return addresses, the innermost first
struct LastWgmmaWait {
  uint32_t products = 0;  // that had been issued
  unsigned groups_left = 0;
  Site site{};
};
struct Store {  // a TMA store that has not read its tile
  const char* from;
  TensorMap map;
  int at[5];
  unsigned bytes, group;
  uint32_t pc;
  Site site;
};

struct Hopper;

// A flag was set (or a ticket drawn) by a thread that had fenced: see races.cpp.
struct Release {
  uint32_t block;
  uint16_t thread;
  uint16_t fences, device_fences;          // of the thread: its accesses with fewer are published
  uint16_t fence_barrier, fence_warp;      // the epochs at its last fence for the device: what came before is published
  uint16_t barrier_epoch, warp_epoch;      // when the flag was set
  std::vector<const Release*> after;       // what that thread had seen
};
using Releases = std::vector<const Release*>;

// ---- threads, warps, blocks

struct Fiber {
  void* stack_pointer;
  char *low, *high;
  RegisterCell* registers = nullptr;  // of its stack, once it is asked for
};

struct Thread {
  unsigned index;
  Index3 index3;
  State state;
  Fiber* fiber;
  // where it waits
  Site site;
  WarpOp warp_op;
  Site barrier_site;  // the last barrier that it came to, and its call
  Address barrier_call;
  int barrier_op, vote;
  unsigned mask, slot, met;
  alignas(16) unsigned char payload[kPayload];
  // its history since the last meeting
  uint16_t warp_epoch;
  uint16_t fences;
  std::vector<Access> log;
  std::vector<AsyncCopy> copies;
  unsigned copy_group;
  Address spin_address;
  unsigned spins;
  // what its fences order
  uint16_t device_fences, fence_barrier, fence_warp;
  Releases seen;  // flags of others that it has read
  // Hopper: what its warpgroup's products hold, and what it waits for
  uint32_t tick;
  bool follows_registers;    // it has called wgmma_fence
  uint32_t register_epoch;   // counts those calls
  uint32_t products;         // that it has issued
  std::vector<uint32_t> groups;  // ends of those that it has committed and not waited for
  std::vector<HeldRegisters> held;
  std::vector<Store> stores;
  unsigned store_group, store_agent;
  LastWait waited;
  LastWgmmaWait wgmma_waited;
  Calls calls;      // where it waits, of lane 0 of a warp
  unsigned wanted;  // of what it waits for: a parity, a number of threads or of registers
};

struct Warp {
  unsigned existing;  // lanes of the last warp may not exist
  unsigned live;
  unsigned waiting;  // lanes in State::kAtWarp
  uint16_t epoch;
  unsigned next_slot;
  std::vector<unsigned char> slots;
};

// What a warp did in a block: requests of global memory by kind, of shared memory, and what it met for. Rounds: how
// often it loaded anything between two meetings.
struct WarpCounter {
  uint64_t requests[3], shared, products, shuffles, rounds;
  uint64_t copies, met_copies;  // cp.async, which are among the loads; those until the warp last met
  double copy_rounds;           // waits for copies: one that leaves n groups in flight is 1 / (n + 1) of a wait
  uint64_t sum() const { return requests[kRead] + requests[kWrite] + requests[kAtomic] + shared + products + shuffles; }
};

struct CachedLine {
  Address line;
  unsigned sectors;  // bit mask
};

struct Loader {  // of a sector: the warp, and when
  unsigned warp;
  uint16_t epoch;
};

struct Job {
  const LaunchRequest* request;
  unsigned num_threads;
  long num_blocks;
  std::atomic<long> next_block{0};
  std::atomic<bool> failed{false};
  // When checking every block would cost too much, pairs of neighbours are checked deeply, the others for bounds only.
  long next_pair = 0, deep_blocks = 0;
  uint64_t deep_events = 0;
};

struct Doubts;  // races.cpp
struct Finding;

// Runs the blocks of one OS thread, one after another.
struct Engine {
  Job* job;
  Index3 block;
  uint32_t block_stamp;
  uint16_t barrier_epoch;
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  Thread* thread = nullptr;  // the CUDA thread that runs now; null outside kernels
  Fiber* fiber = nullptr;
  void* main_stack;
  std::vector<Fiber*> all_fibers, free_fibers;
  std::vector<Thread*> ready;  // ring buffer
  size_t ready_head, ready_tail;
  unsigned unstarted, live, at_barrier;
  int mixed_barriers;  // a line of which two different barriers have met
  // shared memory
  char* arena = nullptr;
  size_t arena_bytes, arena_used;
  std::vector<SharedArray> arrays;
  bool names_dynamic_shared;  // the kernel uses its dynamic shared memory
  size_t num_arrays;
  SharedArray* last_array;
  Range* last_range;
  // order between threads beyond barriers
  bool fenced, has_seen;  // some thread of the block has fenced, has read another's flag
  Releases seen;          // flags that all of the block have seen, through a barrier
  Doubts* doubts;
  Hopper* hopper;  // null where the module has nothing of it
  // checking
  unsigned checks;
  uint64_t events;
  std::vector<WarpCounter> of_warps;
  std::vector<CachedLine> cached;               // the block's share of L1
  std::unordered_map<Address, Loader> loaded;  // sectors that were not there
  unsigned in_flight_copies;
  // Both are asked for at every access, in one go.
  union {
    struct {
      volatile bool stop_requested, store_in_doubt;
    };
    volatile uint16_t attention;
  };
  bool starts_copy;  // a cp.async: its store comes later
  pthread_t os_thread;
  std::vector<unsigned char> signal_stack;
};

// clocks.cpp, for kernels with what Hopper added
Hopper* hopper_of_launch();  // null if the module that runs has nothing of it
void start_hopper(Engine* e);
void end_hopper_thread(Engine* e, Thread* t);
bool owes_arrivals(const Engine* e, const Thread* t);  // to mbarriers, once its copies have landed
void end_hopper_block(Engine* e);
void meet_clocks(Engine* e, Thread* threads, unsigned n, unsigned lanes);  // those that meet know what each of them knows
bool is_known(Engine* e, const Stamp& earlier);                        // to the thread that runs
const char* name_async(Engine* e, Finding* f, const Stamp& earlier, int earlier_kind);  // of a race with an agent
std::string why_unordered(Engine* e, const Thread& later, const Thread& earlier, bool load);
unsigned thread_of_agent(Engine* e, unsigned agent);
void note_register_access(Engine* e, Address a, size_t size, int kind, uint32_t pc);
std::string where_hopper_waits(const Thread& t);
Finding hopper_deadlock(Engine* e);  // its kind is null if nobody waits there

// races.cpp
Doubts* new_doubts();
void start_block_order(Engine* e);
void settle_doubts(Engine* e);             // a store has been done, so its value is known
void settle_block(Engine* e);              // at the block's end
void share_seen(Engine* e, Thread* threads, unsigned n, unsigned lanes);  // threads that meet have seen what one of them has
void acquire_flag(Engine* e, Address a);
void release_flag(Engine* e, Address a, bool update);
void forgive_first_read(Engine* e, Address a, unsigned size);  // of the place that the thread now compares and swaps
void forget_order();                            // a launch begins

extern thread_local Engine* current_engine __attribute__((tls_model("initial-exec")));

// ---- findings

struct Place {  // one side of a finding
  Index3 block{}, thread{};
  uint32_t pc = 0;      // 0: use site
  Site site{nullptr, 0, 0};
  int access = -1;
};

struct Finding {
  explicit Finding(const char* kind_) : kind(kind_) {}
  const char* kind;
  std::string kernel, detail, array;
  std::string because;     // the cause, where it has been computed
  Place place, other;
  Calls calls;             // of the thread that met it
  unsigned size = 0;       // bytes of the access
  long offset = 0;         // byte offset in the array
  size_t array_bytes = 0;
  unsigned item = 0;
  bool shared = false, fatal = false, has_other = false;
  bool dynamic = false;    // the array is the dynamic shared memory
  bool variable = false;   // the array is a __device__ or __constant__ variable
  bool again = false;      // the threads that are gone had come to this line before
  bool update = false;     // a race: the thread read the element just before it wrote it
  uint64_t count = 1;
};

Calls calls_here();
std::string joined(const Calls& calls);  // with commas
void add_finding(Finding finding);
void add_suspect(Finding finding);
void add_remark(std::string text);  // something that is no fault but should be known, once
// Ends the whole launch; runs on the failing thread's fiber and does not return.
[[noreturn]] void fail(Finding finding);
[[noreturn]] void leave_host_call();  // ends the launcher, when its host code failed
[[noreturn]] void fail_here(const char* kind, Site site, std::string detail);
// The launch is being stopped from outside. At the time limit a few places are collected first, so that an endless
// loop is reported by its first line and not by wherever it happened to be.
void sample_or_stop(Engine* engine, uint32_t pc, Site site);

// ---- counters

struct LineCounter {
  uint64_t requests, lanes, bytes, used_bytes, sectors, wavefronts, ideal_wavefronts;
  unsigned most_ways;
};

// What the blocks of a launch did that were counted, beyond what is counted per line.
struct LaunchCounter {
  long blocks = 0;
  uint64_t sectors[3] = {};  // by kind
  uint64_t partial = 0;      // of stores that do not fill theirs
  uint64_t missed = 0, distinct = 0;  // loads that a block's share of L1 does not hold; those of them that are its first
  uint64_t wavefronts = 0, barriers = 0, queued = 0;  // queued: lanes behind another at an atomic in shared memory
  size_t shared_bytes = 0;                           // of a block
  bool hopper = false;                               // its module has something of Hopper
  WarpCounter all{}, busiest{};  // over all warps; the busiest warp of each block
  std::unordered_map<Address, uint64_t> atomics;  // lanes by address
};

struct Sample {
  uint32_t pc;
  Site site;
  unsigned thread;
};

struct TraceRow {
  uint32_t step, pc;
  uint16_t lane, size;
  uint8_t space, kind;
  Address address;
};

std::string counts_of_launch();       // of the last one, as JSON
WarpCounter* counter_of_warp();       // of the thread that runs
void start_counting(Engine* engine);  // a block begins
void end_counting(Engine* engine);
void put_side_by_side(Engine* engine, unsigned warp);  // counts and empties the logs of one warp
void log_is_full(Engine* engine);

// ---- the state of one call from Python

struct Stretch {
  Address begin, end;
};

struct Session {
  // options
  unsigned checks = 0, worker_threads = 0;
  double time_limit = 20;
  double event_budget = 4e7;
  Index3 trace_block{};
  unsigned trace_warp = 0;
  int poison = 0xff;  // what undefined bytes hold
  // results
  std::mutex mutex;
  std::vector<std::string> remarks;
  std::vector<Finding> suspects;  // undefined values that went into a thread; no fault if nobody uses them
  std::vector<Finding> findings;
  std::map<std::string, size_t> finding_index;
  int error = 0;
  long blocks = 0, deep_blocks = 0, tensor_core_calls = 0, shuffles = 0;
  std::string launches;
  LaunchCounter launch;  // the running one
  std::unordered_map<uint64_t, LineCounter> counters;  // key: pc, space, kind and size
  LineCounter* last_counter = nullptr;
  uint64_t last_counter_key = 0;
  std::vector<TraceRow> trace;
  std::vector<Sample> samples;
  bool interrupted = false;  // Ctrl-C
  // memory
  std::vector<Range> ranges;
  std::map<std::string, Placed> shared_layout;
  std::map<std::string, unsigned> shared_shifts;  // arrays of kernels known to need a finer shadow
  std::map<Address, int> shared_limits;           // per module: the largest dynamic shared memory opted in to
  // the running launch
  uint32_t next_stamp = 1, first_stamp = 1;
  std::deque<Release> releases;
  std::unordered_map<Address, const Release*> flags;  // the last release at an address
  Address argument_begin = 0;
  Address module_base = 0, module_begin = 0, module_end = 0, text_begin = 0, text_end = 0;
  std::vector<Stretch> data;  // its variables, of which kernels may write; the linker makes one segment of them or two
  std::string module_path, data_before;
};
extern Session session;

inline bool in_module_text(Address pc) { return pc - session.text_begin < session.text_end - session.text_begin; }

// ---- functions used across files

Index3 thread_index_of(const Job* job, unsigned thread);
Index3 block_index_of(const Job* job, long block);
inline uint32_t pc_of(Address return_address) { return static_cast<uint32_t>(return_address - 1 - session.module_base); }

void run_block(Engine* engine, long block);
void resume_main(Engine* engine) __attribute__((noreturn));
void yield_turn(Engine* engine);
void start_sibling_or_yield(Engine* engine);
void wait_until_woken(Engine* engine, State state, Site site);
void wake(Engine* engine, std::vector<Thread*>* threads);

inline unsigned shift_for(unsigned item) { return item == 1 ? 0 : item == 2 ? 1 : 2; }  // of shadow cells
void attach_shadow(Range* range, unsigned shift);
void* map_zero_pages(size_t bytes);

// Waits for the lanes in mask; returns their payloads, kPayload bytes apart.
const unsigned char* meet(WarpOp op, unsigned mask, const void* in, unsigned bytes, Site site);
template <class T>
inline T payload(const unsigned char* lanes, unsigned lane, unsigned offset = 0) {
  T value;
  memcpy(&value, lanes + lane * kPayload + offset, sizeof value);
  return value;
}

inline bool same_place(Site a, Site b) {
  return a.line == b.line && a.column == b.column && (a.file == b.file || !strcmp(a.file, b.file));
}
bool in_host_call();                        // the calling thread runs a launcher's host code
[[noreturn]] void fail_in_host(const char* kind, Address pc, std::string detail, std::string array = "");
void check_host_access(Address a, size_t bytes, int kind, Address return_address);
struct Variable {
  Address begin, end;
  std::string name;
  bool is_guard() const { return name.rfind("emu_guard", 0) == 0; }  // of rewrite.py: lies behind those of the device
};
constexpr Address kConstantAlign = 65536;        // of the device's variables (rewrite.py): what lies between is nobody's
const Variable* variable_near(Address a);        // the running module's variable that holds a, or the one nearest to it

void reset_shared(Engine* engine, size_t dynamic_bytes);
void start_block_memory(Engine* engine);
void settle_unwritten_reads(Engine* engine);
void drop_copies(Engine* engine, Thread* thread);
void create_arena(Engine* engine);
void begin_memory();        // forgets the last call's tensors
void save_module_data();    // so that the call can be made again
void watch_module_data();   // the __device__ variables of the module that is about to run
void gather_matrices(uint32_t* registers, const void* row, int matrices, bool transposed, Site site);
[[noreturn]] void report_bad_address(Engine* engine, Address address, unsigned size, int kind, uint32_t pc);

}  // namespace emu
