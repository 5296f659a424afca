// For tests of what a process leaves that is killed at some moment.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/status.h"

namespace onepass {

// Runs `write`, which returns a Status, in a child process and kills it after about that time,
// finished or not. Fails the test where `write` fails.
template <class Write>
void KillAfter(useconds_t microseconds, const Write& write) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (!write().ok()) ::_exit(1);
    while (true) ::pause();
  }
  ::usleep(microseconds);
  ::kill(child, SIGKILL);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
}

}  // namespace onepass
