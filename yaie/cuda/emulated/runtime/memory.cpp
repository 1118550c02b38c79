// Device memory: tensors in guarded pages, cudaMalloc'd memory, shadows, arenas, and what host code copies.
#include <sys/mman.h>

#include "runtime.h"

namespace emu {

Session session;

void* map_zero_pages(size_t bytes) {  // null if there are none
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return p == MAP_FAILED ? nullptr : p;
}

namespace {

constexpr size_t kArena = 1 << 20;
constexpr size_t kGuard = 1 << 20;            // unreadable bytes on each side of a tensor
constexpr size_t kKeptBytes = 512 << 20;      // freed pages kept for the next call, which would have to fault them in

// ---- pages that are kept from call to call

struct Pages {
  char* memory;
  size_t bytes;
};
std::vector<Pages> spare_shadows, used_shadows;

void* take_zero_pages(size_t bytes) {
  auto fits = [&](const Pages& p) { return p.bytes >= bytes && p.bytes <= 4 * bytes + kPage; };
  auto it = std::find_if(spare_shadows.begin(), spare_shadows.end(), fits);
  if (it != spare_shadows.end()) {
    used_shadows.push_back(*it);
    spare_shadows.erase(it);
  } else {
    void* p = map_zero_pages(bytes);
    if (!p) return nullptr;
    used_shadows.push_back({static_cast<char*>(p), bytes});
  }
  return used_shadows.back().memory;
}

// Old stamps carry old block numbers, so pages are handed on without clearing them.
void release_shadows() {
  for (auto& p : used_shadows) spare_shadows.push_back(p);
  used_shadows.clear();
  size_t total = 0;
  for (auto& p : spare_shadows) total += p.bytes;
  while (total > kKeptBytes) {
    total -= spare_shadows.back().bytes;
    munmap(spare_shadows.back().memory, spare_shadows.back().bytes);
    spare_shadows.pop_back();
  }
}

// ---- guarded memory: tensors are copied into pages that end at an unreadable page

struct Guarded {
  char* mapping;
  size_t body, bytes;
  std::string device_name;  // not empty: cudaMalloc'd by a launcher, lives until cudaFree
};
std::map<Address, Guarded> guarded;
std::vector<Pages> spare_bodies;

char* take_guarded_pages(size_t body) {
  auto it = std::find_if(spare_bodies.begin(), spare_bodies.end(), [&](const Pages& p) { return p.bytes == body; });
  if (it != spare_bodies.end()) {
    char* mapping = it->memory;
    spare_bodies.erase(it);
    mprotect(mapping + kGuard, body, PROT_READ | PROT_WRITE);
    return mapping;
  }
  void* p = mmap(nullptr, body + 2 * kGuard, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) return nullptr;
  auto* mapping = static_cast<char*>(p);
  mprotect(mapping + kGuard, body, PROT_READ | PROT_WRITE);
  return mapping;
}

void keep_or_unmap(char* mapping, size_t body) {
  size_t total = body;
  for (auto& p : spare_bodies) total += p.bytes;
  if (total <= kKeptBytes && spare_bodies.size() < 64) spare_bodies.push_back({mapping, body});
  else munmap(mapping, body + 2 * kGuard);
}

void add_range(Address begin, size_t bytes, const char* name, unsigned item, bool read_only, bool module_data) {
  session.ranges.push_back({begin, begin + bytes, name, item, read_only, module_data, {}, {}, {}});
  Range& r = session.ranges.back();
  if ((session.checks & kRaces) && !read_only) attach_shadow(&r, shift_for(item));
}

}  // namespace

void attach_shadow(Range* r, unsigned shift) {
  Shadow& s = r->shadow;
  s = Shadow{};
  s.shift = shift;
  s.cells = ((r->end - r->begin) >> shift) + 2;
  s.writes = static_cast<Stamp*>(take_zero_pages(s.cells * sizeof(Stamp)));
  s.reads = static_cast<Readers*>(take_zero_pages(s.cells * sizeof(Readers)));
  if (s.writes && s.reads) return;
  s = Shadow{};
  add_remark(format("races on `%s` are not looked for: no memory to note who touched it", r->name.c_str()));
}

Index3 thread_index_of(const Job* job, unsigned t) {
  Index3 b = job->request->block;
  return {t % b.x, t / b.x % b.y, t / (b.x * b.y)};
}
Index3 block_index_of(const Job* job, long block) {
  Index3 g = job->request->grid;
  return {static_cast<unsigned>(block % g.x), static_cast<unsigned>(block / g.x % g.y),
          static_cast<unsigned>(block / (long(g.x) * g.y))};
}

void begin_memory() {
  release_shadows();
  session.ranges.clear();
  for (auto& g : guarded) {
    if (!g.second.device_name.empty()) add_range(g.first, g.second.bytes, g.second.device_name.c_str(), 0, false, false);
  }
}

void save_module_data() {
  session.data_before.clear();
  for (auto& s : session.data) session.data_before.append(reinterpret_cast<const char*>(s.begin), s.end - s.begin);
}

void watch_module_data() {
  session.ranges.erase(std::remove_if(session.ranges.begin(), session.ranges.end(), [](Range& r) { return r.module_data; }),
                       session.ranges.end());
  for (auto& s : session.data) {
    if (s.end > s.begin) add_range(s.begin, s.end - s.begin, "", 4, false, true);
  }
}

void create_arena(Engine* e) {
  e->arena_bytes = kArena;
  auto* p = static_cast<char*>(mmap(nullptr, kArena + 2 * kGuard, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  e->arena = p + kGuard;
  mprotect(e->arena, kArena, PROT_READ | PROT_WRITE);
}

// Host code has touched an address by itself.
void check_host_access(Address a, size_t bytes, int kind, Address return_address) {
  if (!session.checks || !in_host_call()) return;
  for (auto& r : session.ranges) {
    if (r.module_data || a >= r.end || a + bytes <= r.begin) continue;
    const char* did = kind == kRead ? "reads" : "writes";
    fail_in_host("host_fault", return_address - 1,
                 format("it %s `%s`, which is device memory: only kernels and cudaMemcpy can", did, r.name.c_str()), r.name);
  }
}

}  // namespace emu

using namespace emu;

// ---- memory for launchers and for Python

extern "C" {

EXPORT void* emu_guarded_alloc(size_t bytes, size_t align) {
  size_t body = std::max(kPage, (bytes + align + kPage - 1) / kPage * kPage);
  char* mapping = take_guarded_pages(body);
  if (!mapping) return nullptr;
  auto end = reinterpret_cast<Address>(mapping + kGuard + body);
  Address p = (end - bytes) / align * align;
  guarded[p] = {mapping, body, bytes, ""};
  return reinterpret_cast<void*>(p);
}

EXPORT bool emu_guarded_free(void* pointer) {
  auto it = guarded.find(reinterpret_cast<Address>(pointer));
  if (it == guarded.end()) return false;
  keep_or_unmap(it->second.mapping, it->second.body);
  guarded.erase(it);
  return true;
}

EXPORT void emu_guarded_protect(void* pointer) {
  auto& g = guarded[reinterpret_cast<Address>(pointer)];
  mprotect(g.mapping + kGuard, g.body, PROT_READ);
}

EXPORT void emu_register(void* pointer, size_t bytes, const char* name, unsigned item, bool read_only) {
  add_range(reinterpret_cast<Address>(pointer), bytes, name, item, read_only, false);
}

EXPORT void* emu_device_malloc(size_t bytes, const char* name) {
  void* p = emu_guarded_alloc(std::max<size_t>(bytes, 1), 256);
  if (!p) return nullptr;
  guarded[reinterpret_cast<Address>(p)].device_name = name;
  memset(p, 0xff, bytes);
  add_range(reinterpret_cast<Address>(p), bytes, name, 0, false, false);
  return p;
}

// Puts the module's variables back to what they were before the last call.
EXPORT void emu_rewind() {
  const char* from = session.data_before.data();
  for (auto& s : session.data) {
    memcpy(reinterpret_cast<char*>(s.begin), from, s.end - s.begin);
    from += s.end - s.begin;
  }
}

EXPORT bool emu_device_free(void* pointer) {
  if (!pointer) return true;
  auto begin = reinterpret_cast<Address>(pointer);
  session.ranges.erase(std::remove_if(session.ranges.begin(), session.ranges.end(), [&](Range& r) { return r.begin == begin; }),
                       session.ranges.end());
  return emu_guarded_free(pointer);
}

static void check_host_copy(const void* p, size_t bytes, const char* what, Site site) {
  auto a = reinterpret_cast<Address>(p);
  for (auto& r : session.ranges) {
    if (r.module_data || a - r.begin >= r.end - r.begin || a + bytes <= r.end) continue;
    Finding f{"out_of_bounds"};
    f.kernel = what;
    f.place.site = site;
    f.array = r.name;
    f.array_bytes = r.end - r.begin;
    f.offset = static_cast<long>(a - r.begin);
    f.item = std::max(r.item, 1u);
    f.size = static_cast<unsigned>(bytes);
    f.fatal = true;
    add_finding(std::move(f));
  }
}

// Where an address lies. The module's own variables are both: a __device__ one and a static one of host code look alike.
static const Range* device_range(const void* p) {
  auto a = reinterpret_cast<Address>(p);
  for (auto& r : session.ranges) {
    if (!r.module_data && a - r.begin < std::max<Address>(r.end - r.begin, 1)) return &r;
  }
  return nullptr;
}
static bool in_module(const void* p) {
  return reinterpret_cast<Address>(p) - session.module_begin < session.module_end - session.module_begin;
}

static void check_side(const void* p, bool wants_device, const char* what, const char* side, const char* said, Site site) {
  if (in_module(p)) return;
  const Range* r = device_range(p);
  if ((r != nullptr) == wants_device) return;
  Finding f{"copy_direction"};
  f.kernel = what;
  f.place.site = site;
  f.array = r ? r->name : "";
  std::string where = r ? format("device memory (`%s`)", r->name.c_str()) : std::string("host memory");
  f.detail = format("its %s is %s%s, but %s", side, p ? "" : "a null pointer, not ", where.c_str(), said);
  f.fatal = true;
  add_finding(std::move(f));
}

// kind: a cudaMemcpyKind; 4 lets the addresses decide.
EXPORT void emu_copy(void* to, const void* from, size_t bytes, int kind, Site site) {
  static const char* const kNames[] = {"cudaMemcpyHostToHost", "cudaMemcpyHostToDevice", "cudaMemcpyDeviceToHost",
                                       "cudaMemcpyDeviceToDevice"};
  if (kind >= 0 && kind < 4 && bytes) {
    std::string said = format("the call says %s", kNames[kind]);
    check_side(to, kind & 1, "cudaMemcpy", "destination", said.c_str(), site);
    check_side(from, kind & 2, "cudaMemcpy", "source", said.c_str(), site);
  }
  check_host_copy(to, bytes, "cudaMemcpy", site);
  check_host_copy(from, bytes, "cudaMemcpy", site);
  if (!session.error) memmove(to, from, bytes);
}

EXPORT void emu_fill(void* to, int value, size_t bytes, Site site) {
  if (bytes) check_side(to, true, "cudaMemset", "destination", "cudaMemset fills device memory", site);
  check_host_copy(to, bytes, "cudaMemset", site);
  if (!session.error) memset(to, value, bytes);
}

}  // extern "C"
