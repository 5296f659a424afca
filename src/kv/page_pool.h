// Hands out fixed-size KV pages. Knows page ids and bytes, never a model.
// Owns the memory and the free list; page lists give their pages back when they die, so the pool
// must outlive them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "core/check.h"
#include "core/large_pages.h"
#include "core/status.h"
#include "kv/layout.h"
#include "tensor/dtype.h"

namespace onepass {

class PagePool;

// Pages taken from a pool; returned to it at destruction. Movable, not copyable.
class PageList {
 public:
  PageList() = default;
  PageList(PageList&& other) noexcept;
  PageList& operator=(PageList&& other) noexcept;
  ~PageList();

  int64_t size() const { return static_cast<int64_t>(ids_.size()); }
  int32_t id(int64_t i) const { return ids_[i]; }
  // Appends another list's pages.
  void Append(PageList&& other);

 private:
  friend class PagePool;
  PageList(PagePool* pool, std::vector<int32_t> ids) : pool_(pool), ids_(std::move(ids)) {}
  PagePool* pool_ = nullptr;
  std::vector<int32_t> ids_;
};

// Thread-safe for Allocate and returns; a page's content belongs to its holder. Not copyable.
class PagePool {
 public:
  // page_count pages; memory is committed as pages are first used.
  PagePool(const KvLayout& layout, int64_t page_count);
  ~PagePool();
  PagePool(const PagePool&) = delete;
  PagePool& operator=(const PagePool&) = delete;

  const KvLayout& layout() const { return layout_; }

  // Takes ceil(token_count / page_tokens) pages, all or none.
  // What lies in them is not defined. kExhausted: too few free pages; the caller may free some and
  // try again.
  Result<PageList> Allocate(int64_t token_count);
  // Called by Allocate, on its caller's thread, when pages are missing: gives some back, or says
  // false. To be set before the pool is used.
  std::function<bool()> reclaim;

  // First element of a page. Real must be the layout's dtype.
  template <class Real>
  Real* page(int32_t id) const {
    ONEPASS_CHECK(DTypeOf<Real>::kValue == layout_.dtype, "a page read as another type");
    return reinterpret_cast<Real*>(page_bytes(id));
  }
  // The same whatever the type: PageBytes() bytes.
  std::byte* page_bytes(int32_t id) const;

  int64_t page_count() const { return page_count_; }
  int64_t pages_used() const;
  int64_t pages_peak() const;      // since the last ResetPeak
  int64_t pages_returned() const;  // since the beginning
  int64_t bytes_used() const { return pages_used() * layout_.PageBytes(); }
  int64_t bytes_peak() const { return pages_peak() * layout_.PageBytes(); }
  void ResetPeak();

 private:
  friend class PageList;
  void Return(const std::vector<int32_t>& ids);
  int64_t pages_free() const;

  const KvLayout layout_;
  const int64_t page_count_;
  mutable std::mutex mutex_;   // guards everything below but the content of pages
  std::vector<int32_t> free_;  // returned pages, reused first (last in, first out)
  int64_t next_fresh_ = 0;     // pages from here on were never handed out
  int64_t used_ = 0;
  int64_t peak_ = 0;
  int64_t returned_ = 0;
  int64_t pages_per_chunk_ = 1;
  std::vector<LargePages> chunks_;  // sized once; memory committed on first use
};

}  // namespace onepass
