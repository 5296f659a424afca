#include "serve/worker_thread.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <vector>

namespace onepass {
namespace {

using ::testing::ElementsAre;

using std::chrono::microseconds;
using std::chrono::milliseconds;

TEST(WorkerThread, WhatIsCheapPassesWhatIsDearUntilThatHasWaitedAsLong) {
  std::vector<int> order;
  std::promise<void> begun, go, done;
  WorkerThread worker;
  worker.Run(microseconds(0), [&] {
    begun.set_value();
    go.get_future().wait();
  });
  begun.get_future().wait();
  worker.Run(std::chrono::hours(9), [&] {
    order.push_back(9);
    done.set_value();
  });
  worker.Run(milliseconds(20), [&] { order.push_back(20); });
  worker.Run(std::chrono::hours(1), [&] { order.push_back(1); });
  worker.Run(microseconds(0), [&] { order.push_back(0); });
  std::this_thread::sleep_for(milliseconds(30));
  worker.Run(microseconds(0), [&] { order.push_back(2); });
  go.set_value();
  done.get_future().wait();
  EXPECT_THAT(order, ElementsAre(0, 20, 2, 1, 9));
}

TEST(WorkerThread, AtItsEndWhatHasNotBegunIsDroppedByTheCaller) {
  std::thread::id dropped_by;
  std::promise<void> begun;
  {
    WorkerThread worker;
    std::promise<void> go;
    const std::shared_future<void> wait = go.get_future().share();
    worker.Run(microseconds(0), [&, wait] {
      begun.set_value();
      wait.wait();
      // The destructor has begun by then, or begins soon: either way it is this that it waits for.
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    });
    begun.get_future().wait();
    worker.Run(microseconds(1), [held = std::shared_ptr<void>(nullptr, [&](void*) {
                                   dropped_by = std::this_thread::get_id();
                                 })] { FAIL() << "it began"; });
    go.set_value();
  }
  EXPECT_EQ(dropped_by, std::this_thread::get_id());
}

}  // namespace
}  // namespace onepass
