// What Hopper added: barriers in shared memory, copies of tiles by TMA, products of a warpgroup. Shared by
//
//   clocks.cpp     what a thread knows to have happened: the order that these barriers make
//   barriers.cpp   mbarriers, named barriers, setmaxnreg
//   tma.cpp        maps of tensors, loads and stores
//   wgmma.cpp      products of a warpgroup, and the registers that they hold
//
// What is asynchronous happens as late as the rules allow. Its reads and writes of shared memory are stamped when it is
// started, with an agent that is no thread: the barrier that a load completes, the warpgroup of a wgmma, the thread's
// stores. Nobody knows of that stamp before it has waited, so an access too early is one that no order excuses.
#pragma once
#include "access.h"

namespace emu {

constexpr unsigned kWarpgroup = 128;
constexpr size_t kMaxAgents = 1900;  // what a stamp can name

struct Load {  // a TMA load that has not landed
  char* to;
  TensorMap map;
  int at[5];
  unsigned bytes;
  Stamp stamp;
  Site site;
};

struct DeferredArrival {  // cp.async.mbarrier.arrive: comes when the thread's copies have landed
  Thread* thread;
  size_t copies;  // how many of its list
  KnownTicks clock;
};

struct Arrivals {  // at one place of the code, in one phase
  Site site;
  Calls calls;
  std::vector<unsigned> threads;
  LastWait before;  // of the last thread
};

struct Mbarrier {
  Address address;
  Calls made;  // where
  Stamp init;
  Site init_site;
  bool fenced = false, reported = false;
  unsigned count, pending, agent;
  long bytes = 0;           // announced and not landed
  long announced = 0;       // in this phase
  uint32_t phase = 0;       // how many have completed
  KnownTicks arriving, completed;
  std::vector<Arrivals> arrivals, past[4];  // of this phase, and of those before it
  long last_announced = 0;  // in the phase before
  std::vector<Load> loads;
  std::vector<DeferredArrival> deferred;
  std::vector<Thread*> waiters;

  const std::vector<Arrivals>& of(uint32_t over) const {  // a phase that is over
    static const std::vector<Arrivals> forgotten;
    return over < phase && phase <= over + 4 ? past[over % 4] : forgotten;
  }
};

struct NamedBarrier {
  int wanted = 0, come = 0;
  Thread* first = nullptr;
  Site site{};
  KnownTicks clock;
  std::vector<Thread*> waiters;
  uint32_t comers = 0;  // warps that have ever come
};

struct Product {  // one wgmma of a warpgroup
  Wgmma is;
  Site site;
  uint32_t pc;
  Thread* first;
  unsigned issued = 0, warps_done = 0;
  bool loaded = false, checked = false;
  float* d[kWarpgroup];
  const uint32_t* a[kWarpgroup];
  std::vector<float> a_values, b_values;  // 64 x 16, and 16 x columns: what shared memory held when the first warp waited
};

struct Warpgroup {
  unsigned agent = 0, threads = 0;
  uint32_t first_product = 0;  // number of products[0]
  std::deque<Product> products;
  uint32_t done[4] = {};  // per warp: products it has
  std::vector<Thread*> waiters;
  // setmaxnreg
  unsigned registers = 0, asking = 0;
  Site asking_site{};
};

struct Agent {
  Thread* thread;  // that started its last operation
};

struct Hopper {
  bool follows_order = false;  // in check mode
  std::map<Address, Mbarrier> mbarriers;
  std::map<int, NamedBarrier> named;
  std::vector<Warpgroup> warpgroups;
  std::vector<Agent> agents;
  std::vector<KnownTicks> clocks;  // of the threads
  uint32_t next_epoch = 1;    // of wgmma_fence
  unsigned registers_left = 0;
  std::vector<Thread*> register_waiters;
};

// Which slot of a clock belongs to a stamp's thread, or to its agent.
inline unsigned slot_of(const Engine* e, unsigned thread) {
  return thread < kFirstAgent ? thread : static_cast<unsigned>(e->threads.size()) + (thread - kFirstAgent) / kLanes;
}
unsigned new_agent(Engine* e, Thread* starter, Site site);  // as a stamp names it
bool knows(Engine* e, const Thread& t, const Stamp& earlier);
bool knows_through_fence(Engine* e, const Thread& t, const Stamp& earlier);
void join(KnownTicks& to, const KnownTicks& from);
KnownTicks& clock_of(Engine* e, const Thread& t);
void publish(Engine* e, Thread* t, KnownTicks* to);  // the thread tells all it knows, and what it does next is not told
void learn(Engine* e, Thread* t, const KnownTicks& from);
uint32_t known_tick(Engine* e, const Thread& t, unsigned agent);
void learn_agent(Engine* e, Thread* t, unsigned agent, uint32_t tick);

void begin_operation(Engine* e, Site site);  // what every one begins with
std::string role_of(Engine* e, const Thread& t);
std::string waited_for(Engine* e, const Thread& t);
std::string told(const LastWait& w, Engine* e);
std::string told(const std::vector<Arrivals>& arrivals, Engine* e);
std::string told(const Site& site, const Calls& calls);  // for Python, which knows the lines
Address array_of(Engine* e, const Mbarrier& b);
std::string name_of_place(Engine* e, Address a);
Finding finding_here(Engine* e, const char* kind, Site site, std::string detail);

// An asynchronous read or write of shared memory by the thread that starts it. Reports the first fault.
struct AsyncAccess {
  const char* what;  // "TMA load", ...
  int kind;          // kRead or kWrite
  Stamp stamp;       // of the agent
  uint32_t pc;
  Site site;
};
bool check_async(Engine* e, SharedArray& s, Address a, size_t bytes, const AsyncAccess& access);
SharedArray* array_around(Engine* e, Address a, size_t bytes);

Mbarrier& mbarrier_at(Engine* e, uint64_t* barrier, const char* what, Site site);
void try_complete(Engine* e, Mbarrier& b, bool wanted);
void land(Engine* e, Load& load);
unsigned bytes_of(const TensorMap& map);
void mark_touched(Address a, unsigned bytes, unsigned written);
void count_tile(Engine* e, uint32_t pc, int kind, uint64_t bytes, uint64_t sectors, uint64_t used);
void land_copies(Engine* e, Thread* t, size_t count);  // of cp.async

}  // namespace emu
