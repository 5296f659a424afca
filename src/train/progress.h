// A training run's course as text: a bar for a terminal, lines for everything else. Makes strings;
// prints nothing.
#pragma once

#include <string>

#include "train/trainer.h"

namespace onepass {

// "step 40/200 [=====>      ] loss 1.2345  5120 tokens/s  0:42 left", at most `columns` wide: the
// bar takes what is left, and is left out where there is no room.
std::string FormatProgressBar(const TrainProgress& progress, int columns);
// "step 40/200  epoch 0.60  loss 1.2345  learning rate 0.0002  5120 tokens/s  0:42 left"
std::string FormatProgressLine(const TrainProgress& progress);
// "0:42", "12:05", "3:01:09"
std::string FormatDuration(double seconds);

}  // namespace onepass
