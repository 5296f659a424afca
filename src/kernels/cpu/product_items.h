// How products of packed rows are cut into items that threads take.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/cpu/blocking.h"
#include "kernels/ops.h"

namespace onepass {

// (row block, panel of 32 outputs), the panels of all outputs of one row block after the other.
// Borrows the outputs.
class ProductItems {
 public:
  ProductItems(std::span<const MatMulOutput<float>> outputs, int64_t rows, int thread_count)
      : outputs_(outputs), rows_(rows) {
    for (const MatMulOutput<float>& output : outputs) panels_ += PanelCount(output);
    // Few panels for the threads: cut the rows too, down to a few tiles.
    while (count() < 4 * thread_count && rows / row_blocks_ > 96) ++row_blocks_;
  }

  int64_t count() const { return row_blocks_ * panels_; }
  int64_t rows_at_most() const { return CeilDiv(rows_, row_blocks_); }  // of an item

  struct Item {
    const MatMulOutput<float>* output = nullptr;
    int64_t panel = 0;  // of that output
    int64_t row = 0;
    int64_t rows = 0;
  };
  Item operator[](int64_t i) const {
    const int64_t block = i / panels_;
    Item item{.output = outputs_.data(), .panel = i % panels_, .row = block * rows_ / row_blocks_};
    item.rows = (block + 1) * rows_ / row_blocks_ - item.row;
    for (; item.panel >= PanelCount(*item.output); ++item.output) {
      item.panel -= PanelCount(*item.output);
    }
    return item;
  }

 private:
  static int64_t PanelCount(const MatMulOutput<float>& output) {
    return CeilDiv(output.y.cols(), kPanel);
  }

  std::span<const MatMulOutput<float>> outputs_;
  int64_t rows_;
  int64_t panels_ = 0;
  int64_t row_blocks_ = 1;
};

}  // namespace onepass
