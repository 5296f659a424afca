#include "kv/page_pool.h"

#include <algorithm>
#include <string>
#include <utility>

namespace onepass {
namespace {
// The memory of a chunk is committed page by page.
constexpr int64_t kChunkBytes = 16 * kLargePageBytes;
}  // namespace

PageList::PageList(PageList&& other) noexcept
    : pool_(std::exchange(other.pool_, nullptr)), ids_(std::move(other.ids_)) {
  other.ids_.clear();
}

PageList& PageList::operator=(PageList&& other) noexcept {
  if (this != &other) {
    if (pool_ != nullptr) pool_->Return(ids_);
    pool_ = std::exchange(other.pool_, nullptr);
    ids_ = std::move(other.ids_);
    other.ids_.clear();
  }
  return *this;
}

PageList::~PageList() {
  if (pool_ != nullptr) pool_->Return(ids_);
}

void PageList::Append(PageList&& other) {
  if (other.pool_ == nullptr) return;
  ONEPASS_CHECK(pool_ == nullptr || pool_ == other.pool_, "pages of two pools in one list");
  pool_ = std::exchange(other.pool_, nullptr);
  ids_.insert(ids_.end(), other.ids_.begin(), other.ids_.end());
  other.ids_.clear();
}

PagePool::PagePool(const KvLayout& layout, int64_t page_count)
    : layout_(layout), page_count_(page_count) {
  ONEPASS_CHECK(layout.PageElements() > 0, "a page pool needs a layout");
  ONEPASS_CHECK(page_count >= 0 && page_count <= INT32_MAX, "page ids are 32 bits");
  pages_per_chunk_ =
      std::clamp<int64_t>(kChunkBytes / layout.PageBytes(), 1, std::max<int64_t>(1, page_count));
  chunks_.resize((page_count + pages_per_chunk_ - 1) / pages_per_chunk_);
}

PagePool::~PagePool() { ONEPASS_CHECK(used_ == 0, "pages outlive their pool"); }

Result<PageList> PagePool::Allocate(int64_t token_count) {
  const int64_t wanted = (token_count + layout_.page_tokens - 1) / layout_.page_tokens;
  while (wanted > pages_free() && reclaim && reclaim()) {
  }
  std::lock_guard lock(mutex_);
  if (wanted > page_count_ - used_) {
    return Exhausted("kv pages: want " + std::to_string(wanted) + ", " +
                     std::to_string(page_count_ - used_) + " of " + std::to_string(page_count_) +
                     " are free");
  }
  std::vector<int32_t> ids;
  ids.reserve(wanted);
  while (static_cast<int64_t>(ids.size()) < wanted) {
    if (!free_.empty()) {
      ids.push_back(free_.back());
      free_.pop_back();
      continue;
    }
    LargePages& chunk = chunks_[next_fresh_ / pages_per_chunk_];
    if (chunk == nullptr) chunk = AllocateLargePages(pages_per_chunk_ * layout_.PageBytes());
    ids.push_back(static_cast<int32_t>(next_fresh_++));
  }
  used_ += wanted;
  peak_ = std::max(peak_, used_);
  return PageList(this, std::move(ids));
}

void PagePool::Return(const std::vector<int32_t>& ids) {
  std::lock_guard lock(mutex_);
  free_.insert(free_.end(), ids.rbegin(), ids.rend());
  used_ -= static_cast<int64_t>(ids.size());
  returned_ += static_cast<int64_t>(ids.size());
}

std::byte* PagePool::page_bytes(int32_t id) const {
  // No lock: the chunk was made before the page was handed out, and chunks_ never grows.
  return chunks_[id / pages_per_chunk_].get() + (id % pages_per_chunk_) * layout_.PageBytes();
}

int64_t PagePool::pages_used() const {
  std::lock_guard lock(mutex_);
  return used_;
}

int64_t PagePool::pages_free() const { return page_count_ - pages_used(); }

int64_t PagePool::pages_peak() const {
  std::lock_guard lock(mutex_);
  return peak_;
}

int64_t PagePool::pages_returned() const {
  std::lock_guard lock(mutex_);
  return returned_;
}

void PagePool::ResetPeak() {
  std::lock_guard lock(mutex_);
  peak_ = used_;
}

}  // namespace onepass
