// The logits of a base on disk, and how far two bases' are apart.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "kernels/registry.h"
#include "model/checkpoint.h"
#include "model/transformer.h"

namespace onepass {

// Logits [T, V] of a base over these tokens.
inline std::vector<float> LogitsOf(const std::string& path, const std::string& backend,
                                   std::span<const int32_t> ids) {
  const auto ops = MakeOps(backend, {.thread_count = 1});
  const auto checkpoint = Checkpoint::Open(path);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  if (!checkpoint.ok()) return {};
  const auto model = Transformer<float>::Create(*checkpoint, **ops);
  EXPECT_TRUE(model.ok()) << model.status().message();
  PagePool pool((*model)->config().Layout(16, DType::kF32), 64);
  Segment tail(pool, 0, {});
  EXPECT_TRUE(tail.Extend(ids).ok());
  const KvView nothing;
  const ForwardItem<float> item{
      .view = &nothing, .tail = &tail, .new_count = std::ssize(ids), .vectors = {}};
  Buffer<float> logits(std::ssize(ids), (*model)->config().vocab_size);
  (*model)->Logits((*model)->Forward({&item, 1}, nullptr), logits.view());
  return {logits.span().begin(), logits.span().end()};
}

// The root mean square of found - want, over that of want.
inline double RelativeRms(std::span<const float> found, std::span<const float> want) {
  EXPECT_EQ(found.size(), want.size());
  double error = 0;
  double size = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    error += std::pow(static_cast<double>(found[i]) - want[i], 2);
    size += std::pow(want[i], 2);
  }
  return std::sqrt(error / size);
}

}  // namespace onepass
