// cooperative_groups: thread_block, tiled partitions of up to 32 threads, coalesced_threads(), and reduce().
#pragma once
#include "yaie_emulator.h"

namespace cooperative_groups {

struct thread_block {
  static void sync(EMU_SITE) { emu_barrier(emu::kBarrier, 0, site); }
  static dim3 group_index() { return dim3(emu_blockIdx()); }
  static dim3 thread_index() { return dim3(emu_threadIdx()); }
  static dim3 group_dim() { return emu_blockDim(); }
  static dim3 dim_threads() { return emu_blockDim(); }
  static unsigned thread_rank() {
    uint3 t = emu_threadIdx();
    dim3 d = emu_blockDim();
    return (t.z * d.y + t.y) * d.x + t.x;
  }
  static unsigned size() {
    dim3 d = emu_blockDim();
    return d.x * d.y * d.z;
  }
  static unsigned num_threads() { return size(); }
};

inline thread_block this_thread_block() { return {}; }

// Lanes of one warp that act together: what tiles and coalesced groups have in common. A value of `shfl` comes from a
// rank in the group.
class warp_group {
 public:
  explicit warp_group(unsigned mask) : mask_(mask) {}
  unsigned thread_rank() const { return __popc(mask_ & ((1u << emu_lane()) - 1)); }
  unsigned size() const { return static_cast<unsigned>(__popc(mask_)); }
  unsigned num_threads() const { return size(); }
  unsigned mask() const { return mask_; }
  void sync(EMU_SITE) const { emu_syncwarp(mask_, site); }
  int any(int p, EMU_SITE) const { return emu_ballot(mask_, p, site) != 0; }
  int all(int p, EMU_SITE) const { return emu_ballot(mask_, !p, site) == 0; }
  unsigned ballot(int p, EMU_SITE) const { return ranks(emu_ballot(mask_, p, site)); }
  template <class T>
  unsigned match_any(T value, EMU_SITE) const { return ranks(emu_match(mask_, &value, sizeof value, site)); }
  template <class T>
  T shfl(T value, int rank, EMU_SITE) const { return from(value, static_cast<unsigned>(rank) % size(), site); }
  template <class T>
  T shfl_up(T value, unsigned delta, EMU_SITE) const {
    unsigned rank = thread_rank();
    return from(value, rank >= delta ? rank - delta : rank, site);
  }
  template <class T>
  T shfl_down(T value, unsigned delta, EMU_SITE) const {
    unsigned rank = thread_rank();
    return from(value, rank + delta < size() ? rank + delta : rank, site);
  }
  template <class T>
  T shfl_xor(T value, unsigned lanes, EMU_SITE) const {
    unsigned rank = thread_rank() ^ lanes;
    return from(value, rank < size() ? rank : thread_rank(), site);
  }

 protected:
  unsigned lane_of(unsigned rank) const {
    unsigned left = mask_;
    while (rank--) left &= left - 1;
    return static_cast<unsigned>(__ffs(static_cast<int>(left)) - 1);
  }
  unsigned ranks(unsigned lanes) const {
    unsigned result = 0;
    for (unsigned r = 0; r < size(); ++r) result |= (lanes >> lane_of(r) & 1u) << r;
    return result;
  }
  template <class T>
  T from(T value, unsigned rank, emu::Site site) const {
    emu_shuffle(emu::kShuffleIndex, mask_, &value, sizeof value, static_cast<int>(lane_of(rank)), 32, site);
    return value;
  }
  unsigned mask_;
};

template <unsigned N, class Parent = thread_block>
struct thread_block_tile : warp_group {
  static_assert(N >= 1 && N <= 32 && (N & (N - 1)) == 0, "the emulator has tiles of 1, 2, 4, 8, 16 and 32 threads");
  thread_block_tile() : warp_group((N == 32 ? ~0u : (1u << N % 32) - 1) << (emu_lane() & ~(N - 1))) {}
  static constexpr unsigned size() { return N; }
  static constexpr unsigned num_threads() { return N; }
  unsigned meta_group_rank() const { return thread_block::thread_rank() / N; }
  unsigned meta_group_size() const { return (thread_block::size() + N - 1) / N; }
};

template <unsigned N, class Parent>
thread_block_tile<N, Parent> tiled_partition(const Parent&) { return {}; }

struct coalesced_group : warp_group {
  using warp_group::warp_group;
};
inline coalesced_group coalesced_threads(EMU_SITE) { return coalesced_group(emu_active_mask(site)); }

// Any of the groups above: what functions take that do not care which.
class thread_group {
 public:
  thread_group(thread_block) : mask_(0) {}
  thread_group(const warp_group& group) : mask_(group.mask()), size_(group.size()) {}
  unsigned size() const { return size_ ? size_ : thread_block::size(); }
  unsigned num_threads() const { return size(); }
  unsigned thread_rank() const { return size_ ? warp_group(mask_).thread_rank() : thread_block::thread_rank(); }
  void sync(EMU_SITE) const { size_ ? emu_syncwarp(mask_, site) : thread_block::sync(site); }

 private:
  unsigned mask_, size_ = 0;
};
template <class Group>
unsigned thread_rank(const Group& group) { return group.thread_rank(); }
template <class Group>
unsigned group_size(const Group& group) { return group.size(); }

template <class Group>
void sync(const Group& group, EMU_SITE) { group.sync(site); }

template <class T> struct plus { T operator()(T a, T b) const { return a + b; } };
template <class T> struct less { T operator()(T a, T b) const { return b < a ? b : a; } };
template <class T> struct greater { T operator()(T a, T b) const { return a < b ? b : a; } };
template <class T> struct bit_and { T operator()(T a, T b) const { return a & b; } };
template <class T> struct bit_or { T operator()(T a, T b) const { return a | b; } };
template <class T> struct bit_xor { T operator()(T a, T b) const { return a ^ b; } };

template <class Group, class T, class Op>
T reduce(const Group& group, T value, Op op, EMU_SITE) {
  T result = group.shfl(value, 0, site);
  for (unsigned rank = 1; rank < group.size(); ++rank) result = op(result, group.shfl(value, static_cast<int>(rank), site));
  return result;
}

}  // namespace cooperative_groups
